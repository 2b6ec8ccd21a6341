/*
 * check_state: what the files of --check share; private to launcher/check*.c.
 */
#ifndef LAUNCHER_CHECK_STATE_H
#define LAUNCHER_CHECK_STATE_H

#include "launcher/check.h"
#include "launcher/talk.h"

enum check_kind {
    CHECK_RESOLVE, /* the name of a hop, or of the target where no hop takes names */
    CHECK_DIAL,
    CHECK_TLS,
    CHECK_METHOD,
    CHECK_LOGIN,
    CHECK_REQUEST
};

struct check_step {
    uint8_t hop; /* position */
    uint8_t kind;
    bool failed;
    uint16_t code;
    int64_t from_ns, to_ns; /* since the check began */
};

/* What a hop is able to do. */
enum check_ability {
    CHECK_NAMES,
    CHECK_IPV4,
    CHECK_IPV6,
    CHECK_UDP,
    CHECK_BIND,
    CHECK_FLIGHT,
    CHECK_FAST_OPEN,
    CHECK_SHOWN,                /* the last two are shown with the names */
    CHECK_NAMES4 = CHECK_SHOWN, /* names that lead to IPv4 addresses */
    CHECK_NAMES6,
    CHECK_ABILITIES
};
enum check_answer { CHECK_UNTRIED, CHECK_YES, CHECK_NO, CHECK_UNCLEAR };

enum { CHECK_STEPS = 4 * VD_HOPS_MAX + 2, CHECK_TEXT = 2048, CHECK_WARNINGS = VD_HOPS_MAX + 4 };

/* One way: the hops in order, or one of several that stand in for each other. */
struct check {
    const char *title; /* of the chain */
    struct vd_hop hops[VD_HOPS_MAX];
    unsigned first; /* number of the first hop in the chain, from 0 */
    unsigned count;
    unsigned of;     /* hops in the chain */
    bool has_target; /* else what is asked for at the end is nothing */
    struct vd_endpoint target;
    int64_t start_ns, end_ns;
    bool shows_progress;

    struct talk talk; /* of the connection that went the whole way */
    struct check_step steps[CHECK_STEPS];
    unsigned step_count;
    uint8_t answers[VD_HOPS_MAX][CHECK_ABILITIES]; /* enum check_answer */
    bool ok;
    unsigned failed;          /* position of the hop that fails */
    char message[CHECK_TEXT]; /* what failed; and what to do about it */
    char advice[CHECK_TEXT];
    char warnings[CHECK_WARNINGS][512];
    unsigned warning_count;
    int64_t over_ns;
};

const char *check_ability_name(enum check_ability ability);
/* "login"; "to hop 2", "to example.com:443". */
void check_step_label(const struct check *c, const struct check_step *step, char *label,
                      size_t cap);

/* --- launcher/check_try.c: what hops are able to do ------------------------------------------- */

/* The way stands: fills in `answers`. */
void check_try_abilities(struct check *c);
/* The scheme that the hop at a position speaks, if not its own: tried without its login; 0. */
enum vd_scheme check_other_scheme(struct check *c, unsigned at);
struct vd_path check_path(const struct check *c, unsigned count);
/* What is asked for where there is no target. */
void check_set_idle(const struct check *c, unsigned at, struct talk *t);
/* The last hop, of SOCKS5, took the greeting and the login, and closed instead of a reply. */
bool check_closed_on_request(const struct talk *t);

/* --- launcher/check_advice.c ----------------------------------------------------------------- */

/* Whether an answer to CONNECT, or instead of one, looks like a captive portal's or a web page. */
bool check_is_portal(const struct talk *t);
/* No proxy answers a CONNECT like that. */
bool check_is_web_server(const struct talk *t);
/* Fills in `message` and `advice` for talk's result `r`. */
void check_advise(struct check *c, int r);
/* Adds what is worth knowing though it does not fail. */
void check_warn(struct check *c);

/* --- launcher/check_print.c, launcher/check_json.c -------------------------------------------- */

/* On a terminal: what is being done, on a line of its own that is written over; "" clears it. */
void check_progress(const struct check *c, const char *what);
void check_print(const struct check *c);
void check_print_json(const struct check *ways, unsigned count);

#endif
