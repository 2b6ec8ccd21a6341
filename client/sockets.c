/*
 * Cookies are given out in order, so neighbours share pages: an entry lies at its cookie modulo the
 * table's size or in one of the places behind it. A place that was used never looks unused again,
 * so that looking ends at the first that does. A writer takes the cookie out first and puts it in
 * last; a reader that finds the same cookie before and after has read a whole entry.
 */
#include "client/sockets.h"

#include <asm/socket.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "client/session_layout.h"
#include "client/session_tables.h"
#include "client/sys.h"

enum { ASKED = 1, OPENED = 2, SHUT = 4, OWN = 8 };

struct entry {
    _Alignas(8) uint64_t cookie; /* whole at any time, as all that is read without a lock */
    uint32_t turn;               /* when it was written or used: the order decides who goes first */
    uint32_t len;
    uint8_t kind; /* enum sockets_kind */
    uint8_t flags;
    uint16_t headers;
    uint32_t bound_len;
    uint8_t target[sizeof(struct sockaddr_in6)];
    union {
        uint8_t bound[sizeof(struct sockaddr_in6)]; /* streams, SOCKETS_CARRIED */
        uint32_t notes[SOCKETS_NOTES / 4];          /* SOCKETS_LOOSE */
        uint8_t all[SESSION_SOCKET_SIZE - 24 - sizeof(struct sockaddr_in6)];
    } u;
};
static_assert(sizeof(struct entry) == SESSION_SOCKET_SIZE, "an entry fits its place");
static_assert(offsetof(struct entry, turn) == 8 && offsetof(struct entry, u) == 52,
              "the same for 32-bit and 64-bit processes");

/* In the place of a cookie: there is none any more, or not yet. Never used: 0. */
static const uint64_t GONE = UINT64_MAX;

enum { WINDOW = 16, PART = 1024 /* entries that get storage at a time */ };
static_assert(SESSION_SOCKETS_MAX / PART <= 32, "a word has a bit for each part");

uint64_t sockets_cookie(int fd)
{
    socklen_t len = sizeof(uint64_t);
    uint64_t cookie = 0;
    int saved = errno;

    if (sys.getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
        cookie = 0;
    errno = saved;
    return cookie;
}

bool sockets_is(int fd, uint64_t cookie)
{
    socklen_t len = sizeof(uint64_t);
    uint64_t own = 0;
    int saved = errno, r = sys.getsockopt(fd, SOL_SOCKET, SO_COOKIE, &own, &len);
    bool is = r == 0 ? own == cookie : errno != EBADF && errno != ENOTSOCK;

    errno = saved;
    return is;
}

static uint8_t *records(void)
{
    return (uint8_t *)session_sockets() + SESSION_PLAIN_RECORDS_AT;
}

/* What stands in the table's first page. */
struct head {
    uint32_t turn;
    uint32_t options;   /* some socket of the session has one of those of sockets_note_option */
    uint32_t datagrams; /* some socket of the session is a datagram socket in our care */
    uint32_t passed;    /* a datagram socket was passed from one process to another */
    uint32_t secret[SOCKETS_SECRET / 4]; /* 0: not made yet */
};

static struct head *head(void)
{
    static bool has_head;

    if (session_state() != SESSION_READY)
        return NULL;
    if (!__atomic_load_n(&has_head, __ATOMIC_RELAXED)) {
        if (!session_commit(session_sockets(), SESSION_PAGE))
            return NULL;
        __atomic_store_n(&has_head, true, __ATOMIC_RELAXED);
    }
    return session_sockets();
}

void sockets_note_option(int level, int name)
{
    struct head *h;

    if (level != SOL_SOCKET ||
        (name != SO_SNDTIMEO_OLD && name != SO_SNDTIMEO_NEW && name != SO_RCVTIMEO_OLD &&
         name != SO_RCVTIMEO_NEW && name != SO_RCVLOWAT))
        return;
    h = head();
    if (h)
        __atomic_store_n(&h->options, 1, __ATOMIC_RELAXED);
}

bool sockets_have_options(void)
{
    const struct head *h = head();

    return !h || __atomic_load_n(&h->options, __ATOMIC_RELAXED);
}

static bool has_storage(unsigned part)
{
    static uint32_t parts;
    uint32_t bit = 1u << part;

    if (__atomic_load_n(&parts, __ATOMIC_RELAXED) & bit)
        return true;
    if (!head() || !session_commit(records() + (size_t)part * PART * SESSION_SOCKET_SIZE,
                                   (size_t)PART * SESSION_SOCKET_SIZE))
        return false;
    __atomic_fetch_or(&parts, bit, __ATOMIC_RELAXED);
    return true;
}

/* The i-th place where a cookie may stand, NULL without storage. */
static struct entry *place(uint64_t cookie, unsigned i)
{
    unsigned index = (unsigned)((cookie + i) % SESSION_SOCKETS_MAX);

    if (session_state() != SESSION_READY || !has_storage(index / PART))
        return NULL;
    return (struct entry *)(records() + (size_t)index * SESSION_SOCKET_SIZE);
}

static struct entry *find(uint64_t cookie)
{
    for (unsigned i = 0; cookie && i < WINDOW; i++) {
        struct entry *e = place(cookie, i);
        uint64_t there = e ? __atomic_load_n(&e->cookie, __ATOMIC_ACQUIRE) : GONE;

        if (there == cookie)
            return e;
        if (there == 0)
            return NULL;
    }
    return NULL;
}

/* Whether an entry makes room before another one, or before none. */
static bool goes_first(const struct entry *e, const struct entry *other)
{
    return !other || (int32_t)(e->turn - other->turn) < 0;
}

/* The entry of a cookie; else a place for it: one that is free, or that of the oldest entry. */
static struct entry *find_or_make_room(uint64_t cookie)
{
    struct entry *gone = NULL, *oldest = NULL;

    for (unsigned i = 0; i < WINDOW; i++) {
        struct entry *e = place(cookie, i);
        uint64_t there = e ? __atomic_load_n(&e->cookie, __ATOMIC_ACQUIRE) : GONE;

        if (there == cookie)
            return e;
        if (there == 0)
            return gone ? gone : e;
        if (e && there == GONE && !gone)
            gone = e;
        else if (e && goes_first(e, oldest))
            oldest = e;
    }
    return gone ? gone : oldest;
}

static void put(uint64_t cookie, const struct sockaddr *target, socklen_t len,
                enum sockets_kind kind)
{
    struct entry *e = cookie ? find_or_make_room(cookie) : NULL;

    if (!e)
        return;
    if (len > sizeof e->target)
        len = sizeof e->target;
    __atomic_store_n(&e->cookie, GONE, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    e->turn = __atomic_add_fetch(&head()->turn, 1, __ATOMIC_RELAXED);
    e->len = len;
    e->kind = (uint8_t)kind;
    e->flags = 0;
    e->headers = 0;
    e->bound_len = 0;
    memset(&e->u, 0, sizeof e->u);
    if (len)
        memcpy(e->target, target, len);
    __atomic_store_n(&e->cookie, cookie, __ATOMIC_RELEASE);
}

void sockets_put(uint64_t cookie, const struct sockaddr *target, socklen_t len)
{
    put(cookie, target, len, SOCKETS_STREAM);
}

/* Copies an address out of an entry that may be written anew meanwhile. */
static socklen_t copy_out(const struct entry *e, uint64_t cookie, struct sockaddr_storage *to,
                          const uint8_t *from, uint32_t len)
{
    if (len > sizeof e->target)
        len = 0;
    memcpy(to, from, len);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&e->cookie, __ATOMIC_RELAXED) == cookie ? len : 0;
}

/* --- datagrams ------------------------------------------------------------------------------- */

static const uint32_t nobody_looked = 1, there_is_no_session = 0;
const uint32_t *sockets_datagrams = &nobody_looked;

bool sockets_look_for_datagrams(void)
{
    const struct head *h = head();

    if (h)
        __atomic_store_n(&sockets_datagrams, &h->datagrams, __ATOMIC_RELAXED);
    else if (session_state() == SESSION_BROKEN)
        __atomic_store_n(&sockets_datagrams, &there_is_no_session, __ATOMIC_RELAXED);
    return sockets_any_datagrams();
}

void sockets_put_datagram(uint64_t cookie, enum sockets_kind kind, const struct sockaddr *target,
                          socklen_t len)
{
    struct head *h = head();

    put(cookie, target, len, kind);
    if (h && kind != SOCKETS_DIRECT)
        __atomic_store_n(&h->datagrams, 1, __ATOMIC_RELAXED);
}

void sockets_get_datagram(struct sockets_datagram *d)
{
    struct entry *e = find(d->cookie);
    uint32_t turn;

    d->kind = SOCKETS_UNKNOWN;
    d->len = 0;
    if (!e)
        return;
    turn = __atomic_load_n(&head()->turn, __ATOMIC_RELAXED);
    if (e->turn != turn)
        __atomic_store_n(&e->turn, turn, __ATOMIC_RELAXED);
    d->asked = e->flags & ASKED;
    d->opened = e->flags & OPENED;
    d->shut = e->flags & SHUT;
    d->headers = e->headers;
    d->len = e->len <= sizeof e->target ? e->len : 0;
    memcpy(&d->target, e->target, d->len);
    d->kind = (enum sockets_kind)e->kind;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&e->cookie, __ATOMIC_RELAXED) != d->cookie)
        d->kind = SOCKETS_UNKNOWN;
}

static void note(uint64_t cookie, uint8_t flag)
{
    struct entry *e = find(cookie);

    if (e)
        __atomic_fetch_or(&e->flags, flag, __ATOMIC_RELAXED);
}

void sockets_note_asked(uint64_t cookie)
{
    note(cookie, ASKED);
}

void sockets_note_opened(uint64_t cookie)
{
    note(cookie, OPENED);
}

void sockets_note_shut(uint64_t cookie)
{
    note(cookie, SHUT);
}

void sockets_note_headers(uint64_t cookie, uint16_t headers)
{
    struct entry *e = find(cookie);

    if (e)
        __atomic_store_n(&e->headers, headers, __ATOMIC_RELAXED);
}

void sockets_put_own(uint64_t cookie, const struct sockaddr *own, socklen_t len)
{
    struct entry *e = find(cookie);

    if (!e || len > sizeof e->u.bound || e->kind != SOCKETS_CARRIED)
        return;
    memcpy(e->u.bound, own, len);
    note(cookie, OWN);
}

bool sockets_get_own(uint64_t cookie, struct sockaddr_storage *own)
{
    const struct entry *e = find(cookie);

    return e && e->kind == SOCKETS_CARRIED && e->flags & OWN &&
           copy_out(e, cookie, own, e->u.bound, sizeof e->u.bound);
}

void *sockets_notes(uint64_t cookie)
{
    struct entry *e = find(cookie);

    return e && e->kind == SOCKETS_LOOSE ? e->u.notes : NULL;
}

void sockets_note_passed(void)
{
    struct head *h = head();

    if (h)
        __atomic_store_n(&h->passed, 1, __ATOMIC_RELAXED);
}

bool sockets_have_passed(void)
{
    const struct head *h = head();

    return h && __atomic_load_n(&h->passed, __ATOMIC_RELAXED);
}

/* Word by word, so that whoever makes it at the same time ends with the same bytes. */
bool sockets_secret(uint8_t secret[SOCKETS_SECRET])
{
    struct head *h = head();
    uint32_t made[SOCKETS_SECRET / 4];
    int saved = errno;

    if (!h)
        return false;
    if (!__atomic_load_n(&h->secret[SOCKETS_SECRET / 4 - 1], __ATOMIC_ACQUIRE)) {
        if (getrandom(made, sizeof made, GRND_NONBLOCK) != sizeof made) {
            errno = saved;
            return false;
        }
        for (size_t i = 0; i < SOCKETS_SECRET / 4; i++) {
            uint32_t none = 0;

            __atomic_compare_exchange_n(&h->secret[i], &none, made[i] | 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE);
        }
    }
    memcpy(secret, h->secret, SOCKETS_SECRET);
    return true;
}

/* --- addresses ------------------------------------------------------------------------------- */

socklen_t sockets_get(uint64_t cookie, struct sockaddr_storage *target)
{
    const struct entry *e = find(cookie);

    return e ? copy_out(e, cookie, target, e->target, e->len) : 0;
}

void sockets_put_bound(uint64_t cookie, const struct sockaddr *bound, socklen_t len)
{
    struct entry *e = find(cookie);

    if (!e || len > sizeof e->u.bound || e->kind != SOCKETS_STREAM)
        return;
    memcpy(e->u.bound, bound, len);
    __atomic_store_n(&e->bound_len, len, __ATOMIC_RELEASE);
}

socklen_t sockets_get_bound(uint64_t cookie, struct sockaddr_storage *bound)
{
    const struct entry *e = find(cookie);
    uint32_t len = e ? __atomic_load_n(&e->bound_len, __ATOMIC_ACQUIRE) : 0;

    return len ? copy_out(e, cookie, bound, e->u.bound, len) : 0;
}

void sockets_drop(uint64_t cookie)
{
    struct entry *e = find(cookie);

    if (e)
        __atomic_store_n(&e->cookie, GONE, __ATOMIC_RELEASE);
}
