#include "coordinator/trace.h"

#include <string.h>

struct trace *trace_create(struct arena *arena, uint64_t base_us)
{
    struct trace *trace = arena_calloc(arena, 1, sizeof *trace);
    trace->arena = arena;
    trace->base_us = base_us;
    return trace;
}

static bool make_room(struct trace *trace)
{
    if (trace->count < trace->room)
        return true;
    if (trace->room == TRACE_SPANS_MAX)
        return false;
    size_t room = trace->room == 0 ? 16 : 2 * trace->room;
    struct trace_span *grown = arena_calloc(trace->arena, room, sizeof *grown);
    if (trace->count > 0)
        memcpy(grown, trace->spans, trace->count * sizeof *grown);
    trace->spans = grown;
    trace->room = room;
    return true;
}

size_t trace_begin(struct trace *trace, size_t parent, const char *name, uint64_t now_us)
{
    if (trace == NULL || !make_room(trace))
        return 0;
    trace->spans[trace->count] = (struct trace_span){
        .name = name,
        .parent = parent,
        .start_us = now_us > trace->base_us ? now_us - trace->base_us : 0,
        .took_us = UINT64_MAX,
    };
    return ++trace->count;
}

struct trace_span *trace_at(struct trace *trace, size_t span)
{
    return trace == NULL || span == 0 ? NULL : &trace->spans[span - 1];
}

static uint64_t took(const struct trace *trace, const struct trace_span *span, uint64_t now_us)
{
    uint64_t at = now_us > trace->base_us ? now_us - trace->base_us : 0;
    return at > span->start_us ? at - span->start_us : 0;
}

void trace_end(struct trace *trace, size_t span, uint64_t now_us)
{
    struct trace_span *it = trace_at(trace, span);
    if (it != NULL && it->took_us == UINT64_MAX)
        it->took_us = took(trace, it, now_us);
}

size_t trace_message(const struct trace *trace, uint64_t now_us, Quire__TraceSpan ***out)
{
    *out = arena_calloc(trace->arena, trace->count + 1, sizeof **out);
    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_span *from = &trace->spans[i];
        Quire__TraceSpan *to = (*out)[i] = arena_alloc(trace->arena, sizeof *to);
        quire__trace_span__init(to);
        to->name = (char *)(uintptr_t)from->name;
        to->parent = (uint32_t)from->parent;
        to->start_us = from->start_us;
        to->took_us = from->took_us != UINT64_MAX ? from->took_us : took(trace, from, now_us);
        to->shard = (char *)(uintptr_t)from->shard;
        to->has_ranges = from->ranges > 0;
        to->ranges = from->ranges;
        to->has_waited_us = to->has_worked_us = from->answered;
        to->waited_us = from->waited_us;
        to->worked_us = from->worked_us;
        to->note = (char *)(uintptr_t)from->note;
    }
    return trace->count;
}
