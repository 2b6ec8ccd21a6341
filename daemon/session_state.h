/*
 * session_state: what session.c, handshake.c, session_*.c share; private to them.
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
    SESSION_BIND,
    SESSION_REPLY,
    SESSION_RELAY,
    SESSION_UDP,
    SESSION_REFUSED,
    SESSION_RESETTING,
    SESSION_CLOSED
};

/* BIND, until the peer has come. */
struct session_bind {
    struct loop_io io; /* listens */
    struct resolve_wait wait;
    bool told;     /* the first reply was sent: from here on peers are accepted */
    uint8_t count; /* of `peers`; 0 with `anyone` */
    bool anyone;
    struct vd_ip peers[2 * RESOLVE_IPS_MAX];
};

/* What only the time until the tunnel stands needs. */
struct session_setup {
    struct session_setup *next;
    struct session *session;
    struct vd_accept accept;
    struct login_wait login;
    struct dial dial;
    struct session_bind bind;
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
    bool logged_in;
    uint16_t target_len;
    uint32_t drained; /* bytes read after a refusal */
    int64_t started_ms;
    const char *protocol;
    char *names; /* user, then target: for the log, once the setup is gone */
    struct net_addr client, local, out, peer;
    struct associate *udp; /* in SESSION_UDP, or about to be */
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
/* Keeps what the log needs of the setup, in as much memory as that needs. 0, or -1. */
int session_keep_names(struct session *s);
/* RELAY and UDP: sets the timer for the limit of silence, or ends what has been silent. */
void session_watch(struct session *s);
/* The success was sent: the tunnel begins. May end the session. */
void session_start_relay(struct session *s);

/* handshake.c; each may end the session */

void handshake_set_up(struct session *s, unsigned offers);
void handshake_on(struct session *s);      /* ACCEPT: goes on with what the client sent */
void handshake_reply(struct session *s);   /* REPLY: sends the rest of the success */
void handshake_refused(struct session *s); /* REFUSED: sends the rest of the refusal, then reads */
void handshake_late(struct session *s);    /* DIAL: the time is over */
/* The request is refused for a reason of proto/err.h; or the codec holds the refusal already. */
void handshake_refuse_request(struct session *s, int err);
void handshake_refuse(struct session *s, int err);
/* Sends what the codec has to say. 1: all is sent; 0: the socket is full; -1: the client is gone.
 */
int handshake_send(struct session *s);
/* What the rules are asked about a session whose setup is there. */
struct access_query handshake_query(const struct session *s);

/* session_bind.c; each may end the session */

void bind_start(struct session *s); /* the request was read */
void bind_on_client(struct session *s, uint32_t events);
void bind_late(struct session *s);
void bind_stop(struct session *s); /* closes what is open; harmless where there is nothing */

/* session_udp.c; each may end the session */

void udp_start(struct session *s);   /* the request was read */
void udp_serve(struct session *s);   /* the success was sent */
void udp_control(struct session *s); /* reads the client's connection, whose end ends it all */
void udp_stop(struct session *s);    /* closes its sockets; harmless where there are none */

/* session_log.c */

/* `error` is an RFC 9209 word, or NULL. */
void session_log_end(const struct session *s, const char *end, const char *error);
void session_log_open(const struct session *s);
void session_log_login_refused(const struct session *s);

#endif
