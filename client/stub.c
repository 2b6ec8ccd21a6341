#include "client/stub.h"

#include <arpa/inet.h>
#include <string.h>

#include "client/lookup.h"
#include "client/route.h"
#include "proto/dns.h"
#include "proto/err.h"

enum { SVCB = 64, HTTPS = 65, TTL_SECONDS = 30 };

/* The verdict on a well-formed question, and what to write. */
struct finding {
    struct vd_dns_answer answer;
    struct lookup lookup;
    char name[VD_NAME_MAX + 1]; /* of an address */
    bool pass;
};

static void refuse(struct finding *f, enum vd_dns_rcode rcode)
{
    f->answer.rcode = rcode;
}

/* What the system's own resolver would be asked for, or that at the chain's far end. */
static void leave_to_system(struct finding *f, const char *name)
{
    if (lookup_may_query(name))
        f->pass = true;
    else if (lookup_may_ask_chain(name))
        f->answer.truncated = true; /* by TCP, which the chain carries */
    else
        refuse(f, VD_DNS_REFUSED);
}

static bool is_number(const char *name)
{
    struct in_addr in4;

    return inet_aton(name, &in4);
}

static void take_known(struct finding *f, const char *name, enum vd_family family)
{
    struct lookup *l = &f->lookup;
    size_t kept = 0;

    for (size_t i = 0; i < l->count; i++) {
        if (l->remember)
            lookup_remember(name, &l->ips[i]);
        if (l->ips[i].family == family)
            l->ips[kept++] = l->ips[i];
    }
    f->answer.ips = l->ips;
    f->answer.ip_count = kept;
}

/* Addresses of a name. A placeholder is one of IPv4: with it, the name has none of IPv6. */
static void find_addresses(struct finding *f, const char *name, enum vd_family family)
{
    if (is_number(name)) {
        refuse(f, VD_DNS_NXDOMAIN);
        return;
    }
    switch (lookup_name(&f->lookup, name, 0, false)) {
    case LOOKUP_SYSTEM:
        leave_to_system(f, name);
        break;
    case LOOKUP_KNOWN:
        take_known(f, name, family);
        break;
    case LOOKUP_UNKNOWN:
        refuse(f, VD_DNS_NXDOMAIN);
        break;
    case LOOKUP_FULL:
        refuse(f, VD_DNS_SERVFAIL);
        break;
    }
}

static void find_name(struct finding *f, const struct vd_dns_name *question)
{
    struct vd_ip ip;

    if (!vd_dns_read_reverse(&ip, question->text, question->len)) {
        leave_to_system(f, question->text);
        return;
    }
    switch (lookup_address(&ip, f->name)) {
    case LOOKUP_SYSTEM:
        f->pass = true;
        break;
    case LOOKUP_KNOWN:
        f->answer.name = f->name;
        break;
    case LOOKUP_UNKNOWN:
    case LOOKUP_FULL:
        refuse(f, VD_DNS_NXDOMAIN);
        break;
    }
}

static void find(struct finding *f, const struct vd_dns_query *q)
{
    if (q->name.len == 0 || q->class != VD_DNS_IN) {
        refuse(f, VD_DNS_REFUSED);
        return;
    }
    switch (q->type) {
    case VD_DNS_A:
        find_addresses(f, q->name.text, VD_IPV4);
        break;
    case VD_DNS_AAAA:
        find_addresses(f, q->name.text, VD_IPV6);
        break;
    case VD_DNS_PTR:
        find_name(f, &q->name);
        break;
    case SVCB:
    case HTTPS: /* a refusal would have browsers ask again and again */
        f->pass = lookup_may_query(q->name.text);
        break;
    default:
        leave_to_system(f, q->name.text);
        break;
    }
}

static size_t write_answer(const struct vd_dns_query *q, const struct vd_dns_answer *answer,
                           uint8_t *buf, size_t cap)
{
    const struct vd_dns_answer failed = {.rcode = VD_DNS_SERVFAIL};
    int len = vd_dns_write_answer(buf, cap, q, answer);

    if (len == -VD_ERR_NAME_FORM)
        len = vd_dns_write_answer(buf, cap, q, &failed);
    return len > 0 ? (size_t)len : 0;
}

enum stub_verdict stub_query(const uint8_t *query, size_t len, uint8_t *answer, size_t cap,
                             size_t *answer_len)
{
    struct finding f = {.answer = {.ttl_seconds = TTL_SECONDS}};
    struct vd_dns_query q;
    int r = vd_dns_read_query(&q, query, len);

    if (r < 0)
        return STUB_SILENT;
    if (r > 0)
        refuse(&f, (enum vd_dns_rcode)r);
    else
        find(&f, &q);
    if (f.pass)
        return STUB_PASS;
    *answer_len = write_answer(&q, &f.answer, answer, cap);
    return *answer_len ? STUB_ANSWER : STUB_SILENT;
}

/* A name that no rule knows was not let pass, so no rule by name is made by these answers. */
void stub_learn(const uint8_t *answer, size_t len)
{
    struct vd_dns_reply reply;
    struct vd_dns_record record;

    if (vd_dns_read_reply(&reply, answer, len) < 0 || reply.name.len == 0 ||
        !lookup_may_query(reply.name.text))
        return;
    while (vd_dns_next_record(&reply, &record) > 0)
        if (record.ip.family != VD_NO_IP)
            lookup_remember(reply.name.text, &record.ip);
}
