/*
 * text: borrowed pieces of a text, for the protocols that are made of lines.
 */
#ifndef VD_PROTO_TEXT_H
#define VD_PROTO_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct vd_text {
    const char *at; /* borrowed, without a NUL at its end */
    size_t len;
};

bool vd_text_is(struct vd_text text, const char *word);     /* case-insensitive */
bool vd_text_starts(struct vd_text text, const char *with); /* case-insensitive */
/* Without the spaces and tabs at both ends. */
struct vd_text vd_text_trimmed(struct vd_text text);
/* Takes what stands before `end` off the front of *rest, and `end` with it; false without one. */
bool vd_text_cut(struct vd_text *rest, char end, struct vd_text *front);
/* The next member of a list with commas (RFC 9110 section 5.6.1), trimmed; empty ones are skipped.
 * false at the end. */
bool vd_text_member(struct vd_text *rest, struct vd_text *member);
bool vd_text_is_token(struct vd_text text); /* RFC 9110 section 5.6.2 */
/* A control byte other than a tab, CR and LF included: what no line may hold. */
bool vd_text_has_control(struct vd_text text);

#endif
