/* A library that connects, and sends. */
#include "leak.h"

int leak_plugin(const struct to *t);

__attribute__((visibility("default"))) int leak_plugin(const struct to *t)
{
    int fd = make(t);

    return connect(fd, at(t), t->len) == 0 && send(fd, "leak", 4, 0) == 4;
}
