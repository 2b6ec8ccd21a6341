/*
 * What this process has of associations: control connections, and which descriptor is the socket.
 *
 * A descriptor of the program whose socket has an association is marked (MARK_CARRIED), so that its
 * closing comes by here. Descriptors of ours are believed only if the cookie is the one that was
 * noted: a program may close them behind our back and get the number for something else.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client/assoc_entry.h"
#include "client/pending_entry.h"
#include "client/session.h"
#include "client/sockets.h"
#include "client/sys.h"

enum { LINGERING_MAX = 32, LINGER_MS = 300, UNKNOWN_FORKS = UINT32_MAX };

static struct assoc_hold *holds;
static uint64_t used[SESSION_ASSOCS_MAX / 64];
static uint32_t forks; /* how often this process and those before it have forked */
static unsigned lingering;

uint32_t assoc_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
}

bool assoc_is_alive(int32_t owner)
{
    int saved = errno;
    bool alive = owner > 0 && (kill(owner, 0) == 0 || errno == EPERM);

    errno = saved;
    return alive;
}

/* --- the table ------------------------------------------------------------------------------- */

struct assoc_hold *assoc_hold_made(int at)
{
    struct assoc_hold *all = __atomic_load_n(&holds, __ATOMIC_ACQUIRE);

    return all ? &all[at] : NULL;
}

struct assoc_hold *assoc_hold(int at)
{
    if (!holds) {
        void *all = mmap(NULL, SESSION_ASSOCS_MAX * sizeof *holds, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (all == MAP_FAILED)
            return NULL;
        __atomic_store_n(&holds, all, __ATOMIC_RELEASE);
    }
    return &holds[at];
}

/* One in use: the memory is there. */
static struct assoc_hold *used_hold(int at)
{
    return &holds[at];
}

int assoc_hold_next(int at)
{
    while (holds && at < SESSION_ASSOCS_MAX) {
        uint64_t rest = used[at / 64] >> at % 64;

        if (rest)
            return at + __builtin_ctzll(rest);
        at = (at / 64 + 1) * 64;
    }
    return -1;
}

static void set_cookie(struct assoc_hold *h, uint64_t cookie)
{
    unsigned at = (unsigned)(h - holds);
    uint64_t bit = 1ull << at % 64;

    used[at / 64] = cookie ? used[at / 64] | bit : used[at / 64] & ~bit;
    __atomic_store_n(&h->cookie, cookie, __ATOMIC_RELEASE);
}

static void set_checked(struct assoc_hold *h)
{
    __atomic_store_n(&h->checked_ms, assoc_now_ms(), __ATOMIC_RELAXED);
}

/* --- control connections --------------------------------------------------------------------- */

static void close_controls(struct assoc_hold *h)
{
    assoc_abandon((int)(h - holds));
    for (int i = 0; i < h->count; i++) {
        if (sockets_cookie(h->control[i]) == h->control_cookie[i])
            helper_close_ours(h->control[i]);
        else
            note_unmark(h->control[i], MARK_OURS);
    }
    h->count = 0;
    h->under_way = 0;
}

struct assoc_hold *assoc_hold_begin(int at, uint64_t cookie, uint32_t generation, int fd)
{
    struct assoc_hold *h = assoc_hold(at);

    if (!h)
        return NULL;
    if (h->cookie == cookie)
        close_controls(h);
    else if (h->cookie)
        assoc_hold_end(at);
    if (!h->lingers)
        h->fd = fd;
    h->forks = forks;
    __atomic_store_n(&h->generation, generation, __ATOMIC_RELAXED);
    set_checked(h);
    set_cookie(h, cookie);
    if (!h->lingers)
        note_mark(fd, MARK_CARRIED);
    return h;
}

bool assoc_hold_add(struct assoc_hold *h, int fd)
{
    uint64_t cookie = sockets_cookie(fd);

    if (!cookie || h->count == VD_HOPS_MAX)
        return false;
    h->control[h->count] = fd;
    h->control_cookie[h->count++] = cookie;
    return true;
}

void assoc_hold_end(int at)
{
    struct assoc_hold *h = assoc_hold(at);

    if (!h || !h->cookie)
        return;
    close_controls(h);
    assoc_held_drop(at);
    if (h->lingers) {
        helper_close_ours(h->fd);
        lingering--;
    }
    h->lingers = false;
    set_cookie(h, 0);
}

/* A hop says nothing more there; an end is readable. */
static bool is_open(int fd)
{
    char ignored[256];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n;

    if (sys.poll(&p, 1, 0) <= 0)
        return true;
    n = p.revents & POLLIN ? sys.recv(fd, ignored, sizeof ignored, MSG_DONTWAIT) : 0;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool are_open(const struct assoc_hold *h)
{
    int saved = errno;
    bool open = true;

    for (int i = 0; open && i < h->count; i++)
        open = sockets_cookie(h->control[i]) == h->control_cookie[i] && is_open(h->control[i]);
    errno = saved;
    return open;
}

/* --- whom it serves -------------------------------------------------------------------------- */

static uint64_t noted_cookie(const struct assoc_told *told, int i)
{
    return (uint64_t)told->control[i].cookie[1] << 32 | told->control[i].cookie[0];
}

static bool are_inherited(const struct assoc_told *told)
{
    for (int i = 0; i < told->hops; i++)
        if (sockets_cookie((int)told->control[i].fd) != noted_cookie(told, i))
            return false;
    return told->hops > 0;
}

/* Of the program that was executed before: its control connections are here, though nobody knows
 * them for ours yet. */
static void take_over(struct assoc_hold *h, const struct assoc_told *told)
{
    h->forks = UNKNOWN_FORKS;
    for (int i = 0; i < told->hops; i++) {
        int fd = (int)told->control[i].fd;

        sys.fcntl(fd, F_SETFD, (void *)(intptr_t)FD_CLOEXEC);
        note_mark(fd, MARK_OURS);
        assoc_hold_add(h, fd);
    }
}

static bool is_of_another(const struct assoc_told *told)
{
    return told->owner != pending_process() && assoc_is_alive(told->owner);
}

/* The first use by this process. */
static bool begin_to_use(int at, uint64_t cookie, const struct assoc_told *told, int fd)
{
    bool inherited = are_inherited(told);
    struct assoc_hold *h;

    if (!inherited && !is_of_another(told))
        return false;
    h = assoc_hold_begin(at, cookie, told->generation, fd);
    if (h && inherited)
        take_over(h, told);
    return h && (!inherited || are_open(h));
}

bool assoc_hold_serves(int at, uint64_t cookie, const struct assoc_told *told, int fd)
{
    struct assoc_hold *h = assoc_hold(at);

    if (!h)
        return false;
    if (h->cookie != cookie || h->generation != told->generation)
        return begin_to_use(at, cookie, told, fd);
    if (h->count > 0 ? !are_open(h) : !is_of_another(told))
        return false;
    set_checked(h);
    return true;
}

/* --- the program's descriptors --------------------------------------------------------------- */

static bool may_be_carried(int fd)
{
    return note_has(fd, MARK_CARRIED) || note_has(fd, MARK_COPIED);
}

static int another_fd(uint64_t cookie, int but)
{
    for (int fd = note_next(0); fd >= 0; fd = note_next(fd + 1))
        if (fd != but && may_be_carried(fd) && sockets_cookie(fd) == cookie)
            return fd;
    return -1;
}

int assoc_hold_fd(struct assoc_hold *h)
{
    if (sockets_cookie(h->fd) != h->cookie)
        h->fd = another_fd(h->cookie, -1);
    return h->fd;
}

/* The record goes with the last who has it; who cannot tell says that it is no longer the one. */
static void give_up_record(int at, const struct assoc_hold *h)
{
    struct assoc_told told;

    if (!assoc_read(at, h->cookie, &told) || told.owner != pending_process())
        return;
    if (h->forks == forks) {
        assoc_free_place(at, h->cookie);
        return;
    }
    told.owner = 0;
    assoc_write(at, h->cookie, told.generation, &told);
}

void assoc_hold_finish(int at)
{
    give_up_record(at, used_hold(at));
    assoc_hold_end(at);
}

/* Programs close right after the last send; what they sent shall still go. */
static bool linger(struct assoc_hold *h, int fd)
{
    int copy;

    if (h->waiting == 0 || lingering >= LINGERING_MAX)
        return false;
    copy = sys.fcntl(fd, F_DUPFD_CLOEXEC, (void *)(intptr_t)PENDING_HIGH_FD);
    if (copy < 0)
        return false;
    note_mark(copy, MARK_OURS);
    h->fd = copy;
    h->lingers = true;
    lingering++;
    return true;
}

static void lose_fd(struct assoc_hold *h, int fd, int other)
{
    if (h->lingers)
        return;
    if (other >= 0) {
        h->fd = other;
        note_mark(other, MARK_CARRIED);
    } else if (!linger(h, fd)) {
        assoc_hold_finish((int)(h - holds));
    }
}

void assoc_let_go(int fd)
{
    uint64_t cookie = holds && may_be_carried(fd) ? sockets_cookie(fd) : 0;
    int other = -2 /* not looked for yet */, saved = errno;

    for (int at = cookie ? assoc_hold_next(0) : -1; at >= 0; at = assoc_hold_next(at + 1)) {
        if (holds[at].cookie != cookie)
            continue;
        if (other == -2)
            other = another_fd(cookie, fd);
        lose_fd(&holds[at], fd, other);
    }
    note_unmark(fd, MARK_CARRIED);
    errno = saved;
}

bool assoc_hold_look(int at)
{
    struct assoc_hold *h = used_hold(at);

    if (!h->lingers)
        return h->waiting > 0;
    /* A relay takes the end of the control connection for the end of it all, even of what it has
     * not read yet: so that comes a little later. */
    if (h->waiting > 0)
        set_checked(h);
    else if (assoc_now_ms() - h->checked_ms > LINGER_MS)
        assoc_hold_finish(at);
    return h->cookie != 0;
}

/* --- exec and fork --------------------------------------------------------------------------- */

static bool stays_open(int fd, uint64_t cookie)
{
    int flags = sys.fcntl(fd, F_GETFD, NULL);

    return flags >= 0 && !(flags & FD_CLOEXEC) && sockets_cookie(fd) == cookie;
}

static bool is_inherited(const struct assoc_hold *h)
{
    if (stays_open(h->fd, h->cookie))
        return true;
    for (int fd = note_next(0); fd >= 0; fd = note_next(fd + 1))
        if (may_be_carried(fd) && stays_open(fd, h->cookie))
            return true;
    return false;
}

/* Without the lock, and changing nothing but the descriptors: the memory may be the parent's. A
 * session without a file ends here; who is executed would not know them. */
void assoc_before_exec(void)
{
    int saved = errno;

    for (int at = assoc_hold_next(0); at >= 0; at = assoc_hold_next(at + 1)) {
        const struct assoc_hold *h = &holds[at];
        bool stays = *session_path() && h->under_way == 0 && is_inherited(h);

        for (int i = 0; i < h->count; i++)
            if (sockets_cookie(h->control[i]) == h->control_cookie[i])
                sys.fcntl(h->control[i], F_SETFD, (void *)(intptr_t)(stays ? 0 : FD_CLOEXEC));
    }
    errno = saved;
}

void assoc_after_fork_in_parent(void)
{
    forks++;
}

/* What the parent holds it will send; the answers it awaits it will get. */
void assoc_after_fork(void)
{
    forks++;
    assoc_forget_controls();
    assoc_held_forget();
    for (int at = assoc_hold_next(0); at >= 0; at = assoc_hold_next(at + 1)) {
        holds[at].waiting = 0;
        holds[at].under_way = 0;
        if (holds[at].lingers)
            assoc_hold_end(at);
    }
}

static bool move_in(struct assoc_hold *h, int fd, int moved)
{
    bool found = false;

    if (h->lingers && h->fd == fd)
        h->fd = moved;
    for (int i = 0; i < h->count; i++) {
        if (h->control[i] != fd)
            continue;
        h->control[i] = moved;
        found = true;
    }
    return found;
}

/* Whoever is executed looks where the record says. */
static void move_in_record(int at, const struct assoc_hold *h, int fd, int moved)
{
    struct assoc_told told;

    if (!assoc_read(at, h->cookie, &told) || told.generation != h->generation)
        return;
    for (int i = 0; i < told.hops; i++)
        if (told.control[i].fd == (uint32_t)fd)
            told.control[i].fd = (uint32_t)moved;
    assoc_write(at, h->cookie, told.generation, &told);
}

void assoc_move_fd(int fd, int moved)
{
    assoc_move_control(fd, moved);
    for (int at = assoc_hold_next(0); at >= 0; at = assoc_hold_next(at + 1))
        if (move_in(&holds[at], fd, moved))
            move_in_record(at, &holds[at], fd, moved);
}
