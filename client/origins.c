#include "client/origins.h"

#include <string.h>

#include "client/names.h"
#include "client/session.h"
#include "client/sockets.h"

enum { FREE, ADDRESS, NAME4, NAME6 };

/* Read and written without a lock: what comes out wrong is one source address. */
struct note {
    uint32_t low;    /* the last 32 bits of a placeholder */
    uint32_t answer; /* hash of the address that answers; 0: none yet */
    uint16_t port;
    uint8_t kind;
    uint8_t turn; /* the lower, the older */
};

enum { COUNT = SOCKETS_NOTES / sizeof(struct note) };

static uint32_t hash_of(const struct vd_ip *ip)
{
    struct vd_ip plain = vd_ip_unmapped(ip);
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < sizeof plain.bytes; i++)
        hash = (hash ^ plain.bytes[i]) * 16777619u;
    return hash | 1;
}

static struct note note_for(const struct vd_endpoint *given)
{
    struct vd_ip plain = vd_ip_unmapped(&given->ip);
    const uint8_t *b = plain.bytes + (plain.family == VD_IPV4 ? 0 : 12);
    struct note n = {.port = given->port, .kind = ADDRESS};

    if (!names_is_placeholder(&plain)) {
        n.answer = hash_of(&plain);
        return n;
    }
    n.low = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
    n.kind = plain.family == VD_IPV4 ? NAME4 : NAME6;
    return n;
}

static bool is_same(const struct note *a, const struct note *b)
{
    return a->kind == b->kind && a->port == b->port && a->low == b->low &&
           (a->kind != ADDRESS || a->answer == b->answer);
}

static bool goes_first(const struct note *a, const struct note *b, uint8_t turn)
{
    bool a_is_name = a->kind > ADDRESS, b_is_name = b->kind > ADDRESS;

    if (a_is_name != b_is_name)
        return b_is_name;
    return (uint8_t)(turn - a->turn) > (uint8_t)(turn - b->turn);
}

void origins_note(uint64_t cookie, const struct vd_endpoint *given)
{
    struct note *notes = sockets_notes(cookie), wanted = note_for(given), *room = notes;

    if (!notes)
        return;
    for (unsigned i = 0; i < COUNT; i++) {
        if (is_same(&notes[i], &wanted))
            return;
        if (notes[i].turn >= wanted.turn && notes[i].kind != FREE)
            wanted.turn = (uint8_t)(notes[i].turn + 1);
    }
    for (unsigned i = 1; i < COUNT && room->kind != FREE; i++)
        if (notes[i].kind == FREE || goes_first(&notes[i], room, wanted.turn))
            room = &notes[i];
    if (room->kind <= ADDRESS || wanted.kind > ADDRESS) /* an address does not displace a name */
        *room = wanted;
}

static void show(const struct note *n, struct vd_ip *ip)
{
    const struct plan *plan = session_plan();
    uint8_t *b;

    *ip = n->kind == NAME4 ? plan->placeholder4 : plan->placeholder6;
    b = ip->bytes + (n->kind == NAME4 ? 0 : 12);
    for (unsigned i = 0; i < 4; i++)
        b[i] = (uint8_t)(n->low >> (24 - 8 * i));
}

/* The note that an address answers for: one that it answered for before, else the oldest name. */
static struct note *find(struct note *notes, uint32_t answer, uint16_t port)
{
    struct note *best = NULL;

    for (unsigned i = 0; notes && i < COUNT; i++) {
        if (notes[i].kind == FREE || notes[i].port != port)
            continue;
        if (notes[i].answer == answer)
            return &notes[i];
        if (notes[i].answer == 0 && (!best || notes[i].turn < best->turn))
            best = &notes[i];
    }
    return best;
}

bool origins_show(uint64_t cookie, const struct vd_endpoint *from, enum vd_family family,
                  struct vd_ip *ip)
{
    uint32_t answer = hash_of(&from->ip);
    struct note *n;

    if (vd_endpoint_is_name(from))
        return names_placeholder(from->name, from->name_len, family, ip) == 0;
    *ip = from->ip;
    n = find(sockets_notes(cookie), answer, from->port);
    if (n && n->kind != ADDRESS) {
        n->answer = answer;
        show(n, ip);
    }
    return true;
}
