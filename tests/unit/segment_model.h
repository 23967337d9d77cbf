/* A naive model of segments: random documents kept as plain arrays, and a check that a segment says
 * of each token and each document exactly what the arrays say. For tests of memory and disk
 * segments. */
#ifndef QUIRE_TESTS_SEGMENT_MODEL_H
#define QUIRE_TESTS_SEGMENT_MODEL_H

#include "shard/document.h"
#include "shard/memory_segment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct model {
    uint64_t random;
    struct arena arena;
    struct segment_token *vocabulary; /* sorted */
    uint32_t vocabulary_size;
    struct bytes *categories;
    uint32_t category_count;
    uint32_t made; /* documents, for their keys */
};

struct model_list { /* documents of one segment, by number */
    const struct document **docs;
    uint32_t count, capacity;
};

static inline uint32_t model_random(struct model *m, uint32_t below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)((m->random >> 32) * below >> 32);
}

static inline int model_token_order(const void *a, const void *b)
{
    const struct segment_token *x = a, *y = b;

    return x->field != y->field ? (x->field < y->field ? -1 : 1) : bytes_compare(x->text, y->text);
}

static inline void model_init(struct model *m, uint64_t seed, uint32_t vocabulary,
                              uint32_t categories)
{
    memset(m, 0, sizeof(*m));
    m->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    arena_init(&m->arena, 0);
    m->vocabulary = arena_calloc(&m->arena, vocabulary, sizeof(*m->vocabulary));
    m->vocabulary_size = vocabulary;
    for (uint32_t i = 0; i < vocabulary; i++) {
        uint32_t extra = model_random(m, 4) == 0 ? model_random(m, 50) : 0;
        char *text = arena_printf(&m->arena, "%c%u%.*s", 'a' + (int)(i % 26), i, (int)extra,
                                  "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz");

        m->vocabulary[i].field = i % 4 == 3 ? (uint8_t)(1 + i / 4 % 3) : TEXT_FIELD_ALL;
        m->vocabulary[i].text = bytes_str(text);
    }
    qsort(m->vocabulary, vocabulary, sizeof(*m->vocabulary), model_token_order);
    m->categories = arena_calloc(&m->arena, categories + 1, sizeof(*m->categories));
    m->category_count = categories;
    for (uint32_t i = 0; i < categories; i++)
        m->categories[i] = bytes_str(arena_printf(&m->arena, "Category %u", i));
}

static inline void model_deinit(struct model *m)
{
    arena_deinit(&m->arena);
}

static inline void model_term(struct model *m, struct document_term *term, uint32_t at)
{
    bool rare = model_random(m, 50) == 0;

    *term = (struct document_term){.token = m->vocabulary[at]};
    if (term->token.field != TEXT_FIELD_ALL) {
        term->freq = 1 + model_random(m, rare ? 1000 : 3);
        return;
    }
    term->position_count = 1 + model_random(m, rare ? 200 : 4);
    term->freq =
        term->position_count + (model_random(m, 3) == 0 ? model_random(m, rare ? 100000 : 4) : 0);
    {
        uint32_t *positions = arena_alloc(&m->arena, term->position_count * sizeof(*positions)),
                 last = 0;

        for (uint32_t i = 0; i < term->position_count; i++) {
            last += 1 + model_random(m, rare && i == 0 ? 10000000 : 90);
            positions[i] = last;
        }
        term->positions = positions;
    }
}

/* A document with about `terms` terms; the word at place i of the shuffled vocabulary is twice as
 * likely as the one at 2 i, so there are long lists and short ones. */
static inline const struct document *model_document(struct model *m, uint32_t terms)
{
    struct document *d = arena_calloc(&m->arena, 1, sizeof(*d));
    uint8_t *has = arena_calloc(&m->arena, m->vocabulary_size, 1);
    struct bytes *categories = arena_calloc(&m->arena, 4, sizeof(*categories));

    for (uint32_t i = 0; i < terms; i++) {
        uint32_t range = 1 + model_random(m, m->vocabulary_size);
        uint32_t rank = model_random(m, range);

        d->term_count += !has[(uint64_t)rank * 7919 % m->vocabulary_size];
        has[(uint64_t)rank * 7919 % m->vocabulary_size] = 1;
    }
    d->terms = arena_calloc(&m->arena, d->term_count + 1, sizeof(*d->terms));
    d->term_count = 0;
    for (uint32_t i = 0; i < m->vocabulary_size; i++)
        if (has[i])
            model_term(m, &d->terms[d->term_count++], i);
    d->key.data =
        (uint8_t *)arena_printf(&m->arena, "key %u of %u", m->made, model_random(m, 1000));
    d->key.size = strlen((const char *)d->key.data);
    d->norm = (uint8_t)model_random(m, 256);
    d->body_length = model_random(m, model_random(m, 100) == 0 ? 1u << 30 : 300);
    for (uint32_t i = 0; m->category_count >= 4 && i < model_random(m, 4); i++)
        categories[d->category_count++] = m->categories[(m->made + i * 5) % m->category_count];
    d->categories = categories;
    for (uint32_t i = 1; i < d->category_count; i++)
        if (bytes_equal(categories[i], categories[0]))
            d->category_count = i;
    m->made++;
    return d;
}

static inline void model_push(struct model_list *list, const struct document *document)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity * 2 + 64;
        list->docs = realloc(list->docs, list->capacity * sizeof(*list->docs));
        assert_non_null(list->docs);
    }
    list->docs[list->count++] = document;
}

static inline const struct document_term *model_find(const struct document *d,
                                                     struct segment_token token)
{
    for (uint32_t low = 0, high = d->term_count; low < high;) {
        uint32_t middle = (low + high) / 2;
        int order = model_token_order(&d->terms[middle].token, &token);

        if (order == 0)
            return &d->terms[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static inline void model_check_posting(struct posting_cursor *cursor, uint32_t doc,
                                       const struct document_term *term)
{
    const uint32_t *positions;
    uint32_t count;

    assert_int_equal(posting_doc(cursor), doc);
    assert_int_equal(posting_load_freqs(cursor, NULL), 0);
    assert_int_equal(posting_freq(cursor), term->freq);
    assert_int_equal(cursor->ops->positions(cursor, cursor->index, &positions, &count, NULL), 0);
    assert_int_equal(count, term->position_count);
    if (count > 0)
        assert_memory_equal(positions, term->positions, count * sizeof(*positions));
}

static inline bool model_is_posting(const struct model_list *list, struct segment_token token,
                                    uint32_t from, uint32_t to, uint32_t freq, uint8_t norm)
{
    for (uint32_t doc = from; doc <= to; doc++) {
        const struct document_term *term = model_find(list->docs[doc], token);

        if (term != NULL && term->freq == freq && list->docs[doc]->norm == norm)
            return true;
    }
    return false;
}

/* Element `at` of a level: it ends with a document that has the token, its pairs bound all from
 * `from` on, and where they are said to be reached, each is some posting's. */
static inline void model_check_element(const struct posting_level *level, uint32_t at,
                                       const struct model_list *list, struct segment_token token,
                                       uint32_t from)
{
    uint32_t first = at == 0 ? 0 : level->pair_end[at - 1], last_doc = level->last_doc[at];

    assert_true(level->pair_end[at] > first);
    assert_in_range(last_doc, from, list->count - 1);
    assert_non_null(model_find(list->docs[last_doc], token));
    for (uint32_t doc = from; doc <= last_doc; doc++) {
        const struct document_term *term = model_find(list->docs[doc], token);
        bool held = term == NULL;

        for (uint32_t i = first; i < level->pair_end[at] && !held; i++)
            held =
                level->pair_freq[i] >= term->freq && level->pair_norm[i] <= list->docs[doc]->norm;
        assert_true(held);
    }
    for (uint32_t i = first; i < level->pair_end[at] && level->reached[at]; i++)
        assert_true(model_is_posting(list, token, from, last_doc, level->pair_freq[i],
                                     level->pair_norm[i]));
}

/* The levels of a list, and its blocks decoded by themselves, documents and frequencies apart. */
static inline void model_check_levels(struct model *m, struct posting_cursor *cursor,
                                      const struct model_list *list, struct segment_token token)
{
    uint32_t chunk_from = 0, block_from = 0, postings = 0;

    for (uint32_t chunk = 0; chunk < cursor->chunks.count; chunk++) {
        model_check_element(&cursor->chunks, chunk, list, token, chunk_from);
        chunk_from = cursor->chunks.last_doc[chunk] + 1;
        assert_int_equal(cursor->ops->enter(cursor, chunk, NULL), 0);
        assert_int_equal(cursor->chunk, chunk);
        assert_int_equal(cursor->block.count, 0);
        for (uint32_t i = 0; i < cursor->blocks.count; i++) {
            const struct posting_block *block = &cursor->block;

            model_check_element(&cursor->blocks, i, list, token, block_from);
            block_from = cursor->blocks.last_doc[i] + 1;
            assert_int_equal(cursor->ops->decode(cursor, i, NULL), 0);
            assert_int_equal(cursor->block_number, i);
            assert_int_equal((uintptr_t)block->docs % 64, 0);
            assert_int_equal((uintptr_t)block->freqs % 64, 0);
            assert_int_equal(block->docs[block->count - 1], cursor->blocks.last_doc[i]);
            for (uint32_t k = block->count; k < POSTING_BLOCK; k++)
                assert_true(block->docs[k] == POSTING_END);
            cursor->index = model_random(m, block->count);
            model_check_posting(cursor, posting_doc(cursor),
                                model_find(list->docs[posting_doc(cursor)], token));
            postings += block->count;
        }
        assert_int_equal(block_from, chunk_from);
    }
    assert_int_equal(postings, cursor->df);
}

/* One list: read through, by leaps, and its bounds. */
static inline void model_check_list(struct model *m, struct segment *segment,
                                    const struct model_list *list, struct segment_token token)
{
    struct posting_cursor *cursor;
    uint32_t df = 0, seen, doc;

    for (uint32_t i = 0; i < list->count; i++)
        df += model_find(list->docs[i], token) != NULL;
    assert_int_equal(segment->ops->frequency(segment, token, list->count, &seen, NULL), 0);
    assert_int_equal(seen, df);
    assert_int_equal(segment->ops->postings(segment, token, list->count, &cursor, NULL), 0);
    if (df == 0) {
        assert_null(cursor);
        return;
    }
    assert_int_equal(cursor->df, df);
    for (doc = 0; doc < list->count; doc++) {
        const struct document_term *term = model_find(list->docs[doc], token);

        if (term == NULL)
            continue;
        assert_int_equal(posting_next(cursor, NULL), 0);
        model_check_posting(cursor, doc, term);
    }
    assert_int_equal(posting_next(cursor, NULL), 0);
    assert_int_equal(posting_doc(cursor), POSTING_END);
    assert_int_equal(posting_next(cursor, NULL), 0);
    assert_int_equal(posting_doc(cursor), POSTING_END);
    posting_close(cursor);

    assert_int_equal(segment->ops->postings(segment, token, list->count, &cursor, NULL), 0);
    model_check_levels(m, cursor, list, token);
    posting_close(cursor);

    assert_int_equal(segment->ops->postings(segment, token, list->count, &cursor, NULL), 0);
    for (doc = 0;; doc++) {
        const struct document_term *term = NULL;

        doc += model_random(m, model_random(m, 4) == 0 ? list->count / 3 + 1 : 9);
        assert_int_equal(posting_advance(cursor, doc, NULL), 0);
        while (doc < list->count && (term = model_find(list->docs[doc], token)) == NULL)
            doc++;
        if (doc >= list->count)
            break;
        model_check_posting(cursor, doc, term);
        if (model_random(m, 8) == 0) { /* backwards is nowhere */
            assert_int_equal(posting_advance(cursor, doc / 2, NULL), 0);
            assert_int_equal(posting_doc(cursor), doc);
        }
    }
    assert_int_equal(posting_doc(cursor), POSTING_END);
    posting_close(cursor);
}

static inline void model_check_columns(struct segment *segment, const struct model_list *list)
{
    for (uint32_t doc = 0; doc < list->count; doc++) {
        const struct document *d = list->docs[doc];
        uint32_t count;
        const uint32_t *ordinals = segment->ops->categories(segment, doc, &count);

        assert_true(bytes_equal(segment->ops->entry_key(segment, doc), d->key));
        assert_int_equal(segment->ops->norm(segment, doc), d->norm);
        assert_int_equal(segment->ops->body_length(segment, doc), d->body_length);
        assert_int_equal(count, d->category_count);
        for (uint32_t i = 0; i < count; i++) {
            bool found = false;

            assert_true(ordinals[i] < segment->ops->category_count(segment));
            assert_true(i == 0 || ordinals[i] > ordinals[i - 1]);
            for (uint32_t j = 0; j < count; j++)
                found |= bytes_equal(segment->ops->category_name(segment, ordinals[i]),
                                     d->categories[j]);
            assert_true(found);
        }
    }
}

/* The list that an iterator over terms stands on, read through. */
static inline void model_check_term_list(struct segment_terms *terms, const struct model_list *list,
                                         struct segment_token token)
{
    struct posting_cursor *cursor;

    assert_int_equal(terms->ops->postings(terms, &cursor, NULL), 0);
    for (uint32_t doc = 0; doc < list->count; doc++) {
        const struct document_term *term = model_find(list->docs[doc], token);

        if (term == NULL)
            continue;
        assert_int_equal(posting_next(cursor, NULL), 0);
        model_check_posting(cursor, doc, term);
    }
    assert_int_equal(posting_next(cursor, NULL), 0);
    assert_int_equal(posting_doc(cursor), POSTING_END);
    posting_close(cursor);
}

/* All tokens that are within (NULL: all there are), in order, and nothing else. */
static inline void model_check_terms(struct model *m, struct segment *segment,
                                     const struct model_list *list,
                                     const struct segment_token *within)
{
    struct segment_terms *terms;

    assert_int_equal(segment->ops->terms(segment, within, &terms, NULL), 0);
    for (uint32_t i = 0; i < m->vocabulary_size; i++) {
        const struct segment_token *wanted = &m->vocabulary[i];
        uint32_t df = 0;

        if (within != NULL &&
            (wanted->field != within->field || !bytes_has_prefix(wanted->text, within->text)))
            continue;
        for (uint32_t doc = 0; doc < list->count; doc++)
            df += model_find(list->docs[doc], m->vocabulary[i]) != NULL;
        if (df == 0)
            continue;
        assert_true(terms->ops->valid(terms));
        {
            struct segment_token token = terms->ops->token(terms);

            assert_int_equal(model_token_order(&token, &m->vocabulary[i]), 0);
        }
        assert_int_equal(terms->ops->frequency(terms), df);
        model_check_term_list(terms, list, m->vocabulary[i]);
        assert_int_equal(terms->ops->next(terms, NULL), 0);
    }
    assert_false(terms->ops->valid(terms));
    terms->ops->close(terms);
}

/* Everything. The segment holds exactly the documents of the list. */
static inline void model_check(struct model *m, struct segment *segment,
                               const struct model_list *list)
{
    struct segment_token absent = {TEXT_FIELD_ALL, bytes_str("absent")};
    struct segment_token within = m->vocabulary[model_random(m, m->vocabulary_size)];
    size_t beginning = model_random(m, 4);

    for (uint32_t i = 0; i < m->vocabulary_size; i++)
        model_check_list(m, segment, list, m->vocabulary[i]);
    model_check_list(m, segment, list, absent);
    model_check_columns(segment, list);
    model_check_terms(m, segment, list, NULL);
    within.text.size = beginning < within.text.size ? beginning : within.text.size;
    model_check_terms(m, segment, list, &within);
    model_check_terms(m, segment, list, &absent);
}

static inline struct segment *model_memory(struct model *m, struct model_list *list, uint64_t id,
                                           uint32_t documents, uint32_t terms)
{
    struct segment *segment = memory_segment_create(id);

    assert_non_null(segment);
    for (uint32_t i = 0; i < documents; i++) {
        const struct document *document = model_document(m, 1 + model_random(m, 2 * terms));
        uint32_t doc;

        assert_int_equal(memory_segment_add(segment, document, &doc, NULL), 0);
        assert_int_equal(doc, list->count);
        model_push(list, document);
    }
    return segment;
}

#endif
