/*
 * audit_table: how the audit lies in the session; for the files that write and read it.
 */
#ifndef VD_CLIENT_AUDIT_TABLE_H
#define VD_CLIENT_AUDIT_TABLE_H

#include <assert.h>

#include "client/audit.h"
#include "client/session_layout.h"

enum { AUDIT_FREE, AUDIT_CLAIMED, AUDIT_WRITTEN }; /* states of a row */

/* The table's first page. */
struct audit_head {
    uint32_t counters[AUDIT_COUNTERS];
    uint32_t turn;
    uint32_t lacks_said;
    char lacks[AUDIT_LACK_MAX];
};

static_assert(sizeof(struct audit_row) == SESSION_AUDIT_SIZE, "a row fits its place");
static_assert(sizeof(struct audit_head) <= SESSION_PAGE, "the head fits its page");

/* Whether two rows tell of the same. */
bool audit_same(const struct audit_row *a, const struct audit_row *b);

#endif
