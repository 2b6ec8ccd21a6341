/*
 * bind(), listen() and accept(): the kernel's, but for a listener whose visitor is to come through
 * the chain.
 */
#include "client/listen.h"

#include "client/addr.h"
#include "client/sockets.h"
#include "preload/hook.h"

/* The sign is looked for only where the kernel would take the address. */
static bool takes_upon_itself(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct listen_sign sign;

    return listen_told() && hook_is_readable(addr, len) && hook_is_inet(addr, len) &&
           listen_is_sign(&sign, addr, len) && judge_carries(fd) == CARRIES_STREAM &&
           listen_claim(fd, addr, len, &sign);
}

HOOK int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    if (listen_any() && listen_bind(fd) == LISTEN_FAILED)
        return -1;
    return takes_upon_itself(fd, addr, len) ? 0 : sys.bind(fd, addr, len);
}

HOOK int listen(int fd, int backlog)
{
    if (listen_any()) {
        switch (listen_begin(fd, backlog)) {
        case LISTEN_ANSWERED:
            return 0;
        case LISTEN_FAILED:
            return -1;
        case LISTEN_NOT_OURS:
            break;
        }
    }
    return sys.listen(fd, backlog);
}

static enum listen_answer take(int fd, struct sockaddr *addr, socklen_t *len, int flags, int *taken)
{
    struct sockaddr_storage peer;
    enum listen_answer answer;
    socklen_t known;

    if (!listen_any())
        return LISTEN_NOT_OURS;
    answer = listen_accept(fd, flags, taken);
    if (answer != LISTEN_ANSWERED || !addr || !len)
        return answer;
    known = sockets_get(sockets_cookie(*taken), &peer);
    addr_copy_out(addr, len, &peer, known);
    return answer;
}

HOOK int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    int taken = -1;

    return take(fd, addr, len, 0, &taken) == LISTEN_NOT_OURS ? sys.accept(fd, addr, len) : taken;
}

HOOK int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    int taken = -1;

    return take(fd, addr, len, flags, &taken) == LISTEN_NOT_OURS ? sys.accept4(fd, addr, len, flags)
                                                                 : taken;
}
