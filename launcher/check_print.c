/*
 * The waterfall: a row for each step, whose bar lies where the step lies in the time of the whole.
 *
 *     hop 1  socks5h://gw.example:1080
 *       connect            |###                            |    12.0 ms
 *       method             |   ###                         |    12.3 ms  no login
 *
 * On a terminal in colours and eighths of a cell, as wide as it is; else in ASCII and 80 columns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "launcher/check_state.h"

enum { WIDTH = 80, WIDTH_LEAST = 56, WIDTH_MOST = 120, LABEL = 20, FIGURES = 13, NOTE = 12 };

struct look {
    bool colours, unicode;
    int width, bar;
};

static bool says_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);

        if (value && *value)
            return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

static int columns(void)
{
    struct winsize size;
    const char *given = getenv("COLUMNS");
    int width = given ? atoi(given) : 0;

    if (width <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    return width <= 0            ? WIDTH
           : width < WIDTH_LEAST ? WIDTH_LEAST
           : width > WIDTH_MOST  ? WIDTH_MOST
                                 : width;
}

static struct look find_look(void)
{
    struct look look = {.width = WIDTH};
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool terminal = isatty(STDOUT_FILENO);

    if (terminal) {
        look.width = columns();
        look.unicode = says_utf8();
        look.colours = !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
    }
    look.bar = look.width - 4 - LABEL - 2 - FIGURES - NOTE;
    return look;
}

static const char *paint(const struct look *look, const char *code)
{
    return look->colours ? code : "";
}

#define PLAIN  "\033[0m"
#define BOLD   "\033[1m"
#define DIM    "\033[2m"
#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"
#define BLUE   "\033[34m"
#define CYAN   "\033[36m"

void check_progress(const struct check *c, const char *what)
{
    if (!c->shows_progress)
        return;
    if (*what)
        printf("\r\033[K  ... %s", what);
    else
        fputs("\r\033[K", stdout);
    fflush(stdout);
}

/* --- bars ------------------------------------------------------------------------------------ */

static const char *colour_of(const struct check_step *step)
{
    static const char *const colours[] = {CYAN, BLUE, CYAN, GREEN, YELLOW, GREEN};

    return step->failed ? RED : colours[step->kind];
}

/* Eighths of cells, from the left; a bar begins at a cell and is at least one eighth long. */
static void put_bar(const struct look *look, const struct check_step *step, int64_t whole)
{
    static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int64_t cells = look->bar, from = step->from_ns * cells / whole;
    int64_t eighths = (step->to_ns * cells * 8 + whole - 1) / whole - from * 8;
    int used;

    if (from >= cells)
        from = cells - 1;
    if (eighths > (cells - from) * 8)
        eighths = (cells - from) * 8;
    if (eighths < 1)
        eighths = 1;
    printf("%*s%s", (int)from, "", paint(look, colour_of(step)));
    used = (int)((eighths + 7) / 8);
    if (look->unicode) {
        for (int64_t i = 0; i < eighths / 8; i++)
            fputs("█", stdout);
        fputs(parts[eighths % 8], stdout);
    } else {
        for (int i = 0; i < used; i++)
            fputc(step->failed ? 'x' : '#', stdout);
    }
    printf("%s%*s", paint(look, PLAIN), (int)(cells - from) - used, "");
}

/* --- rows ------------------------------------------------------------------------------------ */

void check_step_label(const struct check *c, const struct check_step *step, char *label, size_t cap)
{
    static const char *const labels[] = {"name", "connect", "TLS", "method", "login"};
    struct vd_out out = vd_out_over(label, cap);

    if (step->kind < CHECK_REQUEST) {
        vd_out_text(&out, labels[step->kind]);
    } else if (step->hop + 1u < c->count) {
        vd_out_text(&out, "to hop ");
        vd_out_uint(&out, c->first + step->hop + 2u);
    } else if (c->has_target) {
        vd_out_text(&out, "to the target");
    } else {
        vd_out_text(&out, "request");
    }
    vd_out_string(&out);
}

static const char *note_of(const struct check *c, const struct check_step *step)
{
    if (step->failed)
        return "fails";
    if (step->kind == CHECK_TLS)
        return step->code == 13 ? "TLS 1.3" : "TLS 1.2";
    if (step->kind == CHECK_METHOD)
        return step->code == 2 ? "with login" : "no login";
    if (step->kind == CHECK_REQUEST && !c->has_target && step->hop + 1u == c->count)
        return "answers";
    return "";
}

static void put_note(const struct look *look, const struct check_step *step, const char *note)
{
    if (*note)
        printf("  %s%s%s", paint(look, step->failed ? RED : DIM), note, paint(look, PLAIN));
    fputs("\n", stdout);
}

static void put_step(const struct look *look, const struct check *c, const struct check_step *step,
                     int64_t whole)
{
    char label[64];

    check_step_label(c, step, label, sizeof label);
    printf("    %-*.*s %s", LABEL, LABEL, label, look->unicode ? "▕" : "|");
    put_bar(look, step, whole);
    printf("%s %8.1f ms", look->unicode ? "▏" : "|", (double)(step->to_ns - step->from_ns) / 1e6);
    put_note(look, step, note_of(c, step));
}

static void put_hop(const struct look *look, const struct check *c, unsigned at)
{
    char url[VD_URL_TEXT], address[64] = "";
    struct vd_out out = vd_out_over(url, sizeof url), ip = vd_out_over(address, sizeof address - 1);
    const struct vd_hop *hop = &c->hops[at];
    unsigned which = at == 0 && c->talk.up ? c->talk.addr : 0;

    vd_url_print(&out, hop);
    if (vd_endpoint_is_name(&hop->at) && which < hop->addr_count)
        vd_ip_print(&ip, &hop->addrs[which]);
    printf("  %shop %u%s  %s%s%s%s%s\n", paint(look, BOLD), c->first + at + 1, paint(look, PLAIN),
           vd_out_string(&out), paint(look, DIM), *address ? "  " : "", vd_out_string(&ip),
           paint(look, PLAIN));
}

static void put_waterfall(const struct look *look, const struct check *c)
{
    int64_t whole = 1;

    for (unsigned i = 0; i < c->step_count; i++)
        if (c->steps[i].to_ns > whole)
            whole = c->steps[i].to_ns;
    for (unsigned at = 0; at < c->count; at++) {
        put_hop(look, c, at);
        for (unsigned i = 0; i < c->step_count; i++)
            if (c->steps[i].hop == at)
                put_step(look, c, &c->steps[i], whole);
    }
    if (c->step_count > 0)
        printf("    %s%-*s %*s %8.1f ms%s\n", paint(look, DIM), LABEL, "all", look->bar + 2, "",
               (double)whole / 1e6, paint(look, PLAIN));
}

/* --- abilities ------------------------------------------------------------------------------- */

const char *check_ability_name(enum check_ability ability)
{
    static const char *const names[] = {"names", "IPv4",       "IPv6",     "UDP",
                                        "BIND",  "one flight", "fast open"};

    return names[ability];
}

static const char *const words[] = {"-", "yes", "no", "?"};

/* Names, and which addresses they may lead to, as far as that is known. */
static const char *word_of(const uint8_t answers[CHECK_ABILITIES], int ability)
{
    bool by4 = answers[CHECK_NAMES4] == CHECK_YES, by6 = answers[CHECK_NAMES6] == CHECK_YES;

    if (ability != CHECK_NAMES || answers[CHECK_NAMES] != CHECK_YES || (!by4 && !by6))
        return words[answers[ability]];
    return by4 && by6 ? "v4 v6" : by4 ? "v4" : "v6";
}

static void put_answer(const struct look *look, const uint8_t answers[CHECK_ABILITIES], int ability,
                       int width)
{
    static const char *const colours[] = {DIM, GREEN, YELLOW, YELLOW};

    printf("%s%-*s%s", paint(look, colours[answers[ability]]), width, word_of(answers, ability),
           paint(look, PLAIN));
}

static void put_abilities(const struct look *look, const struct check *c)
{
    printf("\n  %scan  ", paint(look, DIM));
    for (int i = 0; i < CHECK_SHOWN; i++)
        printf("  %s", check_ability_name((enum check_ability)i));
    printf("%s\n", paint(look, PLAIN));
    for (unsigned at = 0; at < c->count; at++) {
        printf("  hop %-1u", c->first + at + 1);
        for (int i = 0; i < CHECK_SHOWN; i++) {
            int width = (int)strlen(check_ability_name((enum check_ability)i));

            fputs("  ", stdout);
            put_answer(look, c->answers[at], i, i + 1 < CHECK_SHOWN ? width : 0);
        }
        fputs("\n", stdout);
    }
}

/* --- words ----------------------------------------------------------------------------------- */

/* Broken at spaces, the lines below the first indented. */
static void put_words(const struct look *look, const char *sign, const char *colour,
                      const char *text)
{
    int room = look->width - 4;

    printf("  %s%s%s ", paint(look, colour), sign, paint(look, PLAIN));
    while (*text) {
        int len = (int)strlen(text);

        if (len > room) {
            for (len = room; len > 0 && text[len] != ' '; len--)
                ;
            len = len > 0 ? len : room;
        }
        printf("%.*s\n", len, text);
        text += len;
        text += strspn(text, " ");
        if (*text)
            fputs("    ", stdout);
    }
}

static void put_verdict(const struct look *look, const struct check *c)
{
    char target[VD_ENDPOINT_TEXT], text[VD_ENDPOINT_TEXT + 64];
    struct vd_out out = vd_out_over(target, sizeof target);

    for (unsigned i = 0; i < c->warning_count; i++)
        put_words(look, "!", YELLOW, c->warnings[i]);
    if (!c->ok) {
        put_words(look, look->unicode ? "✘" : "x", RED, c->message);
        put_words(look, " ", PLAIN, c->advice);
        return;
    }
    vd_endpoint_print(&out, &c->target);
    if (c->has_target)
        snprintf(text, sizeof text, "%s is reached", vd_out_string(&out));
    else
        snprintf(text, sizeof text, "all hops answer");
    put_words(look, look->unicode ? "✔" : "ok:", GREEN, text);
}

void check_print(const struct check *c)
{
    struct look look = find_look();
    char target[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(target, sizeof target);

    vd_endpoint_print(&out, &c->target);
    printf("viaduct: check of the chain `%s`%s%s\n\n", c->title, c->has_target ? " to " : "",
           c->has_target ? vd_out_string(&out) : "");
    put_waterfall(&look, c);
    if (c->ok)
        put_abilities(&look, c);
    fputs("\n", stdout);
    put_verdict(&look, c);
}
