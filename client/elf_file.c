#include "client/elf_file.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

typedef ElfW(Ehdr) file_header;
typedef ElfW(Phdr) program_header;
typedef ElfW(Shdr) section_header;

enum {
    OWN_CLASS = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32,
    OWN_DATA = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB,
    SECTIONS_MAX = 4096,
    AT_ONCE = 32, /* headers */
    NAMES_AT_ONCE = 4096,
    SEGMENTS_SIZE_MAX = 65536, /* the kernel's own limit */
    NOTE_MAX = 4096,
    FIRST_SIZE = 4096
};

#if defined(__x86_64__)
enum { OWN_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OWN_MACHINE = EM_AARCH64 };
#elif defined(__i386__)
enum { OWN_MACHINE = EM_386 };
#elif defined(__arm__)
enum { OWN_MACHINE = EM_ARM };
#elif defined(__riscv)
enum { OWN_MACHINE = EM_RISCV };
#elif defined(__powerpc64__)
enum { OWN_MACHINE = EM_PPC64 };
#elif defined(__s390x__)
enum { OWN_MACHINE = EM_S390 };
#elif defined(__loongarch__)
enum { OWN_MACHINE = 258 };
#else
#error "the ELF machine of this architecture is not known here"
#endif

/* A file, and its first bytes, in which most of what counts stands. */
struct file {
    int fd;
    size_t have;
    char first[FIRST_SIZE];
};

/* All of `len` bytes at `at`, or false: past the end, an offset beyond what pread takes, or an
 * error. */
static bool get(const struct file *f, uint64_t at, void *to, size_t len)
{
    char *into = to;

    if (at <= f->have && len <= f->have - at) {
        memcpy(to, f->first + at, len);
        return true;
    }
    while (len > 0) {
        if (at > INT64_MAX - len)
            return false;
        ssize_t n = pread(f->fd, into, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        into += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

/* --- program headers ------------------------------------------------------------------------- */

static bool read_interpreter(const struct file *f, const program_header *ph,
                             struct elf_facts *facts)
{
    if (ph->p_filesz < 2 || ph->p_filesz > sizeof facts->interpreter)
        return false;
    return get(f, ph->p_offset, facts->interpreter, ph->p_filesz) && facts->interpreter[0] == '/' &&
           facts->interpreter[ph->p_filesz - 1] == 0;
}

/* Whether one of the notes belongs to the Go toolchain. Notes that make no sense are no Go's. */
static bool has_go_note(const struct file *f, const program_header *ph)
{
    uint64_t at = 0;
    ElfW(Nhdr) note;
    char name[4];

    while (at < ph->p_filesz && at < NOTE_MAX) {
        if (!get(f, ph->p_offset + at, &note, sizeof note))
            return false;
        if (note.n_namesz == sizeof name && get(f, ph->p_offset + at + sizeof note, name, 4) &&
            !memcmp(name, "Go\0", sizeof name))
            return true;
        at += sizeof note + ((uint64_t)note.n_namesz + 3) / 4 * 4 +
              ((uint64_t)note.n_descsz + 3) / 4 * 4;
    }
    return false;
}

static bool read_segment(const struct file *f, const program_header *ph, struct elf_facts *facts)
{
    if (ph->p_type == PT_INTERP && !facts->interpreter[0])
        return read_interpreter(f, ph, facts);
    if (ph->p_type == PT_NOTE && has_go_note(f, ph))
        facts->is_go = true;
    return true;
}

static bool read_segments(const struct file *f, const file_header *head, struct elf_facts *facts)
{
    program_header ph;

    if (head->e_phentsize != sizeof ph || head->e_phnum == 0 ||
        head->e_phnum * sizeof ph > SEGMENTS_SIZE_MAX)
        return false;
    for (unsigned i = 0; i < head->e_phnum; i++)
        if (!get(f, head->e_phoff + i * sizeof ph, &ph, sizeof ph) || !read_segment(f, &ph, facts))
            return false;
    return true;
}

/* --- sections -------------------------------------------------------------------------------- */

/* The names of sections; short ones, as nearly all are, are read at once. */
struct names {
    const struct file *f;
    uint64_t at, size;
    bool whole;
    char text[NAMES_AT_ONCE];
};

static bool is_called(const struct names *n, uint32_t at, const char *name, size_t len)
{
    char text[64];

    if (n->size < len || at > n->size - len)
        return false;
    if (n->whole)
        return !memcmp(n->text + at, name, len);
    return len <= sizeof text && get(n->f, n->at + at, text, len) && !memcmp(text, name, len);
}

static bool read_names(struct names *n, const struct file *f, const file_header *head)
{
    section_header strings;

    if (!get(f, head->e_shoff + head->e_shstrndx * sizeof strings, &strings, sizeof strings))
        return false;
    *n = (struct names){.f = f, .at = strings.sh_offset, .size = strings.sh_size};
    n->whole = n->size <= sizeof n->text && get(f, n->at, n->text, n->size);
    return true;
}

/* The kernel does not look at sections: where they make no sense, they just tell nothing. */
static bool has_section(const struct file *f, const file_header *head, const char *name)
{
    section_header some[AT_ONCE];
    struct names names;

    if (head->e_shentsize != sizeof *some || head->e_shnum == 0 || head->e_shnum > SECTIONS_MAX ||
        head->e_shstrndx >= head->e_shnum || !read_names(&names, f, head))
        return false;
    for (unsigned i = 0; i < head->e_shnum; i++) {
        unsigned left = head->e_shnum - i, count = left < AT_ONCE ? left : AT_ONCE;

        if (i % AT_ONCE == 0 &&
            !get(f, head->e_shoff + i * sizeof *some, some, count * sizeof *some))
            return false;
        if (is_called(&names, some[i % AT_ONCE].sh_name, name, strlen(name) + 1))
            return true;
    }
    return false;
}

/* --- the file -------------------------------------------------------------------------------- */

static bool is_native(const file_header *head)
{
    return head->e_ident[EI_CLASS] == OWN_CLASS && head->e_ident[EI_DATA] == OWN_DATA &&
           head->e_machine == OWN_MACHINE;
}

enum elf_result elf_read(int fd, struct elf_facts *facts)
{
    struct file f;
    file_header head = {.e_type = 0};

    f.fd = fd;
    ssize_t n = pread(fd, f.first, sizeof f.first, 0);
    if (n < 0)
        return ELF_IO;
    f.have = (size_t)n;
    if (n < SELFMAG || memcmp(f.first, ELFMAG, SELFMAG))
        return ELF_NO_ELF;
    memcpy(&head, f.first, f.have < sizeof head ? f.have : sizeof head);
    if (f.have < offsetof(file_header, e_version))
        return ELF_MALFORMED;
    facts->bits = head.e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32;
    facts->machine = head.e_machine;
    facts->is_native = is_native(&head);
    facts->is_go = false;
    facts->interpreter[0] = 0;
    if (!facts->is_native)
        return ELF_READ;
    if (f.have < sizeof head || (head.e_type != ET_EXEC && head.e_type != ET_DYN) ||
        !read_segments(&f, &head, facts))
        return ELF_MALFORMED;
    facts->is_go |= has_section(&f, &head, ".go.buildinfo");
    return ELF_READ;
}
