/*
 * viaduct-tls URL: puts TLS on a connection to a hop, for `viaduct --check`, which is linked
 * statically and has no OpenSSL. It is verified, and what is wrong with it is said, as viaductd
 * does.
 *
 *     standard input: the connection; standard output: a unix stream to who asks
 *
 * There it says once what came of the handshake: a byte, VD_OK or the reason of proto/err.h, and
 * behind it the version of TLS, or words. With VD_OK comes a descriptor, on which everything that
 * is written is encrypted and what is read was decrypted. When that stream ends, TLS does.
 */
#include <errno.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/value.h"
#include "daemon/loop.h"
#include "daemon/tls.h"
#include "daemon/tls_context.h"
#include "proto/err.h"

enum { GOODBYE_MS = 200, SAID_MAX = 400 };

static struct {
    struct loop loop;
    struct tls_pool pool;
    struct loop_io stream, asker; /* what is handed over; who asks */
    struct loop_timer goodbye;
    struct tls *tls;
    bool told;
} all;

/* One message: a byte, words, and maybe a descriptor. */
static void tell(int err, const char *words, int fd)
{
    char room[CMSG_SPACE(sizeof fd)] __attribute__((aligned(__alignof__(struct cmsghdr)))) = {0};
    uint8_t text[1 + SAID_MAX];
    size_t len = strnlen(words, SAID_MAX);
    struct iovec part = {text, 1 + len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    text[0] = (uint8_t)err;
    memcpy(text + 1, words, len);
    if (fd >= 0) {
        message.msg_control = room;
        message.msg_controllen = sizeof room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    all.told = true;
    if (sendmsg(STDOUT_FILENO, &message, MSG_NOSIGNAL) < 0)
        all.loop.stop = true; /* nobody asks any more */
}

static void look(struct loop *loop)
{
    if (all.told)
        return;
    if (tls_failure(all.tls) != VD_OK || tls_is_cut(all.tls)) {
        int err = tls_failure(all.tls);
        tell(err != VD_OK ? err : VD_ERR_RESET, tls_said(all.tls), -1);
        loop->stop = true;
    } else if (*tls_version(all.tls)) {
        tell(VD_OK, tls_version(all.tls), all.stream.fd);
        loop_close(loop, &all.stream);
    }
}

static void end(struct loop_timer *timer)
{
    (void)timer;
    all.loop.stop = true;
}

/* Its end is all that it says. */
static void on_asker(struct loop_io *io, uint32_t events)
{
    if (!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    loop_forget(&all.loop, io);
    loop_close(&all.loop, &all.stream);
    tls_end(all.tls, TLS_IN_ORDER);
    all.tls = NULL;
    all.told = true;
    all.goodbye.fire = end;
    loop_timer_in(&all.loop, &all.goodbye, GOODBYE_MS);
}

static void after(struct loop *loop)
{
    look(loop);
    if (!all.tls && all.pool.count == 0)
        loop->stop = true;
}

/* The end of TLS is told by its timer or its descriptor; nothing else has to be done. */
static void on_stream(struct loop_io *io, uint32_t events)
{
    (void)io, (void)events;
}

static int complain(const char *what)
{
    tell(VD_ERR_BUSY, what, -1);
    return 1;
}

static int serve(const struct vd_hop *hop)
{
    char *error = NULL;
    struct tls_contexts *contexts = tls_contexts_new();
    if (!contexts || tls_contexts_add(contexts, hop, &error) != 0) {
        tell(VD_ERR_CERTIFICATE, error ? error : "out of memory", -1);
        return 1;
    }
    SSL *ssl = tls_contexts_connect(contexts, hop);
    if (!ssl || loop_init(&all.loop) != 0 || loop_reserve(&all.loop, 8) != 0)
        return complain("out of memory");
    tls_pool_init(&all.pool, &all.loop);
    all.stream = (struct loop_io){STDIN_FILENO, on_stream};
    all.asker = (struct loop_io){STDOUT_FILENO, on_asker};
    all.loop.after = after;
    if (loop_watch(&all.loop, &all.stream, loop_everything) != 0 ||
        loop_watch(&all.loop, &all.asker, loop_everything) != 0)
        return complain(strerror(errno));
    all.tls = tls_start(&all.pool, &all.stream, ssl, NULL);
    if (!all.tls)
        return complain(strerror(errno));
    loop_run(&all.loop);
    return 0;
}

int main(int argc, char **argv)
{
    static struct vd_hop hop;
    char *error = NULL;
    if (argc != 2 || vd_conf_hop(&hop, argv[1], &error) < 0 || hop.scheme != VD_HTTPS) {
        fputs("usage: viaduct-tls https://HOST:PORT (run by viaduct)\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    return serve(&hop);
}
