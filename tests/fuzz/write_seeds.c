/* write_seeds DIR: the rows of tests/unit as inputs of fuzz_shake, fuzz_accept, fuzz_udp and
 * fuzz_dns, one file each in the folders of these names in DIR, which exist. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/datagrams.h"
#include "tests/unit/queries.h"
#include "tests/unit/talks.h"
#include "tests/unit/visits.h"

static void write_file(const char *dir, const char *target, const char *name, const uint8_t *head,
                       size_t head_len, const char *body, size_t body_len)
{
    char path[4096], *at;
    FILE *file;
    int start = snprintf(path, sizeof path, "%s/%s/", dir, target);

    snprintf(path + start, sizeof path - (size_t)start, "%s", name);
    for (at = path + start; *at; at++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", *at))
            *at = '-';
    file = fopen(path, "wb");
    if (!file || fwrite(head, 1, head_len, file) != head_len ||
        fwrite(body, 1, body_len, file) != body_len || fclose(file)) {
        perror(path);
        exit(1);
    }
}

static void write_talk(const char *dir, const struct talk *t)
{
    uint8_t head[SHAKE_HEAD] = {[SHAKE_CHUNK] = 3, [SHAKE_LOSS] = (uint8_t)t->loss};
    struct vd_url_error why;
    struct vd_hop hop;

    if (vd_url_read(&hop, t->url, strlen(t->url), &why) < 0)
        exit(1);
    head[SHAKE_KINDS] = (uint8_t)(hop.scheme - VD_SOCKS4);
    head[SHAKE_LOGINS] = hop.has_login;
    head[SHAKE_TARGET] = (uint8_t)(64 * (t->command - VD_CONNECT));
    head[SHAKE_TARGET] |= t->target[0] == 'e' ? 1 : t->target[0] == '[' ? 2 : 0;
    write_file(dir, "fuzz_shake", t->name, head, sizeof head, t->heard, t->heard_len);
}

static void write_visit(const char *dir, const struct visit *v)
{
    uint8_t head[ACCEPT_HEAD] = {[ACCEPT_OFFERS] = (uint8_t)v->offers, [ACCEPT_CHUNK] = 3};

    head[ACCEPT_DECISIONS] = (uint8_t)((v->login ? 1 : 0) | -v->err * 2);
    write_file(dir, "fuzz_accept", v->name, head, sizeof head, v->heard, v->heard_len);
}

static void write_datagram(const char *dir, const struct datagram *d)
{
    uint8_t head[UDP_HEAD] = {[UDP_STRANGER] = UDP_RELAYS_MAX};

    for (const char *at = d->relays; *at; at += strcspn(at, " "), at += *at == ' ')
        head[UDP_RELAYS]++;
    if (d->result == -VD_ERR_DENIED)
        head[UDP_STRANGER] = (uint8_t)(head[UDP_RELAYS] - 1);
    write_file(dir, "fuzz_udp", d->name, head, sizeof head, d->data, d->len);
}

static void write_query(const char *dir, const struct query *q)
{
    uint8_t head[DNS_HEAD] = {[DNS_RECORDS] = 3, [DNS_ROOM] = 255};

    write_file(dir, "fuzz_dns", q->name, head, sizeof head, q->data, q->len);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: write_seeds DIR\n", stderr);
        return 1;
    }
    for (size_t i = 0; i < talk_count; i++)
        write_talk(argv[1], &talks[i]);
    for (size_t i = 0; i < visit_count; i++)
        write_visit(argv[1], &visits[i]);
    for (size_t i = 0; i < datagram_count; i++)
        write_datagram(argv[1], &datagrams[i]);
    for (size_t i = 0; i < query_count; i++)
        write_query(argv[1], &queries[i]);
    return 0;
}
