/*
 * viaduct-resolve NAME: asks the system's resolver for the addresses of a host, one a line; or one
 * line that begins with "!" and says why there is none.
 *
 * A program of its own because the launcher is linked statically, for the sake of its start, and
 * the name services of libc are loaded at run time.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void print_address(const struct addrinfo *at)
{
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    char text[INET6_ADDRSTRLEN] = "";

    if (at->ai_family == AF_INET) {
        memcpy(&in4, at->ai_addr, sizeof in4);
        puts(inet_ntop(AF_INET, &in4.sin_addr, text, sizeof text));
    } else if (at->ai_family == AF_INET6) {
        memcpy(&in6, at->ai_addr, sizeof in6);
        inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
        printf("%s%%%u\n", text, (unsigned)in6.sin6_scope_id);
    }
}

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;

    if (argc != 2) {
        fputs("usage: viaduct-resolve NAME (run by viaduct)\n", stderr);
        return 2;
    }
    int error = getaddrinfo(argv[1], NULL, &hints, &list);
    if (error) {
        printf("!%s\n", gai_strerror(error));
        return 1;
    }
    for (const struct addrinfo *at = list; at; at = at->ai_next)
        print_address(at);
    freeaddrinfo(list);
    return 0;
}
