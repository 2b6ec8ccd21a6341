/*
 * A thread for each connection: it ends with the connection, and its relay with it. The echo
 * answers "PPPPP:" and what it got, where PPPPP is the sender's port; the datagram "last?" is
 * answered with the one before it, "PPPPP:" in front.
 */
#include "tests/assoc/relay.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/udp.h"

enum { DATAGRAM = 65536, HEADROOM = 32, CONNECT = 1, ASSOCIATE = 3, HUGE_STACK = 512 * 1024 };

struct visit {
    int fd;
    enum manner manner;
};

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Bound to a port of the kernel's choice; -1: it cannot be. */
static int open_socket(int type, uint16_t *port)
{
    struct sockaddr_in a = loopback(0);
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), size = 1 << 21;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (struct sockaddr *)&a, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) < 0 ||
        (type == SOCK_STREAM && listen(fd, 1024) < 0))
        return -1;
    *port = ntohs(a.sin_port);
    return fd;
}

static bool take(int fd, void *data, size_t len)
{
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

static bool say(int fd, const void *data, size_t len)
{
    return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* --- datagrams ------------------------------------------------------------------------------- */

struct relay {
    int control, fd;
    enum manner manner;
    struct sockaddr_in client;
    uint8_t room[HEADROOM + DATAGRAM];
};

static void to_target(const struct relay *r, size_t len)
{
    const uint8_t *data = r->room + HEADROOM;
    struct vd_udp_header h;
    struct sockaddr_in to;

    if (vd_udp_read(&h, data, len) < 0 || h.frag || vd_endpoint_is_name(&h.at) ||
        h.at.ip.family != VD_IPV4)
        return;
    to = loopback(h.at.port);
    memcpy(&to.sin_addr, h.at.ip.bytes, 4);
    sendto(r->fd, data + h.len, len - h.len, 0, (struct sockaddr *)&to, sizeof to);
}

static void to_client(struct relay *r, const struct sockaddr_in *from, size_t len, uint8_t frag)
{
    struct vd_out out = vd_out_over(r->room + HEADROOM - VD_UDP_HEADER_IPV4, VD_UDP_HEADER_IPV4);
    struct vd_endpoint e = {.port = ntohs(from->sin_port)};

    e.ip = vd_ip4((const uint8_t *)&from->sin_addr);
    vd_udp_write(&out, &e);
    out.to[2] = frag;
    sendto(r->fd, out.to, out.len + len, 0, (struct sockaddr *)&r->client, sizeof r->client);
}

/* A fragment, a header cut short, nothing at all. */
static void make_noise(struct relay *r, const struct sockaddr_in *from, size_t len)
{
    to_client(r, from, len, 1);
    sendto(r->fd, "\0\0\0\1\177", 5, 0, (struct sockaddr *)&r->client, sizeof r->client);
    sendto(r->fd, "", 0, 0, (struct sockaddr *)&r->client, sizeof r->client);
}

/* false: it has served. */
static bool pass(struct relay *r)
{
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t n = recvfrom(r->fd, r->room + HEADROOM, DATAGRAM, MSG_DONTWAIT,
                         (struct sockaddr *)&from, &from_len);

    if (n < 0)
        return true;
    if (!r->client.sin_port)
        r->client = from;
    if (from.sin_port == r->client.sin_port) {
        to_target(r, (size_t)n);
        return true;
    }
    if (r->manner == RELAY_NOISY)
        make_noise(r, &from, (size_t)n);
    to_client(r, &from, (size_t)n, 0);
    return r->manner != RELAY_BRIEF;
}

static void relay(struct relay *r)
{
    struct pollfd p[] = {{.fd = r->control, .events = POLLIN}, {.fd = r->fd, .events = POLLIN}};

    while (poll(p, 2, -1) > 0) {
        if (p[1].revents && !pass(r))
            return;
        if (p[0].revents && !p[1].revents)
            return;
    }
}

static void associate(int control, enum manner manner)
{
    static const uint8_t refusal[] = {5, 7, 0, 1, 0, 0, 0, 0, 0, 0},
                         name[] = {5, 0, 0, 3, 3, 'a', '.', 'b', 0, 9};
    uint8_t reply[] = {5, 0, 0, 1, 127, 0, 0, 1, 0, 0};
    struct relay r = {.control = control, .manner = manner};
    uint16_t port = 0;

    r.fd = open_socket(SOCK_DGRAM, &port);
    reply[8] = (uint8_t)(port >> 8);
    reply[9] = (uint8_t)port;
    if (manner == RELAY_UNSAID)
        memset(reply + 4, 0, 4);
    else if (manner == RELAY_MULTICAST)
        reply[4] = 224;
    else if (manner == RELAY_NO_PORT)
        reply[8] = reply[9] = 0;
    else if (manner == RELAY_SLOW)
        usleep(RELAY_SLOW_MS * 1000);
    if (manner == RELAY_NO_UDP)
        say(control, refusal, sizeof refusal);
    else if (manner == RELAY_SILENT)
        pause();
    else if (say(control, manner == RELAY_NAME ? name : reply, sizeof reply))
        relay(&r);
    close(r.fd);
}

/* --- streams --------------------------------------------------------------------------------- */

static void splice_streams(int a, int b)
{
    struct pollfd p[] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    uint8_t buf[4096];

    while (poll(p, 2, -1) > 0)
        for (int i = 0; i < 2; i++) {
            ssize_t n = p[i].revents ? recv(p[i].fd, buf, sizeof buf, 0) : 1;

            if (n <= 0 || (p[i].revents && !say(p[1 - i].fd, buf, (size_t)n)))
                return;
        }
}

static void carry(int fd, const uint8_t request[10])
{
    static const uint8_t reply[] = {5, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    struct sockaddr_in to = loopback((uint16_t)(request[8] << 8 | request[9]));
    int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(out, (struct sockaddr *)&to, sizeof to) == 0 && say(fd, reply, sizeof reply))
        splice_streams(fd, out);
    close(out);
}

static void *serve(void *arg)
{
    struct visit v = {(int)((intptr_t)arg >> 8), (enum manner)((intptr_t)arg & 255)};
    static const uint8_t chosen[] = {5, 0};
    uint8_t hello[3], request[10];

    if (take(v.fd, hello, sizeof hello) && say(v.fd, chosen, sizeof chosen) &&
        take(v.fd, request, sizeof request)) {
        if (request[1] == ASSOCIATE)
            associate(v.fd, v.manner);
        else if (request[1] == CONNECT)
            carry(v.fd, request);
    }
    close(v.fd);
    return NULL;
}

static void answer(int fd)
{
    static char last[16 + DATAGRAM];
    static ssize_t last_len;
    char text[16 + DATAGRAM], port[8];
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(fd, text + 6, DATAGRAM, 0, (struct sockaddr *)&from, &len);

    if (n == 5 && !memcmp(text + 6, "last?", 5)) {
        sendto(fd, last, (size_t)last_len, 0, (struct sockaddr *)&from, len);
        return;
    }
    snprintf(port, sizeof port, "%05u:", (unsigned)ntohs(from.sin_port));
    memcpy(text, port, 6);
    n = n < 0 ? 0 : n;
    if (n > 65507 - 6)
        n = 65507 - 6;
    sendto(fd, text, (size_t)n + 6, 0, (struct sockaddr *)&from, len);
    memcpy(last, text, (size_t)n + 6);
    last_len = n + 6;
}

static void serve_all(struct pollfd p[RELAY_MANNERS + 1])
{
    pthread_attr_t attr;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, HUGE_STACK);
    while (poll(p, RELAY_MANNERS + 1, -1) > 0) {
        if (p[RELAY_MANNERS].revents)
            answer(p[RELAY_MANNERS].fd);
        for (int i = 0; i < RELAY_MANNERS; i++) {
            int fd = p[i].revents ? accept4(p[i].fd, NULL, NULL, SOCK_CLOEXEC) : -1;
            pthread_t thread;

            if (fd >= 0)
                pthread_create(&thread, &attr, serve, (void *)((intptr_t)fd << 8 | i));
        }
    }
}

bool relay_start(uint16_t ports[RELAY_MANNERS], uint16_t *echo)
{
    struct pollfd p[RELAY_MANNERS + 1];

    for (int i = 0; i < RELAY_MANNERS; i++)
        p[i] = (struct pollfd){.fd = open_socket(SOCK_STREAM, &ports[i]), .events = POLLIN};
    p[RELAY_MANNERS] = (struct pollfd){.fd = open_socket(SOCK_DGRAM, echo), .events = POLLIN};
    if (fork() == 0) {
        serve_all(p);
        _exit(0);
    }
    for (int i = 0; i <= RELAY_MANNERS; i++)
        close(p[i].fd);
    return true;
}
