/*
 * Configuration files, by rows: a text, and the error that it must give to the letter.
 *
 *     test_rows SAMPLES     SAMPLES: the directory of viaduct.conf and viaductd.conf
 */
#include "tests/conf/conf_test.h"

#include <limits.h>
#include <sys/stat.h>

#include "conf/client.h"
#include "conf/daemon.h"

static void expect_result(int result, const char *error)
{
    if (result != (error ? -1 : 0))
        tap_wrong("result %d", result);
}

static void play_client(const struct conf_row *row)
{
    struct vd_conf_client c;
    char *error, *warning;

    conf_write(CONF_FILE, row->text, strlen(row->text));
    tap_begin();
    expect_result(vd_conf_client_read(&c, CONF_FILE, &error, &warning), row->error);
    conf_same(error, row->error);
    conf_same(warning, NULL);
    vd_conf_client_free(&c);
    tap_end(row->text);
}

static void play_daemon(const struct conf_row *row)
{
    struct vd_conf_daemon c;
    char *error, *warning;

    conf_write(CONF_FILE, row->text, strlen(row->text));
    tap_begin();
    vd_conf_daemon_init(&c);
    expect_result(vd_conf_daemon_read(&c, CONF_FILE, &error, &warning), row->error);
    conf_same(error, row->error);
    conf_same(warning, NULL);
    vd_conf_daemon_free(&c);
    tap_end(row->text);
}

static void write_users(void)
{
    static const char good[] = "# comment\n\nalice:$6$salt$hash.of/it\r\nbob:abJnggxhB/yWI\n";
    static const char plain[] = "\n# two\nalice:secret\n";
    static const char twice[] = "alice:$6$salt$hash1\nalice:$6$salt$hash2\n";
    static const char nameless[] = ":$6$salt$hash.of.it\n";
    static const char nul[] = "alice:$6$salt$hash\0x\n";

    conf_write("good.users", good, sizeof good - 1);
    conf_write("plain.users", plain, sizeof plain - 1);
    conf_write("twice.users", twice, sizeof twice - 1);
    conf_write("nameless.users", nameless, sizeof nameless - 1);
    conf_write("nul.users", nul, sizeof nul - 1);
}

/* Errors without a line: the file as such. */
static void play_file(const char *path, const char *want)
{
    struct vd_conf_client c;
    char *error, *warning;

    tap_begin();
    expect_result(vd_conf_client_read(&c, path, &error, &warning), want);
    conf_same(error, want);
    tap_end(want);
}

static void test_files(void)
{
    conf_write("nul.conf", "dns = \"remote\"\n\0x", 17);
    play_file("nowhere.conf", "nowhere.conf: No such file or directory");
    play_file("nul.conf", "nul.conf: not a text: it contains a NUL byte");
    play_file(".", ".: not a configuration file; allowed: a regular file or a pipe, up to 16 MiB");
    play_file(
        "/dev/null",
        "/dev/null: not a configuration file; allowed: a regular file or a pipe, up to 16 MiB");
}

static void play_warning(const char *text, mode_t mode, const char *want)
{
    struct vd_conf_client c;
    char *error, *warning;

    conf_write(CONF_FILE, text, strlen(text));
    chmod(CONF_FILE, mode);
    tap_begin();
    expect_result(vd_conf_client_read(&c, CONF_FILE, &error, &warning), NULL);
    conf_same(error, NULL);
    conf_same(warning, want);
    vd_conf_client_free(&c);
    tap_end(want ? "a warning" : "no warning");
}

static void test_warnings(void)
{
    static const char want[] =
        CONF_FILE ": contains passwords and can be read by everybody; chmod o-r helps";

    play_warning("proxy p { url = \"http://u:p@h\" }", 0644, want);
    play_warning("chain c { hops = \"http://u:p@h\" }", 0604, want);
    play_warning("chain c { hops = \"http://u:p@h\" }", 0640, NULL);
    play_warning("chain c { hops = \"http://u@h\" }", 0644, NULL);
}

static void test_samples(const char *dir)
{
    struct vd_conf_client client;
    struct vd_conf_daemon daemon;
    char path[PATH_MAX + 32], *error, *warning;

    tap_begin();
    snprintf(path, sizeof path, "%s/viaduct.conf", dir);
    vd_conf_client_read(&client, path, &error, &warning);
    conf_same(error, NULL);
    free(warning);
    if (client.chain_count != 2 || client.rule_count != 2 || client.bypass_count != 4)
        tap_wrong("it says something else");
    vd_conf_client_free(&client);
    tap_end("sample viaduct.conf");

    tap_begin();
    vd_conf_daemon_init(&daemon);
    snprintf(path, sizeof path, "%s/viaductd.conf", dir);
    vd_conf_daemon_read(&daemon, path, &error, &warning);
    conf_same(error, NULL);
    conf_same(warning, NULL);
    if (daemon.listen_count != 2 || daemon.access_count != 3)
        tap_wrong("it says something else");
    vd_conf_daemon_free(&daemon);
    tap_end("sample viaductd.conf");
}

int main(int argc, char **argv)
{
    static const char *const files[] = {CONF_FILE,   "good.users", "plain.users",   "twice.users",
                                        "nul.users", "nul.conf",   "nameless.users"};
    char dir[32], samples[PATH_MAX];

    if (argc != 2 || !realpath(argv[1], samples))
        return 1;
    conf_enter(dir);
    write_users();
    for (const struct conf_row *row = conf_client_rows; row->text; row++)
        play_client(row);
    for (const struct conf_row *row = conf_daemon_rows; row->text; row++)
        play_daemon(row);
    test_files();
    test_warnings();
    test_samples(samples);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
    rmdir(dir);
    return tap_done();
}
