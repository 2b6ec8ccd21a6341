/*
 * Cookies are given out in order, so neighbours share pages: an entry lies at its cookie modulo the
 * table's size or in one of the places behind it. A writer takes the cookie out first and puts it
 * in last; a reader that finds the same cookie before and after has read a whole entry.
 */
#include "client/sockets.h"

#include <asm/socket.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "client/session_layout.h"
#include "client/session_tables.h"
#include "client/sys.h"

struct entry {
    uint64_t cookie;
    uint32_t turn; /* when it was written: the order decides who goes first */
    uint32_t len;
    uint32_t denied;
    uint32_t bound_len;
    uint8_t target[sizeof(struct sockaddr_in6)];
    uint8_t bound[sizeof(struct sockaddr_in6)];
    uint8_t zero[SESSION_SOCKET_SIZE - 24 - 2 * sizeof(struct sockaddr_in6)];
};
static_assert(sizeof(struct entry) == SESSION_SOCKET_SIZE, "an entry fits its place");

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

static uint8_t *records(void)
{
    return (uint8_t *)session_sockets() + SESSION_PLAIN_RECORDS_AT;
}

/* What stands in the table's first page. */
struct head {
    uint32_t turn;
    uint32_t options; /* some socket of the session has one of those of sockets_note_option */
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

        if (e && __atomic_load_n(&e->cookie, __ATOMIC_ACQUIRE) == cookie)
            return e;
    }
    return NULL;
}

/* A free place, or that of the oldest entry. */
static struct entry *make_room(uint64_t cookie)
{
    struct entry *oldest = NULL;

    for (unsigned i = 0; i < WINDOW; i++) {
        struct entry *e = place(cookie, i);

        if (e && __atomic_load_n(&e->cookie, __ATOMIC_RELAXED) == 0)
            return e;
        if (e && (!oldest || (int32_t)(e->turn - oldest->turn) < 0))
            oldest = e;
    }
    return oldest;
}

static void put(uint64_t cookie, const struct sockaddr *target, socklen_t len, bool denied)
{
    struct entry *e = cookie ? find(cookie) : NULL;

    if (!e && cookie)
        e = make_room(cookie);
    if (!e)
        return;
    if (len > sizeof e->target)
        len = sizeof e->target;
    __atomic_store_n(&e->cookie, 0, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    e->turn = __atomic_add_fetch(&head()->turn, 1, __ATOMIC_RELAXED);
    e->len = len;
    e->denied = denied;
    e->bound_len = 0;
    memcpy(e->target, target, len);
    __atomic_store_n(&e->cookie, cookie, __ATOMIC_RELEASE);
}

void sockets_put(uint64_t cookie, const struct sockaddr *target, socklen_t len)
{
    put(cookie, target, len, false);
}

static bool any_denied;

void sockets_deny(uint64_t cookie, const struct sockaddr *target, socklen_t len)
{
    put(cookie, target, len, true);
    __atomic_store_n(&any_denied, true, __ATOMIC_RELAXED);
}

bool sockets_is_denied(int fd)
{
    const struct entry *e;

    if (!__atomic_load_n(&any_denied, __ATOMIC_RELAXED))
        return false;
    e = find(sockets_cookie(fd));
    return e && e->denied;
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

socklen_t sockets_get(uint64_t cookie, struct sockaddr_storage *target)
{
    const struct entry *e = find(cookie);

    return e ? copy_out(e, cookie, target, e->target, e->len) : 0;
}

void sockets_put_bound(uint64_t cookie, const struct sockaddr *bound, socklen_t len)
{
    struct entry *e = find(cookie);

    if (!e || len > sizeof e->bound)
        return;
    memcpy(e->bound, bound, len);
    __atomic_store_n(&e->bound_len, len, __ATOMIC_RELEASE);
}

socklen_t sockets_get_bound(uint64_t cookie, struct sockaddr_storage *bound)
{
    const struct entry *e = find(cookie);
    uint32_t len = e ? __atomic_load_n(&e->bound_len, __ATOMIC_ACQUIRE) : 0;

    return len ? copy_out(e, cookie, bound, e->bound, len) : 0;
}

void sockets_drop(uint64_t cookie)
{
    struct entry *e = find(cookie);

    if (e)
        __atomic_store_n(&e->cookie, 0, __ATOMIC_RELEASE);
}
