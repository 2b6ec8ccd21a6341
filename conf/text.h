/*
 * conf/text: the text of a configuration file, made ready for libconfuse. Private to conf/.
 *
 * libconfuse's scanner miscounts lines behind comments, takes the end of the file for a closing
 * brace, and drops bytes that it does not know without a word: `match = {*:25}` would match ":25".
 * So comments are blanked here and whatever it would get wrong is refused with its line.
 */
#ifndef VD_CONF_TEXT_H
#define VD_CONF_TEXT_H

/* Blanks the comments of `text` in place. 0, or the line of an error with *error as in
 * conf/value.h. */
int vd_conf_text_clean(char *text, char **error);

/* libconfuse knows sections with a title and sections without, but none that may have one. A copy
 * of a clean text, in which sections `kind` without a title have this one; the caller's to free;
 * NULL: no memory. */
char *vd_conf_text_entitle(const char *text, const char *kind, const char *title);

#endif
