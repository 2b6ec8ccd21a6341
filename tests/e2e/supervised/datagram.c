/*
 * datagram HOW HOST PORT [HOST PORT]...: sends a datagram to each host, from one socket, and tells
 * what comes back, and from whom, within two seconds each.
 *
 *     connected     connect(), write(), recvfrom(), for the first host alone
 *     loose         sendto() each, then receives as many
 *     message       the same with sendmsg()
 *     alone         sends one, and ends
 *     own           connect(); prints the own address
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void show(const char *before, const struct sockaddr_storage *at, socklen_t len)
{
    char host[INET6_ADDRSTRLEN] = "?", port[8] = "?";

    getnameinfo((const struct sockaddr *)at, len, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    printf("%s%s %s\n", before, host, port);
}

static void hear(int fd)
{
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    char data[2000];
    ssize_t n = recvfrom(fd, data, sizeof data - 1, 0, (struct sockaddr *)&from, &len);

    if (n < 0) {
        printf("recvfrom: %s\n", strerror(errno));
        return;
    }
    data[n] = 0;
    printf("%s ", data);
    show("", &from, len);
}

static int say(int fd, const char *how, const struct addrinfo *to, const char *text)
{
    struct iovec part = {(void *)text, strlen(text)};
    struct msghdr m = {to->ai_addr, to->ai_addrlen, &part, 1, NULL, 0, 0};
    ssize_t n;

    if (!strcmp(how, "connected"))
        n = write(fd, text, strlen(text));
    else if (!strcmp(how, "message"))
        n = sendmsg(fd, &m, 0);
    else
        n = sendto(fd, text, strlen(text), 0, to->ai_addr, to->ai_addrlen);
    if (n < 0)
        printf("send: %s\n", strerror(errno));
    return n < 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *to;
    struct timeval limit = {2, 0};
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), said = 0;
    const char *how = argc > 3 ? argv[1] : "";

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    for (int i = 2; i + 1 < argc; i += 2) {
        if (getaddrinfo(argv[i], argv[i + 1], &hints, &to)) {
            printf("no such host\n");
            return 1;
        }
        if ((!strcmp(how, "connected") || !strcmp(how, "own")) &&
            connect(fd, to->ai_addr, to->ai_addrlen) < 0)
            printf("connect: %s\n", strerror(errno));
        if (strcmp(how, "own"))
            said += say(fd, how, to, argv[i]);
    }
    if (!strcmp(how, "own") && getsockname(fd, (struct sockaddr *)&own, &len) == 0)
        show("own ", &own, len);
    while (strcmp(how, "alone") && said-- > 0)
        hear(fd);
    return 0;
}
