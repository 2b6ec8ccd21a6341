#include "daemon/loop.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

const uint32_t loop_everything =
    (uint32_t)EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | (uint32_t)EPOLLET;

enum { BATCH = 256 };

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int loop_init(struct loop *loop)
{
    memset(loop, 0, sizeof *loop);
    loop->tasks_end = &loop->tasks;
    loop->now_ms = clock_ms();
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    return loop->epoll < 0 ? -1 : loop_reserve(loop, 64);
}

void loop_free(struct loop *loop)
{
    close(loop->epoll);
    free(loop->slots);
    free(loop->heap);
}

/* --- descriptors --- */

static int slots_for(struct loop *loop, int fd)
{
    size_t need = (size_t)fd + 1, count = loop->slot_count ? loop->slot_count : 64;
    if (need <= loop->slot_count)
        return 0;
    while (count < need)
        count *= 2;
    struct loop_slot *slots = realloc(loop->slots, count * sizeof *slots);
    if (!slots)
        return -1;
    memset(slots + loop->slot_count, 0, (count - loop->slot_count) * sizeof *slots);
    loop->slots = slots;
    loop->slot_count = count;
    return 0;
}

static int control(struct loop *loop, int how, const struct loop_io *io, uint32_t events)
{
    uint64_t generation = loop->slots[io->fd].generation;
    struct epoll_event event = {.events = events, .data.u64 = generation << 32 | (uint32_t)io->fd};
    return epoll_ctl(loop->epoll, how, io->fd, &event);
}

int loop_watch(struct loop *loop, struct loop_io *io, uint32_t events)
{
    if (slots_for(loop, io->fd) != 0)
        return -1;
    loop->slots[io->fd].generation++;
    if (control(loop, EPOLL_CTL_ADD, io, events) != 0)
        return -1;
    loop->slots[io->fd].io = io;
    return 0;
}

int loop_change(struct loop *loop, struct loop_io *io, uint32_t events)
{
    return control(loop, EPOLL_CTL_MOD, io, events);
}

int loop_take(struct loop *loop, struct loop_io *io)
{
    int fd = io->fd;
    if (fd >= 0 && (size_t)fd < loop->slot_count && loop->slots[fd].io == io)
        loop->slots[fd].io = NULL;
    io->fd = -1;
    return fd;
}

void loop_forget(struct loop *loop, struct loop_io *io)
{
    int fd = loop_take(loop, io);
    if (fd >= 0)
        epoll_ctl(loop->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* Workers never fork while sessions live, so that close() alone ends the kernel's watch. */
void loop_close(struct loop *loop, struct loop_io *io)
{
    int fd = loop_take(loop, io);
    if (fd >= 0)
        close(fd);
}

void loop_hand_over(struct loop *loop, struct loop_io *from, struct loop_io *to)
{
    to->fd = loop_take(loop, from);
    loop->slots[to->fd].io = to;
}

static void deliver(struct loop *loop, const struct epoll_event *event)
{
    uint32_t fd = (uint32_t)event->data.u64;
    const struct loop_slot *slot = &loop->slots[fd];
    if (slot->io && slot->generation == event->data.u64 >> 32)
        slot->io->ready(slot->io, event->events);
}

/* --- timers: a binary heap over queued_ms --- */

int loop_reserve(struct loop *loop, size_t timers)
{
    if (timers < loop->heap_cap)
        return 0;
    size_t cap = loop->heap_cap ? loop->heap_cap : 128;
    while (cap <= timers)
        cap *= 2;
    struct loop_timer **heap = realloc(loop->heap, cap * sizeof *heap);
    if (!heap)
        return -1;
    loop->heap = heap;
    loop->heap_cap = (uint32_t)cap;
    return 0;
}

static void put(struct loop *loop, uint32_t place, struct loop_timer *timer)
{
    loop->heap[place] = timer;
    timer->place = place;
}

static void rise(struct loop *loop, uint32_t place, struct loop_timer *timer)
{
    for (; place > 1 && loop->heap[place / 2]->queued_ms > timer->queued_ms; place /= 2)
        put(loop, place, loop->heap[place / 2]);
    put(loop, place, timer);
}

static void sink(struct loop *loop, uint32_t place, struct loop_timer *timer)
{
    for (uint32_t child; (child = place * 2) <= loop->heap_len; place = child) {
        if (child < loop->heap_len &&
            loop->heap[child + 1]->queued_ms < loop->heap[child]->queued_ms)
            child++;
        if (loop->heap[child]->queued_ms >= timer->queued_ms)
            break;
        put(loop, place, loop->heap[child]);
    }
    put(loop, place, timer);
}

static void settle(struct loop *loop, uint32_t place, struct loop_timer *timer)
{
    if (place > 1 && loop->heap[place / 2]->queued_ms > timer->queued_ms)
        rise(loop, place, timer);
    else
        sink(loop, place, timer);
}

static void unqueue(struct loop *loop, struct loop_timer *timer)
{
    uint32_t place = timer->place;
    struct loop_timer *last = loop->heap[loop->heap_len--];
    timer->place = 0;
    if (last != timer)
        settle(loop, place, last);
}

void loop_timer_in(struct loop *loop, struct loop_timer *timer, int64_t ms)
{
    timer->at_ms = loop->now_ms + (ms > 0 ? ms : 0);
    if (timer->place && timer->queued_ms <= timer->at_ms)
        return;
    timer->queued_ms = timer->at_ms;
    if (timer->place) {
        rise(loop, timer->place, timer);
        return;
    }
    assert(loop->heap_len + 1 < loop->heap_cap);
    rise(loop, ++loop->heap_len, timer);
}

void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    timer->at_ms = 0;
    if (timer->place)
        unqueue(loop, timer);
}

static void fire_due(struct loop *loop)
{
    while (loop->heap_len > 0 && loop->heap[1]->queued_ms <= loop->now_ms) {
        struct loop_timer *timer = loop->heap[1];
        if (timer->at_ms > loop->now_ms) {
            timer->queued_ms = timer->at_ms;
            sink(loop, 1, timer);
            continue;
        }
        unqueue(loop, timer);
        timer->at_ms = 0;
        timer->fire(timer);
    }
}

static int patience(const struct loop *loop)
{
    if (loop->tasks)
        return 0;
    if (loop->heap_len == 0)
        return -1;
    int64_t left = loop->heap[1]->queued_ms - loop->now_ms;
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* --- tasks --- */

void loop_later(struct loop *loop, struct loop_task *task)
{
    if (task->link)
        return;
    task->next = NULL;
    task->link = loop->tasks_end;
    *loop->tasks_end = task;
    loop->tasks_end = &task->next;
}

void loop_task_stop(struct loop *loop, struct loop_task *task)
{
    if (!task->link)
        return;
    *task->link = task->next;
    if (task->next)
        task->next->link = task->link;
    else
        loop->tasks_end = task->link;
    task->link = NULL;
}

/* A task that is queued again meanwhile waits for the next turn. */
static void run_tasks(struct loop *loop)
{
    struct loop_task mark = {0};
    if (!loop->tasks)
        return;
    loop_later(loop, &mark);
    while (loop->tasks != &mark) {
        struct loop_task *task = loop->tasks;
        loop_task_stop(loop, task);
        task->run(task);
    }
    loop_task_stop(loop, &mark);
}

void loop_run(struct loop *loop)
{
    struct epoll_event events[BATCH];
    while (!loop->stop) {
        int n = epoll_wait(loop->epoll, events, BATCH, patience(loop));
        loop->now_ms = clock_ms();
        run_tasks(loop);
        for (int i = 0; i < n; i++)
            deliver(loop, &events[i]);
        fire_due(loop);
        if (loop->after)
            loop->after(loop);
    }
}
