/*
 * Associations from the first datagram to the last close: chains, refusals, losses, what is held,
 * descriptors.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/pending.h"
#include "tests/assoc/rig.h"
#include "tests/unit/tap.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static char data[RIG_DATAGRAM];

static void fill(char *to, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (char)(seed = seed * 1103515245u + 12345u);
}

/* --- carrying -------------------------------------------------------------------------------- */

static void sizes(enum rig_chain chain, const char *name)
{
    static const size_t lens[] = {0, 1, 2, 1200, 1472, 1473, 9000, 65400};
    static char sent[RIG_DATAGRAM];
    int fd = rig_socket();

    tap_begin();
    for (unsigned i = 0; i < sizeof lens / sizeof *lens; i++) {
        ssize_t n;

        fill(sent, lens[i], i + 1);
        if (rig_send(fd, chain, sent, lens[i]) != (ssize_t)lens[i])
            tap_wrong("%zu bytes were not sent", lens[i]);
        n = rig_receive(fd, data, rig_patience_ms());
        if (n != (ssize_t)lens[i] + 6 || memcmp(data + 6, sent, lens[i]) != 0)
            tap_wrong("%zu bytes came back as %zd", lens[i], n);
    }
    tap_end(name);
    rig_close(fd);
}

/* What was sent before the association stood comes first, and nothing is lost or twice. */
static void order(void)
{
    enum { COUNT = 400 };
    int fd = rig_socket();

    tap_begin();
    for (int i = 0; i < COUNT; i++) {
        if (rig_send(fd, RIG_SLOW, &i, sizeof i) != sizeof i)
            tap_wrong("datagram %d was not taken", i);
        if (i % 2)
            rig_nap(1);
    }
    for (int i = 0, got = -1; i < COUNT; i++) {
        if (rig_receive(fd, data, rig_patience_ms()) != 6 + sizeof i)
            got = -1;
        else
            memcpy(&got, data + 6, sizeof got);
        if (got != i)
            tap_wrong("%d came instead of %d", got, i);
    }
    tap_end("what is held keeps its order, and what is sent meanwhile comes behind it");
    rig_close(fd);
}

static void held_limit(void)
{
    int fd = rig_socket(), came = 0;

    for (int i = 0; i < 100; i++)
        rig_send(fd, RIG_SLOW, data, 1400);
    while (rig_receive(fd, data, came ? 300 : rig_patience_ms()) == 1406)
        came++;
    tap_ok(came >= 44 && came <= ASSOC_HELD_MAX / 1400, "64 KiB are held (%d of 100 came)", came);
    rig_close(fd);
}

static void two_chains(void)
{
    int fd = rig_socket();
    unsigned one = rig_visit(fd, RIG_ONE, "one"), two = rig_visit(fd, RIG_TWO, "two");

    tap_ok(one && two && one != two, "one socket, two chains: two associations");
    tap_ok(rig_visit(fd, RIG_ONE, "again") == one && rig_visit(fd, RIG_TWO, "again") == two,
           "both go on");
    rig_close(fd);
}

static void many_parts(void)
{
    enum { PARTS = 600 };
    struct vd_endpoint echo = rig_echo();
    struct iovec parts[PARTS];
    int fd = rig_socket();
    ssize_t held, sent;

    fill(data, PARTS, 1);
    for (int i = 0; i < PARTS; i++)
        parts[i] = (struct iovec){data + i, 1};
    held = assoc_send(fd, rig_cookie(fd), rig_chain(RIG_ONE), &echo, parts, PARTS, NULL, 0, 0);
    tap_ok(held == PARTS && rig_receive(fd, data + 1000, rig_patience_ms()) == PARTS + 6 &&
               !memcmp(data + 1006, data, PARTS),
           "600 parts, held");
    sent = assoc_send(fd, rig_cookie(fd), rig_chain(RIG_ONE), &echo, parts, PARTS, NULL, 0, 0);
    tap_ok(sent == PARTS && rig_receive(fd, data + 1000, rig_patience_ms()) == PARTS + 6 &&
               !memcmp(data + 1006, data, PARTS),
           "600 parts, sent");
    parts[1].iov_base = (void *)8;
    sent = assoc_send(fd, rig_cookie(fd), rig_chain(RIG_ONE), &echo, parts, 2, NULL, 0, 0);
    tap_ok(sent == -EFAULT, "a bad pointer, sent");
    held = assoc_send(fd, rig_cookie(fd), rig_chain(RIG_SLOW), &echo, parts, 2, NULL, 0, 0);
    tap_ok(held == -EFAULT, "a bad pointer, held");
    rig_close(fd);
}

/* --- what cannot be -------------------------------------------------------------------------- */

static void too_long(void)
{
    int fd = rig_socket();

    tap_ok(rig_send(fd, RIG_ONE, data, 65508) == -EMSGSIZE, "longer than a datagram");
    tap_ok(rig_send(fd, RIG_ONE, data, 65507 - 9) == -EMSGSIZE, "with its header, held");
    rig_visit(fd, RIG_TWO, "up");
    tap_ok(rig_send(fd, RIG_TWO, data, 65507 - 19) == -EMSGSIZE, "with its headers, sent");
    tap_ok(rig_send(fd, RIG_TWO, data, 65507 - 20) == 65507 - 20, "the longest");
    rig_close(fd);
}

static void unusual(void)
{
    struct vd_endpoint echo = rig_echo();
    struct iovec part = {data, 10};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.head = {CMSG_LEN(sizeof(uint16_t)), IPPROTO_UDP, UDP_SEGMENT}};
    int fd = rig_socket();
    ssize_t cut = assoc_send(fd, rig_cookie(fd), rig_chain(RIG_ONE), &echo, &part, 1, &control,
                             sizeof control, 0);
    ssize_t more =
        assoc_send(fd, rig_cookie(fd), rig_chain(RIG_ONE), &echo, &part, 1, NULL, 0, MSG_MORE);

    tap_ok(cut == -EIO, "segments that the kernel would cut");
    tap_ok(more == -EOPNOTSUPP, "MSG_MORE");
    echo.port = 0;
    tap_ok(assoc_send(fd, rig_cookie(fd), rig_chain(RIG_ONE), &echo, &part, 1, NULL, 0, 0) ==
               -EINVAL,
           "port 0");
    rig_close(fd);
}

static const struct {
    enum rig_chain chain;
    int number;
    const char *line;
} refusals[] = {
    {RIG_REFUSED, EACCES, "hop 1 of 1 "},
    {RIG_REFUSED_SECOND, EACCES, "hop 2 of 3 "},
    {RIG_NAME, EACCES, "gives a name for the address of its relay"},
    {RIG_MULTICAST, EACCES, "hop 2 of 2 "},
    {RIG_NO_PORT, EACCES, "no port for its relay"},
    {RIG_HTTP, EACCES, "does not carry UDP"},
    {RIG_DEAD, ENETUNREACH, "cannot be reached"},
    {RIG_SILENT, ETIMEDOUT, "did not answer in time"},
};
enum { REFUSALS = sizeof refusals / sizeof *refusals };

static void check_lines(const char *what, bool wanted)
{
    bool said[REFUSALS];

    rig_take_lines();
    for (int i = 0; i < REFUSALS; i++)
        said[i] = rig_said(refusals[i].line);
    for (int i = 0; i < REFUSALS - (wanted ? 1 : 0); i++)
        tap_ok(said[i] == wanted, "%s: %s", what, refusals[i].line);
}

/* The first send is taken, later ones tell. */
static void refused(void)
{
    int fds[REFUSALS];
    ssize_t first[REFUSALS], later[REFUSALS], again[REFUSALS];

    rig_take_lines();
    for (int i = 0; i < REFUSALS; i++)
        first[i] = rig_send(fds[i] = rig_socket(), refusals[i].chain, "x", 1);
    rig_nap(500);
    for (int i = 0; i < REFUSALS - 1; i++)
        later[i] = rig_send(fds[i], refusals[i].chain, "x", 1);
    check_lines("the line says so", true);
    for (int i = 0; i < REFUSALS - 1; i++)
        again[i] = rig_send(fds[i], refusals[i].chain, "x", 1);
    check_lines("told once", false);
    rig_nap(rig_timeout_ms());
    later[REFUSALS - 1] = again[REFUSALS - 1] = rig_send(fds[REFUSALS - 1], RIG_SILENT, "x", 1);
    for (int i = 0; i < REFUSALS; i++)
        tap_ok((first[i] == 1 || first[i] == -refusals[i].number) &&
                   later[i] == -refusals[i].number && again[i] == later[i],
               "%s: %s", refusals[i].line, strerrorname_np(refusals[i].number));
    rig_take_lines();
    tap_ok(rig_said(refusals[REFUSALS - 1].line), "%s", refusals[REFUSALS - 1].line);
    for (int i = 0; i < REFUSALS - 1; i++)
        rig_send(fds[i], refusals[i].chain, "x", 1);
    rig_nap(500);
    check_lines("after a second it is tried again", true);
    for (int i = 0; i < REFUSALS; i++)
        rig_close(fds[i]);
}

static void cannot(void)
{
    unsigned hop = 0;
    const char *why = "";

    bool can = assoc_can(rig_chain(RIG_HTTP), &hop, &why);

    tap_ok(!can && hop == 1 && *why, "HTTP: %s", why);
    tap_ok(assoc_can(rig_chain(RIG_THREE), &hop, &why), "SOCKS5 may");
}

/* --- losses ---------------------------------------------------------------------------------- */

static void remade(void)
{
    int fd = rig_socket();
    unsigned first = rig_visit(fd, RIG_BRIEF, "first"), second;

    rig_take_lines();
    rig_nap(1100);
    second = rig_visit(fd, RIG_BRIEF, "second");
    tap_ok(first && second && first != second, "made anew when the control connection has ended");
    rig_take_lines();
    tap_ok(rig_said("made anew"), "with a line at -v");
    rig_close(fd);
}

static void forged(void)
{
    int fd = rig_socket(), stranger = rig_socket();
    struct sockaddr_in own = {.sin_family = AF_INET};
    socklen_t len = sizeof own;
    ssize_t n;

    tap_ok(rig_visit(fd, RIG_NOISY, "truth"), "fragments, cut and empty datagrams are dropped");
    getsockname(fd, (struct sockaddr *)&own, &len);
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sendto(stranger, "\0\0\0\1\177\0\0\1\0\7forged", 16, 0, (struct sockaddr *)&own, sizeof own);
    n = rig_receive(fd, data, 100);
    tap_ok(n == -1 && errno == EAGAIN, "a stranger's is not taken");
    rig_close(fd);
    close(stranger);
}

/* --- connected sockets ----------------------------------------------------------------------- */

static void connect_to(int fd, uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        abort();
}

static unsigned peer_port(int fd)
{
    struct sockaddr_in peer = {.sin_port = 0};
    socklen_t len = sizeof peer;

    getpeername(fd, (struct sockaddr *)&peer, &len);
    return ntohs(peer.sin_port);
}

static void connected(void)
{
    int fd = rig_socket(), other = rig_socket();

    connect_to(fd, 9);
    tap_ok(assoc_open(fd, rig_cookie(fd), rig_chain(RIG_SLOW), true) == 0 && peer_port(fd) == 9,
           "a connected socket stays where it is until the relay is known");
    tap_ok(rig_visit(fd, RIG_SLOW, "x") && peer_port(fd) != 9, "then it is connected to the relay");
    connect_to(other, 9);
    assoc_open(other, rig_cookie(other), rig_chain(RIG_SLOW), true);
    assoc_disconnect(rig_cookie(other));
    rig_nap(400);
    tap_ok(peer_port(other) == 9, "but not if the program has let go of it");
    tap_ok(assoc_open(other, rig_cookie(other), rig_chain(RIG_SLOW), true) == 0 &&
               peer_port(other) != 9,
           "and at once if the relay is known");
    rig_close(fd);
    rig_close(other);
}

static void connected_in_vain(void)
{
    int fd = rig_socket();
    struct pollfd p = {.fd = fd, .events = POLLIN};

    connect_to(fd, 9);
    assoc_open(fd, rig_cookie(fd), rig_chain(RIG_REFUSED), true);
    tap_ok(poll(&p, 1, rig_patience_ms()) == 1 && recv(fd, data, 1, MSG_DONTWAIT) < 0 &&
               errno == ECONNREFUSED,
           "who waits on a connected socket learns of the failure");
    rig_close(fd);
}

static void way(void)
{
    struct sockaddr_storage to;
    struct sockaddr_in6 *to6 = (struct sockaddr_in6 *)&to;

    tap_ok(assoc_way(rig_chain(RIG_TWO), AF_INET, &to) == sizeof(struct sockaddr_in) &&
               ((struct sockaddr_in *)&to)->sin_addr.s_addr == htonl(INADDR_LOOPBACK),
           "the way from an IPv4 socket");
    tap_ok(assoc_way(rig_chain(RIG_TWO), AF_INET6, &to) == sizeof *to6 &&
               IN6_IS_ADDR_V4MAPPED(&to6->sin6_addr),
           "and from an IPv6 one");
}

static void ipv6_socket(int only)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    tap_ok(rig_visit(fd, RIG_TWO, "six"), "an IPv6 socket%s, IPv4 hops",
           only ? " for IPv6 only" : "");
    rig_close(fd);
}

/* --- descriptors ----------------------------------------------------------------------------- */

static void copies(void)
{
    int fd = rig_socket(), copy;
    unsigned port = rig_visit(fd, RIG_ONE, "x"), open;

    copy = dup(fd);
    pending_after_dup(fd, copy);
    open = rig_descriptors();
    rig_close(fd);
    tap_ok(rig_descriptors() == open - 1 && rig_visit(copy, RIG_ONE, "y") == port,
           "a copy keeps the association");
    rig_close(copy);
    tap_ok(rig_descriptors() == open - 3, "the last close ends the control connection");
}

static void thousand(void)
{
    unsigned before, wrong = 0;

    rig_nap(500); /* the helper's own go when it ends */
    before = rig_descriptors();
    for (int i = 0; i < 1000; i++) {
        int fd = rig_socket();

        wrong += !rig_visit(fd, RIG_TWO, "x");
        rig_close(fd);
    }
    rig_nap(1000);
    tap_ok(wrong == 0, "1,000 sockets one after the other (%u failed)", wrong);
    tap_ok(rig_descriptors() == before, "no descriptor is left: %u, %u before", rig_descriptors(),
           before);
}

static void hundred_at_once(void)
{
    enum { COUNT = 100 };
    int fds[COUNT];
    unsigned wrong = 0, before;

    rig_nap(500);
    before = rig_descriptors();
    for (int i = 0; i < COUNT; i++)
        rig_send(fds[i] = rig_socket(), RIG_THREE, &i, sizeof i);
    for (int i = 0; i < COUNT; i++)
        wrong += rig_receive(fds[i], data, wrong ? 0 : rig_patience_ms()) != 6 + sizeof i ||
                 memcmp(data + 6, &i, sizeof i);
    tap_ok(wrong == 0, "100 sockets at once, three hops each (%u failed)", wrong);
    for (int i = 0; i < COUNT; i++)
        rig_close(fds[i]);
    rig_nap(1000);
    tap_ok(rig_descriptors() == before, "no descriptor is left: %u, %u before", rig_descriptors(),
           before);
}

static void closed_at_once(void)
{
    unsigned before;
    int fd;

    rig_nap(500);
    before = rig_descriptors();
    fd = rig_socket();
    rig_send(fd, RIG_SLOW, "a last word", 11);
    rig_close(fd);
    rig_nap(500);
    tap_ok(rig_echo_got("a last word"), "what was sent before close() still goes");
    rig_nap(1500);
    tap_ok(rig_descriptors() == before, "and nothing is left: %u, %u before", rig_descriptors(),
           before);
    fd = rig_socket();
    rig_send(fd, RIG_REFUSED, "x", 1);
    rig_close(fd);
    rig_nap(1500);
    tap_ok(rig_descriptors() == before, "nor of one that was refused: %u, %u before",
           rig_descriptors(), before);
}

int main(void)
{
    if (!rig_begin())
        return 1;
    tap_ok(!assoc_any(), "nothing at first");
    sizes(RIG_ONE, "one hop");
    sizes(RIG_TWO, "two hops");
    sizes(RIG_THREE, "three hops, two of which leave their address unsaid");
    tap_ok(assoc_any(), "then there is something");
    order();
    held_limit();
    two_chains();
    many_parts();
    too_long();
    unusual();
    refused();
    cannot();
    remade();
    forged();
    connected();
    connected_in_vain();
    way();
    ipv6_socket(0);
    ipv6_socket(1);
    copies();
    closed_at_once();
    hundred_at_once();
    thousand();
    rig_end();
    return tap_done();
}
