/*
 * conf/file: a configuration file through libconfuse, every value with its line. Private to conf/.
 *
 * libconfuse knows the grammar and the names only: every value is taken as text with its line, so
 * that the meaning of values is judged in conf/ and an error can always tell the place. Its scanner
 * and its callbacks have global state: one file at a time.
 */
#ifndef VD_CONF_FILE_H
#define VD_CONF_FILE_H

#include <confuse.h>
#include <stdbool.h>
#include <stddef.h>

#include "conf/client.h"

struct vd_conf_word {
    int line;
    char text[];
};

/* One value, and a list of values. */
#define VD_CONF_WORD(name)                                                                         \
    CFG_PTR_CB(name, NULL, CFGF_NODEFAULT, vd_conf_file_word, vd_conf_file_free_word)
#define VD_CONF_WORDS(name)                                                                        \
    CFG_PTR_LIST_CB(name, NULL, CFGF_NODEFAULT, vd_conf_file_word, vd_conf_file_free_word)
/* A section, with a title or without. */
#define VD_CONF_TITLED(name, options)                                                              \
    CFG_SEC(name, options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES)
#define VD_CONF_PLAIN(name, options) CFG_SEC(name, options, CFGF_MULTI)

/* A section as it was met; sections of all kinds in the order of the file. */
struct vd_conf_section {
    cfg_t *cfg; /* cfg->name is its kind, cfg->title its title or NULL */
    int line;   /* where it ends */
};

struct vd_conf_file {
    cfg_t *root;
    const char *path;
    const char *const *later; /* names of options and sections that this version does not serve */
    struct vd_conf_section *sections;
    size_t section_count;
    cfg_opt_t **seen;
    size_t seen_count;
    bool open_to_others; /* readable by users other than owner and group */
    char *error;         /* the first one */
};

/* Reads `path`; `options` must last as long as the file. Sections `untitled` (NULL: none), which
 * are declared with a title, have the title "default" where they have none. 0, or -1 with f->error.
 * Must be closed in both cases. */
int vd_conf_file_read(struct vd_conf_file *f, const char *path, cfg_opt_t *options,
                      const char *const *later, const char *untitled);
void vd_conf_file_close(struct vd_conf_file *f);

/* Notes an error at `line`, unless there is one already; takes the text. Always -1. */
int vd_conf_file_wrong(struct vd_conf_file *f, int line, char *text);

/* The value at `index`, NULL if the file has none there. */
const struct vd_conf_word *vd_conf_file_get(cfg_t *section, const char *name, unsigned index);
/* Whether a list was given, even an empty one. */
bool vd_conf_file_has(cfg_t *section, const char *name);

/* Judges every section "proxy", used or not; *passwords becomes true if one has a password. */
int vd_conf_file_proxies(struct vd_conf_file *f, bool *passwords);
/* Reads the hops of `section` (its list "hops", options "mode" and "pick") into *chain. */
int vd_conf_file_chain(struct vd_conf_file *f, const struct vd_conf_section *section,
                       struct vd_conf_chain *chain);
/* Reads a list of patterns; *patterns is the caller's to free, also after an error. */
int vd_conf_file_patterns(struct vd_conf_file *f, cfg_t *section, const char *name,
                          struct vd_pattern **patterns, size_t *count);
/* Reads the list "nameservers" of the file: addresses, with port 53 unless another one is said;
 * `servers` has VD_NAMESERVERS_MAX places. */
int vd_conf_file_servers(struct vd_conf_file *f, struct vd_endpoint *servers, size_t *count);
/* Reads an option if it is there; 0 also if it is not. */
int vd_conf_file_choice(struct vd_conf_file *f, cfg_t *section, const char *name,
                        const char *const *words, int *index);
int vd_conf_file_seconds(struct vd_conf_file *f, cfg_t *section, const char *name, uint32_t *ms);
int vd_conf_file_number(struct vd_conf_file *f, cfg_t *section, const char *name, uint32_t least,
                        uint32_t most, uint32_t *value);

/* The warning for a file with passwords that others may read; NULL if all is well. */
char *vd_conf_file_warning(const struct vd_conf_file *f, bool passwords);

/* For the macros above. */
int vd_conf_file_word(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result);
void vd_conf_file_free_word(void *word);

/* Sections that client and daemon share. */
extern cfg_opt_t vd_conf_proxy_options[]; /* url, timeout, addresses */
extern cfg_opt_t vd_conf_chain_options[]; /* hops, mode, pick */

#endif
