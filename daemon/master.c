/*
 * The parent does nothing but wait for signals:
 *
 *     RUNNING ──SIGTERM, SIGINT──> DRAINING ──all workers gone──> exit 0
 *      │  │ SIGCHLD: the slot        │ SIGTERM, SIGINT again, or SIGQUIT: SIGKILL to all
 *      │  │ gets a new worker        └── a worker that dies is not replaced
 *      │
 *      └── SIGHUP: everything is read and opened anew; if that went well, new workers start, and
 *          the old ones are told to accept no more, to end the sessions of users that are gone,
 *          and to end with their last session
 *
 * A slot's sockets stay open here while its worker changes, so that what is queued on them waits.
 * They are closed when draining begins: the workers then hold the last copies, take what is queued,
 * and close them too. At a reload, sockets of listeners that stay go over to the new set. Workers
 * get SIGTERM when the parent dies (PR_SET_PDEATHSIG), so none is left behind. A worker that lived
 * less than RESTART_MS is replaced no sooner than that. The process of the status page is started
 * again like a worker, replaced at a reload, and lives to the end of a drain.
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

#include "daemon/admin.h"
#include "daemon/confine.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/revoke.h"
#include "daemon/setup.h"
#include "daemon/shared.h"
#include "daemon/worker.h"

enum { RESTART_MS = 1000, NEVER = -1, IN_WORKER = 1 };

struct slot {
    pid_t pid; /* 0: none */
    int place; /* in what is shared */
    int64_t started_ms, due_ms;
};

/* A worker from before a reload. */
struct old_worker {
    pid_t pid;
    int place;
};

struct master {
    struct options *options;
    struct listen_set *set;
    const struct listen_set *given;
    struct slot *slots;
    struct slot admin; /* the process of the status page (admin.h) */
    unsigned count, alive;
    struct shared shared;
    struct old_worker *old;
    size_t old_count;
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

/* Any process that this one has forked. 0, or -1 after a line in the log. */
static int give_up(const struct master *m, pid_t parent)
{
    if (confine_worker(&m->options->conf) != 0) {
        log_say(LOG_QUIET, "a worker cannot give up its privileges: %s", strerror(errno));
        log_flush();
        return -1;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* a change of the user would have undone it */
    return getppid() == parent ? 0 : -1;
}

static int be_worker(struct master *m, pid_t parent, int slot)
{
    m->shared.own = m->slots[slot].place;
    if (give_up(m, parent) != 0)
        return 1;
    signal(SIGCHLD, SIG_IGN); /* the login helper is not waited for */
    return worker_run(&m->options->conf, m->options->contexts, m->set, slot, &m->shared);
}

/* 0 in the parent, IN_WORKER in the worker when it has ended. */
static int spawn(struct master *m, unsigned index)
{
    struct slot *slot = &m->slots[index];
    pid_t parent = getpid();
    log_flush();
    slot->started_ms = clock_ms();
    slot->place = shared_take_slot(&m->shared);
    errno = EAGAIN;
    pid_t pid = slot->place < 0 ? -1 : fork();
    if (pid == 0) {
        m->status = be_worker(m, parent, (int)index);
        return IN_WORKER;
    }
    if (pid < 0) {
        log_say(LOG_QUIET, "cannot start a worker: %s", strerror(errno));
        if (slot->place >= 0)
            shared_clear_slot(&m->shared, slot->place);
        slot->due_ms = slot->started_ms + RESTART_MS;
        return 0;
    }
    shared_started(&m->shared, slot->place, pid);
    slot->pid = pid;
    slot->due_ms = NEVER;
    m->alive++;
    return 0;
}

static int spawn_admin(struct master *m)
{
    struct slot *admin = &m->admin;
    pid_t parent = getpid();
    log_flush();
    admin->started_ms = clock_ms();
    pid_t pid = fork();
    if (pid == 0) {
        m->status = give_up(m, parent) == 0 ? admin_run(&m->options->conf, m->set, &m->shared) : 1;
        return IN_WORKER;
    }
    if (pid < 0)
        log_say(LOG_QUIET, "cannot start the status page: %s", strerror(errno));
    admin->pid = pid > 0 ? pid : 0;
    admin->due_ms = pid > 0 ? NEVER : admin->started_ms + RESTART_MS;
    return 0;
}

static bool is_admin_due(const struct master *m)
{
    return m->options->conf.admin && m->admin.pid == 0 && !m->draining;
}

static int spawn_due(struct master *m)
{
    int64_t now = clock_ms();
    if (is_admin_due(m) && m->admin.due_ms <= now && spawn_admin(m) == IN_WORKER)
        return IN_WORKER;
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
    for (size_t i = 0; i < m->old_count; i++)
        kill(m->old[i].pid, number);
}

static void note_death(struct master *m, struct slot *slot, int status)
{
    int64_t soonest = slot->started_ms + RESTART_MS, now = clock_ms();
    pid_t pid = slot->pid;
    shared_clear_slot(&m->shared, slot->place);
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

static void note_admin_death(struct master *m)
{
    int64_t soonest = m->admin.started_ms + RESTART_MS, now = clock_ms();
    m->admin.pid = 0;
    m->admin.due_ms = soonest > now ? soonest : now;
    if (!m->draining)
        log_say(LOG_QUIET, "the process of the status page ended; it is replaced");
}

static void note_old_death(struct master *m, pid_t pid)
{
    for (size_t i = 0; i < m->old_count; i++) {
        if (m->old[i].pid != pid)
            continue;
        shared_clear_slot(&m->shared, m->old[i].place);
        m->old[i] = m->old[--m->old_count];
        m->alive--;
        return;
    }
}

static void reap(struct master *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct slot *slot = NULL;
        for (unsigned i = 0; i < m->count; i++)
            if (m->slots[i].pid == pid)
                slot = &m->slots[i];
        if (slot)
            note_death(m, slot, status);
        else if (pid == m->admin.pid)
            note_admin_death(m);
        else
            note_old_death(m, pid);
    }
}

/* --- reload --- */

static void tell_listeners(const struct listen_set *set, const struct listen_set *before)
{
    char text[VD_ENDPOINT_TEXT + VD_UNIX_PATH_MAX + 16];
    for (size_t i = 0; i < set->count; i++) {
        struct vd_out out = vd_out_over(text, sizeof text);
        if (before && listen_holds(before, set->at[i].fds[0]))
            continue;
        listen_print(&out, &set->at[i]);
        log_say(LOG_NORMAL, "listening on %s", vd_out_string(&out));
    }
}

static void warn(const char *text)
{
    log_say(LOG_QUIET, "%s", text);
}

/* Room for everybody who may live on, before anything is changed. */
static struct slot *make_room(struct master *m, unsigned count)
{
    struct old_worker *old = realloc(m->old, (m->old_count + m->count) * sizeof *old);
    if (!old)
        return NULL;
    m->old = old;
    return calloc(count, sizeof(struct slot));
}

static void change_slots(struct master *m, struct slot *slots, unsigned count)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->slots[i].pid > 0)
            m->old[m->old_count++] = (struct old_worker){m->slots[i].pid, m->slots[i].place};
    free(m->slots);
    m->slots = slots;
    m->count = count;
}

/* What is no longer listened on is closed before workers start, which would inherit it. */
static void change(struct master *m, struct options *options, struct listen_set *set,
                   struct slot *slots)
{
    log_change(options->level, options->conf.log_json);
    tell_listeners(set, m->set);
    setup_warn(options, set, warn);
    change_slots(m, slots, set->workers);
    listen_unlink_unless(m->set, set);
    listen_close_unless(m->set, set);
    listen_free(m->set);
    options_free(m->options);
    *m->set = *set;
    *m->options = *options;
}

/* NULL after a line in the log: it cannot be. */
static struct slot *read_anew(struct master *m, struct options *options, struct listen_set *set)
{
    struct slot *slots = NULL;
    char *error = NULL;
    int result = options_reload(options, m->options);
    if (result == 0)
        result = setup_check(options, m->given, set, &error);
    if (result == 0 && shared_free_slots(&m->shared) < set->workers) {
        error = strdup("too many workers from before earlier reloads still have sessions");
        result = -1;
    }
    if (result == 0)
        slots = make_room(m, set->workers);
    if (slots && setup_open(options, set, m->set, &error) != 0) {
        free(slots);
        slots = NULL;
    }
    if (error)
        log_say(LOG_QUIET, "%s", error);
    free(error);
    return slots;
}

/* IN_WORKER in a worker that was started, when it has ended. */
static int reload(struct master *m)
{
    struct options options = {.argv = NULL};
    struct listen_set set = {0};
    notify_reloading();
    struct slot *slots = read_anew(m, &options, &set);
    if (!slots) {
        log_say(LOG_QUIET, "reload failed: everything stays as it was");
        listen_free(&set);
        options_free(&options);
        notify("READY=1");
        return 0;
    }
    shared_next_generation(&m->shared, m->old_count == 0);
    revoke_users(&m->shared, &m->options->conf, &options.conf);
    pid_t admin = m->admin.pid;
    m->admin = (struct slot){.pid = 0};
    change(m, &options, &set, slots);
    if (spawn_due(m) == IN_WORKER)
        return IN_WORKER;
    for (size_t i = 0; i < m->old_count; i++)
        kill(m->old[i].pid, SIGUSR1);
    if (admin > 0)
        kill(admin, SIGTERM);
    log_say(LOG_NORMAL, "reloaded");
    notify("READY=1");
    return 0;
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
    notify("STOPPING=1");
    log_say(LOG_NORMAL, "draining: no new connections, %u seconds for those that are open",
            m->options->conf.drain_ms / 1000);
    listen_unlink_unless(m->set, NULL);
    listen_close_unless(m->set, NULL);
    signal_all(m, SIGTERM);
}

/* As spawn_due. */
static int handle(struct master *m, int number)
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
        return m->draining ? 0 : reload(m);
    default:
        reap(m);
        break;
    }
    return 0;
}

static void block_signals(sigset_t *set)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGCHLD};
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
    if (is_admin_due(m) && m->admin.due_ms < due)
        due = m->admin.due_ms;
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

static int run(struct master *m)
{
    sigset_t set;
    block_signals(&set);
    if (spawn_due(m) == IN_WORKER)
        return m->status;
    tell_listeners(m->set, NULL);
    setup_warn(m->options, m->set, warn);
    notify("READY=1");
    while (m->alive > 0 || !m->draining) {
        log_flush();
        int number = await(m, &set);
        if (number > 0 && handle(m, number) == IN_WORKER)
            return m->status;
        if (spawn_due(m) == IN_WORKER)
            return m->status;
    }
    if (m->admin.pid > 0)
        kill(m->admin.pid, SIGTERM);
    log_flush();
    return 0;
}

int master_run(struct options *options, struct listen_set *set, const struct listen_set *given)
{
    struct master m = {.options = options, .set = set, .given = given, .count = set->workers};
    m.slots = calloc(m.count, sizeof *m.slots);
    if (!m.slots || shared_init(&m.shared, m.count) != 0) {
        log_say(LOG_QUIET, "cannot start: %s", strerror(errno));
        log_flush();
        free(m.slots);
        return 1;
    }
    raise_descriptor_limit();
    int status = run(&m);
    shared_free(&m.shared);
    free(m.slots);
    free(m.old);
    return status;
}
