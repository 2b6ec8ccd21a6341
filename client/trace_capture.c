/*
 * Each hop has a stream of its own, from the program's socket to the hop. The addresses are the
 * true ones where they are known; a hop that is known by name only, or a unix socket, stands as
 * 192.0.2.N (RFC 5737), N being its number. pcapng has the hop's URL as a comment where its stream
 * begins.
 */
#include <string.h>

#include "client/addr.h"
#include "client/sys.h"
#include "client/trace_page.h"
#include "proto/capture.h"

static struct vd_capture capture_of(const struct trace_page *page)
{
    return (struct vd_capture){session_plan()->trace == PLAN_TRACE_PCAP, page->when.tv_sec,
                               (uint32_t)page->when.tv_nsec};
}

/* The socket's own end, and the hop. */
static struct vd_capture_stream stream_of(const struct trace_page *page, unsigned at)
{
    const struct trace *t = page->trace;
    const struct vd_hop *hop = vd_path_hop(&page->chain->path, at);
    struct vd_ip stand_in = vd_ip4((const uint8_t[]){192, 0, 2, (uint8_t)(at + 1)});
    struct vd_capture_stream s = {.base = t->base, .said = t->said[at], .heard = t->heard[at]};
    struct sockaddr_storage own, peer;
    socklen_t own_len = sizeof own, peer_len = sizeof peer;

    if (sys.getsockname(page->fd, (struct sockaddr *)&own, &own_len) < 0 ||
        !addr_read(&s.near, (struct sockaddr *)&own, own_len))
        vd_endpoint_set_ip(&s.near, &stand_in, (uint16_t)(t->number | 0x8000));
    if (at == 0 && sys.getpeername(page->fd, (struct sockaddr *)&peer, &peer_len) == 0 &&
        addr_read(&s.far, (struct sockaddr *)&peer, peer_len))
        ;
    else if (hop->addr_count > 0)
        vd_endpoint_set_ip(&s.far, &hop->addrs[0], hop->at.port);
    else
        vd_endpoint_set_ip(&s.far, &stand_in, hop->at.port);
    s.near.ip = vd_ip_unmapped(&s.near.ip);
    s.far.ip = vd_ip_unmapped(&s.far.ip);
    return s;
}

void trace_capture_open(struct trace_page *page, unsigned at)
{
    struct vd_capture capture = capture_of(page);
    struct vd_capture_stream stream = stream_of(page, at);
    char text[VD_URL_TEXT + 64];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_out_text(&out, "hop ");
    vd_out_uint(&out, at + 1u);
    vd_out_text(&out, " of ");
    vd_out_uint(&out, page->chain->path.count);
    vd_out_text(&out, ": ");
    vd_url_print(&out, vd_path_hop(&page->chain->path, at));
    vd_out_text(&out, at > 0 ? ", inside the stream of the hop before" : "");
    vd_capture_open(&page->out, &capture, &stream, vd_out_string(&out));
}

void trace_capture_message(struct trace_page *page, const struct trace_message *m)
{
    struct vd_capture capture = capture_of(page);
    struct vd_capture_stream stream = stream_of(page, m->at);

    vd_capture_bytes(&page->out, &capture, &stream, m->said, m->data, m->len, "");
}

void trace_capture_end(struct trace_page *page, const char *why)
{
    struct vd_capture capture = capture_of(page);
    unsigned opened = page->trace->opened;

    for (unsigned at = 0; opened >> at; at++) {
        struct vd_capture_stream stream = stream_of(page, at);

        if (opened >> at & 1)
            vd_capture_end(&page->out, &capture, &stream, VD_CAPTURE_RESET,
                           opened >> at == 1 ? why : "");
    }
}
