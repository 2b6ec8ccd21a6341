#include <string.h>

#include "proto/describe_part.h"
#include "proto/socks5_address.h"

struct word {
    uint8_t value;
    const char *text;
};

static const struct word commands[] = {
    {1, "CONNECT"},          {2, "BIND"},
    {3, "UDP ASSOCIATE"},    {9, "no such command: it asks how the server answers"},
    {0xf0, "RESOLVE (Tor)"}, {0xf1, "RESOLVE_PTR (Tor)"},
};
static const struct word method_names[] = {
    {0, "NO AUTHENTICATION REQUIRED"},
    {1, "GSSAPI"},
    {2, "USERNAME/PASSWORD"},
    {0xff, "NO ACCEPTABLE METHODS"},
};
static const struct word address_types[] = {
    {VD_ATYP_IPV4, "IP V4 address"},
    {VD_ATYP_NAME, "DOMAINNAME"},
    {VD_ATYP_IPV6, "IP V6 address"},
};
static const struct word replies[] = {
    {0, "succeeded"},
    {1, "general SOCKS server failure"},
    {2, "connection not allowed by ruleset"},
    {3, "Network unreachable"},
    {4, "Host unreachable"},
    {5, "Connection refused"},
    {6, "TTL expired"},
    {7, "Command not supported"},
    {8, "Address type not supported"},
};
static const struct word socks4_codes[] = {
    {90, "request granted"},
    {91, "request rejected or failed"},
    {92, "request rejected: the server cannot connect to identd on the client"},
    {93, "request rejected: client and identd report different users"},
};

static void tell_word(struct vd_out *out, const struct word *words, size_t count, uint8_t value)
{
    for (size_t i = 0; i < count; i++)
        if (words[i].value == value) {
            vd_out_text(out, words[i].text);
            return;
        }
    vd_out_uint(out, value);
    vd_out_text(out, ": unassigned");
}

#define TELL_WORD(out, words, value) tell_word(out, words, sizeof(words) / sizeof *(words), value)

void vd_mean_version(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    vd_out_text(out, "SOCKS version ");
    vd_out_uint(out, data[0]);
}

/* Some servers answer with the version of SOCKS instead. */
void vd_mean_login_version(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    vd_out_text(out, data[0] == 1 ? "version 1 of the subnegotiation"
                                  : "the version of SOCKS, where 1 belongs");
}

void vd_mean_command(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    TELL_WORD(out, commands, data[0]);
}

void vd_mean_count(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    vd_out_uint(out, data[0]);
}

void vd_mean_methods(struct vd_out *out, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        vd_out_text(out, i ? ", " : "");
        TELL_WORD(out, method_names, data[i]);
    }
}

void vd_mean_status(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    vd_out_text(out, data[0] == 0 ? "success" : "failure: the login is refused");
}

void vd_mean_reserved(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    vd_out_text(out, data[0] == 0 ? "reserved" : "reserved: 0 belongs here");
}

void vd_mean_address_type(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    TELL_WORD(out, address_types, data[0]);
}

static void tell_text(struct vd_out *out, const uint8_t *text, size_t len)
{
    vd_out_text(out, "\"");
    vd_out_shown(out, text, len);
    vd_out_text(out, "\"");
}

void vd_mean_address(struct vd_out *out, const uint8_t *data, size_t len)
{
    struct vd_ip ip;

    if (data[-1] == VD_ATYP_NAME) {
        vd_out_text(out, "a name of ");
        vd_out_uint(out, data[0]);
        vd_out_text(out, " octets, ");
        tell_text(out, data + 1, len - 1);
        return;
    }
    ip = data[-1] == VD_ATYP_IPV4 ? vd_ip4(data) : vd_ip6(data, 0);
    vd_ip_print(out, &ip);
}

static bool announces_name(const uint8_t ip[4])
{
    return !ip[0] && !ip[1] && !ip[2] && ip[3];
}

void vd_mean_ip4(struct vd_out *out, const uint8_t *data, size_t len)
{
    struct vd_ip ip = vd_ip4(data);

    (void)len;
    vd_ip_print(out, &ip);
}

void vd_mean_ip4a(struct vd_out *out, const uint8_t *data, size_t len)
{
    vd_mean_ip4(out, data, len);
    if (announces_name(data))
        vd_out_text(out, ": a name follows (SOCKS4a)");
}

void vd_mean_port(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    vd_out_uint(out, (uint64_t)(data[0] << 8 | data[1]));
}

/* Its NUL, if it ends with one, is not shown. */
void vd_mean_text(struct vd_out *out, const uint8_t *data, size_t len)
{
    tell_text(out, data, data[len - 1] == 0 ? len - 1 : len);
}

void vd_mean_reply(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    TELL_WORD(out, replies, data[0]);
}

void vd_mean_socks4_code(struct vd_out *out, const uint8_t *data, size_t len)
{
    (void)len;
    TELL_WORD(out, socks4_codes, data[0]);
}
