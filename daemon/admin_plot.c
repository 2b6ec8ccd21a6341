/* Rates over the last minutes as inline SVG: an area for each series, drawn by the page's style. */
#include "daemon/admin_write.h"

enum { WIDTH = 600, HEIGHT = 110, SERIES = 2, WINDOW_MIN_MS = 60 * 1000 };

struct plot {
    const char *title;
    const char *names[SERIES]; /* the second may be NULL */
    bool bytes;
    double (*value)(const struct admin_view *v, unsigned i, int series);
};

/* --- what is plotted; number `i` is what happened between sample i - 1 and i --- */

static double open_sessions(const struct admin_view *v, unsigned i, int series)
{
    (void)series;
    return v->samples[i].sessions;
}

static double new_sessions(const struct admin_view *v, unsigned i, int series)
{
    const struct shared_sample *b = &v->samples[i], *a = b - 1;
    (void)series;
    return admin_rate(a, b, a->accepted, b->accepted);
}

static double bytes(const struct admin_view *v, unsigned i, int series)
{
    const struct shared_sample *b = &v->samples[i], *a = b - 1;
    return series == 0 ? admin_rate(a, b, a->bytes_down, b->bytes_down)
                       : admin_rate(a, b, a->bytes_up, b->bytes_up);
}

static double refused(const struct admin_view *v, unsigned i, int series)
{
    const struct shared_sample *b = &v->samples[i], *a = b - 1;
    (void)series;
    return admin_rate(a, b, a->refused, b->refused);
}

static const struct plot plots[] = {
    {"Throughput per second", {"down", "up"}, true, bytes},
    {"Open sessions", {"open", NULL}, false, open_sessions},
    {"New sessions per second", {"new", NULL}, false, new_sessions},
    {"Refused per second", {"refused", NULL}, false, refused},
};

/* --- drawing --- */

static double highest(const struct plot *p, const struct admin_view *v)
{
    double top = 0;
    for (int series = 0; series < SERIES && p->names[series]; series++)
        for (unsigned i = 1; i < v->sample_count; i++) {
            double value = p->value(v, i, series);
            top = value > top ? value : top;
        }
    return top;
}

/* The next of 1, 2, 5, 10, ... above, so that the scale does not move all the time. */
static double round_up(double top)
{
    double step = 1;
    while (step * 10 <= top)
        step *= 10;
    static const double steps[] = {1, 2, 5};
    for (int i = 0; i < 3; i++)
        if (top <= steps[i] * step)
            return steps[i] * step;
    return 10 * step;
}

static int64_t ago_ms(const struct admin_view *v, unsigned i)
{
    return v->samples[v->sample_count - 1].at_ms - v->samples[i].at_ms;
}

/* As far back as there are samples. */
static int64_t window_ms(const struct admin_view *v)
{
    int64_t all = v->sample_count > 1 ? ago_ms(v, 1) : 0;
    return all > WINDOW_MIN_MS ? all : WINDOW_MIN_MS;
}

static double x_of(const struct admin_view *v, unsigned i)
{
    return WIDTH - (double)ago_ms(v, i) * WIDTH / (double)window_ms(v);
}

static void draw_points(struct vd_out *out, const struct plot *p, const struct admin_view *v,
                        int series, double top)
{
    for (unsigned i = 1; i < v->sample_count; i++)
        admin_print(out, " %.1f,%.1f", x_of(v, i),
                    HEIGHT - p->value(v, i, series) * (HEIGHT - 4) / top);
}

static void draw_series(struct vd_out *out, const struct plot *p, const struct admin_view *v,
                        int series, double top)
{
    admin_print(out, "<polygon class=\"fill s%d\" points=\"%.1f,%d", series, x_of(v, 1), HEIGHT);
    draw_points(out, p, v, series, top);
    admin_print(out, " %d,%d\"/><polyline class=\"line s%d\" points=\"", WIDTH, HEIGHT, series);
    draw_points(out, p, v, series, top);
    vd_out_text(out, "\"/>");
}

static void print_value(struct vd_out *out, const struct plot *p, double value)
{
    if (p->bytes)
        admin_print_bytes(out, value);
    else
        admin_print_number(out, value);
}

static void draw_legend(struct vd_out *out, const struct plot *p, const struct admin_view *v)
{
    for (int series = 0; series < SERIES && p->names[series]; series++) {
        admin_print(out, "<span class=\"key s%d\">%s ", series, p->names[series]);
        print_value(out, p, v->sample_count > 1 ? p->value(v, v->sample_count - 1, series) : 0);
        vd_out_text(out, "</span>");
    }
}

static void draw(struct vd_out *out, const struct plot *p, const struct admin_view *v)
{
    double top = round_up(highest(p, v));
    admin_print(out, "<figure><figcaption><b>%s</b>", p->title);
    draw_legend(out, p, v);
    vd_out_text(out, "</figcaption><div class=\"plot\"><span class=\"top\">");
    print_value(out, p, top);
    admin_print(out,
                "</span><svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" "
                "aria-label=\"%s\">",
                WIDTH, HEIGHT, p->title);
    for (int i = 0; i < 3; i++)
        admin_print(out, "<line class=\"grid\" x1=\"0\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>", WIDTH,
                    4 + i * (HEIGHT - 4) / 2, 4 + i * (HEIGHT - 4) / 2);
    for (int series = SERIES - 1; series >= 0 && v->sample_count > 1; series--)
        if (p->names[series])
            draw_series(out, p, v, series, top);
    vd_out_text(out, "</svg></div><div class=\"axis\"><span>");
    admin_print_age(out, window_ms(v));
    vd_out_text(out, " ago</span><span>now</span></div></figure>");
}

void admin_write_plots(struct vd_out *out, const struct admin_view *v)
{
    vd_out_text(out, "<section class=\"plots\">");
    for (size_t i = 0; i < sizeof plots / sizeof *plots; i++)
        draw(out, &plots[i], v);
    vd_out_text(out, "</section>");
}
