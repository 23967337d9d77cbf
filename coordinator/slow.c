#include "coordinator/slow.h"

#include "proto/base/err.h"
#include "proto/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Whether there is room for one more line in this second. */
static bool may_log(struct slow *slow, uint64_t now_us)
{
    if (now_us >= slow->second_us + 1000000) {
        slow->second_us = now_us;
        slow->lines = 0;
    }
    if (slow->lines < SLOW_LINES_A_SECOND) {
        slow->lines++;
        return true;
    }
    slow->left_out++;
    return false;
}

/* The text, cut at a character. */
static void cut(const char *text, char out[SLOW_QUERY_BYTES + 4])
{
    size_t size = text != NULL ? strlen(text) : 0;
    if (size <= SLOW_QUERY_BYTES) {
        memcpy(out, text != NULL ? text : "", size + 1);
        return;
    }
    for (size = SLOW_QUERY_BYTES; size > 0 && (text[size] & 0xc0) == 0x80;)
        size--;
    snprintf(out, SLOW_QUERY_BYTES + 4, "%.*s...", (int)size, text);
}

struct where { /* the time went */
    char rounds[160];
    unsigned ranges;
    const struct trace_span *slowest; /* call; NULL: there was none */
};

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

static uint64_t took_of(const struct trace *trace, const struct trace_span *span, uint64_t now_us)
{
    return span->took_us != UINT64_MAX ? span->took_us : now_us - trace->base_us - span->start_us;
}

/* "statistics 1.2 ms, search 12.0 ms" */
static void look(const struct trace *trace, uint64_t now_us, struct where *where)
{
    size_t used = 0;
    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_span *span = &trace->spans[i];
        if (span->shard == NULL && span->parent == 0) {
            int size = snprintf(where->rounds + used, sizeof where->rounds - used, "%s%s %.1f ms",
                                used > 0 ? ", " : "", span->name, ms(took_of(trace, span, now_us)));
            if (size > 0 && used + (size_t)size < sizeof where->rounds)
                used += (size_t)size;
        }
        if (span->shard == NULL)
            continue;
        where->ranges = span->ranges > where->ranges ? span->ranges : where->ranges;
        if (where->slowest == NULL ||
            took_of(trace, span, now_us) > took_of(trace, where->slowest, now_us))
            where->slowest = span;
    }
}

static void log_search(const struct slow *slow, const struct rpc_request *request,
                       const struct trace *trace, const char *id, const char *outcome,
                       uint64_t now_us)
{
    char query[SLOW_QUERY_BYTES + 4];
    struct where where = {.rounds = ""};
    uint64_t began = request->began_us != 0 ? request->began_us : request->came_us;
    cut(trace->query, query);
    look(trace, now_us, &where);
    const struct trace_span *slowest = where.slowest;
    log_event(
        LOG_WARN, "slow query", LOG_STR("trace", id), LOG_F64("ms", ms(now_us - request->read_us)),
        LOG_F64("waited_ms", ms(began > request->read_us ? began - request->read_us : 0)),
        LOG_STR("outcome", outcome), LOG_STR("collection", trace->collection),
        LOG_STR("query", query), LOG_STR("rounds", where.rounds), LOG_U64("calls", trace->calls),
        LOG_U64("retries", trace->retries), LOG_U64("hedges", trace->hedges),
        LOG_STR("slowest_shard", slowest != NULL ? slowest->shard : ""),
        LOG_U64("slowest_ranges", slowest != NULL ? slowest->ranges : 0),
        LOG_F64("slowest_ms", slowest != NULL ? ms(took_of(trace, slowest, now_us)) : 0),
        LOG_F64("slowest_waited_ms", slowest != NULL ? ms(slowest->waited_us) : 0),
        LOG_F64("slowest_worked_ms", slowest != NULL ? ms(slowest->worked_us) : 0),
        LOG_U64("not_logged", slow->left_out));
}

void slow_ended(struct slow *slow, const struct rpc_request *request, const char *operation,
                const struct trace *trace, int code, uint64_t now_us)
{
    char id[24];
    const char *outcome = err_name(code);
    if (slow->limit_us == 0 || now_us < request->read_us + slow->limit_us || !may_log(slow, now_us))
        return;
    snprintf(id, sizeof id, "%016" PRIx64, request->trace);
    if (trace != NULL)
        log_search(slow, request, trace, id, outcome, now_us);
    else
        log_event(LOG_WARN, "slow query", LOG_STR("trace", id),
                  LOG_F64("ms", ms(now_us - request->read_us)), LOG_STR("outcome", outcome),
                  LOG_STR("operation", operation), LOG_U64("not_logged", slow->left_out));
    slow->left_out = 0;
}
