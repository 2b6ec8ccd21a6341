/*
 * names_probe: calls the resolver's functions one by one and prints what each gives.
 *
 *     names_probe gethostbyname NAME          names_probe gethostbyname2 NAME 4|6
 *     names_probe gethostbyname_r NAME        names_probe gethostbyname2_r NAME 4|6
 *     names_probe gethostbyaddr ADDRESS       names_probe gethostbyaddr_r ADDRESS
 *     names_probe getnameinfo ADDRESS [name] [numeric]
 *     names_probe getaddrinfo NAME4 NAME6     the whole table of flags; addresses of names as "*"
 *
 * The _r calls are repeated with a buffer that grows by one byte until the answer fits, as their
 * protocol (ERANGE) wants it; whatever lies outside of the buffer is a mistake and told.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BUFFER_MAX = 4096 };

static void print_hostent(const struct hostent *h)
{
    char text[INET6_ADDRSTRLEN];

    printf("%s %d", h->h_name, h->h_addrtype == AF_INET6 ? 6 : 4);
    for (char **alias = h->h_aliases; *alias; alias++)
        printf(" alias=%s", *alias);
    for (char **addr = h->h_addr_list; *addr; addr++)
        printf(" %s", inet_ntop(h->h_addrtype, *addr, text, sizeof text));
    printf(" length=%d\n", h->h_length);
}

static const char *herror_name(int number)
{
    switch (number) {
    case HOST_NOT_FOUND:
        return "HOST_NOT_FOUND";
    case TRY_AGAIN:
        return "TRY_AGAIN";
    case NO_RECOVERY:
        return "NO_RECOVERY";
    case NO_DATA:
        return "NO_DATA";
    default:
        return "other";
    }
}

static int print_classic(const struct hostent *h)
{
    if (h)
        print_hostent(h);
    else
        printf("%s\n", herror_name(h_errno));
    return h ? 0 : 1;
}

static bool within(const void *p, const char *buf, size_t len)
{
    return (const char *)p >= buf && (const char *)p < buf + len;
}

/* Everything that an answer points to must lie in the caller's buffer, pointers aligned. */
static bool is_sound(const struct hostent *h, const char *buf, size_t len)
{
    bool sound = within(h->h_name, buf, len) && within(h->h_aliases, buf, len) &&
                 within(h->h_addr_list, buf, len) &&
                 (uintptr_t)h->h_aliases % sizeof(char *) == 0 &&
                 (uintptr_t)h->h_addr_list % sizeof(char *) == 0;

    for (char **addr = h->h_addr_list; sound && *addr; addr++)
        sound = within(*addr, buf, len) && within(*addr + h->h_length - 1, buf, len);
    return sound;
}

struct question {
    const char *call, *text;
    int family;
    unsigned char address[16];
    socklen_t length;
};

static int ask(const struct question *q, struct hostent *h, char *buf, size_t len,
               struct hostent **result, int *number)
{
    if (strcmp(q->call, "gethostbyname_r") == 0)
        return gethostbyname_r(q->text, h, buf, len, result, number);
    if (strcmp(q->call, "gethostbyname2_r") == 0)
        return gethostbyname2_r(q->text, q->family, h, buf, len, result, number);
    return gethostbyaddr_r(q->address, q->length, q->family, h, buf, len, result, number);
}

static int reentrant(const struct question *q)
{
    static char guarded[BUFFER_MAX + 1];
    size_t len = 0;
    unsigned ranges = 0;
    int r, number;
    struct hostent h, *result;

    do {
        memset(guarded, 0x5a, sizeof guarded);
        result = &h;
        number = 0;
        r = ask(q, &h, guarded, ++len, &result, &number);
        ranges += r == ERANGE;
        if (guarded[len] != 0x5a)
            printf("wrote behind %zu bytes\n", len);
        if (r == ERANGE && (result || number != NETDB_INTERNAL))
            printf("ERANGE with a result, or without NETDB_INTERNAL\n");
    } while (r == ERANGE && len < BUFFER_MAX);
    printf("%s ", ranges ? "ERANGE" : "once");
    if (!result) {
        printf("%s r=%d\n", herror_name(number), r);
        return 1;
    }
    if (!is_sound(result, guarded, len))
        printf("points outside of the buffer ");
    print_hostent(result);
    return 0;
}

static socklen_t read_address(const char *text, struct sockaddr_storage *to)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;

    memset(to, 0, sizeof *to);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(80);
        return sizeof *v4;
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
        exit(2);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(80);
    return sizeof *v6;
}

static const char *gai_name(int r)
{
    static const struct {
        int value;
        const char *name;
    } known[] = {{EAI_ADDRFAMILY, "EAI_ADDRFAMILY"}, {EAI_AGAIN, "EAI_AGAIN"},
                 {EAI_BADFLAGS, "EAI_BADFLAGS"},     {EAI_FAIL, "EAI_FAIL"},
                 {EAI_FAMILY, "EAI_FAMILY"},         {EAI_MEMORY, "EAI_MEMORY"},
                 {EAI_NODATA, "EAI_NODATA"},         {EAI_NONAME, "EAI_NONAME"},
                 {EAI_OVERFLOW, "EAI_OVERFLOW"},     {EAI_SERVICE, "EAI_SERVICE"},
                 {EAI_SOCKTYPE, "EAI_SOCKTYPE"},     {EAI_SYSTEM, "EAI_SYSTEM"}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].value == r)
            return known[i].name;
    return r ? "other" : "ok";
}

static int by_getnameinfo(int argc, char **argv)
{
    struct sockaddr_storage from;
    socklen_t len = read_address(argv[0], &from);
    char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";
    int flags = NI_NUMERICSERV, r;

    for (int i = 1; i < argc; i++)
        flags |= strcmp(argv[i], "name") == 0 ? NI_NAMEREQD : NI_NUMERICHOST;
    r = getnameinfo((struct sockaddr *)&from, len, host, sizeof host, service, sizeof service,
                    flags);
    printf("%s %s %s\n", gai_name(r), host, service);
    if (r == 0 && getnameinfo((struct sockaddr *)&from, len, host, (socklen_t)strlen(host), NULL, 0,
                              flags) != EAI_OVERFLOW)
        printf("a short buffer was not told\n");
    return r ? 1 : 0;
}

/* --- the table of getaddrinfo -------------------------------------------------------------- */

enum { NO_HINTS = -1 }; /* instead of flags */

struct row {
    const char *node, *service;
    int flags, family, socktype, protocol;
};

static void print_results(const struct addrinfo *list, bool hide)
{
    char host[NI_MAXHOST], service[NI_MAXSERV];

    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof host, service, sizeof service,
                    NI_NUMERICHOST | NI_NUMERICSERV);
        printf(" [%d %d %d %s:%s len=%u flags=%x family=%d canon=%s]", a->ai_family, a->ai_socktype,
               a->ai_protocol, hide ? "*" : host, service, a->ai_addrlen, a->ai_flags,
               a->ai_addr->sa_family, a->ai_canonname ? a->ai_canonname : "-");
    }
}

static void print_row(const struct row *row, const char *node, bool hide)
{
    struct addrinfo hints = {.ai_flags = row->flags,
                             .ai_family = row->family,
                             .ai_socktype = row->socktype,
                             .ai_protocol = row->protocol};
    struct addrinfo *list = NULL;
    int r = getaddrinfo(node, row->service, row->flags == NO_HINTS ? NULL : &hints, &list);

    printf("%.40s service=%s flags=%x family=%d socktype=%d protocol=%d: %s", node ? node : "NULL",
           row->service ? row->service : "NULL", row->flags, row->family, row->socktype,
           row->protocol, gai_name(r));
    if (r == 0) {
        print_results(list, hide);
        freeaddrinfo(list);
    }
    printf("\n");
}

/* NAME stands for the one name that has an address of the family asked for, and no other. */
#define NAME "NAME"

static const struct row rows[] = {
    {NAME, NULL, 0, AF_UNSPEC, 0, 0},
    {NAME, "80", 0, AF_UNSPEC, 0, 0},
    {NAME, "http", 0, AF_UNSPEC, 0, 0},
    {NAME, "http", 0, AF_INET, SOCK_STREAM, 0},
    {NAME, "http", 0, AF_INET6, SOCK_STREAM, 0},
    {NAME, "domain", 0, AF_INET, SOCK_DGRAM, 0},
    {NAME, "80", 0, AF_INET, SOCK_STREAM, IPPROTO_TCP},
    {NAME, "80", 0, AF_INET, SOCK_STREAM, IPPROTO_UDP},
    {NAME, "80", 0, AF_INET, 0, IPPROTO_TCP},
    {NAME, "80", 0, AF_INET, SOCK_RAW, 0},
    {NAME, "nosuchservice", 0, AF_INET, SOCK_STREAM, 0},
    {NAME, "http", AI_NUMERICSERV, AF_INET, SOCK_STREAM, 0},
    {NAME, "80", AI_NUMERICSERV, AF_INET, SOCK_STREAM, 0},
    {NAME, "80", AI_NUMERICHOST, AF_INET, SOCK_STREAM, 0},
    {NAME, "80", AI_CANONNAME, AF_INET, SOCK_STREAM, 0},
    {NAME, "80", AI_CANONNAME, AF_UNSPEC, 0, 0},
    {NAME, "80", AI_CANONNAME, AF_INET6, SOCK_STREAM, 0},
    {NAME, "80", AI_ADDRCONFIG, AF_UNSPEC, SOCK_STREAM, 0},
    {NAME, "80", AI_ADDRCONFIG, AF_INET6, SOCK_STREAM, 0},
    {NAME, "80", AI_PASSIVE, AF_INET, SOCK_STREAM, 0},
    {NAME, "80", AI_CANONNAME | AI_PASSIVE | AI_ADDRCONFIG, AF_UNSPEC, SOCK_STREAM, 0},
    {NAME, "80", 0x40000000, AF_INET, SOCK_STREAM, 0},
    {NAME, "80", 0, 99, SOCK_STREAM, 0},
    {NAME, "80", 0, AF_UNIX, SOCK_STREAM, 0},
    {NAME, "80", 0, AF_INET, 77, 0},
    {NAME, "80", AI_V4MAPPED, AF_INET6, SOCK_STREAM, 0},
    {NAME, "80", AI_V4MAPPED | AI_ALL, AF_INET6, SOCK_STREAM, 0},
    {NAME, "80", AI_ALL, AF_INET, SOCK_STREAM, 0},
    {NAME, "65536", 0, AF_INET, SOCK_STREAM, 0},
    {NAME, "-1", 0, AF_INET, SOCK_STREAM, 0},
    {NAME, "", 0, AF_INET, SOCK_STREAM, 0},
    {NAME, "http", NO_HINTS, AF_UNSPEC, 0, 0},
    {NAME, NULL, NO_HINTS, AF_UNSPEC, 0, 0},
    {"localhost", "80", NO_HINTS, AF_UNSPEC, 0, 0},
    {NULL, NULL, NO_HINTS, AF_UNSPEC, 0, 0},
    {NULL, "80", NO_HINTS, AF_UNSPEC, 0, 0},
    {NULL, NULL, 0, AF_UNSPEC, 0, 0},
    {NULL, "80", 0, AF_UNSPEC, SOCK_STREAM, 0},
    {NULL, "80", AI_PASSIVE, AF_UNSPEC, SOCK_STREAM, 0},
    {NULL, "80", AI_CANONNAME, AF_INET, SOCK_STREAM, 0},
    {"", "80", 0, AF_INET, SOCK_STREAM, 0},
    {"localhost", "80", 0, AF_INET, SOCK_STREAM, 0},
    {"localhost", "80", 0, AF_INET6, SOCK_STREAM, 0},
    {"localhost", "80", AI_CANONNAME, AF_UNSPEC, SOCK_STREAM, 0},
    {"10.2.0.2", "80", 0, AF_UNSPEC, SOCK_STREAM, 0},
    {"10.2.0.2", "http", AI_CANONNAME, AF_INET, SOCK_STREAM, 0},
    {"10.2.0.2", "80", 0, AF_INET6, SOCK_STREAM, 0},
    {"10.2.0.2", "80", AI_V4MAPPED, AF_INET6, SOCK_STREAM, 0},
    {"10.2.0.2", "80", AI_NUMERICHOST, AF_INET, 0, 0},
    {"10.2.2", "80", 0, AF_INET, SOCK_STREAM, 0},
    {"0x0a020002", "80", 0, AF_INET, SOCK_STREAM, 0},
    {"012.2.0.2", "80", 0, AF_INET, SOCK_STREAM, 0},
    {"fd02::2", "80", 0, AF_UNSPEC, SOCK_STREAM, 0},
    {"fd02::2", "80", 0, AF_INET, SOCK_STREAM, 0},
    {"fe80::1%lo", "80", 0, AF_INET6, SOCK_STREAM, 0},
    {"fe80::1%1", "80", 0, AF_INET6, SOCK_STREAM, 0},
    {"fe80::1%nosuch", "80", 0, AF_INET6, SOCK_STREAM, 0},
    {"fd02::2%lo", "80", 0, AF_INET6, SOCK_STREAM, 0},
    {"10.2.0.2%lo", "80", 0, AF_INET, SOCK_STREAM, 0},
    {"a..b.test", "80", 0, AF_INET, SOCK_STREAM, 0},
    {".", "80", 0, AF_INET, SOCK_STREAM, 0},
    {"10.2.0.256", "80", AI_NUMERICHOST, AF_INET, SOCK_STREAM, 0},
    {"10.2.0.2", "80", AI_V4MAPPED | AI_ALL, AF_INET6, SOCK_STREAM, 0},
    {"10.2.0.2", "80", AI_ADDRCONFIG | AI_PASSIVE, AF_INET, SOCK_STREAM, 0},
    {"::ffff:10.2.0.2", "80", 0, AF_INET6, SOCK_STREAM, 0},
};

static int by_getaddrinfo(const char *name4, const char *name6)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool named = rows[i].node && strcmp(rows[i].node, NAME) == 0;
        const char *node = rows[i].family == AF_INET6 ? name6 : name4;

        print_row(&rows[i], named ? node : rows[i].node, named);
    }
    return 0;
}

static int by_r(char **argv)
{
    struct question q = {.call = argv[1], .text = argv[2], .family = AF_INET};
    struct sockaddr_storage from;

    if (strcmp(argv[1], "gethostbyaddr_r") == 0) {
        q.length = read_address(argv[2], &from) == sizeof(struct sockaddr_in) ? 4 : 16;
        q.family = from.ss_family;
        inet_pton(q.family, argv[2], q.address);
    } else if (argv[3]) {
        q.family = argv[3][0] == '6' ? AF_INET6 : AF_INET;
    }
    return reentrant(&q);
}

static int by_gethostbyaddr(const char *text)
{
    unsigned char address[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;

    inet_pton(family, text, address);
    return print_classic(gethostbyaddr(address, family == AF_INET6 ? 16 : 4, family));
}

int main(int argc, char **argv)
{
    const char *call = argc > 2 ? argv[1] : "";

    if (strcmp(call, "gethostbyname") == 0)
        return print_classic(gethostbyname(argv[2]));
    if (strcmp(call, "gethostbyname2") == 0 && argc == 4)
        return print_classic(gethostbyname2(argv[2], argv[3][0] == '6' ? AF_INET6 : AF_INET));
    if (strcmp(call, "gethostbyaddr") == 0)
        return by_gethostbyaddr(argv[2]);
    if (strcmp(call, "getnameinfo") == 0)
        return by_getnameinfo(argc - 2, argv + 2);
    if (strcmp(call, "getaddrinfo") == 0 && argc == 4)
        return by_getaddrinfo(argv[2], argv[3]);
    if (*call && strcmp(call + strlen(call) - 2, "_r") == 0)
        return by_r(argv);
    fprintf(stderr, "usage: see the head of names_probe.c\n");
    return 2;
}
