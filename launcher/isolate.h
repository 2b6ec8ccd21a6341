/*
 * isolate: a login that is this run's alone, for SOCKS5 hops to which none was given.
 *
 * A hop that keeps apart what comes with different logins, as Tor does (IsolateSOCKSAuth), then
 * keeps this run apart from all others; one that asks for no login chooses the method without.
 */
#ifndef VIADUCT_LAUNCHER_ISOLATE_H
#define VIADUCT_LAUNCHER_ISOLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/url.h"

/* Whether there is a hop that would get a login. */
bool isolate_finds(const struct vd_hop *hops, size_t count);

/* Gives each such hop the user "viaduct", the same in all runs, since what is learned of hops is
 * kept by URL, and a random password of its own. Ends the program with status 125 where the kernel
 * has no random bytes. */
void isolate_hops(struct vd_hop *hops, size_t count);

#endif
