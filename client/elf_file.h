/*
 * elf_file: what a program file says of itself.
 *
 * Reads with bounds from an untrusted file; nothing in it can make this read elsewhere or loop
 * without limit. Nothing is allocated.
 */
#ifndef VD_CLIENT_ELF_FILE_H
#define VD_CLIENT_ELF_FILE_H

#include <stdbool.h>
#include <stdint.h>

/* The loader of glibc on this machine, by the name that its ABI fixes for PT_INTERP; of musl where
 * the library is built for that. */
#if defined(ELF_LOADER)
#elif defined(__x86_64__) && defined(__LP64__)
#define ELF_LOADER "/lib64/ld-linux-x86-64.so.2"
#elif defined(__aarch64__)
#define ELF_LOADER "/lib/ld-linux-aarch64.so.1"
#elif defined(__i386__)
#define ELF_LOADER "/lib/ld-linux.so.2"
#elif defined(__arm__)
#define ELF_LOADER "/lib/ld-linux-armhf.so.3"
#elif defined(__riscv)
#define ELF_LOADER "/lib/ld-linux-riscv64-lp64d.so.1"
#elif defined(__powerpc64__)
#define ELF_LOADER "/lib64/ld64.so.2"
#elif defined(__s390x__)
#define ELF_LOADER "/lib/ld64.so.1"
#elif defined(__loongarch__)
#define ELF_LOADER "/lib64/ld-linux-loongarch-lp64d.so.1"
#else
#error "the loader of this architecture is not known here"
#endif

/* The twin of this machine's kind of programs: of the other word size, run by the same kernel. */
#if defined(__x86_64__) && defined(__LP64__)
#define ELF_TWIN_LOADER "/lib/ld-linux.so.2"
#elif defined(__i386__)
#define ELF_TWIN_LOADER "/lib64/ld-linux-x86-64.so.2"
#else
#define ELF_TWIN_LOADER NULL /* there is none */
#endif

enum { ELF_INTERPRETER_MAX = 256 };

struct elf_facts {
    uint8_t bits;     /* 32 or 64 */
    bool is_native;   /* of this machine's class, byte order and machine */
    bool is_twin;     /* of its twin's; if of neither no more is known */
    uint16_t machine; /* e_machine as it stands, in this machine's byte order if it is native */
    bool is_go;       /* built by the Go toolchain */
    char interpreter[ELF_INTERPRETER_MAX]; /* empty: statically linked, or itself a loader */
};

enum elf_result { ELF_READ, ELF_NO_ELF, ELF_MALFORMED, ELF_IO };

enum elf_result elf_read(int fd, struct elf_facts *facts);

#endif
