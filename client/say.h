/*
 * say: one line to the user, "viaduct: curl[4711]: example.com:443: what happened".
 *
 * Written by a single write() to the log file, or to the standard error as long as that is still
 * the file it was when the command started. No allocation, no lock; errno is kept.
 */
#ifndef VD_CLIENT_SAY_H
#define VD_CLIENT_SAY_H

#include "client/plan.h"
#include "proto/bytes.h"

enum { SAY_MAX = 4096 };

/* Whether lines of this kind are wanted at all. */
bool say_wants(enum plan_verbosity level);

/* Whose lines they are, where that is another process than this one. */
struct say_voice {
    char name[64]; /* the program's short name */
    int pid;
    int fd; /* a copy of its standard error, closed after the line; -1: it cannot be written to */
};

/* From now on `ask` is called for each line, and tells who speaks. Without a log file the line goes
 * to that one's standard error, as long as it is the one of the start. */
void say_for_others(void (*ask)(struct say_voice *voice));

/* Who speaks now; to be forgotten afterwards. For whoever speaks for itself, as a hook does,
 * nothing is copied. */
struct say_speaker {
    const char *name;
    int pid, fd; /* of its standard error */
    struct say_voice voice;
};
void say_find_speaker(struct say_speaker *s);
void say_forget_speaker(const struct say_speaker *s);
/* Whether that is still the file it was when the command started. */
bool say_reaches_stderr(const struct say_speaker *s);

/* A line about `target` (NULL: about none in particular); `message` without a newline. */
void say(enum plan_verbosity level, const struct vd_endpoint *target, const char *message);

/* A failure about no target; without a usable session it goes to the standard error as that is. */
void say_always(const char *message);

/* The one line of a process without a usable session; said once. */
void say_broken(const char *why);

#endif
