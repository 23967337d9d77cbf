#include "proto/base/sm.h"

#include "proto/base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

void sm_init(struct sm *sm, const char *name, const struct sm_state *table, int count, int start,
             bool (*invariant)(const struct sm *))
{
    assert(count > 0 && count <= SM_STATES_MAX);
    assert(start >= 0 && start < count);
    *sm = (struct sm){
        .table = table, .count = count, .state = start, .invariant = invariant, .name = name};
    sm->trace[0] = (uint8_t)start;
    assert(!invariant || invariant(sm));
}

/* Logs the last states, oldest first, and what was tried; then aborts. */
static _Noreturn void die(const struct sm *sm, int to, const char *what)
{
    char text[512];
    size_t at = 0;
    uint64_t first = sm->moves >= SM_TRACE_MAX ? sm->moves - SM_TRACE_MAX + 1 : 0;
    text[0] = 0;
    for (uint64_t i = first; i <= sm->moves && at < sizeof text; i++) {
        int n = snprintf(text + at, sizeof text - at, "%s%s", i == first ? "" : " > ",
                         sm->table[sm->trace[i % SM_TRACE_MAX]].name);
        at += n > 0 ? (size_t)n : 0;
    }
    const char *target = to >= 0 && to < sm->count ? sm->table[to].name : "(none)";
    log_event(LOG_ERROR, what, LOG_STR("machine", sm->name), LOG_STR("trace", text),
              LOG_STR("to", target), LOG_U64("moves", sm->moves));
    abort();
}

void sm_move(struct sm *sm, int to)
{
    if (to < 0 || to >= sm->count || !(sm->table[sm->state].allowed & SM_TO(to)))
        die(sm, to, "illegal state change");
    sm->state = to;
    sm->moves++;
    sm->trace[sm->moves % SM_TRACE_MAX] = (uint8_t)to;
    if (sm->invariant && !sm->invariant(sm))
        die(sm, to, "state invariant broken");
}

int sm_state(const struct sm *sm)
{
    return sm->state;
}

const char *sm_state_name(const struct sm *sm)
{
    return sm->table[sm->state].name;
}

void sm_deinit(struct sm *sm)
{
    if (!sm->table[sm->state].final)
        die(sm, sm->state, "state machine ended in a state that is not final");
}
