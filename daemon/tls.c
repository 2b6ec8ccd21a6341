/*
 *     SHAKING ──done──> OPEN ──both ways ended──> (over)
 *        │                │
 *        └──failed──> CUT <──broke off, or nonsense came──┘
 *
 * OPEN has two ways: `up` from the owner's end into TLS, `down` from there to the owner. Each
 * carries, holds what was not accepted, then passes the end on: EOF of the owner's end becomes
 * close_notify and FIN, close_notify becomes EOF. Nothing is read from one side while the other
 * has not taken what came before.
 *
 * CUT closes the socket pair; the owner reads what is in it, then EOF, and asks tls_is_cut. The
 * connection stays a while where an alert was sent: closing with unread bytes would be a reset,
 * which overtakes the alert.
 *
 * An SSL call that would block says which event it waits for, which need not be its own direction's
 * (key updates): read_waits and write_waits. Events are edge-triggered, so what does not wait may
 * be tried. OpenSSL writes with write(2): workers ignore SIGPIPE.
 *
 * Nobody is called back: the owner learns of everything by its descriptor. A struct tls lives until
 * its owner has let go of it (tls_end) and nothing is left to be done; without an owner it stands
 * in pool->leaving, where whoever moves goes to the end.
 */
#include "daemon/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/net.h"
#include "daemon/tls_session.h"
#include "proto/err.h"

enum { TURNS = 8 };
enum state { SHAKING, OPEN, CUT };

struct way {
    uint8_t *held;
    uint32_t at, len; /* of what is held */
    bool eof, shut;   /* nothing more comes; and that was passed on */
};

struct tls {
    struct tls *next, **link; /* in pool->leaving; link NULL: it is not */
    struct tls_pool *pool;
    struct tls *below;
    SSL *ssl;
    struct loop_io net, near; /* the connection; our end of the pair */
    struct loop_task task;
    struct way up, down;
    uint32_t read_waits, write_waits; /* events of `net`; 0: may be tried */
    bool near_readable, near_writable;
    bool owned;
    bool resumes;    /* a session was offered */
    uint8_t state;   /* enum state */
    uint8_t failure; /* enum vd_err */
    int64_t until_ms;
    char *said;
};

static struct loop *loop_of(const struct tls *t)
{
    return t->pool->loop;
}

/* --- those without an owner --- */

static void unlink_leaving(struct tls *t)
{
    if (!t->link)
        return;
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    else
        t->pool->leaving_end = t->link;
    t->link = NULL;
    t->pool->leaving_count--;
}

/* To the end of the row, with all its patience. */
static void link_leaving(struct tls *t)
{
    struct tls_pool *pool = t->pool;
    unlink_leaving(t);
    t->until_ms = pool->loop->now_ms + TLS_PATIENCE_MS;
    t->next = NULL;
    t->link = pool->leaving_end;
    *pool->leaving_end = t;
    pool->leaving_end = &t->next;
    pool->leaving_count++;
    if (pool->sweep.at_ms == 0)
        loop_timer_in(pool->loop, &pool->sweep, TLS_PATIENCE_MS);
}

static void drop(struct way *way)
{
    free(way->held);
    way->held = NULL;
    way->len = 0;
}

static void destroy(struct tls *t, enum tls_end how)
{
    int fd = loop_take(loop_of(t), &t->net);
    if (fd >= 0 && how == TLS_BY_RESET && !t->below)
        net_abort(fd);
    else if (fd >= 0)
        close(fd);
    tls_end(t->below, how);
    loop_close(loop_of(t), &t->near);
    loop_task_stop(loop_of(t), &t->task);
    unlink_leaving(t);
    SSL_free(t->ssl);
    drop(&t->up);
    drop(&t->down);
    free(t->said);
    t->pool->count--;
    free(t);
}

/* Who was told of our end misses nothing. */
static void give_up(struct tls *t)
{
    destroy(t, t->up.shut ? TLS_IN_ORDER : TLS_BY_RESET);
}

static void on_sweep(struct loop_timer *timer)
{
    struct tls_pool *pool = loop_owner(timer, struct tls_pool, sweep);
    while (pool->leaving && pool->leaving->until_ms <= pool->loop->now_ms)
        give_up(pool->leaving);
    if (pool->leaving)
        loop_timer_in(pool->loop, timer, pool->leaving->until_ms - pool->loop->now_ms);
}

void tls_pool_init(struct tls_pool *pool, struct loop *loop)
{
    *pool = (struct tls_pool){.loop = loop, .sweep.fire = on_sweep};
    pool->leaving_end = &pool->leaving;
}

void tls_pool_free(struct tls_pool *pool)
{
    while (pool->leaving)
        give_up(pool->leaving);
    loop_timer_stop(pool->loop, &pool->sweep);
    free(pool->buffer);
}

/* --- the end of a connection --- */

/* With an alert on its way the connection is only shut. */
static void cut(struct tls *t, bool alerted)
{
    t->state = CUT;
    loop_close(loop_of(t), &t->near);
    drop(&t->up);
    drop(&t->down);
    if (alerted)
        shutdown(t->net.fd, SHUT_WR);
    else
        loop_close(loop_of(t), &t->net);
    loop_later(loop_of(t), &t->task);
}

static void note(struct tls *t, int failure, const char *words)
{
    if (t->state == SHAKING)
        t->failure = (uint8_t)failure;
    if (!t->said)
        t->said = strdup(words);
}

/* What is wrong with the certificate that the other side has shown; NULL: nothing that counts. */
static const char *certificate_fault(const struct tls *t)
{
    long result = SSL_get_verify_result(t->ssl);
    bool counts = SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE && result != X509_V_OK;
    return counts ? X509_verify_cert_error_string(result) : NULL;
}

static const char *words_of(unsigned long code)
{
    const char *words = ERR_reason_error_string(code);
    return words ? words : "the TLS library gives no reason";
}

/* What an SSL call came to. */
struct outcome {
    int ssl_error;
    int number;         /* errno */
    unsigned long code; /* of OpenSSL's queue */
};

/* SSL_get_error judges by the queue of errors, errno tells of the socket. */
static void clear_errors(void)
{
    ERR_clear_error();
    errno = 0;
}

static struct outcome outcome_of(const struct tls *t, int result)
{
    int number = errno;
    return (struct outcome){SSL_get_error(t->ssl, result), number, ERR_peek_error()};
}

static bool is_eof(const struct outcome *o)
{
    return (o->code == 0 && o->number == 0) ||
           (ERR_GET_LIB(o->code) == ERR_LIB_SSL &&
            ERR_GET_REASON(o->code) == SSL_R_UNEXPECTED_EOF_WHILE_READING);
}

/* Who was told of our end may close without a word. */
static void broke(struct tls *t, const struct outcome *o)
{
    const char *fault = certificate_fault(t);
    bool eof = is_eof(o), lost = o->ssl_error == SSL_ERROR_SYSCALL && o->code == 0 && !eof;
    if (eof && t->state == OPEN && t->up.shut) {
        t->down.eof = true;
        return;
    }
    if (t->state == SHAKING || (!eof && !lost))
        tls_sessions_forget(t->ssl, t->state == SHAKING && t->resumes);
    if (eof)
        note(t, VD_ERR_CLOSED, "the connection ended without close_notify");
    else if (lost)
        note(t, VD_ERR_RESET, strerror(o->number));
    else if (fault)
        note(t, VD_ERR_CERTIFICATE, fault);
    else
        note(t, VD_ERR_TLS, words_of(o->code));
    cut(t, !eof && !lost);
}

/* The call has not done its work: sets `*waits`, notes the end, or leaves the state. */
static void act_on(struct tls *t, const struct outcome *o, uint32_t *waits)
{
    if (o->ssl_error == SSL_ERROR_WANT_READ)
        *waits = EPOLLIN;
    else if (o->ssl_error == SSL_ERROR_WANT_WRITE)
        *waits = EPOLLOUT;
    else if (o->ssl_error == SSL_ERROR_ZERO_RETURN)
        t->down.eof = true;
    else
        broke(t, o);
}

static int hold(struct way *way, const uint8_t *data, size_t len)
{
    way->held = malloc(len);
    if (!way->held)
        return -1;
    memcpy(way->held, data, len);
    way->at = 0;
    way->len = (uint32_t)len;
    return 0;
}

static void took(struct way *way, size_t n)
{
    way->at += (uint32_t)n;
    way->len -= (uint32_t)n;
    if (way->len == 0)
        drop(way);
}

/* --- up: from the owner into TLS; each step says whether anything was moved --- */

static size_t encrypt(struct tls *t, const uint8_t *data, size_t len)
{
    size_t done = 0, n = 0;
    int ok = 1;
    while (ok == 1 && done < len) {
        clear_errors();
        ok = SSL_write_ex(t->ssl, data + done, len - done, &n);
        done += ok == 1 ? n : 0;
    }
    struct outcome o = outcome_of(t, ok);
    if (ok != 1)
        act_on(t, &o, &t->write_waits);
    return done;
}

static bool encrypt_held(struct tls *t)
{
    size_t n = encrypt(t, t->up.held + t->up.at, t->up.len);
    if (t->state == OPEN)
        took(&t->up, n);
    return n > 0;
}

/* An owner that closes with bytes unread resets the pair: what it wrote has been read before. */
static bool encrypt_fresh(struct tls *t)
{
    uint8_t *buffer = t->pool->buffer;
    ssize_t n = recv(t->near.fd, buffer, TLS_CHUNK, 0);
    if (n < 0 && errno == EAGAIN) {
        t->near_readable = false;
        return false;
    }
    if (n <= 0) {
        t->up.eof = true;
        return true;
    }
    size_t done = encrypt(t, buffer, (size_t)n);
    if (t->state == OPEN && done < (size_t)n && hold(&t->up, buffer + done, (size_t)n - done) != 0)
        cut(t, false);
    return true;
}

static bool say_goodbye(struct tls *t)
{
    clear_errors();
    int result = SSL_shutdown(t->ssl);
    struct outcome o = outcome_of(t, result);
    if (result < 0) {
        act_on(t, &o, &t->write_waits);
        return false;
    }
    shutdown(t->net.fd, SHUT_WR);
    t->up.shut = true;
    return true;
}

static bool up_on(struct tls *t)
{
    if (t->up.shut || t->write_waits)
        return false;
    if (t->up.held)
        return encrypt_held(t);
    if (t->up.eof)
        return say_goodbye(t);
    return t->near_readable && encrypt_fresh(t);
}

/* --- down: from TLS to the owner --- */

/* How many bytes the owner's end took; an end that is closed takes them all. */
static size_t give(struct tls *t, const uint8_t *data, size_t len)
{
    ssize_t n = send(t->near.fd, data, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        return len;
    t->near_writable = n == (ssize_t)len;
    return n < 0 ? 0 : (size_t)n;
}

static bool give_held(struct tls *t)
{
    size_t n = give(t, t->down.held + t->down.at, t->down.len);
    took(&t->down, n);
    return n > 0;
}

/* What came before an end or a fault is given first; if it was not taken, OpenSSL tells of the
 * fault once more. */
static bool decrypt(struct tls *t)
{
    uint8_t *buffer = t->pool->buffer;
    size_t len = 0, n = 0, given = 0;
    int ok = 1;
    while (ok == 1 && len < TLS_CHUNK) {
        clear_errors();
        ok = SSL_read_ex(t->ssl, buffer + len, TLS_CHUNK - len, &n);
        len += ok == 1 ? n : 0;
    }
    struct outcome o = outcome_of(t, ok);
    if (len > 0)
        given = give(t, buffer, len);
    if (given < len && hold(&t->down, buffer + given, len - given) != 0)
        cut(t, false);
    else if (given == len && ok != 1)
        act_on(t, &o, &t->read_waits);
    return len > 0 || t->down.eof;
}

static bool down_on(struct tls *t)
{
    if (t->down.shut || (t->owned && !t->near_writable))
        return false;
    if (t->down.held)
        return give_held(t);
    if (t->down.eof) {
        shutdown(t->near.fd, SHUT_WR);
        t->down.shut = true;
        return true;
    }
    return t->read_waits == 0 && decrypt(t);
}

/* --- all together --- */

static void shake(struct tls *t)
{
    clear_errors();
    int result = SSL_do_handshake(t->ssl);
    struct outcome o = outcome_of(t, result);
    if (result == 1) {
        tls_sessions_note(t->ssl);
        t->state = OPEN;
        t->read_waits = t->write_waits = 0;
        return;
    }
    act_on(t, &o, &t->read_waits);
    if (t->state == SHAKING && t->down.eof) {
        note(t, VD_ERR_CLOSED, "the other side ended the TLS handshake");
        cut(t, false);
    }
}

static bool open_on(struct tls *t)
{
    bool moved = up_on(t);
    if (moved && t->link)
        link_leaving(t);
    if (t->state == OPEN && down_on(t))
        moved = true;
    return moved && t->state == OPEN;
}

/* CUT: what the peer still says is read and thrown away, so that it gets the alert. */
static bool drain(struct tls *t)
{
    ssize_t n = t->net.fd < 0 ? -1 : recv(t->net.fd, t->pool->buffer, TLS_CHUNK, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        loop_close(loop_of(t), &t->net);
    return n > 0;
}

static bool is_over(const struct tls *t)
{
    return t->state == CUT ? t->net.fd < 0 : t->up.shut && t->down.shut;
}

static void on(struct tls *t)
{
    int turns = 0;
    bool more = true;
    for (; more && turns < TURNS; turns++) {
        if (t->state == SHAKING && t->read_waits == 0)
            shake(t);
        more = t->state == OPEN ? open_on(t) : t->state == CUT && drain(t);
    }
    if (more)
        loop_later(loop_of(t), &t->task);
    if (!t->owned && t->up.eof)
        loop_close(loop_of(t), &t->near);
    if (!t->owned && is_over(t))
        destroy(t, TLS_IN_ORDER);
}

static void on_net(struct loop_io *io, uint32_t events)
{
    struct tls *t = loop_owner(io, struct tls, net);
    uint32_t ready = events & (EPOLLIN | EPOLLOUT);
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        ready |= EPOLLIN;
    if (events & (EPOLLHUP | EPOLLERR))
        ready |= EPOLLOUT;
    t->read_waits &= ~ready;
    t->write_waits &= ~ready;
    if ((events & EPOLLERR) && t->state == OPEN && t->down.shut) {
        note(t, VD_ERR_RESET, "reset behind its end");
        cut(t, false);
    }
    on(t);
}

static void on_near(struct loop_io *io, uint32_t events)
{
    struct tls *t = loop_owner(io, struct tls, near);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        t->near_readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        t->near_writable = true;
    if (t->state == OPEN)
        on(t);
}

static void on_task(struct loop_task *task)
{
    on(loop_owner(task, struct tls, task));
}

/* --- the face --- */

/* The pair, watched at both ends. 0, or -1 with errno and without a pair. */
static int set_between(struct tls *t, struct loop_io *io)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    loop_hand_over(loop_of(t), io, &t->net);
    io->fd = pair[0];
    t->near.fd = pair[1];
    if (loop_watch(loop_of(t), io, loop_everything) == 0 &&
        loop_watch(loop_of(t), &t->near, loop_everything) == 0)
        return 0;
    int number = errno;
    loop_close(loop_of(t), io);
    loop_close(loop_of(t), &t->near);
    loop_hand_over(loop_of(t), &t->net, io);
    errno = number;
    return -1;
}

struct tls *tls_start(struct tls_pool *pool, struct loop_io *io, SSL *ssl, struct tls *below)
{
    struct tls *t = calloc(1, sizeof *t);
    if (!pool->buffer)
        pool->buffer = malloc(TLS_CHUNK);
    if (!t || !pool->buffer || SSL_set_fd(ssl, io->fd) != 1) {
        SSL_free(ssl);
        free(t);
        errno = ENOMEM;
        return NULL;
    }
    t->pool = pool;
    t->net.ready = on_net;
    t->near.ready = on_near;
    t->task.run = on_task;
    if (set_between(t, io) != 0) {
        SSL_free(ssl);
        free(t);
        return NULL;
    }
    t->ssl = ssl;
    t->resumes = SSL_get_session(ssl) != NULL;
    t->below = below;
    t->owned = true;
    pool->count++;
    loop_later(pool->loop, &t->task);
    return t;
}

void tls_end(struct tls *t, enum tls_end how)
{
    if (!t)
        return;
    t->owned = false;
    if (how == TLS_BY_RESET || t->state == SHAKING || is_over(t)) {
        destroy(t, how);
        return;
    }
    link_leaving(t);
    if (t->pool->leaving_count > TLS_LEAVING_MAX)
        give_up(t->pool->leaving);
    t->near_readable = true; /* at least its end */
    on(t);
}

bool tls_is_cut(const struct tls *t)
{
    return t && t->state == CUT;
}

bool tls_is_sending(const struct tls *t)
{
    if (!t || t->net.fd < 0)
        return false;
    return t->up.held || net_unsent(t->net.fd) || tls_is_sending(t->below);
}

int tls_failure(const struct tls *t)
{
    return t ? t->failure : VD_OK;
}

const char *tls_said(const struct tls *t)
{
    return t && t->said ? t->said : "";
}

const char *tls_version(const struct tls *t)
{
    return t && t->state != SHAKING && t->failure == VD_OK ? SSL_get_version(t->ssl) : "";
}
