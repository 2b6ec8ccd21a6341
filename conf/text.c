/*
 * The scanner stands in one of five places; a newline is counted wherever it stands:
 *
 *     PLAIN --- # or // at a word's start --> LINE   --- newline --> PLAIN
 *           --- slash star at a word's start --> BLOCK --- star slash --> PLAIN
 *           --- " or ' --> QUOTED (until the same quote, a backslash hides one byte) --> PLAIN
 *           --- any other byte of a word --> WORD (where // and star mean no comment) --> PLAIN
 */
#include "conf/text.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/value.h"

enum place { PLAIN, WORD, LINE, BLOCK, QUOTED };

struct scan {
    char *at;
    enum place place;
    char quote;
    int line;
    int since; /* the line where the block comment or quoted text began */
    int depth; /* of open braces */
    int brace; /* line of the outermost open one */
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void blank(char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (at[i] != '\n')
            at[i] = ' ';
}

static bool begins(const struct scan *s, const char *text)
{
    return !strncmp(s->at, text, strlen(text));
}

/* A brace; false: one too many is closed. */
static bool count_brace(struct scan *s)
{
    if (*s->at == '{' && s->depth++ == 0)
        s->brace = s->line;
    if (*s->at == '}')
        s->depth--;
    return s->depth >= 0;
}

static bool scan_comment_start(struct scan *s)
{
    bool fresh = s->place == PLAIN;
    bool line = *s->at == '#' || (fresh && begins(s, "//"));
    bool block = fresh && begins(s, "/*");

    if (!line && !block)
        return false;
    s->place = line ? LINE : BLOCK;
    s->since = s->line;
    blank(s->at, line ? 1 : 2);
    s->at += line ? 1 : 2;
    return true;
}

static int scan_mark(struct scan *s, char **error)
{
    if (*s->at == '"' || *s->at == '\'') {
        s->place = QUOTED;
        s->quote = *s->at;
        s->since = s->line;
        return 0;
    }
    s->place = is_space(*s->at) || strchr("{}=,+", *s->at) ? PLAIN : WORD;
    if (strchr("{}", *s->at) && !count_brace(s))
        return vd_conf_wrong(error, "unexpected `}`; no section or list is open here");
    if (*s->at == '+' && s->at[1] != '=')
        return vd_conf_wrong(error, "unexpected `+`; allowed: `+=`, or the value in quotes");
    if (strchr("*()", *s->at) || ((unsigned char)*s->at < ' ' && !is_space(*s->at)))
        return vd_conf_wrong(error, "unexpected `%c`; values with such a byte stand in quotes",
                             *s->at);
    return 0;
}

static int scan_plain(struct scan *s, char **error)
{
    if (scan_comment_start(s))
        return 0;
    if (scan_mark(s, error) < 0)
        return -1;
    s->at++;
    return 0;
}

static void scan_line(struct scan *s)
{
    if (*s->at == '\n')
        s->place = PLAIN;
    else
        blank(s->at, 1);
    s->at++;
}

static void scan_block(struct scan *s)
{
    size_t len = begins(s, "*/") ? 2 : 1;

    if (len == 2)
        s->place = PLAIN;
    blank(s->at, len);
    s->at += len;
}

static void scan_quoted(struct scan *s)
{
    if (*s->at == s->quote)
        s->place = PLAIN;
    if (*s->at == '\\' && s->at[1] && s->at[1] != '\n')
        s->at++;
    s->at++;
}

static int scan_end(struct scan *s, char **error)
{
    if (s->place == BLOCK) {
        s->line = s->since;
        return vd_conf_wrong(error, "this comment has no end; allowed: /* text */");
    }
    if (s->place == QUOTED) {
        s->line = s->since;
        return vd_conf_wrong(error, "this text has no closing quote `%c`", s->quote);
    }
    if (s->depth > 0) {
        s->line = s->brace;
        return vd_conf_wrong(error, "this `{` is never closed; `}` is missing");
    }
    return 0;
}

/* libconfuse puts variables of the environment in, and nothing for those that are not set. */
static bool is_variable(const struct scan *s)
{
    return (s->place == PLAIN || s->place == WORD || s->quote == '"') && begins(s, "${");
}

static int scan_step(struct scan *s, char **error)
{
    if (*s->at == '\n')
        s->line++;
    if (s->place != LINE && s->place != BLOCK && is_variable(s))
        return vd_conf_wrong(error, "variables such as `${NAME}` are not put in here; allowed: "
                                    "`\\${` in quotes for these bytes themselves");
    switch (s->place) {
    case PLAIN:
    case WORD:
        return scan_plain(s, error);
    case LINE:
        scan_line(s);
        return 0;
    case BLOCK:
        scan_block(s);
        return 0;
    case QUOTED:
        scan_quoted(s);
        return 0;
    }
    return 0;
}

int vd_conf_text_clean(char *text, char **error)
{
    struct scan s = {.at = text, .line = 1};

    while (*s.at)
        if (scan_step(&s, error) < 0)
            return s.line;
    return scan_end(&s, error) < 0 ? s.line : 0;
}

/* --- titles that are left out --- */

static const char *behind_quotes(const char *at)
{
    char quote = *at++;

    while (*at && *at != quote)
        at += *at == '\\' && at[1] ? 2 : 1;
    return *at ? at + 1 : at;
}

static const char *behind_space(const char *at)
{
    while (is_space(*at))
        at++;
    return at;
}

static const char *behind_word(const char *at)
{
    if (*at == '"' || *at == '\'')
        return behind_quotes(at);
    return strchr("{}=,", *at) ? at + 1 : at + strcspn(at, " \t\r\n{}=,\"'");
}

/* The word `kind` in the outermost place, with a brace behind it: that brace. NULL: none follows.
 * Where another word stands behind it, that is its title, whatever it says. */
static const char *find_untitled(const char *at, const char *kind)
{
    size_t len = strlen(kind);
    int depth = 0;

    while (*(at = behind_space(at))) {
        const char *end = behind_word(at);
        bool is_kind = depth == 0 && (size_t)(end - at) == len && !strncmp(at, kind, len);
        const char *next = behind_space(end);
        if (is_kind && *next == '{')
            return next;
        depth += (*at == '{') - (*at == '}');
        at = is_kind && *next ? behind_word(next) : end;
    }
    return NULL;
}

char *vd_conf_text_entitle(const char *text, const char *kind, const char *title)
{
    size_t count = 0, room = strlen(title) + 2;
    const char *at = text, *brace;

    while ((brace = find_untitled(at, kind)) && ++count)
        at = brace;
    char *copy = malloc(strlen(text) + count * room + 1), *to = copy;
    for (at = text; copy && (brace = find_untitled(at, kind)); at = brace)
        to += sprintf(to, "%.*s %s ", (int)(brace - at), at, title);
    if (copy)
        strcpy(to, at);
    return copy;
}
