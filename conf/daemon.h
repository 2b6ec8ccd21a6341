/*
 * conf/daemon: viaductd.conf as a struct.
 *
 * The manner of conf/client.h holds. What the file does not say is left at its default by
 * vd_conf_daemon_init, so that the command line and the file fill in the same struct.
 */
#ifndef VD_CONF_DAEMON_H
#define VD_CONF_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/client.h"
#include "proto/pattern.h"
#include "proto/proxyline.h"
#include "proto/url.h"

/* Who may answer a client of UDP ASSOCIATE: the hosts it has sent to, only the ports it has sent
 * to, or everybody. */
enum vd_udp_filter { VD_UDP_HOST, VD_UDP_PORT, VD_UDP_ANY };

enum vd_listen_kind {
    VD_LISTEN_MIXED,
    VD_LISTEN_SOCKS,
    VD_LISTEN_HTTP,
    VD_LISTEN_REDIRECT, /* what netfilter redirected here goes where it was meant to go */
    VD_LISTEN_TPROXY,   /* the same, of what it brought here as it was (TPROXY) */
    VD_LISTEN_FORWARD,  /* to one of `targets` */
    VD_LISTEN_ADMIN     /* the status page: vd_conf_daemon.admin alone */
};

/* Which target of several a connection goes to. */
enum vd_balance { VD_BALANCE_ROUNDROBIN, VD_BALANCE_LEASTCONN, VD_BALANCE_SOURCE };

enum { VD_TARGETS_MAX = 64 };

struct vd_conf_target {
    struct vd_endpoint at; /* meant only while there is no path */
    char unix_path[VD_UNIX_PATH_MAX + 1];
};

struct vd_conf_listener {
    char *title;
    enum vd_listen_kind kind;
    struct vd_endpoint at; /* an address, or a name that is resolved at start; port 0 allowed */
    char unix_path[VD_UNIX_PATH_MAX + 1]; /* not empty: a unix socket instead of `at` */
    uint32_t unix_mode;                   /* its permissions */
    bool proxy_line;        /* each connection begins with a line of the PROXY protocol */
    bool no_udp;            /* VD_LISTEN_TPROXY: datagrams are not taken */
    struct vd_ip public[2]; /* IPv4, IPv6: what clients are told in place of this machine's own
                               address, where they are to send or peers to come; VD_NO_IP: it */
    /* TLS: files in PEM, read at the start and at each reload; NULL: not said */
    bool tls_only;    /* https://: nothing but TLS is served; else it may be */
    char *cert, *key; /* chain and key of this listener; without `key`: both in `cert` */
    char *client_ca;  /* who signs the certificates that clients must have */
    /* VD_LISTEN_FORWARD only */
    struct vd_conf_target *targets;
    size_t target_count;
    enum vd_balance balance;
    enum vd_proxyline_version send_line; /* what a target is sent first */
    uint32_t check_ms;                   /* a connection is tried this often; 0: never */
    uint32_t rise, fall;                 /* so many in a row make a target good, or bad */
};

struct vd_conf_user {
    char *name;
    char *password; /* plain, or NULL */
    char *hash;     /* crypt(3), from a users file, or NULL */
};

/* Which families of addresses are used, and which one comes first. */
enum { VD_FAMILY_UNSAID, VD_PREFER_IPV6, VD_PREFER_IPV4, VD_ONLY_IPV6, VD_ONLY_IPV4 };

/* From where what viaductd opens itself leaves: to targets, and to the first hop. Where any address
 * is given, a family without one is not used; 0.0.0.0 and :: leave the choice to the kernel. */
struct vd_conf_egress {
    struct vd_ip source[2]; /* IPv4, IPv6; VD_NO_IP: not given */
    char device[16];        /* an interface; "": not given */
    uint8_t family;
};

/* A chain that targets are reached by. */
struct vd_conf_upstream {
    struct vd_conf_chain chain;     /* with a title: VD_UPSTREAM_DEFAULT, if none was given */
    enum vd_proxyline_version line; /* what the first hop is sent first */
    char *fallback;                 /* the title of another one, where this one fails; or NULL */
    size_t fallback_index;          /* see vd_conf_daemon_link */
    uint32_t check_ms;              /* each hop is asked this often; 0: never */
    uint32_t rise, fall;            /* so many answers in a row make a hop good, or bad */
    bool has_check_target;
    struct vd_endpoint check_target; /* what a check connects to */
    struct vd_conf_egress egress;
};

#define VD_UPSTREAM_DEFAULT "default"
#define VD_UPSTREAM_DIRECT  "direct"

/* Beside indices: what no rule says, and no upstream at all. */
enum { VD_VIA_UNSAID = -1, VD_VIA_DIRECT = -2 };

/* allow and deny: what is not said matches everything. */
enum vd_access { VD_ALLOW, VD_DENY };
struct vd_conf_access {
    char *title;
    enum vd_access verdict;
    struct vd_pattern *from, *to;
    size_t from_count, to_count;
    unsigned commands; /* bits 1 << enum vd_command; 0: all */
    char **users;
    size_t user_count;
    char *upstream;               /* VD_ALLOW: a title, VD_UPSTREAM_DIRECT, or NULL */
    int via;                      /* the index, or a VD_VIA_*; see vd_conf_daemon_link */
    struct vd_conf_egress egress; /* VD_ALLOW */
};

/* What somebody may have; each limit that fits holds. */
enum vd_limit_per { VD_PER_CLIENT, VD_PER_USER, VD_PER_SESSION, VD_PER_ALL };
struct vd_conf_limit {
    struct vd_conf_access who; /* its title, and `from` and `users`: whom it is about */
    enum vd_limit_per per;     /* who counts together: an address (IPv6: /64), a user, or all */
    uint32_t sessions;         /* at a time; 0: no limit, here and below */
    uint32_t fresh, fresh_ms;  /* so many new ones in so many milliseconds */
    uint64_t rate;             /* bytes for each second, both ways together */
};

struct vd_conf_daemon {
    struct vd_conf_listener *listens;
    size_t listen_count;
    struct vd_conf_user *users;
    size_t user_count;
    struct vd_conf_access *access; /* in order, first match counts */
    size_t access_count;
    struct vd_conf_limit *limits;
    size_t limit_count;
    struct vd_conf_upstream *upstreams;
    size_t upstream_count;
    bool dns_chain;       /* names are asked for through the upstream, also where its last hop
                             would take them */
    bool resolver_system; /* NSS, else c-ares */
    struct vd_endpoint nameservers[VD_NAMESERVERS_MAX]; /* addresses, in place of resolv.conf's */
    size_t nameserver_count;
    bool log_json;
    bool explain; /* a refusal of SOCKS5 says in words what an upstream said */
    enum vd_udp_filter udp_filter;
    unsigned workers;               /* 0: one per core */
    uint32_t handshake_ms;          /* until the request is whole; default 10 s */
    uint32_t connect_ms;            /* resolve, dial and upstream; default 30 s */
    uint32_t bind_ms;               /* BIND, until the peer comes; default 120 s */
    uint32_t idle_ms;               /* tunnel without data; default 3600 s */
    uint32_t udp_idle_ms;           /* client of tproxy:// without a datagram; default 120 s */
    uint32_t half_closed_ms;        /* one direction ended; default 300 s */
    uint32_t drain_ms;              /* SIGTERM; default 30 s */
    uint32_t sessions_max;          /* in all; 0: as many as descriptors allow */
    uint32_t handshakes_max;        /* that are not over, in all; 0: no limit */
    struct vd_conf_listener *admin; /* the status page; NULL: none */
    char *admin_login;              /* NAME:HASH, of crypt(3); NULL: none is asked for */
    char *run_as;                   /* the user of the workers; NULL: who starts it */
    uint32_t mark;                  /* SO_MARK of connections to targets and hops; 0: none */
    struct vd_conf_egress egress;   /* where neither rule nor upstream says more */
};

void vd_conf_daemon_init(struct vd_conf_daemon *c);
/* Adds what `path` says. 0, or -1 with *error; *warning as in conf/client.h. */
int vd_conf_daemon_read(struct vd_conf_daemon *c, const char *path, char **error, char **warning);
void vd_conf_daemon_free(struct vd_conf_daemon *c);

/* One value each, for the command line: 0, or -1 with *error saying what is allowed. A rule is a
 * row of words: [from=]PATTERN[,PATTERN...], to=PATTERN[,...], commands=connect[,bind,associate],
 * users=NAME[,...], all of which must fit, and upstream=NAME, source=ADDRESS[,...], family=WHICH.
 * A users file has lines NAME:HASH, of crypt(3), and comments that begin with #. */
int vd_conf_daemon_add_listen(struct vd_conf_daemon *c, const char *url, char **error);
/* Whether TLS has a meaning for this kind of listener. */
bool vd_conf_listener_may_tls(const struct vd_conf_listener *listen);
/* Copies the paths (`key` may be NULL). 0, or -1 without memory. */
int vd_conf_listener_set_cert(struct vd_conf_listener *listen, const char *cert, const char *key);
void vd_conf_listener_free(struct vd_conf_listener *listen);
/* HOST:PORT or unix:/PATH, for a listener of VD_LISTEN_FORWARD. */
int vd_conf_listener_add_target(struct vd_conf_listener *listen, const char *text, char **error);
int vd_conf_daemon_add_user(struct vd_conf_daemon *c, const char *name_password, char **error);
int vd_conf_daemon_add_users(struct vd_conf_daemon *c, const char *path, char **error);
int vd_conf_daemon_add_access(struct vd_conf_daemon *c, enum vd_access verdict, const char *rule,
                              char **error);
/* HOST[:PORT] or unix:/PATH for the status page, in place of one that was said before. */
int vd_conf_daemon_set_admin(struct vd_conf_daemon *c, const char *place, char **error);
/* NAME:HASH, of crypt(3). */
int vd_conf_daemon_set_admin_login(struct vd_conf_daemon *c, const char *text, char **error);
/* A row of words KEY=VALUE; the keys are those of a section `limit`. */
int vd_conf_daemon_add_limit(struct vd_conf_daemon *c, const char *text, char **error);
/* To the default upstream, which is made if there is none. */
int vd_conf_daemon_add_hop(struct vd_conf_daemon *c, const char *url, char **error);

/* The upstream of this title, or NULL; a new one behind the others, which may move, or NULL without
 * memory. */
struct vd_conf_upstream *vd_conf_daemon_upstream(const struct vd_conf_daemon *c, const char *title);
struct vd_conf_upstream *vd_conf_daemon_new_upstream(struct vd_conf_daemon *c, const char *title);
void vd_conf_upstream_free(struct vd_conf_upstream *up);
/* Whether there is an upstream of this title, or it is VD_UPSTREAM_DIRECT: 0, or -1 with *error. */
int vd_conf_daemon_has_upstream(const struct vd_conf_daemon *c, const char *title, char **error);
/* When all is read: puts indices for the titles that rules and upstreams name. 0, or -1 with *error
 * (an unknown title, fallbacks in a circle, no family of addresses left). */
int vd_conf_daemon_link(struct vd_conf_daemon *c, char **error);

/* A rule behind the others, which may move, that matches everything so far; NULL: no memory. */
struct vd_conf_access *vd_conf_daemon_new_access(struct vd_conf_daemon *c, enum vd_access verdict,
                                                 const char *title);
struct vd_conf_limit *vd_conf_daemon_new_limit(struct vd_conf_daemon *c, const char *title);
/* One value of a key; of `from` and `users` one more. */
int vd_conf_limit_set(struct vd_conf_limit *limit, const char *key, const char *value,
                      char **error);
/* Whether what was set goes together. */
int vd_conf_limit_check(const struct vd_conf_limit *limit, char **error);

/* One value of `source`, of which there may be several, or of `family`. */
int vd_conf_egress_set(struct vd_conf_egress *egress, const char *key, const char *value,
                       char **error);
bool vd_conf_egress_has_source(const struct vd_conf_egress *egress);
/* What holds for connections that `rule` allows, by the upstream `up`: of each of the two options
 * what the rule says, else the upstream, else the file. Both may be NULL. */
struct vd_conf_egress_in_force {
    const struct vd_conf_egress *source; /* its `family` means nothing here */
    uint8_t family;                      /* never VD_FAMILY_UNSAID */
};
struct vd_conf_egress_in_force vd_conf_egress_of(const struct vd_conf_daemon *c,
                                                 const struct vd_conf_upstream *up,
                                                 const struct vd_conf_access *rule);
bool vd_conf_egress_uses(const struct vd_conf_egress_in_force *force, enum vd_family family);

/* One value of from, to, commands, users, upstream, source or family. */
int vd_conf_access_add(struct vd_conf_access *access, const char *key, const char *value,
                       char **error);
/* Words of the lists `commands` and `users`. */
int vd_conf_access_add_command(struct vd_conf_access *access, const char *text, char **error);
int vd_conf_access_add_user(struct vd_conf_access *access, const char *name, char **error);

#endif
