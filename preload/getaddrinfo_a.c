/*
 * getaddrinfo_a(): libc would ask from threads of its own, past the hook of getaddrinfo().
 *
 * A list in which any name is not the system's to resolve is worked off here, before the call
 * returns: placeholders take no time. Then whoever asked is notified as he wanted.
 */
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/lookup.h"
#include "preload/hook.h"

static bool all_are_the_systems(struct gaicb *const *list, int count)
{
    for (int i = 0; i < count; i++)
        if (list[i] && list[i]->ar_name && !lookup_may_query(list[i]->ar_name))
            return false;
    return true;
}

static void work_off(struct gaicb *const *list, int count)
{
    for (int i = 0; i < count; i++)
        if (list[i])
            list[i]->__return = getaddrinfo(list[i]->ar_name, list[i]->ar_service,
                                            list[i]->ar_request, &list[i]->ar_result);
}

struct notice {
    void (*call)(union sigval);
    union sigval value;
};

static void *give_notice(void *taken)
{
    struct notice notice = *(struct notice *)taken;

    free(taken);
    notice.call(notice.value);
    return NULL;
}

static int notify_by_thread(const struct sigevent *how)
{
    struct notice *notice = malloc(sizeof *notice);
    pthread_attr_t own, *attr = how->sigev_notify_attributes;
    pthread_t thread;
    int r;

    if (!notice)
        return EAI_MEMORY;
    *notice = (struct notice){how->sigev_notify_function, how->sigev_value};
    pthread_attr_init(&own);
    pthread_attr_setdetachstate(&own, PTHREAD_CREATE_DETACHED);
    r = pthread_create(&thread, attr ? attr : &own, give_notice, notice);
    pthread_attr_destroy(&own);
    if (r == 0)
        return 0;
    free(notice);
    return EAI_AGAIN;
}

static int notify(const struct sigevent *how)
{
    siginfo_t info = {0};

    if (!how || how->sigev_notify == SIGEV_NONE)
        return 0;
    if (how->sigev_notify == SIGEV_THREAD)
        return notify_by_thread(how);
    info.si_signo = how->sigev_signo;
    info.si_code = SI_ASYNCNL;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value = how->sigev_value;
    sys.syscall(SYS_rt_sigqueueinfo, info.si_pid, info.si_signo, (long)&info, 0, 0, 0);
    return 0;
}

HOOK int getaddrinfo_a(int mode, struct gaicb **list, int count, struct sigevent *how)
{
    if ((mode != GAI_WAIT && mode != GAI_NOWAIT) || count < 0)
        return sys.getaddrinfo_a(mode, list, count, how);
    if (!hook_ready())
        return EAI_SYSTEM;
    if (all_are_the_systems(list, count))
        return sys.getaddrinfo_a(mode, list, count, how);
    work_off(list, count);
    return mode == GAI_NOWAIT ? notify(how) : 0;
}
