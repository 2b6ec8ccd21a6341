/*
 * A worker of viaductd, from its start to its end, in a world that is played by a script (feed.h).
 * The first byte says with which configuration, the second to which listener a client comes at
 * once.
 *
 * It holds that the worker ends when it is told to, waits rather than spins, closes every
 * descriptor, frees what it has allocated, counts nobody as present afterwards, connects to nobody
 * before a password was said where one is asked for, never into this machine, and nowhere past its
 * upstream.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/setup.h"
#include "daemon/worker.h"
#include "tests/fuzz/feed.h"
#include "tests/fuzz/fuzz.h"

enum { WORLDS = 4, GROWTHS = 3, DESCRIPTORS = 1024 };

#define COMMON                                                                                     \
    "workers = 1\nsessions = 20\nhandshakes = 8\nnameservers = {\"192.0.2.53\"}\n"                 \
    "listen a { url = \"198.51.100.1:1080\" }\n"                                                   \
    "listen b { url = \"[2001:db8:1::1]:1080\" }\n"
#define FROM "from = {\"192.0.2.0/24\", \"203.0.113.0/24\", \"2001:db8::/32\"}"

struct world {
    const char *text;
    const char *const *secrets;
    bool (*may_reach)(const struct net_addr *to, int type);
    struct options options;
    struct listen_set set;
};

/* Somebody of this machine, in any spelling: nobody from elsewhere may get there. */
static bool is_inside(const struct net_addr *to)
{
    struct vd_ip ip = net_addr_ip(to);
    static const uint8_t own4[] = {198, 51, 100, 1};
    static const uint8_t own6[] = {0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

    if (ip.family == VD_IPV4)
        return ip.bytes[0] == 127 || ip.bytes[0] == 0 || memcmp(ip.bytes, own4, 4) == 0 ||
               (ip.bytes[0] == 169 && ip.bytes[1] == 254);
    if (ip.family != VD_IPV6)
        return true;
    static const uint8_t none[16];
    return memcmp(ip.bytes, own6, 16) == 0 ||
           (ip.bytes[0] == 0xfe && (ip.bytes[1] & 0xc0) == 0x80) ||
           (memcmp(ip.bytes, none, 15) == 0 && ip.bytes[15] < 2);
}

static bool may_reach_all(const struct net_addr *to, int type)
{
    (void)type;
    return !is_inside(to);
}

/* The hops of the worlds below; where their relays are, hops say themselves. */
static bool may_reach_hops(const struct net_addr *to, int type)
{
    struct vd_ip ip = net_addr_ip(to);
    uint16_t port = net_addr_port(to);
    static const uint8_t net[] = {203, 0, 113};

    if (type == SOCK_DGRAM)
        return !is_inside(to);
    return ip.family == VD_IPV4 && memcmp(ip.bytes, net, 3) == 0 && ip.bytes[3] >= 1 &&
           ip.bytes[3] <= 4 && (port == 1080 || port == 3128);
}

static const char *const wonderland[] = {"wonderland", "YW5uOndvbmRlcmxhbm", "Ym9iOndvbmRlcmxhbm",
                                         NULL};

static struct world worlds[WORLDS] = {
    {.text = COMMON "listen c { url = \"socks://198.51.100.1:1081\" proxy_protocol = true }\n"
                    "listen d { url = \"http://198.51.100.1:8080\" }\n"
                    "listen e { url = \"forward://198.51.100.1:8081\"\n"
                    "  targets = {\"203.0.113.10:80\", \"web.test:80\"} balance = leastconn "
                    "send_proxy = v2 check = 5 }\n"
                    "limit crowd { sessions = 6 new = 5 rate = 100K }\n"
                    "allow all { " FROM " }\n",
     .may_reach = may_reach_all},
    {.text = COMMON "logins = {\"ann:wonderland\"}\n"
                    "udp_filter = port\nallow all { " FROM " }\n",
     .secrets = wonderland,
     .may_reach = may_reach_all},
    {.text = COMMON
     "explain = true\n"
     "proxy one { url = \"socks5h://203.0.113.1:1080\" }\n"
     "proxy two { url = \"http://ann:x@203.0.113.2:3128\" }\n"
     "proxy three { url = \"socks4a://203.0.113.3:1080\" timeout = 2 }\n"
     "proxy four { url = \"socks5://203.0.113.4:1080?pipeline=lead\" }\n"
     "upstream { hops = {\"one\", \"two\"} fallback = spare check = 20\n"
     "  check_target = \"203.0.113.80:80\" }\n"
     "upstream spare { hops = {\"three\", \"one\"} mode = failover proxy_protocol = v1 }\n"
     "upstream pair { hops = {\"four\", \"one\"} }\n"
     "allow others { commands = {\"associate\", \"bind\"} upstream = pair " FROM " }\n"
     "allow all { " FROM " }\n",
     .may_reach = may_reach_hops},
    {.text = COMMON "dns = chain\nupstream { hops = {\"socks5://203.0.113.1:1080\"} }\n"
                    "allow all { " FROM " }\n",
     .may_reach = may_reach_hops}};

/* --- before the first run --- */

static int paper(const char *text)
{
    int fd = memfd_create("paper", MFD_CLOEXEC);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 600);

    PROPERTY(high >= 0 && write(high, text, strlen(text)) == (ssize_t)strlen(text));
    PROPERTY(fchmod(high, 0600) == 0);
    close(fd);
    return high;
}

static void read_world(struct world *w)
{
    static char path[64], text[4096];
    static char name[] = "viaductd", file[] = "-f", verbose[] = "-v";
    char *argv[] = {name, verbose, file, path, NULL};
    struct listen_set given = {0};
    char *error = NULL;
    int users = paper(
        "bob:$6$saltsalt$pqxtaP8VN9msji06dnBCbUbaSGTOXyo9jZDqZxik1rPexoqRIW4UKuiD0ZHZchCSd7S4/"
        "HoRU8bcFbnz2ihUr.\n");

    snprintf(text, sizeof text, "%s%susers = \"/proc/self/fd/%d\"\n", w->text,
             w->secrets ? "" : "# ", users);
    snprintf(path, sizeof path, "/proc/self/fd/%d", paper(text));
    PROPERTY(options_read(&w->options, 4, argv) == 0);
    if (setup_check(&w->options, &given, &w->set, &error) != 0) {
        fprintf(stderr, "fuzz_daemon: %s\n", error);
        abort();
    }
}

static void prepare(void)
{
    struct rlimit files;

    PROPERTY(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = DESCRIPTORS;
    PROPERTY(setrlimit(RLIMIT_NOFILE, &files) == 0);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < WORLDS; i++)
        read_world(&worlds[i]);
    log_open(LOG_VERBOSE, false);
}

/* --- a run --- */

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

/* Only the sanitizer counts exactly. */
static size_t allocated(void)
{
    return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : 0;
}

static int next_descriptor(void)
{
    int fd = dup(STDIN_FILENO);

    syscall(SYS_close, fd);
    return fd;
}

static void open_listeners(struct world *w)
{
    for (size_t i = 0; i < w->set.count; i++) {
        w->set.at[i].addr = w->set.at[i].asked;
        w->set.at[i].fds[0] = feed_listener(&w->set.at[i].addr);
    }
}

static void check_counts(const struct shared *shared)
{
    const struct shared_worker *own = shared_own(shared);

    PROPERTY(own->sessions == 0);
    PROPERTY(own->handshakes == 0);
    PROPERTY(own->associations == 0);
}

static void run(struct world *w, const uint8_t *data, size_t size)
{
    struct shared shared;
    int free_fd = next_descriptor();
    struct net_addr client = feed_addr("192.0.2.7", 5000);

    feed_secrets = w->secrets;
    feed_may_reach = w->may_reach;
    feed_begin(data + 1, size - 1);
    PROPERTY(shared_init(&shared, 1) == 0);
    shared.own = shared_take_slot(&shared);
    open_listeners(w);
    int first = feed_pick(FEED_LISTENER, data[0] % (unsigned)w->set.count);
    if (feed_ends[first].family == AF_INET6)
        client = feed_addr("2001:db8:7::7", 5000);
    feed_arrive(first, &client);
    PROPERTY(worker_run(&w->options.conf, w->options.contexts, &w->set, 0, &shared) == 0);
    check_counts(&shared);
    feed_end();
    shared_free(&shared);
    PROPERTY(next_descriptor() == free_fd);
}

/* What a library keeps for good is allocated once; what every run of the same input adds is lost.
 */
static void find_leaks(struct world *w, const uint8_t *data, size_t size)
{
    size_t before = allocated(), after;
    unsigned growths = 0;

    do {
        run(w, data, size);
        after = allocated();
        PROPERTY(after <= before || growths++ < GROWTHS);
    } while (after > before && (before = after));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool prepared;

    if (size < 2)
        return 0;
    if (!prepared)
        prepare();
    prepared = true;
    struct world *w = &worlds[data[0] % WORLDS];
    size_t before = allocated();
    run(w, data + 1, size - 1);
    if (allocated() > before)
        find_leaks(w, data + 1, size - 1);
    return 0;
}
