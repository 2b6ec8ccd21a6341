#include "launcher/talk_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/parts.h"
#include "proto/err.h"

enum { URL_MAX = VD_URL_TEXT + VD_URL_OPTIONS_TEXT, PAUSE_MS = 2, PAUSES = 500 };

/* Without the login, which is none of its business. */
static void print_url(char url[URL_MAX], const struct vd_hop *hop)
{
    struct vd_hop copy = *hop;
    struct vd_out out = vd_out_over(url, URL_MAX);

    copy.has_login = copy.user_len = copy.password_len = 0;
    vd_url_print(&out, &copy);
    vd_url_print_options(&out, &copy);
    vd_out_string(&out);
}

static bool start(struct talk *t, struct talk_secure *s, int theirs)
{
    char program[PATH_MAX], url[URL_MAX];
    char *argv[] = {program, url, NULL};
    posix_spawn_file_actions_t actions;
    int error;

    parts_tls(program);
    print_url(url, vd_chain_at(&t->chain));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, t->fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, theirs, STDOUT_FILENO);
    error = posix_spawn(&s->pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    errno = error;
    return error == 0;
}

/* The descriptor that comes with it; -1. */
static int fd_of(struct msghdr *message)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(message);
    int fd = -1;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

/* What came of it; *fd is the stream with TLS. */
static int hear(struct talk *t, const struct talk_secure *s, int64_t until_ns, int *fd)
{
    char room[CMSG_SPACE(sizeof *fd)] __attribute__((aligned(__alignof__(struct cmsghdr))));
    uint8_t err = VD_ERR_SILENT;
    struct iovec parts[2] = {{&err, 1}, {t->tls_said, sizeof t->tls_said - 1}};
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = room, .msg_controllen = sizeof room};
    struct pollfd answered = {.fd = s->asks, .events = POLLIN};
    int64_t left_ms = (until_ns - talk_now_ns()) / 1000000;
    ssize_t n;

    if (left_ms <= 0 || poll(&answered, 1, (int)left_ms + 1) <= 0)
        return -VD_ERR_SILENT;
    n = recvmsg(s->asks, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return -VD_ERR_TLS;
    t->tls_said[n - 1] = 0;
    *fd = fd_of(&message);
    return err == VD_OK && *fd >= 0 ? VD_MORE : -(int)err;
}

int talk_tls(struct talk *t, int64_t until_ns)
{
    struct talk_secure *s = &t->secure[t->secure_count];
    int pair[2], fd = -1, r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -VD_ERR_BUSY;
    s->asks = pair[0];
    if (!start(t, s, pair[1])) {
        snprintf(t->tls_said, sizeof t->tls_said, "viaduct-tls: %s", strerror(errno));
        close(pair[0]);
        close(pair[1]);
        return -VD_ERR_TLS;
    }
    close(pair[1]);
    s->below = t->fd;
    t->secure_count++;
    r = hear(t, s, until_ns, &fd);
    if (r != VD_MORE)
        return r;
    t->fd = fd;
    return VD_MORE;
}

/* Its goodbye is short. */
static void await_end(int pid)
{
    struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};

    for (int i = 0; i < PAUSES; i++) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return;
        nanosleep(&pause, NULL);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* The last first: what is in it has to pass those before. */
void talk_tls_end(struct talk *t)
{
    while (t->secure_count > 0) {
        struct talk_secure *s = &t->secure[--t->secure_count];

        close(s->asks);
        await_end(s->pid);
        if (s->below != t->fd)
            close(s->below);
    }
}
