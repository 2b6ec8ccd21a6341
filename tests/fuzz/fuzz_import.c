/*
 * The configuration of another program: it is refused with a reason, or what it becomes reads as a
 * viaduct.conf.
 */
#include <string.h>

#include "conf/client.h"
#include "conf/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/paper.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = NULL, *error = NULL, *warning = NULL;
    size_t len = 0;
    FILE *to;
    struct vd_conf_client c;
    int r;

    if (size > 1 << 14)
        return 0;
    paper_write(data, size);
    to = open_memstream(&text, &len);
    r = vd_conf_import(to, paper_path(), &error);
    fclose(to);
    PROPERTY(r == 0 || (r == -1 && error && *error && len == 0));
    if (r == 0) {
        PROPERTY(len > 0 && !error && !memchr(text, 0, len));
        paper_write(text, len);
        r = vd_conf_client_read(&c, paper_path(), &error, &warning);
        if (r != 0)
            fprintf(stderr, "%s\n%.*s\n", error, (int)len, text);
        PROPERTY(r == 0);
        vd_conf_client_free(&c);
    }
    free(text);
    free(error);
    free(warning);
    return 0;
}
