#include "client/twin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "client/elf_file.h"

#define NAME "/libviaduct.so"

/* Where a library of each word size lies: as built, and as installed. */
static const struct {
    const char *own, *twin;
} places[] = {
#if defined(__x86_64__) && defined(__LP64__)
    {"/preload" NAME, "/preload/lib32" NAME},
    {"/" VIADUCT_PKGLIB NAME, "/" VIADUCT_PKGLIB32 NAME},
#elif defined(__i386__)
    {"/preload/lib32" NAME, "/preload" NAME},
    {"/" VIADUCT_PKGLIB32 NAME, "/" VIADUCT_PKGLIB NAME},
#else
    {NAME, NULL},
#endif
};

bool twin_place(char path[PATH_MAX], const char *library)
{
    size_t len = strlen(library);

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t end = strlen(places[i].own);

        if (!places[i].twin || len < end || strcmp(library + len - end, places[i].own) != 0 ||
            len - end + strlen(places[i].twin) >= PATH_MAX)
            continue;
        memcpy(path, library, len - end);
        strcpy(path + (len - end), places[i].twin);
        return true;
    }
    return false;
}

/* The loader would leave out, with a warning, what it cannot take. */
bool twin_library(char path[PATH_MAX], const char *library)
{
    struct elf_facts facts;
    enum elf_result result;
    int fd, number;

    errno = ENOENT;
    if (!twin_place(path, library))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    result = elf_read(fd, &facts);
    number = result == ELF_IO ? errno : ENOEXEC;
    close(fd);
    errno = number;
    return result == ELF_READ && facts.is_twin;
}
