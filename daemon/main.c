#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/master.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/print.h"
#include "daemon/setup.h"
#include "daemon/trace.h"

static int complain(char *error)
{
    fprintf(stderr, "viaductd: %s\n", error ? error : "out of memory");
    free(error);
    return 1;
}

static int run(struct options *o, struct listen_set *set, const struct listen_set *given)
{
    char *error = NULL;
    if (trace_open(&o->trace, &error) != 0 || setup_open(o, set, given, &error) != 0)
        return complain(error);
    log_open(o->level, o->conf.log_json);
    return master_run(o, set, given);
}

static void warn(const char *text)
{
    fprintf(stderr, "viaductd: %s\n", text);
}

static int act(struct options *o, struct listen_set *set, const struct listen_set *given)
{
    char *error = NULL;
    if (setup_check(o, given, set, &error) != 0)
        return complain(error);
    if (o->action == OPTIONS_RUN)
        return run(o, set, given);
    if (o->action == OPTIONS_PRINT && print_config(stdout, &o->conf) != 0)
        return complain(strdup(strerror(errno)));
    if (o->action == OPTIONS_CHECK)
        setup_warn(o, set, warn);
    if (o->action == OPTIONS_CHECK)
        puts("viaductd: the configuration is good");
    return 0;
}

int main(int argc, char **argv)
{
    static struct options options;
    struct listen_set set = {0}, given = {0};
    char *error = NULL;
    notify_init();
    int status = options_read(&options, argc, argv) == 0 ? 0 : 1;
    if (status == 0 && listen_given(&given, &error) != 0)
        status = complain(error);
    if (status == 0 && options.action != OPTIONS_DONE)
        status = act(&options, &set, &given);
    listen_free(&set);
    listen_free_given(&given);
    options_free(&options);
    return status;
}
