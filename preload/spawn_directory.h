/*
 * spawn_directory: where the child of posix_spawn() looks for its program.
 */
#ifndef VD_PRELOAD_SPAWN_DIRECTORY_H
#define VD_PRELOAD_SPAWN_DIRECTORY_H

#include <spawn.h>

/* Where the child is when it execs: AT_FDCWD or a descriptor. -1 with the errno that the child's
 * change of directory would give, or EACCES if nothing can be told. */
int spawn_directory(const posix_spawn_file_actions_t *actions);

#endif
