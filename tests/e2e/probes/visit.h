/* visit: connects and tells whom the origin saw. Also the face of the plugin. */
#ifndef VISIT_H
#define VISIT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static inline struct sockaddr_in visit_target(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(80)};

    inet_pton(AF_INET, address, &to.sin_addr);
    return to;
}

/* Asks a connected socket for /whoami; prints the address that the answer begins with, or `what`
 * and an errno. */
static inline int visit_ask(int fd, int connected, const char *what)
{
    static const char request[] = "GET /whoami HTTP/1.0\r\n\r\n";
    char answer[2048];
    size_t got = 0;
    ssize_t n;
    const char *body;

    if (connected < 0 || write(fd, request, sizeof request - 1) < 0) {
        printf("%s: %s\n", what, strerrorname_np(errno));
        return 1;
    }
    while ((n = read(fd, answer + got, sizeof answer - 1 - got)) > 0)
        got += (size_t)n;
    answer[got] = 0;
    body = strstr(answer, "\r\n\r\n");
    printf("%s\n", body ? strtok((char *)body + 4, " ") : "no answer");
    close(fd);
    return 0;
}

static inline int visit(const char *address)
{
    struct sockaddr_in to = visit_target(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    return visit_ask(fd, connect(fd, (const struct sockaddr *)&to, sizeof to), "connect");
}

#endif
