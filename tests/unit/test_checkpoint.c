/* Checkpoints: what a learner installs is the primary's index as of one seq, whatever the primary
 * did meanwhile, whatever came damaged, and whenever the process was killed. QUIRE_TEST_SEED
 * replays a history, QUIRE_TEST_MS sets how long the kills go on (default 4000).
 */
#include "range_fixture.h"

#include "shard/checkpoint.h"
#include "shard/folder.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RANGE 7 /* of range_fixture.h */
#define LEARNER "11111111-1111-4111-8111-111111111111"
#define OTHER "22222222-2222-4222-8222-222222222222"

static uint64_t seed;
static char root[64];

struct node {
    char dir[96], index[160];
    struct log_store *log;
    struct checkpoints *checkpoints;
    struct range *range; /* NULL: not open */
    struct model model;
};

static void check(int code, const struct err *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s\n", err->text);
    abort();
}

static void open_node(struct node *node, const char *name)
{
    struct err err = {0};
    char path[160];
    *node = (struct node){.model.seed = seed};
    snprintf(node->dir, sizeof node->dir, "%s/%s", root, name);
    snprintf(node->index, sizeof node->index, "%s/ranges/%d", node->dir, RANGE);
    check(store_make_folder(node->dir, &err), &err);
    snprintf(path, sizeof path, "%s/ranges", node->dir);
    check(store_make_folder(path, &err), &err);
    snprintf(path, sizeof path, "%s/log", node->dir);
    check(log_store_open(path, &node->log, &err), &err);
    check(checkpoints_create(node->dir, node->log, &node->checkpoints, &err), &err);
}

static void close_node(struct node *node)
{
    range_close(node->range);
    checkpoints_destroy(node->checkpoints);
    log_store_close(node->log);
}

static uint64_t epoch_of(uint64_t seq) /* of the record that ends there */
{
    return seq == 0 ? 0 : 1 + seq / 300;
}

/* The primary's index; its log begins where that ends. */
static void open_primary(struct node *node)
{
    struct err err = {0};
    open_node(node, "primary");
    node->range = open_range(node->index);
    uint64_t durable = range_durable_seq(node->range);
    struct replication_position after = {epoch_of(durable), durable};
    check(log_store_begin(node->log, RANGE, after, &err), &err);
    model_run_to(&node->model, durable);
}

static void write_next(struct node *node, uint32_t count)
{
    struct err err = {0};
    uint64_t first = node->model.seq + 1;
    struct log_record record = {RANGE, epoch_of(first + count - 1), first, count, bytes_str("x"),
                                false};
    check(log_store_append(node->log, &record, 1, &err), &err);
    apply_next(node->range, &node->model, count);
}

/* ---- the way between them ---- */

struct line {
    struct node *primary;
    int damaged;    /* so many chunks are damaged, */
    int lost;       /* or so many fetches not answered */
    int refuse;     /* a code with which fetches end */
    bool wrong_seq; /* the list of files promises another one */
    const char *name;
    uint64_t fetches;
};

static int ask_files(struct line *line, struct bytes request, struct arena *arena,
                     struct buf *reply, struct err *err)
{
    Quire__ReplicaFiles *files;
    Quire__ReplicaCheckpoint *message =
        quire__replica_checkpoint__unpack(arena_protobuf(arena), request.size, request.data);
    assert_non_null(message);
    assert_int_equal(message->range, RANGE);
    assert_int_equal(message->epoch, 9);
    int code = checkpoints_take(line->primary->checkpoints, line->primary->range, message->from,
                                clock_ms(), arena, &files, err);
    if (code != 0)
        return code;
    if (line->name != NULL)
        files->files[0]->name = (char *)line->name;
    files->durable_seq += line->wrong_seq;
    quire__replica_files__pack(files,
                               buf_extend(reply, quire__replica_files__get_packed_size(files)));
    return 0;
}

static int ask_chunk(struct line *line, struct bytes request, struct arena *arena,
                     struct buf *reply, struct err *err)
{
    Quire__ReplicaChunk *chunk;
    Quire__ReplicaFetch *message =
        quire__replica_fetch__unpack(arena_protobuf(arena), request.size, request.data);
    assert_non_null(message);
    line->fetches++;
    if (line->refuse != 0)
        return err_set(err, line->refuse, "refused");
    if (line->lost > 0) {
        line->lost--;
        return err_set(err, ERR_UNAVAILABLE, "the connection was lost");
    }
    if (message->size > 5000)
        message->size = 5000; /* a reply may be shorter than what was asked for */
    int code =
        checkpoints_read(line->primary->checkpoints, message, clock_ms(), arena, &chunk, err);
    if (code != 0)
        return code;
    if (line->damaged > 0) {
        line->damaged--;
        chunk->data.data[chunk->data.len / 2] ^= 4;
    }
    quire__replica_chunk__pack(chunk,
                               buf_extend(reply, quire__replica_chunk__get_packed_size(chunk)));
    return 0;
}

static int ask(void *data, uint16_t kind, struct bytes request, struct buf *reply, struct err *err)
{
    struct arena arena;
    arena_init(&arena, 0);
    int code = kind == QUIRE__KIND__KIND_REPLICA_CHECKPOINT
                   ? ask_files(data, request, &arena, reply, err)
                   : ask_chunk(data, request, &arena, reply, err);
    arena_deinit(&arena);
    return code;
}

static int pull(struct node *learner, struct line *line, struct replication_position *at,
                struct err *err)
{
    struct checkpoint_order order = {RANGE, 9, LEARNER, 0};
    struct checkpoint_source source = {line, ask};
    return checkpoints_pull(learner->checkpoints, &order, &source, at, err);
}

static void pull_and_install(struct node *learner, struct node *primary,
                             struct replication_position *at)
{
    struct line line = {.primary = primary};
    struct err err = {0};
    check(pull(learner, &line, at, &err), &err);
    check(checkpoints_install(learner->checkpoints, RANGE, *at, &err), &err);
}

static bool exists(const struct node *node, const char *name)
{
    char path[256];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", node->dir, name);
    return stat(path, &info) == 0;
}

static int count_name(void *data, const char *name, struct err *err)
{
    ++*(int *)data;
    return 0;
}

static int files_in(const struct node *node, const char *name)
{
    char path[256];
    struct err err = {0};
    int count = 0;
    snprintf(path, sizeof path, "%s/%s", node->dir, name);
    check(folder_each(path, count_name, &count, &err), &err);
    return count;
}

/* The learner's index and log are those of one seq, which is returned. */
static uint64_t compare_learner(struct node *learner)
{
    struct err err = {0};
    struct log_extent extent;
    check(log_store_extent(learner->log, RANGE, &extent, &err), &err);
    assert_true(extent.known);
    assert_int_equal(extent.last_seq, extent.base.seq);
    assert_int_equal(extent.base.epoch, epoch_of(extent.base.seq));
    struct range *range = open_range(learner->index);
    assert_int_equal(range_durable_seq(range), extent.base.seq);
    struct model model = {.seed = seed};
    model_run_to(&model, extent.base.seq);
    compare(range, &model);
    range_close(range);
    log_extent_deinit(&extent);
    return model.seq;
}

/* ---- while the primary works ---- */

struct worker {
    struct node *node;
    uint64_t random;
    pthread_t thread;
    bool restless;
    _Atomic bool stop;
};

static void stop(struct worker *worker)
{
    atomic_store(&worker->stop, true);
    pthread_join(worker->thread, NULL);
}

static void *write_on(void *data)
{
    struct worker *worker = data;
    while (!atomic_load(&worker->stop)) {
        worker->random = mix(worker->random, 1);
        write_next(worker->node, 1 + (uint32_t)(worker->random % 40));
        if (worker->random / 64 % 4 == 0)
            usleep((useconds_t)(worker->random / 1024 % 2000));
    }
    return NULL;
}

static void flush_and_truncate(struct node *node)
{
    struct err err = {0};
    check(range_flush(node->range, &err), &err);
    uint64_t seq = range_durable_seq(node->range);
    seq = checkpoints_retain(node->checkpoints, RANGE, seq);
    check(log_store_truncate(node->log, RANGE, seq, &err), &err);
}

static void *work_on(void *data)
{
    struct worker *worker = data;
    struct node *node = worker->node;
    struct err err = {0};
    bool merged;
    while (!atomic_load(&worker->stop)) {
        worker->random = mix(worker->random, 1);
        if (worker->random % 4 == 0)
            check(range_merge(node->range, worker->random / 4 % 2 == 0, &merged, &err), &err);
        else if (worker->random % 4 == 1) /* what RocksDB might do by itself */
            check(store_flush(range_store(node->range), &err), &err);
        else
            flush_and_truncate(node);
        usleep((useconds_t)(worker->random / 8 % (worker->restless ? 300 : 3000)));
    }
    return NULL;
}

static int see_first(void *data, const struct log_record *record, struct err *err)
{
    *(uint64_t *)data = record->first_seq;
    return ERR_CANCELED;
}

/* The primary's log goes on where the checkpoint ends. */
static void expect_log_goes_on(struct node *primary, uint64_t seq)
{
    struct err err = {0};
    uint64_t first = 0;
    int code = log_store_read(primary->log, RANGE, seq + 1, UINT64_MAX, see_first, &first, &err);
    if (code == ERR_CANCELED && first != seq + 1)
        code = err_set(&err, ERR_CORRUPT, "the log goes on at %llu, the checkpoint ends at %llu",
                       (unsigned long long)first, (unsigned long long)seq);
    check(code == ERR_CANCELED ? 0 : code, &err);
}

/* What was installed takes writes, flushes and merges like any other. */
static void live_on(struct node *learner, uint64_t seq)
{
    struct model model = {.seed = seed};
    struct err err = {0};
    bool merged;
    struct range *range = open_range(learner->index);
    model_run_to(&model, seq);
    apply_next(range, &model, 60);
    check(range_flush(range, &err), &err);
    apply_next(range, &model, 60);
    check(range_merge(range, true, &merged, &err), &err);
    compare(range, &model);
    range_close(range);
}

static void a_checkpoint_is_the_index_of_one_seq_while_the_primary_works(void **state)
{
    static struct node primary, learner; /* a failed assertion leaves the threads running */
    struct replication_position at;
    uint64_t last = 0;
    open_primary(&primary);
    open_node(&learner, "learner");
    pull_and_install(&learner, &primary, &at); /* of an empty range */
    assert_int_equal(at.seq, 0);
    assert_int_equal(compare_learner(&learner), 0);
    static struct worker writer, worker;
    writer = (struct worker){.node = &primary, .random = seed};
    worker = (struct worker){.node = &primary, .random = mix(seed, 1)};
    assert_int_equal(pthread_create(&writer.thread, NULL, write_on, &writer), 0);
    assert_int_equal(pthread_create(&worker.thread, NULL, work_on, &worker), 0);
    for (int round = 0; round < 12; round++) {
        pull_and_install(&learner, &primary, &at);
        assert_true(at.seq >= last);
        last = at.seq;
        assert_int_equal(compare_learner(&learner), at.seq);
        expect_log_goes_on(&primary, at.seq);
        live_on(&learner, at.seq);
    }
    stop(&writer);
    stop(&worker);
    print_message("last checkpoint at %llu, primary at %llu, seed %llu\n", (unsigned long long)last,
                  (unsigned long long)primary.model.seq, (unsigned long long)seed);
    assert_true(last > 0);
    compare(primary.range, &primary.model);
    close_node(&learner);
    close_node(&primary);
}

/* Flushes come thick and fast: the files and the seq that is said of them are of one moment.
 */
static void what_is_linked_ends_at_the_seq_that_is_said(void **state)
{
    static struct node primary;
    struct err err = {0};
    char path[128];
    open_primary(&primary);
    static struct worker writer, worker;
    writer = (struct worker){.node = &primary, .random = seed};
    worker = (struct worker){.node = &primary, .random = mix(seed, 1), .restless = true};
    assert_int_equal(pthread_create(&writer.thread, NULL, write_on, &writer), 0);
    assert_int_equal(pthread_create(&worker.thread, NULL, work_on, &worker), 0);
    snprintf(path, sizeof path, "%s/linked", root);
    for (int i = 0; i < 40; i++) {
        uint64_t seq;
        check(range_checkpoint(primary.range, path, &seq, &err), &err);
        struct range *range = open_range(path);
        assert_int_equal(range_durable_seq(range), seq);
        range_close(range);
        check(folder_remove(path, &err), &err);
    }
    stop(&writer);
    stop(&worker);
    close_node(&primary);
}

/* ---- the primary's table ---- */

static Quire__ReplicaFiles *take(struct node *node, const char *learner, uint64_t now_ms,
                                 struct arena *arena)
{
    struct err err = {0};
    Quire__ReplicaFiles *files;
    check(checkpoints_take(node->checkpoints, node->range, learner, now_ms, arena, &files, &err),
          &err);
    return files;
}

static int read_chunk(struct node *node, uint64_t id, const char *file, uint64_t offset,
                      uint64_t now_ms)
{
    struct arena arena;
    struct err err = {0};
    Quire__ReplicaChunk *chunk;
    Quire__ReplicaFetch fetch = QUIRE__REPLICA_FETCH__INIT;
    fetch.checkpoint = id;
    fetch.file = (char *)file;
    fetch.offset = offset;
    fetch.size = UINT32_MAX; /* is cut to a chunk */
    arena_init(&arena, 0);
    int code = checkpoints_read(node->checkpoints, &fetch, now_ms, &arena, &chunk, &err);
    arena_deinit(&arena);
    return code;
}

static void one_is_kept_until_nobody_fetches_from_it(void **state)
{
    struct node node;
    struct arena arena;
    open_primary(&node);
    arena_init(&arena, 0);
    write_next(&node, 100);
    flush_and_truncate(&node);
    assert_int_equal(checkpoints_retain(node.checkpoints, RANGE, 500), 500);
    Quire__ReplicaFiles *files = take(&node, LEARNER, 1000, &arena);
    assert_int_equal(files->durable_seq, 100);
    assert_int_equal(files->log_epoch, 1);
    assert_int_equal(checkpoints_retain(node.checkpoints, RANGE, 500), 100);
    assert_int_equal(checkpoints_retain(node.checkpoints, RANGE, 50), 50);
    assert_int_equal(checkpoints_retain(node.checkpoints, RANGE + 1, 500), 500);
    write_next(&node, 100);
    flush_and_truncate(&node);
    expect_log_goes_on(&node, 100);

    assert_int_equal(read_chunk(&node, files->checkpoint, "CURRENT", 0, 2000), 0);
    assert_int_equal(read_chunk(&node, files->checkpoint, "CURRENT", 1000, 2000), ERR_INVALID);
    assert_int_equal(read_chunk(&node, files->checkpoint, "NONE", 0, 2000), ERR_NOT_FOUND);
    assert_int_equal(read_chunk(&node, files->checkpoint, "../../log/CURRENT", 0, 2000),
                     ERR_NOT_FOUND);
    assert_int_equal(read_chunk(&node, files->checkpoint, "..", 0, 2000), ERR_NOT_FOUND);
    assert_int_equal(read_chunk(&node, files->checkpoint, "", 0, 2000), ERR_NOT_FOUND);
    assert_int_equal(read_chunk(&node, files->checkpoint + 1, "CURRENT", 0, 2000), ERR_NOT_FOUND);

    checkpoints_expire(node.checkpoints, 2000 + CHECKPOINT_KEPT_MS - 1);
    assert_int_equal(read_chunk(&node, files->checkpoint, "CURRENT", 0, 30000), 0);
    checkpoints_expire(node.checkpoints, 29000); /* a clock read before the fetch */
    checkpoints_expire(node.checkpoints, 30000 + CHECKPOINT_KEPT_MS - 1);
    assert_int_equal(checkpoints_retain(node.checkpoints, RANGE, 500), 100);
    checkpoints_expire(node.checkpoints, 30000 + CHECKPOINT_KEPT_MS);
    assert_int_equal(read_chunk(&node, files->checkpoint, "CURRENT", 0, 90001), ERR_NOT_FOUND);
    assert_int_equal(checkpoints_retain(node.checkpoints, RANGE, 500), 500);
    assert_int_equal(files_in(&node, "checkpoints"), 0);
    arena_deinit(&arena);
    close_node(&node);
}

static void a_learner_has_one_and_a_process_so_many(void **state)
{
    struct node node;
    struct arena arena;
    struct err err = {0};
    open_primary(&node);
    arena_init(&arena, 0);
    write_next(&node, 10);
    uint64_t first = take(&node, LEARNER, 1000, &arena)->checkpoint;
    uint64_t second = take(&node, LEARNER, 1000, &arena)->checkpoint;
    uint64_t other = take(&node, OTHER, 1000, &arena)->checkpoint;
    assert_int_equal(read_chunk(&node, first, "CURRENT", 0, 1000), ERR_NOT_FOUND);
    assert_int_equal(read_chunk(&node, second, "CURRENT", 0, 1000), 0);
    assert_int_equal(read_chunk(&node, other, "CURRENT", 0, 1000), 0);
    assert_int_equal(files_in(&node, "checkpoints"), 2);
    for (int i = 2; i < CHECKPOINTS_MAX; i++)
        (void)take(&node, arena_printf(&arena, "learner %d", i), 1000, &arena);
    Quire__ReplicaFiles *none;
    assert_int_equal(
        checkpoints_take(node.checkpoints, node.range, "one more", 1000, &arena, &none, &err),
        ERR_FULL);
    (void)take(&node, LEARNER, 1000, &arena); /* in the place of its last */
    assert_int_equal(files_in(&node, "checkpoints"), CHECKPOINTS_MAX);
    checkpoints_destroy(node.checkpoints);
    assert_int_equal(files_in(&node, "checkpoints"), 0);
    check(checkpoints_create(node.dir, node.log, &node.checkpoints, &err), &err);
    assert_int_equal(read_chunk(&node, other, "CURRENT", 0, 1000), ERR_NOT_FOUND);
    assert_int_not_equal(take(&node, OTHER, 1000, &arena)->checkpoint, first);
    arena_deinit(&arena);
    close_node(&node);
}

/* ---- what comes damaged, or not at all ---- */

static void fails(struct node *learner, struct line line, int expected, const char *words)
{
    struct replication_position at;
    struct err err = {0};
    assert_int_equal(pull(learner, &line, &at, &err), expected);
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_int_equal(files_in(learner, "checkpoints"), 0);
    assert_int_equal(compare_learner(learner), 80); /* what was here is untouched */
}

static void a_pull_is_whole_or_nothing(void **state)
{
    struct node primary, learner;
    struct replication_position at;
    struct err err = {0};
    open_primary(&primary);
    open_node(&learner, "learner");
    write_next(&primary, 80);
    flush_and_truncate(&primary);
    pull_and_install(&learner, &primary, &at);
    assert_int_equal(at.seq, 80);
    write_next(&primary, 80);
    flush_and_truncate(&primary);

    fails(&learner, (struct line){.primary = &primary, .refuse = ERR_NOT_FOUND}, ERR_NOT_FOUND,
          "pull a checkpoint of range 7: refused");
    fails(&learner, (struct line){.primary = &primary, .refuse = ERR_CANCELED}, ERR_CANCELED,
          "refused");
    fails(&learner, (struct line){.primary = &primary, .name = "../CURRENT"}, ERR_PROTOCOL,
          "a file is called \"../CURRENT\"");
    fails(&learner, (struct line){.primary = &primary, .name = ""}, ERR_PROTOCOL, "is called");
    fails(&learner, (struct line){.primary = &primary, .name = ".."}, ERR_PROTOCOL, "is called");
    fails(&learner, (struct line){.primary = &primary, .name = "CURRENT "}, ERR_NOT_FOUND,
          "file CURRENT  of a checkpoint");
    fails(&learner, (struct line){.primary = &primary, .wrong_seq = true}, ERR_CORRUPT,
          "ends at operation 160, not at 161");
    struct checkpoint_order order = {RANGE, 9, LEARNER, UINT64_MAX / 2};
    struct line line = {.primary = &primary};
    struct checkpoint_source source = {&line, ask};
    assert_int_equal(checkpoints_pull(learner.checkpoints, &order, &source, &at, &err), ERR_FULL);
    assert_non_null(strstr(err.text, "have to stay free"));
    assert_int_equal(line.fetches, 0);

    line = (struct line){.primary = &primary, .damaged = 2};
    check(pull(&learner, &line, &at, &err), &err);
    line.lost = 3;
    check(pull(&learner, &line, &at, &err), &err);
    assert_int_equal(line.lost + line.damaged, 0);
    check(checkpoints_install(learner.checkpoints, RANGE, at, &err), &err);
    assert_int_equal(compare_learner(&learner), 160);
    close_node(&learner);
    close_node(&primary);
}

/* ---- the end of the process in between ---- */

static void move(const struct node *node, const char *from, const char *to)
{
    char old[256], new[256];
    snprintf(old, sizeof old, "%s/%s", node->dir, from);
    snprintf(new, sizeof new, "%s/%s", node->dir, to);
    assert_int_equal(rename(old, new), 0);
}

/* Each state that an installation goes through, as a process that died then leaves it. */
static void an_installation_is_completed_from_each_of_its_states(void **state)
{
    struct node primary, learner;
    struct replication_position at;
    struct err err = {0};
    open_primary(&primary);
    for (int died_in = 0; died_in < 5; died_in++) {
        struct line line = {.primary = &primary};
        open_node(&learner, "learner");
        uint64_t before = primary.model.seq;
        pull_and_install(&learner, &primary, &at);
        assert_int_equal(at.seq, before);
        write_next(&primary, 250);
        flush_and_truncate(&primary);
        check(pull(&learner, &line, &at, &err), &err);
        char name[64];
        snprintf(name, sizeof name, "ranges/7.new-%d-%d", (int)at.epoch, (int)at.seq);
        if (died_in >= 1)
            move(&learner, "checkpoints/in-7", name);
        if (died_in >= 2)
            check(folder_remove(learner.index, &err), &err);
        if (died_in >= 3)
            check(log_store_begin(learner.log, RANGE, at, &err), &err);
        if (died_in >= 4)
            move(&learner, name, "ranges/7");
        checkpoints_destroy(learner.checkpoints); /* has taken none: removes nothing */
        log_store_close(learner.log);
        open_node(&learner, "learner");
        assert_int_equal(compare_learner(&learner), died_in == 0 ? before : at.seq);
        assert_int_equal(files_in(&learner, "checkpoints"), 0);
        assert_int_equal(files_in(&learner, "ranges"), 1);
        close_node(&learner);
    }
    close_node(&primary);
}

static void live(uint64_t random, int report)
{
    struct node primary, learner;
    struct replication_position at;
    open_primary(&primary);
    open_node(&learner, "learner");
    uint64_t seq = exists(&learner, "ranges/7") ? compare_learner(&learner) : 0;
    if (write(report, &seq, sizeof seq) != sizeof seq)
        abort();
    for (;;) {
        random = mix(random, 1);
        write_next(&primary, 1 + (uint32_t)(random % 30));
        flush_and_truncate(&primary);
        pull_and_install(&learner, &primary, &at);
    }
}

static uint64_t one_life(uint64_t random, uint64_t ms)
{
    int pipes[2], status;
    uint64_t seq;
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipes[0]);
        live(random, pipes[1]);
    }
    close(pipes[1]);
    bool told = read(pipes[0], &seq, sizeof seq) == sizeof seq;
    if (told)
        usleep((useconds_t)(1000 * ms));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(pipes[0]);
    if (!told || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("a life failed; QUIRE_TEST_SEED=%llu", (unsigned long long)seed);
    return seq;
}

static void killed_at_any_moment_the_learner_has_an_index_of_one_seq(void **state)
{
    const char *budget = getenv("QUIRE_TEST_MS");
    uint64_t end = clock_ms() + (budget != NULL ? strtoull(budget, NULL, 10) : 4000);
    uint64_t last = 0;
    int lives = 0;
    while (clock_ms() < end || lives < 3) {
        uint64_t random = mix(seed, 1000000 + (uint64_t)lives);
        uint64_t seq = one_life(random, 20 + random % 150);
        assert_true(seq >= last);
        last = seq;
        lives++;
    }
    print_message("%d lives, %llu operations installed, seed %llu\n", lives,
                  (unsigned long long)last, (unsigned long long)seed);
}

static int setup(void **state)
{
    snprintf(root, sizeof root, "/tmp/quire-checkpoint-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int teardown(void **state)
{
    struct err err = {0};
    if (folder_remove(root, &err) != 0)
        fail_msg("%s", err.text);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const char *given = getenv("QUIRE_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : clock_wall_ms();
    const struct CMUnitTest tests[] = {
        /* First, since it forks: RocksDB's threads would be missing in the children. */
        TEST(killed_at_any_moment_the_learner_has_an_index_of_one_seq),
        TEST(an_installation_is_completed_from_each_of_its_states),
        TEST(a_checkpoint_is_the_index_of_one_seq_while_the_primary_works),
        TEST(what_is_linked_ends_at_the_seq_that_is_said),
        TEST(one_is_kept_until_nobody_fetches_from_it),
        TEST(a_learner_has_one_and_a_process_so_many),
        TEST(a_pull_is_whole_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
