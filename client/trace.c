#include "client/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/addr.h"
#include "client/say.h"
#include "client/sys.h"
#include "client/trace_page.h"
#include "proto/capture.h"

/* --- a block --------------------------------------------------------------------------------- */

static bool is_text(void)
{
    return session_plan()->trace == PLAN_TRACE_TEXT;
}

static struct trace_page *open_page(const struct trace *t, const struct vd_chain *chain, int fd)
{
    struct trace_page *page =
        mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    page->trace = t;
    page->chain = chain;
    page->fd = fd;
    page->out = vd_out_over(page->room, sizeof page->room);
    clock_gettime(CLOCK_REALTIME, &page->when);
    say_find_speaker(&page->speaker);
    return page;
}

/* Once, for all: what comes next has no place either. */
static void complain(int number)
{
    static bool said;
    char text[160];
    struct vd_out out = vd_out_over(text, sizeof text);

    if (__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
        return;
    vd_out_text(&out, "the trace has gaps, since it cannot be written: ");
    vd_out_text(&out, strerrordesc_np(number));
    say_always(vd_out_string(&out));
}

static void write_out(const struct trace_page *page)
{
    const struct plan *plan = session_plan();
    int fd = page->speaker.fd;

    if (plan->trace_file[0])
        fd = open(plan->trace_file, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    else if (!say_reaches_stderr(&page->speaker))
        return;
    if (fd < 0) {
        complain(errno);
        return;
    }
    ssize_t n = sys.write(fd, page->out.to, page->out.len);
    if (n != (ssize_t)page->out.len)
        complain(n < 0 ? errno : ENOSPC);
    if (plan->trace_file[0])
        sys.close(fd);
}

static void close_page(struct trace_page *page)
{
    if (page->out.len > 0)
        write_out(page);
    say_forget_speaker(&page->speaker);
    munmap(page, sizeof *page);
}

/* --- what happens ---------------------------------------------------------------------------- */

static void tell(struct trace *t, const struct vd_chain *chain, int fd, const char *what,
                 const char *more)
{
    struct trace_page *page = is_text() ? open_page(t, chain, fd) : NULL;

    if (!page)
        return;
    trace_text_line(page, what, more);
    close_page(page);
}

/* A hop of our own, which tells by itself what those hear and say that it stands for. */
static bool is_private(const struct vd_chain *chain, unsigned at)
{
    return vd_path_hop(&chain->path, at)->stands_for > 0;
}

static unsigned count_hops(const struct vd_chain *chain)
{
    unsigned count = 0;

    for (unsigned at = 0; at < chain->path.count; at++)
        count += is_private(chain, at) ? vd_path_hop(&chain->path, at)->stands_for : 1u;
    return count;
}

void trace_begin(struct trace *t, const struct vd_chain *chain, int fd)
{
    unsigned count = count_hops(chain);

    static uint32_t numbers;
    char text[VD_ENDPOINT_TEXT + 64];
    struct vd_out out = vd_out_over(text, sizeof text);
    int saved = errno;

    memset(t, 0, sizeof *t);
    t->number = __atomic_add_fetch(&numbers, 1, __ATOMIC_RELAXED);
    vd_endpoint_print(&out, &chain->target);
    vd_out_text(&out, " through ");
    vd_out_uint(&out, count);
    vd_out_text(&out, count == 1 ? " hop" : " hops");
    tell(t, chain, fd, "", vd_out_string(&out));
    errno = saved;
}

static void restart(struct trace *t, const struct vd_chain *chain)
{
    memset(t->said, 0, sizeof t->said);
    memset(t->heard, 0, sizeof t->heard);
    t->base += 1u << 20;
    t->opened = 0;
    t->at = 0;
    vd_follow_start(&t->follow,
                    vd_says_first((enum vd_scheme)vd_path_hop(&chain->path, 0)->scheme));
}

void trace_dial(struct trace *t, const struct vd_chain *chain, int fd, const struct vd_ip *ip)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_endpoint to;
    int saved = errno;

    restart(t, chain);
    if (ip) {
        vd_endpoint_set_ip(&to, ip, vd_path_hop(&chain->path, 0)->at.port);
        vd_endpoint_print(&out, &to);
    } else {
        vd_out_text(&out, "a unix socket");
    }
    tell(t, chain, fd, "dials ", vd_out_string(&out));
    errno = saved;
}

static void open_stream(struct trace_page *page, struct trace *t, unsigned at)
{
    if (t->opened >> at & 1 || is_text() || is_private(page->chain, at))
        return;
    trace_capture_open(page, at);
    t->opened = (uint16_t)(t->opened | 1u << at);
}

/* What viaductd tells of this connection names it as its client. */
static void tell_carrier(struct trace_page *page, int fd)
{
    char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    struct vd_endpoint at;

    if (sys.getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
        addr_read(&at, (struct sockaddr *)&own, len)) {
        at.ip = vd_ip_unmapped(&at.ip);
        vd_endpoint_print(&out, &at);
    }
    trace_text_line(page, "is carried by a viaductd of this run, for ", vd_out_string(&out));
}

void trace_up(struct trace *t, const struct vd_chain *chain, int fd)
{
    int saved = errno;
    struct trace_page *page = open_page(t, chain, fd);

    if (!page)
        return;
    if (is_text() && is_private(chain, 0))
        tell_carrier(page, fd);
    else if (is_text())
        trace_text_line(page, "", "the first hop has accepted");
    open_stream(page, t, 0);
    close_page(page);
    errno = saved;
}

static void tell_message(struct trace_page *page, struct trace *t, const struct trace_message *m)
{
    uint32_t *count = m->said ? &t->said[m->at] : &t->heard[m->at];

    if (is_private(page->chain, m->at))
        return;
    if (is_text()) {
        trace_text_message(page, m);
        return;
    }
    open_stream(page, t, m->at);
    trace_capture_message(page, m);
    *count += (uint32_t)m->len;
}

void trace_said(struct trace *t, const struct vd_chain *chain, int fd, struct vd_said before)
{
    struct vd_said now = vd_chain_said(chain);
    int saved = errno;

    while (before.at != now.at || before.stage != now.stage) {
        struct trace_page *page = open_page(t, chain, fd);
        struct trace_message m = {.at = before.at, .said = true};

        if (!page)
            break;
        m.data = page->message;
        m.len = vd_mask_message(&page->masked, chain, &before, session_plan()->trace_secrets,
                                &m.says, page->message, sizeof page->message);
        tell_message(page, t, &m);
        close_page(page);
    }
    errno = saved;
}

/* What was told of the hop's answers so far, and what comes next. */
static void hear_on(struct trace *t, const struct vd_chain *chain)
{
    enum vd_says says =
        vd_says_behind((enum vd_says)t->follow.says, t->follow.data, t->follow.told);
    bool last = t->at + 1u >= chain->path.count;

    if (says == VD_SAYS_NOTHING && t->follow.ends && last && chain->command == VD_BIND)
        says = (enum vd_says)t->follow.says;
    if (says == VD_SAYS_NOTHING && t->follow.ends && !last)
        says = vd_says_first((enum vd_scheme)vd_path_hop(&chain->path, ++t->at)->scheme);
    vd_follow_next(&t->follow, says);
}

static void tell_heard(struct trace *t, const struct vd_chain *chain, int fd, size_t len)
{
    struct trace_page *page = open_page(t, chain, fd);
    struct trace_message m = {t->at, false, (enum vd_says)t->follow.says, t->follow.data, len};

    if (!page)
        return;
    if (!session_plan()->trace_secrets)
        vd_mask_heard(&chain->path, t->follow.data, len);
    tell_message(page, t, &m);
    close_page(page);
}

void trace_heard(struct trace *t, const struct vd_chain *chain, int fd, const uint8_t *data,
                 size_t len)
{
    int saved = errno;

    while (len > 0) {
        bool whole;
        size_t n = vd_follow_take(&t->follow, data, len, &whole);

        data += n;
        len -= n;
        if (!whole)
            continue;
        tell_heard(t, chain, fd, t->follow.told);
        hear_on(t, chain);
    }
    errno = saved;
}

void trace_end(struct trace *t, const struct vd_chain *chain, int fd, bool failed, const char *why)
{
    int saved = errno;
    struct trace_page *page;

    if (t->follow.have > 0)
        tell_heard(t, chain, fd, t->follow.have);
    t->follow.have = 0;
    page = open_page(t, chain, fd);
    if (!page)
        return;
    if (is_text())
        trace_text_line(page, failed ? "failed: " : "", why);
    else if (failed)
        trace_capture_end(page, why);
    close_page(page);
    errno = saved;
}

size_t trace_head(uint8_t head[TRACE_HEAD_MAX], unsigned format, bool secrets)
{
    struct vd_out out = vd_out_over(head, TRACE_HEAD_MAX);

    if (format == PLAN_TRACE_TEXT)
        trace_text_head(&out, secrets, time(NULL));
    else
        vd_capture_head(&out, format == PLAN_TRACE_PCAP);
    return out.len;
}
