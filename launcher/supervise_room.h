/*
 * supervise_room: a network in which every address is this machine's, and which leads nowhere.
 *
 * Datagram sockets whose datagrams the supervisor has to answer itself are put there, in the place
 * of the program's own: whomever the program sends to, a socket of the supervisor's can have that
 * very address, so that answers come from where they are expected. It is a network namespace of an
 * unprivileged user namespace; who makes sockets there is a process of its own, since the
 * supervisor could not look into its programs any more from inside.
 */
#ifndef VIADUCT_LAUNCHER_SUPERVISE_ROOM_H
#define VIADUCT_LAUNCHER_SUPERVISE_ROOM_H

#include <stdbool.h>

#include "launcher/supervise.h"

/* A new datagram socket of a family in the room, close-on-exec; -1: the system lets nobody make
 * such a network (asked for once). Waits for the process that makes it, some ten microseconds; the
 * first time, some milliseconds. */
int room_socket(int family);

/* Whether a socket is in the room. */
bool room_has(int fd);

/* A socket of the room like the program's `s`: its family, options, port and file flags, connected
 * to nobody. -1: there is none to be had. */
int room_copy(const struct supervise_socket *s);

#endif
