#include "proto/mask.h"

#include <string.h>

#include "proto/text.h"

static void mask_hop(struct vd_hop *hop)
{
    if (!hop->password_len)
        return;
    memset(hop->password, 0, sizeof hop->password);
    memcpy(hop->password, VD_MASK, sizeof VD_MASK);
    hop->password_len = sizeof VD_MASK - 1;
}

static enum vd_says kind_of(const struct vd_hop *hop, struct vd_said said)
{
    if (hop->scheme <= VD_SOCKS4A)
        return VD_SAYS_SOCKS4_REQUEST;
    if (hop->scheme >= VD_HTTP)
        return VD_SAYS_HTTP_REQUEST;
    return said.stage == VD_STAGE_METHOD  ? VD_SAYS_METHODS
           : said.stage == VD_STAGE_LOGIN ? VD_SAYS_LOGIN
                                          : VD_SAYS_REQUEST;
}

/* A message is made of its hop and the next one; no other is looked at. */
size_t vd_mask_message(struct vd_masked *room, const struct vd_chain *c, struct vd_said *said,
                       bool shown, enum vd_says *says, uint8_t *buf, size_t cap)
{
    unsigned at = said->at;
    struct vd_path *path = &room->chain.path;

    room->chain = *c;
    room->hops[0] = *vd_path_hop(&c->path, at);
    *says = kind_of(&room->hops[0], *said);
    if (!shown)
        mask_hop(&room->hops[0]);
    path->hops = room->hops;
    path->order[at] = 0;
    if (at + 1u < path->count) {
        room->hops[1] = *vd_path_hop(&c->path, at + 1u);
        path->order[at + 1] = 1;
    }
    return vd_chain_message(&room->chain, said, buf, cap);
}

/* --- what hops said -------------------------------------------------------------------------- */

static void overwrite(uint8_t *data, size_t len, const void *what, size_t what_len)
{
    uint8_t *found;

    while (what_len >= VD_MASK_LEAST && (found = memmem(data, len, what, what_len)))
        memset(found, '*', what_len);
}

static void overwrite_basic(const struct vd_hop *hop, uint8_t *data, size_t len)
{
    uint8_t room[2 * VD_LOGIN_MAX + 1], basic[4 * sizeof room / 3 + 4];
    struct vd_out pair = vd_out_over(room, sizeof room), text = vd_out_over(basic, sizeof basic);

    vd_out_bytes(&pair, hop->user, hop->user_len);
    vd_out_u8(&pair, ':');
    vd_out_bytes(&pair, hop->password, hop->password_len);
    vd_out_base64(&text, pair.to, pair.len);
    overwrite(data, len, text.to, text.len);
}

void vd_mask_heard(const struct vd_path *path, uint8_t *data, size_t len)
{
    for (unsigned i = 0; i < path->count; i++) {
        const struct vd_hop *hop = vd_path_hop(path, i);

        if (!hop->password_len)
            continue;
        overwrite(data, len, hop->password, hop->password_len);
        overwrite_basic(hop, data, len);
    }
}

/* --- what others said ------------------------------------------------------------------------ */

static void mask_login(struct vd_out *out, const uint8_t *data, size_t len)
{
    size_t user_end = len > 1 ? 2 + (size_t)data[1] : len;

    if (user_end >= len) {
        vd_out_bytes(out, data, len);
        return;
    }
    vd_out_bytes(out, data, user_end);
    vd_out_u8(out, sizeof VD_MASK - 1);
    if (user_end + 1 < len)
        vd_out_text(out, VD_MASK);
}

static bool is_secret(struct vd_text name)
{
    return vd_text_is(name, "Proxy-Authorization") || vd_text_is(name, "Authorization");
}

/* RFC 7617: the user is no secret. */
static void mask_value(struct vd_out *out, struct vd_text value)
{
    uint8_t pair[2 * VD_LOGIN_MAX + 2];
    struct vd_text scheme, user, given;
    struct vd_out masked = vd_out_over(pair + VD_LOGIN_MAX + 1, VD_LOGIN_MAX + 1);
    int len;

    value = vd_text_trimmed(value);
    given = value;
    if (!vd_text_cut(&given, ' ', &scheme) || !vd_text_is(scheme, "Basic")) {
        vd_out_text(out, VD_MASK);
        return;
    }
    given = vd_text_trimmed(given);
    len = vd_base64_read(given.at, given.len, pair, sizeof pair);
    given = (struct vd_text){(const char *)pair, len < 0 ? 0 : (size_t)len};
    if (!vd_text_cut(&given, ':', &user) || user.len > VD_LOGIN_MAX - sizeof VD_MASK) {
        vd_out_text(out, "Basic " VD_MASK);
        return;
    }
    memset(pair + user.len, 0, sizeof pair - user.len);
    vd_out_bytes(&masked, user.at, user.len);
    vd_out_text(&masked, ":" VD_MASK);
    vd_out_text(out, "Basic ");
    vd_out_base64(out, masked.to, masked.len);
}

/* The user and password of a URL, in a request-line. */
static void mask_url(struct vd_out *out, struct vd_text line)
{
    const char *slashes = line.len > 0 ? memmem(line.at, line.len, "://", 3) : NULL, *at;
    size_t head = slashes ? (size_t)(slashes - line.at) + 3 : line.len;

    at = memrchr(line.at + head, '@', line.len - head);
    vd_out_bytes(out, line.at, head);
    if (at) {
        vd_out_text(out, VD_MASK);
        head = (size_t)(at - line.at);
    }
    vd_out_bytes(out, line.at + head, line.len - head);
}

/* Without its end. What goes on from the line before (RFC 9112 section 5.2) may be a secret's. */
static void mask_line(struct vd_out *out, struct vd_text line)
{
    struct vd_text rest = line, name;

    if (line.len > 0 && (*line.at == ' ' || *line.at == '\t')) {
        vd_out_text(out, VD_MASK);
        return;
    }
    if (line.len > 0 && memmem(line.at, line.len, "://", 3)) {
        mask_url(out, line);
        return;
    }
    if (!vd_text_cut(&rest, ':', &name) || !is_secret(vd_text_trimmed(name))) {
        vd_out_bytes(out, line.at, line.len);
        return;
    }
    vd_out_bytes(out, name.at, name.len);
    vd_out_text(out, ": ");
    mask_value(out, rest);
}

static void mask_head(struct vd_out *out, const uint8_t *data, size_t len, bool inside)
{
    struct vd_text rest = {(const char *)data, len}, line;

    while (vd_text_cut(&rest, '\n', &line)) {
        bool cr = line.len > 0 && line.at[line.len - 1] == '\r';

        line.len -= cr;
        if (inside)
            vd_out_text(out, VD_MASK);
        else
            mask_line(out, line);
        vd_out_text(out, cr ? "\r\n" : "\n");
        inside = false;
    }
    if (rest.len > 0 && inside)
        vd_out_text(out, VD_MASK);
    else if (rest.len > 0)
        mask_line(out, rest);
}

size_t vd_mask_said(enum vd_says says, const uint8_t *data, size_t len, bool inside, uint8_t *buf,
                    size_t cap)
{
    struct vd_out out = vd_out_over(buf, cap);

    if (says == VD_SAYS_LOGIN)
        mask_login(&out, data, len);
    else if (says == VD_SAYS_HTTP_REQUEST || says == VD_SAYS_HTTP_MORE)
        mask_head(&out, data, len, inside);
    else
        vd_out_bytes(&out, data, len);
    return out.len;
}
