/*
 * What is sent before its association stands: one buffer for all of the process, one datagram after
 * the other.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client/assoc_entry.h"
#include "client/pending_entry.h"
#include "client/session.h"
#include "client/sys.h"

enum { WAIT_MS = 3000, TICK_MS = 5, SETTLE_MS = 100 };

struct frame {
    int at;        /* the place; -1: it has gone */
    uint32_t size; /* of all of it, up to where the next one begins */
    uint32_t len;  /* of header and payload */
    uint32_t zero;
    uint8_t data[];
};

static struct {
    uint8_t *buf;
    size_t len;       /* read without the lock, too */
    uint32_t sent_ms; /* when something was sent from here, and nothing received since; 0: never */
} held;

static bool have_buffer(void)
{
    void *buf;

    if (held.buf)
        return true;
    buf = mmap(NULL, ASSOC_HELD_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buf != MAP_FAILED)
        held.buf = buf;
    return held.buf;
}

static void set_len(size_t len)
{
    __atomic_store_n(&held.len, len, __ATOMIC_RELAXED);
}

static void set_waiting(int at, int by)
{
    struct assoc_hold *h = assoc_hold_made(at);

    __atomic_store_n(&h->waiting, h->waiting + (uint32_t)by, __ATOMIC_RELAXED);
}

static void copy(uint8_t *to, const struct iovec *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (parts[i].iov_len > 0)
            memcpy(to, parts[i].iov_base, parts[i].iov_len);
        to += parts[i].iov_len;
    }
}

/* The kernel reads the program's memory: a bad pointer is EFAULT. */
static int gather(uint8_t *to, const struct iovec *parts, size_t count, size_t len)
{
    struct iovec into = {to, len};
    ssize_t n = len > 0 ? process_vm_readv(getpid(), &into, 1, parts, count, 0) : 0;

    if (n == (ssize_t)len)
        return 0;
    if (n >= 0 || errno == EFAULT)
        return EFAULT;
    copy(to, parts, count); /* the kernel will not do it for us */
    return 0;
}

int assoc_held_add(int at, const uint8_t *header, size_t header_len, const struct iovec *parts,
                   size_t count, size_t payload)
{
    size_t size = (sizeof(struct frame) + header_len + payload + 15) / 16 * 16;
    struct frame *f;
    int number;

    if (!have_buffer() || size > ASSOC_HELD_MAX - held.len)
        return 0; /* lost, as datagrams may be */
    f = (struct frame *)(held.buf + held.len);
    number = gather(f->data + header_len, parts, count, payload);
    if (number)
        return number;
    memcpy(f->data, header, header_len);
    f->at = at;
    f->size = (uint32_t)size;
    f->len = (uint32_t)(header_len + payload);
    set_len(held.len + size);
    set_waiting(at, 1);
    return 0;
}

/* --- sending --------------------------------------------------------------------------------- */

/* An error that is told here may be of a datagram long ago; then it is read, and this one goes. */
static bool send_one(int fd, const struct frame *f, const struct assoc_told *told)
{
    struct iovec parts[] = {{(void *)told->prefix, told->prefix_len}, {(void *)f->data, f->len}};
    struct msghdr m = {.msg_name = (void *)told->relay,
                       .msg_namelen = told->relay_len,
                       .msg_iov = parts,
                       .msg_iovlen = 2};

    if (sys.sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return true;
    if (errno == EAGAIN)
        return false;
    return sys.sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EAGAIN;
}

static struct frame *next(size_t *offset)
{
    struct frame *f = *offset < held.len ? (struct frame *)(held.buf + *offset) : NULL;

    if (f)
        *offset += f->size;
    return f;
}

static void close_gaps(void)
{
    size_t from = 0, to = 0;
    struct frame *f;

    while ((f = next(&from))) {
        size_t size = f->size;

        if (f->at < 0)
            continue;
        memmove(held.buf + to, f, size);
        to += size;
    }
    set_len(to);
}

static void let_go(struct frame *f)
{
    set_waiting(f->at, -1);
    f->at = -1;
}

void assoc_held_send(int at, const struct assoc_told *told)
{
    int fd = assoc_hold_fd(assoc_hold_made(at)), saved = errno;
    size_t offset = 0;
    struct frame *f;

    while ((f = next(&offset))) {
        if (f->at != at)
            continue;
        if (fd >= 0 && !send_one(fd, f, told))
            break; /* in its order */
        let_go(f);
        __atomic_store_n(&held.sent_ms, assoc_now_ms() | 1, __ATOMIC_RELAXED);
    }
    close_gaps();
    errno = saved;
}

void assoc_held_drop(int at)
{
    size_t offset = 0;
    struct frame *f;

    if (assoc_hold_made(at)->waiting == 0)
        return;
    while ((f = next(&offset)))
        if (f->at == at)
            let_go(f);
    close_gaps();
}

void assoc_held_forget(void)
{
    set_len(0);
    held.sent_ms = 0;
}

/* What the record has come to, meanwhile or in another process. */
void assoc_held_look(int at)
{
    struct assoc_hold *h = assoc_hold_made(at);
    struct assoc_told told;
    int fd = assoc_hold_fd(h);

    if (fd < 0 || !assoc_read(at, h->cookie, &told)) {
        assoc_held_drop(at);
        return;
    }
    if (told.state == ASSOC_MAKING && told.generation == h->generation &&
        (h->under_way > 0 || assoc_is_alive(told.owner)))
        return;
    if (told.state == ASSOC_FAILED)
        assoc_held_drop(at);
    else if (told.state == ASSOC_UP && assoc_hold_serves(at, h->cookie, &told, fd))
        assoc_held_send(at, &told);
    else
        assoc_begin(at, h->cookie, fd, plan_chain(session_plan(), assoc_chain_of(at)));
}

/* --- when the process ends, or becomes another program ---------------------------------------- */

void assoc_held_answered(void)
{
    if (__atomic_load_n(&held.sent_ms, __ATOMIC_RELAXED))
        __atomic_store_n(&held.sent_ms, 0, __ATOMIC_RELAXED);
}

static void nap(uint32_t ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000L};

    nanosleep(&t, NULL);
}

/* A relay takes the end of the control connection for the end of it all, even of what it has not
 * read yet. */
static void settle(void)
{
    uint32_t sent_ms = __atomic_load_n(&held.sent_ms, __ATOMIC_RELAXED);
    int32_t ago = (int32_t)(assoc_now_ms() - sent_ms);

    if (sent_ms && ago < SETTLE_MS)
        nap((uint32_t)(SETTLE_MS - ago));
}

void assoc_before_end(void)
{
    int saved = errno;

    if (pending_in_vfork_child())
        return;
    for (int ms = 0; ms < WAIT_MS && __atomic_load_n(&held.len, __ATOMIC_RELAXED) > 0;
         ms += TICK_MS)
        nap(TICK_MS);
    settle();
    errno = saved;
}

/* Programs end right after the last send. */
__attribute__((destructor)) static void wait_at_exit(void)
{
    assoc_before_end();
}
