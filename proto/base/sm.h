/* Checked state machine: a table of states and legal moves, an invariant checked on each move, a
 * short trace. Everything in Quire that has states uses it. An illegal move is a bug: it logs the
 * trace and aborts. Not thread-safe: the owner's thread only.
 */
#ifndef QUIRE_BASE_SM_H
#define QUIRE_BASE_SM_H

#include <stdbool.h>
#include <stdint.h>

#define SM_STATES_MAX 32
#define SM_TRACE_MAX 16

struct sm_state {
    const char *name;
    uint32_t allowed; /* bit i: may move to state i */
    bool final;
};

#define SM_TO(state) (UINT32_C(1) << (state))

struct sm {
    const struct sm_state *table;
    int count;
    int state;
    bool (*invariant)(const struct sm *sm); /* may be NULL */
    const char *name;                       /* of the machine, for the trace */
    uint8_t trace[SM_TRACE_MAX];            /* the last states, a ring */
    uint64_t moves;
};

void sm_init(struct sm *sm, const char *name, const struct sm_state *table, int count, int start,
             bool (*invariant)(const struct sm *));
void sm_move(struct sm *sm, int to);
int sm_state(const struct sm *sm);
const char *sm_state_name(const struct sm *sm);
void sm_deinit(struct sm *sm); /* asserts a final state */

#endif
