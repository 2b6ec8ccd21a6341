/*
 * mask: messages of a handshake without their passwords, for traces.
 *
 * Where the message is ours it is built once more, from a copy of the hop that never had the
 * password; where somebody else said it, what stands in the password's place is replaced. A masked
 * password is VD_MASK, whatever its length.
 */
#ifndef VD_PROTO_MASK_H
#define VD_PROTO_MASK_H

#include "proto/chain.h"
#include "proto/describe.h"

#define VD_MASK "********"

/* Room for a copy. */
struct vd_masked {
    struct vd_chain chain;
    struct vd_hop hops[2];
};

/* As vd_chain_message, masked unless it is `shown`; and which kind of message it is. */
size_t vd_mask_message(struct vd_masked *room, const struct vd_chain *c, struct vd_said *said,
                       bool shown, enum vd_says *says, uint8_t *buf, size_t cap);

/* What hops said: where a password of theirs, or a Basic login, comes back, stars stand in its
 * place. Passwords of less than VD_MASK_LEAST bytes are not looked for. */
enum { VD_MASK_LEAST = 3 };
void vd_mask_heard(const struct vd_path *path, uint8_t *data, size_t len);

/* Room for a masked message that vd_follow holds, or a whole answer. */
enum { VD_MASK_ROOM = 4 * VD_FOLLOW_MAX };

/* What a client said, whole or in part, copied to buf (VD_MASK_ROOM bytes take any vd_follow) with
 * the login of RFC 1929, and the value of Authorization and Proxy-Authorization, masked; of Basic
 * logins the user stays. `inside`: it begins in the middle of a line, which is masked as a whole.
 * Its length. */
size_t vd_mask_said(enum vd_says says, const uint8_t *data, size_t len, bool inside, uint8_t *buf,
                    size_t cap);

#endif
