/*
 * A chain of 1 to 3 hops, message by message or in flights: in one piece, in pieces, and read
 * exactly or greedily it ends alike, after the same bytes, having said the same. A flight that went
 * wrong begins again, and is then what a chain without flights is.
 */
#include <string.h>

#include "proto/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/play.h"

/* Long enough not to come by chance. */
#define SECRET "correct-horse-battery"

static const uint8_t address[4] = {192, 0, 2, 33};

static void make_hop(struct vd_hop *hop, unsigned kind, unsigned login)
{
    memset(hop, 0, sizeof *hop);
    hop->scheme = (uint8_t)(VD_SOCKS4 + kind % VD_HTTPS);
    hop->addrs[0] = vd_ip4(address);
    hop->addr_count = 1;
    vd_endpoint_set_name(&hop->at, "h", 1, 1080);
    if (login % 2 == 0)
        return;
    hop->has_login = 1;
    hop->user_len = 2;
    hop->password_len = sizeof SECRET - 1;
    memcpy(hop->user, "us", 3);
    memcpy(hop->password, SECRET, sizeof SECRET);
}

static void make_target(struct vd_endpoint *target, unsigned which)
{
    static const char *const texts[SHAKE_TARGETS] = {"192.0.2.1:80", "example.com:80",
                                                     "[2001:db8::1]:443", "[::ffff:1.2.3.4]:5"};
    const char *text = texts[which % SHAKE_TARGETS];

    PROPERTY(vd_endpoint_read(target, text, strlen(text), 0) == VD_OK);
}

static int start(struct vd_chain *chain, struct vd_hop hops[SHAKE_HOPS_MAX], const uint8_t *head)
{
    struct vd_path path = {.hops = hops};
    struct vd_endpoint target;
    unsigned kinds = head[SHAKE_KINDS], logins = head[SHAKE_LOGINS];

    path.count = (uint8_t)(1 + head[SHAKE_HOPS] % SHAKE_HOPS_MAX);
    for (uint8_t i = 0; i < path.count; i++, kinds /= VD_HTTPS, logins /= 2) {
        make_hop(&hops[i], kinds, logins);
        path.order[i] = i;
    }
    path.flights = head[SHAKE_LOGINS] >> 3 & 7;
    path.proven = head[SHAKE_LOGINS] >> 6;
    path.tls = head[SHAKE_TARGET] >> 3 & 1;
    make_target(&target, head[SHAKE_TARGET]);
    return vd_chain_start(chain, &path, (enum vd_command)(1 + head[SHAKE_TARGET] / 64 % 3),
                          &target);
}

static void explain(const struct vd_chain *chain, int err)
{
    char text[4096];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_chain_explain(&out, chain, err);
    PROPERTY(out.ok && out.len > 0);
    PROPERTY(!strstr(vd_out_string(&out), SECRET));
}

static void compare(const struct play_end *a, const struct play_end *b)
{
    PROPERTY(a->result == b->result);
    PROPERTY(a->result < 0 || a->result == VD_AGAIN || a->used == b->used);
    PROPERTY(a->said_len == b->said_len);
    PROPERTY(memcmp(a->said, b->said, a->said_len) == 0);
}

/* From a chain that flew to one that never did nothing may be left over. */
static void play_again(struct vd_chain *chain, const uint8_t *data, size_t size,
                       const struct play_client *how)
{
    static struct play_end again, plain;
    uint8_t head[SHAKE_HEAD];
    struct vd_hop hops[SHAKE_HOPS_MAX];
    struct vd_chain other;

    memcpy(head, data, sizeof head);
    head[SHAKE_LOGINS] &= 7;
    PROPERTY(chain->path.flights && start(&other, hops, head) == VD_OK);
    vd_chain_again(chain);
    play_client(&again, chain, data + SHAKE_HEAD, size - SHAKE_HEAD, how);
    play_client(&plain, &other, data + SHAKE_HEAD, size - SHAKE_HEAD, how);
    PROPERTY(again.broken == NULL && again.result != VD_AGAIN);
    compare(&again, &plain);
}

/* Behind BIND's first reply the second one is awaited; nothing is said in between. */
static void play_second(struct play_end *end, struct vd_chain *chain, const uint8_t *data,
                        size_t size, const struct play_client *how)
{
    static struct play_end second;

    vd_chain_next(chain);
    play_client(&second, chain, data + end->used, size - end->used, how);
    PROPERTY(second.broken == NULL && second.said_len == 0);
    end->result = second.result;
    end->used += second.used;
}

static void play(struct play_end *end, const uint8_t *data, size_t size, size_t chunk,
                 enum play_manner manner)
{
    struct play_client how = {.chunk = chunk, .manner = manner};
    struct vd_hop hops[SHAKE_HOPS_MAX];
    struct vd_chain chain;

    how.loss = (enum play_loss)(data[SHAKE_LOSS] % (PLAY_SILENT + 1));
    end->result = start(&chain, hops, data);
    end->broken = NULL;
    end->said_len = end->used = 0;
    if (end->result == VD_OK)
        play_client(end, &chain, data + SHAKE_HEAD, size - SHAKE_HEAD, &how);
    if (end->result == VD_DONE && chain.command == VD_BIND)
        play_second(end, &chain, data + SHAKE_HEAD, size - SHAKE_HEAD, &how);
    if (end->result == VD_AGAIN)
        play_again(&chain, data, size, &how);
    if (end->result < 0)
        explain(&chain, end->result);
    PROPERTY(end->broken == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play_end whole, split;

    if (size < SHAKE_HEAD || size > PLAY_WHOLE)
        return 0;
    /* A hop that says it is quoted, and the fuzzer learns it from strstr; \x9c in front of the rest
     * would do as well. */
    if (memmem(data, size, &SECRET[1], sizeof SECRET - 2))
        return 0;
    play(&whole, data, size, PLAY_WHOLE, PLAY_GREEDY);
    play(&split, data, size, PLAY_WHOLE, PLAY_EXACT);
    compare(&whole, &split);
    play(&split, data, size, PLAY_WHOLE, PLAY_USUAL);
    compare(&whole, &split);
    play(&split, data, size, 1 + data[SHAKE_CHUNK], PLAY_PEEKS);
    compare(&whole, &split);
    play(&split, data, size, 1 + data[SHAKE_CHUNK] % 7, PLAY_GREEDY);
    compare(&whole, &split);
    return 0;
}
