/*
 * Configuration files: each is refused with a reason that names the file, or read; a client's that
 * reads is printed as one that reads, and is printed alike then.
 */
#include <string.h>

#include "conf/client.h"
#include "conf/daemon.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/paper.h"

/* The client's configuration, printed; NULL if it is refused. */
static char *read_client(size_t *len)
{
    char *error = NULL, *warning = NULL, *text = NULL;
    struct vd_conf_client c;
    int r;

    r = vd_conf_client_read(&c, paper_path(), &error, &warning);
    PROPERTY(r == 0 || (error && *error));
    if (r == 0) {
        FILE *to = open_memstream(&text, len);

        vd_conf_client_print(to, &c);
        fclose(to);
    }
    vd_conf_client_free(&c);
    free(error);
    free(warning);
    return text;
}

static void read_daemon(void)
{
    char *error = NULL, *warning = NULL;
    struct vd_conf_daemon c;
    int r;

    vd_conf_daemon_init(&c);
    r = vd_conf_daemon_read(&c, paper_path(), &error, &warning);
    PROPERTY(r == 0 || (error && *error));
    vd_conf_daemon_free(&c);
    free(error);
    free(warning);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = 0, again_len = 0;
    char *text, *again;

    if (size > 1 << 13)
        return 0;
    paper_write(data, size);
    read_daemon();
    text = read_client(&len);
    if (!text)
        return 0;
    paper_write(text, len);
    again = read_client(&again_len);
    PROPERTY(again && len == again_len && !memcmp(text, again, len));
    free(text);
    free(again);
    return 0;
}
