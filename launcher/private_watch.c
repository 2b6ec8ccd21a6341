/*
 * When a session is over.
 *
 * Each of its processes holds a shared lock on its file, through a mapping, from start to end. But
 * nobody does between the launcher's exec and the moment when the program maps the file, and
 * likewise at each later exec of a lone process. Such a moment is announced: the file is new, or
 * the exec hooks have touched it. So the session is over when the file is not locked,
 *
 *     and somebody has opened it since the last touch: QUIET_MS after anything was heard of it
 *     else: AWAITED_MS after, as launches do which remove abandoned files
 *
 * inotify tells of openings, touches and endings: a mapping that goes is a file that is closed.
 * Without it (too many instances) only the lock and the file's time are looked at.
 *
 * The lock is tried for a moment only, and who maps the file tries again where it is taken.
 */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launcher/private_state.h"

enum { QUIET_MS = 1500, AWAITED_MS = 60000, BLIND_MS = 1000, ALIVE_MS = 60000, NOTES_LEN = 4096 };

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool private_watch_begin(struct private_watch *w, const char *session)
{
    uint32_t events = IN_OPEN | IN_ATTRIB | IN_CLOSE;

    *w = (struct private_watch){.awaited = true, .last_ms = now_ms()};
    w->session = open(session, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    w->notes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->notes >= 0 && inotify_add_watch(w->notes, session, events) < 0) {
        close(w->notes);
        w->notes = -1;
    }
    return w->session >= 0;
}

static void take(struct private_watch *w, const struct inotify_event *event)
{
    if (event->mask & IN_ATTRIB)
        w->awaited = true;
    else if (event->mask & IN_OPEN)
        w->awaited = false;
    w->last_ms = now_ms();
}

void private_watch_take(struct private_watch *w)
{
    char notes[NOTES_LEN] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t len;

    while ((len = read(w->notes, notes, sizeof notes)) > 0)
        for (char *at = notes; at < notes + len;) {
            const struct inotify_event *event = (const struct inotify_event *)at;

            take(w, event);
            at += sizeof *event + event->len;
        }
}

static bool is_in_use(const struct private_watch *w)
{
    if (flock(w->session, LOCK_EX | LOCK_NB) < 0)
        return true;
    flock(w->session, LOCK_UN);
    return false;
}

/* Milliseconds since the file was touched. */
static long long untouched_ms(const struct private_watch *w)
{
    struct stat st;

    if (fstat(w->session, &st) < 0)
        return AWAITED_MS;
    return (long long)(time(NULL) - st.st_mtim.tv_sec) * 1000;
}

int private_watch_left_ms(const struct private_watch *w)
{
    bool blind = w->notes < 0;
    long long age = blind ? untouched_ms(w) : now_ms() - w->last_ms;
    long long left = (blind || w->awaited ? AWAITED_MS : QUIET_MS) - age;

    if (left > 0)
        return blind && left > BLIND_MS ? BLIND_MS : (int)left;
    if (is_in_use(w))
        return blind ? BLIND_MS : ALIVE_MS;
    return 0;
}
