/*
 * conformance ADDRESS4 ADDRESS6 SILENT4 SILENT6 PORT CLOSED_PORT [PART-OF-A-CASE'S-NAME]
 *
 * PORT of ADDRESS echoes, CLOSED_PORT refuses, SILENT never answers. Plays the tables, several
 * cases at a time, and prints what they said in the order of the tables.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conform.h"

enum { AT_ONCE = 24, CASES_MAX = 600, SECONDS = 30 };

static const struct conform_case *const tables[] = {connect_cases, argument_cases, io_cases,
                                                    ready_cases,   epoll_cases,    fd_cases,
                                                    fresh_cases,   process_cases,  signal_cases};

/* A case with one family and one outcome. */
struct play {
    const struct conform_case *what;
    int domain;
    enum outcome outcome;
    char name[96];
    FILE *said;
    pid_t pid;
};

static struct play plays[CASES_MAX];
static int play_count;

static struct {
    const char *host4, *host6, *silent4, *silent6;
    uint16_t port, closed;
} places;

int the_domain;
enum outcome the_outcome;
const char *conform_self;

static struct address make_address(const char *host4, const char *host6, uint16_t port)
{
    struct address a = {.len = sizeof a.in6};

    memset(&a.in6, 0, sizeof a.in6);
    if (the_domain == AF_INET6) {
        a.in6.sin6_family = AF_INET6;
        a.in6.sin6_port = htons(port);
        inet_pton(AF_INET6, host6, &a.in6.sin6_addr);
    } else {
        a.len = sizeof a.in4;
        a.in4.sin_family = AF_INET;
        a.in4.sin_port = htons(port);
        inet_pton(AF_INET, host4, &a.in4.sin_addr);
    }
    return a;
}

struct address conform_echo(void)
{
    return make_address(places.host4, places.host6, places.port);
}

struct address conform_target(void)
{
    if (the_outcome == IS_SILENT)
        return make_address(places.silent4, places.silent6, places.port);
    return make_address(places.host4, places.host6,
                        the_outcome == IS_REFUSED ? places.closed : places.port);
}

/* --- playing --------------------------------------------------------------------------------- */

static void add(const struct conform_case *c, int domain, enum outcome outcome, const char *part)
{
    struct play *p = &plays[play_count];

    *p = (struct play){.what = c, .domain = domain, .outcome = outcome};
    snprintf(p->name, sizeof p->name, "%s/%s/%s", c->name, domain == AF_INET ? "v4" : "v6",
             outcome == SUCCEEDS     ? "ok"
             : outcome == IS_REFUSED ? "refused"
                                     : "silent");
    if (play_count < CASES_MAX && (!part || strstr(p->name, part)))
        play_count++;
}

static void add_table(const struct conform_case *table, const char *part)
{
    for (const struct conform_case *c = table; c->name; c++)
        for (int family = IPV4; family <= IPV6; family *= 2)
            for (int outcome = SUCCEEDS; outcome <= IS_SILENT; outcome *= 2)
                if (c->families & family && c->outcomes & outcome)
                    add(c, family == IPV4 ? AF_INET : AF_INET6, (enum outcome)outcome, part);
}

static void start(struct play *p)
{
    p->said = tmpfile();
    fflush(stdout);
    p->pid = fork();
    if (p->pid != 0)
        return;
    dup2(fileno(p->said), STDOUT_FILENO);
    fclose(p->said);
    setvbuf(stdout, NULL, _IONBF, 0);
    alarm(SECONDS);
    the_domain = p->domain;
    the_outcome = p->outcome;
    p->what->play();
    exit(0);
}

static void finish(pid_t pid, int status)
{
    for (struct play *p = plays; p < plays + play_count; p++) {
        if (p->pid != pid || !p->said)
            continue;
        if (WIFSIGNALED(status))
            fprintf(p->said, "ended by signal %s\n", sigabbrev_np(WTERMSIG(status)));
        else if (status)
            fprintf(p->said, "ended with %d\n", WEXITSTATUS(status));
        fflush(p->said);
    }
}

static void play_all(void)
{
    int running = 0, next = 0;

    while (next < play_count || running > 0) {
        int status;
        pid_t pid;

        if (next < play_count && running < AT_ONCE) {
            start(&plays[next++]);
            running++;
            continue;
        }
        pid = wait(&status);
        if (pid < 0)
            break;
        finish(pid, status);
        running--;
    }
}

static void print(const struct play *p)
{
    char line[512];

    rewind(p->said);
    while (fgets(line, sizeof line, p->said))
        printf("%s: %s", p->name, line);
}

int main(int argc, char **argv)
{
    conform_self = argv[0];
    if (argc == 3 && !strcmp(argv[1], "--resume"))
        return conform_resume(argv[2]);
    if (argc < 7) {
        fprintf(stderr, "usage: conformance ADDRESS4 ADDRESS6 SILENT4 SILENT6 PORT CLOSED_PORT\n");
        return 2;
    }
    places.host4 = argv[1];
    places.host6 = argv[2];
    places.silent4 = argv[3];
    places.silent6 = argv[4];
    places.port = (uint16_t)atoi(argv[5]);
    places.closed = (uint16_t)atoi(argv[6]);
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < LENGTH(tables); i++)
        add_table(tables[i], argc > 7 ? argv[7] : NULL);
    play_all();
    for (int i = 0; i < play_count; i++)
        print(&plays[i]);
    return 0;
}
