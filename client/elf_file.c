#include "client/elf_file.h"

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

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

/* As ELF_TWIN_LOADER. */
#if defined(__x86_64__) && defined(__LP64__)
enum { TWIN_CLASS = ELFCLASS32, TWIN_MACHINE = EM_386 };
#elif defined(__i386__)
enum { TWIN_CLASS = ELFCLASS64, TWIN_MACHINE = EM_X86_64 };
#else
enum { TWIN_CLASS = ELFCLASSNONE, TWIN_MACHINE = EM_NONE };
#endif

/* A file, and its first bytes, in which most of what counts stands. */
struct file {
    int fd;
    bool is_wide; /* ELFCLASS64 */
    size_t have;
    char first[FIRST_SIZE];
};

/* What is read of headers, whichever class they are of. */
struct file_header {
    uint16_t type;
    uint64_t segments_at, sections_at;
    uint16_t segment_size, segment_count, section_size, section_count, names_index;
};

struct segment {
    uint32_t type;
    uint64_t at, size;
};

struct section {
    uint32_t name;
    uint64_t at, size;
};

union raw_section {
    Elf32_Shdr narrow;
    Elf64_Shdr wide;
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
        if (at > (uint64_t)INT64_MAX - len)
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

static bool read_interpreter(const struct file *f, const struct segment *s, struct elf_facts *facts)
{
    if (s->size < 2 || s->size > sizeof facts->interpreter)
        return false;
    return get(f, s->at, facts->interpreter, (size_t)s->size) && facts->interpreter[0] == '/' &&
           facts->interpreter[s->size - 1] == 0;
}

/* Whether one of the notes belongs to the Go toolchain. Notes that make no sense are no Go's. */
static bool has_go_note(const struct file *f, const struct segment *s)
{
    uint64_t at = 0;
    Elf64_Nhdr note; /* the same in both classes */
    char name[4];

    while (at < s->size && at < NOTE_MAX) {
        if (!get(f, s->at + at, &note, sizeof note))
            return false;
        if (note.n_namesz == sizeof name && get(f, s->at + at + sizeof note, name, 4) &&
            !memcmp(name, "Go\0", sizeof name))
            return true;
        at += sizeof note + ((uint64_t)note.n_namesz + 3) / 4 * 4 +
              ((uint64_t)note.n_descsz + 3) / 4 * 4;
    }
    return false;
}

static bool get_segment(const struct file *f, uint64_t at, struct segment *s)
{
    Elf32_Phdr narrow;
    Elf64_Phdr wide;

    if (f->is_wide ? !get(f, at, &wide, sizeof wide) : !get(f, at, &narrow, sizeof narrow))
        return false;
    *s = f->is_wide ? (struct segment){wide.p_type, wide.p_offset, wide.p_filesz}
                    : (struct segment){narrow.p_type, narrow.p_offset, narrow.p_filesz};
    return true;
}

static bool read_segment(const struct file *f, const struct segment *s, struct elf_facts *facts)
{
    if (s->type == PT_INTERP && !facts->interpreter[0])
        return read_interpreter(f, s, facts);
    if (s->type == PT_NOTE && has_go_note(f, s))
        facts->is_go = true;
    return true;
}

static bool read_segments(const struct file *f, const struct file_header *head,
                          struct elf_facts *facts)
{
    size_t size = f->is_wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    struct segment s;

    if (head->segment_size != size || head->segment_count == 0 ||
        head->segment_count * size > SEGMENTS_SIZE_MAX)
        return false;
    for (unsigned i = 0; i < head->segment_count; i++)
        if (!get_segment(f, head->segments_at + i * size, &s) || !read_segment(f, &s, facts))
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

static size_t section_size(const struct file *f)
{
    return f->is_wide ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
}

/* The i-th of the headers that were read as they stand in the file. */
static struct section section_at(const struct file *f, const void *raw, unsigned i)
{
    const Elf32_Shdr *narrow = (const Elf32_Shdr *)raw + i;
    const Elf64_Shdr *wide = (const Elf64_Shdr *)raw + i;

    return f->is_wide ? (struct section){wide->sh_name, wide->sh_offset, wide->sh_size}
                      : (struct section){narrow->sh_name, narrow->sh_offset, narrow->sh_size};
}

static bool read_names(struct names *n, const struct file *f, const struct file_header *head)
{
    size_t size = section_size(f);
    struct section strings;
    union raw_section raw;

    if (!get(f, head->sections_at + head->names_index * size, &raw, size))
        return false;
    strings = section_at(f, &raw, 0);
    *n = (struct names){.f = f, .at = strings.at, .size = strings.size};
    n->whole = n->size <= sizeof n->text && get(f, n->at, n->text, (size_t)n->size);
    return true;
}

/* The kernel does not look at sections: where they make no sense, they just tell nothing. */
static bool has_section(const struct file *f, const struct file_header *head, const char *name)
{
    size_t size = section_size(f);
    union raw_section some[AT_ONCE];
    struct names names;

    if (head->section_size != size || head->section_count == 0 ||
        head->section_count > SECTIONS_MAX || head->names_index >= head->section_count ||
        !read_names(&names, f, head))
        return false;
    for (unsigned i = 0; i < head->section_count; i++) {
        unsigned left = head->section_count - i, count = left < AT_ONCE ? left : AT_ONCE;

        if (i % AT_ONCE == 0 && !get(f, head->sections_at + i * size, some, count * size))
            return false;
        if (is_called(&names, section_at(f, some, i % AT_ONCE).name, name, strlen(name) + 1))
            return true;
    }
    return false;
}

/* --- the file -------------------------------------------------------------------------------- */

/* false: the file is too short for a header of its class. */
static bool read_header(const struct file *f, struct file_header *h)
{
    Elf32_Ehdr n;
    Elf64_Ehdr w;

    if (f->have < (f->is_wide ? sizeof w : sizeof n))
        return false;
    memcpy(&n, f->first, sizeof n);
    memcpy(&w, f->first, f->is_wide ? sizeof w : sizeof n);
    *h = f->is_wide ? (struct file_header){w.e_type,  w.e_phoff,     w.e_shoff, w.e_phentsize,
                                           w.e_phnum, w.e_shentsize, w.e_shnum, w.e_shstrndx}
                    : (struct file_header){n.e_type,  n.e_phoff,     n.e_shoff, n.e_phentsize,
                                           n.e_phnum, n.e_shentsize, n.e_shnum, n.e_shstrndx};
    return true;
}

/* What stands at the same place in both classes. */
static void read_kind(const struct file *f, struct elf_facts *facts)
{
    const unsigned char class = (unsigned char)f->first[EI_CLASS];
    bool same_order = f->first[EI_DATA] == OWN_DATA;

    memcpy(&facts->machine, f->first + offsetof(Elf32_Ehdr, e_machine), sizeof facts->machine);
    facts->bits = class == ELFCLASS64 ? 64 : 32;
    facts->is_native = same_order && class == OWN_CLASS && facts->machine == OWN_MACHINE;
    facts->is_twin = same_order && class == TWIN_CLASS && facts->machine == TWIN_MACHINE;
    facts->is_go = false;
    facts->interpreter[0] = 0;
}

enum elf_result elf_read(int fd, struct elf_facts *facts)
{
    struct file f;
    struct file_header head;

    f.fd = fd;
    ssize_t n = pread(fd, f.first, sizeof f.first, 0);
    if (n < 0)
        return ELF_IO;
    f.have = (size_t)n;
    if (n < SELFMAG || memcmp(f.first, ELFMAG, SELFMAG))
        return ELF_NO_ELF;
    if (f.have < offsetof(Elf32_Ehdr, e_version))
        return ELF_MALFORMED;
    read_kind(&f, facts);
    if (!facts->is_native && !facts->is_twin)
        return ELF_READ;
    f.is_wide = facts->bits == 64;
    if (!read_header(&f, &head) || (head.type != ET_EXEC && head.type != ET_DYN) ||
        !read_segments(&f, &head, facts))
        return ELF_MALFORMED;
    facts->is_go |= has_section(&f, &head, ".go.buildinfo");
    return ELF_READ;
}
