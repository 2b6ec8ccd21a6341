/*
 * play: drivers in a loop, for codecs that do no I/O: a client's side against bytes, a server's
 * side against bytes, and both against each other.
 *
 * Each plays at a chunk size: that many bytes at most are received, and sent, at a time. Inputs and
 * outputs end at a page that may not be touched, and the state moves to another place after every
 * step, so that a pointer into itself shows.
 */
#ifndef TESTS_UNIT_PLAY_H
#define TESTS_UNIT_PLAY_H

#include "proto/accept.h"
#include "proto/chain.h"

enum { PLAY_SAID_MAX = VD_HOPS_MAX * VD_SHAKE_MESSAGE_MAX, PLAY_WHOLE = 1 << 17 };

struct play_end {
    int result;
    const char *broken; /* a promise of a header that was not kept, or NULL */
    size_t used;        /* bytes of the input that were taken */
    size_t said_len;
    uint8_t said[PLAY_SAID_MAX];
    char asked[2048]; /* server: the decisions that were asked for, one a line */
};

/* How the stream ends behind the input. */
enum play_loss { PLAY_GOES_ON, PLAY_EOF, PLAY_RESET, PLAY_SILENT };

/* What a driver receives at a time: no more than wanted; no more than usual; whatever there is,
 * where a look-ahead pays; whatever there is, always. Where TLS is awaited PLAY_TLS is noted among
 * what was said. */
#define PLAY_TLS "<TLS>"

enum play_manner { PLAY_EXACT, PLAY_USUAL, PLAY_PEEKS, PLAY_GREEDY };

struct play_client {
    size_t chunk;
    enum play_manner manner;
    enum play_loss loss;
};

/* Plays a chain that was started, or told to await a second reply, until it is done, has failed, or
 * the input is at its end. */
void play_client(struct play_end *end, struct vd_chain *chain, const uint8_t *input, size_t len,
                 const struct play_client *how);

struct play_server {
    size_t chunk;
    bool late;         /* sends only when a decision is due or the input is at its end */
    bool login;        /* how a login is decided */
    int err;           /* how a request is decided */
    const char *bound; /* HOST:PORT of the reply, or NULL */
};

void play_server(struct play_end *end, struct vd_accept *a, const uint8_t *input, size_t len,
                 const struct play_server *how);

/* A client's chain against servers one behind the other, and then a message each way through the
 * tunnel. `end` is the client's; `served` gets the decisions asked of each server. */
void play_both(struct play_end *end, struct vd_chain *chain, struct vd_accept *servers,
               struct play_end *served, size_t count, const struct play_server *how);

#endif
