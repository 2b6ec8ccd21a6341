/*
 * hint: what to try when a chain fails, for the message.
 */
#ifndef VD_PROTO_HINT_H
#define VD_PROTO_HINT_H

#include "proto/chain.h"

/* To stand behind what vd_chain_explain says for the same `err`: "; try ...", static; "" where that
 * says enough, as when the target itself fails. */
const char *vd_hint(const struct vd_chain *c, int err);

#endif
