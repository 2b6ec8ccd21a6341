/*
 * Worker and helper talk over a socket pair that keeps messages apart; the helper has the users by
 * fork. One question is under way at a time, the others wait in a queue in order:
 *
 *     IDLE ──ask──> ASKED ──answer──> kept; the waiter is told; next of the queue, or IDLE
 *                     └──helper gone──> a new helper; the answer is no, for it may have been the
 *                                       question that killed it
 *
 * A waiter that leaves takes its place in the queue along; if its question is under way the answer
 * is kept for the next who asks the same.
 */
#include "daemon/login.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/log.h"
#include "proto/url.h"

enum { KEPT = 1024, KEY = 32, SEAL = 32 /* SHA-256 */ };

struct question {
    uint32_t user; /* its place in the list */
    uint8_t password_len;
    char password[VD_LOGIN_MAX + 1];
};

/* HMAC-SHA-256 under a random key that never leaves the process: it can be compared, and kept,
 * where the password itself should not be. */
struct seal {
    bool made; /* false: there was no memory; it is like no other */
    uint8_t bytes[SEAL];
};

/* Where the outcome of one pair is kept; the next pair of the same place replaces it. */
struct kept {
    struct seal pair;
    bool filled, ok;
};

struct login {
    struct loop *loop;
    const struct vd_conf_user *users;
    size_t count;
    size_t decoy; /* a user with a hash, asked in place of unknown ones; `count` if none has one */
    uint8_t key[KEY];
    struct loop_io io;
    struct login_wait *queue, **queue_end;
    bool asked;
    struct seal asked_pair;
    bool asked_decoy;
    struct kept kept[KEPT];
};

/* --- the helper --- */

static bool hash_matches(const char *password, const char *hash)
{
    static struct crypt_data data;
    const char *made = crypt_rn(password, hash, &data, sizeof data);
    size_t len = strlen(hash);
    unsigned char difference = 0;
    if (!made || strlen(made) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        difference |= (unsigned char)(made[i] ^ hash[i]);
    explicit_bzero(&data, sizeof data);
    return difference == 0;
}

/* Ends with its worker: by EOF. Signals to the whole group are the worker's business. */
static _Noreturn void serve(const struct login *login, int fd)
{
    struct question q;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    prctl(PR_SET_NAME, "viaductd-login");
    while (recv(fd, &q, sizeof q, 0) == sizeof q) {
        uint8_t ok = hash_matches(q.password, login->users[q.user].hash);
        explicit_bzero(&q, sizeof q);
        if (send(fd, &ok, 1, MSG_NOSIGNAL) != 1)
            break;
    }
    _exit(0);
}

static void on_answer(struct loop_io *io, uint32_t events);

static int start_helper(struct login *login)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pair[1], 3);
        close_range(4, ~0u, 0);
        serve(login, 3);
    }
    close(pair[1]);
    login->io = (struct loop_io){.fd = pair[0], .ready = on_answer};
    if (pid > 0 && loop_watch(login->loop, &login->io, EPOLLIN) == 0)
        return 0;
    close(pair[0]);
    login->io.fd = -1;
    return -1;
}

/* --- what is known --- */

static struct seal seal_of(const struct login *login, const void *data, size_t len)
{
    struct seal seal = {.made = false};
    seal.made = HMAC(EVP_sha256(), login->key, KEY, data, len, seal.bytes, NULL);
    return seal;
}

static bool same(const struct seal *a, const struct seal *b)
{
    return a->made && b->made && CRYPTO_memcmp(a->bytes, b->bytes, SEAL) == 0;
}

static struct seal pair_seal(const struct login *login, const struct login_wait *w)
{
    uint8_t both[2 + 2 * VD_LOGIN_MAX];
    size_t len = 1 + w->user_len + w->password_len;
    both[0] = (uint8_t)w->user_len;
    memcpy(both + 1, w->user, w->user_len);
    memcpy(both + 1 + w->user_len, w->password, w->password_len);
    struct seal seal = seal_of(login, both, len);
    explicit_bzero(both, len);
    return seal;
}

static size_t place_of(const struct seal *pair)
{
    return (pair->bytes[0] | (size_t)pair->bytes[1] << 8) % KEPT;
}

static enum login_verdict look_up(const struct login *login, const struct seal *pair)
{
    const struct kept *k = &login->kept[place_of(pair)];
    if (!k->filled || !same(&k->pair, pair))
        return LOGIN_LATER;
    return k->ok ? LOGIN_YES : LOGIN_NO;
}

static size_t find_user(const struct login *login, const struct login_wait *w)
{
    size_t i = 0;
    while (i < login->count && (strlen(login->users[i].name) != w->user_len ||
                                memcmp(login->users[i].name, w->user, w->user_len) != 0))
        i++;
    return i;
}

static bool is_plain_right(const struct login *login, size_t user, const struct login_wait *w)
{
    const char *password = login->users[user].password;
    struct seal right = seal_of(login, password, strlen(password));
    struct seal given = seal_of(login, w->password, w->password_len);
    return same(&right, &given);
}

/* --- asking --- */

static void unqueue(struct login *login, struct login_wait *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    else
        login->queue_end = w->link;
    w->link = NULL;
}

static void decide(struct login *login, struct login_wait *w, bool ok)
{
    unqueue(login, w);
    w->decided(w, ok);
}

static bool send_question(struct login *login, size_t user, const struct login_wait *w)
{
    struct question q = {.user = (uint32_t)user, .password_len = (uint8_t)w->password_len};
    memcpy(q.password, w->password, w->password_len);
    bool sent = send(login->io.fd, &q, sizeof q, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof q;
    explicit_bzero(&q, sizeof q);
    return sent;
}

static void ask_about(struct login *login, const struct login_wait *w)
{
    size_t user = find_user(login, w);
    login->asked_decoy = user == login->count;
    login->asked_pair = pair_seal(login, w);
    if (login->io.fd < 0)
        start_helper(login);
    login->asked = send_question(login, login->asked_decoy ? login->decoy : user, w);
}

/* Answers whoever can be answered by what is known, and asks about the first who cannot. */
static void go_on(struct login *login)
{
    while (login->queue && !login->asked) {
        struct login_wait *w = login->queue;
        struct seal pair = pair_seal(login, w);
        enum login_verdict known = look_up(login, &pair);
        if (known == LOGIN_LATER)
            ask_about(login, w);
        if (known != LOGIN_LATER || !login->asked)
            decide(login, w, known == LOGIN_YES);
    }
}

static void replace_helper(struct login *login)
{
    loop_close(login->loop, &login->io);
    log_say(LOG_QUIET, "the login helper ended; starting another");
    if (start_helper(login) != 0)
        log_say(LOG_QUIET, "no login helper: %s", strerror(errno));
}

/* The first of the queue, unless the one who asked has left. */
static void refuse_asked(struct login *login)
{
    if (!login->queue)
        return;
    struct seal pair = pair_seal(login, login->queue);
    if (same(&pair, &login->asked_pair))
        decide(login, login->queue, false);
}

static void on_answer(struct loop_io *io, uint32_t events)
{
    struct login *login = loop_owner(io, struct login, io);
    uint8_t ok = 0;
    (void)events;
    ssize_t n = recv(io->fd, &ok, 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    login->asked = false;
    if (n == 1) {
        struct kept *k = &login->kept[place_of(&login->asked_pair)];
        *k = (struct kept){login->asked_pair, true, ok == 1 && !login->asked_decoy};
    } else {
        replace_helper(login);
        refuse_asked(login);
    }
    go_on(login);
}

enum login_verdict login_check(struct login *login, struct login_wait *w)
{
    size_t user = find_user(login, w);
    if (user < login->count && login->users[user].password)
        return is_plain_right(login, user, w) ? LOGIN_YES : LOGIN_NO;
    if (login->decoy == login->count)
        return LOGIN_NO;
    struct seal pair = pair_seal(login, w);
    enum login_verdict known = look_up(login, &pair);
    if (known != LOGIN_LATER)
        return known;
    w->next = NULL;
    w->link = login->queue_end;
    *login->queue_end = w;
    login->queue_end = &w->next;
    if (login->asked)
        return LOGIN_LATER;
    ask_about(login, w);
    if (!login->asked)
        unqueue(login, w);
    return login->asked ? LOGIN_LATER : LOGIN_NO;
}

void login_stop(struct login *login, struct login_wait *w)
{
    if (w->link)
        unqueue(login, w);
}

/* --- life --- */

struct login *login_new(struct loop *loop, const struct vd_conf_user *users, size_t count)
{
    struct login *login = calloc(1, sizeof *login);
    if (!login)
        return NULL;
    login->loop = loop;
    login->users = users;
    login->count = count;
    login->queue_end = &login->queue;
    login->io.fd = -1;
    while (login->decoy < count && !users[login->decoy].hash)
        login->decoy++;
    bool random = getrandom(login->key, KEY, 0) == KEY;
    if (random && (login->decoy == count || start_helper(login) == 0))
        return login;
    free(login);
    return NULL;
}

void login_free(struct login *login)
{
    loop_close(login->loop, &login->io);
    explicit_bzero(login, sizeof *login);
    free(login);
}
