/*
 * A message as a query: whatever it is, its answer fits, reads again and belongs to it. As an
 * answer: it is read to its end. As a reverse name: what reads is the name of that address.
 */
#include <string.h>

#include "proto/dns.h"
#include "proto/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

enum { RECORDS_MAX = 64 };

static struct vd_ip address(size_t number)
{
    uint8_t bytes[16] = {10, 0, 0, (uint8_t)number};

    return number % 2 ? vd_ip6(bytes, 0) : vd_ip4(bytes);
}

static void check_name(const struct vd_dns_name *name)
{
    PROPERTY(name->len <= VD_DNS_NAME_MAX - 2 && strlen(name->text) == name->len);
    PROPERTY(name->len == 0 || name->text[0] != '.');
    PROPERTY(!strstr(name->text, ".."));
}

static void check_query(const struct vd_dns_query *q, int r)
{
    struct vd_endpoint e;

    PROPERTY(r == VD_OK || r == VD_DNS_FORMERR || r == VD_DNS_NOTIMP || r == VD_DNS_REFUSED ||
             r == VD_DNS_BADVERS);
    PROPERTY(q->udp_size >= VD_DNS_UDP_LEAST && (r != VD_DNS_BADVERS || q->edns));
    PROPERTY(r != VD_OK || q->question_len > 0);
    check_name(&q->name);
    PROPERTY(q->name.len == 0 || vd_endpoint_set_name(&e, q->name.text, q->name.len, 0) == VD_OK);
}

static void check_records(struct vd_dns_reply *reply, const struct vd_dns_answer *answer)
{
    struct vd_dns_record record;
    size_t i = 0;

    for (; vd_dns_next_record(reply, &record) == 1; i++) {
        PROPERTY(record.ttl_seconds == answer->ttl_seconds);
        PROPERTY(!strcmp(record.name.text, reply->name.text));
        if (i < answer->ip_count)
            PROPERTY(vd_ip_same(&record.ip, &answer->ips[i]));
        else
            PROPERTY(!strcmp(record.target.text, answer->name));
    }
    PROPERTY(reply->left == 0);
    PROPERTY(reply->truncated == (i < answer->ip_count + 1));
}

static void check_answer(const struct vd_dns_query *q, int r, const uint8_t *head)
{
    struct vd_ip ips[RECORDS_MAX];
    struct vd_dns_answer answer = {.ttl_seconds = head[DNS_RCODE] * 0x01010101u, .ips = ips};
    size_t cap = head[DNS_ROOM] * 8u;
    uint8_t *buf = guard_put(NULL, 0) - cap;
    struct vd_dns_reply reply;
    int len;

    answer.rcode = r > 0 ? (enum vd_dns_rcode)r : (enum vd_dns_rcode)(head[DNS_RCODE] % 6);
    answer.ip_count = q->question_len > 0 ? head[DNS_RECORDS] % RECORDS_MAX : 0;
    answer.name = q->question_len > 0 ? "a.example" : NULL;
    for (size_t i = 0; i < answer.ip_count; i++)
        ips[i] = address(i);
    len = vd_dns_write_answer(buf, cap, q, &answer);
    if (len == -VD_ERR_SPACE) {
        PROPERTY(cap < VD_DNS_HEADER + q->question_len + 11u);
        return;
    }
    PROPERTY(len >= VD_DNS_HEADER && (size_t)len <= cap && len <= q->udp_size);
    r = vd_dns_read_reply(&reply, buf, (size_t)len);
    PROPERTY(r == VD_OK || (r == -VD_ERR_NAME_FORM && q->name.len == 0));
    PROPERTY(reply.id == q->id && reply.rcode == (answer.rcode & 15));
    PROPERTY(reply.type == q->type && reply.class == q->class);
    PROPERTY(!strcmp(reply.name.text, q->name.text));
    if (r == VD_OK && q->question_len > 0)
        check_records(&reply, &answer);
}

static void read_as_reply(const uint8_t *data, size_t size)
{
    struct vd_dns_record record;
    struct vd_dns_reply reply;
    unsigned records = 0;

    if (vd_dns_read_reply(&reply, data, size) != VD_OK)
        return;
    check_name(&reply.name);
    while (vd_dns_next_record(&reply, &record) == 1) {
        check_name(&record.name);
        check_name(&record.target);
        PROPERTY(++records <= size / 11 && reply.at <= size);
    }
}

static void print_reverse(struct vd_out *out, const struct vd_ip *ip)
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 32; ip->family == VD_IPV6 && i-- > 0;) {
        vd_out_u8(out, (uint8_t)hex[ip->bytes[i / 2] >> (i % 2 ? 0 : 4) & 15]);
        vd_out_text(out, ".");
    }
    for (size_t i = 4; ip->family == VD_IPV4 && i-- > 0;) {
        vd_out_uint(out, ip->bytes[i]);
        vd_out_text(out, ".");
    }
    vd_out_text(out, ip->family == VD_IPV4 ? "in-addr.arpa" : "ip6.arpa");
}

static void read_as_reverse(const uint8_t *data, size_t size)
{
    const char *name = (const char *)data;
    char text[128];
    struct vd_out out = vd_out_over(text, sizeof text);
    struct vd_ip ip;

    if (!vd_dns_read_reverse(&ip, name, size))
        return;
    print_reverse(&out, &ip);
    PROPERTY(out.ok && (size == out.len || (size == out.len + 1 && name[size - 1] == '.')));
    PROPERTY(vd_same_text(text, name, out.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_dns_query q;
    const uint8_t *head = data;
    int r;

    if (size < DNS_HEAD || size > GUARD_ROOM)
        return 0;
    data += DNS_HEAD;
    size -= DNS_HEAD;
    read_as_reply(guard_put(data, size), size);
    read_as_reverse(guard_put(data, size), size);
    r = vd_dns_read_query(&q, guard_put(data, size), size);
    if (r < 0) {
        PROPERTY(r == -VD_ERR_PROTOCOL && (size < VD_DNS_HEADER || data[2] & 0x80));
        return 0;
    }
    check_query(&q, r);
    check_answer(&q, r, head);
    return 0;
}
