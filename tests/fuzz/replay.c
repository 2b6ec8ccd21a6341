/* replay DIR...: plays every file of the folders once, without a fuzzer, as TAP. */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/tap.h"

static void play(const char *path)
{
    static uint8_t data[1 << 18];
    FILE *file = fopen(path, "rb");
    size_t len;

    if (!file) {
        tap_ok(false, "%s: %s", path, strerror(errno));
        return;
    }
    len = fread(data, 1, sizeof data, file);
    fclose(file);
    fflush(stdout); /* the target may abort */
    tap_ok(LLVMFuzzerTestOneInput(data, len) == 0, "%s", strrchr(path, '/') + 1);
}

static void play_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char path[4096];

    if (!dir) {
        tap_ok(false, "%s: %s", folder, strerror(errno));
        return;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        play(path);
    }
    closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        play_folder(argv[i]);
    return tap_done();
}
