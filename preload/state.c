/*
 * What a program may ask of a socket: its error, its peer and its own address, options, bytes; and
 * shutdown().
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "client/addr.h"
#include "client/fresh.h"
#include "client/listen.h"
#include "client/pending.h"
#include "client/sockets.h"
#include "preload/datagram.h"
#include "preload/multicast.h"

HOOK int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    socklen_t room = len ? *len : 0, known;
    struct sockaddr_storage target;
    struct sockets_datagram d;
    int r;

    if (pending_any() && pending_state(fd) == PENDING_UNDER_WAY)
        return hook_fail(ENOTCONN);
    r = sys.getpeername(fd, addr, len);
    /* One that is connected to a name server inside is not always to the kernel. */
    if (r < 0 && errno == ENOTCONN && addr && len && datagram_is_ours(fd, &d) && d.len > 0) {
        addr_copy_out(addr, len, &d.target, d.len);
        return 0;
    }
    if (r < 0 || !len || session_state() != SESSION_READY)
        return r;
    known = sockets_get(sockets_cookie(fd), &target);
    if (known) {
        *len = room;
        addr_copy_out(addr, len, &target, known);
    }
    return r;
}

HOOK int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    socklen_t room = len ? *len : 0, known = 0, shown_len = sizeof(struct sockaddr_storage);
    struct sockaddr_storage shown;
    bool listens = listen_any();
    int r = sys.getsockname(fd, addr, len);

    if (r < 0 || !len || !hook_is_inet(addr, room))
        return r;
    if (sockets_any_datagrams() &&
        sys.getsockname(fd, (struct sockaddr *)&shown, &shown_len) == 0 &&
        datagram_shows(fd, &shown, &shown_len))
        known = shown_len;
    if (!known && listens)
        known = listen_name(fd, &shown);
    if (!known)
        known = listen_shown(fd, &shown);
    if (known) {
        *len = room;
        addr_copy_out(addr, len, &shown, known);
    } else if (listens) { /* it may have become an ordinary listener just now */
        *len = room;
        return sys.getsockname(fd, addr, len);
    }
    return 0;
}

static int give_int(int number, void *value, socklen_t *len)
{
    socklen_t n = *len < sizeof number ? *len : (socklen_t)sizeof number;

    if ((int)*len < 0)
        return hook_fail(EINVAL);
    memcpy(value, &number, n);
    *len = n;
    return 0;
}

static int get_error(int fd, void *value, socklen_t *len)
{
    int error;

    if (pending_state(fd) == PENDING_UNDER_WAY) {
        pending_unpark_all(); /* it asks by other means than poll() */
        return give_int(0, value, len);
    }
    error = pending_take_error(fd);
    return error ? give_int(error, value, len)
                 : sys.getsockopt(fd, SOL_SOCKET, SO_ERROR, value, len);
}

HOOK int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    int low_water;

    if (!datagram_takes_option(fd, level, name))
        return hook_fail(ENOPROTOOPT);
    if (level != SOL_SOCKET || !pending_any() || !value || !len)
        return sys.getsockopt(fd, level, name, value, len);
    if (name == SO_ERROR)
        return get_error(fd, value, len);
    if (name == SO_RCVLOWAT && pending_get_low_water(fd, &low_water))
        return give_int(low_water, value, len);
    return sys.getsockopt(fd, level, name, value, len);
}

HOOK int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int low_water;

    if (multicast_refuses(level, name, value, len))
        return -1;
    if (!datagram_takes_option(fd, level, name))
        return hook_fail(ENOPROTOOPT);
    if (level == IPPROTO_TCP && name == TCP_ULP)
        fresh_drop(fd); /* it may be of AF_SMC then */
    sockets_note_option(level, name);
    if (level != SOL_SOCKET || name != SO_RCVLOWAT || !pending_any() || !value ||
        len < (socklen_t)sizeof low_water)
        return sys.setsockopt(fd, level, name, value, len);
    memcpy(&low_water, value, sizeof low_water);
    return pending_set_low_water(fd, low_water) ? 0 : sys.setsockopt(fd, level, name, value, len);
}

/* How many bytes may be read or were not sent yet: those of the handshake are none of the
 * program's. The kernel judges the argument. */
static int count_bytes(int fd, unsigned long request, void *argument)
{
    bool under_way = pending_state(fd) == PENDING_UNDER_WAY;
    int r = sys.ioctl(fd, request, argument);

    if (r == 0 && under_way)
        *(int *)argument = 0;
    return r;
}

/* All requests take one argument or none, which the kernel gets as it came. */
HOOK int ioctl(int fd, unsigned long request, ...)
{
    struct sockets_datagram d;
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (request == FIONBIO)
        fresh_mode(fd);
    if (request == FIONREAD && datagram_is_ours(fd, &d))
        return datagram_count(fd, &d, argument);
    if ((request == FIONREAD || request == TIOCOUTQ) && pending_any())
        return count_bytes(fd, request, argument);
    return sys.ioctl(fd, request, argument);
}

/* The kernel gives a connection up that is shut down while it is set up. */
HOOK int shutdown(int fd, int how)
{
    struct sockets_datagram d;

    if (datagram_is_ours(fd, &d))
        return datagram_shutdown(fd, &d, how);
    if (!pending_any() || how < SHUT_RD || how > SHUT_RDWR ||
        pending_state(fd) != PENDING_UNDER_WAY)
        return sys.shutdown(fd, how);
    pending_cancel(fd);
    return 0;
}
