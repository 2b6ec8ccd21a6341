/* proto/chain: several messages, and several hops, in one flight; and the way back from it. */
#include <string.h>

#include "proto/err.h"
#include "tests/unit/guard.h"
#include "tests/unit/talks.h"
#include "tests/unit/tap.h"

static const char tunnel[] = "\5\0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\0\x5a tunnel";

static struct vd_hop hops[VD_HOPS_MAX];

static void read_path(struct vd_path *path, const char *urls)
{
    memset(path, 0, sizeof *path);
    path->hops = hops;
    path->tls = true;
    for (; *urls; urls += strspn(urls, " ")) {
        size_t len = strcspn(urls, " ");
        struct vd_url_error why;

        if (vd_url_read(&hops[path->count], urls, len, &why) < 0)
            tap_wrong("cannot read %.*s: %s", (int)len, urls, why.part);
        path->order[path->count] = path->count;
        path->count++;
        urls += len;
    }
}

#define LOGIN_ONLY "\5\1\2"
#define TO(n)      "\5\1\0\3\2h" n "\x04\x38"
#define OK5        "\5\0" S5_OK
#define NO5(code)  "\5" code "\0\1\0\0\0\0\0\0"
#define VIA(host)  CONNECT(host ":8080")
#define HTTP_OK    "HTTP/1.1 200 OK\r\n\r\n"

static const struct row {
    const char *name, *urls;
    unsigned flights, proven; /* a bit for each hop */
    const char *ahead;        /* said before anything is heard */
    size_t ahead_len;
    const char *said; /* in all */
    size_t said_len;
    const char *heard;
    size_t heard_len;
    enum play_loss loss;
    int end;
    unsigned at;
} rows[] = {
    {"one hop, its own messages", "socks5h://h1", 1, 0, BYTES(S5_OPEN S5_NAME),
     BYTES(S5_OPEN S5_NAME), BYTES(OK5), 0, VD_DONE, 0},
    {"a hop that bears no flight", "socks5h://h1", 0, 0, BYTES(S5_OPEN), BYTES(S5_OPEN S5_NAME),
     BYTES(OK5), 0, VD_DONE, 0},
    {"a login, and it alone is offered", "socks5h://alice:secret@h1", 1, 0,
     BYTES(LOGIN_ONLY S5_LOGIN S5_NAME), BYTES(LOGIN_ONLY S5_LOGIN S5_NAME),
     BYTES("\5\2\1\0" S5_OK), 0, VD_DONE, 0},
    {"two hops", "socks5h://h1 socks5h://h2", 3, 0, BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME),
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(OK5 OK5), 0, VD_DONE, 1},
    {"the second bears none", "socks5h://h1 socks5h://h2", 1, 0, BYTES(S5_OPEN TO("2") S5_OPEN),
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(OK5 OK5), 0, VD_DONE, 1},
    {"the first bears none", "socks5h://h1 socks5h://h2", 2, 0, BYTES(S5_OPEN),
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(OK5 OK5), 0, VD_DONE, 1},
    {"the one in the middle bears none", "socks5h://h1 socks5h://h2 socks5h://h3", 5, 0,
     BYTES(S5_OPEN TO("2") S5_OPEN), BYTES(S5_OPEN TO("2") S5_OPEN TO("3") S5_OPEN S5_NAME),
     BYTES(OK5 OK5 OK5), 0, VD_DONE, 2},
    {"five hops", "socks5h://h1 socks5h://h2 socks5h://h3 socks5h://h4 socks5h://h5", 31, 31,
     BYTES(S5_OPEN TO("2") S5_OPEN TO("3") S5_OPEN TO("4") S5_OPEN TO("5") S5_OPEN S5_NAME),
     BYTES(S5_OPEN TO("2") S5_OPEN TO("3") S5_OPEN TO("4") S5_OPEN TO("5") S5_OPEN S5_NAME),
     BYTES(OK5 OK5 OK5 OK5 OK5), 0, VD_DONE, 4},
    {"socks4a, then socks5", "socks4a://h1 socks5h://h2", 3, 0,
     BYTES("\4\1\x04\x38\0\0\0\1\0h2\0" S5_OPEN S5_NAME),
     BYTES("\4\1\x04\x38\0\0\0\1\0h2\0" S5_OPEN S5_NAME), BYTES("\0\x5a\0\0\0\0\0\0" OK5), 0,
     VD_DONE, 1},
    {"http, then socks5", "http://h1 socks5h://h2:8080", 3, 0, BYTES(VIA("h2") S5_OPEN S5_NAME),
     BYTES(VIA("h2") S5_OPEN S5_NAME), BYTES(HTTP_OK OK5), 0, VD_DONE, 1},
    {"a hop with TLS waits for it", "socks5h://h1 https://h2:1080", 3, 0, BYTES(S5_OPEN TO("2")),
     BYTES(S5_OPEN TO("2") PLAY_TLS CONNECT(NAME)), BYTES(OK5 HTTP_OK), 0, VD_DONE, 1},
    {"what is behind a hop with TLS waits too", "socks5h://h1 https://h2:1080 socks5h://h3", 7, 0,
     BYTES(S5_OPEN TO("2")), BYTES(S5_OPEN TO("2") PLAY_TLS CONNECT("h3:1080") S5_OPEN S5_NAME),
     BYTES(OK5 HTTP_OK OK5), 0, VD_DONE, 2},
    {"a flight inside TLS", "https://h1 socks5h://h2", 3, 0,
     BYTES(PLAY_TLS CONNECT("h2:1080") S5_OPEN S5_NAME),
     BYTES(PLAY_TLS CONNECT("h2:1080") S5_OPEN S5_NAME), BYTES(HTTP_OK OK5), 0, VD_DONE, 1},
    {"a flight inside TLS goes wrong", "https://h1 socks5h://h2", 3, 0,
     BYTES(PLAY_TLS CONNECT("h2:1080") S5_OPEN S5_NAME),
     BYTES(PLAY_TLS CONNECT("h2:1080") S5_OPEN S5_NAME), BYTES(HTTP_OK), PLAY_EOF, VD_AGAIN, 1},
    {"http that has not said yes before", "http://h1 socks5h://h2:8080", 2, 0, BYTES(VIA("h2")),
     BYTES(VIA("h2") S5_OPEN S5_NAME), BYTES(HTTP_OK OK5), 0, VD_DONE, 1},
    {"socks5, then http with a login", "socks5h://h1 http://alice:secret@h2:1080", 3, 0,
     BYTES(S5_OPEN TO("2") CONNECT_LOGIN(NAME)), BYTES(S5_OPEN TO("2") CONNECT_LOGIN(NAME)),
     BYTES(OK5 HTTP_OK), 0, VD_DONE, 1},

    /* what a hop says of a request is final */
    {"the first hop refuses", "socks5h://h1 socks5h://h2", 3, 0,
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME),
     BYTES("\5\0" NO5("\5")), 0, -VD_ERR_UNREACHABLE, 1},
    {"the first hop does not allow it", "socks5h://h1 socks5h://h2", 3, 0,
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME),
     BYTES("\5\0" NO5("\2")), 0, -VD_ERR_DENIED, 0},
    {"the second hop refuses", "socks5h://h1 socks5h://h2", 3, 0,
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME),
     BYTES(OK5 "\5\0" NO5("\5")), 0, -VD_ERR_REFUSED, 1},
    {"a refused login", "socks5h://alice:secret@h1", 1, 0, BYTES(LOGIN_ONLY S5_LOGIN S5_NAME),
     BYTES(LOGIN_ONLY S5_LOGIN S5_NAME), BYTES("\5\2\1\1"), 0, -VD_ERR_LOGIN, 0},
    {"http says no, and reads no more", "http://h1 socks5h://h2:8080", 3, 0,
     BYTES(VIA("h2") S5_OPEN S5_NAME), BYTES(VIA("h2") S5_OPEN S5_NAME),
     BYTES("HTTP/1.1 403 No\r\n\r\n"), 0, -VD_ERR_DENIED, 0},

    /* what may come of the flight is tried again */
    {"no login wanted by now", "socks5h://alice:secret@h1", 1, 0,
     BYTES(LOGIN_ONLY S5_LOGIN S5_NAME), BYTES(LOGIN_ONLY S5_LOGIN S5_NAME), BYTES("\5\0"), 0,
     VD_AGAIN, 0},
    {"the login alone is none of its methods", "socks5h://alice:secret@h1", 1, 0,
     BYTES(LOGIN_ONLY S5_LOGIN S5_NAME), BYTES(LOGIN_ONLY S5_LOGIN S5_NAME), BYTES("\5\xff"), 0,
     VD_AGAIN, 0},
    {"a login is wanted", "socks5h://h1", 1, 1, BYTES(S5_OPEN S5_NAME), BYTES(S5_OPEN S5_NAME),
     BYTES("\5\2"), 0, VD_AGAIN, 0},
    {"closed at the login", "socks5h://alice:secret@h1", 1, 1, BYTES(LOGIN_ONLY S5_LOGIN S5_NAME),
     BYTES(LOGIN_ONLY S5_LOGIN S5_NAME), BYTES("\5\2"), PLAY_EOF, VD_AGAIN, 0},
    {"closed at once", "socks5h://h1", 1, 0, BYTES(S5_OPEN S5_NAME), BYTES(S5_OPEN S5_NAME),
     BYTES(""), PLAY_EOF, VD_AGAIN, 0},
    {"reset", "socks5h://h1", 1, 1, BYTES(S5_OPEN S5_NAME), BYTES(S5_OPEN S5_NAME), BYTES("\5\0"),
     PLAY_RESET, VD_AGAIN, 0},
    {"silent behind the first answer", "socks5h://h1", 1, 0, BYTES(S5_OPEN S5_NAME),
     BYTES(S5_OPEN S5_NAME), BYTES("\5\0"), PLAY_SILENT, VD_AGAIN, 0},
    {"silent, but proven", "socks5h://h1", 1, 1, BYTES(S5_OPEN S5_NAME), BYTES(S5_OPEN S5_NAME),
     BYTES("\5\0"), PLAY_SILENT, -VD_ERR_SILENT, 0},
    {"answers that overwrite each other", "socks5h://h1", 1, 0, BYTES(S5_OPEN S5_NAME),
     BYTES(S5_OPEN S5_NAME), BYTES("\5\0\0\1"), 0, VD_AGAIN, 0},
    {"the second hop is silent", "socks5h://h1 socks5h://h2", 3, 1,
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME),
     BYTES(OK5 "\5\0"), PLAY_SILENT, VD_AGAIN, 1},
    {"the second hop is silent and proven, the first is not", "socks5h://h1 socks5h://h2", 3, 2,
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME),
     BYTES(OK5 "\5\0"), PLAY_SILENT, VD_AGAIN, 1},
    {"what went ahead was lost behind the first hop", "http://h1 socks5h://h2:8080", 1, 0,
     BYTES(VIA("h2") S5_OPEN), BYTES(VIA("h2") S5_OPEN), BYTES(HTTP_OK), PLAY_SILENT, VD_AGAIN, 1},
    {"the first hop speaks garbage", "socks5h://h1 socks5h://h2", 3, 3,
     BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME),
     BYTES("HTTP/1.1 400 Bad\r\n"), 0, VD_AGAIN, 0},
    {"http that closes", "http://h1 socks5h://h2:8080", 3, 0, BYTES(VIA("h2") S5_OPEN S5_NAME),
     BYTES(VIA("h2") S5_OPEN S5_NAME), BYTES("HTTP/1.1 "), PLAY_EOF, VD_AGAIN, 0},
    /* what was asked message by message, though behind a flight, is final */
    {"silent at what was no flight", "socks5h://h1 socks5h://h2", 1, 0,
     BYTES(S5_OPEN TO("2") S5_OPEN), BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(OK5 "\5\0"),
     PLAY_SILENT, -VD_ERR_SILENT, 1},
    {"closed at what was no flight", "socks5h://h1 socks5h://h2", 1, 0,
     BYTES(S5_OPEN TO("2") S5_OPEN), BYTES(S5_OPEN TO("2") S5_OPEN S5_NAME), BYTES(OK5 "\5\0"),
     PLAY_EOF, -VD_ERR_CLOSED, 1},
    {"http alone is no flight: closed", "http://h1", 1, 0, BYTES(CONNECT(NAME)),
     BYTES(CONNECT(NAME)), BYTES(""), PLAY_EOF, -VD_ERR_CLOSED, 0},
    {"message by message: closed", "socks5h://h1", 0, 0, BYTES(S5_OPEN), BYTES(S5_OPEN S5_NAME),
     BYTES("\5\0"), PLAY_EOF, -VD_ERR_CLOSED, 0},
};

static bool begin(struct vd_chain *chain, const struct row *row)
{
    struct vd_path path;
    struct vd_endpoint to;

    read_path(&path, row->urls);
    path.flights = (uint16_t)row->flights;
    path.proven = (uint16_t)row->proven;
    return vd_endpoint_read(&to, NAME, strlen(NAME), 0) == VD_OK &&
           vd_chain_start(chain, &path, VD_CONNECT, &to) == VD_OK;
}

static void compare(const char *what, const struct play_end *end, const char *said, size_t len)
{
    if (end->said_len != len || memcmp(end->said, said, len))
        tap_wrong("%s: %zu bytes were said instead of %zu, or others", what, end->said_len, len);
}

/* With no answer at all. */
static void play_ahead(const struct row *row)
{
    static struct play_end end;
    struct play_client how = {.chunk = PLAY_WHOLE};
    struct vd_chain chain;

    if (!begin(&chain, row))
        tap_wrong("it does not start");
    play_client(&end, &chain, (const uint8_t *)"", 0, &how);
    compare("ahead", &end, row->ahead, row->ahead_len);
    if (chain.flown !=
            (row->ahead_len > 0 && end.said_len > 0 && vd_chain_timeout_ms(&chain) > 0) &&
        !row->proven)
        tap_wrong("a flight has patience, what is no flight has none");
}

/* Over again, where nothing tells it from a chain that never flew. */
static void play_again(struct vd_chain *chain, const struct row *row)
{
    static struct play_end plain, again;
    struct play_client how = {.chunk = 3};
    struct row slow = *row;
    struct vd_chain other;

    slow.flights = 0;
    if (!begin(&other, &slow))
        tap_wrong("it does not start");
    vd_chain_again(chain);
    play_client(&plain, &other, (const uint8_t *)row->heard, row->heard_len, &how);
    play_client(&again, chain, (const uint8_t *)row->heard, row->heard_len, &how);
    if (again.result != plain.result || again.used != plain.used)
        tap_wrong("again: result %d instead of %d", again.result, plain.result);
    compare("again", &again, (const char *)plain.said, plain.said_len);
}

static void play(const struct row *row, size_t chunk, enum play_manner manner)
{
    static struct play_end end;
    struct play_client how = {.chunk = chunk, .manner = manner, .loss = row->loss};
    struct vd_chain chain;
    uint8_t heard[1024];
    size_t len = row->heard_len;
    unsigned before = tap_wrongs;

    memcpy(heard, row->heard, len);
    if (!row->loss) {
        memcpy(heard + len, tunnel, sizeof tunnel);
        len += sizeof tunnel;
    }
    if (!begin(&chain, row))
        tap_wrong("it does not start");
    play_client(&end, &chain, heard, len, &how);
    if (end.broken)
        tap_wrong("%s", end.broken);
    if (end.result != row->end)
        tap_wrong("ended with %d instead of %d", end.result, row->end);
    compare("in all", &end, row->said, row->said_len);
    if (row->end == VD_DONE && end.used != row->heard_len)
        tap_wrong("%zu bytes were taken of %zu", end.used, row->heard_len);
    if (chain.at != row->at)
        tap_wrong("it ended with hop %u", chain.at + 1u);
    if (end.result == VD_AGAIN)
        play_again(&chain, row);
    if (tap_wrongs > before)
        tap_wrong("... in chunks of %zu, manner %d", chunk, manner);
}

int main(void)
{
    for (const struct row *row = rows; row < rows + sizeof rows / sizeof *rows; row++) {
        tap_begin();
        play_ahead(row);
        for (enum play_manner manner = PLAY_EXACT; manner <= PLAY_GREEDY; manner++)
            for (size_t chunk = 1; chunk <= 33; chunk++)
                play(row, chunk == 33 ? PLAY_WHOLE : chunk, manner);
        tap_end(row->name);
    }
    return tap_done();
}
