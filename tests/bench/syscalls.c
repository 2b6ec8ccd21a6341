/*
 * syscalls COUNT: nanoseconds that system calls cost which have nothing to do with connecting, the
 * least of rounds of COUNT: one that does nothing, one that reads a byte, and a receive that has
 * nothing to receive.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 50 };

static int zero, ends[2];

static void nothing(void)
{
    syscall(SYS_getppid);
}

static void reads(void)
{
    char byte;

    if (read(zero, &byte, 1) != 1)
        exit(1);
}

static void receives(void)
{
    char byte;

    if (recv(ends[0], &byte, 1, MSG_DONTWAIT) >= 0)
        exit(1);
}

static double now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double cost(void (*call)(void), int count)
{
    double least = 1e18;

    for (int round = 0; round < ROUNDS; round++) {
        double began = now_ns(), took;

        for (int i = 0; i < count; i++)
            call();
        took = (now_ns() - began) / count;
        least = took < least ? took : least;
    }
    return least;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 100000;

    zero = open("/dev/zero", O_RDONLY);
    if (zero < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return 1;
    printf("%.1f %.1f %.1f\n", cost(nothing, count), cost(reads, count), cost(receives, count));
    return 0;
}
