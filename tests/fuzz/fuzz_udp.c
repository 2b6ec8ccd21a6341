/*
 * A datagram from relays: a header that reads is written as one that reads the same; what is taken
 * off is put on again; and a header that is not from its relay is never taken off.
 */
#include <string.h>

#include "proto/err.h"
#include "proto/udp.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/guard.h"

enum { ROOM = (UDP_RELAYS_MAX + 1) * VD_UDP_HEADER_MAX };

static void check_header(const struct vd_udp_header *header, size_t size)
{
    uint8_t buf[VD_UDP_HEADER_MAX];
    struct vd_out out = vd_out_over(buf, sizeof buf);
    struct vd_udp_header again;

    PROPERTY(header->len <= size && header->len <= VD_UDP_HEADER_MAX);
    vd_udp_write(&out, &header->at);
    PROPERTY(out.ok && out.len == vd_udp_header_len(&header->at));
    PROPERTY(vd_udp_read(&again, guard_put(buf, out.len), out.len) == VD_OK);
    PROPERTY(again.len == out.len && again.frag == 0);
    PROPERTY(!memcmp(&again.at, &header->at, sizeof again.at));
}

/* Takes the relays from the headers themselves, but for the stranger; how many there are. */
static size_t learn_relays(struct vd_endpoint *relays, const uint8_t *head, const uint8_t *data,
                           size_t size)
{
    size_t count = head[UDP_RELAYS] % (UDP_RELAYS_MAX + 1), at = 0, i;

    for (i = 0; i < count; i++) {
        struct vd_udp_header header;

        if (vd_udp_read(&header, data + at, size - at) < 0)
            break;
        at += header.len;
        relays[i] = header.at;
        if (i == head[UDP_STRANGER])
            relays[i].port ^= 1;
    }
    return i;
}

static void check_unwrapped(const struct vd_endpoint *relays, size_t count,
                            const struct vd_endpoint *from)
{
    uint8_t buf[ROOM];
    struct vd_out out = vd_out_over(buf, sizeof buf);
    struct vd_endpoint again;
    size_t payload;

    vd_udp_wrap(&out, relays, count, from);
    PROPERTY(out.ok && out.len == vd_udp_wrap_len(relays, count, from));
    PROPERTY(vd_udp_unwrap(guard_put(buf, out.len), out.len, relays, count, &again, &payload) ==
             VD_OK);
    PROPERTY(payload == out.len && !memcmp(&again, from, sizeof again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vd_endpoint relays[UDP_RELAYS_MAX], from;
    struct vd_udp_header header;
    const uint8_t *head = data;
    size_t count, payload;
    int r;

    if (size < UDP_HEAD || size > UDP_HEAD + VD_UDP_DATAGRAM_MAX)
        return 0;
    data += UDP_HEAD;
    size -= UDP_HEAD;
    r = vd_udp_read(&header, guard_put(data, size), size);
    PROPERTY(r == VD_OK || r == -VD_ERR_PROTOCOL || r == -VD_ERR_ADDRESS_TYPE ||
             r == -VD_ERR_NAME_FORM);
    if (r == VD_OK)
        check_header(&header, size);
    count = learn_relays(relays, head, data, size);
    r = vd_udp_unwrap(guard_put(data, size), size, relays, count, &from, &payload);
    PROPERTY(r < 0 ||
             (payload <= size && payload >= (count + 1) * 8 && count <= head[UDP_STRANGER]));
    if (r == VD_OK)
        check_unwrapped(relays, count, &from);
    return 0;
}
