#include "daemon/limit.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/session_state.h"
#include "proto/err.h"

enum { RETRY_S = 5 /* when it is not known when a place will be free */ };

/* Whose sessions count together in an entry. */
struct subject {
    uint8_t data[VD_LOGIN_MAX + 1];
    size_t len;
    char text[SHARED_TEXT];
};

/* What a refusal is about. */
struct verdict {
    int err;
    uint16_t retry_s;
    const char *what;
};

static const char *user_of(const struct session *s)
{
    return s->logged_in && s->setup ? s->setup->accept.user : "";
}

/* --- subjects --- */

/* An IPv6 client has a whole /64 to choose its address from. */
static void client_subject(struct subject *to, const struct session *s)
{
    struct vd_ip ip = net_addr_ip(&s->client);
    struct vd_endpoint at;
    struct vd_out out = vd_out_over(to->text, sizeof to->text);
    if (s->client.any.sa_family == AF_UNIX || !ip.family) {
        vd_out_text(&out, "unix");
        vd_out_string(&out);
        to->len = 0;
        return;
    }
    if (ip.family == VD_IPV6)
        memset(ip.bytes + 8, 0, 8);
    to->data[0] = (uint8_t)ip.family;
    to->len = ip.family == VD_IPV6 ? 9 : 5;
    memcpy(to->data + 1, ip.bytes, to->len - 1);
    vd_endpoint_set_ip(&at, &ip, 0);
    vd_endpoint_print_host(&out, &at);
    if (ip.family == VD_IPV6)
        vd_out_text(&out, "/64");
    vd_out_string(&out);
}

static void user_subject(struct subject *to, const struct session *s)
{
    struct vd_out out = vd_out_over(to->text, sizeof to->text);
    to->len = s->setup->accept.user_len;
    memcpy(to->data, s->setup->accept.user, to->len);
    vd_out_shown(&out, to->data, to->len);
    vd_out_string(&out);
}

static struct shared_entry *enter(struct session *s, enum shared_kind kind, const char *scope,
                                  const struct subject *of)
{
    struct limit_hold *hold = s->hold;
    struct shared_name name = {kind, scope, of->data, of->len, of->text};
    if (hold->count == LIMIT_ENTRIES)
        return NULL;
    struct shared_entry *e = shared_entry_enter(s->worker->shared, &name, session_loop(s)->now_ms);
    if (e)
        hold->entries[hold->count++] = e;
    return e;
}

/* --- one limit --- */

static struct shared_entry *enter_limit(struct session *s, const struct vd_conf_limit *limit)
{
    struct subject of = {.len = 0};
    if (limit->per == VD_PER_CLIENT)
        client_subject(&of, s);
    else if (limit->per == VD_PER_USER)
        user_subject(&of, s);
    else
        memcpy(of.text, "all", 4);
    return enter(s, SHARED_LIMIT, limit->who.title, &of);
}

static uint16_t seconds(int64_t us)
{
    int64_t s = (us + 999999) / 1000000;
    return (uint16_t)(s < UINT16_MAX ? s : UINT16_MAX);
}

static struct verdict judge_entry(struct session *s, const struct vd_conf_limit *limit,
                                  struct shared_entry *e)
{
    int err = limit->per == VD_PER_ALL ? VD_ERR_BUSY : VD_ERR_LIMIT;
    int64_t wait_us = 0;
    if (!e)
        return (struct verdict){VD_ERR_BUSY, RETRY_S, "table"};
    if (limit->sessions && shared_entry_sessions(s->worker->shared, e) > limit->sessions)
        return (struct verdict){err, RETRY_S, "sessions"};
    if (limit->fresh)
        wait_us = shared_take(&e->fresh_at_us, session_loop(s)->now_ms * 1000, limit->fresh,
                              (int64_t)limit->fresh_ms * 1000);
    return (struct verdict){wait_us ? err : VD_OK, seconds(wait_us), "new"};
}

static struct verdict judge(struct session *s, const struct vd_conf_limit *limit)
{
    struct verdict v = {.err = VD_OK};
    struct shared_entry *e = NULL;
    if (limit->per != VD_PER_SESSION) {
        e = enter_limit(s, limit);
        v = judge_entry(s, limit, e);
    }
    if (v.err && e)
        __atomic_add_fetch(&e->refused, 1, __ATOMIC_RELAXED);
    if (limit->rate && !v.err) {
        rate_add(&s->hold->rate, e ? &e->rate_at_ns : NULL, limit->rate);
        s->hold->has_rate = true;
    }
    return v;
}

static bool applies(const struct session *s, const struct vd_conf_limit *limit)
{
    struct access_query q = handshake_query(s);
    return access_is_about(&limit->who, &q) && (limit->per != VD_PER_USER || s->logged_in);
}

/* --- all of them --- */

/* For who looks at them; `scope`: "" or "limit". */
static void count_refusal(struct session *s, const char *scope, const char *title)
{
    struct worker *w = s->worker;
    struct shared_name name = {SHARED_RULE, scope, title, strlen(title), title};
    struct shared_entry *e =
        w->conf->admin ? shared_entry_enter(w->shared, &name, w->loop.now_ms) : NULL;
    if (!e)
        return;
    __atomic_add_fetch(&e->refused, 1, __ATOMIC_RELAXED);
    shared_entry_leave(w->shared, e, w->loop.now_ms);
}

static void log_refused(struct session *s, const char *title, const char *what)
{
    count_refusal(s, "limit", title);
    log_begin("limit refused");
    log_addr("client", &s->client);
    log_text("user", user_of(s), strlen(user_of(s)));
    log_word("protocol", vd_accept_name(&s->setup->accept));
    log_text("limit", title, strlen(title));
    log_word("what", what);
    log_time();
    log_end();
}

/* For who looks at them, users and clients are counted without limits too. */
static void enter_counted(struct session *s)
{
    struct subject of;
    if (!s->worker->conf->admin)
        return;
    client_subject(&of, s);
    enter(s, SHARED_CLIENT, "", &of);
    if (!s->logged_in)
        return;
    user_subject(&of, s);
    enter(s, SHARED_USER, "", &of);
}

static int enter_all(struct session *s)
{
    const struct vd_conf_daemon *conf = s->worker->conf;
    for (size_t i = 0; i < conf->limit_count; i++) {
        const struct vd_conf_limit *limit = &conf->limits[i];
        if (!applies(s, limit))
            continue;
        struct verdict v = judge(s, limit);
        if (v.err == VD_OK)
            continue;
        s->setup->accept.retry_s = v.retry_s;
        log_refused(s, limit->who.title, v.what);
        return v.err;
    }
    enter_counted(s);
    return VD_OK;
}

static void on_rate(struct loop_timer *timer)
{
    struct limit_hold *hold = loop_owner(timer, struct limit_hold, timer);
    relay_wake(&hold->session->relay);
}

/* A timer for the rate needs room in the loop before it can be set. */
static int start_rate(struct session *s)
{
    struct worker *w = s->worker;
    s->hold->timer.fire = on_rate;
    s->relay.limit = s->hold;
    w->more_timers++;
    return session_reserve_timers(w) == 0 ? VD_OK : VD_ERR_BUSY;
}

static bool same_user(const struct session *s)
{
    const char *user = user_of(s);
    return s->hold->user_len == strlen(user) && memcmp(s->hold->user, user, strlen(user)) == 0;
}

static int start(struct session *s)
{
    s->hold = calloc(1, sizeof *s->hold);
    if (!s->hold)
        return VD_ERR_BUSY;
    s->hold->session = s;
    session_count_bytes(s);
    memcpy(s->hold->before, s->counted, sizeof s->counted);
    s->hold->user_len = (uint8_t)strlen(user_of(s));
    memcpy(s->hold->user, user_of(s), s->hold->user_len);
    int err = enter_all(s);
    return err == VD_OK && s->hold->has_rate ? start_rate(s) : err;
}

int limit_enter(struct session *s)
{
    const struct vd_conf_daemon *conf = s->worker->conf;
    if (conf->limit_count == 0 && !conf->admin)
        return VD_OK;
    if (s->hold && same_user(s))
        return VD_OK;
    limit_leave(s);
    int err = start(s);
    if (err != VD_OK)
        limit_leave(s);
    return err;
}

void limit_count_bytes(struct session *s)
{
    struct limit_hold *hold = s->hold;
    session_count_bytes(s);
    for (unsigned i = 0; hold && i < hold->count; i++) {
        struct shared_entry *e = hold->entries[i];
        __atomic_add_fetch(&e->up, s->counted[0] - hold->before[0], __ATOMIC_RELAXED);
        __atomic_add_fetch(&e->down, s->counted[1] - hold->before[1], __ATOMIC_RELAXED);
    }
    if (hold)
        memcpy(hold->before, s->counted, sizeof s->counted);
}

void limit_leave(struct session *s)
{
    struct limit_hold *hold = s->hold;
    if (!hold)
        return;
    struct worker *w = s->worker;
    limit_count_bytes(s);
    for (unsigned i = 0; i < hold->count; i++)
        shared_entry_leave(w->shared, hold->entries[i], w->loop.now_ms);
    if (s->relay.limit) {
        rate_end(&hold->rate);
        loop_timer_stop(&w->loop, &hold->timer);
        w->more_timers--;
    }
    s->relay.limit = NULL;
    free(hold);
    s->hold = NULL;
}

void limit_note_rule(struct session *s, const char *title)
{
    s->setup->rule = title;
    count_refusal(s, "", title);
}

size_t limit_room(struct limit_hold *hold, int side)
{
    struct loop *loop = session_loop(hold->session);
    size_t room = rate_room(&hold->rate, side, loop->now_ms);
    if (room > 0)
        return room;
    int64_t at = hold->rate.flow[side].ready_ms;
    if (hold->timer.at_ms == 0 || at < hold->timer.at_ms)
        loop_timer_in(loop, &hold->timer, at - loop->now_ms);
    return 0;
}

bool limit_passes(struct limit_hold *hold, int side, size_t len)
{
    return rate_pass(&hold->rate, side, len, session_loop(hold->session)->now_ms);
}

/* --- handshakes --- */

static void unlink_shaking(struct worker *w, struct session_setup *setup)
{
    struct session_setup **older = setup->newer ? &setup->newer->older : &w->shaking_newest;
    struct session_setup **newer = setup->older ? &setup->older->newer : &w->shaking_oldest;
    *older = setup->older;
    *newer = setup->newer;
    setup->older = setup->newer = NULL;
}

void limit_shake(struct session *s)
{
    struct worker *w = s->worker;
    struct session_setup *setup = s->setup;
    uint32_t *count = &shared_own(w->shared)->handshakes;
    uint32_t most = w->conf->handshakes_max;
    setup->shaking = true;
    setup->newer = NULL;
    setup->older = w->shaking_newest;
    *(setup->older ? &setup->older->newer : &w->shaking_oldest) = setup;
    w->shaking_newest = setup;
    shared_set(count, *count + 1);
    if (most == 0 || shared_total(w->shared, &w->shared->workers[0].handshakes) <= most)
        return;
    if (w->shaking_oldest != setup)
        session_end(w->shaking_oldest->session, "handshake-crowded");
}

void limit_shaken(struct session *s)
{
    struct worker *w = s->worker;
    uint32_t *count = &shared_own(w->shared)->handshakes;
    if (!s->setup || !s->setup->shaking)
        return;
    s->setup->shaking = false;
    unlink_shaking(w, s->setup);
    shared_set(count, *count - 1);
}
