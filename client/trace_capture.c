/*
 * pcapng (draft-ietf-opsawg-pcapng) and classic pcap with nanoseconds, in the byte order of this
 * machine; frames are bare IP (LINKTYPE_RAW).
 *
 * Each hop has a stream of its own, from the program's socket to the hop. The addresses are the
 * true ones where they are known; a hop that is known by name only, or a unix socket, stands as
 * 192.0.2.N (RFC 5737), N being its number. Between families IPv4 is told as ::ffff:a.b.c.d. pcapng
 * has the hop's URL as a comment where its stream begins.
 */
#include <netinet/in.h>
#include <string.h>

#include "client/addr.h"
#include "client/sys.h"
#include "client/trace_page.h"

enum {
    LINK_RAW = 101,
    SYN = 2,
    RST = 4,
    PSH = 8,
    ACK = 16,
    IP4_LEN = 20,
    IP6_LEN = 40,
    TCP_LEN = 20,
    FRAME_MAX = IP6_LEN + TCP_LEN + VD_SHAKE_MESSAGE_MAX,
    NANOSECONDS = 9,
    BLOCK_SECTION = 0x0a0d0d0a,
    BLOCK_INTERFACE = 1,
    BLOCK_PACKET = 6,
    OPTION_COMMENT = 1,
    OPTION_RESOLUTION = 9
};
_Static_assert((int)VD_FOLLOW_MAX <= (int)VD_SHAKE_MESSAGE_MAX, "a frame takes any message");

/* In this machine's byte order. */
static void put32(struct vd_out *out, uint32_t value)
{
    vd_out_bytes(out, &value, sizeof value);
}

static void put16(struct vd_out *out, uint16_t value)
{
    vd_out_bytes(out, &value, sizeof value);
}

static void put_padding(struct vd_out *out, size_t len)
{
    static const uint8_t zeros[4];

    vd_out_bytes(out, zeros, (4 - len % 4) % 4);
}

static void put_option(struct vd_out *out, uint16_t code, const void *value, size_t len)
{
    put16(out, code);
    put16(out, (uint16_t)len);
    vd_out_bytes(out, value, len);
    put_padding(out, len);
}

/* --- the head of a file ---------------------------------------------------------------------- */

static void put_classic_head(struct vd_out *out)
{
    put32(out, 0xa1b23c4d);
    put16(out, 2);
    put16(out, 4);
    put32(out, 0);
    put32(out, 0);
    put32(out, 65535);
    put32(out, LINK_RAW);
}

void trace_capture_head(struct vd_out *out, bool classic)
{
    static const uint8_t resolution = NANOSECONDS;

    if (classic) {
        put_classic_head(out);
        return;
    }
    put32(out, BLOCK_SECTION);
    put32(out, 28);
    put32(out, 0x1a2b3c4d);
    put16(out, 1);
    put16(out, 0);
    put32(out, UINT32_MAX); /* the length of the section is not known */
    put32(out, UINT32_MAX);
    put32(out, 28);
    put32(out, BLOCK_INTERFACE);
    put32(out, 32);
    put16(out, LINK_RAW);
    put16(out, 0);
    put32(out, 0);
    put_option(out, OPTION_RESOLUTION, &resolution, 1);
    put32(out, 0);
    put32(out, 32);
}

/* --- packets --------------------------------------------------------------------------------- */

static void put_classic(struct trace_page *page, const struct vd_out *frame)
{
    put32(&page->out, (uint32_t)page->when.tv_sec);
    put32(&page->out, (uint32_t)page->when.tv_nsec);
    put32(&page->out, (uint32_t)frame->len);
    put32(&page->out, (uint32_t)frame->len);
    vd_out_bytes(&page->out, frame->to, frame->len);
}

static void put_packet(struct trace_page *page, const struct vd_out *frame, const char *comment)
{
    struct vd_out *out = &page->out;
    uint64_t when = (uint64_t)page->when.tv_sec * 1000000000 + (uint64_t)page->when.tv_nsec;
    size_t told = strlen(comment), padded = (frame->len + 3) / 4 * 4;
    uint32_t len = (uint32_t)(32 + padded + (told ? 8 + (told + 3) / 4 * 4 : 0));

    if (session_plan()->trace == PLAN_TRACE_PCAP) {
        put_classic(page, frame);
        return;
    }
    put32(out, BLOCK_PACKET);
    put32(out, len);
    put32(out, 0); /* the interface */
    put32(out, (uint32_t)(when >> 32));
    put32(out, (uint32_t)when);
    put32(out, (uint32_t)frame->len);
    put32(out, (uint32_t)frame->len);
    vd_out_bytes(out, frame->to, frame->len);
    put_padding(out, frame->len);
    if (told) {
        put_option(out, OPTION_COMMENT, comment, told);
        put32(out, 0);
    }
    put32(out, len);
}

/* --- frames ---------------------------------------------------------------------------------- */

struct ends {
    struct vd_endpoint from, to;
};

/* The socket's own end, and the hop. */
static void find_ends(const struct trace_page *page, unsigned at, struct ends *ends)
{
    const struct vd_hop *hop = vd_path_hop(&page->chain->path, at);
    struct vd_ip stand_in = vd_ip4((const uint8_t[]){192, 0, 2, (uint8_t)(at + 1)});
    struct sockaddr_storage own, peer;
    socklen_t own_len = sizeof own, peer_len = sizeof peer;

    if (sys.getsockname(page->fd, (struct sockaddr *)&own, &own_len) < 0 ||
        !addr_read(&ends->from, (struct sockaddr *)&own, own_len))
        vd_endpoint_set_ip(&ends->from, &stand_in, (uint16_t)(page->trace->number | 0x8000));
    if (at == 0 && sys.getpeername(page->fd, (struct sockaddr *)&peer, &peer_len) == 0 &&
        addr_read(&ends->to, (struct sockaddr *)&peer, peer_len))
        ;
    else if (hop->addr_count > 0)
        vd_endpoint_set_ip(&ends->to, &hop->addrs[0], hop->at.port);
    else
        vd_endpoint_set_ip(&ends->to, &stand_in, hop->at.port);
    ends->from.ip = vd_ip_unmapped(&ends->from.ip);
    ends->to.ip = vd_ip_unmapped(&ends->to.ip);
}

static uint32_t sum_of(uint32_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
    return sum;
}

/* RFC 1071. */
static void put_checksum(uint8_t *at, uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    at[0] = (uint8_t)(~sum >> 8);
    at[1] = (uint8_t)~sum;
}

static void put_ip6(struct vd_out *out, const struct vd_ip *ip)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (ip->family == VD_IPV4)
        vd_out_bytes(out, mapped, sizeof mapped);
    vd_out_bytes(out, ip->bytes, ip->family == VD_IPV4 ? 4 : 16);
}

/* The IP header; the sum of what TCP's checksum takes of it. */
static uint32_t put_ip(struct vd_out *out, const struct vd_ip *from, const struct vd_ip *to,
                       size_t len)
{
    size_t at;

    if (from->family == VD_IPV4 && to->family == VD_IPV4) {
        vd_out_bytes(out, (const uint8_t[]){0x45, 0}, 2);
        vd_out_u16(out, (uint16_t)(IP4_LEN + len));
        vd_out_bytes(out, (const uint8_t[]){0, 0, 0x40, 0, 64, IPPROTO_TCP, 0, 0}, 8);
        vd_out_bytes(out, from->bytes, 4);
        vd_out_bytes(out, to->bytes, 4);
        put_checksum(out->to + 10, sum_of(0, out->to, IP4_LEN));
        at = 12;
    } else {
        vd_out_bytes(out, (const uint8_t[]){0x60, 0, 0, 0}, 4);
        vd_out_u16(out, (uint16_t)len);
        vd_out_bytes(out, (const uint8_t[]){IPPROTO_TCP, 64}, 2);
        put_ip6(out, from);
        put_ip6(out, to);
        at = 8;
    }
    return sum_of((uint32_t)(IPPROTO_TCP + len), out->to + at, out->len - at);
}

struct segment {
    bool said;
    uint8_t flags;
    uint32_t number, answers; /* SEQ and ACK */
    const uint8_t *data;
    size_t len;
};

static void put_frame(struct trace_page *page, const struct ends *ends, const struct segment *s,
                      const char *comment)
{
    const struct vd_endpoint *from = s->said ? &ends->from : &ends->to;
    const struct vd_endpoint *to = s->said ? &ends->to : &ends->from;
    uint8_t room[FRAME_MAX];
    struct vd_out frame = vd_out_over(room, sizeof room);
    uint32_t sum = put_ip(&frame, &from->ip, &to->ip, TCP_LEN + s->len);
    size_t at = frame.len;

    vd_out_u16(&frame, from->port);
    vd_out_u16(&frame, to->port);
    vd_out_u16(&frame, (uint16_t)(s->number >> 16));
    vd_out_u16(&frame, (uint16_t)s->number);
    vd_out_u16(&frame, (uint16_t)(s->answers >> 16));
    vd_out_u16(&frame, (uint16_t)s->answers);
    vd_out_bytes(&frame, (const uint8_t[]){TCP_LEN / 4 << 4, s->flags, 0xff, 0xff, 0, 0, 0, 0}, 8);
    vd_out_bytes(&frame, s->data, s->len);
    put_checksum(room + at + 16, sum_of(sum, room + at, frame.len - at));
    put_packet(page, &frame, comment);
}

void trace_capture_open(struct trace_page *page, unsigned at)
{
    uint32_t base = page->trace->base;
    struct segment syn = {true, SYN, base, 0, NULL, 0};
    struct segment back = {false, SYN | ACK, base, base + 1, NULL, 0};
    struct segment ack = {true, ACK, base + 1, base + 1, NULL, 0};
    char text[VD_URL_TEXT + 64];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct ends ends;

    vd_out_text(&out, "hop ");
    vd_out_uint(&out, at + 1u);
    vd_out_text(&out, " of ");
    vd_out_uint(&out, page->chain->path.count);
    vd_out_text(&out, ": ");
    vd_url_print(&out, vd_path_hop(&page->chain->path, at));
    vd_out_text(&out, at > 0 ? ", inside the stream of the hop before" : "");
    find_ends(page, at, &ends);
    put_frame(page, &ends, &syn, vd_out_string(&out));
    put_frame(page, &ends, &back, "");
    put_frame(page, &ends, &ack, "");
}

static struct segment segment_of(const struct trace *t, unsigned at, bool said, uint8_t flags)
{
    uint32_t ours = t->base + 1 + t->said[at], theirs = t->base + 1 + t->heard[at];

    return (struct segment){said, flags, said ? ours : theirs, said ? theirs : ours, NULL, 0};
}

void trace_capture_message(struct trace_page *page, const struct trace_message *m)
{
    struct segment s = segment_of(page->trace, m->at, m->said, PSH | ACK);
    struct ends ends;

    s.data = m->data;
    s.len = m->len;
    find_ends(page, m->at, &ends);
    put_frame(page, &ends, &s, "");
}

void trace_capture_end(struct trace_page *page, const char *why)
{
    unsigned opened = page->trace->opened;

    for (unsigned at = 0; opened >> at; at++) {
        struct segment s = segment_of(page->trace, at, true, RST | ACK);
        struct ends ends;

        find_ends(page, at, &ends);
        put_frame(page, &ends, &s, opened >> at == 1 ? why : "");
    }
}
