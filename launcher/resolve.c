/*
 * The system's resolver is asked by a small program of its own, viaduct-resolve, whose answer comes
 * through a pipe; see there why. It runs only where a hop is given by name.
 */
#include "launcher/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/parts.h"
#include "launcher/say.h"
#include "proto/bytes.h"

struct place {
    const char *chain;
    size_t number; /* of the hop, from 1 */
    const struct vd_hop *hop;
};

static void die_of(const struct place *place, const char *why)
{
    char url[VD_URL_TEXT];
    struct vd_out out = vd_out_over(url, sizeof url);

    vd_url_print(&out, place->hop);
    say_die(EXIT_OWN, "chain `%s`: hop %zu (%s): %s", place->chain, place->number,
            vd_out_string(&out), why);
}

/* Starts viaduct-resolve; the descriptor of its answer, or -1 with errno. */
static int start_resolver(const char *program, const char *name, pid_t *pid)
{
    char *argv[] = {(char *)program, (char *)name, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    int error = posix_spawn(pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (error) {
        close(ends[0]);
        errno = error;
        return -1;
    }
    return ends[0];
}

/* Reads until the end, as text. */
static void read_answer(int fd, char *answer, size_t cap)
{
    size_t have = 0;
    ssize_t n;

    while (have < cap - 1 && (n = read(fd, answer + have, cap - 1 - have)) != 0)
        if (n > 0)
            have += (size_t)n;
        else if (errno != EINTR)
            break;
    answer[have] = 0;
    close(fd);
}

static void add_line(struct vd_hop *hop, const char *line, size_t len)
{
    const char *scope = memchr(line, '%', len);
    size_t size = scope ? (size_t)(scope - line) : len;
    struct vd_ip ip;

    if (hop->addr_count == VD_HOP_ADDRS_MAX || !vd_ip_read(&ip, line, size))
        return;
    if (scope)
        ip.scope = (uint32_t)strtoul(scope + 1, NULL, 10);
    hop->addrs[hop->addr_count++] = ip;
}

bool resolve_name(struct vd_hop *hop, int limit_ms, char why[RESOLVE_WHY])
{
    char program[PATH_MAX], answer[4096];
    pid_t pid;

    parts_resolver(program);
    int fd = start_resolver(program, hop->at.name, &pid);
    if (fd < 0) {
        snprintf(why, RESOLVE_WHY, "its name cannot be resolved: %s", strerror(errno));
        return false;
    }
    struct pollfd answered = {.fd = fd, .events = POLLIN};
    if (poll(&answered, 1, limit_ms) == 0)
        kill(pid, SIGKILL); /* then nothing is answered */
    read_answer(fd, answer, sizeof answer);
    waitpid(pid, NULL, 0);
    if (answer[0] == '!') {
        snprintf(why, RESOLVE_WHY, "its name cannot be resolved: %.*s",
                 (int)strcspn(answer + 1, "\n"), answer + 1);
        return false;
    }
    hop->addr_count = 0;
    for (char *line = answer, *end; (end = strchr(line, '\n')); line = end + 1)
        add_line(hop, line, (size_t)(end - line));
    snprintf(why, RESOLVE_WHY, "its name %s",
             answer[0] ? "has no address" : "was not resolved in time");
    return hop->addr_count > 0;
}

static void ask_system(const struct place *place, struct vd_hop *hop)
{
    char why[RESOLVE_WHY];

    if (resolve_name(hop, -1, why))
        return;
    strncat(why, "; try how it is spelled, or its address", sizeof why - strlen(why) - 1);
    die_of(place, why);
}

static bool carries_ipv6(const struct vd_hop *hop)
{
    return hop->scheme != VD_SOCKS4 && hop->scheme != VD_SOCKS4A;
}

static void keep_ipv4(struct vd_hop *hop)
{
    uint8_t kept = 0;

    for (uint8_t i = 0; i < hop->addr_count; i++)
        if (hop->addrs[i].family == VD_IPV4)
            hop->addrs[kept++] = hop->addrs[i];
    hop->addr_count = kept;
}

static bool any_is_socks4(const struct vd_hop *hops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!carries_ipv6(&hops[i]))
            return true;
    return false;
}

void resolve_hops(const char *chain, struct vd_hop *hops, size_t count, bool any_order)
{
    bool ipv4_only = any_order && count > 1 && any_is_socks4(hops, count);

    for (size_t i = 0; i < count; i++) {
        struct vd_hop *hop = &hops[i];
        const struct vd_hop *before = i > 0 && !any_order ? &hops[i - 1] : NULL;
        struct place place = {chain, i + 1, hop};
        bool is_name = vd_endpoint_is_name(&hop->at);

        if (hop->unix_len > 0 && before)
            die_of(&place, "a unix socket is on this machine, where no hop leads to; allowed: for "
                           "hop 1");
        if (hop->unix_len > 0)
            continue;
        if (is_name && hop->addr_count == 0 && (!before || !vd_hop_takes_names(before)))
            ask_system(&place, hop);
        if (ipv4_only || (before && !carries_ipv6(before)))
            keep_ipv4(hop);
        if (hop->addr_count == 0 && !(is_name && before && vd_hop_takes_names(before)))
            die_of(&place,
                   ipv4_only ? "it has IPv6 addresses only, which a SOCKS4 hop before it could not "
                               "carry"
                             : "it has IPv6 addresses only, which the SOCKS4 hop before it cannot "
                               "carry");
    }
}
