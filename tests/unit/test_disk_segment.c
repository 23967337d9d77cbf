#include "segment_model.h"

#include "proto/text/key.h"
#include "shard/disk_format.h"
#include "shard/disk_segment.h"

#include <unistd.h>

struct world {
    char path[64];
    struct store_cache *cache;
    struct store *store;
};

static int setup_with(void **state, size_t cache_bytes)
{
    struct world *w = calloc(1, sizeof(*w));
    struct err err;

    assert_non_null(w);
    strcpy(w->path, "/tmp/quire-segment-XXXXXX");
    assert_non_null(mkdtemp(w->path));
    w->cache = cache_bytes == 0 ? NULL : store_cache_create(cache_bytes);
    if (store_open(w->path, w->cache, &w->store, &err) != 0)
        fail_msg("%s", err.text);
    *state = w;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, 8 << 20);
}

/* Lists are evicted all the time, and most chunks are read for one cursor. */
static int setup_small(void **state)
{
    return setup_with(state, 100 << 10);
}

static int setup_none(void **state)
{
    return setup_with(state, 0);
}

static int teardown(void **state)
{
    struct world *w = *state;

    store_close(w->store);
    store_cache_destroy(w->cache);
    assert_int_equal(store_destroy_files(w->path, NULL), 0);
    rmdir(w->path);
    free(w);
    return 0;
}

static struct segment *open_segment(struct world *w, uint64_t id)
{
    struct segment *segment;
    uint64_t postings;
    struct err err;

    if (disk_segment_open(w->store, id, &segment, &err) != 0)
        fail_msg("%s", err.text);
    if (disk_segment_validate(segment, &postings, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(postings, disk_segment_postings(segment));
    return segment;
}

/* Rows of a segment in a family. */
static uint64_t rows(struct world *w, enum store_family family, uint64_t id)
{
    struct disk_key from, to;
    struct store_iterator *it;
    uint64_t count = 0;

    disk_key_segment(&from, id);
    disk_key_segment(&to, id + 1);
    it = store_iterate(w->store, family, disk_key_bytes(&from), disk_key_bytes(&to));
    for (; store_iterator_valid(it); store_iterator_next(it))
        count++;
    store_iterator_close(it);
    return count;
}

static void remove_segment(struct world *w, uint64_t id)
{
    struct store_batch *batch = store_batch_create();

    assert_int_equal(disk_segment_remove(w->store, batch, id, NULL), 0);
    assert_int_equal(store_write(w->store, batch, NULL), 0);
    store_batch_destroy(batch);
    assert_int_equal(rows(w, STORE_TERM, id) + rows(w, STORE_POST, id) + rows(w, STORE_POS, id) +
                         rows(w, STORE_DOC, id),
                     0);
}

static void test_flush(void **state)
{
    static const struct {
        uint32_t documents, terms, vocabulary;
    } shapes[] = {{0, 5, 10},     {1, 5, 10},      {129, 10, 50},
                  {700, 30, 100}, {4097, 3, 2000}, {9000, 2, 3}};
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct model m;
        struct model_list list = {0};
        struct segment *memory, *disk;
        struct view_segment source;
        struct err err;
        uint32_t *remap;

        model_init(&m, i + 10, shapes[i].vocabulary, 40);
        memory = model_memory(&m, &list, 1, shapes[i].documents, shapes[i].terms);
        source = (struct view_segment){.segment = memory, .doc_limit = list.count};
        if (disk_segment_write(w->store, 2 + i, &source, 1, &remap, NULL, NULL, &err) != 0)
            fail_msg("%s", err.text);
        for (uint32_t doc = 0; doc < list.count; doc++)
            assert_int_equal(remap[doc], doc);
        free(remap);
        segment_unref(memory);
        disk = open_segment(w, 2 + i);
        assert_int_equal(disk_segment_documents(disk), list.count);
        model_check(&m, disk, &list);
        segment_unref(disk);
        remove_segment(w, 2 + i);
        free(list.docs);
        model_deinit(&m);
    }
}

/* A list of 5,000 and one of 40 with positions in rows of their own, opened by two cursors at once
 * and again after everything else was evicted. */
static void test_cursors_share(void **state)
{
    struct world *w = *state;
    struct segment *memory = memory_segment_create(1), *disk;
    struct document_term terms[2] = {{.token = {TEXT_FIELD_ALL, bytes_str("often")}, .freq = 40},
                                     {.token = {TEXT_FIELD_ALL, bytes_str("seldom")}, .freq = 40}};
    uint32_t positions[40], documents = 5000, doc;
    struct view_segment source = {.segment = memory, .doc_limit = documents};

    for (uint32_t i = 0; i < 40; i++)
        positions[i] = i * i;
    for (uint32_t i = 0; i < documents; i++) {
        struct document document = {
            .key = bytes_str("key"), .terms = terms, .term_count = i % 125 == 0 ? 2 : 1};

        terms[0].positions = terms[1].positions = positions;
        terms[0].position_count = terms[1].position_count = 40;
        assert_int_equal(memory_segment_add(memory, &document, &doc, NULL), 0);
    }
    assert_int_equal(disk_segment_write(w->store, 2, &source, 1, NULL, NULL, NULL, NULL), 0);
    segment_unref(memory);
    assert_int_equal(disk_segment_open(w->store, 2, &disk, NULL), 0);
    for (uint32_t turn = 0; turn < 3; turn++) {
        struct posting_cursor *cursors[4];

        for (uint32_t i = 0; i < 4; i++)
            assert_int_equal(
                disk->ops->postings(disk, terms[i % 2].token, documents, &cursors[i], NULL), 0);
        for (uint32_t at = 0; at < documents; at += 125)
            for (uint32_t i = 0; i < 4; i++) {
                const uint32_t *got;
                uint32_t count;

                assert_int_equal(posting_advance(cursors[i], at, NULL), 0);
                assert_int_equal(posting_doc(cursors[i]), at);
                assert_int_equal(
                    cursors[i]->ops->positions(cursors[i], cursors[i]->index, &got, &count, NULL),
                    0);
                assert_int_equal(count, 40);
                assert_memory_equal(got, positions, sizeof(positions));
            }
        for (uint32_t i = 0; i < 4; i++)
            posting_close(cursors[i]);
    }
    segment_unref(disk);
}

/* ---- flush, delete, merge in random order, against the model ---- */

#define SEGMENTS_MAX 8

struct living { /* a segment of the world, and what it should hold */
    struct view_segment view;
    struct model_list list;
    bool memory;
};

static void living_drop(struct world *w, struct living *l)
{
    uint64_t id = l->view.segment->id;

    segment_unref(l->view.segment);
    live_unref(l->view.dead);
    free(l->list.docs);
    if (!l->memory)
        remove_segment(w, id);
    memset(l, 0, sizeof(*l));
}

static void living_kill(struct model *m, struct living *l)
{
    uint32_t doomed[200], count = l->list.count == 0 ? 0 : model_random(m, 200);
    struct live *dead;

    for (uint32_t i = 0; i < count; i++)
        doomed[i] = model_random(m, l->list.count);
    dead = live_with(l->view.dead, doomed, count);
    live_unref(l->view.dead);
    l->view.dead = dead;
}

/* A document that should be in the merged segment. */
struct survivor {
    const struct document *document;
    char *categories; /* their keys, sorted, each once and with a NUL behind it */
    size_t size;
    uint32_t source, doc, arrival;
};

static int key_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void survivor_categories(struct survivor *survivor)
{
    const struct document *d = survivor->document;
    char **keys = calloc(d->category_count + 1, sizeof(*keys));
    struct buf text = {0}, key = {0};

    for (uint32_t i = 0; i < d->category_count; i++) {
        buf_clear(&key);
        text_key(d->categories[i], &key);
        keys[i] = strdup(buf_text(&key));
    }
    qsort(keys, d->category_count, sizeof(*keys), key_compare);
    for (uint32_t i = 0; i < d->category_count; i++)
        if (i == 0 || strcmp(keys[i], keys[i - 1]) != 0)
            buf_append(&text, keys[i], strlen(keys[i]) + 1);
    for (uint32_t i = 0; i < d->category_count; i++)
        free(keys[i]);
    free(keys);
    buf_deinit(&key);
    buf_append_u8(&text, 0);
    survivor->categories = (char *)buf_steal(&text, &survivor->size);
    survivor->size--;
}

static int survivor_compare(const void *a, const void *b)
{
    const struct survivor *x = a, *y = b;
    int order = bytes_compare(bytes_of(x->categories, x->size), bytes_of(y->categories, y->size));

    return order != 0 ? order : (x->arrival > y->arrival) - (x->arrival < y->arrival);
}

/* The live documents of the segments as the order wants them; *out is the caller's. */
static uint32_t survivors(const struct living *from, uint32_t count, enum segment_order order,
                          struct survivor **out)
{
    uint32_t found = 0, most = 0;

    for (uint32_t i = 0; i < count; i++)
        most += from[i].list.count;
    *out = calloc(most + 1, sizeof(**out));
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t doc = 0; doc < from[i].list.count; doc++) {
            if (live_is_dead(from[i].view.dead, doc))
                continue;
            (*out)[found] = (struct survivor){from[i].list.docs[doc], NULL, 0, i, doc, found};
            survivor_categories(&(*out)[found++]);
        }
    if (order == SEGMENT_ORDER_CATEGORY)
        qsort(*out, found, sizeof(**out), survivor_compare);
    return found;
}

/* Merges living segments first .. first + count - 1 into one, which takes the place of the first.
 */
static void living_merge(struct world *w, struct model *m, struct living *all, uint32_t *living,
                         uint32_t first, uint32_t count, uint64_t id, enum segment_order order)
{
    struct view_segment sources[SEGMENTS_MAX] = {0};
    uint32_t *remap[SEGMENTS_MAX], left, dead = 0, dropped = 0;
    struct living merged = {0};
    struct survivor *expected;
    struct err err;

    for (uint32_t i = 0; i < count; i++)
        sources[i] = all[first + i].view;
    if (disk_segment_write_by(order, w->store, id, sources, count, remap, NULL, NULL, &err) != 0)
        fail_msg("%s", err.text);
    left = survivors(&all[first], count, order, &expected);
    for (uint32_t i = 0; i < left; i++) {
        assert_int_equal(remap[expected[i].source][expected[i].doc], i);
        model_push(&merged.list, expected[i].document);
        free(expected[i].categories);
    }
    free(expected);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t doc = 0; doc < all[first + i].list.count; doc++)
            dropped += remap[i][doc] == POSTING_END;
        free(remap[i]);
        dead += (uint32_t)live_dead_count(all[first + i].view.dead);
    }
    assert_int_equal(dropped, dead);
    for (uint32_t i = 0; i < count; i++)
        living_drop(w, &all[first + i]);
    merged.view =
        (struct view_segment){.segment = open_segment(w, id), .doc_limit = merged.list.count};
    model_check(m, merged.view.segment, &merged.list);
    all[first] = merged;
    memmove(&all[first + 1], &all[first + count], (*living - first - count) * sizeof(*all));
    *living -= count - 1;
}

/* `random_order`: each merge in one of both. */
static void random_life(struct world *w, uint64_t seed, enum segment_order order, bool random_order)
{
    struct living all[SEGMENTS_MAX] = {0};
    uint32_t living = 0;
    uint64_t id = 1000;
    struct model m;

    model_init(&m, seed, 120, 50);
    for (uint32_t turn = 0; turn < 40; turn++) {
        uint32_t what = model_random(&m, 4);

        if (living < SEGMENTS_MAX && what < 2) {
            struct living *l = &all[living++];

            memset(l, 0, sizeof(*l)); /* what moved down left a copy */
            l->memory = true;
            l->view.segment = model_memory(&m, &l->list, id++, model_random(&m, 900), 6);
            l->view.doc_limit = l->list.count;
        } else if (living > 0 && what == 2) {
            living_kill(&m, &all[model_random(&m, living)]);
        } else if (living > 0) {
            uint32_t first = model_random(&m, living), most = living - first;

            if (random_order)
                order = model_random(&m, 2) == 0 ? SEGMENT_ORDER_ARRIVAL : SEGMENT_ORDER_CATEGORY;
            living_merge(w, &m, all, &living, first, 1 + model_random(&m, most), id++, order);
        }
    }
    if (living > 0)
        living_merge(w, &m, all, &living, 0, living, id++, order);
    for (uint32_t i = 0; i < living; i++)
        living_drop(w, &all[i]);
    model_deinit(&m);
}

static void test_random_life(void **state)
{
    random_life(*state, 42, SEGMENT_ORDER_ARRIVAL, false);
    random_life(*state, 43, SEGMENT_ORDER_CATEGORY, false);
    random_life(*state, 44, SEGMENT_ORDER_CATEGORY, true);
}

/* Two segments of one document for each text of categories, apart by '|'; in one segment the other
 * way round. */
static void test_category_order(void **state)
{
    static const char *const texts[] = {"",    "A",   "a",  "a|B", "B|a", "a|b|B", "a|b|c",
                                        "a|c", "a b", "ab", "B",   "b",   "Ü"};
    enum { COUNT = sizeof(texts) / sizeof(texts[0]) };
    /* The number of the first document of those with the same categories. */
    static const uint32_t firsts[COUNT] = {0, 2, 2, 6, 6, 6, 12, 14, 16, 18, 20, 20, 24};
    struct world *w = *state;
    struct view_segment sources[2];
    uint32_t *remap[2], taken[2 * COUNT] = {0};

    for (uint32_t i = 0; i < 2; i++) {
        struct segment *memory = memory_segment_create(i + 2);

        for (uint32_t j = 0; j < COUNT; j++) {
            char text[32], *rest = strcpy(text, texts[i == 0 ? j : COUNT - 1 - j]);
            struct bytes categories[4];
            struct document document = {.key = bytes_str("key"), .categories = categories};
            uint32_t doc;

            for (char *name; *text != 0 && (name = strsep(&rest, "|")) != NULL;)
                categories[document.category_count++] = bytes_str(name);
            assert_int_equal(memory_segment_add(memory, &document, &doc, NULL), 0);
        }
        sources[i] = (struct view_segment){.segment = memory, .doc_limit = COUNT};
    }
    assert_int_equal(disk_segment_write_by(SEGMENT_ORDER_CATEGORY, w->store, 20, sources, 2, remap,
                                           NULL, NULL, NULL),
                     0);
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t j = 0; j < COUNT; j++) {
            uint32_t at = i == 0 ? j : COUNT - 1 - j, first = firsts[at];

            assert_int_equal(remap[i][j], first + taken[first]++);
        }
    for (uint32_t i = 0; i < 2; i++) {
        free(remap[i]);
        segment_unref(sources[i].segment);
    }
    segment_unref(open_segment(w, 20));
}

/* The same documents give the same rows, however they got there. */
static uint64_t segment_hash(struct world *w, uint64_t id)
{
    static const enum store_family families[] = {STORE_TERM, STORE_POST, STORE_POS, STORE_DOC};
    struct buf all = {0};
    uint64_t hash;

    for (size_t i = 0; i < 4; i++) {
        struct disk_key from, to;
        struct store_iterator *it;

        disk_key_segment(&from, id);
        disk_key_segment(&to, id + 1);
        it = store_iterate(w->store, families[i], disk_key_bytes(&from), disk_key_bytes(&to));
        for (; store_iterator_valid(it); store_iterator_next(it)) {
            struct bytes key = store_iterator_key(it);

            buf_append(&all, key.data + 8, key.size - 8);
            buf_append_bytes(&all, store_iterator_value(it));
        }
        store_iterator_close(it);
    }
    hash = hash64(all.data, all.size);
    buf_deinit(&all);
    return hash;
}

static void test_merge_is_flush(void **state)
{
    struct world *w = *state;
    struct model m;
    struct model_list list = {0}, parts[2] = {{0}, {0}};
    struct segment *whole = memory_segment_create(1), *half[2];
    struct view_segment sources[2];

    model_init(&m, 7, 100, 20);
    half[0] = model_memory(&m, &parts[0], 2, 3000, 5);
    half[1] = model_memory(&m, &parts[1], 3, 2500, 5);
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t doc = 0; doc < parts[i].count; doc++) {
            uint32_t added;

            assert_int_equal(memory_segment_add(whole, parts[i].docs[doc], &added, NULL), 0);
            model_push(&list, parts[i].docs[doc]);
        }
        sources[i] = (struct view_segment){.segment = half[i], .doc_limit = parts[i].count};
        assert_int_equal(
            disk_segment_write(w->store, 10 + i, &sources[i], 1, NULL, NULL, NULL, NULL), 0);
        segment_unref(half[i]);
        sources[i].segment = open_segment(w, 10 + i);
    }
    assert_int_equal(disk_segment_write(w->store, 20, sources, 2, NULL, NULL, NULL, NULL), 0);
    segment_unref(sources[0].segment);
    segment_unref(sources[1].segment);
    sources[0] = (struct view_segment){.segment = whole, .doc_limit = list.count};
    assert_int_equal(disk_segment_write(w->store, 21, sources, 1, NULL, NULL, NULL, NULL), 0);
    assert_int_equal(segment_hash(w, 20), segment_hash(w, 21));
    segment_unref(whole);
    free(list.docs);
    free(parts[0].docs);
    free(parts[1].docs);
    model_deinit(&m);
}

static void write_by_category(struct world *w, uint64_t id, const struct view_segment *sources,
                              uint32_t count)
{
    struct err err;

    if (disk_segment_write_by(SEGMENT_ORDER_CATEGORY, w->store, id, sources, count, NULL, NULL,
                              NULL, &err) != 0)
        fail_msg("%s", err.text);
}

/* In the order of categories, merging in steps gives what merging at once gives. */
static void test_merge_in_steps(void **state)
{
    struct world *w = *state;
    struct model m;
    struct view_segment sources[6];

    model_init(&m, 8, 100, 20);
    for (uint32_t i = 0; i < 6; i++) {
        struct model_list list = {0};

        sources[i] = (struct view_segment){.segment = model_memory(&m, &list, 10 + i, 700, 5),
                                           .doc_limit = 700};
        free(list.docs);
    }
    write_by_category(w, 30, sources, 6);
    write_by_category(w, 31, sources, 3);
    write_by_category(w, 32, sources + 3, 2);
    for (uint32_t i = 0; i < 5; i++)
        segment_unref(sources[i].segment);
    sources[0] = (struct view_segment){.segment = open_segment(w, 31), .doc_limit = 2100};
    sources[1] = (struct view_segment){.segment = open_segment(w, 32), .doc_limit = 1400};
    sources[2] = sources[5];
    write_by_category(w, 33, sources, 3);
    assert_int_equal(segment_hash(w, 30), segment_hash(w, 33));
    for (uint32_t i = 0; i < 3; i++)
        segment_unref(sources[i].segment);
    model_deinit(&m);
}

/* ---- giving up, and damage ---- */

static bool give_up(void *data, size_t bytes)
{
    return --*(int *)data > 0;
}

static void test_cancel(void **state)
{
    struct world *w = *state;
    struct model m;
    struct model_list list = {0};
    struct view_segment source;
    struct err err;
    uint32_t *remap;
    int calls = 1;

    model_init(&m, 9, 50, 8);
    source.segment = model_memory(&m, &list, 1, 500, 10);
    source.doc_limit = list.count;
    source.dead = NULL;
    assert_int_equal(disk_segment_write(w->store, 30, &source, 1, &remap, give_up, &calls, &err),
                     ERR_CANCELED);
    assert_null(remap);
    assert_int_equal(rows(w, STORE_TERM, 30) + rows(w, STORE_DOC, 30), 0);
    segment_unref(source.segment);
    free(list.docs);
    model_deinit(&m);
}

/* Reads everything there is to read, and does not care what it says. */
static void read_all(struct segment *segment)
{
    struct segment_terms *terms;

    if (segment->ops->terms(segment, NULL, &terms, NULL) != 0)
        return;
    while (terms->ops->valid(terms)) {
        struct posting_cursor *cursor;
        const uint32_t *positions;
        uint32_t count;
        struct err err;

        if (terms->ops->postings(terms, &cursor, &err) == 0)
            while (posting_next(cursor, &err) == 0 && posting_doc(cursor) != POSTING_END) {
                assert_true(posting_doc(cursor) < disk_segment_documents(segment));
                if (cursor->ops->positions(cursor, cursor->index, &positions, &count, &err) != 0)
                    break;
            }
        posting_close(cursor);
        if (terms->ops->next(terms, &err) != 0)
            break;
    }
    terms->ops->close(terms);
}

/* Makes the checksum of a row fit its bytes again. */
static void repair_checksum(enum store_family family, uint8_t *row, size_t size)
{
    if (family == STORE_TERM && size > 2) {
        uint16_t crc = checksum16(row, size - 2);

        row[size - 2] = (uint8_t)(crc >> 8);
        row[size - 1] = (uint8_t)crc;
    } else if (family != STORE_TERM && size > 5) {
        uint32_t sum = checksum32(row + 5, size - 5);

        for (int i = 0; i < 4; i++)
            row[1 + i] = (uint8_t)(sum >> (8 * i));
    }
}

/* Whether anything was wrong with the segment; reads all of it in any case. */
/* `named` (may be NULL) is what the error has to say. */
static bool is_noticed(struct world *w, uint64_t id, const char *named)
{
    struct segment *segment;
    uint64_t postings;
    struct err err;
    int code = disk_segment_open(w->store, id, &segment, &err);

    if (code == 0) {
        code = disk_segment_validate(segment, &postings, &err);
        read_all(segment);
        segment_unref(segment);
    }
    assert_true(code == 0 || code == ERR_CORRUPT);
    if (code != 0 && named != NULL &&
        (strncmp(err.text, "segment ", 8) != 0 || strstr(err.text, named) == NULL))
        fail_msg("\"%s\" does not say \"%s\"", err.text, named);
    return code != 0;
}

static void put_row(struct world *w, enum store_family family, struct bytes key, struct bytes value)
{
    struct store_batch *batch = store_batch_create();

    store_batch_put(batch, w->store, family, key, value);
    assert_int_equal(store_write(w->store, batch, NULL), 0);
    store_batch_destroy(batch);
}

/* Flips a bit of each row of a segment in turn: it must be noticed. With a checksum that fits the
 * damage, it need not be, but nothing may crash. */
#define EVERY_BIT_BYTES 48 /* of longer rows, some bits */
#define SOME_BITS 100

/* Each bit of a row, or some: none goes unnoticed, and the error says where. */
static uint32_t damage_row(struct world *w, struct model *m, enum store_family family,
                           const char *named, struct bytes key, struct bytes value)
{
    uint32_t bits = (uint32_t)value.size * 8;
    uint32_t turns = value.size <= EVERY_BIT_BYTES ? bits : SOME_BITS;
    uint8_t *damaged = malloc(value.size);

    assert_non_null(damaged);
    for (uint32_t i = 0; i < turns; i++) {
        uint32_t bit = turns == bits ? i : model_random(m, bits);

        memcpy(damaged, value.data, value.size);
        damaged[bit / 8] ^= (uint8_t)(1u << bit % 8);
        put_row(w, family, key, bytes_of(damaged, value.size));
        assert_true(is_noticed(w, 40, named));
    }
    put_row(w, family, key, value);
    free(damaged);
    return turns;
}

static void test_every_bit(void **state)
{
    static const struct {
        enum store_family family;
        const char *named;
    } families[] = {{STORE_TERM, "token \""},
                    {STORE_POST, "damaged postings"},
                    {STORE_POS, "damaged positions"},
                    {STORE_DOC, "column "}};
    struct world *w = *state;
    struct model m;
    struct model_list list = {0};
    struct view_segment source = {0};

    model_init(&m, 5, 8, 8);
    source.segment = model_memory(&m, &list, 1, 220, 3);
    source.doc_limit = list.count;
    assert_int_equal(disk_segment_write(w->store, 40, &source, 1, NULL, NULL, NULL, NULL), 0);
    segment_unref(source.segment);
    for (size_t f = 0; f < 4; f++) {
        struct disk_key from, to;
        struct store_iterator *it;
        uint32_t damages = 0;

        disk_key_segment(&from, 40);
        disk_key_segment(&to, 41);
        it =
            store_iterate(w->store, families[f].family, disk_key_bytes(&from), disk_key_bytes(&to));
        for (; store_iterator_valid(it); store_iterator_next(it))
            damages += damage_row(w, &m, families[f].family, families[f].named,
                                  store_iterator_key(it), store_iterator_value(it));
        store_iterator_close(it);
        assert_true(damages >= 100);
    }
    segment_unref(open_segment(w, 40));
    free(list.docs);
    model_deinit(&m);
}

/* Beside single bits, whole rows whose checksums were set right again: anything but a crash. */
static void test_damage(void **state)
{
    static const enum store_family families[] = {STORE_TERM, STORE_POST, STORE_POS, STORE_DOC};
    struct world *w = *state;
    struct model m;
    struct model_list list = {0};
    struct view_segment source = {0};
    uint32_t damages = 0, noticed = 0;

    model_init(&m, 11, 30, 8);
    source.segment = model_memory(&m, &list, 1, 600, 6);
    source.doc_limit = list.count;
    assert_int_equal(disk_segment_write(w->store, 40, &source, 1, NULL, NULL, NULL, NULL), 0);
    segment_unref(source.segment);
    for (size_t f = 0; f < 4; f++) {
        struct disk_key from, to;
        struct store_iterator *it;

        disk_key_segment(&from, 40);
        disk_key_segment(&to, 41);
        it = store_iterate(w->store, families[f], disk_key_bytes(&from), disk_key_bytes(&to));
        for (; store_iterator_valid(it); store_iterator_next(it)) {
            struct bytes key = store_iterator_key(it), value = store_iterator_value(it);
            uint8_t *damaged = malloc(value.size);

            assert_non_null(damaged);
            for (uint32_t repair = 0; repair < 6; repair++) {
                uint32_t at = model_random(&m, (uint32_t)value.size);

                memcpy(damaged, value.data, value.size);
                damaged[at] ^= (uint8_t)(1u << model_random(&m, 8));
                if (repair > 0)
                    repair_checksum(families[f], damaged, value.size);
                put_row(w, families[f], key, bytes_of(damaged, value.size));
                if (repair == 0) {
                    damages++;
                    noticed += is_noticed(w, 40, NULL);
                } else {
                    (void)is_noticed(w, 40, NULL);
                }
            }
            put_row(w, families[f], key, value);
            free(damaged);
        }
        store_iterator_close(it);
    }
    assert_true(damages > 30);
    assert_int_equal(noticed, damages);
    segment_unref(open_segment(w, 40));
    free(list.docs);
    model_deinit(&m);
}

/* Bodies so long that a chunk is cut by its positions, and frequencies at their limits. */
static void test_long_bodies(void **state)
{
    const uint32_t each = 300000, documents = 300;
    struct world *w = *state;
    struct document_term terms[2] = {{.token = {TEXT_FIELD_ALL, bytes_str("long")}},
                                     {.token = {TEXT_FIELD_ALL, bytes_str("short")}}};
    struct document document = {.key = bytes_str("key"), .terms = terms, .term_count = 2};
    uint32_t *positions = malloc(each * sizeof(*positions)), doc, count;
    struct view_segment source = {.segment = memory_segment_create(1)};
    struct posting_cursor *cursor;
    struct segment *disk;
    const uint32_t *got;

    assert_non_null(positions);
    for (uint32_t i = 0; i < each; i++)
        positions[i] = i * 3;
    terms[0].positions = terms[1].positions = positions;
    for (uint32_t i = 0; i < documents; i++) {
        terms[0].position_count = i % 60 == 7 ? each : 3;
        terms[0].freq = i % 2 ? UINT32_MAX : terms[0].position_count;
        terms[1].position_count = terms[1].freq = 1;
        assert_int_equal(memory_segment_add(source.segment, &document, &doc, NULL), 0);
    }
    source.doc_limit = documents;
    assert_int_equal(disk_segment_write(w->store, 50, &source, 1, NULL, NULL, NULL, NULL), 0);
    segment_unref(source.segment);
    disk = open_segment(w, 50);
    assert_true(rows(w, STORE_POS, 50) > 2);
    assert_int_equal(disk->ops->postings(disk, terms[0].token, documents, &cursor, NULL), 0);
    for (uint32_t i = 0; i < documents; i++) {
        assert_int_equal(posting_next(cursor, NULL), 0);
        assert_int_equal(posting_load_freqs(cursor, NULL), 0);
        assert_int_equal(posting_doc(cursor), i);
        assert_int_equal(posting_freq(cursor), i % 2 ? UINT32_MAX : i % 60 == 7 ? each : 3);
        assert_int_equal(cursor->ops->positions(cursor, cursor->index, &got, &count, NULL), 0);
        assert_int_equal(count, i % 60 == 7 ? each : 3);
        assert_memory_equal(got, positions, count * sizeof(*got));
    }
    posting_close(cursor);
    segment_unref(disk);
    free(positions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flush, setup_small, teardown),
        cmocka_unit_test_setup_teardown(test_flush, setup_none, teardown),
        cmocka_unit_test_setup_teardown(test_cursors_share, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cursors_share, setup_small, teardown),
        cmocka_unit_test_setup_teardown(test_cursors_share, setup_none, teardown),
        cmocka_unit_test_setup_teardown(test_random_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge_is_flush, setup, teardown),
        cmocka_unit_test_setup_teardown(test_category_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merge_in_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
