/* A range lives through a random history of writes, flushes, merges and openings; after each step
 * every structure of each of its segments is compared with what the model of the history says:
 * entry keys, norms, lengths, categories, lists with frequencies and positions, bounds, counts of
 * the dead, document frequencies, statistics. A view that was taken earlier goes on showing what it
 * showed. Segments are merged in the order of arrival in one history, of categories in the next,
 * and in every third in whichever comes up when the range is opened. The model analyses entries
 * with document_analyze(), and knows nothing of segments.
 *
 * QUIRE_SEED replays one history. */
#include "range_fixture.h"

#include <unistd.h>

#define TURNS 45

struct oracle {
    struct arena arena;
    struct document documents[SLOTS][VARIANTS];
};

/* What one view should show, worked out from it and the model. */
struct seen {
    struct view *view;
    const struct document **live[64]; /* by segment and document; NULL: dead */
    bool at_rest;                     /* nothing died since the view was taken */
};

/* ---- the oracle ---- */

static struct oracle *new_oracle(void)
{
    struct oracle *oracle = calloc(1, sizeof *oracle);
    struct range_settings settings = test_settings();
    struct analyzer *analyzer;
    struct err err;
    assert_non_null(oracle);
    arena_init(&oracle->arena, 0);
    assert_int_equal(analyzer_create(settings.language, &analyzer, &err), 0);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        for (uint32_t variant = 0; variant < VARIANTS; variant++)
            assert_int_equal(document_analyze(analyzer, &settings.document,
                                              make_entry(slot, variant, &oracle->arena),
                                              &oracle->arena, &oracle->documents[slot][variant],
                                              &err),
                             0);
    analyzer_destroy(analyzer);
    return oracle;
}

static void free_oracle(struct oracle *oracle)
{
    arena_deinit(&oracle->arena);
    free(oracle);
}

static const struct document *find_by_key(const struct oracle *oracle, const struct model *model,
                                          struct bytes key, uint32_t *slot)
{
    for (*slot = 0; *slot < SLOTS; ++*slot)
        if (model->entries[*slot].present && bytes_equal(oracle->documents[*slot][0].key, key))
            return &oracle->documents[*slot][model->entries[*slot].variant];
    return NULL;
}

static bool same_token(struct segment_token a, struct segment_token b)
{
    return a.field == b.field && bytes_equal(a.text, b.text);
}

static const struct document_term *find_term(const struct document *document,
                                             struct segment_token token)
{
    for (uint32_t i = 0; i < document->term_count; i++)
        if (same_token(document->terms[i].token, token))
            return &document->terms[i];
    return NULL;
}

static uint64_t expected_frequency(const struct oracle *oracle, const struct model *model,
                                   struct segment_token token)
{
    uint64_t df = 0;
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (model->entries[slot].present)
            df += find_term(&oracle->documents[slot][model->entries[slot].variant], token) != NULL;
    return df;
}

/* ---- columns ---- */

static void check_categories(struct segment *segment, uint32_t doc, const struct document *expected)
{
    uint32_t count;
    const uint32_t *ordinals = segment->ops->categories(segment, doc, &count);
    assert_int_equal(count, expected->category_count);
    for (uint32_t i = 0; i < count; i++) {
        bool found = false;
        assert_true(i == 0 || ordinals[i] > ordinals[i - 1]);
        assert_in_range(ordinals[i], 0, segment->ops->category_count(segment) - 1);
        for (uint32_t k = 0; k < count; k++)
            found |= bytes_equal(segment->ops->category_name(segment, ordinals[i]),
                                 expected->categories[k]);
        assert_true(found);
    }
}

/* Each entry stands exactly once among the living. */
static void check_columns(struct seen *seen, const struct oracle *oracle, const struct model *model)
{
    uint64_t length = 0, live = 0;
    bool stands[SLOTS] = {false};
    assert_in_range(seen->view->segment_count, 0, 64);
    for (uint32_t i = 0; i < seen->view->segment_count; i++) {
        const struct view_segment *in = &seen->view->segments[i];
        struct segment *segment = in->segment;
        seen->live[i] = calloc(in->doc_limit + 1, sizeof *seen->live[i]);
        for (uint32_t doc = 0; doc < in->doc_limit; doc++) {
            if (!view_live(in, doc))
                continue;
            uint32_t slot;
            const struct document *expected =
                find_by_key(oracle, model, segment->ops->entry_key(segment, doc), &slot);
            assert_non_null(expected);
            assert_false(stands[slot]);
            stands[slot] = true;
            assert_int_equal(segment->ops->norm(segment, doc), expected->norm);
            assert_true(segment->norms == NULL || segment->norms[doc] == expected->norm);
            assert_int_equal(segment->ops->body_length(segment, doc), expected->body_length);
            check_categories(segment, doc, expected);
            seen->live[i][doc] = expected;
            length += norm_decode(expected->norm);
            live++;
        }
    }
    assert_int_equal(live, model->documents);
    assert_int_equal(seen->view->documents, live);
    assert_int_equal(seen->view->total_length, length);
}

/* ---- lists ---- */

struct counted {
    uint32_t live, dead;
};

static void check_posting(struct posting_cursor *cursor, const struct document_term *expected)
{
    const uint32_t *positions;
    uint32_t count;
    assert_non_null(expected);
    assert_int_equal(posting_freq(cursor), expected->freq);
    assert_int_equal(cursor->ops->positions(cursor, cursor->index, &positions, &count, NULL), 0);
    assert_int_equal(count, expected->position_count);
    if (count > 0)
        assert_memory_equal(positions, expected->positions, count * sizeof *positions);
}

/* Some pair of element `at` bounds the posting. *reached: how many of its pairs are exactly it. */
static void check_bound(const struct posting_level *level, uint32_t at, uint32_t freq, uint8_t norm,
                        uint64_t *reached)
{
    bool held = false;
    uint32_t first = at == 0 ? 0 : level->pair_end[at - 1];
    assert_in_range(level->pair_end[at] - first, 1, 64);
    for (uint32_t i = first; i < level->pair_end[at]; i++) {
        held |= level->pair_freq[i] >= freq && level->pair_norm[i] <= norm;
        if (level->pair_freq[i] == freq && level->pair_norm[i] == norm)
            *reached |= UINT64_C(1) << (i - first);
    }
    assert_true(held);
}

static void check_reached(const struct posting_level *level, uint32_t at, uint64_t reached)
{
    uint32_t first = at == 0 ? 0 : level->pair_end[at - 1], pairs = level->pair_end[at] - first;
    if (level->reached[at])
        assert_int_equal(reached, (UINT64_C(1) << pairs) - 1);
}

static void check_block(struct seen *seen, uint32_t segment, struct segment_token token,
                        struct posting_cursor *cursor, uint64_t *chunk_reached,
                        struct counted *counted)
{
    const struct view_segment *in = &seen->view->segments[segment];
    const struct posting_block *block = &cursor->block;
    uint64_t reached = 0;
    assert_int_equal(posting_load_freqs(cursor, NULL), 0);
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t doc = block->docs[i];
        uint8_t norm = in->segment->ops->norm(in->segment, doc);
        cursor->index = i;
        assert_in_range(doc, 0, in->doc_limit - 1);
        check_bound(&cursor->blocks, cursor->block_number, block->freqs[i], norm, &reached);
        check_bound(&cursor->chunks, cursor->chunk, block->freqs[i], norm, chunk_reached);
        counted->live += seen->live[segment][doc] != NULL;
        counted->dead += seen->live[segment][doc] == NULL;
        if (seen->live[segment][doc] != NULL)
            check_posting(cursor, find_term(seen->live[segment][doc], token));
    }
    check_reached(&cursor->blocks, cursor->block_number, reached);
}

/* Chunk by chunk and block by block, in the order of documents. */
static struct counted check_list(struct seen *seen, uint32_t segment, struct segment_token token)
{
    const struct view_segment *in = &seen->view->segments[segment];
    struct counted counted = {0};
    struct posting_cursor *cursor;
    uint32_t next = 0, df;
    assert_int_equal(in->segment->ops->postings(in->segment, token, in->doc_limit, &cursor, NULL),
                     0);
    for (uint32_t chunk = 0; cursor != NULL && chunk < cursor->chunks.count; chunk++) {
        uint64_t reached = 0;
        assert_int_equal(cursor->ops->enter(cursor, chunk, NULL), 0);
        for (uint32_t i = 0; i < cursor->blocks.count; i++) {
            assert_int_equal(cursor->ops->decode(cursor, i, NULL), 0);
            assert_true(cursor->block.count > 0 && cursor->block.docs[0] >= next);
            check_block(seen, segment, token, cursor, &reached, &counted);
            next = cursor->block.docs[cursor->block.count - 1] + 1;
            assert_int_equal(next, cursor->blocks.last_doc[i] + 1);
        }
        assert_int_equal(next, cursor->chunks.last_doc[chunk] + 1);
        check_reached(&cursor->chunks, chunk, reached);
    }
    posting_close(cursor);
    assert_int_equal(in->segment->ops->frequency(in->segment, token, in->doc_limit, &df, NULL), 0);
    assert_int_equal(df, counted.live + counted.dead);
    return counted;
}

/* The lists hold what the documents have: each posting of a live one is checked above, and there
 * are as many as its document has terms. */
static void check_lists(struct seen *seen, uint32_t segment, const struct oracle *oracle,
                        const struct model *model)
{
    const struct view_segment *in = &seen->view->segments[segment];
    struct segment_terms *terms;
    uint64_t found = 0, expected = 0;
    for (uint32_t doc = 0; doc < in->doc_limit; doc++)
        expected += seen->live[segment][doc] != NULL ? seen->live[segment][doc]->term_count : 0;
    assert_int_equal(in->segment->ops->terms(in->segment, NULL, &terms, NULL), 0);
    for (; terms->ops->valid(terms); assert_int_equal(terms->ops->next(terms, NULL), 0)) {
        struct segment_token token = terms->ops->token(terms);
        struct counted counted = check_list(seen, segment, token);
        uint64_t df;
        found += counted.live;
        if (!seen->at_rest)
            continue;
        assert_int_equal(dead_terms_get(in->dead_terms, token.field, token.text), counted.dead);
        assert_int_equal(view_frequency(seen->view, token, &df, NULL), 0);
        assert_int_equal(df, expected_frequency(oracle, model, token));
    }
    terms->ops->close(terms);
    assert_int_equal(found, expected);
}

static void check_view(struct view *view, bool at_rest, const struct oracle *oracle,
                       const struct model *model)
{
    struct seen seen = {.view = view, .at_rest = at_rest};
    assert_int_equal(view->seq, model->seq);
    check_columns(&seen, oracle, model);
    for (uint32_t i = 0; i < view->segment_count; i++)
        check_lists(&seen, i, oracle, model);
    for (uint32_t i = 0; i < view->segment_count; i++)
        free(seen.live[i]);
}

static void check_now(struct range *range, const struct oracle *oracle, const struct model *model)
{
    struct view *view = range_view(range);
    check_view(view, true, oracle, model);
    view_release(view);
}

/* ---- the history ---- */

struct life {
    char folder[64];
    uint64_t random;
    uint32_t orders; /* 0: arrival, 1: category, 2: both */
    struct range *range;
    struct model model;
    const struct oracle *oracle;
    struct view *old; /* NULL: none */
    struct model old_model;
};

static void let_go(struct life *life)
{
    if (life->old != NULL)
        check_view(life->old, false, life->oracle, &life->old_model);
    view_release(life->old);
    life->old = NULL;
}

static struct range *open_in_order(struct life *life)
{
    static const enum segment_order orders[] = {SEGMENT_ORDER_ARRIVAL, SEGMENT_ORDER_CATEGORY};
    return open_range_by(life->folder,
                         orders[life->orders == 2 ? life->random / 32 % 2 : life->orders]);
}

/* Without a flush: what is not durable is taken back. */
static void reopen(struct life *life)
{
    let_go(life);
    uint64_t seed = life->model.seed;
    range_close(life->range);
    life->range = open_in_order(life);
    life->model = (struct model){.seed = seed};
    model_run_to(&life->model, range_durable_seq(life->range));
}

static void turn(struct life *life)
{
    struct err err = {0};
    bool merged;
    int code = 0;
    life->random = mix(life->random, 3);
    uint64_t what = life->random % 20;
    if (what < 10)
        apply_next(life->range, &life->model, 1 + (uint32_t)(life->random / 32 % 150));
    else if (what < 14)
        code = range_flush(life->range, &err);
    else if (what < 16)
        code = range_merge(life->range, false, &merged, &err);
    else if (what < 17)
        code = range_merge(life->range, true, &merged, &err);
    else if (what < 18)
        reopen(life);
    else
        let_go(life);
    if (code != 0)
        fail_msg("%s", err.text);
    if (life->old == NULL && what >= 18) {
        life->old = range_view(life->range);
        life->old_model = life->model;
    }
}

static void live(uint64_t seed, const struct oracle *oracle)
{
    struct life life = {
        .random = seed, .orders = seed % 3, .model = {.seed = seed}, .oracle = oracle};
    print_message("seed %llu\n", (unsigned long long)seed);
    strcpy(life.folder, "/tmp/quire-property-XXXXXX");
    assert_non_null(mkdtemp(life.folder));
    life.range = open_in_order(&life);
    for (uint32_t i = 0; i < TURNS; i++) {
        turn(&life);
        check_now(life.range, oracle, &life.model);
    }
    let_go(&life);
    range_close(life.range);
    assert_int_equal(store_destroy_files(life.folder, NULL), 0);
    rmdir(life.folder);
}

static void structures_agree(void **state)
{
    struct oracle *oracle = new_oracle();
    const char *one = getenv("QUIRE_SEED");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1, to = one ? from : 6;
    for (uint64_t seed = from; seed <= to; seed++)
        live(seed, oracle);
    free_oracle(oracle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(structures_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
