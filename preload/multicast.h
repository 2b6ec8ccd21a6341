/*
 * multicast: joining a group, which makes the kernel tell the link's routers of it (IGMP, MLD).
 */
#ifndef VD_PRELOAD_MULTICAST_H
#define VD_PRELOAD_MULTICAST_H

#include <stdbool.h>
#include <sys/socket.h>

/* Whether setsockopt() with these arguments joins a group that no rule lets pass; then a line was
 * said, and errno says what the program is told. */
bool multicast_refuses(int level, int name, const void *value, socklen_t len);

#endif
