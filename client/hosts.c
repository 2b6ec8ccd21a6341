#include "client/hosts.h"

#include <string.h>
#include <unistd.h>

#include "client/lines.h"

#define HOSTS_FILE "/etc/hosts"
#define BLANKS     " \t\r\n"

/* Called for each name of each line; true ends the reading. */
typedef bool visit(void *seen, const struct vd_ip *ip, const char *name);

static bool visit_line(char *line, visit *each, void *seen)
{
    char *rest = NULL, *word;
    struct vd_ip ip;

    word = strtok_r(line, BLANKS, &rest);
    if (!word || !vd_ip_read(&ip, word, strlen(word)))
        return false;
    while ((word = strtok_r(NULL, BLANKS, &rest)))
        if (each(seen, &ip, word))
            return true;
    return false;
}

static void visit_file(visit *each, void *seen)
{
    struct lines l;
    char *line;

    if (!lines_open(&l, HOSTS_FILE))
        return;
    while ((line = lines_next(&l)) && !visit_line(line, each, seen))
        ;
    lines_close(&l);
}

static size_t undotted_len(const char *name)
{
    size_t len = strlen(name);

    return len > 1 && name[len - 1] == '.' ? len - 1 : len;
}

static bool same_name(const char *a, const char *b)
{
    size_t len = undotted_len(a);

    return len == undotted_len(b) && vd_same_text(a, b, len);
}

struct by_name {
    const char *name;
    struct vd_ip *ips;
    size_t count, max;
};

static bool take_ip(void *seen, const struct vd_ip *ip, const char *name)
{
    struct by_name *s = seen;

    if (s->count < s->max && same_name(name, s->name))
        s->ips[s->count++] = *ip;
    return s->count == s->max;
}

static bool is_this_machine(const char *name)
{
    static const char localhost[] = ".localhost";
    size_t len = undotted_len(name), tail = sizeof localhost - 1;
    char own[VD_NAME_MAX + 1] = "";

    if (same_name(name, localhost + 1) ||
        (len > tail && vd_same_text(name + len - tail, localhost, tail)))
        return true;
    return gethostname(own, sizeof own - 1) == 0 && own[0] && same_name(name, own);
}

size_t hosts_find(const char *name, struct vd_ip *ips, size_t max)
{
    static const uint8_t loopback4[4] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};
    struct by_name s = {.name = name, .ips = ips, .max = max};

    visit_file(take_ip, &s);
    if (s.count == 0 && max >= 2 && is_this_machine(name)) {
        ips[s.count++] = vd_ip6(loopback6, 0);
        ips[s.count++] = vd_ip4(loopback4);
    }
    return s.count;
}

struct by_ip {
    struct vd_ip ip;
    char *name;
    bool found;
};

static bool take_name(void *seen, const struct vd_ip *ip, const char *name)
{
    struct by_ip *s = seen;

    if (!vd_ip_same(ip, &s->ip) || strlen(name) > VD_NAME_MAX)
        return false;
    memcpy(s->name, name, strlen(name) + 1);
    return s->found = true;
}

bool hosts_name(const struct vd_ip *ip, char name[VD_NAME_MAX + 1])
{
    struct by_ip s = {.ip = vd_ip_unmapped(ip), .name = name};

    visit_file(take_name, &s);
    return s.found;
}
