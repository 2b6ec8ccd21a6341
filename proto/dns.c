#include "proto/dns.h"

#include <assert.h>
#include <string.h>

#include "proto/err.h"

enum {
    RESPONSE = 0x8000,
    TRUNCATED = 0x0200,
    RECURSION_DESIRED = 0x0100,
    RECURSION_AVAILABLE = 0x0080,
    CHECKING_DISABLED = 0x0010
}; /* header flags: RFC 1035 section 4.1.1, RFC 4035 section 3.2 */

enum {
    LABEL_MAX = 63,
    POINTER = 0xc0, /* RFC 1035 section 4.1.4 */
    QUESTION_AT = 0xc000 | VD_DNS_HEADER,
    OPT_LEN = 1 + 2 + 2 + 4 + 2,
    DNSSEC_OK = 0x8000 /* RFC 6891 section 6.1.4 */
};

static uint32_t in_u32(struct vd_in *in)
{
    uint32_t high = vd_in_u16(in);

    return high << 16 | vd_in_u16(in);
}

static void out_u32(struct vd_out *out, uint32_t value)
{
    vd_out_u16(out, (uint16_t)(value >> 16));
    vd_out_u16(out, (uint16_t)value);
}

/* --- names in --- */

/* Whether a label was added; *odd if it cannot stand in a text. */
static bool add_label(struct vd_dns_name *name, const uint8_t *label, size_t n, bool *odd)
{
    size_t dot = name->len > 0;

    if (!label || name->len + dot + n + 2 > VD_DNS_NAME_MAX)
        return false;
    if (memchr(label, '.', n))
        *odd = true;
    if (dot)
        name->text[name->len] = '.';
    memcpy(name->text + name->len + dot, label, n);
    name->len = (uint8_t)(name->len + dot + n);
    return true;
}

/* Moves a cursor to where a pointer points: before the labels that led to it, so that there is an
 * end to it, and behind the header. */
static bool follow(struct vd_in *at, const uint8_t *message, uint8_t high, const uint8_t **from)
{
    size_t offset = (size_t)(high & ~POINTER) << 8 | vd_in_u8(at);

    if (!at->ok || offset < VD_DNS_HEADER || offset >= (size_t)(*from - message))
        return false;
    at->left += (size_t)(at->at - message) - offset;
    at->at = message + offset;
    *from = at->at;
    return true;
}

static bool read_labels(struct vd_in *in, const uint8_t *message, struct vd_dns_name *name,
                        bool *odd)
{
    struct vd_in at = *in;
    const uint8_t *from = at.at;
    bool jumped = false;
    uint8_t n;

    while ((n = vd_in_u8(&at)) != 0) {
        bool pointer = n >= POINTER;

        if (pointer && !jumped)
            vd_in_bytes(in, (size_t)(at.at - in->at) + 1);
        if (pointer ? !follow(&at, message, n, &from)
                    : n > LABEL_MAX || !add_label(name, vd_in_bytes(&at, n), n, odd))
            return false;
        jumped |= pointer;
    }
    if (!jumped)
        *in = at;
    return at.ok;
}

static bool is_address(const struct vd_dns_name *name)
{
    struct vd_ip ip;

    return vd_ip_read(&ip, name->text, name->len);
}

static int judge(const struct vd_dns_name *name, bool odd)
{
    struct vd_endpoint e;

    if (name->len == 0)
        return VD_OK;
    if (odd || is_address(name))
        return -VD_ERR_NAME_FORM;
    return vd_endpoint_set_name(&e, name->text, name->len, 0);
}

/* VD_OK; -VD_ERR_PROTOCOL; -VD_ERR_NAME_FORM: the cursor stands behind the name all the same. With
 * an error the name is empty. */
static int read_name(struct vd_in *in, const uint8_t *message, struct vd_dns_name *name)
{
    bool odd = false;
    int r;

    memset(name, 0, sizeof *name);
    r = read_labels(in, message, name, &odd) ? judge(name, odd) : -VD_ERR_PROTOCOL;
    if (r < 0)
        memset(name, 0, sizeof *name);
    return r;
}

/* --- queries --- */

static int read_question(struct vd_dns_query *q, struct vd_in *in, const uint8_t *message)
{
    const uint8_t *start = in->at;
    struct vd_dns_name name;
    int r = read_name(in, message, &name);
    uint16_t type = vd_in_u16(in), class = vd_in_u16(in);

    if (r == -VD_ERR_PROTOCOL || !in->ok)
        return VD_DNS_FORMERR;
    q->name = name;
    q->type = type;
    q->class = class;
    q->question_len = (uint16_t)(in->at - start);
    memcpy(q->question, start, q->question_len);
    return r == VD_OK ? VD_OK : VD_DNS_REFUSED;
}

/* The fixed part of an OPT record, of which there may be one. */
static int take_opt(struct vd_dns_query *q, bool at_root, uint16_t size, uint32_t ttl)
{
    if (q->edns || !at_root)
        return VD_DNS_FORMERR;
    q->edns = true;
    q->dnssec_ok = ttl & DNSSEC_OK;
    if (size > VD_DNS_UDP_LEAST)
        q->udp_size = size;
    return (ttl >> 16 & 0xff) == 0 ? VD_OK : VD_DNS_BADVERS;
}

static int read_additional(struct vd_dns_query *q, struct vd_in *in, const uint8_t *message)
{
    struct vd_dns_name name;
    int r = read_name(in, message, &name);
    bool at_root = r == VD_OK && name.len == 0;
    uint16_t type = vd_in_u16(in), size = vd_in_u16(in);
    uint32_t ttl = in_u32(in);

    if (r == -VD_ERR_PROTOCOL || !vd_in_bytes(in, vd_in_u16(in)))
        return VD_DNS_FORMERR;
    return type == VD_DNS_OPT ? take_opt(q, at_root, size, ttl) : VD_OK;
}

static int read_body(struct vd_dns_query *q, struct vd_in *in, const uint8_t *message)
{
    bool one_question = vd_in_u16(in) == 1, empty = in_u32(in) == 0;
    uint16_t additional = vd_in_u16(in);
    int r;

    if (q->flags & 0x7800)
        return VD_DNS_NOTIMP;
    if (!one_question || !empty)
        return VD_DNS_FORMERR;
    r = read_question(q, in, message);
    while (additional-- > 0 && r != VD_DNS_FORMERR) {
        int more = read_additional(q, in, message);

        if (more != VD_OK)
            r = more;
    }
    return in->left == 0 ? r : VD_DNS_FORMERR;
}

int vd_dns_read_query(struct vd_dns_query *query, const uint8_t *data, size_t len)
{
    struct vd_in in = vd_in_over(data, len);

    memset(query, 0, sizeof *query);
    query->udp_size = VD_DNS_UDP_LEAST;
    query->id = vd_in_u16(&in);
    query->flags = vd_in_u16(&in);
    if (len < VD_DNS_HEADER || query->flags & RESPONSE)
        return -VD_ERR_PROTOCOL;
    return read_body(query, &in, data);
}

/* --- answers out --- */

static bool is_wire_name(const char *text, size_t len)
{
    size_t label = 0;

    for (size_t i = 0; i < len; i++) {
        label = text[i] == '.' ? 0 : label + 1;
        if (label > LABEL_MAX || (label == 0 && (i == 0 || text[i - 1] == '.')))
            return false;
    }
    return (len == 0 || label > 0) && len + 2 <= VD_DNS_NAME_MAX;
}

static size_t undotted(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && text[len - 1] == '.' ? len - 1 : len;
}

static void write_name(struct vd_out *out, const char *text, size_t len)
{
    while (len > 0) {
        const char *dot = memchr(text, '.', len);
        size_t n = dot ? (size_t)(dot - text) : len;

        vd_out_u8(out, (uint8_t)n);
        vd_out_bytes(out, text, n);
        text += n + (dot ? 1 : 0);
        len -= n + (dot ? 1 : 0);
    }
    vd_out_u8(out, 0);
}

/* What stands in front of a record's data; its name is the question's. */
static void write_record_head(struct vd_out *out, enum vd_dns_type type, uint32_t ttl, size_t len)
{
    vd_out_u16(out, QUESTION_AT);
    vd_out_u16(out, (uint16_t)type);
    vd_out_u16(out, VD_DNS_IN);
    out_u32(out, ttl);
    vd_out_u16(out, (uint16_t)len);
}

static void write_address(struct vd_out *out, const struct vd_ip *ip, uint32_t ttl)
{
    bool four = ip->family == VD_IPV4;

    write_record_head(out, four ? VD_DNS_A : VD_DNS_AAAA, ttl, four ? 4 : 16);
    vd_out_bytes(out, ip->bytes, four ? 4 : 16);
}

static void write_pointer(struct vd_out *out, const char *name, uint32_t ttl)
{
    size_t len = undotted(name);

    write_record_head(out, VD_DNS_PTR, ttl, len > 0 ? len + 2 : 1);
    write_name(out, name, len);
}

/* As many records as there is room for, each of them whole; how many. */
static uint16_t write_records(struct vd_out *out, const struct vd_dns_answer *answer)
{
    size_t count = answer->ip_count + (answer->name ? 1 : 0), i = 0, whole = out->len;

    for (; i < count && i < UINT16_MAX; i++) {
        if (i < answer->ip_count)
            write_address(out, &answer->ips[i], answer->ttl_seconds);
        else
            write_pointer(out, answer->name, answer->ttl_seconds);
        if (!out->ok)
            break;
        whole = out->len;
    }
    out->len = whole;
    out->ok = i == count;
    return (uint16_t)i;
}

static uint16_t answer_flags(const struct vd_dns_query *q, enum vd_dns_rcode rcode, bool whole)
{
    unsigned kept = q->flags & (0x7800 | RECURSION_DESIRED | CHECKING_DISABLED);

    return (uint16_t)(RESPONSE | kept | RECURSION_AVAILABLE | (whole ? 0 : TRUNCATED) |
                      (rcode & 15u));
}

static void write_header(struct vd_out *out, const struct vd_dns_query *q, uint16_t flags,
                         uint16_t records)
{
    vd_out_u16(out, q->id);
    vd_out_u16(out, flags);
    vd_out_u16(out, q->question_len > 0);
    vd_out_u16(out, records);
    vd_out_u16(out, 0);
    vd_out_u16(out, q->edns);
}

static void write_opt(struct vd_out *out, const struct vd_dns_query *q, enum vd_dns_rcode rcode)
{
    vd_out_u8(out, 0);
    vd_out_u16(out, VD_DNS_OPT);
    vd_out_u16(out, VD_DNS_UDP_SIZE);
    out_u32(out, (uint32_t)rcode >> 4 << 24 | (q->dnssec_ok ? DNSSEC_OK : 0));
    vd_out_u16(out, 0);
}

int vd_dns_write_answer(uint8_t *buf, size_t cap, const struct vd_dns_query *query,
                        const struct vd_dns_answer *answer)
{
    size_t room = cap < query->udp_size ? cap : query->udp_size;
    size_t opt = query->edns ? OPT_LEN : 0, front = VD_DNS_HEADER + (size_t)query->question_len;
    struct vd_out head, out;
    uint16_t records;

    assert(query->question_len > 0 || (answer->ip_count == 0 && !answer->name));
    if (answer->name && !is_wire_name(answer->name, undotted(answer->name)))
        return -VD_ERR_NAME_FORM;
    if (room < front + opt)
        return -VD_ERR_SPACE;
    out = vd_out_over(buf + VD_DNS_HEADER, room - VD_DNS_HEADER - opt);
    vd_out_bytes(&out, query->question, query->question_len);
    records = write_records(&out, answer);
    head = vd_out_over(buf, VD_DNS_HEADER);
    bool whole = out.ok && !answer->truncated;
    write_header(&head, query, answer_flags(query, answer->rcode, whole), records);
    out = vd_out_over(out.to + out.len, opt);
    if (query->edns)
        write_opt(&out, query, answer->rcode);
    return (int)(out.to + out.len - buf);
}

/* --- reverse names --- */

static bool ends_with(const char *name, size_t *len, const char *zone)
{
    size_t zone_len = strlen(zone);

    if (*len < zone_len || !vd_same_text(name + *len - zone_len, zone, zone_len))
        return false;
    *len -= zone_len;
    return true;
}

/* d.c.b.a: turned round it has to be the text of an address. */
static bool read_quad(struct vd_ip *ip, const char *name, size_t len)
{
    uint8_t turned[4];

    if (!vd_ip_read(ip, name, len) || ip->family != VD_IPV4)
        return false;
    for (size_t i = 0; i < 4; i++)
        turned[i] = ip->bytes[3 - i];
    *ip = vd_ip4(turned);
    return true;
}

static int nibble_of(char c)
{
    c = vd_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 32 nibbles with dots between them, the last one of the address first. */
static bool read_nibbles(struct vd_ip *ip, const char *name, size_t len)
{
    uint8_t bytes[16] = {0};

    if (len != 2 * 32 - 1)
        return false;
    for (size_t i = 0; i < 32; i++) {
        int nibble = nibble_of(name[2 * i]);

        if (nibble < 0 || (i < 31 && name[2 * i + 1] != '.'))
            return false;
        bytes[15 - i / 2] |= (uint8_t)(i % 2 ? nibble << 4 : nibble);
    }
    *ip = vd_ip6(bytes, 0);
    return true;
}

bool vd_dns_read_reverse(struct vd_ip *ip, const char *name, size_t len)
{
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (ends_with(name, &len, ".in-addr.arpa"))
        return read_quad(ip, name, len);
    return ends_with(name, &len, ".ip6.arpa") && read_nibbles(ip, name, len);
}

/* --- answers in --- */

int vd_dns_read_reply(struct vd_dns_reply *reply, const uint8_t *data, size_t len)
{
    struct vd_in in = vd_in_over(data, len);
    uint16_t questions;
    int r = VD_OK;

    memset(reply, 0, sizeof *reply);
    reply->data = data;
    reply->len = len;
    reply->id = vd_in_u16(&in);
    reply->flags = vd_in_u16(&in);
    questions = vd_in_u16(&in);
    reply->left = vd_in_u16(&in);
    in_u32(&in); /* authority and additional */
    if (!in.ok || !(reply->flags & RESPONSE) || questions > 1)
        return -VD_ERR_PROTOCOL;
    reply->rcode = reply->flags & 15;
    reply->truncated = reply->flags & TRUNCATED;
    if (questions == 1) {
        r = read_name(&in, data, &reply->name);
        reply->type = vd_in_u16(&in);
        reply->class = vd_in_u16(&in);
    }
    reply->at = len - in.left;
    return in.ok ? r : -VD_ERR_PROTOCOL;
}

static int read_data(struct vd_dns_record *record, struct vd_in in, const uint8_t *message)
{
    int r;

    if (record->type == VD_DNS_A && in.left == 4)
        record->ip = vd_ip4(in.at);
    else if (record->type == VD_DNS_AAAA && in.left == 16)
        record->ip = vd_ip6(in.at, 0);
    else if (record->type == VD_DNS_A || record->type == VD_DNS_AAAA)
        return -VD_ERR_PROTOCOL;
    if (record->type != VD_DNS_PTR)
        return 1;
    r = read_name(&in, message, &record->target);
    if (r < 0)
        return r;
    return in.left == 0 ? 1 : -VD_ERR_PROTOCOL;
}

int vd_dns_next_record(struct vd_dns_reply *reply, struct vd_dns_record *record)
{
    struct vd_in in = vd_in_over(reply->data + reply->at, reply->len - reply->at), rest;
    const uint8_t *data;
    uint16_t len;
    int r;

    memset(record, 0, sizeof *record);
    if (reply->left == 0)
        return 0;
    r = read_name(&in, reply->data, &record->name);
    if (r < 0)
        return r;
    record->type = vd_in_u16(&in);
    record->class = vd_in_u16(&in);
    record->ttl_seconds = in_u32(&in);
    len = vd_in_u16(&in);
    rest = in;
    data = vd_in_bytes(&in, len);
    if (!data)
        return -VD_ERR_PROTOCOL;
    rest.left = len;
    reply->left--;
    reply->at = reply->len - in.left;
    return read_data(record, rest, reply->data);
}
