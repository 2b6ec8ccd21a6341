/* proto/mode: which hops are taken, in which order, and who is to blame. */
#include "proto/mode.h"

#include <string.h>

#include "proto/err.h"
#include "tests/unit/tap.h"

/* `chosen`: places, as digits. `numbers` are dice, or the turn. */
static const struct {
    const char *name;
    struct vd_mode_question q;
    uint32_t numbers[4];
    const char *chosen;
    bool others;
} rows[] = {
    {"strict", {VD_MODE_STRICT, 0, 3, 0}, {0}, "012", true},
    {"strict takes the dead ones too", {VD_MODE_STRICT, 0, 3, 2}, {0}, "012", false},
    {"strict of one", {VD_MODE_STRICT, 0, 1, 0}, {0}, "0", true},
    {"dynamic", {VD_MODE_DYNAMIC, 0, 3, 0}, {0}, "012", true},
    {"dynamic leaves the first out", {VD_MODE_DYNAMIC, 0, 3, 1}, {0}, "12", true},
    {"dynamic leaves two out", {VD_MODE_DYNAMIC, 0, 3, 5}, {0}, "1", true},
    {"dynamic with all dead takes all", {VD_MODE_DYNAMIC, 0, 3, 7}, {0}, "012", false},
    {"failover", {VD_MODE_FAILOVER, 0, 3, 0}, {0}, "0", true},
    {"failover to the next", {VD_MODE_FAILOVER, 1, 3, 1}, {0}, "1", true},
    {"failover to the last", {VD_MODE_FAILOVER, 1, 3, 3}, {0}, "2", true},
    {"failover with all dead", {VD_MODE_FAILOVER, 1, 3, 7}, {0}, "0", false},
    {"failover of two", {VD_MODE_FAILOVER, 2, 3, 0}, {0}, "01", true},
    {"failover of two, one dead", {VD_MODE_FAILOVER, 2, 3, 1}, {0}, "12", true},
    {"failover of two with one alive", {VD_MODE_FAILOVER, 2, 3, 3}, {0}, "20", false},
    {"failover of all", {VD_MODE_FAILOVER, 3, 3, 2}, {0}, "021", false},
    {"round_robin, first turn", {VD_MODE_ROUND_ROBIN, 1, 3, 0}, {0}, "0", true},
    {"round_robin, second turn", {VD_MODE_ROUND_ROBIN, 1, 3, 0}, {1}, "1", true},
    {"round_robin, fourth turn", {VD_MODE_ROUND_ROBIN, 1, 3, 0}, {3}, "0", true},
    {"round_robin without the dead", {VD_MODE_ROUND_ROBIN, 1, 3, 2}, {1}, "2", true},
    {"round_robin of two", {VD_MODE_ROUND_ROBIN, 2, 3, 0}, {1}, "20", true},
    {"round_robin of two, late", {VD_MODE_ROUND_ROBIN, 2, 3, 0}, {UINT32_MAX}, "01", true},
    {"round_robin with too few alive", {VD_MODE_ROUND_ROBIN, 2, 3, 3}, {0}, "20", false},
    {"random", {VD_MODE_RANDOM, 1, 3, 0}, {2}, "2", true},
    {"random by large dice", {VD_MODE_RANDOM, 1, 3, 0}, {UINT32_MAX}, "0", true},
    {"random without the dead", {VD_MODE_RANDOM, 1, 3, 2}, {1}, "2", true},
    {"random of two", {VD_MODE_RANDOM, 2, 3, 0}, {2, 0}, "21", true},
    {"random of two, no repeat", {VD_MODE_RANDOM, 2, 3, 0}, {1, 1}, "12", true},
    {"random with too few alive", {VD_MODE_RANDOM, 2, 3, 6}, {1, 0}, "10", false},
};

static const char *text_of(const struct vd_mode_choice *c)
{
    static char text[VD_HOPS_MAX + 1];

    for (unsigned i = 0; i < c->count; i++)
        text[i] = (char)('0' + c->place[i]);
    text[c->count] = '\0';
    return text;
}

static void play_rows(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t numbers[VD_HOPS_MAX] = {0};
        struct vd_mode_choice c;
        const char *got;

        memcpy(numbers, rows[i].numbers, sizeof rows[i].numbers);
        c = vd_mode_choose(&rows[i].q, vd_mode_wants_numbers(rows[i].q.mode) ? numbers : NULL);
        got = text_of(&c);
        tap_begin();
        if (strcmp(got, rows[i].chosen))
            tap_wrong("chosen: %s instead of %s", got, rows[i].chosen);
        if (vd_mode_has_others(&rows[i].q) != rows[i].others)
            tap_wrong("others: %d", !rows[i].others);
        tap_end(rows[i].name);
    }
}

/* Whatever is dead and whatever the numbers: no place twice, no dead hop while enough are alive. */
static bool is_sound(const struct vd_mode_question *q, const struct vd_mode_choice *c)
{
    unsigned seen = 0, alive = 0, dead = 0;

    for (unsigned i = 0; i < q->count; i++)
        alive += !(q->dead >> i & 1);
    for (unsigned i = 0; i < c->count; i++) {
        if (c->place[i] >= q->count || seen >> c->place[i] & 1)
            return false;
        seen |= 1u << c->place[i];
        dead += q->dead >> c->place[i] & 1;
    }
    if (q->mode == VD_MODE_STRICT)
        return c->count == q->count;
    if (q->mode == VD_MODE_DYNAMIC)
        return dead == 0 ? c->count == alive : alive == 0 && c->count == q->count;
    return c->count == q->pick && (dead == 0 || alive < q->pick);
}

static void play_all(void)
{
    unsigned wrong = 0, played = 0;

    for (unsigned mode = VD_MODE_STRICT; mode <= VD_MODE_FAILOVER; mode++)
        for (unsigned count = 1; count <= 5; count++)
            for (unsigned pick = 1; pick <= count; pick++)
                for (unsigned dead = 0; dead < 1u << count; dead++)
                    for (uint32_t n = 0; n < 7; n++) {
                        struct vd_mode_question q = {(enum vd_mode)mode, (uint8_t)pick,
                                                     (uint8_t)count, (uint16_t)dead};
                        uint32_t numbers[VD_HOPS_MAX] = {n, 5 * n, 3 * n, n + 1, 2 * n};
                        struct vd_mode_choice c = vd_mode_choose(&q, numbers);

                        played++;
                        wrong += !is_sound(&q, &c);
                    }
    tap_ok(wrong == 0 && played > 5000, "all of up to five hops: %u of %u wrong", wrong, played);
}

/* --- blame ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned at; /* of two hops */
    enum vd_stage stage;
    int err;
    bool blamed, either, doubtful;
} blames[] = {
    {"not reached", 0, VD_STAGE_METHOD, VD_ERR_UNREACHABLE, true, false, false},
    {"the last one not reached", 1, VD_STAGE_METHOD, VD_ERR_UNREACHABLE, true, false, false},
    {"wrong login", 0, VD_STAGE_LOGIN, VD_ERR_LOGIN, true, false, false},
    {"no method", 1, VD_STAGE_METHOD, VD_ERR_METHOD, true, false, false},
    {"nonsense", 1, VD_STAGE_REPLY, VD_ERR_PROTOCOL, true, false, false},
    {"overflow", 1, VD_STAGE_REPLY, VD_ERR_TOO_LONG, true, false, false},
    {"no TLS", 0, VD_STAGE_REPLY, VD_ERR_TLS, true, false, false},
    {"somebody else's certificate", 1, VD_STAGE_REPLY, VD_ERR_CERTIFICATE, true, false, false},
    {"busy", 1, VD_STAGE_REPLY, VD_ERR_BUSY, true, false, false},
    {"closes before it was asked", 1, VD_STAGE_METHOD, VD_ERR_CLOSED, true, false, true},
    {"closes when asked for the next hop", 0, VD_STAGE_REPLY, VD_ERR_CLOSED, true, false, true},
    {"closes when asked for the target", 1, VD_STAGE_REPLY, VD_ERR_CLOSED, false, true, true},
    {"resets then", 1, VD_STAGE_REPLY, VD_ERR_RESET, false, true, true},
    {"is silent then", 1, VD_STAGE_REPLY, VD_ERR_SILENT, false, true, true},
    {"is silent before", 1, VD_STAGE_LOGIN, VD_ERR_SILENT, true, false, true},
    {"the target refuses", 1, VD_STAGE_REPLY, VD_ERR_REFUSED, false, false, false},
    {"a name that is unknown", 1, VD_STAGE_REPLY, VD_ERR_NAME, false, false, false},
    {"not allowed", 1, VD_STAGE_REPLY, VD_ERR_DENIED, false, false, false},
    {"a general failure", 1, VD_STAGE_REPLY, VD_ERR_FAILED, false, false, false},
    {"no such command", 1, VD_STAGE_REPLY, VD_ERR_COMMAND, false, false, false},
    {"the first closes before it was asked", 0, VD_STAGE_METHOD, VD_ERR_CLOSED, true, false, false},
    {"the first is silent", 0, VD_STAGE_LOGIN, VD_ERR_SILENT, true, false, false},
};

static void play_blames(void)
{
    for (size_t i = 0; i < sizeof blames / sizeof *blames; i++) {
        struct vd_chain c = {.path = {.count = 2}, .at = (uint8_t)blames[i].at};

        c.shake.stage = (uint8_t)blames[i].stage;
        tap_begin();
        if (vd_mode_blames_hop(&c, -blames[i].err) != blames[i].blamed)
            tap_wrong("blamed: %d", !blames[i].blamed);
        if (vd_mode_may_be_either(&c, -blames[i].err) != blames[i].either)
            tap_wrong("either: %d", !blames[i].either);
        if (vd_mode_is_doubtful(&c, -blames[i].err) != blames[i].doubtful)
            tap_wrong("doubtful: %d", !blames[i].doubtful);
        tap_end(blames[i].name);
    }
}

int main(void)
{
    play_rows();
    play_all();
    play_blames();
    return tap_done();
}
