/*
 * drive_say: what is told of a handshake, as lines, in the trace and in the audit; private to the
 * driver.
 */
#ifndef VD_CLIENT_DRIVE_SAY_H
#define VD_CLIENT_DRIVE_SAY_H

#include "client/drive.h"

/* Results beside DRIVE_*: all begins again, on a new connection to the first hop. */
enum drive_again {
    DRIVE_FLIGHT_FAILED = 3, /* message by message */
    DRIVE_TOO_FAR = 4,       /* bytes of the target were received with the reply */
    DRIVE_ORPHANED = 5       /* the process that made it has ended, nobody knows where */
};

void drive_say_hop(const struct drive *d, unsigned position);
void drive_say_again(const struct drive *d, enum drive_again again);
void drive_say_elsewhere(const struct drive *d, int result);
/* To the trace: DRIVE_DONE, one of enum drive_again, or a reason. */
void drive_say_result(struct drive *d, int fd, int result);

#endif
