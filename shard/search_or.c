/* Any of some words: term at a time within windows of documents.
 *
 * For each window of 4,096 documents each list adds its parts into an array of sums that stays in
 * the first-level cache, a block of postings at a time, without a heap, a comparison or a call per
 * posting; then the window is swept in document order. (As Lucene's BooleanScorer, after Moffat and
 * Zobel's accumulators.) Sums are integers, so they are the same as those of search_tree(), in
 * whatever order.
 */
#include "shard/search_collect.h"

#include <string.h>

#define WINDOW 4096

struct window {
    uint64_t sums[WINDOW];
    uint64_t hit[WINDOW / 64]; /* bit set: some list has the document (a sum may be 0) */
    uint8_t norms[WINDOW];     /* valid where hit */
    uint32_t base;
};

struct or_list {
    struct posting_cursor *cursor;
    const struct score_term *score;
    uint32_t doc; /* it stands on; POSTING_END at the end */
};

/* The postings of the current block below `end`. */
static void add_block(struct search_context *context, struct window *window, struct or_list *list,
                      uint32_t end)
{
    struct segment *segment = context->segment;
    struct posting_cursor *cursor = list->cursor;
    uint32_t index = cursor->index;
    context->status = posting_load_freqs(cursor, context->err);
    if (context->status)
        return;
    for (; index < cursor->block.count && cursor->block.docs[index] < end; index++) {
        uint32_t doc = cursor->block.docs[index];
        uint32_t at = doc - window->base;
        uint64_t bit = UINT64_C(1) << (at % 64);
        if (!(window->hit[at / 64] & bit)) {
            window->hit[at / 64] |= bit;
            window->norms[at] = segment->ops->norm(segment, doc);
            window->sums[at] = 0;
        }
        window->sums[at] += score_part(list->score, cursor->block.freqs[index], window->norms[at]);
    }
    cursor->index = index;
}

static void add_list(struct search_context *context, struct window *window, struct or_list *list,
                     uint32_t end)
{
    while (list->doc < end) {
        add_block(context, window, list, end);
        if (context->status) {
            list->doc = POSTING_END;
            return;
        }
        list->doc = posting_doc(list->cursor);
        if (list->doc == POSTING_END) {
            uint32_t last = list->cursor->block.docs[list->cursor->block.count - 1];
            list->doc = search_cursor_seek(context, list->cursor, last + 1);
        } else if (list->doc >= context->doc_limit) {
            list->doc = POSTING_END;
        }
    }
}

static void sweep(struct window *window, struct collector *collector)
{
    for (uint32_t word = 0; word < WINDOW / 64; word++) {
        for (uint64_t bits = window->hit[word]; bits; bits &= bits - 1) {
            uint32_t at = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if (collector_wants(collector, window->base + at))
                collector_take(collector, window->base + at, window->sums[at]);
        }
        window->hit[word] = 0;
    }
}

static uint32_t open_lists(struct search_context *context, struct or_list *lists)
{
    const struct search_plan *plan = context->plan;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->or_count; i++) {
        const struct plan_node *node = &plan->nodes[plan->or_terms[i]];
        struct posting_cursor *cursor = search_open(context, node->field, node->tokens[0]);
        if (!cursor)
            continue;
        uint32_t doc = search_cursor_seek(context, cursor, 0);
        lists[count++] = (struct or_list){.cursor = cursor, .score = &node->score, .doc = doc};
    }
    return count;
}

static uint32_t lowest(const struct or_list *lists, uint32_t count)
{
    uint32_t doc = POSTING_END;
    for (uint32_t i = 0; i < count; i++)
        doc = lists[i].doc < doc ? lists[i].doc : doc;
    return doc;
}

void search_or(struct search_context *context, struct collector *collector)
{
    struct or_list *lists = search_alloc(context, context->plan->or_count, sizeof *lists);
    struct window *window = search_alloc(context, 1, sizeof *window);
    if (!lists || !window)
        return;
    uint32_t count = open_lists(context, lists);
    for (;;) {
        uint32_t first = lowest(lists, count);
        if (first == POSTING_END || context->status)
            return;
        window->base = first - first % WINDOW;
        uint32_t end =
            context->doc_limit - window->base > WINDOW ? window->base + WINDOW : context->doc_limit;
        for (uint32_t i = 0; i < count; i++)
            add_list(context, window, &lists[i], end);
        sweep(window, collector);
    }
}
