/* The view as one JSON object; keys are only ever added. Bytes and sums are exact up to 2^53. */
#include "daemon/admin_write.h"
#include "proto/err.h"

/* A member of an object or array: a comma first, unless the one before was the bracket. */
static void next(struct vd_out *out)
{
    uint8_t before = out->len > 0 ? out->to[out->len - 1] : 0;
    if (before != '{' && before != '[')
        vd_out_u8(out, ',');
}

static void key(struct vd_out *out, const char *name)
{
    next(out);
    admin_print_quoted(out, name);
    vd_out_u8(out, ':');
}

static void number(struct vd_out *out, const char *name, uint64_t value)
{
    key(out, name);
    vd_out_uint(out, value);
}

static void text(struct vd_out *out, const char *name, const char *value)
{
    key(out, name);
    admin_print_quoted(out, value);
}

static void truth(struct vd_out *out, const char *name, bool value)
{
    key(out, name);
    vd_out_text(out, value ? "true" : "false");
}

static void open(struct vd_out *out, const char *name, char bracket)
{
    if (name)
        key(out, name);
    else
        next(out);
    vd_out_u8(out, (uint8_t)bracket);
}

static void close(struct vd_out *out, char bracket)
{
    vd_out_u8(out, (uint8_t)bracket);
}

/* --- parts --- */

static void totals(struct vd_out *out, const struct shared_counts *sums)
{
    uint64_t count = 0;
    for (int i = 0; i < SHARED_TIMES; i++)
        count += sums->lookups[i];
    open(out, "totals", '{');
    number(out, "accepted", sums->accepted);
    number(out, "ended", admin_view_ended_in_all(sums));
    number(out, "bytes_up", sums->bytes_up);
    number(out, "bytes_down", sums->bytes_down);
    number(out, "datagrams_up", sums->datagrams_up);
    number(out, "datagrams_down", sums->datagrams_down);
    number(out, "datagrams_dropped", sums->datagrams_dropped);
    number(out, "logins_refused", sums->logins_refused);
    number(out, "accept_pauses", sums->pauses);
    number(out, "lookups", count);
    number(out, "lookups_failed", sums->lookups_failed);
    number(out, "lookups_ms", sums->lookups_ms);
    open(out, "results", '{');
    for (int p = 0; p < SHARED_PROTOCOLS; p++) {
        open(out, shared_protocols[p], '{');
        for (int end = 0; end < SHARED_ENDS; end++)
            if (sums->ended[p][end] > 0)
                number(out, shared_ends[end], sums->ended[p][end]);
        close(out, '}');
    }
    close(out, '}');
    open(out, "errors", '{');
    for (int i = VD_OK + 1; i < VD_ERR_COUNT; i++)
        if (sums->refused[i] > 0)
            number(out, vd_err_proxy_status(i), sums->refused[i]);
    close(out, '}');
    close(out, '}');
}

static void rates(struct vd_out *out, const struct admin_view *v)
{
    struct admin_rates r = admin_rates_now(v);
    open(out, "rates", '{');
    key(out, "sessions");
    admin_print(out, "%.2f", r.accepted);
    key(out, "bytes_up");
    admin_print(out, "%.0f", r.up);
    key(out, "bytes_down");
    admin_print(out, "%.0f", r.down);
    key(out, "refused");
    admin_print(out, "%.2f", r.refused);
    close(out, '}');
}

static void workers(struct vd_out *out, const struct admin_view *v)
{
    open(out, "workers", '[');
    for (unsigned i = 0; i < v->worker_count; i++) {
        const struct admin_worker *w = &v->workers[i];
        open(out, NULL, '{');
        number(out, "pid", (uint64_t)w->pid);
        number(out, "sessions", w->sessions);
        number(out, "handshakes", w->handshakes);
        truth(out, "paused", w->paused);
        truth(out, "draining", w->draining);
        close(out, '}');
    }
    close(out, ']');
}

static void sessions(struct vd_out *out, const struct admin_view *v)
{
    open(out, "sessions", '[');
    for (unsigned i = 0; i < v->row_count; i++) {
        const struct shared_row *row = &v->rows[i];
        open(out, NULL, '{');
        text(out, "client", row->client);
        text(out, "user", row->user);
        text(out, "protocol", row->protocol);
        text(out, "command", row->command);
        text(out, "target", row->target);
        text(out, "chain", row->chain);
        number(out, "up", row->up);
        number(out, "down", row->down);
        number(out, "age_ms", (uint64_t)(v->now_ms - row->started_ms));
        close(out, '}');
    }
    close(out, ']');
}

static void entries(struct vd_out *out, const struct admin_view *v, enum shared_kind kind,
                    const char *name)
{
    open(out, name, '[');
    for (unsigned i = 0; i < v->entry_count[kind]; i++) {
        const struct admin_entry *e = &v->entries[kind][i];
        open(out, NULL, '{');
        if (kind == SHARED_LIMIT)
            text(out, "limit", e->is.scope);
        if (kind == SHARED_RULE)
            text(out, "kind", *e->is.scope ? "limit" : "rule");
        text(out, "name", e->is.text);
        number(out, "sessions", e->sessions);
        number(out, "total", e->is.total);
        number(out, "refused", e->is.refused);
        number(out, "up", e->is.up);
        number(out, "down", e->is.down);
        close(out, '}');
    }
    close(out, ']');
}

static void hops(struct vd_out *out, const struct admin_view *v)
{
    open(out, "hops", '[');
    for (unsigned i = 0; i < v->hop_count; i++) {
        const struct admin_hop *hop = &v->hops[i];
        open(out, NULL, '{');
        text(out, "group", hop->is.group);
        text(out, "hop", hop->is.text);
        truth(out, "up", !hop->down);
        number(out, "sessions", hop->sessions);
        number(out, "tries", hop->is.tries);
        number(out, "failures", hop->is.failures);
        number(out, "last_ms", hop->is.last_ms);
        text(out, "last_error", hop->is.last_err ? vd_err_proxy_status((int)hop->is.last_err) : "");
        close(out, '}');
    }
    close(out, ']');
}

void admin_write_json(struct vd_out *out, const struct admin_view *v)
{
    vd_out_u8(out, '{');
    text(out, "version", VIADUCT_VERSION);
    number(out, "time", (uint64_t)v->wall_s);
    number(out, "uptime_ms", (uint64_t)(v->now_ms - v->started_ms));
    number(out, "open", v->sessions);
    number(out, "handshakes", v->handshakes);
    rates(out, v);
    totals(out, &v->sums);
    workers(out, v);
    sessions(out, v);
    entries(out, v, SHARED_USER, "users");
    entries(out, v, SHARED_CLIENT, "clients");
    entries(out, v, SHARED_RULE, "rules");
    entries(out, v, SHARED_LIMIT, "limits");
    hops(out, v);
    vd_out_text(out, "}\n");
}
