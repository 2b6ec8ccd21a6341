/* Prometheus text format 0.0.4; every metric begins with viaductd_, times are in seconds. */
#include "daemon/admin_write.h"
#include "proto/err.h"

static void head(struct vd_out *out, const char *name, const char *type, const char *help)
{
    admin_print(out, "# HELP viaductd_%s %s\n# TYPE viaductd_%s %s\n", name, help, name, type);
}

static void line(struct vd_out *out, const char *name, uint64_t value)
{
    admin_print(out, "viaductd_%s %llu\n", name, (unsigned long long)value);
}

static void labelled(struct vd_out *out, const char *name, const char *label, const char *text,
                     uint64_t value)
{
    admin_print(out, "viaductd_%s{%s=", name, label);
    admin_print_quoted(out, text);
    admin_print(out, "} %llu\n", (unsigned long long)value);
}

/* What grows, and what is the case now, with one value. */
static void counter(struct vd_out *out, const char *name, const char *help, uint64_t value)
{
    head(out, name, "counter", help);
    line(out, name, value);
}

static void gauge(struct vd_out *out, const char *name, const char *help, uint64_t value)
{
    head(out, name, "gauge", help);
    line(out, name, value);
}

static void both_ways(struct vd_out *out, const char *name, const char *help, uint64_t up,
                      uint64_t down)
{
    head(out, name, "counter", help);
    labelled(out, name, "direction", "up", up);
    labelled(out, name, "direction", "down", down);
}

static void ended(struct vd_out *out, const struct shared_counts *sums)
{
    head(out, "sessions_total", "counter", "Sessions that have ended, by protocol and how.");
    for (int p = 0; p < SHARED_PROTOCOLS; p++)
        for (int end = 0; end < SHARED_ENDS; end++)
            if (sums->ended[p][end] > 0 || end == SHARED_CLOSED)
                admin_print(out, "viaductd_sessions_total{protocol=\"%s\",end=\"%s\"} %llu\n",
                            shared_protocols[p], shared_ends[end],
                            (unsigned long long)sums->ended[p][end]);
    head(out, "refused_total", "counter", "Requests that were refused, by the words of RFC 9209.");
    for (int i = VD_OK + 1; i < VD_ERR_COUNT; i++)
        if (sums->refused[i] > 0)
            labelled(out, "refused_total", "error", vd_err_proxy_status(i), sums->refused[i]);
}

static void lookups(struct vd_out *out, const struct shared_counts *sums)
{
    uint64_t sum = 0;
    head(out, "dns_lookup_seconds", "histogram", "How long lookups of names took.");
    for (int i = 0; i < SHARED_TIMES - 1; i++) {
        sum += sums->lookups[i];
        admin_print(out, "viaductd_dns_lookup_seconds_bucket{le=\"%g\"} %llu\n",
                    shared_times[i] / 1000.0, (unsigned long long)sum);
    }
    sum += sums->lookups[SHARED_TIMES - 1];
    admin_print(out,
                "viaductd_dns_lookup_seconds_bucket{le=\"+Inf\"} %llu\n"
                "viaductd_dns_lookup_seconds_sum %.3f\nviaductd_dns_lookup_seconds_count %llu\n",
                (unsigned long long)sum, (double)sums->lookups_ms / 1000, (unsigned long long)sum);
    counter(out, "dns_failed_total", "Lookups of names that gave no address.",
            sums->lookups_failed);
}

/* --- users, rules, limits, hops --- */

static void users(struct vd_out *out, const struct admin_view *v)
{
    const struct admin_entry *all = v->entries[SHARED_USER];
    unsigned count = v->entry_count[SHARED_USER];
    if (count == 0)
        return;
    head(out, "user_sessions", "gauge", "Sessions of a user that are open.");
    for (unsigned i = 0; i < count; i++)
        labelled(out, "user_sessions", "user", all[i].is.text, all[i].sessions);
    head(out, "user_sessions_total", "counter", "Sessions of a user that have begun.");
    for (unsigned i = 0; i < count; i++)
        labelled(out, "user_sessions_total", "user", all[i].is.text, all[i].is.total);
    head(out, "user_bytes_total", "counter", "Bytes of a user's sessions.");
    for (unsigned i = 0; i < count; i++)
        for (int down = 0; down < 2; down++) {
            vd_out_text(out, "viaductd_user_bytes_total{user=");
            admin_print_quoted(out, all[i].is.text);
            admin_print(out, ",direction=\"%s\"} %llu\n", down ? "down" : "up",
                        (unsigned long long)(down ? all[i].is.down : all[i].is.up));
        }
}

static bool is_limit(const struct admin_entry *e)
{
    return e->is.scope[0] != 0;
}

static void refusals(struct vd_out *out, const struct admin_view *v, bool of_limits,
                     const char *name, const char *help)
{
    const struct admin_entry *all = v->entries[SHARED_RULE];
    bool any = false;
    for (unsigned i = 0; i < v->entry_count[SHARED_RULE]; i++) {
        if (is_limit(&all[i]) != of_limits)
            continue;
        if (!any)
            head(out, name, "counter", help);
        any = true;
        labelled(out, name, of_limits ? "limit" : "rule", all[i].is.text, all[i].is.refused);
    }
}

static void hop_lines(struct vd_out *out, const struct admin_view *v, const char *name,
                      uint64_t (*value)(const struct admin_hop *))
{
    for (unsigned i = 0; i < v->hop_count; i++) {
        admin_print(out, "viaductd_%s{group=", name);
        admin_print_quoted(out, v->hops[i].is.group);
        vd_out_text(out, ",hop=");
        admin_print_quoted(out, v->hops[i].is.text);
        admin_print(out, "} %llu\n", (unsigned long long)value(&v->hops[i]));
    }
}

static uint64_t is_up(const struct admin_hop *hop)
{
    return !hop->down;
}

static uint64_t sessions_of(const struct admin_hop *hop)
{
    return hop->sessions;
}

static uint64_t tries_of(const struct admin_hop *hop)
{
    return hop->is.tries;
}

static uint64_t failures_of(const struct admin_hop *hop)
{
    return hop->is.failures;
}

static void hops(struct vd_out *out, const struct admin_view *v)
{
    if (v->hop_count == 0)
        return;
    head(out, "hop_up", "gauge", "Whether a hop or target is thought to work.");
    hop_lines(out, v, "hop_up", is_up);
    head(out, "hop_sessions", "gauge", "Sessions that go by a hop or to a target.");
    hop_lines(out, v, "hop_sessions", sessions_of);
    head(out, "hop_tries_total", "counter", "Sessions that were sent by a hop or to a target.");
    hop_lines(out, v, "hop_tries_total", tries_of);
    head(out, "hop_failures_total", "counter", "Sessions that came to nothing there.");
    hop_lines(out, v, "hop_failures_total", failures_of);
}

/* --- the whole --- */

static void now(struct vd_out *out, const struct admin_view *v)
{
    head(out, "build_info", "gauge", "The version that runs.");
    labelled(out, "build_info", "version", VIADUCT_VERSION, 1);
    head(out, "start_time_seconds", "gauge", "When it was started, in seconds since 1970.");
    admin_print(out, "viaductd_start_time_seconds %lld\n",
                (long long)(v->wall_s - (v->now_ms - v->started_ms) / 1000));
    gauge(out, "workers", "Worker processes, those that end with their last session included.",
          v->worker_count);
    gauge(out, "workers_paused", "Workers that do not accept now.", v->paused);
    gauge(out, "sessions", "Sessions that are open, handshakes included.", v->sessions);
    gauge(out, "handshakes", "Connections whose request has not come yet.", v->handshakes);
}

void admin_write_metrics(struct vd_out *out, const struct admin_view *v)
{
    const struct shared_counts *sums = &v->sums;
    now(out, v);
    counter(out, "accepted_total", "Connections that were accepted.", sums->accepted);
    ended(out, sums);
    counter(out, "logins_refused_total", "Wrong logins.", sums->logins_refused);
    both_ways(out, "bytes_total", "Bytes carried towards targets and back.", sums->bytes_up,
              sums->bytes_down);
    both_ways(out, "datagrams_total", "Datagrams of associations that have ended.",
              sums->datagrams_up, sums->datagrams_down);
    counter(out, "datagrams_dropped_total", "Datagrams that were dropped, of the same.",
            sums->datagrams_dropped);
    counter(out, "accept_pauses_total", "How often a worker has stopped accepting for a while.",
            sums->pauses);
    lookups(out, sums);
    users(out, v);
    refusals(out, v, false, "rule_refused_total", "Requests that a rule has refused.");
    refusals(out, v, true, "limit_refused_total", "Sessions beyond a limit.");
    hops(out, v);
}
