/*
 * names_crowd COUNT: 8 processes of 4 threads each look the same COUNT names (a power of 10) up,
 * each in an order of its own; the last process starts when the others are at it. Prints how many
 * names got one and the same address everywhere, and how many different addresses there are.
 *
 * names_crowd leak ROUNDS NAME: looks a name up and frees the answer, again and again; prints how
 * many bytes of memory that leaves behind.
 */
#include <arpa/inet.h>
#include <malloc.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 8, THREADS = 4 };

static unsigned count;
static uint32_t *seen; /* [process and thread][name], shared */

static uint32_t look_up(const char *name)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    uint32_t address;

    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return 0;
    address = ntohl(((const struct sockaddr_in *)found->ai_addr)->sin_addr.s_addr);
    freeaddrinfo(found);
    return address;
}

static void *look_all_up(void *number)
{
    unsigned who = (unsigned)(uintptr_t)number;
    char name[64];

    for (unsigned i = 0; i < count; i++) {
        unsigned at = (unsigned)(((uint64_t)i * (10 * who + 1) + who * 997) % count);

        snprintf(name, sizeof name, "host-%u.crowd.test", at);
        seen[(size_t)who * count + at] = look_up(name);
    }
    return NULL;
}

static void run_process(unsigned process)
{
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, look_all_up, (void *)(uintptr_t)(process * THREADS + i));
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    _exit(0);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static bool is_same_everywhere(unsigned name)
{
    for (unsigned who = 1; who < PROCESSES * THREADS; who++)
        if (seen[(size_t)who * count + name] != seen[name])
            return false;
    return seen[name] != 0;
}

static void tell(void)
{
    unsigned same = 0, different = 1;

    for (unsigned i = 0; i < count; i++)
        same += is_same_everywhere(i);
    qsort(seen, count, sizeof *seen, by_value);
    for (unsigned i = 1; i < count; i++)
        different += seen[i] != seen[i - 1];
    printf("%u the same everywhere, %u different\n", same, different);
}

static int crowd(void)
{
    seen = mmap(NULL, (size_t)PROCESSES * THREADS * count * sizeof *seen, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < PROCESSES; i++) {
        if (i == PROCESSES - 1)
            usleep(50000);
        if (fork() == 0)
            run_process(i);
    }
    while (wait(NULL) > 0)
        ;
    tell();
    return 0;
}

/* The list is taken apart, too: each element is freed by itself. */
static void look_up_and_free(const char *name, int flags)
{
    struct addrinfo hints = {.ai_flags = flags}, *list, *rest;

    if (getaddrinfo(name, "80", &hints, &list) != 0)
        return;
    for (; list; list = rest) {
        rest = list->ai_next;
        list->ai_next = NULL;
        freeaddrinfo(list);
    }
}

static int leak(int rounds, const char *name)
{
    size_t before;

    look_up_and_free(name, AI_CANONNAME);
    before = mallinfo2().uordblks;
    for (int i = 0; i < rounds; i++)
        look_up_and_free(name, i & 1 ? AI_CANONNAME : AI_ADDRCONFIG);
    printf("%zd\n", (ssize_t)(mallinfo2().uordblks - before));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "leak"))
        return leak(atoi(argv[2]), argv[3]);
    if (argc != 2)
        return 2;
    count = (unsigned)atoi(argv[1]);
    return crowd();
}
