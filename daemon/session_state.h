/*
 * session_state: what session.c, handshake.c and session_log.c share; private to them.
 */
#ifndef DAEMON_SESSION_STATE_H
#define DAEMON_SESSION_STATE_H

#include "daemon/session.h"
#include "proto/accept.h"

enum { SESSION_INPUT = 2048 }; /* no message of a client is longer; the rest stays in the kernel */

enum session_state {
    SESSION_ACCEPT,
    SESSION_AUTH,
    SESSION_DIAL,
    SESSION_REPLY,
    SESSION_RELAY,
    SESSION_REFUSED,
    SESSION_RESETTING,
    SESSION_CLOSED
};

/* What only the time until the tunnel stands needs. */
struct session_setup {
    struct session_setup *next;
    struct session *session;
    struct vd_accept accept;
    struct login_wait login;
    struct dial dial;
    bool logged_in;
    uint16_t at, len; /* of `in`: what the codec has not taken */
    uint8_t in[SESSION_INPUT];
};

struct session {
    struct session *next, **link; /* of the worker's list */
    struct worker *worker;
    struct session_setup *setup; /* NULL from RELAY on */
    struct relay relay;
    struct loop_timer timer;
    uint8_t state; /* enum session_state */
    uint8_t command;
    uint8_t tries;
    uint8_t user_len;
    uint16_t target_len;
    uint32_t drained; /* bytes read after a refusal */
    int64_t started_ms;
    const char *protocol;
    char *names; /* user, then target: for the log, once the setup is gone */
    struct net_addr client, local, out, peer;
};

static inline struct loop *session_loop(const struct session *s)
{
    return &s->worker->loop;
}

static inline struct relay_leg *session_leg(struct session *s, enum relay_side side)
{
    return &s->relay.leg[side];
}

/* session.c */

/* Frees everything at once, without a word in the log. */
void session_close(struct session *s);
void session_free_setup(struct session *s);
/* The success was sent: the tunnel begins. May end the session. */
void session_start_relay(struct session *s);

/* handshake.c; each may end the session */

void handshake_set_up(struct session *s, unsigned offers);
void handshake_on(struct session *s);      /* ACCEPT: goes on with what the client sent */
void handshake_reply(struct session *s);   /* REPLY: sends the rest of the success */
void handshake_refused(struct session *s); /* REFUSED: sends the rest of the refusal, then reads */
void handshake_late(struct session *s);    /* DIAL: the time is over */

/* session_log.c */

/* `error` is an RFC 9209 word, or NULL. */
void session_log_end(const struct session *s, const char *end, const char *error);
void session_log_open(const struct session *s);
void session_log_login_refused(const struct session *s);

#endif
