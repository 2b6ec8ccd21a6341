/*
 * The course of a handshake that goes on without the program, and what the program may ask of it
 * meanwhile. The states are drawn in client/pending_entry.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "client/listen.h"
#include "client/pending_entry.h"
#include "client/sockets.h"
#include "client/sys.h"
#include "proto/err.h"

/* --- options that the handshake needs ----------------------------------------------------------
 */

static void write_low_water(int fd, int value)
{
    sys.setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
}

static void hold_low_water(struct entry *e)
{
    socklen_t len = sizeof e->low_water;

    if (!sockets_have_options() ||
        sys.getsockopt(e->fd, SOL_SOCKET, SO_RCVLOWAT, &e->low_water, &len) < 0)
        e->low_water = 1;
    if (e->low_water != 1)
        write_low_water(e->fd, 1);
}

static void restore_low_water(const struct entry *e)
{
    if (e->low_water != 1)
        write_low_water(e->fd, e->low_water);
}

/* --- a failure, as the program sees it ---------------------------------------------------------
 */

static bool shows_error(int fd)
{
    struct pollfd p = {.fd = fd};

    return sys.poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

static int address_of_loopback(struct sockaddr_in6 *a, int domain)
{
    struct sockaddr_in *a4 = (struct sockaddr_in *)a;

    memset(a, 0, sizeof *a);
    a->sin6_family = (sa_family_t)domain;
    if (domain == AF_INET6)
        a->sin6_addr = (struct in6_addr)IN6ADDR_LOOPBACK_INIT;
    else
        a4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return domain == AF_INET6 ? (int)sizeof *a : (int)sizeof *a4;
}

/* A port of this machine where nobody listens, as long as the socket that holds it is open; the
 * socket, or -1. */
static int hold_closed_port(struct sockaddr_in6 *a, socklen_t *len, int domain)
{
    int holder = sys.socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *len = (socklen_t)address_of_loopback(a, domain);
    if (holder >= 0 && sys.bind(holder, (struct sockaddr *)a, *len) == 0 &&
        sys.getsockname(holder, (struct sockaddr *)a, len) == 0)
        return holder;
    if (holder >= 0)
        sys.close(holder);
    return -1;
}

/* A connection that is refused leaves the socket as every refused connection does, to the last bit
 * that poll() and epoll tell. One to a closed port of this machine is refused before the call
 * returns; a blocking socket must not wait for it, for that would take the error away. */
static void be_refused(int fd)
{
    int domain = AF_INET, flags = sys.fcntl(fd, F_GETFL, NULL), holder;
    socklen_t len = sizeof domain;
    struct sockaddr_in6 a;

    sys.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    holder = hold_closed_port(&a, &len, domain);
    if (holder < 0)
        return;
    if (!(flags & O_NONBLOCK))
        sys.fcntl(fd, F_SETFL, (void *)(intptr_t)(flags | O_NONBLOCK));
    sys.connect(fd, (struct sockaddr *)&a, len);
    if (!(flags & O_NONBLOCK))
        sys.fcntl(fd, F_SETFL, (void *)(intptr_t)flags);
    sys.close(holder);
}

/* A failed connect() leaves a socket that is readable, writable and hung up, with an error. Where
 * that cannot be had for real: dissolving gives the hang-up, and an error in most cases; shutting
 * down what is not connected fails, but marks both directions. */
static void make_look_failed(int fd, int error)
{
    drive_undo(fd);
    if (error == ECONNREFUSED || !shows_error(fd))
        be_refused(fd);
    sys.shutdown(fd, SHUT_RDWR);
}

/* --- the handshake's course ------------------------------------------------------------------ */

static void show_result(struct entry *e, int result)
{
    if (result < 0) {
        e->error = drive_errno(&e->drive, result);
        make_look_failed(e->fd, e->error);
        pending_enter_state(e, PENDING_FAILED);
    } else {
        sockets_put(e->cookie, (struct sockaddr *)&e->addr, e->addr_len);
        listen_note_connection(e->fd, (struct sockaddr *)&e->addr, e->addr_len, &e->drive.chain);
        pending_arena()->settled[e->cookie % SETTLED_MAX] = e->cookie;
        pending_enter_state(e, PENDING_UP); /* before anybody is woken, who asks without the lock */
    }
}

/* A private duplicate has served: what the others hold is a socket like any. */
static void finish(struct entry *e, bool ok)
{
    int fd = e->fd;
    bool private_fd = e->private_fd;

    e->private_fd = false;
    if (ok && e->registrations == 0) {
        if (pending_has_slot(fd, e))
            pending_set_slot(fd, NULL); /* closing it is no business of ours any more */
        pending_free_entry(e);
    }
    if (private_fd)
        sys.close(fd);
}

static void end(struct entry *e)
{
    watch_give(e);
    pending_arena()->endings++;
    helper_wake_waiters();
}

void pending_set_torn(struct entry *e, bool torn)
{
    __atomic_store_n(&e->torn, torn, __ATOMIC_RELEASE);
}

void pending_settle(struct entry *e, int result)
{
    pending_set_torn(e, true);
    helper_unwatch(e);
    restore_low_water(e);
    drive_report(&e->drive, result);
    show_result(e, result);
    end(e);
    pending_set_torn(e, false);
    finish(e, result >= 0);
}

/* The settling may have been what was not finished. */
int pending_drive_anew(struct entry *e)
{
    if (e->low_water != 1)
        write_low_water(e->fd, 1);
    return drive_anew(&e->drive, e->fd);
}

static bool set_going(struct entry *e, int wants, bool may_park)
{
    e->wants = wants;
    e->beat_ns = drive_now_ns();
    if (!(may_park && park(e)) && !helper_watch(e))
        return false;
    pending_enter_state(e, PENDING_UNDER_WAY);
    return true;
}

static int fail_at_once(struct entry *e, int result)
{
    int number;

    drive_report(&e->drive, result);
    restore_low_water(e);
    number = drive_fail(&e->drive, e->fd, result);
    watch_give(e);
    pending_free_entry(e);
    return number;
}

static int begin(struct entry *e, const struct target *t)
{
    int r = drive_begin(&e->drive, t, e->addr.sin6_family, 0);

    if (r == VD_OK) {
        hold_low_water(e);
        watch_take(e, e->fd);
        r = drive_dial(&e->drive, e->fd);
    }
    if (r > 0 && set_going(e, r, true))
        return 0;
    return fail_at_once(e, r > 0 ? -VD_ERR_SPACE : r);
}

int pending_begin(int fd, const struct sockaddr *addr, socklen_t len, const struct target *t)
{
    struct pending_guard g;
    struct entry *e;
    int r = -1;

    if (!pending_arena())
        return -1;
    pending_lock(&g);
    e = pending_in_vfork_child() || !helper_ensure() ? NULL : pending_new_entry(fd, addr, len);
    if (e)
        r = begin(e, t);
    pending_unlock(&g);
    return r;
}

bool pending_adopt(int fd, const struct sockaddr *addr, socklen_t len, const struct drive *d,
                   int wants, int low_water)
{
    struct pending_guard g;
    struct entry *e;
    bool ok = false;

    if (!pending_arena())
        return false;
    pending_lock(&g);
    e = pending_in_vfork_child() || !helper_ensure() ? NULL : pending_new_entry(fd, addr, len);
    if (e) {
        e->drive = *d;
        e->low_water = low_water;
        watch_take(e, fd);
        ok = set_going(e, wants, false);
    }
    if (e && !ok) {
        watch_give(e);
        pending_free_entry(e);
    }
    pending_unlock(&g);
    return ok;
}

/* --- what the program asks ------------------------------------------------------------------- */

/* Takes the lock if the descriptor may have an entry. false: it has none. */
static bool enter(int fd, struct pending_guard *g)
{
    if (!pending_arena_made() || !note_slot(fd) || pending_in_vfork_child())
        return false;
    pending_lock(g);
    return true;
}

/* Without the lock: whoever is told waits for a change by other means, or finds out by the lock. */
enum pending_state pending_state(int fd)
{
    const struct arena *a = pending_arena_made();
    uint16_t slot = a ? note_slot(fd) : 0;
    const struct entry *e = slot ? &a->entry[slot - 1] : NULL;
    uint32_t state = e ? __atomic_load_n(&e->state, __ATOMIC_RELAXED) : PENDING_NONE;

    if (state == PENDING_NONE || state == PENDING_UP ||
        !sockets_is(fd, __atomic_load_n(&e->cookie, __ATOMIC_RELAXED)))
        return PENDING_NONE;
    return (enum pending_state)state;
}

bool pending_seems_under_way(int fd)
{
    const struct arena *a = pending_arena_made();
    uint16_t slot = a ? note_slot(fd) : 0;

    return slot &&
           __atomic_load_n(&a->entry[slot - 1].state, __ATOMIC_RELAXED) == PENDING_UNDER_WAY;
}

size_t pending_hide(struct pollfd *fds, size_t count)
{
    size_t hidden = 0;

    for (size_t i = 0; i < count; i++) {
        if (pending_state(fds[i].fd) != PENDING_UNDER_WAY)
            continue;
        fds[i].fd = -1;
        hidden++;
    }
    return hidden;
}

static void clear_kernel_error(int fd)
{
    socklen_t len = sizeof(int);
    int ignored;

    sys.getsockopt(fd, SOL_SOCKET, SO_ERROR, &ignored, &len);
}

/* Registrations that were kept from the kernel are not ours to forget. */
static void forget(struct entry *e)
{
    pending_enter_state(e, PENDING_SPENT);
    watch_give(e);
    pending_free_entry(e);
}

int pending_take_error(int fd)
{
    struct pending_guard g;
    struct entry *e;
    int error = 0;

    if (!enter(fd, &g))
        return 0;
    e = pending_entry_of(fd);
    if (e && e->state == PENDING_FAILED) {
        error = e->error;
        clear_kernel_error(fd);
        pending_enter_state(e, PENDING_SPENT);
        if (e->dissolved)
            forget(e);
    }
    pending_unlock(&g);
    return error;
}

int pending_take_for_connect(int fd)
{
    struct pending_guard g;
    struct entry *e;
    int error = 0;

    if (!enter(fd, &g))
        return 0;
    e = pending_entry_of(fd);
    if (e && e->state != PENDING_UNDER_WAY) {
        if (!e->dissolved)
            error = e->state == PENDING_FAILED ? e->error : ECONNABORTED;
        drive_dissolve(fd);
        forget(e);
    }
    pending_unlock(&g);
    return error;
}

bool pending_take_success(int fd)
{
    uint64_t cookie = pending_arena_made() ? sockets_cookie(fd) : 0, *place;
    struct pending_guard g;
    bool first;

    if (!cookie || pending_in_vfork_child())
        return false;
    pending_lock(&g);
    place = &pending_arena()->settled[cookie % SETTLED_MAX];
    first = *place == cookie;
    if (first)
        *place = 0;
    pending_unlock(&g);
    return first;
}

/* An error that is still unread outlives the dissolution, as it does in the kernel. */
static void cancel(struct entry *e, int fd)
{
    if (e->state == PENDING_FAILED) {
        e->dissolved = true;
        return;
    }
    if (e->state == PENDING_UNDER_WAY) {
        helper_unwatch(e);
        restore_low_water(e);
        drive_undo(fd);
        end(e);
    }
    forget(e);
}

void pending_cancel(int fd)
{
    struct pending_guard g;
    struct entry *e;

    if (!enter(fd, &g))
        return;
    e = pending_entry_of(fd);
    if (e)
        cancel(e, fd);
    pending_unlock(&g);
}

/* As the kernel reads the value. */
static int low_water_of(int value)
{
    return value < 0 ? INT_MAX : value == 0 ? 1 : value;
}

bool pending_set_low_water(int fd, int value)
{
    struct pending_guard g;
    struct entry *e;
    bool held = false;

    if (!enter(fd, &g))
        return false;
    e = pending_entry_of(fd);
    held = e && e->state == PENDING_UNDER_WAY;
    if (held)
        e->low_water = low_water_of(value);
    pending_unlock(&g);
    return held;
}

bool pending_get_low_water(int fd, int *value)
{
    struct pending_guard g;
    const struct entry *e;
    bool held = false;

    if (!enter(fd, &g))
        return false;
    e = pending_entry_of(fd);
    held = e && e->state == PENDING_UNDER_WAY;
    if (held)
        *value = e->low_water;
    pending_unlock(&g);
    return held;
}
