#include "tests/assoc/rig.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/pending.h"
#include "client/session.h"
#include "client/sockets.h"
#include "tests/assoc/relay.h"

enum { DEAD = RELAY_MANNERS, WEB, HOPS };

static const struct plan_chain chains[RIG_CHAINS] = {
    [RIG_ONE] = {.count = 1, .hops = {RELAY_GOOD}},
    [RIG_TWO] = {.count = 2, .hops = {RELAY_GOOD, RELAY_GOOD}},
    [RIG_THREE] = {.count = 3, .hops = {RELAY_UNSAID, RELAY_GOOD, RELAY_UNSAID}},
    [RIG_REFUSED] = {.count = 1, .hops = {RELAY_NO_UDP}},
    [RIG_REFUSED_SECOND] = {.count = 3, .hops = {RELAY_GOOD, RELAY_NO_UDP, RELAY_GOOD}},
    [RIG_NAME] = {.count = 1, .hops = {RELAY_NAME}},
    [RIG_MULTICAST] = {.count = 2, .hops = {RELAY_GOOD, RELAY_MULTICAST}},
    [RIG_NO_PORT] = {.count = 1, .hops = {RELAY_NO_PORT}},
    [RIG_SLOW] = {.count = 2, .hops = {RELAY_SLOW, RELAY_GOOD}},
    [RIG_SILENT] = {.count = 1, .hops = {RELAY_SILENT}},
    [RIG_BRIEF] = {.count = 1, .hops = {RELAY_BRIEF}},
    [RIG_NOISY] = {.count = 2, .hops = {RELAY_GOOD, RELAY_NOISY}},
    [RIG_HTTP] = {.count = 2, .hops = {RELAY_GOOD, WEB}},
    [RIG_DEAD] = {.count = 1, .hops = {DEAD}},
};

#ifdef __SANITIZE_THREAD__
/* The helper connects the program's socket while the program receives on it: the kernel sees to
 * that itself. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:assoc_connect\n";
}
#endif

static char log_path[] = "/tmp/test_assoc.XXXXXX", session[SESSION_PATH_MAX];
static uint16_t echo_port;

int rig_timeout_ms(void)
{
    const char *slower = getenv("VIADUCT_TEST_SLOWER");

    return 3000 * (slower ? atoi(slower) : 1);
}

int rig_patience_ms(void)
{
    return 2 * rig_timeout_ms();
}

static struct vd_hop hop_at(uint16_t port, enum vd_scheme scheme)
{
    struct vd_hop hop = {.scheme = (uint8_t)scheme, .addr_count = 1};

    hop.addrs[0] = vd_ip4((const uint8_t[]){127, 0, 0, 1});
    vd_endpoint_set_ip(&hop.at, &hop.addrs[0], port);
    return hop;
}

static struct plan *make_plan(const uint16_t ports[RELAY_MANNERS])
{
    struct plan head = {.hop_count = HOPS,
                        .chain_count = RIG_CHAINS,
                        .timeout_ms = (uint32_t)rig_timeout_ms(),
                        .verbosity = PLAN_CONNECTIONS,
                        .has_log = 1};
    static struct vd_hop hops[HOPS];

    for (int i = 0; i < RELAY_MANNERS; i++)
        hops[i] = hop_at(ports[i], VD_SOCKS5H);
    hops[DEAD] = hop_at(1, VD_SOCKS5H);
    hops[WEB] = hop_at(2, VD_HTTP);
    strcpy(head.log, log_path);
    head.placeholder4 = vd_ip4((const uint8_t[]){198, 18, 0, 0});
    head.placeholder4_bits = 15;
    head.placeholder6.family = VD_IPV6;
    return plan_make(&head, hops, chains, NULL, NULL);
}

bool rig_begin(void)
{
    uint16_t ports[RELAY_MANNERS], echo;
    int fd = mkstemp(log_path);
    struct plan *plan;
    char text[8];

    if (fd < 0 || close(fd) < 0 || !relay_start(ports, &echo))
        return false;
    plan = make_plan(ports);
    if (!plan || session_make(plan, session) != 0)
        return false;
    free(plan);
    snprintf(text, sizeof text, "%u", (unsigned)echo);
    return setenv(SESSION_ENV, session, 1) == 0 && setenv("RIG_ECHO", text, 1) == 0 && rig_attach();
}

bool rig_attach(void)
{
    const char *port = getenv("RIG_ECHO"), *why;

    if (!port)
        return false;
    echo_port = (uint16_t)atoi(port);
    return session_attach(getenv(SESSION_ENV), &why) == SESSION_READY;
}

void rig_end(void)
{
    unlink(session);
    unlink(log_path);
}

const struct plan_chain *rig_chain(enum rig_chain chain)
{
    return plan_chain(session_plan(), chain);
}

struct vd_endpoint rig_echo(void)
{
    struct vd_ip ip = vd_ip4((const uint8_t[]){127, 0, 0, 1});
    struct vd_endpoint e;

    vd_endpoint_set_ip(&e, &ip, echo_port);
    return e;
}

bool rig_echo_got(const char *text)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(rig_echo().port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t len = strlen(text);
    int fd = rig_socket();
    char got[256];
    ssize_t n;

    sendto(fd, "last?", 5, 0, (struct sockaddr *)&to, sizeof to);
    n = recv(fd, got, sizeof got, 0);
    close(fd);
    return n == (ssize_t)len + 6 && !memcmp(got + 6, text, len);
}

static char lines[65536];

void rig_take_lines(void)
{
    int fd = open(log_path, O_RDWR);
    ssize_t n = read(fd, lines, sizeof lines - 1);

    lines[n > 0 ? n : 0] = 0;
    if (ftruncate(fd, 0) < 0)
        abort();
    close(fd);
}

bool rig_said(const char *text)
{
    return strstr(lines, text);
}

int rig_socket(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 1 << 21;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    return fd;
}

uint64_t rig_cookie(int fd)
{
    return sockets_cookie(fd);
}

void rig_close(int fd)
{
    if (pending_before_close(fd))
        close(fd);
}

ssize_t rig_send(int fd, enum rig_chain chain, const void *data, size_t len)
{
    struct vd_endpoint echo = rig_echo();
    struct iovec part = {(void *)data, len};

    return assoc_send(fd, rig_cookie(fd), rig_chain(chain), &echo, &part, 1, NULL, 0, 0);
}

static int64_t now_ms(void)
{
    return drive_now_ns() / 1000000;
}

ssize_t rig_receive(int fd, void *data, int ms)
{
    static uint8_t raw[RIG_DATAGRAM];
    int64_t until = now_ms() + ms;

    for (int64_t left = ms; left >= 0; left = until - now_ms()) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        struct sockaddr_storage from;
        socklen_t from_len = sizeof from;
        struct assoc_origin origin;
        ssize_t n;

        if (poll(&p, 1, (int)left) <= 0)
            break;
        n = recvfrom(fd, raw, sizeof raw, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
        if (n < 0)
            return -1;
        if (assoc_judge(rig_cookie(fd), (struct sockaddr *)&from, from_len, raw, (size_t)n,
                        &origin) != ASSOC_TAKEN)
            continue;
        memcpy(data, raw + origin.headers, (size_t)n - origin.headers);
        return n - (ssize_t)origin.headers;
    }
    errno = EAGAIN;
    return -1;
}

unsigned rig_visit(int fd, enum rig_chain chain, const char *text)
{
    static char got[RIG_DATAGRAM + 1];
    size_t len = strlen(text);
    ssize_t n;

    if (rig_send(fd, chain, text, len) != (ssize_t)len)
        return 0;
    do {
        n = rig_receive(fd, got, rig_patience_ms());
        got[n > 0 ? n : 0] = 0;
    } while (n > 6 && strcmp(got + 6, text) != 0);
    return n == (ssize_t)len + 6 ? (unsigned)atoi(got) : 0;
}

unsigned rig_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 3; /* ".", ".." and this one */
}

void rig_nap(int ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}
