/*
 * A process that ends while its connection is set up, and the child that goes on:
 * orphan poll|epoll ADDRESS PORT
 *
 * The process connects without blocking, forks, and is from then on subject to faults
 * (tests/lib/faults.c), which may kill it in the middle of a step of the handshake. Its child waits
 * for the socket, with poll() or by an epoll that both of them have, and says in a line what became
 * of it: "ERRNO BYTES", 0 for success, and how many bytes came back of the word that it sent to an
 * echo server. A second line is the grandparent's: "killed" or "ended", as the process between did.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_MS = 15000 };

static const char word[] = "the word that comes back";

static int begin(const char *address, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    inet_pton(AF_INET, address, &to.sin_addr);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno != EINPROGRESS)
        _exit(1);
    return fd;
}

static int watch(int fd)
{
    struct epoll_event event = {.events = EPOLLOUT};
    int epfd = epoll_create1(0);

    epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
    return epfd;
}

/* How much of it comes back. */
static int send_word(int fd)
{
    char back[sizeof word];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int have = 0;
    ssize_t n = send(fd, word, sizeof word, MSG_NOSIGNAL);

    while (n > 0 && have < (int)sizeof word && poll(&p, 1, LIMIT_MS) == 1) {
        n = recv(fd, back + have, sizeof back - (size_t)have, 0);
        have += n > 0 ? (int)n : 0;
    }
    return have;
}

static void be_orphan(int fd, int epfd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    struct epoll_event got;
    int error = 0, bytes = 0, ready;
    socklen_t len = sizeof error;

    ready = epfd >= 0 ? epoll_wait(epfd, &got, 1, LIMIT_MS) : poll(&p, 1, LIMIT_MS);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (ready != 1)
        error = ETIMEDOUT;
    else if (error == 0)
        bytes = send_word(fd);
    printf("%d %d\n", error, bytes);
    fflush(stdout);
}

static void be_parent(const char *how, const char *address, const char *port)
{
    void (*arm)(void);
    int fd = begin(address, port), epfd = strcmp(how, "epoll") == 0 ? watch(fd) : -1;
    pid_t child = fork();

    if (child == 0) {
        be_orphan(fd, epfd);
        _exit(0);
    }
    *(void **)&arm = dlsym(RTLD_DEFAULT, "faults_arm_here");
    if (arm)
        arm();
    waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    int alive[2], status;
    char byte;
    pid_t parent;

    if (argc != 4 || pipe(alive) < 0)
        return 2;
    parent = fork();
    if (parent == 0) {
        close(alive[0]);
        be_parent(argv[1], argv[2], argv[3]);
        _exit(0);
    }
    close(alive[1]);
    waitpid(parent, &status, 0);
    while (read(alive[0], &byte, 1) > 0)
        ;
    puts(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? "killed" : "ended");
    return 0;
}
