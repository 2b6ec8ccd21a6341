/* write_seeds DIR: the transcripts of tests/unit as inputs of fuzz_shake and fuzz_accept, one file
 * each in DIR/fuzz_shake and DIR/fuzz_accept, which exist. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
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
    return 0;
}
