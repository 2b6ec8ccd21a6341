/* The table of clients and users: entries, what is crowded out, workers that race or are killed. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/shared_table.h"
#include "tests/unit/tap.h"

static struct shared sh;

static struct shared_entry *enter(const char *name, int64_t now_ms)
{
    struct shared_name n = {SHARED_LIMIT, "scope", name, strlen(name), name};
    return shared_entry_enter(&sh, &n, now_ms);
}

static void take(void)
{
    sh.own = shared_take_slot(&sh);
    shared_started(&sh, sh.own, getpid());
}

static void names(void)
{
    struct shared_name user = {SHARED_USER, "scope", "a", 1, "a"};
    struct shared_name other = {SHARED_LIMIT, "other", "a", 1, "a"};
    struct shared_entry *a = enter("a", 0), *again = enter("a", 0), *b = enter("b", 0);
    tap_ok(a && a == again && a != b && shared_entry_sessions(&sh, a) == 2 && a->total == 2,
           "one entry for a name");
    tap_ok(shared_entry_enter(&sh, &user, 0) != a && shared_entry_enter(&sh, &other, 0) != a,
           "kind and scope are part of the name");
    shared_entry_leave(&sh, a, 0);
    tap_ok(shared_entry_sessions(&sh, a) == 1, "one has left");

    struct shared_entry copy;
    uint32_t sessions;
    unsigned seen = 0;
    for (size_t i = 0; i < SHARED_ENTRIES; i++)
        if (shared_entry_read(&sh, i, &copy, &sessions) && copy.kind == SHARED_LIMIT)
            seen += strcmp(copy.text, "a") == 0 && sessions == 1;
    tap_ok(seen == 2, "a reader finds them");
    shared_clear_slot(&sh, sh.own);
}

/* All of the table, with sessions; then without; then after a while. */
static void crowd(void)
{
    static struct shared_entry *held[2 * SHARED_ENTRIES];
    char name[16];
    size_t count = 0, again = 0;
    int64_t now = 1000000;
    take();
    for (int i = 0; i < 2 * SHARED_ENTRIES; i++) {
        snprintf(name, sizeof name, "c%d", i);
        held[i] = enter(name, now);
        count += held[i] != NULL;
    }
    tap_ok(count > SHARED_ENTRIES * 9 / 10 && count <= SHARED_ENTRIES, "%zu entries at a time",
           count);
    for (int i = 0; i < 2 * SHARED_ENTRIES; i++)
        if (held[i])
            shared_entry_leave(&sh, held[i], now);
    now += SHARED_KEPT_MS - 1;
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "d%d", i);
        again += enter(name, now) != NULL;
    }
    tap_ok(again < 20, "those of a moment ago keep their places");
    now += 1;
    for (int i = 100; i < 1000; i++) {
        snprintf(name, sizeof name, "d%d", i);
        again += enter(name, now) != NULL;
    }
    tap_ok(again >= 900, "a while later they make room");
    shared_clear_slot(&sh, sh.own);
}

/* --- several processes --- */

/* A few names, all the time; what was entered is left. The number of times that more were inside
 * than there are processes. */
static void work(int slot, unsigned count)
{
    char name[16];
    unsigned wrong = 0;
    sh.own = slot;
    for (unsigned i = 0; i < 300000; i++) {
        snprintf(name, sizeof name, "r%u", i * 7919 % 40);
        struct shared_entry *e = enter(name, (int64_t)i * SHARED_KEPT_MS);
        if (!e)
            continue;
        wrong += shared_entry_sessions(&sh, e) > 2 * count;
        shared_entry_leave(&sh, e, (int64_t)i * SHARED_KEPT_MS);
    }
    _exit(wrong > 0);
}

static uint32_t all_sessions(unsigned *entries)
{
    struct shared_entry copy;
    uint32_t sessions, sum = 0;
    *entries = 0;
    for (size_t i = 0; i < SHARED_ENTRIES; i++)
        if (shared_entry_read(&sh, i, &copy, &sessions)) {
            sum += sessions;
            ++*entries;
        }
    return sum;
}

/* Two that come with the same new name at the same moment find one entry: else each had the whole
 * of a limit for itself. */
enum { ROUNDS = 2000 };

struct meeting {
    unsigned arrived[ROUNDS];
    struct shared_entry *found[ROUNDS][2];
};

static void meet(struct meeting *m, int which, int slot)
{
    char name[16];
    sh.own = slot;
    for (unsigned i = 0; i < ROUNDS; i++) {
        snprintf(name, sizeof name, "m%u", i);
        __atomic_add_fetch(&m->arrived[i], 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&m->arrived[i], __ATOMIC_SEQ_CST) < 2)
            ;
        m->found[i][which] = enter(name, (int64_t)400000 * SHARED_KEPT_MS);
    }
    _exit(0);
}

static void meetings(void)
{
    struct meeting *m =
        mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int slots[2] = {shared_take_slot(&sh), shared_take_slot(&sh)};
    unsigned twice = 0, none = 0;
    pid_t pids[2];
    for (int i = 0; i < 2; i++)
        if ((pids[i] = fork()) == 0)
            meet(m, i, slots[i]);
    for (int i = 0; i < 2; i++)
        waitpid(pids[i], NULL, 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        twice += m->found[i][0] != m->found[i][1];
        none += !m->found[i][0] && !m->found[i][1];
    }
    tap_ok(twice == 0 && none < ROUNDS / 10, "a name that two make at once is made once (%u, %u)",
           twice, none);
    for (int i = 0; i < 2; i++)
        shared_clear_slot(&sh, slots[i]);
    munmap(m, sizeof *m);
}

/* What a worker leaves that ends in between, and what its parent makes of it. */
static void left_claims(void)
{
    uint64_t *keys = sh.table;
    uint64_t claim = UINT64_C(1) << 63;
    int slot = shared_take_slot(&sh);
    unsigned found = 0, claims = 0;
    take();
    for (size_t i = 0; i < SHARED_ENTRIES; i++)
        if (keys[i] == 0 && i % 2)
            keys[i] = claim | (uint64_t)slot;
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "left%d", i);
        found += enter(name, (int64_t)800000 * SHARED_KEPT_MS) != NULL;
    }
    tap_ok(found == 4, "a claim that somebody left refuses nobody (%u of 4)", found);
    shared_clear_slot(&sh, slot);
    for (size_t i = 0; i < SHARED_ENTRIES; i++)
        claims += keys[i] == (claim | (uint64_t)slot);
    tap_ok(claims == 0, "and the parent takes it back");
    shared_clear_slot(&sh, sh.own);
}

static void races(void)
{
    enum { COUNT = 3 };
    int slots[COUNT], bad = 0;
    unsigned entries;
    pid_t pids[COUNT];
    for (int i = 0; i < COUNT; i++)
        slots[i] = shared_take_slot(&sh);
    for (int i = 0; i < COUNT; i++)
        if ((pids[i] = fork()) == 0)
            work(slots[i], COUNT);
    for (int i = 0; i < COUNT; i++) {
        int status;
        waitpid(pids[i], &status, 0);
        bad += status != 0;
    }
    tap_ok(bad == 0 && all_sessions(&entries) == 0, "three that race leave nothing behind");
    for (int i = 0; i < COUNT; i++)
        shared_clear_slot(&sh, slots[i]);
}

/* Killed wherever they are: in between an entry's claim and its key, too. */
static void killed(void)
{
    unsigned left = 0, entries;
    for (int i = 0; i < 60; i++) {
        int slot = shared_take_slot(&sh);
        pid_t pid = fork();
        if (pid == 0)
            work(slot, 1);
        usleep((useconds_t)(500 + i * 37));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        shared_clear_slot(&sh, slot);
        left += all_sessions(&entries);
    }
    take();
    unsigned good = 0;
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "r%d", i);
        good += enter(name, INT64_MAX / 2000000) != NULL;
    }
    tap_ok(left == 0 && good == 40, "sixty that were killed leave nothing behind");
    shared_clear_slot(&sh, sh.own);
}

static void tokens(void)
{
    int64_t at = 0, now = 5000000, wait = 0;
    unsigned got = 0;
    while (got < 100 && (wait = shared_take(&at, now, 10, 1000000)) == 0)
        got++;
    tap_ok(got == 10 && wait == 100000, "a full bucket, then a wait for one token's share");
    tap_ok(shared_take(&at, now + 99999, 10, 1000000) == 1 &&
               shared_take(&at, now + 100000, 10, 1000000) == 0 &&
               shared_take(&at, now + 100000, 10, 1000000) == 100000,
           "the share comes to the microsecond");
    for (got = 0; shared_take(&at, now + 60000000, 10, 1000000) == 0;)
        got++;
    tap_ok(got == 10, "a long wait fills it, and no more");
    at = 0;
    tap_ok(shared_take(&at, now, 3, 1000000) == 0 && shared_take(&at, now, 3, 1000000) == 0 &&
               shared_take(&at, now, 3, 1000000) == 0 && shared_take(&at, now, 3, 1000000) > 0,
           "a share that is no whole number");
}

int main(void)
{
    if (shared_init(&sh, 2) != 0)
        return 1;
    take();
    names();
    crowd();
    races();
    meetings();
    left_claims();
    killed();
    tokens();
    shared_free(&sh);
    return tap_done();
}
