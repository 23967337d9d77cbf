#include "shard/replica.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/limits.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct replica *replica_create(uint64_t id, uint64_t epoch, const Quire__Collection *collection,
                               const char *path, size_t memory_limit,
                               const struct replica_means *means)
{
    struct replica *replica = calloc(1, sizeof *replica);
    if (replica == NULL)
        abort();
    const Quire__FieldWeights *weights = collection->weights;
    replica->id = id;
    replica->collection = collection->id;
    replica->language = strdup(collection->language != NULL ? collection->language : "none");
    replica->document = (struct document_settings){
        weights != NULL && weights->has_headword ? weights->headword : 3,
        weights != NULL && weights->has_terms ? weights->terms : 2,
        weights != NULL && weights->has_categories ? weights->categories : 1,
        weights != NULL && weights->has_body ? weights->body : 1};
    replica->order = collection->order == QUIRE__COLLECTION__ORDER__CATEGORY
                         ? SEGMENT_ORDER_CATEGORY
                         : SEGMENT_ORDER_ARRIVAL;
    replica->path = strdup(path);
    replica->memory_limit = memory_limit;
    replica->means = *means;
    if (replica->language == NULL || replica->path == NULL)
        abort();
    list_init(&replica->link);
    atomic_store(&replica->epoch, epoch);
    atomic_store(&replica->refs, 1);
    atomic_store(&replica->flushed_ms, clock_ms());
    return replica;
}

/* ---- opening ---- */

static int apply_record(void *data, const struct log_record *record, struct err *err)
{
    struct replica *replica = data;
    struct arena arena;
    arena_init(&arena, 0);
    Quire__ShardWrite *write =
        quire__shard_write__unpack(arena_protobuf(&arena), record->write.size, record->write.data);
    int code = 0;
    if (write == NULL || write->n_ops != record->count) {
        code = err_set(err, ERR_CORRUPT, "log record %llu: malformed",
                       (unsigned long long)record->first_seq);
    } else {
        struct range_op *ops = arena_calloc(&arena, write->n_ops, sizeof *ops);
        struct range_result *results = arena_calloc(&arena, write->n_ops, sizeof *results);
        if (ops == NULL || results == NULL)
            abort();
        for (size_t i = 0; i < write->n_ops; i++)
            ops[i] = (struct range_op){record->first_seq + i, write->ops[i], NULL};
        struct range_session session = {write->client_id, write->batch};
        bool known = write->client_id != NULL && write->client_id[0] != 0 && write->has_batch;
        code = range_apply_as(replica->range, known ? &session : NULL, ops, write->n_ops, results,
                              err);
        replica->logged_seq = record->first_seq + record->count - 1;
    }
    arena_deinit(&arena);
    if (code == 0 && range_wants_flush(replica->range))
        code = replica_flush(replica, err);
    return code;
}

/* A range is its index and the log of what is not in it yet. With either of them gone or set back,
 * what is left would open as a range with less in it, and nobody would know: so both say how far
 * they go, and a range of which they disagree is not opened. A new one begins with its log. */
static int check_whole(struct replica *replica, uint64_t *forgotten, struct err *err)
{
    struct replication_position beginning;
    bool known, exists = store_exists(replica->path);
    int code = log_store_beginning(replica->means.log, replica->id, &known, &beginning, err);
    *forgotten = beginning.seq;
    if (code != 0)
        return code;
    if (!known && exists)
        return err_set(err, ERR_CORRUPT, "its log is lost: what was written last may be missing");
    if (!known)
        return log_store_begin(replica->means.log, replica->id, (struct replication_position){0},
                               err);
    if (!exists && *forgotten > 0)
        return err_set(err, ERR_CORRUPT, "its index is lost: there is none in %s", replica->path);
    return 0;
}

static int check_index(struct replica *replica, uint64_t forgotten, struct err *err)
{
    uint64_t durable = range_durable_seq(replica->range);
    if (durable >= forgotten)
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "its index is an old one: it ends at operation %llu, the log begins after %llu",
                   (unsigned long long)durable, (unsigned long long)forgotten);
}

static int open_range(struct replica *replica, struct err *err)
{
    uint64_t forgotten;
    if (check_whole(replica, &forgotten, err) != 0)
        return err_prefix(err, "open range %llu", (unsigned long long)replica->id);
    struct range_settings settings = {.id = replica->id,
                                      .collection = replica->collection,
                                      .language = replica->language,
                                      .document = replica->document,
                                      .order = replica->order,
                                      .memory_limit = replica->memory_limit,
                                      .cache = replica->means.cache,
                                      .merge_pace = replica->means.merge_pace};
    int code = range_open(replica->path, &settings, &replica->range, err);
    if (code != 0)
        return code;
    uint64_t durable = range_durable_seq(replica->range);
    replica->logged_seq = durable;
    code = check_index(replica, forgotten, err);
    if (code == 0)
        code = log_store_read(replica->means.log, replica->id, durable + 1, UINT64_MAX,
                              apply_record, replica, err);
    if (code == 0)
        return 0;
    range_close(replica->range);
    replica->range = NULL;
    return err_prefix(err, "open range %llu", (unsigned long long)replica->id);
}

void replica_open(struct replica *replica)
{
    uint64_t start = clock_ms();
    replica->error = (struct err){0};
    if (open_range(replica, &replica->error) != 0) {
        log_event(LOG_ERROR, "range cannot be opened", LOG_U64("range", replica->id),
                  LOG_STR("error", replica->error.text));
        atomic_store(&replica->state, REPLICA_FAILED);
        return;
    }
    struct range_figures figures;
    range_figures(replica->range, &figures);
    log_event(LOG_INFO, "range opened", LOG_U64("range", replica->id),
              LOG_U64("epoch", atomic_load(&replica->epoch)), LOG_U64("entries", figures.entries),
              LOG_U64("seq", figures.applied_seq), LOG_U64("durable", figures.durable_seq),
              LOG_U64("ms", clock_ms() - start));
    atomic_store(&replica->state, REPLICA_OPEN);
}

/* ---- references ---- */

void replica_ref(struct replica *replica)
{
    atomic_fetch_add(&replica->refs, 1);
}

/* The log first: a folder that is left is found and removed with the next assignment, a log is not.
 */
static void remove_files(struct replica *replica)
{
    struct err err = {0};
    int code = log_store_drop(replica->means.log, replica->id, &err);
    if (code == 0)
        code = store_destroy_files(replica->path, &err);
    if (code == 0 && rmdir(replica->path) != 0 && errno != ENOENT)
        code = err_set(&err, ERR_IO, "%s", strerror(errno));
    if (code != 0)
        log_event(LOG_WARN, "a dropped range was left behind", LOG_U64("range", replica->id),
                  LOG_STR("error", err.text));
    else
        log_event(LOG_INFO, "range dropped", LOG_U64("range", replica->id));
}

void replica_unref(struct replica *replica)
{
    if (atomic_fetch_sub(&replica->refs, 1) > 1)
        return;
    range_close(replica->range);
    if (atomic_load(&replica->dropped))
        remove_files(replica);
    free(replica->language);
    free(replica->path);
    free(replica);
}

/* ---- background work ---- */

static int flush_and_truncate(struct replica *replica,
                              int (*flush)(struct range *range, struct err *err), struct err *err)
{
    int code = flush(replica->range, err);
    atomic_store(&replica->flushed_ms, clock_ms());
    if (code != 0)
        return code;
    return log_store_truncate(replica->means.log, replica->id, range_durable_seq(replica->range),
                              err);
}

int replica_flush(struct replica *replica, struct err *err)
{
    return flush_and_truncate(replica, range_flush, err);
}

void replica_give_memory_back(void)
{
    malloc_trim(0);
}

/* The end of a job. What came up meanwhile is noticed with the next write or tick. */
static void end_job(struct replica *replica, _Atomic bool *under_way, const char *what,
                    const struct err *err)
{
    if (err->code != 0 && err->code != ERR_CANCELED)
        log_event(LOG_ERROR, what, LOG_U64("range", replica->id), LOG_STR("error", err->text));
    replica_give_memory_back();
    atomic_store(under_way, false);
    replica_unref(replica);
}

static void start_job(struct replica *replica, struct pool *pool, struct pool_job *job,
                      _Atomic bool *under_way, void (*run)(struct pool_job *job))
{
    if (atomic_exchange(under_way, true))
        return;
    replica_ref(replica);
    job->run = run;
    if (pool_submit(pool, job) == 0)
        return;
    atomic_store(under_way, false); /* asked again with the next write or tick */
    replica_unref(replica);
}

static bool may_write(struct replica *replica)
{
    return range_broken(replica->range, NULL) == 0 && !atomic_load(&replica->dropped);
}

static bool may_merge(struct replica *replica)
{
    return may_write(replica) && !atomic_load(&replica->hold_merges) &&
           range_wants_merge(replica->range);
}

static void run_merge(struct pool_job *job)
{
    struct replica *replica = list_entry(job, struct replica, merge_job);
    struct err err = {0};
    bool merged = true;
    while (err.code == 0 && merged && may_merge(replica))
        (void)range_merge(replica->range, false, &merged, &err);
    end_job(replica, &replica->merging, "merge failed", &err);
}

static void run_flush(struct pool_job *job)
{
    struct replica *replica = list_entry(job, struct replica, flush_job);
    struct err err = {0};
    (void)flush_and_truncate(replica, range_flush_wanted, &err);
    end_job(replica, &replica->flushing, "flush failed", &err);
}

static void run_flush_old(struct pool_job *job)
{
    struct replica *replica = list_entry(job, struct replica, flush_job);
    struct err err = {0};
    (void)replica_flush(replica, &err);
    end_job(replica, &replica->flushing, "flush failed", &err);
}

void replica_maintain(struct replica *replica)
{
    if (atomic_load(&replica->state) != REPLICA_OPEN)
        return;
    if (!atomic_load(&replica->flushing) && may_write(replica) && range_wants_flush(replica->range))
        start_job(replica, replica->means.background, &replica->flush_job, &replica->flushing,
                  run_flush);
    if (!atomic_load(&replica->merging) && may_merge(replica))
        start_job(replica, replica->means.merge, &replica->merge_job, &replica->merging, run_merge);
}

void replica_flush_old(struct replica *replica, uint64_t older_than_ms)
{
    if (atomic_load(&replica->state) == REPLICA_OPEN &&
        atomic_load(&replica->flushed_ms) + older_than_ms <= clock_ms() &&
        range_applied_seq(replica->range) != range_durable_seq(replica->range) &&
        range_broken(replica->range, NULL) == 0)
        start_job(replica, replica->means.background, &replica->flush_job, &replica->flushing,
                  run_flush_old);
}
