/*
 * A server's side: in one piece and in pieces, answering at once or late, it ends alike, after the
 * same bytes, having asked for the same decisions and said the same.
 */
#include <string.h>

#include "proto/err.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/play.h"

static void play(struct play_end *end, const uint8_t *data, size_t size, size_t chunk, bool late)
{
    unsigned decisions = data[ACCEPT_DECISIONS];
    struct play_server how = {.chunk = chunk, .late = late, .login = decisions % 2};
    struct vd_accept a;

    how.err = -(int)(decisions / 2 % VD_ERR_COUNT);
    how.bound = decisions >= 128 ? "[2001:db8::1]:443" : NULL;
    vd_accept_start(&a, data[ACCEPT_OFFERS] & 7);
    play_server(end, &a, data + ACCEPT_HEAD, size - ACCEPT_HEAD, &how);
    PROPERTY(end->broken == NULL);
    PROPERTY(strlen(vd_accept_name(&a)) > 0);
    PROPERTY(end->result != VD_ACCEPT_REQUEST || a.command != VD_CONNECT || a.target.port > 0);
    PROPERTY(!memchr(a.target.name, 0, a.target.name_len));
}

static void compare(const struct play_end *a, const struct play_end *b)
{
    PROPERTY(a->result == b->result);
    PROPERTY(a->used == b->used);
    PROPERTY(strcmp(a->asked, b->asked) == 0);
    PROPERTY(a->said_len == b->said_len);
    PROPERTY(memcmp(a->said, b->said, a->said_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct play_end whole, split;

    if (size < ACCEPT_HEAD || size > PLAY_WHOLE)
        return 0;
    play(&whole, data, size, PLAY_WHOLE, false);
    play(&split, data, size, PLAY_WHOLE, true);
    compare(&whole, &split);
    play(&split, data, size, 1 + data[ACCEPT_CHUNK], true);
    compare(&whole, &split);
    play(&split, data, size, 1 + data[ACCEPT_CHUNK] % 7, false);
    compare(&whole, &split);
    return 0;
}
