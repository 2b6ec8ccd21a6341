/*
 * A hosts file of any form: reading it ends, gives no more addresses than there is room for, and
 * what it gives for an address is a name that the file gives that address to.
 */
#include <string.h>

#include "client/lines.h"
#include "client/sys.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/paper.h"

#define lines_open(lines, path) lines_open(lines, paper_path())
#include "client/hosts.c" /* NOLINT(bugprone-suspicious-include): with another file to read */
#undef lines_open

struct sys sys = {.read = read, .close = close}; /* all that lines.c calls */

static void check_name(const char *name)
{
    struct vd_ip ips[HOSTS_IPS_MAX + 1];
    size_t count;

    ips[HOSTS_IPS_MAX].family = VD_IPV6;
    ips[HOSTS_IPS_MAX].scope = 77;
    count = hosts_find(name, ips, HOSTS_IPS_MAX);
    PROPERTY(count <= HOSTS_IPS_MAX && ips[HOSTS_IPS_MAX].scope == 77);
    for (size_t i = 0; i < count; i++) {
        char back[VD_NAME_MAX + 1];

        if (hosts_name(&ips[i], back))
            PROPERTY(strlen(back) <= VD_NAME_MAX && !strpbrk(back, BLANKS));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[VD_NAME_MAX + 1];
    size_t len = size < 16 ? size : 16;

    if (size > 1 << 16)
        return 0;
    paper_write(data, size);
    memcpy(name, data, len);
    name[len] = 0;
    check_name(name);
    check_name("a");
    check_name("a.localhost.");
    return 0;
}
