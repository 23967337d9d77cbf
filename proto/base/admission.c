#include "proto/base/admission.h"

#include <assert.h>

#define SMOOTHING 8    /* a new sample counts one in so many */
#define CUT 0.8        /* of the slots, on congestion; once an interval */
#define FIRST_SLOTS 64 /* of those that are to be found */
#define INTERVAL ADMISSION_INTERVAL_US

const char *const admission_class_names[ADMISSION_CLASSES] = {"cheap", "search", "heavy", "write"};
const char *const admission_reason_names[ADMISSION_REASONS] = {"queue_full", "delay",  "deadline",
                                                               "expired",    "memory", "elsewhere"};

void admission_init(struct admission *admission, const struct admission_settings *settings)
{
    *admission = (struct admission){.slots = settings->slots};
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        struct admission_state *state = &admission->classes[i];
        state->settings = settings->classes[i];
        assert(state->settings.slots > 0 && state->settings.weight > 0);
        state->limit = state->settings.slots;
        if (state->settings.slots_least > 0 && state->limit > FIRST_SLOTS)
            state->limit = FIRST_SLOTS > state->settings.slots_least ? FIRST_SLOTS
                                                                     : state->settings.slots_least;
    }
}

/* ---- what there is to know of a class ---- */

/* Whether a request that has waited so long is to be dropped. */
static bool codel(struct admission_state *state, uint64_t now_us, uint64_t wait_us)
{
    uint64_t target = state->settings.target_us;
    if (target == 0)
        return false;
    if (now_us > state->interval_end_us) {
        /* A whole interval without a request was one without a queue. */
        bool idle = now_us > state->interval_end_us + INTERVAL;
        state->overloaded = !idle && (state->shed || state->least_wait_us > target);
        state->shed = false;
        state->interval_end_us = now_us + INTERVAL;
        state->least_wait_us = wait_us;
    } else if (wait_us < state->least_wait_us) {
        state->least_wait_us = wait_us;
    }
    return state->overloaded && wait_us > target;
}

static void flow_begin(struct admission_flow *flow, uint64_t now_us)
{
    flow->since_us = flow->last_us = now_us;
    flow->count = 0;
}

static bool flow_stands(const struct admission_flow *flow, uint64_t now_us)
{
    return now_us > flow->last_us + INTERVAL;
}

/* Departures come in groups where one fsync ends many: only a window tells how many there are; but
 * not one in which nothing moved for a while. */
static void flow_depart(struct admission_flow *flow, uint64_t now_us)
{
    if (flow_stands(flow, now_us)) {
        flow->gap_us = 0;
        flow_begin(flow, now_us);
        return;
    }
    flow->last_us = now_us;
    flow->count++;
    uint64_t took = now_us > flow->since_us ? now_us - flow->since_us : 0;
    if (took < INTERVAL)
        return;
    uint64_t gap = took / flow->count;
    flow->gap_us = gap > UINT32_MAX ? UINT32_MAX : (uint32_t)gap + (gap == 0);
    flow_begin(flow, now_us);
}

/* How long one that comes now would wait; 0: that is not known. */
static uint64_t expected_wait(const struct admission_state *state, uint64_t now_us)
{
    uint64_t before = state->settings.external ? state->at_work : state->waiting;
    if (flow_stands(&state->flow, now_us))
        return 0;
    if (state->flow.gap_us != 0)
        return before * state->flow.gap_us;
    return before * state->work_us / (uint64_t)state->limit;
}

static uint32_t to_ms(uint64_t us)
{
    uint64_t ms = (us + 999) / 1000;
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static uint32_t retry_after(uint64_t wait_us)
{
    uint32_t ms = to_ms(wait_us + INTERVAL);
    if (ms < ADMISSION_RETRY_MIN_MS)
        return ADMISSION_RETRY_MIN_MS;
    return ms < ADMISSION_RETRY_MAX_MS ? ms : ADMISSION_RETRY_MAX_MS;
}

static void refuse(struct admission_state *state, enum admission_reason reason, uint64_t now_us,
                   uint64_t wait_us, struct admission_refusal *why)
{
    state->refused[reason]++;
    state->shed |= reason == ADMISSION_DELAY || reason == ADMISSION_FULL;
    why->reason = reason;
    why->wait_ms = to_ms(wait_us);
    why->retry_after_ms = reason == ADMISSION_EXPIRED  ? 0
                          : reason == ADMISSION_MEMORY ? ADMISSION_MEMORY_RETRY_MS
                                                       : retry_after(expected_wait(state, now_us));
}

static bool has_slot(const struct admission *admission, const struct admission_state *state)
{
    return state->at_work < (uint32_t)state->limit &&
           (admission->slots == 0 || admission->at_work < admission->slots);
}

/* ---- shares ---- */

/* A class that was idle has saved nothing up: it begins with the least that one of the others has.
 */
static void catch_up(struct admission *admission, struct admission_state *state)
{
    double least = -1;
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        const struct admission_state *other = &admission->classes[i];
        if (other != state && !other->settings.external && other->waiting + other->at_work > 0 &&
            (least < 0 || other->pass < least))
            least = other->pass;
    }
    if (state->pass < least)
        state->pass = least;
}

static void begin_work(struct admission *admission, struct admission_state *state)
{
    state->admitted++;
    state->at_work++;
    if (state->settings.external)
        return;
    admission->at_work++;
    state->pass += (double)(state->work_us + 1) / state->settings.weight;
}

enum admission_class admission_next(const struct admission *admission)
{
    int next = ADMISSION_NONE;
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        const struct admission_state *state = &admission->classes[i];
        if (state->waiting > 0 && has_slot(admission, state) &&
            (next == ADMISSION_NONE || state->pass < admission->classes[next].pass))
            next = i;
    }
    return (enum admission_class)next;
}

/* ---- events ---- */

static bool too_much_memory(const struct admission *admission, enum admission_class class)
{
    return (class == ADMISSION_WRITE && admission->pressure >= ADMISSION_NO_WRITES) ||
           (class == ADMISSION_HEAVY && admission->pressure >= ADMISSION_NO_HEAVY);
}

/* Whether there is no room, or no time, for it to wait. */
static bool cannot_wait(struct admission_state *state, uint64_t now_us, uint64_t came_us,
                        uint64_t deadline_us, struct admission_refusal *why)
{
    uint64_t has = now_us > came_us ? now_us - came_us : 0, wait = expected_wait(state, now_us);
    uint64_t left = deadline_us > now_us ? deadline_us - now_us : 0;
    uint32_t there = state->settings.external ? state->at_work : state->waiting;
    if (there >= state->settings.queue)
        refuse(state, ADMISSION_FULL, now_us, wait, why);
    else if (wait + state->work_us > left)
        refuse(state, ADMISSION_DEADLINE, now_us, wait, why);
    else if (state->overloaded && has + wait > state->settings.target_us)
        refuse(state, ADMISSION_DELAY, now_us, has + wait, why);
    else
        return false;
    return true;
}

enum admission_verdict admission_arrive(struct admission *admission, enum admission_class class,
                                        uint64_t now_us, uint64_t came_us, uint64_t deadline_us,
                                        struct admission_refusal *why)
{
    struct admission_state *state = &admission->classes[class];
    if (too_much_memory(admission, class)) {
        refuse(state, ADMISSION_MEMORY, now_us, 0, why);
        return ADMISSION_REFUSE;
    }
    if (state->at_work + state->waiting == 0)
        catch_up(admission, state);
    if (state->settings.external) {
        if (state->at_work > 0 && cannot_wait(state, now_us, came_us, deadline_us, why))
            return ADMISSION_REFUSE;
        if (state->at_work == 0)
            flow_begin(&state->flow, now_us);
        begin_work(admission, state);
        return ADMISSION_START;
    }
    if (state->waiting == 0 && has_slot(admission, state)) {
        uint64_t wait = now_us > came_us ? now_us - came_us : 0;
        if (codel(state, now_us, wait)) {
            refuse(state, ADMISSION_DELAY, now_us, wait, why);
            return ADMISSION_REFUSE;
        }
        begin_work(admission, state);
        return ADMISSION_START;
    }
    if (cannot_wait(state, now_us, came_us, deadline_us, why))
        return ADMISSION_REFUSE;
    if (state->waiting++ == 0)
        flow_begin(&state->flow, now_us);
    return ADMISSION_WAIT;
}

bool admission_take(struct admission *admission, enum admission_class class, uint64_t now_us,
                    uint64_t came_us, uint64_t deadline_us, bool wanted,
                    struct admission_refusal *why)
{
    struct admission_state *state = &admission->classes[class];
    uint64_t wait = now_us > came_us ? now_us - came_us : 0;
    assert(state->waiting > 0 && has_slot(admission, state));
    state->waiting--;
    if (!wanted || now_us >= deadline_us) {
        refuse(state, ADMISSION_EXPIRED, now_us, wait, why);
        return false;
    }
    if (codel(state, now_us, wait)) {
        refuse(state, ADMISSION_DELAY, now_us, wait, why);
        return false;
    }
    flow_depart(&state->flow, now_us);
    begin_work(admission, state);
    return true;
}

void admission_end(struct admission *admission, enum admission_class class, uint64_t now_us,
                   uint64_t work_us)
{
    struct admission_state *state = &admission->classes[class];
    assert(state->at_work > 0);
    state->at_work--;
    uint32_t sample = work_us > UINT32_MAX / SMOOTHING ? UINT32_MAX / SMOOTHING : (uint32_t)work_us;
    if (state->settings.external) {
        flow_depart(&state->flow, now_us);
        return;
    }
    assert(admission->at_work > 0);
    admission->at_work--;
    state->work_us =
        state->work_us == 0 ? sample + 1 : ((SMOOTHING - 1) * state->work_us + sample) / SMOOTHING;
}

void admission_feedback(struct admission *admission, enum admission_class class, uint64_t now_us,
                        bool congested)
{
    struct admission_state *state = &admission->classes[class];
    uint32_t least = state->settings.slots_least, most = state->settings.slots;
    if (least == 0)
        return;
    if (!congested) {
        /* Only what is in use says that more could be. */
        if (state->at_work + 1 >= (uint32_t)state->limit / 2 && state->limit < most)
            state->limit += 1 / state->limit;
    } else if (now_us >= state->cut_us + INTERVAL) {
        state->cut_us = now_us;
        state->limit = state->limit * CUT > least ? state->limit * CUT : least;
    }
}

void admission_count(struct admission *admission, enum admission_class class,
                     enum admission_reason reason)
{
    admission->classes[class].refused[reason]++;
}

int admission_error(enum admission_class class, const struct admission_refusal *why,
                    const char *who, struct err *err)
{
    static const char *const what[] = {"look-ups", "searches", "heavy requests", "writes"};
    const char *these = what[class];
    unsigned wait = why->wait_ms, again = why->retry_after_ms;
    int code = ERR_OVERLOADED;
    switch (why->reason) {
    case ADMISSION_FULL:
        code = err_set(err, code, "%s is overloaded, as many %s wait as may: try again in %u ms",
                       who, these, again);
        break;
    case ADMISSION_DELAY:
        code = err_set(err, code, "%s is overloaded, %s wait for %u ms: try again in %u ms", who,
                       these, wait, again);
        break;
    case ADMISSION_DEADLINE:
        code = err_set(err, code,
                       "%s is overloaded, %s wait for %u ms, longer than this one's deadline "
                       "allows: try again in %u ms",
                       who, these, wait, again);
        break;
    case ADMISSION_MEMORY:
        code = err_set(err, code, "%s is near its memory limit and takes no %s: try again in %u ms",
                       who, these, again);
        break;
    case ADMISSION_ELSEWHERE:
        code = err_set(err, code, "%s is overloaded: try again in %u ms", who, again);
        break;
    default:
        return err_set(err, ERR_DEADLINE, "the deadline passed while the request was waiting");
    }
    if (err != NULL)
        err->retry_after_ms = again;
    return code;
}
