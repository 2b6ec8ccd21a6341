/* The client's codecs against the server's: every scheme, target and login; chains of both. */
#include <string.h>

#include "proto/accept.h"
#include "proto/chain.h"
#include "proto/err.h"
#include "tests/unit/play.h"
#include "tests/unit/tap.h"

#define N63 "abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz-abcdefghi"

static const size_t chunks[] = {1, 2, 3, 5, 8, 13, 32, PLAY_WHOLE};

static const struct {
    const char *url;
    enum vd_scheme scheme;
} kinds[] = {
    {"socks4://", VD_SOCKS4},   {"socks4a://", VD_SOCKS4A}, {"socks5://", VD_SOCKS5},
    {"socks5h://", VD_SOCKS5H}, {"http://", VD_HTTP},
};

static const char *const targets[] = {
    "192.0.2.1:80", "255.255.255.255:65535", "[2001:db8::1]:443",
    "a:1",          "example.com.:80",       N63 "." N63 "." N63 "." N63 ":65535",
};

enum login { NO_LOGIN, RIGHT, WRONG };

struct meeting {
    size_t kind, target;
    enum login login;
    bool locked;
};

static struct play_end end, served[VD_HOPS_MAX];
static struct vd_accept servers[VD_HOPS_MAX];

static void must(bool ok, const char *what)
{
    if (!ok)
        tap_wrong("%s", what);
}

static void read_hop(struct vd_hop *hop, const char *scheme, const char *login)
{
    char url[128];
    struct vd_url_error why;

    snprintf(url, sizeof url, "%s%sh", scheme, login);
    must(vd_url_read(hop, url, strlen(url), &why) == VD_OK, url);
}

static struct vd_endpoint read_target(const char *text)
{
    struct vd_endpoint target;

    must(vd_endpoint_read(&target, text, strlen(text), 0) == VD_OK, text);
    return target;
}

/* What comes of a meeting, by the protocols' own limits. */
static int outcome(const struct meeting *m, bool is_name, bool is_ipv6)
{
    enum vd_scheme scheme = kinds[m->kind].scheme;
    bool socks4 = scheme <= VD_SOCKS4A, http = scheme == VD_HTTP;

    if ((is_name && (scheme == VD_SOCKS4 || scheme == VD_SOCKS5)) || (is_ipv6 && socks4))
        return -VD_ERR_ADDRESS_TYPE;
    if (socks4)
        return m->locked ? -VD_ERR_FAILED : VD_DONE; /* 91 tells no reason */
    if (m->locked && m->login == NO_LOGIN)
        return http ? -VD_ERR_LOGIN : -VD_ERR_METHOD;
    if (m->login == WRONG && (m->locked || http))
        return -VD_ERR_LOGIN;
    return VD_DONE;
}

static void meet(const struct meeting *m, size_t chunk)
{
    static const char *const logins[] = {"", "alice:secret@", "alice:wrong@"};
    const char *login = logins[m->login];
    struct play_server how = {
        .chunk = chunk, .login = m->login == RIGHT, .bound = "192.0.2.9:1080"};
    struct vd_endpoint target = read_target(targets[m->target]);
    bool is_name = vd_endpoint_is_name(&target);
    struct vd_path path = {.count = 1};
    struct vd_chain chain;
    struct vd_hop hop;
    int wanted = outcome(m, is_name, !is_name && target.ip.family == VD_IPV6);

    if (kinds[m->kind].scheme <= VD_SOCKS4A && m->login != NO_LOGIN)
        login = "alice@";
    read_hop(&hop, kinds[m->kind].url, login);
    path.hops = &hop;
    vd_accept_start(&servers[0], VD_OFFER_MIXED | (m->locked ? VD_OFFER_LOGIN_NEEDED : 0));
    end.result = vd_chain_start(&chain, &path, VD_CONNECT, &target);
    if (end.result == VD_OK)
        play_both(&end, &chain, servers, served, 1, &how);
    if (end.broken || end.result != wanted)
        tap_wrong("chunks of %zu: %d instead of %d, %s", chunk, end.result, wanted, end.broken);
    if (wanted == VD_DONE && !vd_endpoint_same(&servers[0].target, &target))
        tap_wrong("chunks of %zu: another target was asked for", chunk);
}

static void meetings(void)
{
    struct meeting m;
    char name[512];

    for (m.kind = 0; m.kind < sizeof kinds / sizeof *kinds; m.kind++)
        for (m.target = 0; m.target < sizeof targets / sizeof *targets; m.target++)
            for (unsigned way = 0; way < 6; way++) {
                m.login = (enum login)(way % 3);
                m.locked = way >= 3;
                tap_begin();
                for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)
                    meet(&m, chunks[i]);
                snprintf(name, sizeof name, "%s to %.30s, login %d, %s", kinds[m.kind].url,
                         targets[m.target], m.login, m.locked ? "locked" : "open");
                tap_end(name);
            }
}

/* --- reasons: what the server knows must reach the client --- */

static int as_heard(enum vd_scheme scheme, int err)
{
    const char *token = vd_err_proxy_status(err);
    int by_token = vd_err_of_proxy_status(token, (uint8_t)strlen(token));
    int by_status = vd_err_of_http(vd_err_http(err));

    if (scheme <= VD_SOCKS4A)
        return -(int)vd_err_of_socks4(vd_err_socks4(err));
    if (scheme <= VD_SOCKS5H)
        return -(int)vd_err_of_socks5(vd_err_socks5(err));
    return -(by_status == VD_ERR_LOGIN || by_token == VD_OK ? by_status : by_token);
}

static void reasons(void)
{
    struct vd_endpoint target = read_target("192.0.2.1:80");

    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        tap_begin();
        for (int err = VD_ERR_REFUSED; err < VD_ERR_COUNT; err++) {
            struct play_server how = {.chunk = 7, .err = -err};
            struct vd_path path = {.count = 1};
            struct vd_chain chain;
            struct vd_hop hop;

            read_hop(&hop, kinds[kind].url, "");
            path.hops = &hop;
            vd_accept_start(&servers[0], VD_OFFER_MIXED);
            must(vd_chain_start(&chain, &path, VD_CONNECT, &target) == VD_OK, "it does not start");
            play_both(&end, &chain, servers, served, 1, &how);
            if (end.broken || end.result != as_heard(kinds[kind].scheme, err))
                tap_wrong("reason %d is heard as %d, %s", err, end.result, end.broken);
        }
        tap_end(kinds[kind].url);
    }
}

/* --- chains of servers --- */

/* Hop number i of a chain: its kind by a number that is unlike its neighbours', with login or
 * without, reached by name, and resolved for a hop before it that takes addresses only. */
static void make_hop(struct vd_hop *hop, unsigned seed, unsigned i)
{
    static const uint8_t address[4] = {192, 0, 2, 33};
    unsigned kind = (seed + i * i + i / 3) % (sizeof kinds / sizeof *kinds);
    bool login = kind >= 2 && (seed + i) % 2;

    read_hop(hop, kinds[kind].url, login ? "alice:secret@" : "");
    hop->at.port = (uint16_t)(1000 + i);
    hop->addrs[0] = vd_ip4(address);
    hop->addr_count = 1;
}

static bool was_asked_for(const struct vd_accept *server, const struct vd_hop *next,
                          const struct vd_endpoint *target)
{
    struct vd_endpoint by_address = {0};

    if (!next)
        return vd_endpoint_same(&server->target, target);
    by_address.ip = next->addrs[0];
    by_address.port = next->at.port;
    return vd_endpoint_same(&server->target, &next->at) ||
           vd_endpoint_same(&server->target, &by_address);
}

static void run_chain(unsigned seed, uint8_t count, size_t chunk)
{
    struct play_server how = {.chunk = chunk, .login = true, .bound = "[2001:db8::9]:1080"};
    struct vd_endpoint target = read_target("192.0.2.1:80");
    struct vd_hop hops[VD_HOPS_MAX];
    struct vd_path path = {.hops = hops, .count = count};
    struct vd_chain chain;

    for (uint8_t i = 0; i < count; i++) {
        make_hop(&hops[i], seed, i);
        path.order[i] = i;
        vd_accept_start(&servers[i],
                        VD_OFFER_MIXED | (hops[i].has_login ? VD_OFFER_LOGIN_NEEDED : 0));
    }
    must(vd_chain_start(&chain, &path, VD_CONNECT, &target) == VD_OK, "it does not start");
    play_both(&end, &chain, servers, served, count, &how);
    if (end.broken || end.result != VD_DONE)
        tap_wrong("seed %u, chunks of %zu: %d, %s", seed, chunk, end.result, end.broken);
    for (uint8_t i = 0; i < count; i++)
        if (!was_asked_for(&servers[i], i + 1 < count ? &hops[i + 1] : NULL, &target))
            tap_wrong("seed %u: hop %d was asked for something else", seed, i + 1);
}

static void chains(void)
{
    for (unsigned count = 1; count <= VD_HOPS_MAX; count++) {
        char name[32];

        tap_begin();
        for (unsigned seed = 0; seed < 20; seed++)
            for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)
                run_chain(seed, (uint8_t)count, chunks[i]);
        snprintf(name, sizeof name, "chains of %u hops", count);
        tap_end(name);
    }
}

/* --- BIND: both replies reach the client --- */

static int second_of(struct vd_chain *chain, struct vd_accept *server, int err,
                     const struct vd_endpoint *peer, size_t chunk)
{
    struct play_client how = {.chunk = chunk};
    uint8_t reply[VD_ACCEPT_REPLY_MAX];
    size_t len;

    vd_chain_next(chain);
    vd_accept_second(server, err, peer);
    len = vd_accept_pending(server, reply, sizeof reply);
    play_client(&end, chain, reply, len, &how);
    if (end.broken || end.said_len > 0 || (end.result == VD_DONE && end.used != len))
        tap_wrong("chunks of %zu: %s", chunk, end.broken);
    return end.result;
}

static void bind_once(size_t kind, int err, size_t chunk)
{
    struct play_server how = {.chunk = chunk, .bound = "198.51.100.7:1080"};
    struct vd_endpoint target = read_target("192.0.2.1:21"), peer = read_target("192.0.2.1:20");
    struct vd_path path = {.count = 1};
    struct vd_chain chain;
    struct vd_hop hop;
    int wanted = err ? as_heard(kinds[kind].scheme, err) : VD_DONE, r;

    read_hop(&hop, kinds[kind].url, "");
    path.hops = &hop;
    vd_accept_start(&servers[0], VD_OFFER_MIXED);
    must(vd_chain_start(&chain, &path, VD_BIND, &target) == VD_OK, "it does not start");
    play_both(&end, &chain, servers, served, 1, &how);
    if (end.broken || end.result != VD_DONE || chain.shake.bound_port != 1080) {
        tap_wrong("chunks of %zu: the first reply: %d, %s", chunk, end.result, end.broken);
        return;
    }
    r = second_of(&chain, &servers[0], -err, err ? NULL : &peer, chunk);
    if (r != wanted)
        tap_wrong("chunks of %zu: reason %d is heard as %d", chunk, err, r);
    if (!err && (chain.shake.bound_port != 20 || !vd_ip_same(&chain.shake.bound_ip, &peer.ip)))
        tap_wrong("chunks of %zu: another peer", chunk);
}

static void binds(void)
{
    for (size_t kind = 0; kinds[kind].scheme < VD_HTTP; kind++) {
        char name[64];

        tap_begin();
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)
            for (int err = VD_OK; err < VD_ERR_COUNT; err++)
                bind_once(kind, err, chunks[i]);
        snprintf(name, sizeof name, "bind through %s", kinds[kind].url);
        tap_end(name);
    }
}

int main(void)
{
    meetings();
    reasons();
    chains();
    binds();
    return tap_done();
}
