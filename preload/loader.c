/*
 * The objects that are loaded stand in a list that the loader keeps for debuggers; those from the
 * program's start stay there. Looking for the next definitions calls no function at all: the
 * runtime of a sanitizer, in a program that was built with one, asks for them before its own
 * replacements of libc's functions work.
 */
#include "preload/loader.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>

#include "client/sys.h"

#undef p_type /* a macro of <resolv.h> */

/* --- one name in one object ------------------------------------------------------------------ */

struct tables {
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *hash; /* DT_GNU_HASH */
    const ElfW(Half) * versions;
};

/* The loader has added the base already, but for architectures with a read-only section. */
static const void *at(const struct link_map *object, uintptr_t value)
{
    return (const void *)(value < object->l_addr ? value + object->l_addr : value);
}

static bool read_tables(struct tables *t, const struct link_map *object)
{
    *t = (struct tables){NULL, NULL, NULL, NULL};
    for (const ElfW(Dyn) *entry = object->l_ld; entry->d_tag != DT_NULL; entry++) {
        const void *table = at(object, entry->d_un.d_ptr);

        if (entry->d_tag == DT_SYMTAB)
            t->symbols = table;
        else if (entry->d_tag == DT_STRTAB)
            t->strings = table;
        else if (entry->d_tag == DT_GNU_HASH)
            t->hash = table;
        else if (entry->d_tag == DT_VERSYM)
            t->versions = table;
    }
    return t->symbols && t->strings && t->hash;
}

static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;

    for (; *name; name++)
        hash = hash * 33 + (uint8_t)*name;
    return hash;
}

static bool same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static bool is_wanted(const struct tables *t, uint32_t index, const char *name)
{
    const ElfW(Sym) *symbol = &t->symbols[index];
    bool hidden = t->versions && t->versions[index] & 0x8000;

    return symbol->st_shndx != SHN_UNDEF && !hidden && same(t->strings + symbol->st_name, name);
}

/* The index of a symbol, 0: the object does not define it. */
static uint32_t find_index(const struct tables *t, const char *name)
{
    uint32_t hash = gnu_hash(name), count = t->hash[0], first = t->hash[1], index;
    const uint32_t *buckets = t->hash + 4 + t->hash[2] * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t *chain = buckets + count;

    index = buckets[hash % count];
    if (index < first)
        return 0;
    for (;; index++) {
        uint32_t other = chain[index - first];

        if ((other | 1) == (hash | 1) && is_wanted(t, index, name))
            return index;
        if (other & 1)
            return 0;
    }
}

/* --- behind this library --------------------------------------------------------------------- */

static void *find_next(const char *name)
{
    const struct link_map *object = _r_debug.r_map;
    struct tables t;

    while (object && object->l_ld != _DYNAMIC) /* this library's own */
        object = object->l_next;
    while (object && (object = object->l_next)) {
        uint32_t index = read_tables(&t, object) ? find_index(&t, name) : 0;

        if (index)
            return (void *)(object->l_addr + t.symbols[index].st_value);
    }
    if (loader_stand_in(name))
        return loader_stand_in(name);
    abort(); /* a libc without it: going on would mean to guess */
}

const struct loader *loader(void)
{
    static struct loader found;

    if (!__atomic_load_n((void **)&found.dlsym, __ATOMIC_ACQUIRE)) {
        __atomic_store_n((void **)&found.dlvsym, find_next("dlvsym"), __ATOMIC_RELAXED);
        __atomic_store_n((void **)&found.dlsym, find_next("dlsym"), __ATOMIC_RELEASE);
    }
    return &found;
}

/* --- whose symbol it is ---------------------------------------------------------------------- */

static bool contains(const struct dl_phdr_info *object, const void *address)
{
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];

        if (part->p_type == PT_LOAD &&
            (uintptr_t)address - (object->dlpi_addr + part->p_vaddr) < part->p_memsz)
            return true;
    }
    return false;
}

/* The addresses of an object, both 0 as long as it was not looked for. */
struct range {
    uintptr_t begin, end;
};

struct measured {
    const void *inside;
    struct range range;
};

static int measure(struct dl_phdr_info *object, size_t size, void *measured)
{
    struct measured *m = measured;

    (void)size;
    if (!contains(object, m->inside))
        return 0;
    m->range.begin = UINTPTR_MAX;
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t begin = object->dlpi_addr + part->p_vaddr;

        if (part->p_type != PT_LOAD)
            continue;
        m->range.begin = begin < m->range.begin ? begin : m->range.begin;
        m->range.end = begin + part->p_memsz > m->range.end ? begin + part->p_memsz : m->range.end;
    }
    return 1;
}

static bool is_within(struct range *object, const void *inside, const void *symbol)
{
    struct measured m = {.inside = inside};
    uintptr_t begin, end = __atomic_load_n(&object->end, __ATOMIC_ACQUIRE);

    if (!end) {
        dl_iterate_phdr(measure, &m);
        __atomic_store_n(&object->begin, m.range.begin, __ATOMIC_RELAXED);
        __atomic_store_n(&object->end, m.range.end, __ATOMIC_RELEASE);
        end = m.range.end;
    }
    begin = __atomic_load_n(&object->begin, __ATOMIC_RELAXED);
    return (uintptr_t)symbol >= begin && (uintptr_t)symbol < end;
}

/* A handle of this library: behind it come those that it needs, which is libc. Only an object that
 * was asked for by dlopen() can be searched with those behind it. */
static void *own_handle(void)
{
    static void *own;
    void *handle = __atomic_load_n(&own, __ATOMIC_RELAXED);
    Dl_info info;

    if (!handle && dladdr((const void *)own_handle, &info) && info.dli_fname) {
        handle = sys.dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
        __atomic_store_n(&own, handle, __ATOMIC_RELAXED);
    }
    return handle;
}

void *loader_hook_of(void *symbol, const char *name)
{
    static struct range libc, here;
    void *own = NULL;

    if (symbol && is_within(&libc, (const void *)gnu_get_libc_version, symbol) && own_handle())
        own = loader()->dlsym(own_handle(), name);
    return own && is_within(&here, (const void *)own_handle, own) ? own : symbol;
}
