/*
 * The first part of the notes is always there, the others are mapped when they are needed and stay.
 */
#include <stddef.h>
#include <sys/mman.h>

#include "client/pending_entry.h"

static struct note first_part[NOTES_PART];
struct note *note_parts[NOTES_PARTS] = {first_part};

static struct note *make_part(int index)
{
    const size_t size = NOTES_PART * sizeof(struct note);
    struct note *none = NULL, *part = mmap(NULL, size, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (part == MAP_FAILED)
        return NULL;
    if (__atomic_compare_exchange_n(&note_parts[index], &none, part, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return part;
    munmap(part, size); /* another thread was quicker */
    return none;
}

struct note *note_make(int fd)
{
    struct note *n = note_of(fd), *part;

    if (n || fd < 0 || fd >= NOTES_PART * NOTES_PARTS)
        return n;
    part = make_part(fd / NOTES_PART);
    return part ? &part[fd % NOTES_PART] : NULL;
}

static bool holds_something(const struct note *n)
{
    return __atomic_load_n(&n->slot, __ATOMIC_RELAXED) ||
           __atomic_load_n(&n->marks, __ATOMIC_RELAXED) ||
           __atomic_load_n(&n->epfd_1, __ATOMIC_RELAXED);
}

int note_next(int fd)
{
    while (fd < NOTES_PART * NOTES_PARTS) {
        const struct note *n = note_of(fd);

        if (!n)
            fd = (fd / NOTES_PART + 1) * NOTES_PART;
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

    if (n && !(__atomic_load_n(&n->marks, __ATOMIC_RELAXED) & mark))
        __atomic_fetch_or(&n->marks, (uint8_t)mark, __ATOMIC_RELAXED);
}

void note_unmark(int fd, uint8_t marks)
{
    struct note *n = note_of(fd);

    if (n)
        __atomic_fetch_and(&n->marks, (uint8_t)~marks, __ATOMIC_RELAXED);
}
