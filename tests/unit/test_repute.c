/* proto/repute: which hops fly after what, and whose login is safe. */
#include "proto/repute.h"

#include <string.h>

#include "tests/unit/tap.h"

enum { CHAIN = 0x1234567 };

static struct vd_hop hops[4];
static struct vd_repute reputes[4];

static void forget(void)
{
    memset(hops, 0, sizeof hops);
    memset(reputes, 0, sizeof reputes);
    for (int i = 0; i < 4; i++)
        hops[i].scheme = VD_SOCKS5H;
}

/* By these hops, as digits. */
static struct vd_path path_of(const char *order, struct vd_repute *of[VD_HOPS_MAX])
{
    struct vd_path path = {.hops = hops};

    for (; *order; order++) {
        path.order[path.count] = (uint16_t)(*order - '0');
        of[path.count] = &reputes[*order - '0'];
        path.count++;
    }
    return path;
}

/* Positions that fly, as bits. */
static unsigned flights(const char *order, uint32_t chain)
{
    struct vd_repute *of[VD_HOPS_MAX];
    struct vd_path path = path_of(order, of);

    vd_repute_path(&path, of, chain);
    return path.flights;
}

static unsigned proven(const char *order)
{
    struct vd_repute *of[VD_HOPS_MAX];
    struct vd_path path = path_of(order, of);

    vd_repute_path(&path, of, CHAIN);
    return path.proven;
}

static void up(const char *order, uint32_t chain, unsigned flown)
{
    struct vd_repute *of[VD_HOPS_MAX];
    struct vd_path path = path_of(order, of);

    path.flights = (uint16_t)flown;
    vd_repute_up(&path, of, chain, flown != 0);
}

static unsigned unfit(const char *order, unsigned flown, unsigned position)
{
    struct vd_repute *of[VD_HOPS_MAX];
    struct vd_path path = path_of(order, of);

    vd_repute_path(&path, of, CHAIN);
    path.flights = (uint16_t)flown;
    return vd_repute_unfit(&path, of, position);
}

#define IS(got, want, ...)                                                                         \
    do {                                                                                           \
        unsigned is = (got);                                                                       \
        tap_begin();                                                                               \
        if (is != (want))                                                                          \
            tap_wrong("%#x instead of %#x", is, (unsigned)(want));                                 \
        tap_end(__VA_ARGS__);                                                                      \
    } while (0)

/* What each scheme does with each option, unknown, found to bear it, found not to, and up once. */
static const struct {
    const char *name;
    enum vd_scheme scheme;
    enum vd_pipeline pipeline;
    bool unknown, bears, not, up;
} rows[] = {
    {"socks5, auto", VD_SOCKS5, VD_PIPELINE_AUTO, false, true, false, false},
    {"socks5h, auto", VD_SOCKS5H, VD_PIPELINE_AUTO, false, true, false, false},
    {"socks5h, lead", VD_SOCKS5H, VD_PIPELINE_LEAD, true, true, false, true},
    {"socks5h, known", VD_SOCKS5H, VD_PIPELINE_KNOWN, true, true, false, true},
    {"socks5h, off", VD_SOCKS5H, VD_PIPELINE_OFF, false, false, false, false},
    {"socks4, auto", VD_SOCKS4, VD_PIPELINE_AUTO, true, true, false, true},
    {"socks4a, auto", VD_SOCKS4A, VD_PIPELINE_AUTO, true, true, false, true},
    {"socks4a, off", VD_SOCKS4A, VD_PIPELINE_OFF, false, false, false, false},
    {"http, auto", VD_HTTP, VD_PIPELINE_AUTO, false, false, false, true},
    {"http, lead", VD_HTTP, VD_PIPELINE_LEAD, true, true, false, true},
    {"http, off", VD_HTTP, VD_PIPELINE_OFF, false, false, false, false},
};

static void play_rows(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned got = 0,
                 want = rows[i].unknown | rows[i].bears << 1 | rows[i].not << 2 | rows[i].up << 3;

        forget();
        hops[0].scheme = (uint8_t)rows[i].scheme;
        hops[0].pipeline = (uint8_t)rows[i].pipeline;
        got |= flights("0", CHAIN);
        vd_repute_found(&reputes[0], true);
        got |= flights("0", CHAIN) << 1;
        vd_repute_found(&reputes[0], false);
        got |= flights("0", CHAIN) << 2;
        reputes[0].bears = VD_BEARS_UNKNOWN;
        up("0", CHAIN, 0);
        got |= flights("0", CHAIN) << 3;
        IS(got, want, rows[i].name);
    }
}

static void all_bear(void)
{
    forget();
    for (int i = 0; i < 4; i++)
        vd_repute_found(&reputes[i], true);
}

static void play_logins(void)
{
    all_bear();
    IS(flights("012", CHAIN), 7, "no logins: all fly");
    hops[1].has_login = 1;
    IS(flights("012", CHAIN), 4, "a login: nothing flies to that hop or from it");
    up("012", CHAIN, 0);
    IS(flights("012", CHAIN), 7, "after it was up by this way");
    IS(flights("12", CHAIN), 2, "but not where it comes first");
    IS(flights("312", CHAIN), 4, "nor behind another hop");
    IS(flights("012", CHAIN + 1), 4, "nor in another chain with the same records");
    IS(flights("012", 0), 4, "nor in none");
    up("12", CHAIN, 0);
    IS(flights("12", CHAIN), 3, "once it was first");
    IS(flights("012", CHAIN), 4, "then no more behind the other one");
    hops[1].pipeline = VD_PIPELINE_KNOWN;
    IS(flights("012", CHAIN), 7, "a probe that was let in has shown the way");
}

/* A way and a chain whose numbers cancel each other out. */
static void play_numbers(void)
{
    for (uint32_t chain = 0; chain < 8; chain++) {
        all_bear();
        hops[1].has_login = 1;
        IS(flights("01", chain), 0, "unknown ways are never taken for known ones");
        up("01", chain, 0);
        IS(flights("01", chain), 3, "and known ones are");
    }
}

static void play_proof(void)
{
    all_bear();
    up("012", CHAIN, 7);
    IS(proven("012"), 7, "who was told more than it had answered");
    IS(proven("210"), 7, "in any order");
    all_bear();
    up("01", CHAIN, 1);
    IS(proven("01"), 1, "the others have shown nothing");
    hops[1].scheme = VD_HTTP;
    all_bear();
    hops[1].scheme = VD_HTTP;
    up("01", CHAIN, 3);
    IS(proven("01"), 1, "nor has a last hop that is asked one thing only");
    all_bear();
    up("01", CHAIN, 0);
    IS(proven("01"), 0, "message by message nobody has");
}

static void play_unfit(void)
{
    all_bear();
    IS(unfit("012", 7, 1), 3, "all up to the awaited one are suspects");
    IS(flights("012", CHAIN), 4, "and fly no more");
    IS(unfit("012", 7, 1), 0, "which is news once");
    all_bear();
    up("0", CHAIN, 1);
    IS(unfit("012", 7, 2), 6, "who has proved the contrary is none");
    all_bear();
    up("012", CHAIN, 7);
    IS(unfit("012", 7, 2), 6, "all have: the awaited one and the one before it");
}

static void play_without(void)
{
    struct vd_repute *of[VD_HOPS_MAX];
    struct vd_path path;

    all_bear();
    path = path_of("012", of);
    of[1] = NULL;
    vd_repute_path(&path, of, CHAIN);
    IS(path.flights, 5, "a hop without a record goes message by message");
    path.flights = 7;
    IS(vd_repute_unfit(&path, of, 2), 5, "and nothing is written down of it");
    vd_repute_up(&path, of, CHAIN, true);
    IS(reputes[1].behind == 0 && reputes[2].behind != 0, 1, "of others it is");
}

int main(void)
{
    play_rows();
    play_logins();
    play_numbers();
    play_proof();
    play_unfit();
    play_without();
    return tap_done();
}
