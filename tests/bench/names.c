/*
 * names [COUNT]: nanoseconds to find the placeholder of a name, and the name of a placeholder,
 * among COUNT names (10,000) that stand in a session's table, in no order that a cache could
 * foresee.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/names.h"
#include "client/session.h"
#include "proto/err.h"

enum { ROUNDS = 15, NAME_ROOM = 40 };

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void open_session(void)
{
    static const uint8_t range4[4] = {198, 18}, range6[16] = {0xfd, 0x76};
    static struct plan head = {.chain_count = 1, .placeholder4_bits = 15};
    static struct plan_chain chain = {.title = "default", .count = 1};
    static struct vd_hop hop = {.scheme = VD_SOCKS5H};
    static struct vd_pattern none;
    static struct plan_rule no_rule;
    const char *why;

    head.hop_count = 1;
    head.placeholder4 = vd_ip4(range4);
    head.placeholder6 = vd_ip6(range6, 0);
    if (session_adopt(plan_make(&head, &hop, &chain, &no_rule, &none), &why) != SESSION_READY) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct crowd {
    size_t count;
    char (*names)[NAME_ROOM];
    struct vd_ip *ips;
    size_t *order;
};

static void make_crowd(struct crowd *c, size_t count)
{
    c->count = count;
    c->names = calloc(count, sizeof *c->names);
    c->ips = calloc(count, sizeof *c->ips);
    c->order = calloc(count, sizeof *c->order);
    for (size_t i = 0; i < count; i++) {
        snprintf(c->names[i], NAME_ROOM, "host-%zu.some-domain.example", i * 7919);
        c->order[i] = i;
        if (names_placeholder(c->names[i], strlen(c->names[i]), VD_IPV4, &c->ips[i]) < 0)
            exit(1);
    }
    srand(1);
    for (size_t i = count - 1; i > 0; i--) {
        size_t other = (size_t)rand() % (i + 1), kept = c->order[i];

        c->order[i] = c->order[other];
        c->order[other] = kept;
    }
}

static void find_names(const struct crowd *c)
{
    struct vd_ip ip;

    for (size_t i = 0; i < c->count; i++) {
        const char *name = c->names[c->order[i]];

        if (names_placeholder(name, strlen(name), VD_IPV4, &ip) < 0 ||
            !vd_ip_same(&ip, &c->ips[c->order[i]]))
            exit(1);
    }
}

static void find_addresses(const struct crowd *c)
{
    struct vd_endpoint e = {.port = 0};

    for (size_t i = 0; i < c->count; i++)
        if (!names_find(&c->ips[c->order[i]], &e) || strcmp(e.name, c->names[c->order[i]]) != 0)
            exit(1);
}

static double median_ns(const struct crowd *c, void (*find)(const struct crowd *))
{
    double took[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        double began = now_ns();

        find(c);
        took[i] = (now_ns() - began) / (double)c->count;
    }
    qsort(took, ROUNDS, sizeof *took, by_size);
    return took[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    struct crowd crowd;
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;

    open_session();
    make_crowd(&crowd, count);
    printf("one of %zu names, medians of %d rounds: by name %.0f ns, by placeholder %.0f ns\n",
           count, ROUNDS, median_ns(&crowd, find_names), median_ns(&crowd, find_addresses));
    return 0;
}
