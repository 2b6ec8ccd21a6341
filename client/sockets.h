/*
 * sockets: which target a socket was connected to through the chain, and what is done with the
 * datagrams of others.
 *
 * Kept in the session under the kernel's own cookie of the socket (SO_COOKIE: never given twice),
 * so that it holds for copies of the descriptor, over fork and exec and in whatever process a
 * descriptor is passed to. Entries of sockets that are gone are overwritten in time, the oldest
 * first.
 */
#ifndef VD_CLIENT_SOCKETS_H
#define VD_CLIENT_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* The cookie, or 0 if fd is no socket. Keeps errno. */
uint64_t sockets_cookie(int fd);
/* Whether it is the socket of this cookie, for all that is known: where the kernel cannot tell just
 * now, what was is believed to be still. */
bool sockets_is(int fd, uint64_t cookie);

/* Remembers the address that the program gave (at most a sockaddr_in6). Without room the socket
 * shows its real peer, the first hop. */
void sockets_put(uint64_t cookie, const struct sockaddr *target, socklen_t len);

/* What becomes of a socket's bytes. */
enum sockets_kind {
    SOCKETS_UNKNOWN, /* nothing was noted */
    SOCKETS_STREAM,  /* sockets_put: a connection through the chain */
    /* datagrams, connected: */
    SOCKETS_DENIED,  /* must not send */
    SOCKETS_NAMES,   /* to a name server: answered inside the process */
    SOCKETS_CARRIED, /* through the chain */
    /* datagrams, not connected: some of them are carried or answered inside */
    SOCKETS_LOOSE,
    SOCKETS_DIRECT /* datagrams, connected or not: none of our business so far */
};

/* The same for a datagram socket: `target` is NULL for one that is not connected. */
void sockets_put_datagram(uint64_t cookie, enum sockets_kind kind, const struct sockaddr *target,
                          socklen_t len);

/* What is known of a datagram socket. */
struct sockets_datagram {
    uint64_t cookie;
    enum sockets_kind kind;
    bool asked;       /* a real name server was asked: its answers are awaited */
    bool opened;      /* for the chain: SOCKETS_CARRIED its association was asked for */
    bool shut;        /* nothing more is to be sent */
    uint16_t headers; /* in front of the last datagram that came; 0: none yet */
    socklen_t len;    /* of target; 0: not connected */
    struct sockaddr_storage target; /* as the program gave it */
};

/* d->cookie says which socket is meant; the rest is filled in. An entry that is used does not make
 * room for others. */
void sockets_get_datagram(struct sockets_datagram *d);
void sockets_note_asked(uint64_t cookie);
void sockets_note_opened(uint64_t cookie);
void sockets_note_shut(uint64_t cookie);
void sockets_note_headers(uint64_t cookie, uint16_t headers);

/* SOCKETS_CARRIED: an address to be shown as the socket's own, in its family's form; the port does
 * not count. sockets_get_own: false if there is none. */
void sockets_put_own(uint64_t cookie, const struct sockaddr *own, socklen_t len);
bool sockets_get_own(uint64_t cookie, struct sockaddr_storage *own);

/* A place for notes about a socket of kind SOCKETS_LOOSE: SOCKETS_NOTES bytes, zero at first; NULL
 * if there is none. Other threads and processes read and write them at the same time. */
enum { SOCKETS_NOTES = 72 };
void *sockets_notes(uint64_t cookie);

/* Whether the session has datagram sockets of a kind other than SOCKETS_DIRECT: two loads. As long
 * as nobody looked, or cannot look, the answer is yes. */
extern const uint32_t *sockets_datagrams;
static inline bool sockets_any_datagrams(void)
{
    const uint32_t *word = __atomic_load_n(&sockets_datagrams, __ATOMIC_RELAXED);

    return __atomic_load_n(word, __ATOMIC_RELAXED) != 0;
}
/* Looks, once per process; the answer of sockets_any_datagrams from then on. */
bool sockets_look_for_datagrams(void);

/* Whether a process of the session has passed a datagram socket to another (SCM_RIGHTS). */
void sockets_note_passed(void);
bool sockets_have_passed(void);

/* Bytes that only processes of this session know: the mark of what a socket sends to itself. false:
 * there are none to be had. */
enum { SOCKETS_SECRET = 16 };
bool sockets_secret(uint8_t secret[SOCKETS_SECRET]);

/* Writes the address into *target; its length, or 0 if nothing is known of the socket. */
socklen_t sockets_get(uint64_t cookie, struct sockaddr_storage *target);

/* The address that the last hop says the target sees (BND of the reply), in the form of the
 * socket's family; of a socket that sockets_put was told of before. sockets_get_bound: its length,
 * or 0. */
void sockets_put_bound(uint64_t cookie, const struct sockaddr *bound, socklen_t len);
socklen_t sockets_get_bound(uint64_t cookie, struct sockaddr_storage *bound);

/* Socket options whose values a blocking handshake has to put back: SO_SNDTIMEO, SO_RCVTIMEO and
 * SO_RCVLOWAT. Hardly any program sets one; as long as none of the session did, nobody needs to
 * ask a socket for them. */
void sockets_note_option(int level, int name);
bool sockets_have_options(void);

/* Forgets it: the socket is connected elsewhere now. */
void sockets_drop(uint64_t cookie);

#endif
