/*
 * session_state: what session.c, handshake.c, session_*.c share; private to them.
 */
#ifndef DAEMON_SESSION_STATE_H
#define DAEMON_SESSION_STATE_H

#include "daemon/session.h"
#include "daemon/trace.h"
#include "proto/accept.h"

enum { SESSION_TIMERS = 1 + DIAL_TIMERS };
enum { SESSION_INPUT = 2048 }; /* no message of a client is longer; the rest stays in the kernel */

enum session_state {
    SESSION_ACCEPT,
    SESSION_AUTH,
    SESSION_DIAL,
    SESSION_BIND,
    SESSION_REPLY,
    SESSION_RELAY,
    SESSION_FORWARD,
    SESSION_UDP,
    SESSION_REFUSED,
    SESSION_RESETTING,
    SESSION_CLOSED
};

/* BIND, until the peer has come. */
struct session_bind {
    struct loop_io io; /* listens; none where the last hop of a chain does */
    struct resolve_wait wait;
    bool answered; /* the codec has the first reply */
    bool told;     /* it was sent: from here on peers are accepted */
    uint8_t count; /* of `peers`; 0 with `anyone` */
    bool anyone;
    struct vd_ip peers[2 * RESOLVE_IPS_MAX];
};

/* What only the time until the tunnel stands needs. */
struct session_setup {
    struct session_setup *next;
    struct session_setup *older, *newer; /* of handshakes under way, while `shaking` */
    struct session *session;
    struct vd_accept accept;
    struct login_wait login;
    struct dial dial;
    struct session_bind bind;
    uint64_t tried;        /* forward://: the targets that were, as bits */
    const char *unix_path; /* of the target, where it has one */
    bool shaking;          /* the request has not come yet */
    const char *rule;      /* that refused it */
    bool line_due;         /* the listener's PROXY line has not come yet */
    bool tls_due;          /* and behind it the byte that decides about TLS */
    bool tls_unserved;     /* it said TLS, and there is no certificate */
    uint16_t at, len;      /* of `in`: what the codec has not taken */
    uint8_t in[SESSION_INPUT];
};

/* The hops that were taken in the end, for the log; count 0: none, or none yet. */
struct session_way {
    struct upstream *upstream;
    bool counted; /* in what all workers share */
    uint8_t count;
    uint8_t order[VD_HOPS_MAX];
};

struct session {
    struct session *next, **link; /* of the worker's list */
    struct worker *worker;
    const struct listener *from;
    struct session_setup *setup; /* NULL from RELAY on, and while a response is passed on */
    struct relay relay;
    struct loop_timer timer;
    uint8_t state; /* enum session_state */
    uint8_t command;
    uint8_t tries;
    uint8_t user_len;
    uint8_t target; /* forward://: index of the target plus 1 */
    bool logged_in;
    uint16_t target_len;
    uint32_t drained;    /* bytes read after a refusal */
    uint64_t counted[2]; /* bytes up and down that the worker's sums have already */
    int64_t started_ms;
    const char *protocol;
    char *names; /* user, then target: for the log, once the setup is gone */
    struct net_addr client, local, out, peer;
    struct upstream *via; /* what the rules say, from the request on; NULL: directly */
    struct session_way way;
    struct associate *udp;        /* in SESSION_UDP, or about to be */
    uint8_t udp_timers;           /* of worker->more_timers */
    struct tproxy_client *caught; /* no connection: datagrams that were caught (tproxy.h) */
    struct limit_hold *hold;      /* NULL: nothing is limited or counted */
    struct forward *forward;      /* from the first request that is forwarded on */
    struct trace *trace;          /* NULL without --trace */
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

/* A client whose datagrams were caught, for whom there was room (worker_enter); `to` is where the
 * first one was sent to. NULL without memory. */
struct session *session_new_caught(struct listener *from, const struct net_addr *client,
                                   const struct net_addr *to);
/* The rest of its beginning, as if it had asked for an association. May end the session. */
void session_start_caught(struct session *s);

/* A fresh setup for one more request on the same connection. 0, or -1 without memory. */
int session_renew_setup(struct session *s, unsigned offers);
/* One side has reset the connection: so will the other's be, once it got what was sent before. */
void session_end_by_reset(struct session *s, enum relay_side by, const char *end);

/* Sees to it that timers for one more session, and for worker->more_timers, can be set. 0, or -1
 * without memory. */
int session_reserve_timers(struct worker *w);
/* Whether the user of this session was removed since the worker started. */
bool session_is_removed(const struct session *s);
/* Frees everything at once, without a word in the log. */
void session_close(struct session *s);
void session_free_setup(struct session *s);
/* Keeps what the log needs of the setup, in as much memory as that needs. 0, or -1 without. */
int session_keep_names(struct session *s);
/* RELAY and UDP: sets the timer for the limit of silence, or ends what has been silent. */
void session_watch(struct session *s);
/* The success was sent: the tunnel begins. May end the session. */
void session_start_relay(struct session *s);

/* handshake.c; each may end the session */

void handshake_set_up(struct session *s, unsigned offers);
void handshake_dial(struct session *s);    /* sets out for the target of the codec */
void handshake_on(struct session *s);      /* ACCEPT: goes on with what the client sent */
void handshake_reply(struct session *s);   /* REPLY: sends the rest of the success */
void handshake_refused(struct session *s); /* REFUSED: sends the rest of the refusal, then reads */
void handshake_late(struct session *s);    /* DIAL: the time is over */
/* The request is refused for a reason of proto/err.h; or the codec holds the refusal already. */
void handshake_refuse_request(struct session *s, int err);
void handshake_refuse(struct session *s);
/* Sends what the codec has to say. 1: all is sent; 0: the socket is full; -1: the client is gone.
 */
int handshake_send(struct session *s);
/* All that is said was sent: logs the end, then waits a while for the client to end its side. */
void handshake_leave(struct session *s, const char *end, const char *error);
/* The last response was sent: waits a while for the client to end its side. */
void handshake_linger(struct session *s);
/* Has the first hop told who the client is, where the configuration says so. */
void handshake_introduce(const struct session *s, struct dial *dial);
/* What the client is told of an address of this machine's: `at`, or its public one. */
struct vd_endpoint handshake_told(const struct session *s, const struct net_addr *at);
/* Where it leaves, from the request on until the setup goes. */
struct egress handshake_egress(const struct session *s);
/* What the rules are asked about a session whose setup is there. */
struct access_query handshake_query(const struct session *s);

/* Takes a PROXY line at the beginning of `in`: VD_DONE with setup->at behind it, VD_MORE, or the
 * session is over. */
int handshake_take_line(struct session *s);

/* session_tls.c */

/* ACCEPT with tls_due: whether the handshake goes on; else more is awaited, or the session is over.
 */
bool secure_decide(struct session *s);
/* Notes for the log that TLS was begun where there is no certificate. */
void secure_note_unserved(struct session *s);

/* session_bind.c; each may end the session */

void bind_start(struct session *s); /* the request was read */
void bind_on_client(struct session *s, uint32_t events);
void bind_late(struct session *s);
void bind_stop(struct session *s); /* closes what is open; harmless where there is nothing */
/* Somebody listens at `at`: the first reply is sent. */
void bind_listens(struct session *s, const struct vd_endpoint *at);

/* session_bind_chain.c; each may end the session */

void bind_chain_start(struct session *s);
void bind_chain_told(struct session *s); /* the first reply was sent */

/* session_udp.c; each but udp_has_room may end the session */

/* Whether there may be one more association. */
bool udp_has_room(const struct worker *w);

void udp_start(struct session *s);   /* the request was read */
int udp_late(struct session *s);     /* DIAL: the reason for the client */
void udp_serve(struct session *s);   /* the success was sent */
void udp_control(struct session *s); /* reads the client's connection, whose end ends it all */
void udp_stop(struct session *s);    /* closes its sockets; harmless where there are none */

void handshake_request(struct session *s); /* the codec holds a request */
void handshake_set_up_dial(struct session *s);
/* What was dialled is the session's: the socket, with the TLS on it. */
void handshake_take_dialed(struct session *s);

/* fixed.c */

bool fixed_is(const struct session *s); /* no handshake: the listener knows the target */
bool fixed_is_forward(const struct session *s);
void fixed_start(struct session *s); /* may end the session */
/* A target failed: sets out for another one; false if there is none. May end the session. */
bool fixed_retry(struct session *s);
void fixed_stop(struct session *s);

/* forward.c; each may end the session */

void forward_start(struct session *s);  /* the codec saw a request that is to be forwarded */
void forward_dialed(struct session *s); /* DIAL: the origin's connection stands */
/* DIAL would begin: whether the connection that is open serves this request too; else it is closed
 * now. */
bool forward_reuse(struct session *s);
void forward_on(struct session *s); /* FORWARD: carries what can be carried */
void forward_client_gone(struct session *s);
void forward_late(struct session *s);
bool forward_is_idle(const struct session *s); /* FORWARD: between two requests */
void forward_stop(struct session *s);          /* frees; harmless where there is nothing */

/* session_way.c */

/* Takes over by which hops a session goes (`via` NULL: none); `stands`: it counts as one of theirs.
 * Those that it went by before are let go. */
void session_take_way(struct session *s, struct upstream *via, const struct vd_path *path,
                      bool stands);
void session_take_way_of(struct session *s, const struct dial *dial, bool stands);
void session_drop_way(struct session *s);

/* session_log.c */

/* A request that was forwarded, with the words of a session's end. */
void session_log_request(const struct session *s, const char *end);

/* What is told of a session, in the log and on the status page. */
void session_print_via(const struct session *s, struct vd_out *out);
const char *session_command_name(unsigned command);
const char *session_protocol(const struct session *s);
/* "HOST:PORT" or "unix:/PATH"; VD_ENDPOINT_TEXT bytes are room enough. */
void session_print_target(struct vd_out *out, const struct session_setup *setup);
uint64_t session_bytes_up(const struct session *s);
uint64_t session_bytes_down(const struct session *s);
/* Adds what was carried since the last time to the worker's sums. */
void session_count_bytes(struct session *s);
/* Counts it, too, and is called once. `error` is an RFC 9209 word, or NULL. */
void session_log_end(struct session *s, const char *end, const char *error);
void session_log_open(const struct session *s);
void session_log_login_refused(const struct session *s);

#endif
