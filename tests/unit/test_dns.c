/* proto/dns: queries read, answers written and read again, reverse names. */
#include "proto/dns.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/queries.h"
#include "tests/unit/tap.h"

static const char *shown(const uint8_t *data, size_t len)
{
    static char text[4096];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_out_shown(&out, data, len);
    return vd_out_string(&out);
}

/* --- queries --- */

static void check_query(const struct query *want, const struct vd_dns_query *q)
{
    if (q->id != 0x1234)
        tap_wrong("id %04x", q->id);
    if (q->udp_size != want->udp_size || q->edns != want->edns || q->dnssec_ok != want->dnssec_ok)
        tap_wrong("EDNS %d, %u bytes, DO %d", q->edns, q->udp_size, q->dnssec_ok);
    if ((q->question_len > 0) != (want->text != NULL))
        tap_wrong("the question is %u long", q->question_len);
    if (!want->text && (q->name.len > 0 || q->name.text[0] || q->type > 0 || q->class > 0))
        tap_wrong("half a question was kept");
    if (!want->text)
        return;
    if (q->type != want->type || q->class != want->class)
        tap_wrong("type %u, class %u", q->type, q->class);
    if (q->name.len != strlen(want->text) || strcmp(q->name.text, want->text))
        tap_wrong("name '%s', %u long", q->name.text, q->name.len);
    if (memcmp(q->question, want->data + VD_DNS_HEADER, q->question_len))
        tap_wrong("the question is not what stood there");
}

/* A query that is whole is none when it is cut; nothing is read behind the cut. */
static void check_cuts(const struct query *row)
{
    for (size_t cut = 0; cut < row->len; cut++) {
        struct vd_dns_query q;
        int r = vd_dns_read_query(&q, guard_put(row->data, cut), cut);

        if (r != (cut < VD_DNS_HEADER ? -VD_ERR_PROTOCOL : VD_DNS_FORMERR))
            tap_wrong("cut to %zu bytes: %d", cut, r);
    }
}

/* Whatever a query was, its answer is one that belongs to it. */
static void check_refusal(const struct vd_dns_query *q, int rcode)
{
    struct vd_dns_answer answer = {.rcode = (enum vd_dns_rcode)rcode};
    uint8_t *buf = guard_put(NULL, 0) - 512;
    struct vd_dns_reply reply;
    int len = vd_dns_write_answer(buf, 512, q, &answer);

    if (len < VD_DNS_HEADER || vd_dns_read_reply(&reply, buf, (size_t)len) == -VD_ERR_PROTOCOL)
        tap_wrong("the answer cannot be read");
    else if (reply.id != q->id || reply.rcode != (rcode & 15) || reply.left != 0)
        tap_wrong("the answer is another");
    else if (buf[5] != (q->question_len > 0) || buf[11] != q->edns)
        tap_wrong("the answer counts %u and %u", buf[5], buf[11]);
}

static void reading(void)
{
    for (size_t i = 0; i < query_count; i++) {
        const struct query *row = &queries[i];
        struct vd_dns_query q;
        int r;

        tap_begin();
        r = vd_dns_read_query(&q, guard_put(row->data, row->len), row->len);
        if (r != row->result)
            tap_wrong("result %d", r);
        if (row->result >= 0) {
            check_query(row, &q);
            check_refusal(&q, r);
        }
        if (row->result == VD_OK)
            check_cuts(row);
        tap_end(row->name);
    }
}

/* --- answers --- */

static const struct vd_ip four = {.family = VD_IPV4, .bytes = {192, 0, 2, 1}};
static const struct vd_ip six = {.family = VD_IPV6, .bytes = {0x20, 1, 0x0d, 0xb8, [15] = 1}};
static struct vd_ip many[4096];

#define REPLY(flags, answers, more) ID flags "\0\1\0" answers "\0\0\0" more
#define TO_NAME                     "\xc0\x0c"
#define A_RECORD                    TO_NAME "\0\1\0\1\0\1\x51\x80\0\4\xc0\0\2\1"
#define AAAA_RECORD                 TO_NAME "\0\x1c\0\1\0\1\x51\x80\0\x10\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define OUR_OPT                     "\0\0\x29\4\xd0\0\0\0\0\0\0"
#define REVERSE                                                                                    \
    "\1"                                                                                           \
    "1\1"                                                                                          \
    "0\2"                                                                                          \
    "18\3"                                                                                         \
    "198\7in-addr\4arpa\0"

static const struct {
    const char *name;
    const char *query;
    size_t query_len;
    struct vd_dns_answer answer;
    const char *data;
    size_t len;
} answers[] = {
    {"A",
     BYTES(QUERY EXAMPLE IN_A),
     {VD_DNS_NOERROR, 86400, &four, 1, NULL, false},
     BYTES(REPLY("\x81\x80", "\1", "\0") EXAMPLE IN_A A_RECORD)},
    {"AAAA",
     BYTES(QUERY EXAMPLE IN_AAAA),
     {VD_DNS_NOERROR, 86400, &six, 1, NULL, false},
     BYTES(REPLY("\x81\x80", "\1", "\0") EXAMPLE IN_AAAA AAAA_RECORD)},
    {"a TTL of all bits",
     BYTES(QUERY "\1a\0" IN_A),
     {VD_DNS_NOERROR, 0x7fffffff, &four, 1, NULL, false},
     BYTES(REPLY("\x81\x80", "\1", "\0") "\1a\0" IN_A TO_NAME
                                         "\0\1\0\1\x7f\xff\xff\xff\0\4\xc0\0\2\1")},
    {"the case of the question",
     BYTES(QUERY "\7ExAmPlE\0" IN_A),
     {VD_DNS_NOERROR, 86400, &four, 1, NULL, false},
     BYTES(REPLY("\x81\x80", "\1", "\0") "\7ExAmPlE\0" IN_A A_RECORD)},
    {"A with EDNS",
     BYTES(QUERY_EDNS EXAMPLE IN_A OPT("\2\0")),
     {VD_DNS_NOERROR, 86400, &four, 1, NULL, false},
     BYTES(REPLY("\x81\x80", "\1", "\1") EXAMPLE IN_A A_RECORD OUR_OPT)},
    {"DO comes back",
     BYTES(QUERY_EDNS EXAMPLE IN_A "\0\0\x29\4\xd0\0\0\x80\0\0\0"),
     {VD_DNS_NOERROR, 0, NULL, 0, NULL, false},
     BYTES(REPLY("\x81\x80", "\0", "\1") EXAMPLE IN_A "\0\0\x29\4\xd0\0\0\x80\0\0\0")},
    {"no records",
     BYTES(QUERY EXAMPLE IN_AAAA),
     {VD_DNS_NOERROR, 60, NULL, 0, NULL, false},
     BYTES(REPLY("\x81\x80", "\0", "\0") EXAMPLE IN_AAAA)},
    {"NXDOMAIN",
     BYTES(QUERY EXAMPLE IN_A),
     {VD_DNS_NXDOMAIN, 0, NULL, 0, NULL, false},
     BYTES(REPLY("\x81\x83", "\0", "\0") EXAMPLE IN_A)},
    {"REFUSED",
     BYTES(QUERY EXAMPLE IN_A),
     {VD_DNS_REFUSED, 0, NULL, 0, NULL, false},
     BYTES(REPLY("\x81\x85", "\0", "\0") EXAMPLE IN_A)},
    {"SERVFAIL",
     BYTES(QUERY EXAMPLE IN_A),
     {VD_DNS_SERVFAIL, 0, NULL, 0, NULL, false},
     BYTES(REPLY("\x81\x82", "\0", "\0") EXAMPLE IN_A)},
    {"FORMERR without a question",
     BYTES(QUERY "\xc0"),
     {VD_DNS_FORMERR, 0, NULL, 0, NULL, false},
     BYTES(ID "\x81\x81\0\0\0\0\0\0\0\0")},
    {"NOTIMP keeps the opcode",
     BYTES(ID "\x29\0\0\1\0\0\0\0\0\0" EXAMPLE IN_A),
     {VD_DNS_NOTIMP, 0, NULL, 0, NULL, false},
     BYTES(ID "\xa9\x84\0\0\0\0\0\0\0\0")},
    {"BADVERS",
     BYTES(QUERY_EDNS EXAMPLE IN_A "\0\0\x29\4\xd0\0\1\0\0\0\0"),
     {VD_DNS_BADVERS, 0, NULL, 0, NULL, false},
     BYTES(REPLY("\x81\x80", "\0", "\1") EXAMPLE IN_A "\0\0\x29\4\xd0\1\0\0\0\0\0")},
    {"RD and CD come back, no other flag",
     BYTES(ID "\7\xff\0\1\0\0\0\0\0\0" EXAMPLE IN_A),
     {VD_DNS_NOERROR, 0, NULL, 0, NULL, false},
     BYTES(REPLY("\x81\x90", "\0", "\0") EXAMPLE IN_A)},
    {"no RD, none comes back",
     BYTES(ID "\0\0\0\1\0\0\0\0\0\0" EXAMPLE IN_A),
     {VD_DNS_NOERROR, 0, NULL, 0, NULL, false},
     BYTES(REPLY("\x80\x80", "\0", "\0") EXAMPLE IN_A)},
    {"PTR",
     BYTES(QUERY REVERSE IN_PTR),
     {VD_DNS_NOERROR, 86400, NULL, 0, "example.com", false},
     BYTES(REPLY("\x81\x80", "\1", "\0") REVERSE IN_PTR TO_NAME
           "\0\x0c\0\1\0\1\x51\x80\0\x0d" EXAMPLE)},
    {"PTR to a name with a dot behind",
     BYTES(QUERY REVERSE IN_PTR),
     {VD_DNS_NOERROR, 86400, NULL, 0, "example.com.", false},
     BYTES(REPLY("\x81\x80", "\1", "\0") REVERSE IN_PTR TO_NAME
           "\0\x0c\0\1\0\1\x51\x80\0\x0d" EXAMPLE)},
    {"to be asked by TCP",
     BYTES(QUERY_EDNS EXAMPLE IN_A OPT("\4\xd0")),
     {VD_DNS_NOERROR, 0, NULL, 0, NULL, true},
     BYTES(REPLY("\x83\x80", "\0", "\1") EXAMPLE IN_A OPT("\4\xd0"))},
    {"PTR to the root",
     BYTES(QUERY REVERSE IN_PTR),
     {VD_DNS_NOERROR, 86400, NULL, 0, ".", false},
     BYTES(REPLY("\x81\x80", "\1", "\0") REVERSE IN_PTR TO_NAME "\0\x0c\0\1\0\1\x51\x80\0\1\0")},
};

/* Every room that is too small says so, or gives a whole message that is marked as cut. */
static void check_room(const struct vd_dns_query *q, const struct vd_dns_answer *answer, int whole)
{
    for (size_t cap = 0; cap < (size_t)whole; cap++) {
        uint8_t *buf = guard_put(NULL, 0) - cap;
        int len = vd_dns_write_answer(buf, cap, q, answer);
        struct vd_dns_reply reply;

        if (len == -VD_ERR_SPACE)
            continue;
        if (len < 0 || (size_t)len > cap ||
            vd_dns_read_reply(&reply, buf, (size_t)len) == -VD_ERR_PROTOCOL || !reply.truncated)
            tap_wrong("in %zu bytes: %d", cap, len);
    }
}

static void writing(void)
{
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        uint8_t buf[512];
        struct vd_dns_query q;
        int len;

        tap_begin();
        if (vd_dns_read_query(&q, (const uint8_t *)answers[i].query, answers[i].query_len) < 0)
            tap_wrong("it is no query");
        len = vd_dns_write_answer(buf, sizeof buf, &q, &answers[i].answer);
        if (len != (int)answers[i].len || memcmp(buf, answers[i].data, answers[i].len))
            tap_wrong("%d: %s", len, len > 0 ? shown(buf, (size_t)len) : "");
        check_room(&q, &answers[i].answer, len);
        tap_end(answers[i].name);
    }
}

static struct vd_dns_query ask(const char *data, size_t len)
{
    struct vd_dns_query q;

    if (vd_dns_read_query(&q, (const uint8_t *)data, len) != VD_OK)
        tap_wrong("it is no query");
    return q;
}

static void bad_names(void)
{
    static const struct {
        const char *name;
        int result;
    } rows[] = {
        {"a", 1},
        {"a.b", 1},
        {"a..b", -VD_ERR_NAME_FORM},
        {".a", -VD_ERR_NAME_FORM},
        {"a..", -VD_ERR_NAME_FORM},
        {"..", -VD_ERR_NAME_FORM},
        {T63, 1},
        {T63 "x", -VD_ERR_NAME_FORM},
        {"a." T63 "x.b", -VD_ERR_NAME_FORM},
        {T63 "." T63 "." T63 "." T61, 1},
        {T63 "." T63 "." T63 "." T61 ".", 1},
        {T63 "." T63 "." T63 "." T61 "x", -VD_ERR_NAME_FORM},
    };
    struct vd_dns_query q = ask(BYTES(QUERY REVERSE IN_PTR));

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vd_dns_answer answer = {.name = rows[i].name};
        uint8_t buf[512];
        int r = vd_dns_write_answer(buf, sizeof buf, &q, &answer);

        tap_ok(rows[i].result > 0 ? r > 0 : r == rows[i].result, "PTR to '%.100s'", rows[i].name);
    }
}

/* What does not fit is left out in whole records, and TC says so. */
static void limits(void)
{
    enum { FRONT = 12 + 13 + 4, RECORD = 2 + 2 + 2 + 4 + 2 + 4, EDNS = 11 };
    static const struct {
        const char *name;
        size_t udp_size, cap, count, fit;
        bool edns;
    } rows[] = {
        {"30 records in 512 bytes", 512, 4096, 30, 30, false},
        {"31 records in 512 bytes", 512, 4096, 31, 30, false},
        {"29 records and EDNS in 512 bytes", 512, 4096, 29, 29, true},
        {"30 records and EDNS in 512 bytes", 512, 4096, 30, 29, true},
        {"75 records and EDNS in 1240", 1240, 4096, 75, 75, true},
        {"76 records and EDNS in 1240", 1240, 4096, 76, 75, true},
        {"room for one, exactly", 4096, FRONT + RECORD, 2, 1, false},
        {"room for one but for a byte", 4096, FRONT + RECORD - 1, 2, 0, false},
        {"room for none", 4096, FRONT, 1, 0, false},
        {"4092 records over TCP", 65535, 1 << 17, 4092, 4092, false},
        {"4096 records over TCP", 65535, 1 << 17, 4096, 4094, false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vd_dns_query q = rows[i].edns ? ask(BYTES(QUERY_EDNS EXAMPLE IN_A OPT("\2\0")))
                                             : ask(BYTES(QUERY EXAMPLE IN_A));
        struct vd_dns_answer answer = {.ips = many, .ip_count = rows[i].count};
        uint8_t *buf = guard_put(NULL, 0) - rows[i].cap;
        size_t wanted = FRONT + rows[i].fit * RECORD + (rows[i].edns ? EDNS : 0);
        struct vd_dns_record record;
        struct vd_dns_reply reply = {0};
        int len;

        tap_begin();
        q.udp_size = (uint16_t)rows[i].udp_size;
        len = vd_dns_write_answer(buf, rows[i].cap, &q, &answer);
        if (len != (int)wanted || vd_dns_read_reply(&reply, buf, (size_t)len) != VD_OK)
            tap_wrong("%d bytes instead of %zu", len, wanted);
        if (reply.truncated != (rows[i].fit < rows[i].count) || reply.left != rows[i].fit)
            tap_wrong("%u records, TC %d", reply.left, reply.truncated);
        for (size_t k = 0; k < rows[i].fit; k++)
            if (vd_dns_next_record(&reply, &record) != 1 || !vd_ip_same(&record.ip, &many[k]) ||
                strcmp(record.name.text, "example.com"))
                tap_wrong("record %zu is another", k);
        if (vd_dns_next_record(&reply, &record) != 0)
            tap_wrong("there is one more");
        tap_end(rows[i].name);
    }
}

static void no_room(void)
{
    struct vd_dns_query q = ask(BYTES(QUERY_EDNS EXAMPLE IN_A OPT("\4\xd0")));
    struct vd_dns_answer answer = {.rcode = VD_DNS_REFUSED};

    for (size_t cap = 0; cap < 12 + 13 + 4 + 11; cap++)
        if (vd_dns_write_answer(guard_put(NULL, 0) - cap, cap, &q, &answer) != -VD_ERR_SPACE) {
            tap_ok(false, "a refusal fits into %zu bytes", cap);
            return;
        }
    tap_ok(vd_dns_write_answer(guard_put(NULL, 0) - 40, 40, &q, &answer) == 40,
           "a refusal fits into 40 bytes and no less");
}

/* --- answers of others --- */

#define RESPONSE(count) ID "\x81\x80\0\1\0" count "\0\0\0\0" EXAMPLE IN_A

static const struct {
    const char *name;
    const char *data;
    size_t len;
    int opened, first; /* results of the reply and of its first record */
    const char *text;  /* the record's address or target */
} replies[] = {
    {"a compressed name", BYTES(RESPONSE("\1") A_RECORD), VD_OK, 1, "192.0.2.1"},
    {"a name written out", BYTES(RESPONSE("\1") EXAMPLE "\0\1\0\1\0\0\0\1\0\4\1\2\3\4"), VD_OK, 1,
     "1.2.3.4"},
    {"a pointer to a part", BYTES(RESPONSE("\1") "\xc0\x0c\0\x0c\0\1\0\0\0\1\0\6\3www\xc0\x0c"),
     VD_OK, 1, "www.example.com"},
    {"a pointer to a pointer", BYTES(RESPONSE("\1") "\xc0\x0c\0\x0c\0\1\0\0\0\1\0\4\1w\xc0\x1d"),
     VD_OK, 1, "w.example.com"},
    {"a CNAME", BYTES(RESPONSE("\1") "\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x0c"), VD_OK, 1, ""},
    {"no record", BYTES(RESPONSE("\0")), VD_OK, 0, ""},
    {"no question", BYTES(ID "\x81\x85\0\0\0\0\0\0\0\0"), VD_OK, 0, ""},
    {"a query", BYTES(QUERY EXAMPLE IN_A), -VD_ERR_PROTOCOL, 0, ""},
    {"two questions", BYTES(ID "\x81\x80\0\2\0\0\0\0\0\0" EXAMPLE IN_A EXAMPLE IN_A),
     -VD_ERR_PROTOCOL, 0, ""},
    {"a record missing", BYTES(RESPONSE("\1")), VD_OK, -VD_ERR_PROTOCOL, ""},
    {"an A record of three bytes", BYTES(RESPONSE("\1") "\xc0\x0c\0\1\0\1\0\0\0\1\0\3\1\2\3"),
     VD_OK, -VD_ERR_PROTOCOL, ""},
    {"an A record of five bytes", BYTES(RESPONSE("\1") "\xc0\x0c\0\1\0\1\0\0\0\1\0\5\1\2\3\4\5"),
     VD_OK, -VD_ERR_PROTOCOL, ""},
    {"an AAAA record of four bytes", BYTES(RESPONSE("\1") "\xc0\x0c\0\x1c\0\1\0\0\0\1\0\4\1\2\3\4"),
     VD_OK, -VD_ERR_PROTOCOL, ""},
    {"an AAAA record that is cut",
     BYTES(RESPONSE("\1") "\xc0\x0c\0\x1c\0\1\0\0\0\1\0\x10\1\2\3\4\5\6\7\x08\x09\x0a\x0b"), VD_OK,
     -VD_ERR_PROTOCOL, ""},
    {"a PTR record and a byte", BYTES(RESPONSE("\1") "\xc0\x0c\0\x0c\0\1\0\0\0\1\0\3\xc0\x0cx"),
     VD_OK, -VD_ERR_PROTOCOL, ""},
    {"a PTR name past its record", BYTES(RESPONSE("\1") "\xc0\x0c\0\x0c\0\1\0\0\0\1\0\2\1a\0"),
     VD_OK, -VD_ERR_PROTOCOL, ""},
    {"a PTR pointer past its record",
     BYTES(RESPONSE("\1") "\xc0\x0c\0\x0c\0\1\0\0\0\1\0\1\xc0\x0c"), VD_OK, -VD_ERR_PROTOCOL, ""},
    {"a name that points to itself", BYTES(RESPONSE("\1") "\xc0\x1d\0\1\0\1\0\0\0\1\0\4\1\2\3\4"),
     VD_OK, -VD_ERR_PROTOCOL, ""},
    {"a name that comes back to itself",
     BYTES(RESPONSE("\1") "\1a\xc0\x1d\0\1\0\1\0\0\0\1\0\4\1\2\3\4"), VD_OK, -VD_ERR_PROTOCOL, ""},
    {"pointers that go round",
     BYTES(ID "\x81\x80\0\1\0\1\0\0\0\0\1a\0\xc0\x11\xc0\x0f"
              "\xc0\x0f\0\1\0\1\0\0\0\1\0\4\1\2\3\4"),
     VD_OK, -VD_ERR_PROTOCOL, ""},
    {"a name that points forward",
     BYTES(RESPONSE("\1") "\xc0\x2d\0\1\0\1\0\0\0\1\0\4\1\2\3\4\1a\0"), VD_OK, -VD_ERR_PROTOCOL,
     ""},
    {"a name that points into the header",
     BYTES(RESPONSE("\1") "\xc0\x0b\0\1\0\1\0\0\0\1\0\4\1\2\3\4"), VD_OK, -VD_ERR_PROTOCOL, ""},
    {"a strange name", BYTES(RESPONSE("\1") "\3a b\0\0\1\0\1\0\0\0\1\0\4\1\2\3\4"), VD_OK,
     -VD_ERR_NAME_FORM, ""},
    {"a strange question", BYTES(ID "\x81\x80\0\1\0\0\0\0\0\0\3a b\0" IN_A), -VD_ERR_NAME_FORM, 0,
     ""},
};

static const char *record_text(const struct vd_dns_record *record)
{
    static char text[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(text, sizeof text);

    vd_ip_print(&out, &record->ip);
    vd_out_text(&out, record->target.text);
    return vd_out_string(&out);
}

/* Reads as far as it goes; 1 as long as all is well. */
static int read_first(const char *data, size_t len, int *opened, struct vd_dns_record *record)
{
    struct vd_dns_reply reply;

    *opened = vd_dns_read_reply(&reply, guard_put(data, len), len);
    return *opened < 0 ? 0 : vd_dns_next_record(&reply, record);
}

static void reading_replies(void)
{
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        struct vd_dns_record record = {0};
        int opened, r;

        tap_begin();
        r = read_first(replies[i].data, replies[i].len, &opened, &record);
        if (opened != replies[i].opened || r != replies[i].first)
            tap_wrong("results %d, %d", opened, r);
        if (r == 1 && strcmp(record_text(&record), replies[i].text))
            tap_wrong("'%s'", record_text(&record));
        for (size_t cut = 0; cut < replies[i].len; cut++) {
            r = read_first(replies[i].data, cut, &opened, &record);
            if (opened >= 0 && r >= 0)
                tap_wrong("cut to %zu bytes: %d", cut, r);
        }
        tap_end(replies[i].name);
    }
}

/* Each name points to the one before: long, but with an end; one more and it is too long a name. */
static void pointer_chain(void)
{
    static uint8_t data[2048];
    struct vd_out out = vd_out_over(data, sizeof data);
    struct vd_dns_record record;
    struct vd_dns_reply reply;
    int r = 1;
    size_t records = 0;

    vd_out_bytes(&out, BYTES(ID "\x81\x80\0\1\0\xff\0\0\0\0\1a\0" IN_A));
    for (size_t i = 0, before = 12; i < 140; i++) {
        size_t here = out.len;

        vd_out_bytes(&out, "\1b", 2);
        vd_out_u16(&out, (uint16_t)(0xc000 | before));
        vd_out_bytes(&out, BYTES("\0\x10\0\1\0\0\0\0\0\0"));
        before = here;
    }
    tap_begin();
    if (!out.ok || vd_dns_read_reply(&reply, guard_put(data, out.len), out.len) != VD_OK)
        tap_wrong("it cannot be read");
    while (r == 1) {
        r = vd_dns_next_record(&reply, &record);
        if (r == 1 && record.name.len != 1 + 2 * ++records)
            tap_wrong("record %zu: a name of %u bytes", records, record.name.len);
    }
    if (r != -VD_ERR_PROTOCOL || records != 126)
        tap_wrong("it ended with %d behind %zu records", r, records);
    tap_end("pointers to pointers up to the longest name");
}

/* --- reverse names --- */

#define V6_ZONE ".ip6.arpa"
#define V6_ONE  "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"

static const struct {
    const char *name, *text; /* NULL: none */
} reverses[] = {
    {"1.2.0.192.in-addr.arpa", "192.0.2.1"},
    {"1.2.0.192.in-addr.arpa.", "192.0.2.1"},
    {"1.2.0.192.IN-ADDR.ARPA", "192.0.2.1"},
    {"255.254.253.252.in-addr.arpa", "252.253.254.255"},
    {"0.0.0.0.in-addr.arpa", "0.0.0.0"},
    {V6_ONE V6_ZONE, "2001:db8::1"},
    {V6_ONE V6_ZONE ".", "2001:db8::1"},
    {"F.E.D.C.B.A.9.8.7.6.5.4.3.2.1.0.f.e.d.c.b.a.9.8.7.6.5.4.3.2.1.0.IP6.ARPA",
     "123:4567:89ab:cdef:123:4567:89ab:cdef"},
    {"", NULL},
    {".", NULL},
    {"in-addr.arpa", NULL},
    {".in-addr.arpa", NULL},
    {"192.in-addr.arpa", NULL},
    {"2.0.192.in-addr.arpa", NULL},
    {"0.1.2.0.192.in-addr.arpa", NULL},
    {"256.2.0.192.in-addr.arpa", NULL},
    {"01.2.0.192.in-addr.arpa", NULL},
    {"-1.2.0.192.in-addr.arpa", NULL},
    {"1.2.0.x.in-addr.arpa", NULL},
    {"1.2..192.in-addr.arpa", NULL},
    {"::1.in-addr.arpa", NULL},
    {"1.2.0.192.in-addr.arpa..", NULL},
    {"1.2.0.192.in-addrxarpa", NULL},
    {"1.2.0.192.in-addr.arpa.example", NULL},
    {"1.2.0.192xin-addr.arpa", NULL},
    {"1.2.0.192.ip6.arpa", NULL},
    {V6_ONE ".in-addr.arpa", NULL},
    {V6_ONE "xip6.arpa", NULL},
    {"ip6.arpa", NULL},
    {"1" V6_ZONE, NULL},
    {"1." V6_ONE V6_ZONE, NULL},
    {".0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.1" V6_ZONE, NULL},
    {"g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2" V6_ZONE, NULL},
    {"/.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2" V6_ZONE, NULL},
    {"1x0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2" V6_ZONE, NULL},
    {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0x2" V6_ZONE, NULL},
    {"10.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2" V6_ZONE, NULL},
};

static void reversing(void)
{
    for (size_t i = 0; i < sizeof reverses / sizeof *reverses; i++) {
        const char *name = reverses[i].name, *wanted = reverses[i].text;
        size_t len = strlen(name);
        char text[64];
        struct vd_out out = vd_out_over(text, sizeof text);
        struct vd_ip ip;
        bool is = vd_dns_read_reverse(&ip, (const char *)guard_put(name, len), len);

        if (is)
            vd_ip_print(&out, &ip);
        tap_ok(is == (wanted != NULL) && (!is || !strcmp(vd_out_string(&out), wanted)), "'%s'",
               name);
    }
}

int main(void)
{
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        many[i] = vd_ip4((const uint8_t[]){10, 0, (uint8_t)(i >> 8), (uint8_t)i});
    reading();
    writing();
    bad_names();
    limits();
    no_room();
    reading_replies();
    pointer_chain();
    reversing();
    return tap_done();
}
