/* Ranges made out of others: halves, and the whole made of halves, against ranges that were built
 * by writing only what belongs there, and against the model of range_fixture.h.
 */
#include "range_fixture.h"

#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/range_derive.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 25 /* operations of a record of the log */
#define CLIENTS 3

static char root[64];
static int folders;

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/quire-derive-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void check(int code, const struct err *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s\n", err->text);
    abort();
}

struct folder {
    char path[96];
};

static struct folder new_folder(void)
{
    struct folder out;
    snprintf(out.path, sizeof out.path, "%s/%d", root, folders++);
    return out;
}

/* ---- histories ---- */

static struct bytes slot_key(uint32_t slot, struct arena *arena)
{
    struct buf key = {0};
    text_key(bytes_str(slot_headword(slot, arena)), &key);
    struct bytes out = bytes_of(arena_copy(arena, key.data, key.size), key.size);
    buf_deinit(&key);
    return out;
}

static bool inside(struct bytes key, struct bytes lo, struct bytes hi)
{
    return bytes_compare(key, lo) >= 0 && (hi.size == 0 || bytes_compare(key, hi) < 0);
}

static struct bytes op_key(const Quire__WriteOp *op, struct arena *arena)
{
    struct buf key = {0};
    text_key(bytes_str(op->put != NULL ? op->put->headword : op->delete_headword), &key);
    struct bytes out = bytes_of(arena_copy(arena, key.data, key.size), key.size);
    buf_deinit(&key);
    return out;
}

static Quire__WriteOp *nothing(struct arena *arena)
{
    Quire__WriteOp *op = arena_alloc(arena, sizeof *op);
    quire__write_op__init(op);
    op->delete_headword = (char *)"what nobody wrote";
    return op;
}

/* The model, of what lies within. */
static struct model restricted(const struct model *model, struct bytes lo, struct bytes hi)
{
    struct model out = *model;
    struct arena arena;
    arena_init(&arena, 0);
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        if (inside(slot_key(slot, &arena), lo, hi))
            continue;
        out.documents -= out.entries[slot].present;
        out.entries[slot] = (struct model_entry){0};
    }
    arena_deinit(&arena);
    return out;
}

struct record {
    struct range_session session;
    char client[32];
    struct range_op ops[BATCH];
    Quire__WriteOp *messages[BATCH];
    size_t count;
};

/* Record number `number` (from 1) of a history: BATCH operations of one of some clients. */
static void make_record(struct record *record, uint64_t seed, uint64_t number, struct arena *arena)
{
    uint64_t first = (number - 1) * BATCH + 1;
    snprintf(record->client, sizeof record->client, "client %d",
             (int)(mix(seed, number) % CLIENTS));
    record->session = (struct range_session){record->client, number};
    record->count = BATCH;
    for (uint64_t i = 0; i < BATCH; i++) {
        record->messages[i] = make_op(seed, first + i, arena);
        record->ops[i] = (struct range_op){first + i, record->messages[i], NULL};
    }
}

/* Ordinary applying; what does not lie within becomes an operation that does nothing. */
static void write_record(struct range *range, uint64_t seed, uint64_t number, struct bytes lo,
                         struct bytes hi)
{
    struct arena arena;
    struct err err = {0};
    struct record record;
    struct range_result results[BATCH];
    arena_init(&arena, 0);
    make_record(&record, seed, number, &arena);
    for (size_t i = 0; i < BATCH; i++)
        if (!inside(op_key(record.messages[i], &arena), lo, hi))
            record.ops[i].op = nothing(&arena);
    check(range_apply_as(range, &record.session, record.ops, BATCH, results, &err), &err);
    arena_deinit(&arena);
}

static void follow_record(struct range *range, uint64_t seed, uint64_t number, struct bytes lo,
                          struct bytes hi)
{
    struct arena arena;
    struct err err = {0};
    struct record record;
    arena_init(&arena, 0);
    make_record(&record, seed, number, &arena);
    check(range_follow(range, lo, hi, &record.session, record.ops, BATCH, &err), &err);
    arena_deinit(&arena);
}

/* A range that was written to in the ordinary way; flushed now and then, not at the end, and with
 * rows on disk that are ahead of what is durable. */
static struct range *write_source(const char *path, uint64_t seed, uint64_t records)
{
    struct range *range = open_range(path);
    struct err err = {0};
    for (uint64_t i = 1; i <= records; i++) {
        write_record(range, seed, i, (struct bytes){0}, (struct bytes){0});
        if (i < records && mix(seed, i) / 8 % 3 == 0)
            check(range_flush(range, &err), &err);
        if (mix(seed, i) / 32 % 4 == 0) {
            bool merged;
            check(range_merge(range, false, &merged, &err), &err);
        }
    }
    check(store_flush(range_store(range), &err), &err);
    return range;
}

static struct range *open_copy(struct range *source, const struct folder *folder)
{
    struct err err = {0};
    uint64_t durable;
    check(range_checkpoint(source, folder->path, &durable, &err), &err);
    struct range *range = open_range(folder->path);
    assert_true(range_durable_seq(range) == durable);
    return range;
}

static void no_undo_rows(struct range *range)
{
    struct store_iterator *it =
        store_iterate(range_store(range), STORE_META, bytes_str("u"), bytes_str("v"));
    assert_false(store_iterator_valid(it));
    store_iterator_close(it);
}

/* A copy of the source's index, pruned, having followed to the record `records`; not flushed. */
static struct range *derive(struct range *source, const struct folder *folder, uint64_t seed,
                            uint64_t records, struct bytes lo, struct bytes hi)
{
    struct err err = {0};
    struct range *range = open_copy(source, folder);
    uint64_t seq = range_applied_seq(range);
    check(range_prune(range, lo, hi, &err), &err);
    assert_true(range_applied_seq(range) == seq);
    for (uint64_t i = seq / BATCH + 1; i <= records; i++)
        follow_record(range, seed, i, lo, hi);
    no_undo_rows(range);
    return range;
}

/* ---- comparing ---- */

static void add_letter(void *data, struct bytes letter, uint64_t count)
{
    buf_append_bytes(data, letter);
    buf_printf(data, "%d ", (int)count);
}

/* Entries with versions, statistics, letters. */
static void same(struct range *a, struct range *b)
{
    struct range *ranges[2] = {a, b};
    struct range_verified verified[2];
    struct view *views[2];
    struct buf letters[2] = {{0}, {0}};
    struct err err = {0};
    for (int i = 0; i < 2; i++) {
        int problems = 0;
        check(range_verify(ranges[i], &verified[i], print_problem, &problems, &err), &err);
        assert_int_equal(problems, 0);
        views[i] = range_view(ranges[i]);
        range_letters(ranges[i], add_letter, &letters[i]);
    }
    assert_int_equal(verified[0].entries, verified[1].entries);
    assert_true(verified[0].digest == verified[1].digest);
    assert_int_equal(views[0]->documents, views[1]->documents);
    assert_int_equal(views[0]->total_length, views[1]->total_length);
    assert_string_equal(buf_text(&letters[0]), buf_text(&letters[1]));
    for (size_t word = 0; word < WORD_COUNT; word++) {
        uint64_t df[2];
        struct buf key = {0};
        text_key(bytes_str(WORDS[word]), &key);
        for (int i = 0; i < 2; i++)
            check(view_frequency(views[i], (struct segment_token){TEXT_FIELD_ALL, buf_bytes(&key)},
                                 &df[i], &err),
                  &err);
        assert_int_equal(df[0], df[1]);
        buf_deinit(&key);
    }
    for (int category = 0; category < 5; category++) {
        uint64_t df[2];
        char key[32];
        snprintf(key, sizeof key, "category %d", category);
        for (int i = 0; i < 2; i++)
            check(view_frequency(views[i],
                                 (struct segment_token){TEXT_FIELD_CATEGORY_KEY, bytes_str(key)},
                                 &df[i], &err),
                  &err);
        assert_int_equal(df[0], df[1]);
    }
    for (int i = 0; i < 2; i++) {
        view_release(views[i]);
        buf_deinit(&letters[i]);
    }
}

/* What lies within of each client's last batch is answered alike, and by the model. */
static void same_sessions(struct range *range, uint64_t seed, uint64_t records, struct bytes lo,
                          struct bytes hi)
{
    struct err err = {0};
    bool seen[CLIENTS] = {false};
    for (uint64_t number = records; number >= 1; number--) {
        struct arena arena;
        struct record record;
        Quire__WriteOp *own[2 * BATCH];
        size_t count = 0;
        struct range_result *results;
        bool known;
        uint64_t client = mix(seed, number) % CLIENTS;
        if (seen[client])
            continue;
        seen[client] = true;
        arena_init(&arena, 0);
        make_record(&record, seed, number, &arena);
        for (size_t i = 0; i < BATCH; i++)
            if (inside(op_key(record.messages[i], &arena), lo, hi))
                own[count++] = record.messages[i];
        if (count > 0) {
            check(range_session_find(range, &record.session, own, count, &known, &results, &arena,
                                     &err),
                  &err);
            assert_true(known);
            struct model model = {.seed = seed};
            model_run_to(&model, (number - 1) * BATCH);
            for (size_t i = 0, next = 0; i < BATCH; i++) {
                uint64_t version;
                int outcome = model_step(&model, &version);
                if (next == count || record.messages[i] != own[next])
                    continue;
                assert_int_equal(results[next].outcome, outcome);
                assert_int_equal(results[next].version, version);
                next++;
            }
            for (size_t i = 0; i < count; i++)
                own[count + i] = own[i];
            assert_int_equal(range_session_find(range, &record.session, own, 2 * count, &known,
                                                &results, &arena, &err),
                             ERR_CONFLICT); /* each result is there once */
        }
        arena_deinit(&arena);
    }
}

static void flush(struct range *range)
{
    struct err err = {0};
    check(range_flush(range, &err), &err);
    assert_true(range_durable_seq(range) == range_applied_seq(range));
    no_undo_rows(range);
}

/* ---- a kill ---- */

#define KILL_SEED 77
#define KILL_RECORDS 20

/* First of all, as only a process without threads may fork. */
static void killed_after_the_flush_it_is_whole(void **state)
{
    (void)state;
    struct folder from = new_folder(), to = new_folder();
    struct bytes lo = bytes_str("l"), hi = bytes_str("r");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err err = {0};
        struct range *source = write_source(from.path, KILL_SEED, KILL_RECORDS - 2);
        struct range *range = derive(source, &to, KILL_SEED, KILL_RECORDS, lo, hi);
        flush(range);
        for (uint64_t i = 1; i <= 3; i++) { /* as an ordinary range, not flushed */
            write_record(range, KILL_SEED, KILL_RECORDS + i, lo, hi);
            check(store_flush(range_store(range), &err), &err);
        }
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    struct range *range = open_range(to.path);
    struct model model = {.seed = KILL_SEED};
    model_run_to(&model, KILL_RECORDS * BATCH);
    struct model half = restricted(&model, lo, hi);
    assert_true(half.documents > 5 && half.documents < model.documents);
    compare(range, &half);
    same_sessions(range, KILL_SEED, KILL_RECORDS, lo, hi);
    for (uint64_t i = 1; i <= 3; i++)
        write_record(range, KILL_SEED, KILL_RECORDS + i, lo, hi);
    model_run_to(&model, (KILL_RECORDS + 3) * BATCH);
    half = restricted(&model, lo, hi);
    compare(range, &half);
    range_close(range);
}

/* ---- halves ---- */

/* Bounds of any kind: prefixes of keys, keys, and such as leave one side nothing. */
static struct bytes some_bound(uint64_t random, struct arena *arena)
{
    if (random % 8 == 0)
        return bytes_str(random / 8 % 2 == 0 ? "!" : "\xf0\x9f\x98\x80");
    struct bytes key = slot_key((uint32_t)(random / 8 % SLOTS), arena);
    return random / 4096 % 2 == 0 ? key : bytes_of(key.data, 1 + random / 8192 % key.size);
}

static void halves_are_what_filtering_gives_and_make_the_whole(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct arena arena;
        struct err err = {0};
        arena_init(&arena, 0);
        uint64_t records = 8 + mix(seed, 1) % 10;
        struct bytes none = {0}, bound = some_bound(mix(seed, 2), &arena);
        struct bytes bounds[2][2] = {{none, bound}, {bound, none}};
        struct folder folder = new_folder(), halves[2] = {new_folder(), new_folder()};
        struct range *source = write_source(folder.path, seed, records - 2), *ranges[2];
        struct model model = {.seed = seed};
        model_run_to(&model, records * BATCH);
        for (int i = 0; i < 2; i++) {
            struct bytes lo = bounds[i][0], hi = bounds[i][1];
            struct folder plain = new_folder();
            struct range *filtered = open_range(plain.path);
            for (uint64_t number = 1; number <= records; number++)
                write_record(filtered, seed, number, lo, hi);
            struct model half = restricted(&model, lo, hi);
            ranges[i] = derive(source, &halves[i], seed, records, lo, hi);
            compare(ranges[i], &half);
            flush(ranges[i]);
            range_close(ranges[i]);
            ranges[i] = open_range(halves[i].path);
            assert_int_equal(range_durable_seq(ranges[i]), records * BATCH);
            compare(ranges[i], &half);
            same(ranges[i], filtered);
            same_sessions(ranges[i], seed, records, lo, hi);
            for (uint64_t number = records + 1; number <= records + 3; number++) {
                write_record(ranges[i], seed, number, lo, hi);
                write_record(filtered, seed, number, lo, hi);
            }
            same(ranges[i], filtered);
            range_close(filtered);
            range_close(ranges[i]); /* as a kill: back to what was flushed */
            ranges[i] = open_range(halves[i].path);
            compare(ranges[i], &half);
        }
        uint64_t whole = mix(seed, 3) % 2;
        check(range_adopt(ranges[whole], ranges[1 - whole], &err), &err);
        compare(ranges[whole], &model);
        range_close(ranges[1 - whole]);
        flush(ranges[whole]);
        range_close(ranges[whole]);
        ranges[whole] = open_range(halves[whole].path);
        for (uint64_t number = records - 1; number <= records; number++)
            write_record(source, seed, number, none, none);
        compare(ranges[whole], &model);
        same(ranges[whole], source);
        same_sessions(ranges[whole], seed, records, none, none);
        for (uint64_t number = records + 1; number <= records + 3; number++) {
            bool merged;
            write_record(ranges[whole], seed, number, none, none);
            check(range_flush(ranges[whole], &err), &err);
            check(range_merge(ranges[whole], true, &merged, &err), &err);
        }
        model_run_to(&model, (records + 3) * BATCH);
        compare(ranges[whole], &model);
        range_close(ranges[whole]);
        range_close(source);
        arena_deinit(&arena);
    }
}

/* ---- two sources ---- */

/* What the model of one source has below `bound`, and that of the other from there on. */
static struct model joined(const struct model *below, const struct model *above, struct bytes bound)
{
    struct bytes none = {0};
    struct model out = restricted(below, none, bound), other = restricted(above, bound, none);
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (other.entries[slot].present)
            out.entries[slot] = other.entries[slot];
    out.documents += other.documents;
    out.seq = below->seq > above->seq ? below->seq : above->seq;
    return out;
}

static void it_follows_two_sources_whose_seqs_interleave(void **state)
{
    (void)state;
    for (uint64_t seed = 30; seed < 32; seed++) {
        struct err err = {0};
        struct bytes none = {0}, bound = bytes_str("p");
        struct folder folders_of[4] = {new_folder(), new_folder(), new_folder(), new_folder()};
        uint64_t seeds[2] = {seed, seed + 1000}, at[2], end[2] = {22, 12};
        struct range *sources[2], *ranges[2];
        struct model models[2];
        for (int i = 0; i < 2; i++) {
            uint64_t records = 6 + mix(seed, (uint64_t)i) % 6;
            sources[i] = write_source(folders_of[i].path, seeds[i], records);
            ranges[i] = open_copy(sources[i], &folders_of[2 + i]);
            at[i] = range_applied_seq(ranges[i]) / BATCH;
            check(range_prune(ranges[i], i == 0 ? none : bound, i == 0 ? bound : none, &err), &err);
            models[i] = (struct model){.seed = seeds[i]};
            model_run_to(&models[i], end[i] * BATCH);
            range_close(sources[i]);
        }
        uint64_t seq = range_applied_seq(ranges[0]) > range_applied_seq(ranges[1])
                           ? range_applied_seq(ranges[0])
                           : range_applied_seq(ranges[1]);
        check(range_adopt(ranges[0], ranges[1], &err), &err);
        assert_true(range_applied_seq(ranges[0]) == seq);
        range_close(ranges[1]);
        for (uint64_t step = 0; at[0] < end[0] || at[1] < end[1]; step++) {
            int which = mix(seed, 100 + step) % 2 == 0;
            which = at[which] < end[which] ? which : 1 - which;
            at[which]++;
            follow_record(ranges[0], seeds[which], at[which], which == 0 ? none : bound,
                          which == 0 ? bound : none);
            if (step % 7 == 3)
                check(range_flush(ranges[0], &err), &err);
        }
        struct model model = joined(&models[0], &models[1], bound);
        compare(ranges[0], &model);
        flush(ranges[0]);
        range_close(ranges[0]);
        ranges[0] = open_range(folders_of[2].path);
        compare(ranges[0], &model);
        check(range_advance(ranges[0], model.seq - 5, &err), &err);
        assert_true(range_applied_seq(ranges[0]) == model.seq);
        check(range_advance(ranges[0], model.seq + 5, &err), &err);
        model.seq += 5;
        flush(ranges[0]);
        range_close(ranges[0]);
        ranges[0] = open_range(folders_of[2].path);
        compare(ranges[0], &model);
        range_close(ranges[0]);
    }
}

/* ---- many entries ---- */

static void put_many(struct range *range, uint64_t first, uint64_t count, const char *format)
{
    struct err err = {0};
    while (count > 0) {
        struct arena arena;
        struct range_op ops[1000];
        struct range_result results[1000];
        size_t now = count < 1000 ? count : 1000;
        arena_init(&arena, 0);
        for (size_t i = 0; i < now; i++) {
            Quire__WriteOp *op = arena_alloc(&arena, sizeof *op);
            quire__write_op__init(op);
            op->put = make_entry(0, (uint32_t)(i % 5), &arena);
            op->put->headword = arena_printf(&arena, format, (int)(first + i));
            ops[i] = (struct range_op){first + i, op, NULL};
        }
        check(range_apply(range, ops, now, results, &err), &err);
        for (size_t i = 0; i < now; i++)
            assert_int_equal(results[i].outcome, QUIRE__WRITE_RESULT__OUTCOME__NEW);
        arena_deinit(&arena);
        first += now;
        count -= now;
    }
}

static uint64_t entries_of(struct range *range)
{
    struct range_figures figures;
    range_figures(range, &figures);
    return figures.entries;
}

/* More than one piece, with flushes in between. */
static void many_entries_are_pruned_and_adopted(void **state)
{
    (void)state;
    struct folder paths[3] = {new_folder(), new_folder(), new_folder()};
    struct range_settings settings = test_settings();
    struct err err = {0};
    struct range *source = open_range(paths[0].path), *low, *high;
    uint64_t durable;
    struct bytes none = {0}, bound = bytes_str("entry 11300");
    put_many(source, 1, 2000, "entry %d");
    check(range_flush(source, &err), &err);
    settings.memory_limit = 1; /* wants a flush whenever there is something to flush */
    for (int i = 1; i < 3; i++)
        check(range_checkpoint(source, paths[i].path, &durable, &err), &err);
    check(range_open(paths[1].path, &settings, &low, &err), &err);
    check(range_open(paths[2].path, &settings, &high, &err), &err);
    uint64_t below, problems;
    check(range_count_before(source, bound, &below, &err), &err);
    assert_true(below > 100 && below < 1900);
    check(range_prune(low, none, bound, &err), &err);
    check(range_prune(high, bound, none, &err), &err);
    assert_false(range_wants_flush(low)); /* the last piece was flushed, too */
    assert_int_equal(entries_of(low), below);
    assert_int_equal(entries_of(high), 2000 - below);
    struct range_figures before, after;
    range_figures(low, &before);
    check(range_adopt(low, high, &err), &err);
    range_figures(low, &after);
    assert_true(after.segments > before.segments + 2);
    flush(low);
    same(low, source);
    assert_int_equal(range_adopt(low, high, &err), ERR_EXISTS);
    assert_int_equal(range_broken(low, &err), ERR_EXISTS);
    range_close(low);
    check(range_open(paths[1].path, &settings, &low, &err), &err);
    bool merged;
    check(range_merge(low, true, &merged, &err), &err);
    assert_true(merged);
    same(low, source);
    problems = (uint64_t)problems_of(low);
    assert_int_equal(problems, 0);
    range_close(low);
    range_close(high);
    range_close(source);
}

static void stopped_it_gives_up_and_is_not_broken(void **state)
{
    (void)state;
    struct folder paths[2] = {new_folder(), new_folder()};
    struct err err = {0};
    struct bytes none = {0};
    struct range *source = write_source(paths[0].path, 5, 10);
    struct range *range = open_copy(source, &paths[1]), *other;
    struct folder empty = new_folder();
    uint64_t entries = entries_of(range);
    assert_true(entries > 0);
    other = open_range(empty.path);
    range_stop(range);
    assert_int_equal(range_prune(range, bytes_str("m"), none, &err), ERR_CANCELED);
    assert_int_equal(range_adopt(other, range, &err), ERR_CANCELED);
    assert_int_equal(range_adopt(range, other, &err), ERR_CANCELED);
    assert_int_equal(range_advance(range, 1000000, &err), ERR_CANCELED);
    assert_int_equal(range_broken(range, &err), 0);
    assert_int_equal(entries_of(range), entries);
    range_close(other);
    range_close(range);
    range_close(source);
}

/* ---- sessions ---- */

static Quire__WriteOp *put_of(const char *headword, const char *body, struct arena *arena)
{
    Quire__WriteOp *op = arena_alloc(arena, sizeof *op);
    quire__write_op__init(op);
    op->put = arena_alloc(arena, sizeof *op->put);
    quire__entry__init(op->put);
    op->put->headword = arena_strdup(arena, headword);
    op->put->body = arena_strdup(arena, body);
    return op;
}

static Quire__WriteOp *delete_of(const char *headword, struct arena *arena)
{
    Quire__WriteOp *op = arena_alloc(arena, sizeof *op);
    quire__write_op__init(op);
    op->delete_headword = arena_strdup(arena, headword);
    return op;
}

static void write_as(struct range *range, const char *client, uint64_t batch, Quire__WriteOp **ops,
                     size_t count)
{
    struct err err = {0};
    struct range_session session = {client, batch};
    struct range_op *applied = calloc(count, sizeof applied[0]);
    struct range_result *results = calloc(count, sizeof results[0]);
    assert_true(applied != NULL && results != NULL);
    for (size_t i = 0; i < count; i++)
        applied[i] = (struct range_op){range_applied_seq(range) + 1 + i, ops[i], NULL};
    check(range_apply_as(range, &session, applied, count, results, &err), &err);
    free(applied);
    free(results);
}

/* 0: not known, 1: known, 2: conflict. Outcomes into `outcomes` (may be NULL). */
static int find(struct range *range, const char *client, uint64_t batch, Quire__WriteOp **ops,
                size_t count, int *outcomes)
{
    struct arena arena;
    struct err err = {0};
    struct range_session session = {client, batch};
    struct range_result *results;
    bool known;
    arena_init(&arena, 0);
    int code = range_session_find(range, &session, ops, count, &known, &results, &arena, &err);
    assert_true(code == 0 || (code == ERR_CONFLICT && !known && err.text[0] != 0));
    for (size_t i = 0; i < count && known && outcomes != NULL; i++)
        outcomes[i] = results[i].outcome;
    arena_deinit(&arena);
    return code != 0 ? 2 : known;
}

#define NEW QUIRE__WRITE_RESULT__OUTCOME__NEW
#define CHANGED QUIRE__WRITE_RESULT__OUTCOME__CHANGED
#define UNCHANGED QUIRE__WRITE_RESULT__OUTCOME__UNCHANGED
#define DELETED QUIRE__WRITE_RESULT__OUTCOME__DELETED
#define ABSENT QUIRE__WRITE_RESULT__OUTCOME__ABSENT
#define FAILED QUIRE__WRITE_RESULT__OUTCOME__FAILED

static void a_batch_may_come_in_parts(void **state)
{
    (void)state;
    struct folder folder = new_folder();
    struct range *range = open_range(folder.path);
    struct arena arena;
    arena_init(&arena, 0);
    Quire__WriteOp *bad = put_of("\xff", "", &arena);
    Quire__WriteOp *ops[] = {
        put_of("apple", "1", &arena),
        put_of("Zebra", "1", &arena),
        put_of("apple", "2", &arena),
        delete_of("nut", &arena),
        bad,
        delete_of("apple", &arena),
    };
    int outcomes[6];
    write_as(range, "a", 7, ops, 6);
    for (int round = 0; round < 2; round++) {
        const int whole[] = {NEW, NEW, CHANGED, ABSENT, FAILED, DELETED};
        assert_int_equal(find(range, "a", 7, ops, 6, outcomes), 1);
        assert_memory_equal(outcomes, whole, sizeof whole);
        Quire__WriteOp *part[] = {ops[0], ops[2], ops[5]}; /* as after a split */
        assert_int_equal(find(range, "a", 7, part, 3, outcomes), 1);
        assert_int_equal(outcomes[0], NEW);
        assert_int_equal(outcomes[1], CHANGED);
        assert_int_equal(outcomes[2], DELETED);
        Quire__WriteOp *rest[] = {ops[1], ops[3], ops[4]};
        assert_int_equal(find(range, "a", 7, rest, 3, outcomes), 1);
        assert_int_equal(outcomes[0], NEW);
        assert_int_equal(outcomes[2], FAILED);
        assert_int_equal(find(range, "a", 8, part, 3, NULL), 0);
        assert_int_equal(find(range, "a", 6, part, 3, NULL), 2);
        assert_int_equal(find(range, "b", 7, part, 3, NULL), 0);
        Quire__WriteOp *four[] = {ops[0], ops[2], ops[5], put_of("apple", "3", &arena)};
        assert_int_equal(find(range, "a", 7, four, 4, NULL), 2); /* one more than there were */
        struct err err = {0};
        check(range_flush(range, &err), &err);
        range_close(range);
        range = open_range(folder.path);
    }
    Quire__WriteOp *other[] = {put_of("melon", "1", &arena), put_of("Apple", "1", &arena)};
    assert_int_equal(find(range, "a", 7, other, 1, NULL), 0); /* a part that is not known */
    write_as(range, "a", 7, other, 1);
    Quire__WriteOp *joined_[] = {other[0], ops[1], ops[0]};
    assert_int_equal(find(range, "a", 7, joined_, 3, outcomes), 1);
    assert_int_equal(outcomes[0], NEW);
    Quire__WriteOp *mixed[] = {put_of("pear", "1", &arena), ops[1]};
    assert_int_equal(find(range, "a", 7, mixed, 2, NULL), 2); /* only some of it */
    range_close(range); /* what was not flushed is forgotten, and only that */
    range = open_range(folder.path);
    assert_int_equal(find(range, "a", 7, other, 1, NULL), 0);
    assert_int_equal(find(range, "a", 7, ops, 6, NULL), 1);
    range_close(range);
    arena_deinit(&arena);
}

static void a_session_does_not_grow_beyond_a_batch(void **state)
{
    (void)state;
    struct folder folder = new_folder();
    struct range *range = open_range(folder.path);
    struct arena arena;
    arena_init(&arena, 0);
    Quire__WriteOp **ops = arena_calloc(&arena, LIMIT_BATCH_OPS + 10, sizeof ops[0]);
    for (int i = 0; i < LIMIT_BATCH_OPS + 10; i++)
        ops[i] = delete_of(arena_printf(&arena, "key %d", i), &arena);
    write_as(range, "a", 1, ops, LIMIT_BATCH_OPS);
    assert_int_equal(find(range, "a", 1, ops, LIMIT_BATCH_OPS, NULL), 1);
    write_as(range, "a", 1, ops + LIMIT_BATCH_OPS, 10);
    assert_int_equal(find(range, "a", 1, ops, 10, NULL), 0);
    assert_int_equal(find(range, "a", 1, ops + 10, LIMIT_BATCH_OPS, NULL), 1);
    range_close(range);
    arena_deinit(&arena);
}

static void rows_of_version_1_are_known_by_their_count(void **state)
{
    (void)state;
    struct folder folder = new_folder();
    struct range *range = open_range(folder.path);
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    Quire__WriteOp *ops[] = {put_of("a", "1", &arena), put_of("b", "1", &arena),
                             put_of("c", "1", &arena)};
    write_as(range, "other", 1, ops, 3);
    struct buf row = {0};
    buf_append_u8(&row, 1);
    buf_append_varint(&row, 9); /* batch */
    buf_append_varint(&row, 3); /* seq */
    buf_append_varint(&row, 2);
    buf_append_u8(&row, NEW);
    buf_append_varint(&row, 2);
    buf_append_u8(&row, FAILED);
    buf_append_varint(&row, 0);
    buf_append_varint(&row, ERR_INVALID);
    buf_append_varint(&row, 3);
    buf_append_str(&row, "bad");
    buf_append_le32(&row, checksum32(row.data, row.size));
    struct store_batch *batch = store_batch_create();
    store_batch_put(batch, range_store(range), STORE_META, bytes_str("sold"), buf_bytes(&row));
    check(store_write(range_store(range), batch, &err), &err);
    store_batch_destroy(batch);
    buf_deinit(&row);
    check(range_flush(range, &err), &err);
    range_close(range);
    range = open_range(folder.path);
    struct folder empty = new_folder();
    struct range *adopts = open_range(empty.path);
    check(range_adopt(adopts, range, &err), &err);
    struct range *both[2] = {range, adopts};
    for (int i = 0; i < 2; i++) {
        int outcomes[3];
        assert_int_equal(find(both[i], "old", 9, ops, 2, outcomes), 1);
        assert_int_equal(outcomes[0], NEW);
        assert_int_equal(outcomes[1], FAILED);
        assert_int_equal(find(both[i], "old", 9, ops, 3, NULL), 2);
        assert_int_equal(find(both[i], "old", 9, ops, 1, NULL), 2);
        assert_int_equal(find(both[i], "old", 10, ops, 3, NULL), 0);
        assert_int_equal(find(both[i], "other", 1, ops, 3, NULL), 1);
        write_as(both[i], "old", 10, ops, 1);
        assert_int_equal(find(both[i], "old", 10, ops, 1, NULL), 1);
        range_close(both[i]);
    }
    arena_deinit(&arena);
}

/* Two ranges had parts of batches; some clients are ahead in one of them. */
static void sessions_are_joined(void **state)
{
    (void)state;
    struct folder paths[2] = {new_folder(), new_folder()};
    struct range *ranges[2];
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    Quire__WriteOp *low[] = {put_of("a", "1", &arena), put_of("b", "1", &arena)};
    Quire__WriteOp *high[] = {put_of("x", "1", &arena), put_of("y", "1", &arena),
                              put_of("x", "2", &arena)};
    for (int i = 0; i < 2; i++) {
        ranges[i] = open_range(paths[i].path);
        write_as(ranges[i], "both", 5, i == 0 ? low : high, i == 0 ? 2 : 3);
        write_as(ranges[i], "low ahead", i == 0 ? 8 : 7, i == 0 ? low : high, 2);
        write_as(ranges[i], "high ahead", i == 0 ? 1 : 2, i == 0 ? low : high, 2);
        write_as(ranges[i], i == 0 ? "only low" : "only high", 3, i == 0 ? low : high, 2);
    }
    check(range_adopt(ranges[0], ranges[1], &err), &err);
    flush(ranges[0]);
    range_close(ranges[0]);
    range_close(ranges[1]);
    struct range *range = ranges[0] = open_range(paths[0].path);
    Quire__WriteOp *all[] = {low[0], high[0], low[1], high[1], high[2]};
    int outcomes[5];
    const int first[] = {NEW, NEW, NEW, NEW, CHANGED};
    assert_int_equal(find(range, "both", 5, all, 5, outcomes), 1);
    assert_memory_equal(outcomes, first, sizeof first);
    assert_int_equal(find(range, "low ahead", 8, low, 2, NULL), 1);
    assert_int_equal(find(range, "low ahead", 7, high, 2, NULL), 2);
    assert_int_equal(find(range, "high ahead", 2, high, 2, NULL), 1);
    assert_int_equal(find(range, "high ahead", 1, low, 2, NULL), 2);
    assert_int_equal(find(range, "only low", 3, low, 2, NULL), 1);
    assert_int_equal(find(range, "only high", 3, high, 2, NULL), 1);
    assert_int_equal(find(range, "only high", 3, all, 2, NULL), 2);

    /* Records that come after those of a later batch leave the session alone. */
    struct bytes none = {0};
    struct range_session session = {"both", 4};
    uint64_t seq = range_applied_seq(range);
    struct range_op ops[2] = {{seq - 3, put_of("c", "1", &arena), NULL},
                              {seq - 2, put_of("z", "1", &arena), NULL}};
    check(range_follow(range, none, bytes_str("m"), &session, ops, 2, &err), &err);
    assert_int_equal(find(range, "both", 5, all, 5, NULL), 1);
    /* None within: neither. */
    session.batch = 6;
    check(range_follow(range, bytes_str("g"), bytes_str("m"), &session, ops, 2, &err), &err);
    assert_int_equal(find(range, "both", 5, all, 5, NULL), 1);
    assert_true(range_applied_seq(range) == seq);
    /* Only of those within. */
    ops[0].op = put_of("d", "1", &arena);
    check(range_follow(range, none, bytes_str("m"), &session, ops, 2, &err), &err);
    assert_int_equal(
        find(range, "both", 6, (Quire__WriteOp *[]){(Quire__WriteOp *)ops[0].op}, 1, outcomes), 1);
    assert_int_equal(outcomes[0], NEW);
    assert_int_equal(
        find(range, "both", 6, (Quire__WriteOp *[]){(Quire__WriteOp *)ops[1].op}, 1, NULL), 0);
    assert_int_equal(problems_of(range), 0);
    range_close(range);
    arena_deinit(&arena);
}

/* In the one range in the order of seqs, in the other against it. */
static void latest_name(char out[32], int client, int which)
{
    snprintf(out, 32, "%04d of %d", which == 0 ? client : LIMIT_RANGE_SESSIONS - client, which);
}

/* Where both tables are full, those with the highest seqs stay, each with its own answers. */
static void the_latest_sessions_stay(void **state)
{
    (void)state;
    struct folder paths[2] = {new_folder(), new_folder()};
    struct range *ranges[2];
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    Quire__WriteOp *op = delete_of("nobody", &arena);
    for (int i = 0; i < 2; i++) {
        ranges[i] = open_range(paths[i].path);
        for (int client = 0; client < LIMIT_RANGE_SESSIONS; client++) {
            char name[32];
            latest_name(name, client, i);
            write_as(ranges[i], name, 1, &op, 1);
        }
    }
    check(range_adopt(ranges[0], ranges[1], &err), &err);
    flush(ranges[0]);
    range_close(ranges[0]);
    range_close(ranges[1]);
    ranges[0] = open_range(paths[0].path);
    int known = 0;
    for (int client = 0; client < LIMIT_RANGE_SESSIONS; client++) {
        for (int i = 0; i < 2; i++) {
            char name[32];
            latest_name(name, client, i);
            int is = find(ranges[0], name, 1, &op, 1, NULL);
            assert_true(is != 2);
            known += is;
            if (client > LIMIT_RANGE_SESSIONS / 2 || client < LIMIT_RANGE_SESSIONS / 2 - 1)
                assert_int_equal(is, client > LIMIT_RANGE_SESSIONS / 2);
        }
    }
    assert_int_equal(known, LIMIT_RANGE_SESSIONS);
    range_close(ranges[0]);
    arena_deinit(&arena);
}

/* ---- the middle ---- */

static int by_key(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* Brute force over the sorted keys, one for each entry. */
static struct bytes best_bound(const struct bytes *keys, size_t count, struct arena *arena)
{
    struct bytes best = {0};
    size_t from = count * 9 / 20, to = count * 11 / 20;
    bool best_within = false;
    uint64_t best_off = 0;
    for (size_t at = 1; at < count; at++) {
        if (bytes_equal(keys[at - 1], keys[at]))
            continue;
        struct bytes key = keys[at];
        size_t size = 0;
        do /* the next code point */
            size += key.data[size] < 0x80   ? 1
                    : key.data[size] < 0xe0 ? 2
                    : key.data[size] < 0xf0 ? 3
                                            : 4;
        while (bytes_compare(bytes_of(key.data, size), keys[at - 1]) <= 0);
        bool within = at >= from && at <= to;
        uint64_t off = 2 * at > count ? 2 * at - count : count - 2 * at;
        bool better = best.size == 0 || (within && !best_within);
        if (!better && within && best_within)
            better = size < best.size || (size == best.size && off < best_off);
        if (!better && !within && !best_within)
            better = off < best_off;
        if (!better)
            continue;
        best = bytes_of(arena_copy(arena, key.data, size), size);
        best_within = within;
        best_off = off;
    }
    return best;
}

static const char *middle_headword(uint64_t random, int kind, struct arena *arena)
{
    static const char *const LETTERS[] = {"a", "é", "ж", "漢", "字", "m", "9", "𝄞", "z"};
    switch (kind) {
    case 0: /* all sorts */
        return arena_printf(arena, "%s%s%s%d", LETTERS[random % 9], LETTERS[random / 16 % 9],
                            LETTERS[random / 256 % 9], (int)(random / 4096 % 3));
    case 1: /* long common beginnings */
        return arena_printf(arena, "model quantization %d", (int)(random % 1000));
    case 2: /* one that has most senses */
        return random % 3 != 0 ? "middle"
                               : arena_printf(arena, "%s", WORDS[random / 8 % WORD_COUNT]);
    case 3:
        return arena_printf(arena, "%s%s", LETTERS[random % 2 * 3], LETTERS[random / 16 % 9]);
    default:
        return "the only one";
    }
}

static void the_middle_is_the_shortest_separator_near_it(void **state)
{
    (void)state;
    struct folder folder = new_folder();
    struct range *range = open_range(folder.path);
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct arena arena;
        struct err err = {0};
        struct bytes none = {0};
        uint64_t seq = range_applied_seq(range);
        arena_init(&arena, 0);
        size_t count = seed % 10 == 9 ? mix(seed, 1) % 5 : 1 + mix(seed, 1) % 120;
        struct bytes *keys = arena_calloc(&arena, count + 1, sizeof keys[0]);
        struct range_op *ops = arena_calloc(&arena, count + 1, sizeof ops[0]);
        struct range_result *results = arena_calloc(&arena, count + 1, sizeof results[0]);
        for (size_t i = 0; i < count; i++) {
            const char *headword = middle_headword(mix(seed, 10 + i), (int)(seed % 5), &arena);
            Quire__WriteOp *op = put_of(headword, "", &arena);
            op->put->sense = arena_printf(&arena, "sense %d", (int)i);
            ops[i] = (struct range_op){seq + i + 1, op, NULL};
            keys[i] = op_key(op, &arena);
        }
        check(range_apply(range, ops, count, results, &err), &err);
        if (count > 0)
            qsort(keys, count, sizeof keys[0], by_key);
        struct buf out = {0};
        struct bytes best = best_bound(keys, count, &arena);
        check(range_middle(range, none, none, &out, &err), &err);
        if (!bytes_equal(buf_bytes(&out), best))
            fail_msg("seed %d: \"%.*s\", expected \"%.*s\"", (int)seed, (int)out.size,
                     (const char *)out.data, (int)best.size, (const char *)best.data);
        assert_true(text_valid(buf_bytes(&out), NULL));
        if (out.size > 0) {
            uint64_t before;
            check(range_count_before(range, buf_bytes(&out), &before, &err), &err);
            assert_true(before > 0 && before < count);
            check(range_middle(range, keys[0], none, &out, &err), &err);
            assert_true(bytes_equal(buf_bytes(&out), best));
        }
        buf_deinit(&out);
        check(range_prune(range, bytes_str("\xff"), none, &err), &err); /* everything */
        assert_int_equal(entries_of(range), 0);
        arena_deinit(&arena);
    }
    assert_int_equal(problems_of(range), 0);
    range_close(range);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_after_the_flush_it_is_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(halves_are_what_filtering_gives_and_make_the_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(it_follows_two_sources_whose_seqs_interleave, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(many_entries_are_pruned_and_adopted, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_it_gives_up_and_is_not_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_may_come_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_session_does_not_grow_beyond_a_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_of_version_1_are_known_by_their_count, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sessions_are_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(the_latest_sessions_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(the_middle_is_the_shortest_separator_near_it, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
