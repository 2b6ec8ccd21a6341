/*
 * leak_probe list          every row, one a line: INDEX WITH CALLS
 * leak_probe play [FIRST]  plays all rows, each in a child of its own, some at a time
 * leak_probe play I I      one row
 * leak_probe again INDEX   connects to the target of a row, TCP and UDP
 *
 * The i-th row's target is 10.3.0.0 + i, fd03:: + i, or r<i>.leak.test: what is seen on the link,
 * or asked of a name server, tells which row it comes from.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "leak.h"

enum { AT_A_TIME = 300, SECONDS = 3, PORT = 80 };

void *symbol(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);

    if (!found)
        exit(3);
    return found;
}

/* --- every row with all that it is to be played with ----------------------------------------- */

struct play {
    const struct row *row;
    unsigned with; /* one of each group */
    bool is_name_row;
};

static struct play plays[1024];
static unsigned play_count;

static void add_ways(const struct row *row, unsigned type, bool is_name_row)
{
    static const unsigned givens[] = {NAME, ADDRESS}, families[] = {V4, V6};

    for (int g = 0; g < 2; g++)
        for (int f = 0; f < 2; f++) {
            unsigned with = type | givens[g] | families[f];

            if ((row->with & givens[g]) && (row->with & families[f]))
                plays[play_count++] = (struct play){row, with | (row->with & SILENT), is_name_row};
        }
}

static void add_rows(const struct row *row, bool is_name_row)
{
    for (; row->calls; row++) {
        if (row->with & TCP)
            add_ways(row, TCP, is_name_row);
        if (row->with & UDP)
            add_ways(row, UDP, is_name_row);
        if (!(row->with & (TCP | UDP)))
            add_ways(row, 0, is_name_row);
    }
}

static void list(void)
{
    for (unsigned i = 0; i < play_count; i++)
        printf("%u %u %s\n", i, plays[i].with, plays[i].row->calls);
}

/* --- playing --------------------------------------------------------------------------------- */

static void set_address(struct to *t)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&t->addr;
    struct sockaddr_in *in4 = (struct sockaddr_in *)&t->addr;

    t->addr.ss_family = (sa_family_t)t->family;
    if (t->family == AF_INET6) {
        inet_pton(AF_INET6, "fd03::", &in6->sin6_addr);
        in6->sin6_addr.s6_addr[14] = (uint8_t)(t->index >> 8);
        in6->sin6_addr.s6_addr[15] = (uint8_t)t->index;
        in6->sin6_port = htons(PORT);
        t->len = sizeof *in6;
    } else {
        in4->sin_addr.s_addr = htonl(0x0a030000u + t->index);
        in4->sin_port = htons(PORT);
        t->len = sizeof *in4;
    }
}

static void look_up(struct to *t)
{
    struct addrinfo hints = {.ai_family = t->family, .ai_socktype = t->type}, *found;

    if (getaddrinfo(t->name, "80", &hints, &found) != 0)
        exit(0);
    memcpy(&t->addr, found->ai_addr, found->ai_addrlen);
    t->len = found->ai_addrlen;
    freeaddrinfo(found);
}

static void play(unsigned index)
{
    const struct play *p = &plays[index];
    char name[32];
    struct to t = {.index = index,
                   .family = p->with & V6 ? AF_INET6 : AF_INET,
                   .type = p->with & UDP ? SOCK_DGRAM : SOCK_STREAM,
                   .name = name};

    snprintf(name, sizeof name, "r%u.leak.test", index);
    alarm(SECONDS);
    signal(SIGPIPE, SIG_IGN);
    set_address(&t);
    if (p->with & NAME && !p->is_name_row)
        look_up(&t);
    p->row->play(&t);
    exit(0);
}

/* How the child ended, unless it is as it should be. */
static void reap(const unsigned rows[], const pid_t pids[], unsigned count)
{
    int status;
    pid_t pid = wait(&status);

    for (unsigned i = 0; i < count; i++)
        if (pids[i] == pid && ((WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM) ||
                               (WIFEXITED(status) && WEXITSTATUS(status) > 1)))
            printf("%u %x\n", rows[i], (unsigned)status);
}

static void play_all(unsigned first, unsigned last)
{
    static unsigned rows[1024];
    static pid_t pids[1024];
    unsigned count = 0, running = 0;

    for (unsigned i = first; i <= last; i++, count++, running++) {
        if (running == AT_A_TIME) {
            reap(rows, pids, count);
            running--;
        }
        fflush(stdout);
        rows[count] = i;
        pids[count] = fork();
        if (pids[count] == 0)
            play(i);
    }
    for (; running > 0; running--)
        reap(rows, pids, count);
}

static void again(unsigned index)
{
    struct to t = {.index = index, .family = AF_INET, .type = SOCK_DGRAM};

    if (plays[index].with & V6)
        t.family = AF_INET6;
    alarm(SECONDS);
    set_address(&t);
    if (connect(make(&t), at(&t), t.len) == 0)
        sendto(make(&t), "leak", 4, 0, at(&t), t.len);
    t.type = SOCK_STREAM;
    connect(make(&t), at(&t), t.len);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    unsigned first = argc > 2 ? (unsigned)atoi(argv[2]) : 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    add_rows(socket_rows, false);
    add_rows(name_rows, true);
    add_rows(program_rows, false);
#if __TIMESIZE == 32
    add_rows(narrow_rows, false);
#endif
    if (!strcmp(what, "list"))
        list();
    else if (!strcmp(what, "play"))
        play_all(first, argc > 3 ? (unsigned)atoi(argv[3]) : play_count - 1);
    else if (!strcmp(what, "again") && first < play_count)
        again(first);
    else
        return 2;
    return 0;
}
