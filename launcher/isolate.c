#include "launcher/isolate.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "launcher/say.h"

#define USER "viaduct"

enum { PASSWORD_BYTES = 16 };

static bool is_open(const struct vd_hop *hop)
{
    return (hop->scheme == VD_SOCKS5 || hop->scheme == VD_SOCKS5H) && !hop->has_login;
}

bool isolate_finds(const struct vd_hop *hops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_open(&hops[i]))
            return true;
    return false;
}

static void give_login(struct vd_hop *hop)
{
    static const char hex[] = "0123456789abcdef";
    uint8_t bytes[PASSWORD_BYTES];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        say_die(EXIT_OWN, "--isolate: no random bytes: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++) {
        hop->password[2 * i] = hex[bytes[i] >> 4];
        hop->password[2 * i + 1] = hex[bytes[i] & 15];
    }
    hop->password_len = 2 * sizeof bytes;
    memcpy(hop->user, USER, sizeof USER);
    hop->user_len = sizeof USER - 1;
    hop->has_login = 1;
}

void isolate_hops(struct vd_hop *hops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_open(&hops[i]))
            give_login(&hops[i]);
}
