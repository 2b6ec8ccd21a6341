/*
 * dns: as much of RFC 1035 as an answer inside the process takes: one question in, one answer out.
 *
 *     r = vd_dns_read_query(&query, data, len);
 *     r < 0   not a query: no answer
 *     r > 0   the rcode to answer with
 *     r == 0  query.type and query.name decide what vd_dns_write_answer is given
 *
 * Pure, copyable, no I/O, as all of proto/. Compression pointers are followed backwards only, so
 * that no message keeps a reader busy. EDNS(0) is RFC 6891.
 */
#ifndef VD_PROTO_DNS_H
#define VD_PROTO_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/endpoint.h"

enum vd_dns_type { VD_DNS_A = 1, VD_DNS_PTR = 12, VD_DNS_AAAA = 28, VD_DNS_OPT = 41 };
enum { VD_DNS_IN = 1 }; /* the class */

enum vd_dns_rcode {
    VD_DNS_NOERROR = 0, /* without records: the name exists, but not with this type */
    VD_DNS_FORMERR = 1,
    VD_DNS_SERVFAIL = 2,
    VD_DNS_NXDOMAIN = 3,
    VD_DNS_NOTIMP = 4,
    VD_DNS_REFUSED = 5,
    VD_DNS_BADVERS = 16 /* an EDNS version other than 0; only where there was EDNS */
};

enum {
    VD_DNS_HEADER = 12,
    VD_DNS_NAME_MAX = 255,                     /* on the wire; as text it is 253 at most */
    VD_DNS_QUESTION_MAX = VD_DNS_NAME_MAX + 4, /* with type and class */
    VD_DNS_UDP_LEAST = 512,                    /* what everybody takes: RFC 1035 section 4.2.1 */
    VD_DNS_UDP_SIZE = 1232                     /* what we say that we take: no fragments */
};

/* Labels with dots between them, without one at the end; the root is of no length. The case is as
 * it came. */
struct vd_dns_name {
    uint8_t len;
    char text[VD_NAME_MAX + 1]; /* ends with a NUL */
};

struct vd_dns_query {
    uint16_t id;
    uint16_t flags; /* of the header, as they came */
    uint16_t type, class;
    uint16_t udp_size; /* the longest answer that will do, 512 or more; over TCP the caller sets
                          UINT16_MAX */
    bool edns;
    bool dnssec_ok; /* EDNS: DO */
    struct vd_dns_name name;
    uint16_t question_len;                 /* 0: it could not be read */
    uint8_t question[VD_DNS_QUESTION_MAX]; /* byte for byte, for the answer */
};

/* Reads a whole message. VD_OK, or
 * -VD_ERR_PROTOCOL  shorter than a header, or a response: answering would be wrong
 * VD_DNS_FORMERR    cut short, not exactly one question, records in other sections than the
 *                   additional one, bytes behind the end, a bad name, two OPT records
 * VD_DNS_NOTIMP     an opcode other than QUERY
 * VD_DNS_REFUSED    well formed, but the name is none that vd_endpoint_set_name takes (a dot, a
 *                   space, a NUL inside a label), or looks like an address; query->name is empty
 * VD_DNS_BADVERS    an EDNS version other than 0
 * With the last two the rest stands in *query, with the others what could be read. */
int vd_dns_read_query(struct vd_dns_query *query, const uint8_t *data, size_t len);

/* What vd_dns_write_answer is told; all borrowed. */
struct vd_dns_answer {
    enum vd_dns_rcode rcode;
    uint32_t ttl_seconds;
    const struct vd_ip *ips; /* an A or AAAA record each, by family, whatever the question was */
    size_t ip_count;
    const char *name; /* a PTR record to it; NULL: none */
    bool truncated;   /* TC, whatever is there: it is to be asked by TCP (RFC 7766 section 5) */
};

/* Writes the answer to a query, also, but then without records, to one that could not be read.
 * Records that do not fit into `cap` and query->udp_size are left out, and TC says so. Without a
 * SOA record nobody remembers an answer that says no (RFC 2308 section 5). The number of bytes, or
 * -VD_ERR_SPACE: not even the question fits; -VD_ERR_NAME_FORM: `name` has empty labels, or longer
 * ones than 63 bytes. */
int vd_dns_write_answer(uint8_t *buf, size_t cap, const struct vd_dns_query *query,
                        const struct vd_dns_answer *answer);

/* The address that a name below in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section
 * 2.5) stands for; false for all other names, also for those of whole networks. */
bool vd_dns_read_reverse(struct vd_ip *ip, const char *name, size_t len);

/* An answer as it is read; borrows the message. */
struct vd_dns_reply {
    const uint8_t *data;
    size_t len, at;
    uint16_t left; /* records of the answer section that were not read yet */
    uint16_t id;
    uint16_t flags;
    uint16_t type, class;    /* of the question; 0 without one */
    struct vd_dns_name name; /* of the question */
    enum vd_dns_rcode rcode; /* the header's four bits */
    bool truncated;          /* TC */
};

struct vd_dns_record {
    struct vd_dns_name name;
    uint16_t type, class;
    uint32_t ttl_seconds;
    struct vd_ip ip;           /* A, AAAA; else no family */
    struct vd_dns_name target; /* PTR; else empty */
};

/* The header and at most one question. VD_OK, -VD_ERR_PROTOCOL, -VD_ERR_NAME_FORM. */
int vd_dns_read_reply(struct vd_dns_reply *reply, const uint8_t *data, size_t len);
/* The next record of the answer section. 1, or 0 behind the last one, or as vd_dns_read_reply. */
int vd_dns_next_record(struct vd_dns_reply *reply, struct vd_dns_record *record);

#endif
