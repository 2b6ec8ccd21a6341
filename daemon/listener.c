#include "daemon/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/balance.h"
#include "daemon/session.h"
#include "daemon/tproxy.h"
#include "daemon/worker.h"

enum { ACCEPT_BATCH = 64 };

static bool is_shortage(int number)
{
    return number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM;
}

/* false: nothing is queued, or nothing can be taken now. */
static bool accept_one(struct listener *l)
{
    struct net_addr client = {0};
    socklen_t len = sizeof client;
    if (!worker_enter(l->worker))
        return false;
    int fd = accept4(l->io.fd, &client.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        l->worker->retrying = false;
        session_new(l, fd, &client);
        return true;
    }
    int number = errno;
    worker_leave(l->worker);
    if (is_shortage(number))
        worker_pause(l->worker, number);
    return number == ECONNABORTED || number == EPROTO; /* one connection broke off in the queue */
}

static void on_ready(struct loop_io *io, uint32_t events)
{
    struct listener *l = loop_owner(io, struct listener, io);
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH && accept_one(l); i++)
        ;
}

/* A socket that several workers wait for wakes one of them for each connection, or a few. */
static uint32_t events_of(const struct listener *l)
{
    return l->shared ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN;
}

int listener_start(struct listener *l, struct worker *worker, const struct listen_at *at, int slot)
{
    struct vd_ip ip = net_addr_ip(&at->addr);
    *l = (struct listener){.io = {.fd = at->fds[at->shared ? 0 : slot],
                                  .ready = at->datagrams ? tproxy_ready : on_ready},
                           .worker = worker,
                           .conf = at->conf,
                           .addr = at->addr,
                           .wildcard = at->conf->kind == VD_LISTEN_TPROXY ||
                                       (ip.family && vd_ip_class(&ip) == VD_CLASS_UNSPECIFIED),
                           .datagrams = at->datagrams,
                           .shared = at->shared,
                           .given = at->given,
                           .tls = at->tls,
                           .offers = (uint8_t)at->offers};
    if (at->conf->kind == VD_LISTEN_FORWARD) {
        l->balance = balance_new(worker, at->conf);
        if (!l->balance)
            return -1;
    }
    return loop_watch(&worker->loop, &l->io, events_of(l));
}

/* What is watched exclusively cannot be changed, only left and joined again. */
void listener_pause(struct listener *l)
{
    if (l->io.fd < 0)
        return;
    if (!l->shared) {
        loop_change(&l->worker->loop, &l->io, 0);
        return;
    }
    l->paused_fd = l->io.fd + 1;
    loop_forget(&l->worker->loop, &l->io);
}

void listener_resume(struct listener *l)
{
    if (l->io.fd >= 0) {
        loop_change(&l->worker->loop, &l->io, EPOLLIN);
    } else if (l->paused_fd > 0) {
        l->io.fd = l->paused_fd - 1;
        l->paused_fd = 0;
        loop_watch(&l->worker->loop, &l->io, events_of(l));
    }
}

void listener_end(struct listener *l, bool last)
{
    bool take = !l->datagrams && (!l->shared || (last && !l->given));
    while (l->io.fd >= 0 && take && accept_one(l))
        ;
    loop_close(&l->worker->loop, &l->io);
    if (l->paused_fd > 0)
        close(l->paused_fd - 1);
    l->paused_fd = 0;
}

void listener_free(struct listener *l)
{
    balance_free(l->balance);
    l->balance = NULL;
}
