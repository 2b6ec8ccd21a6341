/*
 * The filter: a classic BPF program that looks at the number and the arguments of each system call.
 *
 *     number of another convention   x86: i386 calls that reach the network wait (and are refused,
 *                                    with a line), those of x32 do not exist; elsewhere none exists
 *     connect, sendmsg, sendmmsg     wait
 *     sendto                         waits if it names an address
 *     socket                         waits unless it is one that can be carried, or local
 *     getpeername                    waits, to be told the target
 *     setsockopt                     waits if it joins a multicast group
 *     io_uring_*                     does not exist: programs do without
 *     everything else                is none of our business
 *
 * The kernel keeps a table of the calls that pass whatever their arguments are, so that these cost
 * next to nothing (since Linux 5.11).
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher/supervise.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OWN_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define OWN_ARCH AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define OWN_ARCH AUDIT_ARCH_S390X
#elif defined(__loongarch__)
#define OWN_ARCH AUDIT_ARCH_LOONGARCH64
#endif

enum {
    CODE_MAX = 160,
    TYPE_MASK = 0xf, /* of socket()'s second argument */
    WAITS = (int)SECCOMP_RET_USER_NOTIF,
    PASSES = (int)SECCOMP_RET_ALLOW,
    IS_NOT_THERE = (int)(SECCOMP_RET_ERRNO | ENOSYS),
    HIGH_WORD = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 4 : 0,
    LOW_WORD = 4 - HIGH_WORD
};

struct code {
    struct sock_filter at[CODE_MAX];
    unsigned short len;
};

static void put(struct code *p, uint16_t op, uint8_t yes, uint8_t no, uint32_t k)
{
    p->at[p->len++] = (struct sock_filter){op, yes, no, k};
}

static void load(struct code *p, size_t offset)
{
    put(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void load_arg(struct code *p, int arg, int word)
{
    load(p, offsetof(struct seccomp_data, args) + (size_t)arg * 8 + (size_t)word);
}

/* Goes on `yes` or `no` instructions behind the next one. */
static void if_equal(struct code *p, uint32_t k, uint8_t yes, uint8_t no)
{
    put(p, BPF_JMP | BPF_JEQ | BPF_K, yes, no, k);
}

static void give(struct code *p, int verdict)
{
    put(p, BPF_RET | BPF_K, 0, 0, (uint32_t)verdict);
}

static void on_call(struct code *p, long number, int verdict)
{
    if_equal(p, (uint32_t)number, 0, 1);
    give(p, verdict);
}

/* The blocks below begin with the number loaded; who enters one does not leave it. */

static void on_sendto(struct code *p)
{
    if_equal(p, SYS_sendto, 0, 6);
    load_arg(p, 4, LOW_WORD);
    if_equal(p, 0, 0, 2);
    load_arg(p, 4, HIGH_WORD);
    if_equal(p, 0, 1, 0);
    give(p, WAITS);
    give(p, PASSES);
}

static void on_socket(struct code *p)
{
    if_equal(p, SYS_socket, 0, 18);
    load_arg(p, 0, LOW_WORD);
    if_equal(p, AF_UNIX, 14, 0);
    if_equal(p, AF_NETLINK, 13, 0);
    if_equal(p, AF_INET, 2, 0);
    if_equal(p, AF_INET6, 1, 0);
    give(p, WAITS);
    load_arg(p, 1, LOW_WORD);
    put(p, BPF_ALU | BPF_AND | BPF_K, 0, 0, TYPE_MASK);
    if_equal(p, SOCK_STREAM, 2, 0);
    if_equal(p, SOCK_DGRAM, 1, 0);
    give(p, WAITS);
    load_arg(p, 2, LOW_WORD);
    if_equal(p, 0, 3, 0);
    if_equal(p, IPPROTO_TCP, 2, 0);
    if_equal(p, IPPROTO_UDP, 1, 0);
    if_equal(p, IPPROTO_MPTCP, 0, 1);
    give(p, PASSES);
    give(p, WAITS);
}

static void on_membership(struct code *p)
{
    if_equal(p, SYS_setsockopt, 0, 13);
    load_arg(p, 1, LOW_WORD);
    if_equal(p, IPPROTO_IP, 2, 0);
    if_equal(p, IPPROTO_IPV6, 1, 0);
    give(p, PASSES);
    load_arg(p, 2, LOW_WORD);
    if_equal(p, IP_ADD_MEMBERSHIP, 6, 0);
    if_equal(p, IP_ADD_SOURCE_MEMBERSHIP, 5, 0);
    if_equal(p, IPV6_JOIN_GROUP, 4, 0);
    if_equal(p, IPV6_JOIN_ANYCAST, 3, 0);
    if_equal(p, MCAST_JOIN_GROUP, 2, 0);
    if_equal(p, MCAST_JOIN_SOURCE_GROUP, 1, 0);
    give(p, PASSES);
    give(p, WAITS);
}

#ifdef __x86_64__
enum { X32_BIT = 0x40000000 };

/* Numbers of i386; of socketcall() those parts that reach the network. */
static void on_i386(struct code *p)
{
    static const int reach[] = {359 /* socket */, 362 /* connect */, 369 /* sendto */,
                                370 /* sendmsg */, 345 /* sendmmsg */};
    enum { SOCKETCALL = 102, SETUP = 425, ENTER = 426, REGISTER = 427 };

    if_equal(p, AUDIT_ARCH_I386, 0, 26);
    load(p, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof reach / sizeof *reach; i++)
        on_call(p, reach[i], WAITS);
    for (int number = SETUP; number <= REGISTER; number++)
        on_call(p, number, IS_NOT_THERE);
    if_equal(p, SOCKETCALL, 0, 6);
    load_arg(p, 0, LOW_WORD);
    if_equal(p, 1 /* socket */, 5, 0);
    if_equal(p, 3 /* connect */, 4, 0);
    if_equal(p, 11 /* sendto */, 3, 0);
    if_equal(p, 16 /* sendmsg */, 2, 0);
    if_equal(p, 20 /* sendmmsg */, 1, 0);
    give(p, PASSES);
    give(p, WAITS);
}
#endif

static void on_convention(struct code *p)
{
    load(p, offsetof(struct seccomp_data, arch));
#ifdef __x86_64__
    on_i386(p);
#endif
    if_equal(p, OWN_ARCH, 1, 0);
    give(p, IS_NOT_THERE);
    load(p, offsetof(struct seccomp_data, nr));
#ifdef __x86_64__
    put(p, BPF_JMP | BPF_JGE | BPF_K, 0, 1, X32_BIT);
    give(p, IS_NOT_THERE);
#endif
}

static void write_code(struct code *p)
{
    on_convention(p);
    on_call(p, SYS_connect, WAITS);
    on_call(p, SYS_sendmsg, WAITS);
    on_call(p, SYS_sendmmsg, WAITS);
    on_call(p, SYS_getpeername, WAITS);
    on_call(p, SYS_io_uring_setup, IS_NOT_THERE);
    on_call(p, SYS_io_uring_enter, IS_NOT_THERE);
    on_call(p, SYS_io_uring_register, IS_NOT_THERE);
    on_sendto(p);
    on_socket(p);
    on_membership(p);
    give(p, PASSES);
}

/* The killable wait is of Linux 5.19: before, every signal begins the call anew. */
static int install(const struct sock_fprog *program)
{
    const unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                      flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, program);

    if (fd < 0 && errno == EINVAL)
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
    return fd < 0 ? -errno : (int)fd;
}

/* Who is root here may do without no_new_privs, and so may what he runs. */
int supervise_install_filter(void)
{
    static struct code code;
    struct sock_fprog program;
    int fd;

    code.len = 0;
    write_code(&code);
    program = (struct sock_fprog){.len = code.len, .filter = code.at};
    fd = install(&program);
    if (fd != -EACCES)
        return fd;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return install(&program);
}
