/* A range under test, and the model it is compared with.
 *
 * The history of operations is a pure function: operation `seq` of seed s is always the same, so a
 * test can be killed at any point and whoever comes next knows what the range should hold at any
 * seq. Entries are (slot, variant): the slot gives headword and sense, the variant everything else.
 */
#ifndef QUIRE_TEST_RANGE_FIXTURE_H
#define QUIRE_TEST_RANGE_FIXTURE_H

#include "proto/base/clock.h"
#include "shard/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 240
#define VARIANTS 6

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t parts[2] = {a, b};
    return hash64(parts, sizeof parts);
}

struct model_entry {
    bool present;
    uint32_t variant;
    uint64_t version;
};

struct model {
    uint64_t seed, seq, documents;
    struct model_entry entries[SLOTS];
};

static const char *const WORDS[] = {
    "model",  "weight", "tensor", "layer",  "token",   "merge",  "prune", "int8", "c++",
    "vector", "graph",  "kernel", "median", "réseau",  "Straße", "data",  "card", "loss",
    "deep",   "sparse", "norm",   "query",  "posting", "range",  "quire", "book", "leaf",
};
#define WORD_COUNT (sizeof WORDS / sizeof WORDS[0])

static inline const char *slot_headword(uint32_t slot, struct arena *arena)
{
    uint32_t name = slot / 3; /* three senses each */
    return arena_printf(arena, "%s %s %u", WORDS[name % WORD_COUNT],
                        WORDS[(name * 7 + 3) % WORD_COUNT], name / 10);
}

static inline const char *slot_sense(uint32_t slot, struct arena *arena)
{
    return slot % 3 == 0 ? NULL : arena_printf(arena, "sense %u", slot % 3);
}

static inline Quire__Entry *make_entry(uint32_t slot, uint32_t variant, struct arena *arena)
{
    Quire__Entry *entry = arena_alloc(arena, sizeof *entry);
    quire__entry__init(entry);
    uint64_t random = mix(slot + 1, variant + 100);
    entry->headword = (char *)slot_headword(slot, arena);
    entry->sense = (char *)slot_sense(slot, arena);
    struct buf body = {0};
    uint32_t words = (uint32_t)(random % 40);
    for (uint32_t i = 0; i < words; i++)
        buf_printf(&body, "%s%s", WORDS[mix(random, i) % WORD_COUNT], i % 9 == 8 ? ".\n\n" : " ");
    entry->body = arena_strdup(arena, buf_text(&body));
    buf_deinit(&body);
    entry->n_terms = random % 4;
    entry->terms = arena_calloc(arena, 4, sizeof(char *));
    for (size_t i = 0; i < entry->n_terms; i++)
        entry->terms[i] = arena_printf(arena, "%s-%s", WORDS[mix(random, 50 + i) % WORD_COUNT],
                                       WORDS[mix(random, 60 + i) % WORD_COUNT]);
    entry->n_categories = random / 7 % 3;
    entry->categories = arena_calloc(arena, 3, sizeof(char *));
    for (size_t i = 0; i < entry->n_categories; i++)
        entry->categories[i] = arena_printf(arena, "Category %d", (int)(mix(random, 70 + i) % 5));
    return entry;
}

/* Operation `seq` of the history. */
static inline Quire__WriteOp *make_op(uint64_t seed, uint64_t seq, struct arena *arena)
{
    Quire__WriteOp *op = arena_alloc(arena, sizeof *op);
    quire__write_op__init(op);
    uint64_t random = mix(seed, seq);
    uint32_t slot = (uint32_t)(random % SLOTS), kind = (uint32_t)(random / SLOTS % 100);
    if (kind < 75) {
        op->put = make_entry(slot, (uint32_t)(mix(random, 5) % VARIANTS), arena);
        if (kind < 5) {
            op->has_if_version = 1; /* only when absent */
            op->if_version = 0;
        }
        return op;
    }
    op->delete_headword = (char *)slot_headword(slot, arena);
    if (kind < 80) {
        op->has_delete_all_senses = 1;
        op->delete_all_senses = 1;
    } else {
        op->delete_sense = (char *)slot_sense(slot, arena);
    }
    return op;
}

/* Applies operation `model->seq + 1`; returns the outcome that the range should report. */
static inline int model_step(struct model *model, uint64_t *version)
{
    uint64_t seq = ++model->seq, random = mix(model->seed, seq);
    uint32_t slot = (uint32_t)(random % SLOTS), kind = (uint32_t)(random / SLOTS % 100);
    struct model_entry *entry = &model->entries[slot];
    *version = 0;
    if (kind < 75) {
        uint32_t variant = (uint32_t)(mix(random, 5) % VARIANTS);
        if (kind < 5 && entry->present)
            return QUIRE__WRITE_RESULT__OUTCOME__FAILED;
        if (entry->present && entry->variant == variant) {
            *version = entry->version;
            return QUIRE__WRITE_RESULT__OUTCOME__UNCHANGED;
        }
        int outcome = entry->present ? QUIRE__WRITE_RESULT__OUTCOME__CHANGED
                                     : QUIRE__WRITE_RESULT__OUTCOME__NEW;
        model->documents += !entry->present;
        *entry = (struct model_entry){true, variant, seq};
        *version = seq;
        return outcome;
    }
    uint32_t from = kind < 80 ? slot / 3 * 3 : slot, to = kind < 80 ? from + 3 : slot + 1;
    bool any = false;
    for (uint32_t i = from; i < to; i++) {
        any |= model->entries[i].present;
        model->documents -= model->entries[i].present;
        model->entries[i] = (struct model_entry){0};
    }
    *version = any ? seq : 0;
    return any ? QUIRE__WRITE_RESULT__OUTCOME__DELETED : QUIRE__WRITE_RESULT__OUTCOME__ABSENT;
}

static inline void model_run_to(struct model *model, uint64_t seq)
{
    uint64_t version;
    while (model->seq < seq)
        model_step(model, &version);
}

static inline struct range_settings test_settings(void)
{
    return (struct range_settings){.id = 7,
                                   .collection = 1,
                                   .language = "en",
                                   .document = {3, 2, 1, 1},
                                   .memory_limit = 1 << 20};
}

static inline struct range *open_range_by(const char *folder, enum segment_order order)
{
    struct range_settings settings = test_settings();
    struct err err = {0};
    struct range *range;
    settings.order = order;
    if (range_open(folder, &settings, &range, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    return range;
}

static inline struct range *open_range(const char *folder)
{
    return open_range_by(folder, SEGMENT_ORDER_ARRIVAL);
}

/* Applies the next `count` operations of the model's history as one batch and compares the
 * outcomes. */
static inline void apply_next(struct range *range, struct model *model, uint32_t count)
{
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    struct range_op *ops = arena_calloc(&arena, count, sizeof *ops);
    struct range_result *results = arena_calloc(&arena, count, sizeof *results);
    uint64_t first = model->seq + 1;
    for (uint32_t i = 0; i < count; i++)
        ops[i] = (struct range_op){first + i, make_op(model->seed, first + i, &arena), NULL};
    struct range_session session = {"client", first};
    if (range_apply_as(range, &session, ops, count, results, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t version;
        int outcome = model_step(model, &version);
        if (results[i].outcome != outcome || results[i].version != version) {
            fprintf(stderr, "op %llu: outcome %d version %llu, expected %d %llu (%s)\n",
                    (unsigned long long)first + i, results[i].outcome,
                    (unsigned long long)results[i].version, outcome, (unsigned long long)version,
                    results[i].error.text);
            abort();
        }
    }
    arena_deinit(&arena);
}

static inline void print_problem(void *data, const char *text)
{
    ++*(int *)data;
    fprintf(stderr, "problem: %s\n", text);
}

/* Number of problems that verification finds. */
static inline int problems_of(struct range *range)
{
    struct err err = {0};
    struct range_verified verified;
    int problems = 0;
    if (range_verify(range, &verified, print_problem, &problems, &err) != 0) {
        fprintf(stderr, "verify: %s\n", err.text);
        return -1;
    }
    return problems;
}

/* Everything that the model says, and nothing else; aborts otherwise. */
static inline void compare(struct range *range, const struct model *model)
{
    struct range_figures figures;
    range_figures(range, &figures);
    struct arena arena;
    arena_init(&arena, 0);
    if (figures.applied_seq != model->seq || figures.entries != model->documents) {
        fprintf(stderr, "seq %llu with %llu entries, expected %llu with %llu\n",
                (unsigned long long)figures.applied_seq, (unsigned long long)figures.entries,
                (unsigned long long)model->seq, (unsigned long long)model->documents);
        abort();
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const struct model_entry *want = &model->entries[slot];
        struct buf key = {0};
        struct err err = {0};
        Quire__Entry *got;
        entry_key(slot_headword(slot, &arena), slot_sense(slot, &arena), &key);
        if (range_get(range, buf_bytes(&key), &arena, &got, &err) != 0 ||
            (got != NULL) != want->present ||
            (got != NULL && (got->version != want->version ||
                             !entry_equal(got, make_entry(slot, want->variant, &arena))))) {
            fprintf(stderr, "slot %u at seq %llu: not what it should be %s\n", slot,
                    (unsigned long long)model->seq, err.text);
            abort();
        }
        buf_deinit(&key);
    }
    if (problems_of(range) != 0)
        abort();
    arena_deinit(&arena);
}

#endif
