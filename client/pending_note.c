/*
 * Notes lie in parts of a thousand, so that a program with a few descriptors pays for a few; the
 * first part is always there, the others are mapped when they are needed and stay.
 */
#include <stddef.h>
#include <sys/mman.h>

#include "client/pending_entry.h"

enum { PART = 1024, PARTS = 1024 };

static struct note first_part[PART];
static struct note *parts[PARTS] = {first_part};

static struct note *part_of(int fd)
{
    if (fd < 0 || fd >= PART * PARTS)
        return NULL;
    return __atomic_load_n(&parts[fd / PART], __ATOMIC_ACQUIRE);
}

struct note *note_of(int fd)
{
    struct note *part = part_of(fd);

    return part ? &part[fd % PART] : NULL;
}

static struct note *make_part(int index)
{
    const size_t size = PART * sizeof(struct note);
    struct note *none = NULL, *part = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (part == MAP_FAILED)
        return NULL;
    if (__atomic_compare_exchange_n(&parts[index], &none, part, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return part;
    munmap(part, size); /* another thread was quicker */
    return none;
}

struct note *note_make(int fd)
{
    struct note *part = part_of(fd);

    if (!part && fd >= 0 && fd < PART * PARTS)
        part = make_part(fd / PART);
    return part ? &part[fd % PART] : NULL;
}

static bool holds_something(const struct note *n)
{
    return __atomic_load_n(&n->slot, __ATOMIC_RELAXED) ||
           __atomic_load_n(&n->marks, __ATOMIC_RELAXED) ||
           __atomic_load_n(&n->epfd_1, __ATOMIC_RELAXED);
}

int note_next(int fd)
{
    while (fd < PART * PARTS) {
        const struct note *n = note_of(fd);

        if (!n)
            fd = (fd / PART + 1) * PART;
        else if (holds_something(n))
            return fd;
        else
            fd++;
    }
    return -1;
}

void note_mark(int fd, enum mark mark)
{
    struct note *n = note_make(fd);

    if (n)
        __atomic_fetch_or(&n->marks, (uint8_t)mark, __ATOMIC_RELAXED);
}

void note_unmark(int fd, uint8_t marks)
{
    struct note *n = note_of(fd);

    if (n)
        __atomic_fetch_and(&n->marks, (uint8_t)~marks, __ATOMIC_RELAXED);
}
