#include "launcher/range.h"

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RANGE_BITS = 15,
    DEFAULT_LIKE = 8 /* shorter prefixes are halves of a default route, as VPNs set them */
};

/* In order of preference. Programs take all of them for ordinary unicast addresses; class E
 * (240.0.0.0/4) and multicast would be refused by many before they connect. */
static const uint32_t candidates[] = {
    0xc6120000, /* 198.18.0.0, RFC 2544 */
    0x647e0000, /* 100.126.0.0, RFC 6598 */
    0x64700000, /* 100.112.0.0 */
    0x0afe0000, /* 10.254.0.0, RFC 1918 */
    0x0afa0000, /* 10.250.0.0 */
    0xac1e0000, /* 172.30.0.0 */
};

enum { CANDIDATES = sizeof candidates / sizeof *candidates };

struct choice {
    bool taken[CANDIDATES];
};

static uint32_t mask_of(unsigned bits)
{
    return bits == 0 ? 0 : UINT32_MAX << (32 - bits);
}

/* Strikes the candidates that overlap net/bits. */
static void strike(struct choice *c, uint32_t net, unsigned bits)
{
    uint32_t mask = mask_of(bits < RANGE_BITS ? bits : RANGE_BITS);

    if (bits < DEFAULT_LIKE)
        return;
    for (size_t i = 0; i < CANDIDATES; i++)
        if ((candidates[i] & mask) == (net & mask))
            c->taken[i] = true;
}

static void strike_ip(struct choice *c, const struct vd_ip *ip, unsigned bits)
{
    uint32_t net;

    if (ip->family != VD_IPV4)
        return;
    memcpy(&net, ip->bytes, sizeof net);
    strike(c, ntohl(net), bits);
}

/* --- routes ---------------------------------------------------------------------------------- */

/* A route of any table; the addresses of interfaces stand in the local one. */
static void strike_route(struct choice *c, const struct nlmsghdr *message)
{
    const struct rtmsg *route = NLMSG_DATA(message);
    const struct rtattr *attribute = RTM_RTA(route);
    int left = (int)RTM_PAYLOAD(message);
    uint32_t net;

    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
        if (attribute->rta_type == RTA_DST && RTA_PAYLOAD(attribute) == sizeof net) {
            memcpy(&net, RTA_DATA(attribute), sizeof net);
            strike(c, ntohl(net), route->rtm_dst_len);
        }
}

/* False after the last message. */
static bool strike_messages(struct choice *c, const char *data, int len)
{
    const struct nlmsghdr *message = (const struct nlmsghdr *)data;

    for (; NLMSG_OK(message, (unsigned)len); message = NLMSG_NEXT(message, len)) {
        if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
            return false;
        if (message->nlmsg_type == RTM_NEWROUTE &&
            message->nlmsg_len >= NLMSG_LENGTH(sizeof(struct rtmsg)))
            strike_route(c, message);
    }
    return true;
}

/* Where the kernel tells nothing (a sandbox), nothing is struck. */
static void strike_routes(struct choice *c)
{
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
    } request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = RTM_GETROUTE,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .route = {.rtm_family = AF_INET},
    };
    _Alignas(struct nlmsghdr) char answer[16384];
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ssize_t n = 1;

    if (fd < 0)
        return;
    if (send(fd, &request, sizeof request, 0) == (ssize_t)sizeof request)
        while ((n = recv(fd, answer, sizeof answer, 0)) > 0)
            if (!strike_messages(c, answer, (int)n))
                break;
    close(fd);
}

static void strike_plan(struct choice *c, const struct plan *head, const struct vd_hop *hops,
                        const struct vd_pattern *patterns)
{
    for (unsigned i = 0; i < head->hop_count; i++)
        for (unsigned j = 0; j < hops[i].addr_count; j++)
            strike_ip(c, &hops[i].addrs[j], 32);
    for (unsigned i = 0; i < head->pattern_count; i++)
        if (patterns[i].kind == VD_PATTERN_NET)
            strike_ip(c, &patterns[i].net, patterns[i].bits);
}

static bool choose6(struct vd_ip *ip)
{
    uint8_t bytes[16] = {0xfd};

    if (getrandom(bytes + 1, 13, 0) != 13)
        return false;
    *ip = vd_ip6(bytes, 0);
    return true;
}

bool range_choose(struct plan *head, const struct vd_hop *hops, const struct vd_pattern *patterns)
{
    struct choice c = {{false}};

    strike_routes(&c);
    strike_plan(&c, head, hops, patterns);
    head->placeholder4_bits = RANGE_BITS;
    for (size_t i = 0; i < CANDIDATES; i++)
        if (!c.taken[i]) {
            uint32_t net = htonl(candidates[i]);
            uint8_t bytes[4];
            memcpy(bytes, &net, sizeof bytes);
            head->placeholder4 = vd_ip4(bytes);
            return choose6(&head->placeholder6);
        }
    return false;
}
