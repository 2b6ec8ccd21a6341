#include <stdio.h>
#include <string.h>

#include "launcher/check_state.h"

/* What is no printable ASCII becomes \u00NN. */
static void put_string(const char *text)
{
    fputc('"', stdout);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c < 0x20 || c > 0x7e)
            printf("\\u%04x", c);
        else
            printf("%s%c", c == '"' || c == '\\' ? "\\" : "", c);
    }
    fputc('"', stdout);
}

static void put_member(const char *name, const char *text)
{
    printf(",\"%s\":", name);
    put_string(text);
}

static void put_step(const struct check_step *step)
{
    static const char *const kinds[] = {"name", "connect", "tls", "method", "login", "request"};

    printf("{\"step\":\"%s\",\"ok\":%s,\"from_ms\":%.3f,\"ms\":%.3f", kinds[step->kind],
           step->failed ? "false" : "true", (double)step->from_ns / 1e6,
           (double)(step->to_ns - step->from_ns) / 1e6);
    if (step->kind == CHECK_TLS && !step->failed)
        put_member("version", step->code == 13 ? "TLSv1.3" : "TLSv1.2");
    else if (step->code)
        printf(",\"code\":%u", step->code);
    fputs("}", stdout);
}

static void put_steps(const struct check *c, unsigned at)
{
    bool any = false;

    fputs(",\"steps\":[", stdout);
    for (unsigned i = 0; i < c->step_count; i++)
        if (c->steps[i].hop == at) {
            fputs(any ? "," : "", stdout);
            put_step(&c->steps[i]);
            any = true;
        }
    fputs("]", stdout);
}

static void put_answers(const uint8_t answers[CHECK_ABILITIES])
{
    static const char *const keys[] = {
        [CHECK_NAMES] = "names",         [CHECK_IPV4] = "ipv4",
        [CHECK_IPV6] = "ipv6",           [CHECK_UDP] = "udp",
        [CHECK_BIND] = "bind",           [CHECK_FLIGHT] = "one_flight",
        [CHECK_FAST_OPEN] = "fast_open", [CHECK_NAMES4] = "names_ipv4",
        [CHECK_NAMES6] = "names_ipv6",
    };
    static const char *const words[] = {NULL, "yes", "no", "unclear"};

    for (int i = 0; i < CHECK_ABILITIES; i++)
        if (words[answers[i]])
            put_member(keys[i], words[answers[i]]);
}

static void put_hop(const struct check *c, unsigned at)
{
    char text[VD_URL_TEXT], address[64];
    struct vd_out out = vd_out_over(text, sizeof text), ip = vd_out_over(address, sizeof address);
    const struct vd_hop *hop = &c->hops[at];
    unsigned which = at == 0 && c->talk.up ? c->talk.addr : 0;

    vd_url_print(&out, hop);
    printf("{\"hop\":%u", c->first + at + 1);
    put_member("url", vd_out_string(&out));
    if (which < hop->addr_count && hop->unix_len == 0) {
        vd_ip_print(&ip, &hop->addrs[which]);
        put_member("address", vd_out_string(&ip));
    }
    put_steps(c, at);
    put_answers(c->answers[at]);
    fputs("}", stdout);
}

static void put_way(const struct check *c)
{
    printf("{\"ok\":%s,\"ms\":%.3f,\"hops\":[", c->ok ? "true" : "false", (double)c->over_ns / 1e6);
    for (unsigned at = 0; at < c->count; at++) {
        fputs(at ? "," : "", stdout);
        put_hop(c, at);
    }
    fputs("],\"warnings\":[", stdout);
    for (unsigned i = 0; i < c->warning_count; i++) {
        fputs(i ? "," : "", stdout);
        put_string(c->warnings[i]);
    }
    fputs("]", stdout);
    if (!c->ok) {
        printf(",\"failed_hop\":%u", c->first + c->failed + 1);
        put_member("error", c->message);
        put_member("advice", c->advice);
    }
    fputs("}", stdout);
}

void check_print_json(const struct check *ways, unsigned count)
{
    char target[VD_ENDPOINT_TEXT];
    struct vd_out out = vd_out_over(target, sizeof target);
    bool ok = true;

    for (unsigned i = 0; i < count; i++)
        ok = ok && ways[i].ok;
    printf("{\"ok\":%s", ok ? "true" : "false");
    put_member("chain", ways[0].title);
    if (ways[0].has_target) {
        vd_endpoint_print(&out, &ways[0].target);
        put_member("target", vd_out_string(&out));
    }
    fputs(",\"ways\":[", stdout);
    for (unsigned i = 0; i < count; i++) {
        fputs(i ? "," : "", stdout);
        put_way(&ways[i]);
    }
    fputs("]}\n", stdout);
}
