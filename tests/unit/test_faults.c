/* n-th faults: the first, the second, the third ... call that writes to the store or asks for
 * memory fails, until a run comes through without one. After each fault there is a clean error,
 * readers see what was there before and nothing half written, the next try works, and (with
 * AddressSanitizer) nothing is leaked.
 *
 * The linker puts the functions below between the code and the real ones (--wrap, see
 * tests/CMakeLists.txt). Where running out of memory ends the process by design (struct buf, small
 * things of the store), no fault is made.
 */
#include "range_fixture.h"
#include "shard/disk_segment.h"

#define model segment_model /* both fixtures have one */
#include "segment_model.h"
#include "tests/unit/store_fixture.h"
#undef model

#include <dirent.h>
#include <unistd.h>

/* ---- faults ---- */

enum fault_kind { FAULT_NONE, FAULT_STORE, FAULT_MEMORY };

static struct {
    enum fault_kind kind;
    bool for_good; /* every call from the n-th on fails, not it alone */
    long left;     /* calls until it fails; 0 and below: it did */
    int quiet;
} faults;

static void arm(enum fault_kind kind, long n, bool for_good)
{
    faults.kind = kind;
    faults.left = n;
    faults.for_good = for_good;
}

/* Whether there was a fault. */
static bool disarm(void)
{
    bool fired = faults.kind != FAULT_NONE && faults.left <= 0;
    faults.kind = FAULT_NONE;
    return fired;
}

static bool fails(enum fault_kind kind)
{
    if (faults.kind != kind || faults.quiet > 0)
        return false;
    faults.left--;
    return faults.left == 0 || (faults.left < 0 && faults.for_good);
}

#define WRAP_STORE(name, parameters, arguments)                                                    \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        return fails(FAULT_STORE) ? err_set(err, ERR_IO, #name ": no") : __real_##name arguments;  \
    }

WRAP_STORE(store_flush, (struct store * store, struct err *err), (store, err))
WRAP_STORE(store_table_create,
           (struct store * store, enum store_family family, struct store_table **out,
            struct err *err),
           (store, family, out, err))
WRAP_STORE(store_table_put,
           (struct store_table * table, struct bytes key, struct bytes value, struct err *err),
           (table, key, value, err))
WRAP_STORE(store_table_show, (struct store_table * table, struct err *err), (table, err))

/* Its own memory is the store's business. */
int __real_store_write(struct store *store, struct store_batch *batch, struct err *err);
int __wrap_store_write(struct store *store, struct store_batch *batch, struct err *err);
int __wrap_store_write(struct store *store, struct store_batch *batch, struct err *err)
{
    if (fails(FAULT_STORE))
        return err_set(err, ERR_IO, "store_write: no");
    faults.quiet++;
    int code = __real_store_write(store, batch, err);
    faults.quiet--;
    return code;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return fails(FAULT_MEMORY) ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return fails(FAULT_MEMORY) ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_realloc(void *block, size_t size)
{
    return fails(FAULT_MEMORY) ? NULL : __real_realloc(block, size);
}

#define WRAP_QUIET(name, parameters, arguments)                                                    \
    void __real_##name parameters;                                                                 \
    void __wrap_##name parameters;                                                                 \
    void __wrap_##name parameters                                                                  \
    {                                                                                              \
        faults.quiet++;                                                                            \
        __real_##name arguments;                                                                   \
        faults.quiet--;                                                                            \
    }
#define WRAP_QUIET_POINTER(type, name, parameters, arguments)                                      \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        faults.quiet++;                                                                            \
        type result = __real_##name arguments;                                                     \
        faults.quiet--;                                                                            \
        return result;                                                                             \
    }

WRAP_QUIET(buf_reserve, (struct buf * buf, size_t extra), (buf, extra))
WRAP_QUIET_POINTER(void *, buf_extend, (struct buf * buf, size_t size), (buf, size))
WRAP_QUIET(buf_append, (struct buf * buf, const void *data, size_t size), (buf, data, size))
WRAP_QUIET(buf_append_bytes, (struct buf * buf, struct bytes bytes), (buf, bytes))
WRAP_QUIET(buf_append_str, (struct buf * buf, const char *text), (buf, text))
WRAP_QUIET(buf_append_u8, (struct buf * buf, uint8_t value), (buf, value))
WRAP_QUIET(buf_append_be16, (struct buf * buf, uint16_t value), (buf, value))
WRAP_QUIET(buf_append_be32, (struct buf * buf, uint32_t value), (buf, value))
WRAP_QUIET(buf_append_be64, (struct buf * buf, uint64_t value), (buf, value))
WRAP_QUIET(buf_append_le32, (struct buf * buf, uint32_t value), (buf, value))
WRAP_QUIET(buf_append_le64, (struct buf * buf, uint64_t value), (buf, value))
WRAP_QUIET(buf_append_varint, (struct buf * buf, uint64_t value), (buf, value))
WRAP_QUIET_POINTER(char *, buf_text, (struct buf * buf), (buf))
WRAP_QUIET_POINTER(struct store_batch *, store_batch_create, (void), ())
WRAP_QUIET_POINTER(struct store_iterator *, store_iterate,
                   (struct store * store, enum store_family family, struct bytes from,
                    struct bytes to),
                   (store, family, from, to))

/* ---- a range whose store fails ---- */

struct life {
    char folder[64];
    struct range *range;
    struct model model;
};

static int apply_some(struct life *life, uint32_t count, struct err *err)
{
    struct arena arena;
    arena_init(&arena, 0);
    struct range_op *ops = arena_calloc(&arena, count, sizeof *ops);
    struct range_result *results = arena_calloc(&arena, count, sizeof *results);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t seq = life->model.seq + 1 + i;
        ops[i] = (struct range_op){seq, make_op(life->model.seed, seq, &arena), NULL};
    }
    int code = range_apply(life->range, ops, count, results, err);
    arena_deinit(&arena);
    if (code == 0)
        model_run_to(&life->model, life->model.seq + count);
    return code;
}

#define STEPS 8
#define BATCH 60

static bool is_apply(int which)
{
    return which == 0 || which == 2 || which == 5;
}

static int step(struct life *life, int which, struct err *err)
{
    bool merged;
    switch (which) {
    case 1:
    case 3:
    case 6:
        return range_flush(life->range, err);
    case 4:
    case 7:
        return range_merge(life->range, true, &merged, err);
    default:
        return apply_some(life, BATCH, err);
    }
}

/* Names in the folder of the store that no process should leave behind. */
static void assert_no_strays(const char *folder)
{
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    for (struct dirent *file; (file = readdir(listing)) != NULL;)
        assert_true(strncmp(file->d_name, "new-", 4) != 0);
    closedir(listing);
}

static bool has_row(struct range *range, const struct model *model, uint32_t slot,
                    struct arena *arena)
{
    const struct model_entry *want = &model->entries[slot];
    struct buf key = {0};
    Quire__Entry *got;
    entry_key(slot_headword(slot, arena), slot_sense(slot, arena), &key);
    assert_int_equal(range_get(range, buf_bytes(&key), arena, &got, NULL), 0);
    buf_deinit(&key);
    if (got == NULL || !want->present)
        return got == NULL && !want->present;
    return got->version == want->version &&
           entry_equal(got, make_entry(slot, want->variant, arena));
}

/* After a batch of `count` operations that failed: they are in the log, so rows of some of them may
 * show already, each row as one of them left it. A view shows none of them. */
static void check_half_applied(struct life *life, uint32_t count)
{
    struct model later = life->model;
    struct arena arena;
    bool found[SLOTS] = {false};
    arena_init(&arena, 0);
    for (uint32_t i = 0; i <= count; i++) {
        for (uint32_t slot = 0; slot < SLOTS; slot++)
            found[slot] = found[slot] || has_row(life->range, &later, slot, &arena);
        model_run_to(&later, life->model.seq + i + 1);
    }
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        assert_true(found[slot]);
    struct view *view = range_view(life->range);
    assert_int_equal(view->seq, life->model.seq);
    assert_int_equal(view->documents, life->model.documents);
    view_release(view);
    arena_deinit(&arena);
}

/* Readers go on as if nothing had been tried; a range that is not broken takes the step again. */
static void check_failed(struct life *life, int which, const struct err *failure)
{
    struct err err = {0};
    assert_int_equal(failure->code, ERR_IO);
    assert_true(strstr(failure->text, ": no") != NULL);
    if (is_apply(which))
        check_half_applied(life, BATCH);
    else
        compare(life->range, &life->model);
    if (range_broken(life->range, &err) == 0) {
        if (step(life, which, &err) != 0)
            fail_msg("step %d again: %s", which, err.text);
        compare(life->range, &life->model);
    } else {
        assert_int_not_equal(apply_some(life, 1, &err), 0);
        assert_true(err.text[0] != 0);
    }
}

/* What is durable is a moment of the history, and the history goes on from there. */
static void check_reopened(struct life *life)
{
    struct err err = {0};
    uint64_t seed = life->model.seed, before = life->model.seq;
    range_close(life->range);
    life->range = open_range(life->folder);
    assert_no_strays(life->folder);
    life->model = (struct model){.seed = seed};
    assert_in_range(range_durable_seq(life->range), 0, before);
    model_run_to(&life->model, range_durable_seq(life->range));
    compare(life->range, &life->model);
    for (int i = STEPS - 3; i < STEPS; i++)
        if (step(life, i, &err) != 0)
            fail_msg("after opening anew: %s", err.text);
    compare(life->range, &life->model);
}

/* False: came through without a fault. */
static bool one_life(long n, bool for_good)
{
    struct life life = {.model = {.seed = 5}};
    struct err err = {0};
    strcpy(life.folder, "/tmp/quire-faults-XXXXXX");
    assert_non_null(mkdtemp(life.folder));
    life.range = open_range(life.folder);
    assert_int_equal(apply_some(&life, 100, &err), 0);
    assert_int_equal(range_flush(life.range, &err), 0);
    arm(FAULT_STORE, n, for_good);
    int code = 0, which = 0;
    for (; which < STEPS && code == 0; which++)
        code = step(&life, which, &err);
    bool fired = disarm();
    if (code != 0)
        check_failed(&life, which - 1, &err);
    check_reopened(&life);
    range_close(life.range);
    assert_int_equal(store_destroy_files(life.folder, NULL), 0);
    rmdir(life.folder);
    return fired;
}

/* Rows of tables are many and alike: after the first calls, only some of them. */
static void check_lives(bool for_good)
{
    long n = 1, runs = 0;
    while (one_life(n, for_good)) {
        n += n < 14 ? 1 : n / 3;
        runs++;
    }
    print_message("%ld runs with a fault, up to call %ld\n", runs, n);
    assert_true(runs > 20);
}

static void a_failing_write(void **state)
{
    check_lives(false);
}

static void a_store_that_fails_from_then_on(void **state)
{
    check_lives(true);
}

/* ---- segments without memory ---- */

struct segments {
    struct store *store;
    struct segment_model model;
    struct model_list list;
    struct segment *memory, *disk;
    const struct document *next; /* to be added */
};

typedef int attempt(struct segments *segments, struct err *err);

static int add_document(struct segments *s, struct err *err)
{
    uint32_t doc;
    int code = memory_segment_add(s->memory, s->next, &doc, err);
    if (code == 0)
        assert_int_equal(doc, s->list.count);
    return code;
}

static int write_segment(struct segments *s, struct err *err)
{
    struct view_segment source = {.segment = s->memory, .doc_limit = s->list.count};
    uint32_t *remap = NULL;
    int code = disk_segment_write(s->store, 2, &source, 1, &remap, NULL, NULL, err);
    assert_int_equal(remap != NULL, code == 0);
    free(remap);
    return code;
}

/* Both forms of the segment become one that is in another order than they. */
static int merge_by_category(struct segments *s, struct err *err)
{
    struct view_segment sources[2] = {{.segment = s->memory, .doc_limit = s->list.count},
                                      {.segment = s->disk, .doc_limit = s->list.count}};
    uint32_t *remap[2] = {NULL, NULL};
    int code = disk_segment_write_by(SEGMENT_ORDER_CATEGORY, s->store, 3, sources, 2, remap, NULL,
                                     NULL, err);
    assert_int_equal(remap[0] != NULL && remap[1] != NULL, code == 0);
    free(remap[0]);
    free(remap[1]);
    return code;
}

static int open_segment(struct segments *s, struct err *err)
{
    return disk_segment_open(s->store, 2, &s->disk, err);
}

static int read_list(struct posting_cursor *cursor, struct err *err)
{
    int code = posting_next(cursor, err);
    while (code == 0 && posting_doc(cursor) != POSTING_END) {
        const uint32_t *positions;
        uint32_t count;
        code = posting_load_freqs(cursor, err);
        if (code == 0)
            code = cursor->ops->positions(cursor, cursor->index, &positions, &count, err);
        if (code == 0)
            code = posting_next(cursor, err);
    }
    return code;
}

static int read_terms(struct segment *segment, struct err *err)
{
    struct segment_terms *terms;
    int code = segment->ops->terms(segment, NULL, &terms, err);
    if (code != 0)
        return code;
    while (code == 0 && terms->ops->valid(terms)) {
        struct posting_cursor *cursor;
        code = terms->ops->postings(terms, &cursor, err);
        if (code == 0) {
            code = read_list(cursor, err);
            posting_close(cursor);
        }
        if (code == 0)
            code = terms->ops->next(terms, err);
    }
    terms->ops->close(terms);
    return code;
}

static int read_memory(struct segments *s, struct err *err)
{
    return read_terms(s->memory, err);
}

static int read_disk(struct segments *s, struct err *err)
{
    return read_terms(s->disk, err);
}

/* A first try with the fault armed, and a second one without when it hit. */
static void attempt_twice(struct segments *s, attempt *what)
{
    struct err err = {0};
    int code = what(s, &err);
    if (code == 0)
        return;
    assert_int_equal(code, ERR_NOMEM);
    assert_true(err.text[0] != 0);
    assert_true(faults.left <= 0);
    faults.kind = FAULT_NONE;
    faults.left = 0;
    if (what(s, &err) != 0)
        fail_msg("the second try: %s", err.text);
}

static void remove_segment(struct store *store, uint64_t id)
{
    struct store_batch *batch = store_batch_create();
    assert_int_equal(disk_segment_remove(store, batch, id, NULL), 0);
    assert_int_equal(store_write(store, batch, NULL), 0);
    store_batch_destroy(batch);
}

static void check_merged(struct segments *s)
{
    struct segment *merged;
    uint64_t postings;
    assert_int_equal(disk_segment_open(s->store, 3, &merged, NULL), 0);
    assert_int_equal(disk_segment_validate(merged, &postings, NULL), 0);
    assert_int_equal(postings, 2 * disk_segment_postings(s->disk));
    segment_unref(merged);
}

static bool one_segment(struct disk *disk, long n)
{
    struct segments s = {.store = disk->store};
    model_init(&s.model, 3, 90, 12);
    arm(FAULT_MEMORY, n, false);
    while ((s.memory = memory_segment_create(1)) == NULL)
        assert_true(faults.left <= 0);
    for (uint32_t i = 0; i < 150; i++) {
        faults.quiet++; /* the model's own memory */
        s.next = model_document(&s.model, 12);
        faults.quiet--;
        attempt_twice(&s, add_document);
        faults.quiet++;
        model_push(&s.list, s.next);
        faults.quiet--;
    }
    attempt_twice(&s, read_memory);
    attempt_twice(&s, write_segment);
    attempt_twice(&s, open_segment);
    attempt_twice(&s, read_disk);
    attempt_twice(&s, merge_by_category);
    bool fired = faults.left <= 0;
    (void)disarm();
    model_check(&s.model, s.memory, &s.list);
    model_check(&s.model, s.disk, &s.list);
    check_merged(&s);
    segment_unref(s.memory);
    segment_unref(s.disk);
    remove_segment(disk->store, 2);
    remove_segment(disk->store, 3);
    assert_no_strays(disk->path);
    free(s.list.docs);
    model_deinit(&s.model);
    return fired;
}

static void segments_without_memory(void **state)
{
    long n = 1, runs = 0;
    for (; one_segment(*state, n); n += n < 50 ? 1 : n / 10)
        runs++;
    print_message("%ld runs with a fault, up to call %ld\n", runs, n);
    assert_true(runs > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failing_write),
        cmocka_unit_test(a_store_that_fails_from_then_on),
        cmocka_unit_test_setup_teardown(segments_without_memory, open_disk, close_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
