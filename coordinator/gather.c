#include "coordinator/gather.h"

#include <assert.h>
#include <string.h>

static const struct sm_state piece_states[] = {
    [GATHER_READY] = {"ready", SM_TO(GATHER_SENT) | SM_TO(GATHER_FAILED), false},
    [GATHER_SENT] = {"sent", SM_TO(GATHER_ANSWERED) | SM_TO(GATHER_FAILED), false},
    [GATHER_ANSWERED] = {"answered", 0, true},
    [GATHER_FAILED] = {"failed", 0, true},
};

static size_t piece_for(struct gather *gather, const char *node, bool piece_per_range)
{
    for (size_t i = 0; !piece_per_range && i < gather->piece_count; i++)
        if (strcmp(gather->pieces[i].node, node) == 0)
            return i;
    struct gather_piece *piece = &gather->pieces[gather->piece_count];
    piece->node = node;
    piece->ranges = NULL;
    piece->range_count = 0;
    sm_init(&piece->sm, "piece", piece_states, 4, GATHER_READY, NULL);
    return gather->piece_count++;
}

#define GATHER_PIECES_PER_RANGE 4

/* The node that answers for the range; it counts as tried. */
static const char *choose(struct gather_range *range, const struct gather_chooser *chooser)
{
    const Quire__Range *it = range->range;
    size_t chosen = chooser->choose(chooser->data, it, range->tried);
    for (size_t i = 0; chosen == SIZE_MAX && i < it->n_in_sync; i++)
        if (strcmp(it->in_sync[i], it->primary) == 0)
            chosen = i;
    if (chosen == SIZE_MAX)
        return it->primary;
    range->tried |= 1u << chosen;
    return it->in_sync[chosen];
}

void gather_init(struct gather *gather, struct arena *arena, struct map_ranges ranges,
                 bool piece_per_range, const struct gather_chooser *chooser)
{
    *gather = (struct gather){.arena = arena,
                              .range_count = ranges.count,
                              .piece_room = GATHER_PIECES_PER_RANGE * ranges.count};
    gather->ranges = arena_calloc(arena, ranges.count + 1, sizeof *gather->ranges);
    gather->pieces = arena_calloc(arena, gather->piece_room + 1, sizeof *gather->pieces);
    for (size_t i = 0; i < ranges.count; i++) {
        struct gather_range *range = &gather->ranges[i];
        range->range = ranges.items[i];
        range->state = GATHER_ASKED;
        range->piece = piece_for(gather, choose(range, chooser), piece_per_range);
        gather->pieces[range->piece].range_count++;
    }
    size_t *indexes = arena_calloc(arena, ranges.count + 1, sizeof *indexes);
    for (size_t i = 0; i < gather->piece_count; i++) {
        gather->pieces[i].ranges = indexes;
        indexes += gather->pieces[i].range_count;
        gather->pieces[i].range_count = 0;
    }
    for (size_t i = 0; i < ranges.count; i++) {
        struct gather_piece *piece = &gather->pieces[gather->ranges[i].piece];
        piece->ranges[piece->range_count++] = i;
    }
    gather->open = gather->first_pieces = gather->piece_count;
    gather_check(gather);
}

void gather_check(const struct gather *gather)
{
    size_t open = 0;
    size_t dealt = 0;
    for (size_t i = 0; i < gather->piece_count; i++) {
        const struct gather_piece *piece = &gather->pieces[i];
        bool ended = piece->sm.state == GATHER_ANSWERED || piece->sm.state == GATHER_FAILED;
        open += !ended;
        dealt += piece->range_count;
        for (size_t j = 0; j < piece->range_count; j++) {
            const struct gather_range *range = &gather->ranges[piece->ranges[j]];
            assert(range->piece == i);
            assert(ended == (range->state != GATHER_ASKED));
            assert(range->state != GATHER_COVERED || piece->sm.state == GATHER_ANSWERED);
            assert((range->state == GATHER_MISSING) == (range->reason != NULL));
        }
    }
    assert(open == gather->open);
    assert(dealt == gather->range_count);
    for (size_t i = 1; i < gather->range_count; i++)
        assert(bytes_equal(map_range_hi(gather->ranges[i - 1].range),
                           map_range_lo(gather->ranges[i].range)));
}

void gather_sent(struct gather *gather, size_t piece)
{
    assert(piece < gather->piece_count);
    sm_move(&gather->pieces[piece].sm, GATHER_SENT);
}

/* ---- dealing again ---- */

static void take_out(struct gather_piece *piece, size_t range)
{
    size_t kept = 0;
    for (size_t i = 0; i < piece->range_count; i++)
        if (piece->ranges[i] != range)
            piece->ranges[kept++] = piece->ranges[i];
    piece->range_count = kept;
}

static void make_ready(struct gather *gather, struct gather_piece *piece, const char *node)
{
    piece->node = node;
    sm_init(&piece->sm, "piece", piece_states, 4, GATHER_READY, NULL);
    gather->open++;
}

/* A piece at the end that is not sent yet and goes to the node. */
static struct gather_piece *ready_piece(struct gather *gather, const char *node)
{
    for (size_t i = gather->piece_count; i > gather->first_pieces; i--) {
        struct gather_piece *piece = &gather->pieces[i - 1];
        if (piece->sm.state == GATHER_READY && strcmp(piece->node, node) == 0)
            return piece;
    }
    if (gather->piece_count == gather->piece_room)
        return NULL;
    struct gather_piece *piece = &gather->pieces[gather->piece_count++];
    piece->ranges = arena_calloc(gather->arena, gather->range_count, sizeof *piece->ranges);
    piece->range_count = 0;
    make_ready(gather, piece, node);
    return piece;
}

size_t gather_deal_again(struct gather *gather, size_t index, size_t replica)
{
    struct gather_range *range = &gather->ranges[index];
    struct gather_piece *old = &gather->pieces[range->piece], *piece = old;
    const char *node = range->range->in_sync[replica];
    assert(range->state == GATHER_MISSING && replica < range->range->n_in_sync);
    if (old->range_count == 1) {
        make_ready(gather, old, node);
    } else {
        piece = ready_piece(gather, node);
        if (piece == NULL)
            return SIZE_MAX;
        take_out(old, index);
        piece->ranges[piece->range_count++] = index;
    }
    range->tried |= 1u << replica;
    range->state = GATHER_ASKED;
    range->code = 0;
    range->reason = NULL;
    range->piece = (size_t)(piece - gather->pieces);
    gather_check(gather);
    return range->piece;
}

static void set_missing(struct gather *gather, struct gather_range *range, int code,
                        const char *text)
{
    range->state = GATHER_MISSING;
    range->code = code;
    range->reason =
        arena_strdup(gather->arena, text != NULL && text[0] != '\0' ? text : err_name(code));
}

static void end_piece(struct gather *gather, size_t piece, enum gather_piece_state state)
{
    sm_move(&gather->pieces[piece].sm, state);
    assert(gather->open > 0);
    gather->open--;
    gather_check(gather);
}

void gather_failed(struct gather *gather, size_t piece, int code, const char *text)
{
    assert(piece < gather->piece_count && code != 0);
    struct gather_piece *it = &gather->pieces[piece];
    for (size_t i = 0; i < it->range_count; i++)
        set_missing(gather, &gather->ranges[it->ranges[i]], code, text);
    end_piece(gather, piece, GATHER_FAILED);
}

void gather_answered_all(struct gather *gather, size_t piece)
{
    assert(piece < gather->piece_count);
    struct gather_piece *it = &gather->pieces[piece];
    for (size_t i = 0; i < it->range_count; i++)
        gather->ranges[it->ranges[i]].state = GATHER_COVERED;
    end_piece(gather, piece, GATHER_ANSWERED);
}

/* The range `id` of the piece, as long as nothing was said of it in this answer. */
static struct gather_range *take(struct gather *gather, const struct gather_piece *piece,
                                 uint64_t id)
{
    for (size_t i = 0; i < piece->range_count; i++) {
        struct gather_range *range = &gather->ranges[piece->ranges[i]];
        if (range->range->id == id)
            return range->state == GATHER_ASKED ? range : NULL;
    }
    return NULL;
}

static int protocol_broken(struct gather *gather, size_t piece, uint64_t id)
{
    struct gather_piece *it = &gather->pieces[piece];
    for (size_t i = 0; i < it->range_count; i++) {
        gather->ranges[it->ranges[i]].state = GATHER_ASKED;
        gather->ranges[it->ranges[i]].reason = NULL;
    }
    const char *text = arena_printf(gather->arena,
                                    "the shard answered for range %llu, which it was not asked "
                                    "for, or twice",
                                    (unsigned long long)id);
    gather_failed(gather, piece, ERR_PROTOCOL, text);
    return ERR_PROTOCOL;
}

int gather_answered(struct gather *gather, size_t piece, const uint64_t *covered,
                    size_t covered_count, Quire__RangeFailure *const *failed, size_t failed_count)
{
    assert(piece < gather->piece_count);
    struct gather_piece *it = &gather->pieces[piece];
    for (size_t i = 0; i < covered_count; i++) {
        struct gather_range *range = take(gather, it, covered[i]);
        if (range == NULL)
            return protocol_broken(gather, piece, covered[i]);
        range->state = GATHER_COVERED;
    }
    for (size_t i = 0; i < failed_count; i++) {
        struct gather_range *range = take(gather, it, failed[i]->id);
        if (range == NULL)
            return protocol_broken(gather, piece, failed[i]->id);
        int code = failed[i]->code != 0 ? (int)failed[i]->code : ERR_INTERNAL;
        set_missing(gather, range, code, failed[i]->text);
    }
    for (size_t i = 0; i < it->range_count; i++) {
        struct gather_range *range = &gather->ranges[it->ranges[i]];
        if (range->state == GATHER_ASKED)
            set_missing(gather, range, ERR_INTERNAL, "the shard did not answer for this range");
    }
    end_piece(gather, piece, GATHER_ANSWERED);
    return 0;
}

/* ---- the outcome ---- */

size_t gather_missing(const struct gather *gather)
{
    size_t count = 0;
    for (size_t i = 0; i < gather->range_count; i++)
        count += gather->ranges[i].state == GATHER_MISSING;
    return count;
}

bool gather_stale(const struct gather *gather)
{
    for (size_t i = 0; i < gather->range_count; i++)
        if (gather->ranges[i].state == GATHER_MISSING && gather->ranges[i].code == ERR_STALE)
            return true;
    return false;
}

size_t gather_missing_ranges(const struct gather *gather, Quire__MissingRange ***out)
{
    assert(gather_done(gather));
    size_t count = 0;
    const struct gather_range *before = NULL; /* the range before, when it is missing */
    *out = arena_calloc(gather->arena, gather_missing(gather) + 1, sizeof **out);
    for (size_t i = 0; i < gather->range_count; i++) {
        const struct gather_range *range = &gather->ranges[i];
        if (range->state != GATHER_MISSING) {
            before = NULL;
            continue;
        }
        if (before != NULL && strcmp(before->reason, range->reason) == 0) {
            (*out)[count - 1]->hi = range->range->hi;
            (*out)[count - 1]->has_hi = true;
        } else {
            Quire__MissingRange *missing = arena_alloc(gather->arena, sizeof *missing);
            quire__missing_range__init(missing);
            missing->has_lo = missing->has_hi = true;
            missing->lo = range->range->lo;
            missing->hi = range->range->hi;
            missing->reason = (char *)range->reason;
            (*out)[count++] = missing;
        }
        before = range;
    }
    return count;
}

int gather_missing_error(const struct gather *gather, struct err *err)
{
    Quire__MissingRange **missing;
    size_t count = gather_missing_ranges(gather, &missing);
    struct buf text;
    buf_init(&text);
    for (size_t i = 0; i < count; i++) {
        const char *lo = (const char *)missing[i]->lo.data;
        const char *hi = (const char *)missing[i]->hi.data;
        buf_printf(&text, "%sterms from %s%.*s%s to %s%.*s%s: %s", i == 0 ? "" : "; ",
                   missing[i]->lo.len == 0 ? "the first" : "\"", (int)missing[i]->lo.len,
                   lo != NULL ? lo : "", missing[i]->lo.len == 0 ? "" : "\"",
                   missing[i]->hi.len == 0 ? "the last" : "\"", (int)missing[i]->hi.len,
                   hi != NULL ? hi : "", missing[i]->hi.len == 0 ? "" : "\"", missing[i]->reason);
    }
    int rc = err_set(err, ERR_INCOMPLETE, "part of the collection cannot be reached: %s",
                     buf_text(&text));
    buf_deinit(&text);
    return rc;
}
