/* The status page: one HTML document without scripts, which the browser loads anew by itself. */
#include <string.h>

#include "daemon/admin_write.h"
#include "proto/err.h"

enum { REFRESH_S = 5, SHOWN_SESSIONS = 200, SHOWN_ENTRIES = 50 };

/* --- pieces --- */

static void cell(struct vd_out *out, const char *text)
{
    vd_out_text(out, "<td class=\"t\">");
    admin_print_html(out, *text ? text : "-");
    vd_out_text(out, "</td>");
}

static void number_cell(struct vd_out *out, uint64_t number)
{
    vd_out_text(out, "<td class=\"n\">");
    admin_print_number(out, (double)number);
    vd_out_text(out, "</td>");
}

static void bytes_cell(struct vd_out *out, uint64_t bytes)
{
    vd_out_text(out, "<td class=\"n\">");
    admin_print_bytes(out, (double)bytes);
    vd_out_text(out, "</td>");
}

static void tag_cell(struct vd_out *out, const char *kind, const char *text)
{
    admin_print(out, "<td><span class=\"tag %s\">%s</span></td>", kind, text);
}

/* `columns`: names, apart by "|"; those of numbers begin with "#". */
static void begin_table(struct vd_out *out, const char *title, const char *note,
                        const char *columns)
{
    admin_print(out, "<section class=\"table\"><h2>%s", title);
    if (*note)
        admin_print(out, "<small>%s</small>", note);
    vd_out_text(out, "</h2>");
    if (!columns)
        return;
    vd_out_text(out, "<table><thead><tr>");
    for (size_t len; *columns; columns += len + (columns[len] == '|')) {
        len = strcspn(columns, "|");
        bool number = *columns == '#';
        admin_print(out, "<th%s>%.*s</th>", number ? " class=\"n\"" : "",
                    (int)(len - (size_t)number), columns + number);
    }
    vd_out_text(out, "</tr></thead><tbody>");
}

static void end_table(struct vd_out *out)
{
    vd_out_text(out, "</tbody></table></section>");
}

static void nothing(struct vd_out *out, const char *title, const char *words)
{
    begin_table(out, title, "", NULL);
    admin_print(out, "<p class=\"none\">%s</p></section>", words);
}

/* --- the top --- */

static void begin_card(struct vd_out *out)
{
    vd_out_text(out, "<div class=\"card\"><b>");
}

static void end_card(struct vd_out *out, const char *name)
{
    admin_print(out, "</b><span>%s</span></div>", name);
}

static void number_card(struct vd_out *out, double number, const char *name)
{
    begin_card(out);
    admin_print_number(out, number);
    end_card(out, name);
}

static void bytes_card(struct vd_out *out, double bytes, const char *name)
{
    begin_card(out);
    admin_print_bytes(out, bytes);
    end_card(out, name);
}

static void write_cards(struct vd_out *out, const struct admin_view *v)
{
    struct admin_rates r = admin_rates_now(v);
    vd_out_text(out, "<section class=\"cards\">");
    number_card(out, v->sessions, "sessions open");
    number_card(out, v->handshakes, "in the handshake");
    number_card(out, r.accepted, "new per second");
    bytes_card(out, r.down, "down per second");
    bytes_card(out, r.up, "up per second");
    number_card(out, (double)v->sums.accepted, "sessions in all");
    bytes_card(out, (double)(v->sums.bytes_up + v->sums.bytes_down), "carried in all");
    number_card(out, (double)admin_view_ended(&v->sums, SHARED_REFUSED), "refused in all");
    vd_out_text(out, "</section>");
}

static void write_header(struct vd_out *out, const struct admin_view *v)
{
    vd_out_text(out, "<header><h1>viaductd</h1><p>version " VIADUCT_VERSION ", up for ");
    admin_print_age(out, v->now_ms - v->started_ms);
    admin_print(out,
                ", %u worker%s</p><nav><a href=\"/status.json\">JSON</a>"
                "<a href=\"/metrics\">Metrics</a></nav></header>",
                v->worker_count, v->worker_count == 1 ? "" : "s");
}

/* --- tables --- */

static void write_sessions(struct vd_out *out, const struct admin_view *v)
{
    char note[96];
    struct vd_out words = vd_out_over(note, sizeof note);
    unsigned shown = v->row_count < SHOWN_SESSIONS ? v->row_count : SHOWN_SESSIONS;
    if (shown == SHOWN_SESSIONS && shown < v->sessions)
        admin_print(&words, "the newest %u of %u", shown, v->sessions);
    if (shown == 0) {
        nothing(out, "Sessions", "No session is open.");
        return;
    }
    begin_table(out, "Sessions", vd_out_string(&words),
                "Client|User|Protocol|Command|Target|Chain|#Up|#Down|#Age");
    for (unsigned i = 0; i < shown; i++) {
        const struct shared_row *row = &v->rows[i];
        vd_out_text(out, "<tr>");
        cell(out, row->client);
        cell(out, row->user);
        cell(out, row->protocol);
        cell(out, row->command);
        cell(out, row->target);
        cell(out, *row->chain ? row->chain : "direct");
        bytes_cell(out, row->up);
        bytes_cell(out, row->down);
        vd_out_text(out, "<td class=\"n\">");
        admin_print_age(out, v->now_ms - row->started_ms);
        vd_out_text(out, "</td></tr>");
    }
    end_table(out);
}

static void write_entries(struct vd_out *out, const struct admin_view *v, enum shared_kind kind,
                          const char *title, const char *none)
{
    char note[64];
    struct vd_out words = vd_out_over(note, sizeof note);
    unsigned count = v->entry_count[kind], shown = count < SHOWN_ENTRIES ? count : SHOWN_ENTRIES;
    if (shown < count + v->entry_more[kind])
        admin_print(&words, "the busiest %u of %u", shown, count + v->entry_more[kind]);
    if (shown == 0) {
        nothing(out, title, none);
        return;
    }
    begin_table(out, title, vd_out_string(&words), "Name|#Open|#Total|#Up|#Down");
    for (unsigned i = 0; i < shown; i++) {
        const struct admin_entry *e = &v->entries[kind][i];
        vd_out_text(out, "<tr>");
        cell(out, e->is.text);
        number_cell(out, e->sessions);
        number_cell(out, e->is.total);
        bytes_cell(out, e->is.up);
        bytes_cell(out, e->is.down);
        vd_out_text(out, "</tr>");
    }
    end_table(out);
}

static void write_hops(struct vd_out *out, const struct admin_view *v)
{
    if (v->hop_count == 0)
        return;
    begin_table(out, "Hops and targets", "",
                "Of|Hop or target|State|#Open|#Tries|#Failures|#Last answer|Last error");
    for (unsigned i = 0; i < v->hop_count; i++) {
        const struct admin_hop *hop = &v->hops[i];
        vd_out_text(out, "<tr>");
        cell(out, hop->is.group);
        cell(out, hop->is.text);
        tag_cell(out, hop->down ? "down" : "up", hop->down ? "down" : "up");
        number_cell(out, hop->sessions);
        number_cell(out, hop->is.tries);
        number_cell(out, hop->is.failures);
        admin_print(out, "<td class=\"n\">%u ms</td>", hop->is.last_ms);
        cell(out, hop->is.last_err ? vd_err_proxy_status((int)hop->is.last_err) : "");
        vd_out_text(out, "</tr>");
    }
    end_table(out);
}

static void write_refusals(struct vd_out *out, const struct admin_view *v)
{
    if (v->entry_count[SHARED_RULE] + v->entry_count[SHARED_LIMIT] == 0)
        return;
    begin_table(out, "Rules and limits", "those in use", "Kind|Title|For|#Open|#Refused");
    for (unsigned i = 0; i < v->entry_count[SHARED_RULE]; i++) {
        const struct admin_entry *e = &v->entries[SHARED_RULE][i];
        admin_print(out, "<tr><td>%s</td>", *e->is.scope ? "limit" : "rule");
        cell(out, e->is.text);
        vd_out_text(out, "<td></td><td></td>");
        number_cell(out, e->is.refused);
        vd_out_text(out, "</tr>");
    }
    for (unsigned i = 0; i < v->entry_count[SHARED_LIMIT] && i < SHOWN_ENTRIES; i++) {
        const struct admin_entry *e = &v->entries[SHARED_LIMIT][i];
        vd_out_text(out, "<tr><td>limit</td>");
        cell(out, e->is.scope);
        cell(out, e->is.text);
        number_cell(out, e->sessions);
        number_cell(out, e->is.refused);
        vd_out_text(out, "</tr>");
    }
    end_table(out);
}

static void write_results(struct vd_out *out, const struct admin_view *v)
{
    begin_table(out, "How sessions ended", "", "Protocol|How|#Sessions");
    for (int p = 0; p < SHARED_PROTOCOLS; p++)
        for (int end = 0; end < SHARED_ENDS; end++) {
            if (v->sums.ended[p][end] == 0)
                continue;
            admin_print(out, "<tr><td>%s</td><td>%s</td>", shared_protocols[p], shared_ends[end]);
            number_cell(out, v->sums.ended[p][end]);
            vd_out_text(out, "</tr>");
        }
    end_table(out);
}

static void write_workers(struct vd_out *out, const struct admin_view *v)
{
    begin_table(out, "Workers", "", "Process|State|#Sessions|#Handshakes");
    for (unsigned i = 0; i < v->worker_count; i++) {
        const struct admin_worker *w = &v->workers[i];
        admin_print(out, "<tr><td>%d</td>", w->pid);
        if (w->draining)
            tag_cell(out, "slow", "ends with its sessions");
        else
            tag_cell(out, w->paused ? "slow" : "up", w->paused ? "paused" : "serves");
        number_cell(out, w->sessions);
        number_cell(out, w->handshakes);
        vd_out_text(out, "</tr>");
    }
    end_table(out);
}

void admin_write_page(struct vd_out *out, const struct admin_view *v, const char *nonce)
{
    admin_print(out,
                "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                "<meta http-equiv=\"refresh\" content=\"%d\"><title>viaductd: %u open</title>"
                "<style nonce=\"%s\">",
                REFRESH_S, v->sessions, nonce);
    admin_write_style(out);
    vd_out_text(out, "</style></head><body><main>");
    write_header(out, v);
    write_cards(out, v);
    admin_write_plots(out, v);
    write_hops(out, v);
    write_sessions(out, v);
    vd_out_text(out, "<div class=\"pair\">");
    write_entries(out, v, SHARED_CLIENT, "Clients", "No client was seen yet.");
    if (v->entry_count[SHARED_USER] > 0)
        write_entries(out, v, SHARED_USER, "Users", "");
    write_results(out, v);
    write_workers(out, v);
    write_refusals(out, v);
    vd_out_text(out, "</div></main></body></html>\n");
}
