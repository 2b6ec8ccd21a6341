/*
 * admin_write: a view as a page, as JSON, and as metrics of Prometheus; and the words they share.
 *
 * Each writes into `out`; out->ok is false afterwards if there was no room.
 */
#ifndef DAEMON_ADMIN_WRITE_H
#define DAEMON_ADMIN_WRITE_H

#include "daemon/admin_view.h"
#include "proto/bytes.h"

/* HTML; `nonce` is the one of the response's Content-Security-Policy, for the style. */
void admin_write_page(struct vd_out *out, const struct admin_view *v, const char *nonce);
void admin_write_json(struct vd_out *out, const struct admin_view *v);
/* Text format 0.0.4. */
void admin_write_metrics(struct vd_out *out, const struct admin_view *v);

/* --- between the writers --- */

void admin_write_style(struct vd_out *out);
/* The plots of the page: SVG inside of HTML. */
void admin_write_plots(struct vd_out *out, const struct admin_view *v);

void admin_print(struct vd_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* With the characters that mean something in HTML written otherwise. */
void admin_print_html(struct vd_out *out, const char *text);
/* In quotes, for JSON or the label of a metric: both write " and \ alike. */
void admin_print_quoted(struct vd_out *out, const char *text);
/* "12.3 MB" */
void admin_print_bytes(struct vd_out *out, double bytes);
/* "1,234.5", with one decimal below 100. */
void admin_print_number(struct vd_out *out, double number);
/* "2 h 5 min" */
void admin_print_age(struct vd_out *out, int64_t ms);

/* What happened between two samples, for each second: `what` is a field of the sums. */
double admin_rate(const struct shared_sample *from, const struct shared_sample *to, uint64_t before,
                  uint64_t after);
/* The rates since the last sample but one. */
struct admin_rates {
    double accepted, up, down, refused;
};
struct admin_rates admin_rates_now(const struct admin_view *v);

#endif
