/*
 * trace: --trace, the bytes of viaductd's own handshakes, with clients and with upstream hops, and
 * the beginning of what its tunnels carry.
 *
 *     14:03:22.123999 viaductd[4711] #7 client 127.0.0.1:50000 < 3 bytes: version identifier/...
 *         0000  05                       .         VER          SOCKS version 5
 *     14:03:22.124102 viaductd[4711] #7 hop 1 of 2 (socks5h://gw.example:1080) > 3 bytes: ...
 *     14:03:22.161120 viaductd[4711] #7 client 127.0.0.1:50000 < 78 bytes: payload
 *         0000  47 45 54 20 2f 20 48 54  54 50 2f 31 2e 31 0d 0a  GET / HTTP/1.1..
 *
 * `<` is what viaductd got, `>` what it said; the rows are those of proto/describe.h. Or as a
 * capture for Wireshark (proto/capture.h), with a stream for the client and one for each hop. Whole
 * messages are told, however they came, each by one write, which may wait: this is for looking, not
 * for everyday use. Passwords of handshakes are masked (proto/mask.h), payload is told as it is, up
 * to a limit for each direction of a session. Without --trace a call costs a load and a branch.
 *
 * Before the bytes of a tunnel are sent on they are in the trace: who sees an answer will find it
 * there.
 */
#ifndef DAEMON_TRACE_H
#define DAEMON_TRACE_H

#include <stdbool.h>

#include "daemon/net.h"
#include "proto/chain.h"

enum { TRACE_PAYLOAD = 4096, TRACE_PAYLOAD_MAX = 1 << 30 }; /* bytes; unless said; the most */
enum trace_format { TRACE_BY_NAME, TRACE_TEXT, TRACE_PCAPNG, TRACE_PCAP };

struct trace_wish {
    bool wanted;
    bool says_how;    /* something of what follows was said */
    const char *file; /* written anew, but for /dev/fd/N, a descriptor; NULL: the standard error */
    enum trace_format format;
    uint32_t payload; /* bytes of each direction; 0: none is told */
    bool secrets;     /* passwords are shown */
    bool goes_on;     /* somebody has begun the file, and wants to know of hops and payload alone */
};

/* Before there are workers. 0, or -1 with *error. */
int trace_open(const struct trace_wish *wish, char **error);

extern bool trace_wanted;

static inline bool trace_is_on(void)
{
    return __builtin_expect(trace_wanted, 0);
}

/* What is kept of a session; each call may be given NULL. */
struct trace;

/* A session begins, from a client to an address of ours; or a further request on its connection,
 * and `t` is what is kept of it. NULL: no memory. */
struct trace *trace_begin(struct trace *t, const struct net_addr *from, const struct net_addr *at);
/* It is over. Frees `t`; `up` and `down`: what it carried, told or not. */
void trace_end(struct trace *t, bool by_reset, uint64_t up, uint64_t down);

/* The client said this; it was told that (trace_answer). */
void trace_client(struct trace *t, const uint8_t *data, size_t len);
/* The head of a request that is forwarded, whatever was held of it before. */
void trace_request(struct trace *t, const uint8_t *head, size_t len);
/* No more is taken of what it says: what was held is told. */
void trace_cut(struct trace *t);
void trace_answer(struct trace *t, const uint8_t *data, size_t len);

/* A chain is dialled; the first hop has accepted; the chain said what lies between `before` and
 * what it says next; it was told; it failed. */
void trace_chain(struct trace *t, const struct vd_chain *chain);
void trace_up(struct trace *t, const struct vd_chain *chain, int fd, const struct net_addr *peer);
void trace_said(struct trace *t, const struct vd_chain *chain, struct vd_said before);
void trace_heard(struct trace *t, const struct vd_chain *chain, const uint8_t *data, size_t len);
void trace_failed(struct trace *t, const struct vd_chain *chain, const char *why, size_t len);

/* Bytes of the tunnel, from the client or from the target, which are about to be sent on. */
void trace_payload(struct trace *t, bool from_client, const uint8_t *data, size_t len);
/* Whether it wants to see more of them. */
bool trace_follows(const struct trace *t, bool from_client);

#endif
