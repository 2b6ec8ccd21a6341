#include "proto/proxyline.h"

#include <assert.h>
#include <string.h>

#include "proto/err.h"
#include "proto/shake.h"
#include "proto/text.h"

/* Version 2: what it begins with, VERSION|COMMAND, FAMILY|TRANSPORT, the length of the rest. */
enum { SIGNATURE = 12, HEADER = 16, STREAM4 = 0x11, STREAM6 = 0x21, UNIX_STREAM = 0x31 };
enum { LOCAL = 0x20, PROXY = 0x21 };

static const uint8_t signature[SIGNATURE] = "\r\n\r\n\0\r\nQUIT\n";

/* --- version 1 --- */

/* A word of the line: words stand one space apart. */
static bool next_word(struct vd_text *rest, struct vd_text *word)
{
    if (!vd_text_cut(rest, ' ', word)) {
        *word = *rest;
        rest->len = 0;
    }
    return word->len > 0;
}

static bool read_address(struct vd_ip *ip, struct vd_text word, enum vd_family family)
{
    return vd_ip_read(ip, word.at, word.len) && ip->family == family;
}

static bool read_port(uint16_t *port, struct vd_text word)
{
    int64_t number = vd_uint_read(word.at, word.len, UINT16_MAX);

    *port = (uint16_t)number;
    return number >= 0 && (word.len == 1 || *word.at != '0');
}

/* ADDRESS ADDRESS PORT PORT */
static int read_words(struct vd_proxyline *line, struct vd_text rest, enum vd_family family)
{
    struct vd_text words[4];
    struct vd_ip from, to;
    uint16_t ports[2];

    for (size_t i = 0; i < 4; i++)
        if (!next_word(&rest, &words[i]))
            return -VD_ERR_PROTOCOL;
    if (rest.len > 0 || words[3].at[words[3].len] != '\r')
        return -VD_ERR_PROTOCOL;
    if (!read_address(&from, words[0], family) || !read_address(&to, words[1], family) ||
        !read_port(&ports[0], words[2]) || !read_port(&ports[1], words[3]))
        return -VD_ERR_PROTOCOL;
    line->known = true;
    vd_endpoint_set_ip(&line->from, &from, ports[0]);
    vd_endpoint_set_ip(&line->to, &to, ports[1]);
    return VD_DONE;
}

/* Behind UNKNOWN anything may stand, and is ignored. */
static int read_text(struct vd_proxyline *line, struct vd_text rest)
{
    struct vd_text word;

    if (!next_word(&rest, &word) || vd_text_has_control(rest))
        return -VD_ERR_PROTOCOL;
    if (word.len == 7 && !memcmp(word.at, "UNKNOWN", 7))
        return VD_DONE;
    if (word.len == 4 && !memcmp(word.at, "TCP4", 4))
        return read_words(line, rest, VD_IPV4);
    if (word.len == 4 && !memcmp(word.at, "TCP6", 4))
        return read_words(line, rest, VD_IPV6);
    return -VD_ERR_PROTOCOL;
}

static int read_v1(struct vd_proxyline *line, const uint8_t *data, size_t len, size_t *used)
{
    static const char begin[] = "PROXY ";
    size_t n = len < sizeof begin - 1 ? len : sizeof begin - 1;
    const uint8_t *end = memchr(data, '\n', len < VD_PROXYLINE_V1_MAX ? len : VD_PROXYLINE_V1_MAX);

    if (memcmp(data, begin, n) != 0)
        return -VD_ERR_PROTOCOL;
    if (!end)
        return len < VD_PROXYLINE_V1_MAX ? VD_MORE : -VD_ERR_TOO_LONG;
    *used = (size_t)(end - data) + 1;
    if (n < sizeof begin - 1 || *used < sizeof begin + 1 || end[-1] != '\r')
        return -VD_ERR_PROTOCOL;
    return read_text(line, (struct vd_text){(const char *)data + n, *used - n - 2});
}

/* --- version 2 --- */

static int read_addresses(struct vd_proxyline *line, struct vd_in *in, enum vd_family family)
{
    size_t size = family == VD_IPV4 ? 4 : 16;
    const uint8_t *from = vd_in_bytes(in, size), *to = vd_in_bytes(in, size);
    uint16_t from_port = vd_in_u16(in), to_port = vd_in_u16(in);

    if (!in->ok)
        return -VD_ERR_PROTOCOL;
    struct vd_ip a = family == VD_IPV4 ? vd_ip4(from) : vd_ip6(from, 0);
    struct vd_ip b = family == VD_IPV4 ? vd_ip4(to) : vd_ip6(to, 0);
    line->known = true;
    vd_endpoint_set_ip(&line->from, &a, from_port);
    vd_endpoint_set_ip(&line->to, &b, to_port);
    return VD_DONE;
}

/* A health check of the sender's own is LOCAL; what it says of addresses does not count. */
static int read_v2(struct vd_proxyline *line, const uint8_t *data, size_t len, size_t *used)
{
    if (len < HEADER)
        return VD_MORE;
    size_t rest = (size_t)(data[14] << 8 | data[15]);
    if (data[12] != LOCAL && data[12] != PROXY)
        return -VD_ERR_PROTOCOL;
    if (HEADER + rest > VD_PROXYLINE_MAX)
        return -VD_ERR_TOO_LONG;
    if (len < HEADER + rest)
        return VD_MORE;
    *used = HEADER + rest;
    struct vd_in in = vd_in_over(data + HEADER, rest);
    if (data[12] == LOCAL || data[13] == 0 || data[13] == UNIX_STREAM)
        return VD_DONE;
    if (data[13] == STREAM4)
        return read_addresses(line, &in, VD_IPV4);
    return data[13] == STREAM6 ? read_addresses(line, &in, VD_IPV6) : -VD_ERR_PROTOCOL;
}

int vd_proxyline_read(struct vd_proxyline *line, const uint8_t *data, size_t len, size_t *used)
{
    size_t n = len < SIGNATURE ? len : SIGNATURE;

    memset(line, 0, sizeof *line);
    *used = 0;
    if (len == 0)
        return VD_MORE;
    if (data[0] == 'P')
        return read_v1(line, data, len, used);
    return memcmp(data, signature, n) == 0 ? read_v2(line, data, len, used) : -VD_ERR_PROTOCOL;
}

/* --- writing --- */

static void write_v1(struct vd_out *out, const struct vd_endpoint *from,
                     const struct vd_endpoint *to)
{
    vd_out_text(out, from->ip.family == VD_IPV4 ? "PROXY TCP4 " : "PROXY TCP6 ");
    vd_ip_print(out, &from->ip);
    vd_out_text(out, " ");
    vd_ip_print(out, &to->ip);
    vd_out_text(out, " ");
    vd_out_uint(out, from->port);
    vd_out_text(out, " ");
    vd_out_uint(out, to->port);
    vd_out_text(out, "\r\n");
}

static void write_v2(struct vd_out *out, const struct vd_endpoint *from,
                     const struct vd_endpoint *to)
{
    size_t size = from->ip.family == VD_IPV4 ? 4 : 16;

    vd_out_bytes(out, signature, SIGNATURE);
    vd_out_u8(out, PROXY);
    vd_out_u8(out, size == 4 ? STREAM4 : STREAM6);
    vd_out_u16(out, (uint16_t)(2 * size + 4));
    vd_out_bytes(out, from->ip.bytes, size);
    vd_out_bytes(out, to->ip.bytes, size);
    vd_out_u16(out, from->port);
    vd_out_u16(out, to->port);
}

static void write_unknown(struct vd_out *out, enum vd_proxyline_version version)
{
    if (version == VD_PROXYLINE_V1) {
        vd_out_text(out, "PROXY UNKNOWN\r\n");
        return;
    }
    vd_out_bytes(out, signature, SIGNATURE);
    vd_out_bytes(out, "\x21\0\0\0", 4);
}

void vd_proxyline_write(struct vd_out *out, enum vd_proxyline_version version,
                        const struct vd_endpoint *from, const struct vd_endpoint *to)
{
    struct vd_endpoint a = *from, b = *to;

    assert(version != VD_PROXYLINE_NONE);
    a.ip = vd_ip_unmapped(&a.ip);
    b.ip = vd_ip_unmapped(&b.ip);
    a.ip.scope = b.ip.scope = 0; /* an interface of this machine means nothing elsewhere */
    if (a.ip.family == VD_NO_IP || a.ip.family != b.ip.family)
        write_unknown(out, version);
    else if (version == VD_PROXYLINE_V1)
        write_v1(out, &a, &b);
    else
        write_v2(out, &a, &b);
}
