/*
 * log: what viaductd says, on the standard error.
 *
 * Text: `viaductd: ` and words, or `viaductd: EVENT key=value key=value ...`. Values never hold a
 * space, a quote, a control byte or a byte beyond ASCII as such: what came from a client is written
 * with \xNN, a value with a space stands in quotes, an unknown one is `-`. With --log-format json
 * each line is one object with the same keys and `event`; messages in words are the event "message"
 * with `text` and `time`. Keys are only ever added, before `end`.
 *
 *     viaductd: session client=127.0.0.1:50000 local=127.0.0.1:1080 protocol=SOCKS5 user=alice
 *         command=connect target=origin.test:80 out=10.2.0.1:41000 peer=10.2.0.2:80 via=-
 *         up=79 down=1234 ms=3 time=2024-05-01T12:00:00.123Z end=closed         (all on one line)
 *
 * client, local: the addresses of the client's connection; out, peer: those of ours towards the
 * target or the first hop; via: the hops that were taken, or tried last; up, down: bytes carried
 * towards the target and back; ms: from accept to the end; time: of the end, UTC. Where there are
 * hops, `upstream` behind it is the title of the upstream. end is one of
 *
 *     closed               both directions ended in order; UDP: the client ended its connection
 *     reset-by-client      the client reset the connection; the target got a reset too
 *     reset-by-target      the other way round
 *     client-gone          the client left before its request was answered
 *     handshake-timeout    no whole request within handshake_ms
 *     handshake-crowded    the oldest handshake, when there were more than are allowed
 *     idle-timeout, half-closed-timeout
 *     bad-proxy-line       something else came where the PROXY protocol was awaited
 *     user-removed         a reload found its user gone, or with another password
 *     drained              cut at the end of a drain
 *     failed               the worker could not go on with it (memory, descriptors)
 *     refused              an answer other than success was given: `error` says which, in the
 *                          words of RFC 9209, `said`, if it stands there, what a hop said, and
 *                          `rule` which rule of the configuration did not allow it: its title, or
 *                          "default" (no rule allows it), "guard", "loop", "network", "upstream"
 *
 * With command=associate the keys datagrams_up, datagrams_down and dropped follow `time`, and `out`
 * is the address towards the targets; with command=bind `out` is where it listened.
 *
 *     viaductd: bind-stranger client=... local=... target=... out=... peer=192.0.2.9:4000 time=...
 *
 * stands for each of the first few connections to a port of BIND that were not the awaited one's.
 *
 *     viaductd: request client=... ... time=... method=GET status=200 end=closed
 *
 * stands for each HTTP request that was forwarded and answered, with the keys of a session counted
 * for this request alone; the session's own line, with command=forward, has the last target and the
 * sums.
 *
 * With -v a line `session-open` with the same keys up to via is written when a tunnel begins.
 *
 *     viaductd: login refused client=192.0.2.7:50000 user=alice protocol=SOCKS5 time=...
 *
 * stands for each wrong login, whatever -q says, and is the line for fail2ban. A password is never
 * written.
 *
 *     viaductd: limit refused client=192.0.2.7:50000 user=- protocol=SOCKS5 limit=crowd
 *         what=sessions time=...                                                (all on one line)
 *
 * stands in the same way for each session beyond a limit: `what` is sessions, new, or table where
 * nothing more can be counted.
 *
 * Lines are collected and written once per turn of the loop, whole lines at a time, and without
 * ever waiting: what a full pipe does not take is counted and told later.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/net.h"

enum log_level { LOG_QUIET, LOG_NORMAL, LOG_VERBOSE };

void log_open(enum log_level level, bool json);
/* After a reload: the same place, maybe in another manner. */
void log_change(enum log_level level, bool json);
/* Whether lines of this level are wanted: to spare the work of making one. */
bool log_wants(enum log_level level);

/* Words; for trouble LOG_QUIET, for news LOG_NORMAL. */
void log_say(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An event, key by key, between log_begin and log_end; one at a time. */
void log_begin(const char *event);
void log_text(const char *key, const void *text, size_t len); /* len 0: "-" */
void log_word(const char *key, const char *word);             /* ours: needs no escaping */
void log_addr(const char *key, const struct net_addr *addr);
void log_endpoint(const char *key, const struct vd_endpoint *e);
void log_number(const char *key, uint64_t number);
void log_time(void); /* now, as `time` */
void log_end(void);

/* Writes what was collected. */
void log_flush(void);

#endif
