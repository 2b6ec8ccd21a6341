#include "client/nameservers.h"

#include <errno.h>
#include <string.h>

#include "client/lines.h"

#define RESOLVER_FILE "/etc/resolv.conf"
#define BLANKS        " \t\r"

/* "nameserver ADDRESS": a scope or, as c-ares takes it, brackets and a port may be there, too. */
static bool read_line(struct vd_ip *ip, char *line)
{
    static const char word[] = "nameserver";
    char *text;

    if (strncmp(line, word, sizeof word - 1) || line[sizeof word - 1] == 0 ||
        !strchr(BLANKS, line[sizeof word - 1]))
        return false;
    text = line + sizeof word - 1;
    text += strspn(text, BLANKS "[");
    return vd_ip_read(ip, text, strcspn(text, BLANKS "%];")) ||
           vd_ip_read(ip, text, strcspn(text, BLANKS ":;"));
}

static int place_of(const struct vd_ip *wanted)
{
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    struct vd_ip ip, otherwise = vd_ip4(loopback);
    bool found = false;
    int count = 0;
    struct lines l;
    char *line;

    if (lines_open(&l, RESOLVER_FILE)) {
        while (!found && (line = lines_next(&l)))
            if (read_line(&ip, line)) {
                count++;
                ip = vd_ip_unmapped(&ip);
                found = vd_ip_same(&ip, wanted);
            }
        lines_close(&l);
    }
    if (count == 0)
        return vd_ip_same(&otherwise, wanted) ? 0 : -1;
    return found ? count - 1 : -1;
}

int nameservers_index(const struct vd_endpoint *e)
{
    struct vd_ip ip = vd_ip_unmapped(&e->ip);
    int saved = errno, place;

    if (e->port != NAMESERVERS_PORT || vd_endpoint_is_name(e))
        return -1;
    ip.scope = 0;
    place = place_of(&ip);
    errno = saved;
    return place;
}

bool nameservers_has(const struct vd_endpoint *e)
{
    return nameservers_index(e) >= 0;
}
