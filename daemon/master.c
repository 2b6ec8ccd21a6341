/*
 * The parent does nothing but wait for signals:
 *
 *     RUNNING ──SIGTERM, SIGINT──> DRAINING ──all workers gone──> exit 0
 *        │ SIGCHLD: the slot         │ SIGTERM, SIGINT again, or SIGQUIT: SIGKILL to all
 *        │ gets a new worker         └── a worker that dies is not replaced
 *
 * A slot's sockets stay open here while its worker changes, so that what is queued on them waits.
 * They are closed when draining begins: the workers then hold the last copies, take what is queued,
 * and close them too. Workers get SIGTERM when the parent dies (PR_SET_PDEATHSIG), so none is left
 * behind. A worker that lived less than RESTART_MS is replaced no sooner than that.
 */
#include "daemon/master.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/worker.h"

enum { RESTART_MS = 1000, NEVER = -1, IN_WORKER = 1 };

struct slot {
    pid_t pid; /* 0: none */
    int64_t started_ms, due_ms;
};

struct master {
    const struct options *options;
    struct listen_set *set;
    struct slot *slots;
    unsigned count, alive;
    bool draining;
    int status; /* of this process, when it is a worker */
};

static int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- workers --- */

static int be_worker(const struct master *m, pid_t parent, int slot)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        return 1;
    signal(SIGCHLD, SIG_IGN); /* the login helper is not waited for */
    return worker_run(&m->options->conf, m->set, slot);
}

/* 0 in the parent, IN_WORKER in the worker when it has ended. */
static int spawn(struct master *m, unsigned index)
{
    struct slot *slot = &m->slots[index];
    pid_t parent = getpid();
    log_flush();
    slot->started_ms = clock_ms();
    pid_t pid = fork();
    if (pid == 0) {
        m->status = be_worker(m, parent, (int)index);
        return IN_WORKER;
    }
    if (pid < 0) {
        log_say(LOG_QUIET, "cannot start a worker: %s", strerror(errno));
        slot->due_ms = slot->started_ms + RESTART_MS;
        return 0;
    }
    slot->pid = pid;
    slot->due_ms = NEVER;
    m->alive++;
    return 0;
}

static int spawn_due(struct master *m)
{
    int64_t now = clock_ms();
    for (unsigned i = 0; i < m->count && !m->draining; i++) {
        bool due = m->slots[i].pid == 0 && m->slots[i].due_ms <= now;
        if (due && spawn(m, i) == IN_WORKER)
            return IN_WORKER;
    }
    return 0;
}

static void signal_all(const struct master *m, int number)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->slots[i].pid > 0)
            kill(m->slots[i].pid, number);
}

static void note_death(struct master *m, struct slot *slot, int status)
{
    int64_t soonest = slot->started_ms + RESTART_MS, now = clock_ms();
    pid_t pid = slot->pid;
    slot->pid = 0;
    slot->due_ms = soonest > now ? soonest : now;
    m->alive--;
    if (m->draining)
        return;
    if (WIFSIGNALED(status))
        log_say(LOG_QUIET, "worker %d was ended by signal %d (%s); it is replaced", (int)pid,
                WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        log_say(LOG_QUIET, "worker %d ended with status %d; it is replaced", (int)pid,
                WEXITSTATUS(status));
}

static void reap(struct master *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (unsigned i = 0; i < m->count; i++)
            if (m->slots[i].pid == pid)
                note_death(m, &m->slots[i], status);
}

/* --- signals --- */

static void end(struct master *m, bool at_once)
{
    if (m->draining || at_once) {
        signal_all(m, SIGKILL);
        m->draining = true;
        return;
    }
    m->draining = true;
    log_say(LOG_NORMAL, "draining: no new connections, %u seconds for those that are open",
            m->options->conf.drain_ms / 1000);
    listen_close_others(m->set, -1);
    signal_all(m, SIGTERM);
}

static void handle(struct master *m, int number)
{
    switch (number) {
    case SIGTERM:
    case SIGINT:
        end(m, false);
        break;
    case SIGQUIT:
        end(m, true);
        break;
    case SIGHUP:
        log_say(LOG_QUIET, "SIGHUP: this version does not reload; restart it instead");
        break;
    default:
        reap(m);
        break;
    }
}

static void block_signals(sigset_t *set)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCHLD};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(set, numbers[i]);
    sigprocmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Until a signal, or until a slot is due. */
static int await(const struct master *m, const sigset_t *set)
{
    int64_t due = INT64_MAX, now = clock_ms();
    for (unsigned i = 0; i < m->count && !m->draining; i++)
        if (m->slots[i].pid == 0 && m->slots[i].due_ms < due)
            due = m->slots[i].due_ms;
    if (due == INT64_MAX)
        return sigwaitinfo(set, NULL);
    int64_t left = due > now ? due - now : 0;
    struct timespec wait = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
    return sigtimedwait(set, NULL, &wait);
}

/* --- the face --- */

static void raise_descriptor_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

static void tell_listeners(const struct listen_set *set)
{
    char text[VD_ENDPOINT_TEXT + 16];
    for (size_t i = 0; i < set->count; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        listen_print(&out, &set->at[i]);
        log_say(LOG_NORMAL, "listening on %s", vd_out_string(&out));
    }
}

static int run(struct master *m)
{
    sigset_t set;
    block_signals(&set);
    if (spawn_due(m) == IN_WORKER)
        return m->status;
    tell_listeners(m->set);
    while (m->alive > 0 || !m->draining) {
        log_flush();
        int number = await(m, &set);
        if (number > 0)
            handle(m, number);
        if (spawn_due(m) == IN_WORKER)
            return m->status;
    }
    log_flush();
    return 0;
}

int master_run(const struct options *options, struct listen_set *set)
{
    struct master m = {.options = options, .set = set, .count = set->workers};
    m.slots = calloc(m.count, sizeof *m.slots);
    if (!m.slots)
        return 1;
    raise_descriptor_limit();
    int status = run(&m);
    free(m.slots);
    return status;
}
