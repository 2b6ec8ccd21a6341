#include "daemon/publish.h"

#include <string.h>

#include "daemon/limit.h"
#include "daemon/session_state.h"

enum { EVERY_MS = 1000 };

/* What a text has room for; a longer one is cut. */
static struct vd_out over(char *text, size_t size)
{
    return vd_out_over(text, size);
}

static void end(struct vd_out *out)
{
    vd_out_string(out);
}

static void copy(char *to, size_t size, const char *from, size_t len)
{
    struct vd_out out = over(to, size);
    vd_out_shown(&out, from, len < size ? len : size);
    end(&out);
}

static void write_names(struct shared_row *row, const struct session *s)
{
    const struct session_setup *setup = s->setup;
    const char *user = setup ? setup->accept.user : s->names;
    copy(row->user, sizeof row->user, user, setup ? setup->accept.user_len : s->user_len);
    struct vd_out out = over(row->target, sizeof row->target);
    if (setup && s->command)
        session_print_target(&out, setup);
    else if (!setup)
        vd_out_bytes(&out, s->names + s->user_len,
                     s->target_len < sizeof row->target ? s->target_len : sizeof row->target - 1);
    end(&out);
}

static void write_row(struct shared_row *row, const struct session *s)
{
    const char *protocol = session_protocol(s);
    const char *command = s->forward ? "forward" : session_command_name(s->command);
    row->started_ms = s->started_ms;
    row->up = session_bytes_up(s);
    row->down = session_bytes_down(s);
    struct vd_out out = over(row->client, sizeof row->client);
    net_addr_print(&out, &s->client);
    end(&out);
    write_names(row, s);
    copy(row->protocol, sizeof row->protocol, protocol, strlen(protocol));
    copy(row->command, sizeof row->command, command, strlen(command));
    out = over(row->chain, sizeof row->chain);
    session_print_via(s, &out);
    end(&out);
}

static bool is_over(const struct session *s)
{
    return s->state == SESSION_REFUSED || s->state == SESSION_RESETTING;
}

static void write_rows(struct worker *w)
{
    struct shared_rows *rows = &w->shared->rows[w->shared->own];
    uint32_t count = 0, seq = rows->seq | 1;
    __atomic_store_n(&rows->seq, seq, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    for (const struct session *s = w->sessions; s && count < SHARED_ROWS; s = s->next)
        if (!is_over(s))
            write_row(&rows->at[count++], s);
    shared_set(&rows->count, count);
    __atomic_store_n(&rows->seq, seq + 1, __ATOMIC_RELEASE);
}

static void on_timer(struct loop_timer *timer)
{
    struct worker *w = loop_owner(timer, struct worker, publish);
    for (struct session *s = w->sessions; s; s = s->next)
        if (!is_over(s))
            limit_count_bytes(s);
    write_rows(w);
    loop_timer_in(&w->loop, &w->publish, EVERY_MS);
}

void publish_start(struct worker *w)
{
    w->publish.fire = on_timer;
    if (w->conf->admin)
        loop_timer_in(&w->loop, &w->publish, EVERY_MS);
}
