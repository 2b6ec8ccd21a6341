#include "conf/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/text.h"
#include "conf/value.h"
#include "proto/bytes.h"

enum { FILE_MAX = 16 << 20 };

/* libconfuse's callbacks carry no pointer of ours. */
static struct vd_conf_file *reading;

int vd_conf_file_wrong(struct vd_conf_file *f, int line, char *text)
{
    if (!f->error && asprintf(&f->error, "%s:%d: %s", f->path, line, text ? text : "?") < 0)
        f->error = NULL;
    free(text);
    return -1;
}

/* --- libconfuse's own errors in our words ---------------------------------------------------- */

/* What libconfuse says begins with `theirs` and has at most one %s, which goes between ours. */
static const struct {
    const char *theirs, *before, *after;
} words_of[] = {
    {"found duplicate title", "duplicate title `", "`; every section of a kind has its own"},
    {"unexpected token", "unexpected `", "`; a value, `,`, `{` or `}` is missing before it"},
    {"missing equal sign", "missing `=` after `", "`"},
    {"missing opening brace", "missing `{` after `", "` and its title, if it has one"},
    {"missing title", "missing title after `", "`; allowed: a name, then `{`"},
    {"premature end of file", "the file ends in the middle of an option", ""},
    {"attempt to append", "`+=` after `", "`, which takes one value; allowed: `=`"},
    {"invalid octal number", "bad escape `", "`; allowed: \\000 to \\377"},
    {"bad escape sequence", "bad escape `", "`; allowed: \\000 to \\377"},
};

static bool is_later(const char *name)
{
    for (const char *const *at = reading->later; at && *at; at++)
        if (!strcmp(*at, name))
            return true;
    return false;
}

static void unknown_option(cfg_t *cfg, const char *name, char **error)
{
    char list[512];
    struct vd_out out = vd_out_over(list, sizeof list);

    for (cfg_opt_t *opt = cfg->opts; opt->name; opt++) {
        vd_out_text(&out, opt == cfg->opts ? "" : ", ");
        vd_out_text(&out, opt->name);
    }
    vd_out_string(&out);
    if (is_later(name))
        vd_conf_wrong(error, "`%s` is not served by this version; allowed: %s", name, list);
    else
        vd_conf_wrong(error, "unknown option `%s`; allowed: %s", name, list);
}

static void translate(const char *format, const char *argument, char **error)
{
    for (size_t i = 0; i < sizeof words_of / sizeof *words_of; i++)
        if (!strncmp(format, words_of[i].theirs, strlen(words_of[i].theirs))) {
            vd_conf_wrong(error, "%s%s%s", words_of[i].before, argument, words_of[i].after);
            return;
        }
    vd_conf_wrong(error, "cannot be understood: %s (%s)", format, argument);
}

static void note_error(cfg_t *cfg, const char *format, va_list args)
{
    const char *argument = strstr(format, "%s") ? va_arg(args, const char *) : "";
    char *text = NULL;

    if (!strncmp(format, "no such option", strlen("no such option")) ||
        !strncmp(format, "no sub-section", strlen("no sub-section")))
        unknown_option(cfg, argument, &text);
    else
        translate(format, argument, &text);
    vd_conf_file_wrong(reading, cfg->line, text);
}

/* --- values and sections as they come -------------------------------------------------------- */

static int out_of_memory(int line)
{
    return vd_conf_file_wrong(reading, line, strdup("out of memory"));
}

static int note_seen(cfg_t *cfg, cfg_opt_t *opt)
{
    for (size_t i = 0; i < reading->seen_count; i++)
        if (reading->seen[i] == opt)
            return 1;

    cfg_opt_t **more = reallocarray(reading->seen, reading->seen_count + 1, sizeof(cfg_opt_t *));
    if (!more)
        return out_of_memory(cfg->line);
    reading->seen = more;
    reading->seen[reading->seen_count++] = opt;
    return 0;
}

int vd_conf_file_word(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    int seen = note_seen(cfg, opt);
    if (seen < 0)
        return -1;
    if (seen && opt->nvalues == 1) {
        char *text = NULL;
        vd_conf_wrong(&text, "`%s` is given twice", opt->name);
        return vd_conf_file_wrong(reading, cfg->line, text);
    }

    size_t len = strlen(value);
    struct vd_conf_word *word = malloc(sizeof *word + len + 1);
    if (!word)
        return out_of_memory(cfg->line);
    word->line = cfg->line;
    memcpy(word->text, value, len + 1);
    *(void **)result = word;
    return 0;
}

void vd_conf_file_free_word(void *word)
{
    free(word);
}

static bool is_title(const char *title)
{
    size_t len = strlen(title);

    if (len == 0 || len > VD_TITLE_MAX || strstr(title, "://"))
        return false;
    for (const char *at = title; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return false;
    return true;
}

/* Called when a section of the top level is complete. */
static int note_section(cfg_t *root, cfg_opt_t *opt)
{
    cfg_t *cfg = opt->values[opt->nvalues - 1]->section;
    size_t count = reading->section_count;

    if (cfg->title && !is_title(cfg->title)) {
        char *text = NULL;
        vd_conf_wrong(&text,
                      "bad title `%s`; allowed: 1 to %d bytes, none of them a control byte, "
                      "no URL",
                      cfg->title, VD_TITLE_MAX);
        return vd_conf_file_wrong(reading, root->line, text);
    }
    if (!cfg->title && opt->nvalues > 1) {
        char *text = NULL;
        vd_conf_wrong(&text, "a second section `%s`; allowed: one", opt->name);
        return vd_conf_file_wrong(reading, root->line, text);
    }
    struct vd_conf_section *more = reallocarray(reading->sections, count + 1, sizeof *more);
    if (!more)
        return out_of_memory(root->line);
    more[count] = (struct vd_conf_section){.cfg = cfg, .line = root->line};
    reading->sections = more;
    reading->section_count++;
    return 0;
}

/* --- the file -------------------------------------------------------------------------------- */

static int cannot_read(struct vd_conf_file *f, const char *why)
{
    if (asprintf(&f->error, "%s: %s", f->path, why) < 0)
        f->error = NULL;
    return -1;
}

/* All of `fd` and a newline behind it, the caller's to free; NULL with errno. */
static char *slurp(int fd, size_t size, size_t *len)
{
    char *text = malloc(size + 2);
    if (!text)
        return NULL;

    *len = 0;
    while (*len < size) {
        ssize_t n = read(fd, text + *len, size - *len);
        if (n == 0)
            break;
        if (n < 0 && errno != EINTR) {
            free(text);
            return NULL;
        }
        *len += n > 0 ? (size_t)n : 0;
    }
    memcpy(text + *len, "\n", 2);
    return text;
}

/* A pipe is read to its end; opening it did not wait for whoever writes. */
static char *slurp_any(int fd, const struct stat *st, size_t *len)
{
    if (!S_ISFIFO(st->st_mode))
        return slurp(fd, (size_t)st->st_size, len);
    fcntl(fd, F_SETFL, 0);
    return slurp(fd, FILE_MAX, len);
}

static char *load(struct vd_conf_file *f)
{
    struct stat st;
    char *text = NULL;
    size_t len = 0;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) < 0)
        cannot_read(f, strerror(errno));
    else if (!(S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode)) || st.st_size > FILE_MAX)
        cannot_read(f, "not a configuration file; allowed: a regular file or a pipe, up to 16 MiB");
    else if (!(text = slurp_any(fd, &st, &len)))
        cannot_read(f, strerror(errno));
    else if (strlen(text) != len + 1)
        cannot_read(f, "not a text: it contains a NUL byte");
    f->open_to_others = fd >= 0 && (st.st_mode & S_IROTH);
    if (fd >= 0)
        close(fd);
    if (text && f->error) {
        free(text);
        return NULL;
    }
    return text;
}

static int parse(struct vd_conf_file *f, const char *text, cfg_opt_t *options)
{
    f->root = cfg_init(options, CFGF_NONE);
    if (!f->root)
        return cannot_read(f, "out of memory");
    reading = f;
    cfg_set_error_function(f->root, note_error);
    for (cfg_opt_t *opt = options; opt->name; opt++)
        if (opt->type == CFGT_SEC)
            cfg_set_validate_func(f->root, opt->name, note_section);
    int result = cfg_parse_buf(f->root, text);
    reading = NULL;
    if (result != CFG_SUCCESS && !f->error) /* libconfuse says nothing to an empty name */
        return vd_conf_file_wrong(f, f->root->line,
                                  strdup("unexpected empty text; allowed: the "
                                         "name of an option"));
    return f->error ? -1 : 0;
}

static int entitle(struct vd_conf_file *f, char **text, const char *kind)
{
    char *copy = vd_conf_text_entitle(*text, kind, "default");
    if (!copy)
        return cannot_read(f, "out of memory");
    free(*text);
    *text = copy;
    return 0;
}

int vd_conf_file_read(struct vd_conf_file *f, const char *path, cfg_opt_t *options,
                      const char *const *later, const char *untitled)
{
    *f = (struct vd_conf_file){.path = path, .later = later};
    char *text = load(f);
    if (!text)
        return -1;

    char *why = NULL;
    int line = vd_conf_text_clean(text, &why);
    int result = line ? vd_conf_file_wrong(f, line, why) : 0;
    if (result == 0 && untitled)
        result = entitle(f, &text, untitled);
    if (result == 0)
        result = parse(f, text, options);
    free(text);
    return result;
}

void vd_conf_file_close(struct vd_conf_file *f)
{
    if (f->root)
        cfg_free(f->root);
    free(f->sections);
    free(f->seen);
    f->root = NULL;
    f->sections = NULL;
    f->seen = NULL;
}

char *vd_conf_file_warning(const struct vd_conf_file *f, bool passwords)
{
    char *text = NULL;

    if (passwords && f->open_to_others &&
        asprintf(&text, "%s: contains passwords and can be read by everybody; chmod o-r helps",
                 f->path) < 0)
        return NULL;
    return text;
}
