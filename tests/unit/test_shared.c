/* What processes share: slots, sums, records of hops; a process that is killed in between. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/shared.h"
#include "proto/err.h"
#include "tests/unit/tap.h"

static struct shared sh;

static void take(void)
{
    sh.own = shared_take_slot(&sh);
    shared_started(&sh, sh.own, getpid());
}

/* A worker in a process of its own, which does this and then waits to be killed. */
static pid_t start(void (*act)(void), int *slot)
{
    int ready[2];
    char byte;
    *slot = shared_take_slot(&sh);
    if (pipe(ready) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        sh.own = *slot;
        act();
        if (write(ready[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    shared_started(&sh, *slot, pid);
    if (read(ready[0], &byte, 1) != 1)
        tap_wrong("the process did not get ready");
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void kill_and_clear(pid_t pid, int slot)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    shared_clear_slot(&sh, slot);
}

static void work(void)
{
    struct shared_hop *hop = shared_hop(&sh, "up", "socks5://h:1");
    for (int i = 0; i < 5; i++)
        shared_enter(&sh, 0);
    shared_hop_enter(&sh, hop);
    shared_hop_enter(&sh, hop);
    shared_add(&shared_own(&sh)->counts.bytes_up, 1000);
    shared_note_end(&shared_own(&sh)->counts, "SOCKS5", "refused", "dns_error");
    __atomic_store_n(&hop->fails, 7, __ATOMIC_RELAXED);
}

static void killed(void)
{
    struct shared_counts sums;
    int slot;
    pid_t pid = start(work, &slot);
    struct shared_hop *hop = shared_hop(&sh, "up", "socks5://h:1");
    const uint32_t *open = &sh.workers[0].sessions;
    tap_ok(shared_total(&sh, open) == 5 && shared_hop_sessions(&sh, hop) == 2,
           "what another process has open");
    shared_sums(&sh, &sums);
    tap_ok(sums.bytes_up == 1000 && sums.ended[SHARED_SOCKS5][SHARED_REFUSED] == 1,
           "its sums while it runs");
    kill_and_clear(pid, slot);
    tap_ok(shared_total(&sh, open) == 0 && shared_hop_sessions(&sh, hop) == 0,
           "nothing is open once it was killed");
    shared_sums(&sh, &sums);
    tap_ok(sums.bytes_up == 1000 && sums.refused[VD_ERR_NAME] == 1, "its sums stay");
    tap_ok(hop->fails == 7, "and so does what it learned");
    tap_ok(shared_take_slot(&sh) == slot, "its slot is the next to be taken");
    shared_clear_slot(&sh, slot);
}

static void bounds(void)
{
    take();
    unsigned entered = 0;
    while (entered < 100 && shared_enter(&sh, 10))
        entered++;
    tap_ok(entered == 10, "not more sessions than are allowed");
    shared_leave(&sh);
    tap_ok(shared_enter(&sh, 10) && !shared_enter(&sh, 10), "one that left makes room");
    shared_clear_slot(&sh, sh.own);

    unsigned taken = 0, all = shared_free_slots(&sh);
    while (shared_take_slot(&sh) >= 0)
        taken++;
    tap_ok(taken == all && taken >= 64 && shared_free_slots(&sh) == 0, "all slots can be taken");
    for (unsigned i = 0; i < taken; i++)
        shared_clear_slot(&sh, (int)i);
}

/* What both hold, by their own word; an upper bound of it is what they asked for and were given. */
static uint64_t held(const int slots[2])
{
    return __atomic_load_n(&sh.workers[slots[0]].counts.accepted, __ATOMIC_SEQ_CST) +
           __atomic_load_n(&sh.workers[slots[1]].counts.accepted, __ATOMIC_SEQ_CST);
}

/* Takes all that can be had, and gives it back, again and again. The number of times that both
 * held more than three. */
static unsigned race(const int slots[2], int which)
{
    unsigned wrong = 0;
    uint64_t *own = &sh.workers[slots[which]].counts.accepted, have = 0;
    sh.own = slots[which];
    shared_set(&shared_own(&sh)->paused, 1);
    while (shared_total(&sh, &sh.workers[0].paused) < 2)
        usleep(100);
    for (int i = 0; i < 100000; i++) {
        while (have < 5 && shared_enter(&sh, 3)) {
            __atomic_store_n(own, ++have, __ATOMIC_SEQ_CST);
            wrong += held(slots) > 3;
        }
        for (; have > 0; shared_leave(&sh))
            __atomic_store_n(own, --have, __ATOMIC_SEQ_CST);
    }
    return wrong;
}

static void races(void)
{
    int slots[2] = {shared_take_slot(&sh), shared_take_slot(&sh)}, status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(race(slots, 1) > 0);
    unsigned wrong = race(slots, 0);
    waitpid(pid, &status, 0);
    tap_ok(wrong == 0 && status == 0, "two that race for the last place");
    for (int i = 0; i < 2; i++)
        shared_clear_slot(&sh, slots[i]);
}

static void times(void)
{
    static const struct {
        int64_t ms;
        unsigned class;
    } rows[] = {{0, 0}, {1, 0}, {2, 1}, {5, 1}, {6, 2}, {5000, 7}, {5001, 8}, {1 << 30, 8}};
    tap_begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (shared_time_class(rows[i].ms) != rows[i].class)
            tap_wrong("%d ms are in class %u", (int)rows[i].ms, shared_time_class(rows[i].ms));
    tap_end("classes of durations");
}

static void words(void)
{
    struct shared_counts c = {.accepted = 0};
    shared_note_end(&c, "FTP", "no-such-end", NULL);
    tap_ok(c.ended[SHARED_UNKNOWN][SHARED_OTHERWISE] == 1, "words that nobody knows");
    for (int i = VD_OK + 1; i < VD_ERR_COUNT; i++)
        shared_note_end(&c, "HTTP", "refused", vd_err_proxy_status(i));
    uint64_t sum = 0;
    for (int i = 0; i < SHARED_REASONS; i++)
        sum += c.refused[i];
    tap_ok(sum == VD_ERR_COUNT - 1 && c.refused[VD_ERR_DENIED] > 1 && c.refused[VD_ERR_RULE] == 0,
           "reasons with the same word are one");
}

static bool is_shared(const struct shared_hop *hop)
{
    return hop >= sh.hops && hop < sh.hops + SHARED_HOPS;
}

static void hops(void)
{
    char text[32], longest[3 * SHARED_TEXT];
    struct shared_hop *a = shared_hop(&sh, "a", "b"), *b = shared_hop(&sh, "ab", "");
    tap_ok(a != b && shared_hop(&sh, "a", "b") == a && !strcmp(a->text, "b"), "one record each");
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    tap_ok(strlen(shared_hop(&sh, "g", longest)->text) == SHARED_TEXT - 1, "a long name is cut");
    tap_ok(shared_due(a, 1000, 50) && !shared_due(a, 1049, 50) && shared_due(a, 1050, 50),
           "due once for all");

    take();
    for (int i = 0; i < SHARED_HOPS; i++) {
        snprintf(text, sizeof text, "h%d", i);
        shared_hop(&sh, "many", text);
    }
    struct shared_hop *more = shared_hop(&sh, "many", "more");
    shared_hop_enter(&sh, more);
    tap_ok(!is_shared(more) && shared_hop(&sh, "many", "more") == more &&
               shared_hop_sessions(&sh, more) == 1 && shared_hop(&sh, "a", "b") == a,
           "beyond all records one of this process");
    shared_hop_leave(&sh, more);

    shared_next_generation(&sh, true);
    shared_hop(&sh, "a", "b");
    shared_next_generation(&sh, false);
    tap_ok(shared_hop(&sh, "many", "h0")->key != 0, "those in use stay");
    shared_next_generation(&sh, true);
    shared_hop_enter(&sh, a);
    more = shared_hop(&sh, "many", "more");
    tap_ok(is_shared(more), "those that nobody asks for any more make room");
    shared_clear_slot(&sh, sh.own);
}

int main(void)
{
    if (shared_init(&sh, 2) != 0)
        return 1;
    killed();
    bounds();
    races();
    times();
    words();
    hops();
    shared_free(&sh);
    return tap_done();
}
