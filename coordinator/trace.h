/* Trace: what a search spent its time with, as spans that lie within each other: for the reply,
 * when the client asks for it, and for the line about a slow one (slow.h). Recording is a few words
 * of the request's arena for each call to a shard, so it is always done.
 *
 * Functions that take a trace take NULL, and a span 0, and do nothing then. The loop's thread only.
 */
#ifndef QUIRE_COORDINATOR_TRACE_H
#define QUIRE_COORDINATOR_TRACE_H

#include "proto/base/arena.h"
#include "proto/quire.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_SPANS_MAX 256 /* of a request; beyond, only the numbers of calls go on */

struct trace_span {
    const char *name; /* a literal */
    size_t parent;    /* a span; 0: none */
    uint64_t start_us,
        took_us;       /* start: from when the request came; took: UINT64_MAX until it ends */
    const char *shard; /* url, of a call; NULL: it is none */
    uint32_t ranges;   /* that it asks for */
    bool answered;     /* the shard said the next two */
    uint32_t waited_us, worked_us;
    const char *note; /* NULL: nothing out of the ordinary */
};

struct trace {
    struct arena *arena;
    uint64_t base_us;
    struct trace_span *spans; /* span n is spans[n - 1] */
    size_t count, room;
    uint32_t calls, retries, hedges; /* calls: all of them */
    const char *collection, *query;  /* what was asked */
};

struct trace *trace_create(struct arena *arena, uint64_t base_us);
/* Returns the span; 0: there is no room. */
size_t trace_begin(struct trace *trace, size_t parent, const char *name, uint64_t now_us);
void trace_end(struct trace *trace, size_t span, uint64_t now_us);
/* NULL: no such span. Valid until the next one begins. */
struct trace_span *trace_at(struct trace *trace, size_t span);
/* Of the request's arena. */
size_t trace_message(const struct trace *trace, uint64_t now_us, Quire__TraceSpan ***out);

#endif
