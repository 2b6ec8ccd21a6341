#include "tests/unit/play.h"

#include <stdio.h>
#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A promise that was broken; the first one is told. */
static void promise(struct play_end *end, bool kept, const char *what)
{
    if (!kept && !end->broken)
        end->broken = what;
}

static void say(struct play_end *end, const uint8_t *data, size_t len)
{
    promise(end, len <= sizeof end->said - end->said_len, "too much was said");
    len = least(len, sizeof end->said - end->said_len);
    memcpy(end->said + end->said_len, data, len);
    end->said_len += len;
}

/* --- client --- */

static void move_chain(struct vd_chain *chain)
{
    struct vd_chain other = *chain;

    memset(chain, 0xee, sizeof *chain);
    *chain = other;
}

static void client_says(struct play_end *end, struct vd_chain *chain, size_t chunk)
{
    size_t cap = least(chunk, VD_SHAKE_MESSAGE_MAX), n;

    for (;;) {
        uint8_t *buf = guard_put(NULL, 0) - cap;

        n = vd_chain_pending(chain, buf, cap);
        promise(end, n <= cap, "pending: at most cap");
        if (n == 0 && !vd_chain_awaits_tls(chain))
            return;
        if (n == 0) {
            say(end, (const uint8_t *)PLAY_TLS, sizeof PLAY_TLS - 1);
            vd_chain_has_tls(chain);
            continue;
        }
        say(end, buf, n);
        vd_chain_sent(chain, n);
        move_chain(chain);
    }
}

static size_t client_room(struct play_end *end, const struct vd_chain *chain,
                          const struct play_client *how)
{
    size_t want = vd_chain_want(chain), usual = vd_chain_usual(chain);

    promise(end, want >= 1 && want <= VD_SHAKE_READ_MAX, "want: 1 to VD_SHAKE_READ_MAX");
    promise(end, usual >= want && usual <= VD_SHAKE_READ_MAX,
            "usual: from want to VD_SHAKE_READ_MAX");
    if (how->manner == PLAY_GREEDY || (how->manner == PLAY_PEEKS && vd_chain_peeks(chain)))
        return how->chunk;
    return least(how->chunk, how->manner == PLAY_USUAL ? usual : want);
}

static bool refused(const struct play_end *end)
{
    return end->result < 0 || end->result == VD_AGAIN;
}

static void client_hears(struct play_end *end, struct vd_chain *chain, const uint8_t *data,
                         size_t n, enum play_manner manner)
{
    size_t used = SIZE_MAX;

    end->result = vd_chain_feed(chain, guard_put(data, n), n, &used);
    promise(end, used <= n, "feed: used <= len");
    promise(end, end->result <= VD_DONE || (end->result == VD_AGAIN && chain->flown),
            "feed: VD_MORE, VD_DONE, a reason, or VD_AGAIN in a flight");
    promise(end, used > 0 || refused(end), "feed: takes something or refuses");
    promise(end, manner != PLAY_EXACT || used == n || refused(end), "want: never past the end");
    promise(end,
            manner != PLAY_USUAL || used == n || end->result == VD_DONE || refused(end) ||
                vd_chain_speaks(chain) || vd_chain_awaits_tls(chain),
            "usual: past the end of the handshake, or of what a hop says, if at all");
    end->used += least(used, n);
    move_chain(chain);
}

static void client_done(struct play_end *end, struct vd_chain *chain)
{
    uint8_t byte;
    size_t used = 1;

    promise(end, vd_chain_pending(chain, &byte, 1) == 0, "done: nothing pending");
    promise(end, vd_chain_want(chain) == 0, "done: wants nothing");
    promise(end, vd_chain_usual(chain) == 0, "done: nothing is usual");
    promise(end, !vd_chain_peeks(chain), "done: looks at nothing");
    promise(end, vd_chain_feed(chain, (const uint8_t *)"x", 1, &used) == VD_DONE && used == 0,
            "done: takes nothing");
}

void play_client(struct play_end *end, struct vd_chain *chain, const uint8_t *input, size_t len,
                 const struct play_client *how)
{
    memset(end, 0, sizeof *end);
    for (;;) {
        client_says(end, chain, how->chunk);
        if (end->result != VD_MORE || end->used == len || end->broken)
            break;
        client_hears(end, chain, input + end->used,
                     least(len - end->used, client_room(end, chain, how)), how->manner);
    }
    if (end->result == VD_DONE)
        client_done(end, chain);
    if (end->result == VD_MORE && how->loss != PLAY_GOES_ON) {
        end->result = vd_chain_lost(chain, (enum vd_loss)(how->loss - PLAY_EOF));
        promise(end, refused(end), "lost: always a reason, or VD_AGAIN");
    }
}

/* --- server --- */

static void move_accept(struct vd_accept *a)
{
    struct vd_accept other = *a;

    memset(a, 0xee, sizeof *a);
    *a = other;
}

static void server_says(struct play_end *end, struct vd_accept *a, size_t chunk)
{
    size_t cap = least(chunk, VD_ACCEPT_REPLY_MAX), n;

    for (;;) {
        uint8_t *buf = guard_put(NULL, 0) - cap;

        n = vd_accept_pending(a, buf, cap);
        promise(end, n <= cap, "pending: at most cap");
        if (n == 0)
            return;
        say(end, buf, n);
        vd_accept_sent(a, n);
        move_accept(a);
    }
}

static void note(struct play_end *end, const char *what, const char *text)
{
    size_t len = strlen(end->asked);

    snprintf(end->asked + len, sizeof end->asked - len, "%s%s %s", len ? "\n" : "", what, text);
}

static void note_login(struct play_end *end, const struct vd_accept *a)
{
    char text[2 * VD_LOGIN_MAX + 2];

    promise(end, strlen(a->user) == a->user_len && strlen(a->password) == a->password_len,
            "a login is counted and ends with a NUL");
    snprintf(text, sizeof text, "%s:%s", a->user, a->password);
    note(end, "login", text);
}

static void note_request(struct play_end *end, const struct vd_accept *a)
{
    static const char *const commands[] = {"none", "CONNECT", "BIND", "ASSOCIATE"};
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    promise(end, a->command >= VD_CONNECT && a->command <= VD_ASSOCIATE, "a request has a command");
    vd_endpoint_print(&out, &a->target);
    note(end, commands[a->command & 3], vd_out_string(&out));
}

static int decide_login(struct play_end *end, struct vd_accept *a, const struct play_server *how)
{
    int result;

    note_login(end, a);
    result = vd_accept_login(a, how->login);
    promise(end, result == (how->login ? VD_MORE : -VD_ERR_LOGIN), "login: VD_MORE or the reason");
    promise(end, !a->password[0] && !memcmp(a->password, a->password + 1, sizeof a->password - 1),
            "the password is wiped");
    promise(end, a->password_len == 0, "the password's length too");
    return result;
}

static int decide_request(struct play_end *end, struct vd_accept *a, const struct play_server *how)
{
    struct vd_endpoint bound;

    note_request(end, a);
    if (how->bound && vd_endpoint_read(&bound, how->bound, strlen(how->bound), 1) < 0)
        promise(end, false, "the test's bound address reads");
    vd_accept_reply(a, how->err, how->bound ? &bound : NULL);
    return how->err < 0 ? how->err : VD_ACCEPT_REQUEST;
}

/* Feeds once, and decides if asked to. The bytes taken. */
static size_t server_hears(struct play_end *end, struct vd_accept *a, const uint8_t *data, size_t n,
                           const struct play_server *how)
{
    size_t used = SIZE_MAX, again = 1;

    end->result = vd_accept_feed(a, guard_put(data, n), n, &used);
    promise(end, used <= n, "feed: used <= len");
    promise(end, used == n || end->result != VD_MORE,
            "feed: all of it unless something came of it");
    if (end->result != VD_MORE)
        promise(end,
                vd_accept_feed(a, (const uint8_t *)"x", 1, &again) == end->result && again == 0,
                "feed: takes nothing while a decision is awaited");
    move_accept(a);
    if (end->result == VD_ACCEPT_LOGIN)
        end->result = decide_login(end, a, how);
    else if (end->result == VD_ACCEPT_REQUEST)
        end->result = decide_request(end, a, how);
    if (end->result != VD_MORE)
        promise(end,
                (vd_accept_feed(a, (const uint8_t *)"x", 1, &again) <= VD_MORE ||
                 end->result == VD_ACCEPT_FORWARD) &&
                    again == 0,
                "feed: takes nothing after the end");
    end->used += least(used, n);
    return used;
}

void play_server(struct play_end *end, struct vd_accept *a, const uint8_t *input, size_t len,
                 const struct play_server *how)
{
    bool asked = true;

    memset(end, 0, sizeof *end);
    while (end->result == VD_MORE && !end->broken && (end->used < len || asked)) {
        size_t before = strlen(end->asked);

        server_hears(end, a, input + end->used, least(len - end->used, how->chunk), how);
        asked = strlen(end->asked) > before;
        if (!how->late)
            server_says(end, a, how->chunk);
    }
    server_says(end, a, how->chunk);
}

/* --- both --- */

/* What the client sends reaches the first server that has not yet said yes. */
static size_t current(const struct play_end *served, size_t count)
{
    size_t i = 0;

    while (i + 1 < count && served[i].result == VD_ACCEPT_REQUEST)
        i++;
    return i;
}

/* A message of the client, through the servers, and what comes back. */
static void exchange(struct play_end *end, struct vd_chain *chain, struct vd_accept *server,
                     struct play_end *served, const struct play_server *how)
{
    size_t heard = served->said_len, from = end->said_len, done = 0;

    client_says(end, chain, how->chunk);
    for (size_t i = from; i < end->said_len && served->result == VD_MORE;) {
        i += server_hears(served, server, end->said + i, least(end->said_len - i, how->chunk), how);
        if (served->result == VD_MORE && i == end->said_len && served->asked[0])
            server_hears(served, server, end->said + i, 0, how);
        server_says(served, server, how->chunk);
    }
    while (end->result == VD_MORE && heard + done < served->said_len && !end->broken) {
        size_t room = client_room(end, chain, &(struct play_client){.chunk = how->chunk});
        size_t before = end->used;

        client_hears(end, chain, served->said + heard + done,
                     least(served->said_len - heard - done, room), PLAY_EXACT);
        done += end->used - before;
    }
}

void play_both(struct play_end *end, struct vd_chain *chain, struct vd_accept *servers,
               struct play_end *served, size_t count, const struct play_server *how)
{
    memset(end, 0, sizeof *end);
    memset(served, 0, count * sizeof *served);
    for (unsigned turn = 0; turn < 4 * VD_HOPS_MAX && end->result == VD_MORE; turn++) {
        size_t i = current(served, count);

        exchange(end, chain, &servers[i], &served[i], how);
        promise(end, !served[i].broken, served[i].broken);
    }
    if (end->result == VD_DONE)
        client_done(end, chain);
}
