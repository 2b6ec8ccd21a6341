/*
 * probe_question: what the cache does not know of the hops, and in which words it is kept there.
 */
#ifndef LAUNCHER_PROBE_QUESTION_H
#define LAUNCHER_PROBE_QUESTION_H

#include <stddef.h>
#include <stdint.h>

#include "client/plan.h"
#include "proto/chain.h"

enum { PROBE_QUESTIONS_MAX = 64, PROBE_WAY_MAX = VD_HOPS_MAX * (VD_URL_TEXT + 1) };

struct probe_question {
    const struct plan_chain *chain;
    uint8_t position;
};

/* Left by probe_recall. */
extern struct probe_questions {
    struct probe_question all[PROBE_QUESTIONS_MAX];
    size_t count;
} probe_questions;

/* The hops up to the one in question. In chains whose hops stand in for each other every one may
 * come first, and is asked so. */
struct vd_path probe_path(const struct plan *plan, const struct probe_question *q);

/* The way in the cache's words. */
const char *probe_write_way(char way[PROBE_WAY_MAX], const struct vd_path *path);

#endif
