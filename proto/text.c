#include "proto/text.h"

#include <string.h>

#include "proto/bytes.h"

bool vd_text_is(struct vd_text text, const char *word)
{
    return text.len == strlen(word) && vd_same_text(text.at, word, text.len);
}

bool vd_text_starts(struct vd_text text, const char *with)
{
    size_t len = strlen(with);

    return text.len >= len && vd_same_text(text.at, with, len);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct vd_text vd_text_trimmed(struct vd_text text)
{
    while (text.len > 0 && is_blank(*text.at)) {
        text.at++;
        text.len--;
    }
    while (text.len > 0 && is_blank(text.at[text.len - 1]))
        text.len--;
    return text;
}

bool vd_text_cut(struct vd_text *rest, char end, struct vd_text *front)
{
    const char *at = rest->len > 0 ? memchr(rest->at, end, rest->len) : NULL;

    if (!at)
        return false;
    *front = (struct vd_text){rest->at, (size_t)(at - rest->at)};
    rest->len -= front->len + 1;
    rest->at = at + 1;
    return true;
}

bool vd_text_member(struct vd_text *rest, struct vd_text *member)
{
    do {
        if (rest->len == 0)
            return false;
        if (!vd_text_cut(rest, ',', member)) {
            *member = *rest;
            rest->len = 0;
        }
        *member = vd_text_trimmed(*member);
    } while (member->len == 0);
    return true;
}

bool vd_text_is_token(struct vd_text text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i], lower = vd_lower(c);
        bool alphanumeric = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');

        if (!alphanumeric && (!c || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return text.len > 0;
}

bool vd_text_has_control(struct vd_text text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}
