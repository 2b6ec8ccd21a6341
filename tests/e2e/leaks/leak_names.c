/* Calls that ask for names, and calls of old that ask and connect within libc. */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <sched.h>
#include <sys/mount.h>
#include <time.h>

#include "leak.h"

enum { ANSWER_MAX = 1024 };
static unsigned char answer[ANSWER_MAX];

/* Calls that only programs of old find; bound as theirs are. `since`: their version, where that is
 * not the first one of this machine's libc. */
#ifdef __i386__
#define VERSION(since) "@GLIBC_" since
#else
#define VERSION(since) "@" FIRST_VERSION
#endif
#define OLD(type, name, since, parameters)                                                         \
    __asm__(".symver old_" #name "," #name VERSION(since));                                        \
    extern type old_##name parameters

/* --- getaddrinfo ----------------------------------------------------------------------------- */

static void do_getaddrinfo(const struct to *t)
{
    struct addrinfo hints = {.ai_family = t->family}, *list;

    if (getaddrinfo(t->name, "80", NULL, &list) == 0)
        freeaddrinfo(list);
    if (getaddrinfo(t->name, "80", &hints, &list) == 0)
        freeaddrinfo(list);
}

static void do_getaddrinfo_a(const struct to *t)
{
    struct gaicb one = {.ar_name = t->name}, two = {.ar_name = t->name};
    struct gaicb *list[] = {&one}, *other[] = {&two};
    struct timespec two_s = {.tv_sec = 2};

    getaddrinfo_a(GAI_WAIT, list, 1, NULL);
    getaddrinfo_a(GAI_NOWAIT, other, 1, NULL);
    gai_suspend((const struct gaicb *const *)other, 1, &two_s);
}

static void do_getnameinfo(const struct to *t)
{
    char host[NI_MAXHOST];

    getnameinfo(at(t), t->len, host, sizeof host, NULL, 0, 0);
}

/* --- gethostbyname --------------------------------------------------------------------------- */

static void do_gethostbyname(const struct to *t)
{
    gethostbyname(t->name);
}

static void do_gethostbyname2(const struct to *t)
{
    gethostbyname2(t->name, t->family);
}

static void do_gethostbyname_r(const struct to *t)
{
    struct hostent entry, *result;
    char buf[2048];
    int error;

    gethostbyname_r(t->name, &entry, buf, sizeof buf, &result, &error);
}

static void do_gethostbyname2_r(const struct to *t)
{
    struct hostent entry, *result;
    char buf[2048];
    int error;

    gethostbyname2_r(t->name, t->family, &entry, buf, sizeof buf, &result, &error);
}

static const void *bytes_of(const struct to *t, socklen_t *len)
{
    *len = t->family == AF_INET6 ? 16 : 4;
    return t->family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)at(t))->sin6_addr
                                 : (const void *)&((const struct sockaddr_in *)at(t))->sin_addr;
}

static void do_gethostbyaddr(const struct to *t)
{
    socklen_t len;
    const void *bytes = bytes_of(t, &len);

    gethostbyaddr(bytes, len, t->family);
}

static void do_gethostbyaddr_r(const struct to *t)
{
    struct hostent entry, *result;
    char buf[2048];
    int error;
    socklen_t len;
    const void *bytes = bytes_of(t, &len);

    gethostbyaddr_r(bytes, len, t->family, &entry, buf, sizeof buf, &result, &error);
}

OLD(struct hostent *, res_gethostbyname, "2.0", (const char *));
OLD(struct hostent *, res_gethostbyname2, "2.0", (const char *, int));
OLD(struct hostent *, res_gethostbyaddr, "2.0", (const void *, socklen_t, int));

static void do_old_gethostbyname(const struct to *t)
{
    socklen_t len;
    const void *bytes = bytes_of(t, &len);

    old_res_gethostbyname(t->name);
    old_res_gethostbyname2(t->name, AF_INET6);
    old_res_gethostbyaddr(bytes, len, t->family);
}

static void do_gethostid(const struct to *t)
{
    if (unshare(CLONE_NEWUTS) == 0 && sethostname(t->name, strlen(t->name)) == 0)
        gethostid();
}

/* --- getnetbyname ---------------------------------------------------------------------------- */

static void do_getnetbyname(const struct to *t)
{
    getnetbyname(t->name);
}

static void do_getnetbyname_r(const struct to *t)
{
    struct netent entry, *result;
    char buf[1024];
    int error;

    getnetbyname_r(t->name, &entry, buf, sizeof buf, &result, &error);
}

static uint32_t net_of(const struct to *t)
{
    return ntohl(((const struct sockaddr_in *)at(t))->sin_addr.s_addr);
}

static void do_getnetbyaddr(const struct to *t)
{
    getnetbyaddr(net_of(t), AF_INET);
}

static void do_getnetbyaddr_r(const struct to *t)
{
    struct netent entry, *result;
    char buf[1024];
    int error;

    getnetbyaddr_r(net_of(t), AF_INET, &entry, buf, sizeof buf, &result, &error);
}

/* --- the resolver ---------------------------------------------------------------------------- */

typedef int query(const char *, int, int, unsigned char *, int);
typedef int query_in(const char *, const char *, int, int, unsigned char *, int);
typedef int send_it(const unsigned char *, int, unsigned char *, int);
typedef int nquery(res_state, const char *, int, int, unsigned char *, int);
typedef int nquery_in(res_state, const char *, const char *, int, int, unsigned char *, int);
typedef int nsend_it(res_state, const unsigned char *, int, unsigned char *, int);

OLD(int, __res_query, "2.2", (const char *, int, int, unsigned char *, int));
OLD(int, __res_search, "2.2", (const char *, int, int, unsigned char *, int));
OLD(int, __res_querydomain, "2.2", (const char *, const char *, int, int, unsigned char *, int));
OLD(int, __res_send, "2.0", (const unsigned char *, int, unsigned char *, int));
OLD(int, __res_nquery, "2.2", (res_state, const char *, int, int, unsigned char *, int));
OLD(int, __res_nsearch, "2.2", (res_state, const char *, int, int, unsigned char *, int));
OLD(int, __res_nquerydomain, "2.2",
    (res_state, const char *, const char *, int, int, unsigned char *, int));
OLD(int, __res_nsend, "2.2", (res_state, const unsigned char *, int, unsigned char *, int));

/* <resolv.h> gives the names without underscores a meaning of their own. */
#undef res_query
#undef res_search
#undef res_querydomain
#undef res_send
#undef res_nquery
#undef res_nsearch
#undef res_nquerydomain
#undef res_nsend
query res_query, res_search;
query_in res_querydomain;
send_it res_send;
nquery res_nquery, res_nsearch;
nquery_in res_nquerydomain;
nsend_it res_nsend;

static void ask_by(const struct to *t, query *ask, query *search, query_in *in, send_it *out)
{
    unsigned char packet[512];
    int len = res_mkquery(QUERY, t->name, C_IN, T_A, NULL, 0, NULL, packet, sizeof packet);

    ask(t->name, C_IN, T_A, answer, ANSWER_MAX);
    search(t->name, C_IN, T_MX, answer, ANSWER_MAX);
    in(t->name, "", C_IN, T_TXT, answer, ANSWER_MAX);
    out(packet, len, answer, ANSWER_MAX);
}

static void do_res(const struct to *t)
{
    ask_by(t, res_query, res_search, res_querydomain, res_send);
}

static void do_other_res(const struct to *t)
{
    ask_by(t, old___res_query, old___res_search, old___res_querydomain, old___res_send);
}

static void nask_by(const struct to *t, nquery *ask, nquery *search, nquery_in *in, nsend_it *out)
{
    struct __res_state state = {0};
    unsigned char packet[512];
    int len;

    res_ninit(&state);
    len = res_nmkquery(&state, QUERY, t->name, C_IN, T_A, NULL, 0, NULL, packet, sizeof packet);
    ask(&state, t->name, C_IN, T_A, answer, ANSWER_MAX);
    search(&state, t->name, C_IN, T_MX, answer, ANSWER_MAX);
    in(&state, t->name, "", C_IN, T_TXT, answer, ANSWER_MAX);
    out(&state, packet, len, answer, ANSWER_MAX);
}

static void do_nres(const struct to *t)
{
    nask_by(t, res_nquery, res_nsearch, res_nquerydomain, res_nsend);
}

static void do_other_nres(const struct to *t)
{
    nask_by(t, old___res_nquery, old___res_nsearch, old___res_nquerydomain, old___res_nsend);
}

/* --- calls of old ---------------------------------------------------------------------------- */

static void do_rcmd(const struct to *t)
{
    char *host = (char *)t->name;

    rcmd(&host, htons(514), "me", "you", "true", NULL);
}

static void do_rcmd_af(const struct to *t)
{
    char *host = (char *)t->name;

    rcmd_af(&host, htons(514), "me", "you", "true", NULL, (sa_family_t)t->family);
}

static void do_rexec(const struct to *t)
{
    char *host = (char *)t->name;

    rexec(&host, htons(512), "me", "secret", "true", NULL);
}

static void do_rexec_af(const struct to *t)
{
    char *host = (char *)t->name;

    rexec_af(&host, htons(512), "me", "secret", "true", NULL, (sa_family_t)t->family);
}

static void do_ruserok(const struct to *t)
{
    ruserok(t->name, 1, "me", "you");
}

static void do_ruserok_af(const struct to *t)
{
    ruserok_af(t->name, 1, "me", "you", (sa_family_t)t->family);
}

static void do_iruserok(const struct to *t)
{
    const struct sockaddr_in *from = (const struct sockaddr_in *)at(t);

    iruserok(from->sin_addr.s_addr, 1, "me", "you");
    iruserok_af(&from->sin_addr, 1, "me", "you", AF_INET);
}

static void do_ivaliduser(const struct to *t)
{
    int (*judge)(FILE *, uint32_t, const char *, const char *) = symbol("__ivaliduser");
    FILE *hosts = fmemopen(NULL, 1024, "w+");

    fprintf(hosts, "%s you\n", t->name);
    rewind(hosts);
    judge(hosts, htonl(0x0a030303), "you", "you");
}

/* --- Sun RPC --------------------------------------------------------------------------------- */

enum { PROGRAM = 100003, VERSION = 3 };

typedef unsigned long number;
OLD(void *, clnt_create, "2.0", (const char *, number, number, const char *));
OLD(int, callrpc, "2.0", (const char *, number, number, number, void *, void *, void *, void *));
OLD(int, getrpcport, "2.0", (const char *, number, number, unsigned));
OLD(unsigned short, pmap_getport, "2.0", (struct sockaddr_in *, number, number, unsigned));
OLD(void *, pmap_getmaps, "2.0", (struct sockaddr_in *));
OLD(void *, clnttcp_create, "2.0",
    (struct sockaddr_in *, number, number, int *, unsigned, unsigned));
OLD(void *, clntudp_create, "2.0", (struct sockaddr_in *, number, number, struct timeval, int *));
OLD(void *, clntudp_bufcreate, "2.0",
    (struct sockaddr_in *, number, number, struct timeval, int *, unsigned, unsigned));
OLD(int, rtime, "2.1", (struct sockaddr_in *, struct timeval *, struct timeval *));
OLD(int, clnt_broadcast, "2.0", (number, number, number, void *, void *, void *, void *, void *));
OLD(void *, authdes_create, "2.1", (const char *, unsigned, struct sockaddr *, void *));
OLD(void *, authdes_pk_create, "2.1", (const char *, void *, unsigned, struct sockaddr *, void *));
OLD(int, pmap_rmtcall, "2.0", (struct sockaddr_in *, number, number, number));

static struct sockaddr_in in4(const struct to *t, uint16_t port)
{
    struct sockaddr_in to = *(const struct sockaddr_in *)at(t);

    to.sin_port = htons(port);
    return to;
}

static void do_clnt_create(const struct to *t)
{
    old_clnt_create(t->name, PROGRAM, VERSION, "tcp");
}

static void do_callrpc(const struct to *t)
{
    old_callrpc(t->name, PROGRAM, VERSION, 0, NULL, NULL, NULL, NULL);
    old_getrpcport(t->name, PROGRAM, VERSION, IPPROTO_UDP);
}

static void do_pmap(const struct to *t)
{
    struct sockaddr_in to = in4(t, 0);

    old_pmap_getport(&to, PROGRAM, VERSION, IPPROTO_UDP);
}

static void do_pmap_maps(const struct to *t)
{
    struct sockaddr_in to = in4(t, 0);

    old_pmap_getmaps(&to);
}

static void do_clnttcp(const struct to *t)
{
    struct sockaddr_in to = in4(t, 111);
    int fd = -1;

    old_clnttcp_create(&to, PROGRAM, VERSION, &fd, 0, 0);
}

static void do_clntudp(const struct to *t)
{
    struct sockaddr_in to = in4(t, 0);
    struct timeval wait = {.tv_sec = 1};
    int fd = -1;

    old_clntudp_create(&to, PROGRAM, VERSION, wait, &fd);
    fd = -1;
    old_clntudp_bufcreate(&to, PROGRAM, VERSION, wait, &fd, 400, 400);
}

static void do_rtime(const struct to *t)
{
    struct sockaddr_in to = in4(t, 0);
    struct timeval told, wait = {.tv_sec = 1};

    old_rtime(&to, &told, &wait);
}

/* They want much to do their work; refused they look at nothing. */
static void do_broadcast_rpc(const struct to *t)
{
    struct sockaddr_in to = in4(t, 0);

    if (!getenv("VIADUCT_SESSION"))
        return;
    old_clnt_broadcast(PROGRAM, VERSION, 0, NULL, NULL, NULL, NULL, NULL);
    old_authdes_create("unix.0@x", 60, NULL, NULL);
    old_authdes_pk_create("unix.0@x", NULL, 60, NULL, NULL);
    old_pmap_rmtcall(&to, PROGRAM, VERSION, 0);
}

/* --- the kernel's own ------------------------------------------------------------------------ */

static void do_mount(const struct to *t)
{
    int (*open_type)(const char *, unsigned) = symbol("fsopen");
    char data[64];

    snprintf(data, sizeof data, "addr=10.3.0.%u,nolock", t->index & 255);
    mount("10.3.0.1:/x", "/mnt", "nfs", 0, data);
    open_type("nfs4", 0);
}

const struct row name_rows[] = {
    {"getaddrinfo", do_getaddrinfo, NAME | V4 | V6},
    {"getaddrinfo_a", do_getaddrinfo_a, NAME | V4},
    {"getnameinfo", do_getnameinfo, ADDRESS | V4 | V6},
    {"gethostbyname", do_gethostbyname, NAME | V4},
    {"gethostbyname2", do_gethostbyname2, NAME | V4 | V6},
    {"gethostbyname_r", do_gethostbyname_r, NAME | V4},
    {"gethostbyname2_r", do_gethostbyname2_r, NAME | V4 | V6},
    {"gethostbyaddr", do_gethostbyaddr, ADDRESS | V4 | V6},
    {"gethostbyaddr_r", do_gethostbyaddr_r, ADDRESS | V4 | V6},
    {"res_gethostbyname res_gethostbyname2 res_gethostbyaddr", do_old_gethostbyname, NAME | V4},
    {"gethostid", do_gethostid, NAME | V4},
    {"getnetbyname", do_getnetbyname, NAME | V4},
    {"getnetbyname_r", do_getnetbyname_r, NAME | V4},
    {"getnetbyaddr", do_getnetbyaddr, ADDRESS | V4},
    {"getnetbyaddr_r", do_getnetbyaddr_r, ADDRESS | V4},
    {"res_query res_search res_querydomain res_send", do_res, NAME | V4},
    {"__res_query __res_search __res_querydomain __res_send", do_other_res, NAME | V4},
    {"res_nquery res_nsearch res_nquerydomain res_nsend", do_nres, NAME | V4},
    {"__res_nquery __res_nsearch __res_nquerydomain __res_nsend", do_other_nres, NAME | V4},
    {"rcmd", do_rcmd, NAME | V4},
    {"rcmd_af", do_rcmd_af, NAME | V4 | V6},
    {"rexec", do_rexec, NAME | V4},
    {"rexec_af", do_rexec_af, NAME | V4 | V6},
    {"ruserok", do_ruserok, NAME | V4},
    {"ruserok_af", do_ruserok_af, NAME | V4 | V6},
    {"iruserok iruserok_af", do_iruserok, ADDRESS | V4 | SILENT},
    {"__ivaliduser", do_ivaliduser, NAME | V4},
    {"clnt_create", do_clnt_create, NAME | V4},
    {"callrpc getrpcport", do_callrpc, NAME | V4},
    {"pmap_getport", do_pmap, ADDRESS | V4},
    {"pmap_getmaps", do_pmap_maps, ADDRESS | V4},
    {"clnttcp_create", do_clnttcp, ADDRESS | V4},
    {"clntudp_create clntudp_bufcreate", do_clntudp, ADDRESS | V4},
    {"rtime", do_rtime, ADDRESS | V4},
    {"clnt_broadcast authdes_create authdes_pk_create pmap_rmtcall", do_broadcast_rpc,
     ADDRESS | V4 | SILENT},
    {"mount fsopen", do_mount, ADDRESS | V4 | SILENT},
    {NULL, NULL, 0},
};
