/*
 * A request for the status page: its end is found alike in one piece and in pieces; whatever comes
 * is served or refused with one of few statuses; and without a Host of this machine it is not
 * served.
 */
#include <string.h>

#include "daemon/admin_request.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

static size_t find_end(const uint8_t *data, size_t size, size_t chunk)
{
    size_t searched = 0, end = 0;

    for (size_t len = 0; len < size && end == 0;) {
        len = size - len < chunk ? size : len + chunk;
        end = admin_request_end(guard_put(data, len), len, &searched);
    }
    return end;
}

static void read_both(const uint8_t *data, size_t len)
{
    struct admin_request r, again;
    int any = admin_request_read(&r, guard_put(data, len), len, true);
    int own = admin_request_read(&again, guard_put(data, len), len, false);

    PROPERTY(any == 0 || any == 400 || any == 404 || any == 405 || any == 431 || any == 505);
    PROPERTY(own == any || own == 421);
    PROPERTY(memchr(r.login, 0, sizeof r.login));
    PROPERTY(any != 0 || r.what <= ADMIN_METRICS);
    PROPERTY(any == 0 || admin_phrase(any)[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 2 * ADMIN_HEAD_MAX)
        return 0;
    size_t end = find_end(data, size, size);
    for (size_t chunk = 1; chunk <= 8; chunk++)
        PROPERTY(end > size || end == 0 || find_end(data, size, chunk) == end);
    if (end > 0 && end <= size)
        read_both(data, end);
    return 0;
}
