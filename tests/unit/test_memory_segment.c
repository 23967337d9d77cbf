#include "segment_model.h"

#include <pthread.h>
#include <stdatomic.h>

static void test_empty(void **state)
{
    struct model m;
    struct model_list list = {0};
    struct segment *segment = memory_segment_create(7);

    model_init(&m, 1, 10, 0);
    assert_int_equal(memory_segment_documents(segment), 0);
    model_check(&m, segment, &list);
    segment_unref(segment);
    model_deinit(&m);
}

static void test_against_model(void **state)
{
    static const struct {
        uint32_t documents, terms, vocabulary;
    } shapes[] = {{1, 5, 10},  {127, 10, 50},   {128, 10, 50},
                  {129, 3, 4}, {1500, 20, 200}, {3000, 2, 3000}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct model m;
        struct model_list list = {0};
        struct segment *segment;

        model_init(&m, i + 1, shapes[i].vocabulary, 40);
        segment = model_memory(&m, &list, 1, shapes[i].documents, shapes[i].terms);
        assert_int_equal(memory_segment_documents(segment), shapes[i].documents);
        assert_true(memory_segment_bytes(segment) > 0);
        model_check(&m, segment, &list);
        segment_unref(segment);
        free(list.docs);
        model_deinit(&m);
    }
}

/* A view's limit hides what was added later, down to the frequency. */
static void test_limit(void **state)
{
    struct model m;
    struct model_list list = {0};
    struct segment *segment;

    model_init(&m, 3, 20, 8);
    segment = model_memory(&m, &list, 1, 700, 8);
    for (uint32_t limit = 0; limit <= 700; limit += 1 + limit / 4) {
        list.count = limit;
        for (uint32_t i = 0; i < m.vocabulary_size; i++)
            model_check_list(&m, segment, &list, m.vocabulary[i]);
    }
    segment_unref(segment);
    free(list.docs);
    model_deinit(&m);
}

/* A word that every document has, so that its list ends with or without a full block. */
static void test_block_edges(void **state)
{
    struct document_term term = {.token = {TEXT_FIELD_TERMS, bytes_str("word")}, .freq = 1};
    struct segment *segment = memory_segment_create(1);

    for (uint32_t n = 1; n <= 2 * POSTING_BLOCK + 1; n++) {
        struct document document = {.key = bytes_str("key"), .terms = &term, .term_count = 1};
        struct posting_cursor *cursors[2];
        struct segment_terms *terms;
        uint32_t doc;

        term.freq = n;
        document.norm = (uint8_t)n;
        assert_int_equal(memory_segment_add(segment, &document, &doc, NULL), 0);
        assert_int_equal(segment->ops->terms(segment, &term.token, &terms, NULL), 0);
        assert_int_equal(terms->ops->postings(terms, &cursors[0], NULL), 0);
        assert_int_equal(segment->ops->postings(segment, term.token, n, &cursors[1], NULL), 0);
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(posting_advance(cursors[i], n - 1, NULL), 0);
            assert_int_equal(posting_doc(cursors[i]), n - 1);
            assert_int_equal(posting_next(cursors[i], NULL), 0);
            assert_int_equal(posting_doc(cursors[i]), POSTING_END);
            posting_close(cursors[i]);
        }
        terms->ops->close(terms);
    }
    segment_unref(segment);
}

/* ---- one writer, many readers ---- */

#define RACE_DOCUMENTS 4000
#define RACE_READERS 3

struct race {
    struct segment *segment;
    const struct document **documents;
    struct model *model;
    _Atomic bool done;
};

static void *race_write(void *data)
{
    struct race *race = data;
    uint32_t doc;

    for (uint32_t i = 0; i < RACE_DOCUMENTS; i++)
        assert_int_equal(memory_segment_add(race->segment, race->documents[i], &doc, NULL), 0);
    atomic_store(&race->done, true);
    return NULL;
}

/* Looks at some tokens below a limit, while the writer goes on. */
static void race_look(struct race *race, uint32_t turn)
{
    uint32_t limit = memory_segment_documents(race->segment);
    struct segment_token token = race->model->vocabulary[turn * 31 % race->model->vocabulary_size];
    struct posting_cursor *cursor;
    uint32_t doc = 0, seen = 0;

    assert_int_equal(race->segment->ops->postings(race->segment, token, limit, &cursor, NULL), 0);
    if (cursor != NULL)
        assert_true(cursor->chunks.last_doc[0] < limit);
    for (; doc < limit; doc++) {
        const struct document_term *term = model_find(race->documents[doc], token);

        if (term == NULL)
            continue;
        assert_non_null(cursor);
        assert_int_equal(posting_next(cursor, NULL), 0);
        model_check_posting(cursor, doc, term);
        seen++;
    }
    if (cursor != NULL) {
        assert_int_equal(cursor->df, seen);
        assert_int_equal(posting_next(cursor, NULL), 0);
        assert_int_equal(posting_doc(cursor), POSTING_END);
    }
    posting_close(cursor);
    if (limit > 0)
        assert_true(bytes_equal(race->segment->ops->entry_key(race->segment, limit - 1),
                                race->documents[limit - 1]->key));
}

static void *race_read(void *data)
{
    struct race *race = data;
    bool last = false;

    for (uint32_t turn = 0; !last && turn < 100000; turn++) {
        last = atomic_load(&race->done);
        race_look(race, turn);
        if (turn % 16 == 0) {
            struct segment_terms *terms;

            assert_int_equal(race->segment->ops->terms(
                                 race->segment, &race->model->vocabulary[turn % 3], &terms, NULL),
                             0);
            while (terms->ops->valid(terms))
                assert_int_equal(terms->ops->next(terms, NULL), 0);
            terms->ops->close(terms);
        }
    }
    return NULL;
}

static void test_race(void **state)
{
    struct model m;
    struct race race = {.segment = memory_segment_create(1), .model = &m};
    pthread_t writer, readers[RACE_READERS];

    model_init(&m, 5, 4000, 30); /* enough for the sorted lists to be merged on the way */
    race.documents = calloc(RACE_DOCUMENTS, sizeof(*race.documents));
    assert_non_null(race.documents);
    for (uint32_t i = 0; i < RACE_DOCUMENTS; i++)
        race.documents[i] = model_document(&m, 8);
    for (int i = 0; i < RACE_READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, race_read, &race), 0);
    assert_int_equal(pthread_create(&writer, NULL, race_write, &race), 0);
    pthread_join(writer, NULL);
    for (int i = 0; i < RACE_READERS; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(memory_segment_documents(race.segment), RACE_DOCUMENTS);
    segment_unref(race.segment);
    free(race.documents);
    model_deinit(&m);
}

static void test_norm(void **state)
{
    uint32_t last = 0;

    for (uint32_t i = 0; i <= 40; i++)
        assert_int_equal(norm_decode(norm_encode(i)), i);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t length = norm_decode((uint8_t)i);

        assert_int_equal(norm_encode(length), i);
        assert_true(i == 0 || length > last);
        if (i > 0)
            assert_int_equal(norm_encode(length - 1), i - 1);
        last = length;
    }
    for (uint64_t i = 1; i < UINT32_MAX; i = i * 9 / 8 + 1) {
        uint32_t kept = norm_decode(norm_encode((uint32_t)i));

        assert_true(kept <= i);
        assert_true(i > INT32_MAX || i - kept <= i / 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm),          cmocka_unit_test(test_empty),
        cmocka_unit_test(test_against_model), cmocka_unit_test(test_limit),
        cmocka_unit_test(test_block_edges),   cmocka_unit_test(test_race),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
