#include "shard/replica.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/limits.h"
#include "shard/range_derive.h"
#include "shard/replicator.h"
#include "shard/reshape.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static Quire__Range *copy_range(const Quire__Range *range)
{
    struct buf packed = {0};
    quire__range__pack(range, buf_extend(&packed, quire__range__get_packed_size(range)));
    Quire__Range *copy = quire__range__unpack(NULL, packed.size, packed.data);
    if (copy == NULL)
        abort();
    buf_deinit(&packed);
    return copy;
}

static struct replica *new_replica(const struct replica_means *means, const Quire__Range *range)
{
    struct replica *replica = calloc(1, sizeof *replica);
    pthread_condattr_t monotonic;
    if (replica == NULL)
        abort();
    replica->means = *means;
    replica->id = range->id;
    replica->collection = range->collection;
    replica->config = copy_range(range);
    list_init(&replica->link);
    list_init(&replica->core_link);
    list_init(&replica->pending);
    pthread_mutex_init(&replica->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&replica->applied, &monotonic);
    pthread_condattr_destroy(&monotonic);
    atomic_store(&replica->refs, 1);
    atomic_store(&replica->flushed_ms, clock_ms());
    atomic_store(&replica->kept_seq, UINT64_MAX);
    atomic_store(&replica->halved, UINT64_MAX);
    return replica;
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        abort();
    return copy;
}

struct replica *replica_create(const Quire__Range *range, const Quire__Collection *collection,
                               const char *path, size_t memory_limit,
                               const struct replica_means *means)
{
    struct replica *replica = new_replica(means, range);
    const Quire__FieldWeights *weights = collection->weights;
    replica->language = copy_text(collection->language != NULL ? collection->language : "none");
    replica->document = (struct document_settings){
        weights != NULL && weights->has_headword ? weights->headword : 3,
        weights != NULL && weights->has_terms ? weights->terms : 2,
        weights != NULL && weights->has_categories ? weights->categories : 1,
        weights != NULL && weights->has_body ? weights->body : 1};
    replica->order = collection->order == QUIRE__COLLECTION__ORDER__CATEGORY
                         ? SEGMENT_ORDER_CATEGORY
                         : SEGMENT_ORDER_ARRIVAL;
    replica->path = copy_text(path);
    replica->memory_limit = memory_limit;
    return replica;
}

struct replica *replica_again(struct replica *replica)
{
    pthread_mutex_lock(&replica->lock);
    struct replica *again = new_replica(&replica->means, replica->config);
    again->may_lead = replica->may_lead;
    pthread_mutex_unlock(&replica->lock);
    again->language = copy_text(replica->language);
    again->document = replica->document;
    again->order = replica->order;
    again->path = copy_text(replica->path);
    again->memory_limit = replica->memory_limit;
    return again;
}

/* ---- opening ---- */

static bool named(char *const *ids, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    return false;
}

struct part { /* what the configuration says of this node */
    bool fresh, learner;
};

static struct part part_of(struct replica *replica)
{
    pthread_mutex_lock(&replica->lock);
    const Quire__Range *config = replica->config;
    struct part part = {config->fresh,
                        named(config->learners, config->n_learners, replica->means.node_id)};
    pthread_mutex_unlock(&replica->lock);
    return part;
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
    if (!known && !part_of(replica).fresh)
        return err_set(err, ERR_CORRUPT,
                       "there is nothing of it here, though it had entries that were acknowledged");
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
    if (durable < forgotten)
        return err_set(
            err, ERR_CORRUPT,
            "its index is an old one: it ends at operation %llu, the log begins after %llu",
            (unsigned long long)durable, (unsigned long long)forgotten);
    if (durable > replica->extent.last_seq)
        return err_set(err, ERR_CORRUPT,
                       "its log is an old one: it ends at operation %llu, the index has %llu",
                       (unsigned long long)replica->extent.last_seq, (unsigned long long)durable);
    return 0;
}

static int open_range(struct replica *replica, struct err *err)
{
    uint64_t forgotten;
    if (check_whole(replica, &forgotten, err) != 0)
        return err->code;
    struct range_settings settings = {.id = replica->id,
                                      .collection = replica->collection,
                                      .language = replica->language,
                                      .document = replica->document,
                                      .order = replica->order,
                                      .memory_limit = replica->memory_limit,
                                      .cache = replica->means.cache,
                                      .merge_pace = replica->means.merge_pace,
                                      .measures = replica->means.measures};
    int code = range_open(replica->path, &settings, &replica->range, err);
    if (code != 0)
        return code;
    code = log_store_extent(replica->means.log, replica->id, &replica->extent, err);
    if (code == 0)
        code = check_index(replica, forgotten, err);
    if (code == 0)
        return 0;
    range_close(replica->range);
    replica->range = NULL;
    log_extent_deinit(&replica->extent);
    return code;
}

/* One that came from a split or a merge begins with what was built for it, if that is here. */
static int take_origin(struct replica *replica, struct err *err)
{
    struct replication_position beginning, origin;
    bool known;
    int code = log_store_beginning(replica->means.log, replica->id, &known, &beginning, err);
    pthread_mutex_lock(&replica->lock);
    bool has_origin = replica->config->has_origin_seq;
    origin =
        (struct replication_position){replica->config->origin_epoch, replica->config->origin_seq};
    pthread_mutex_unlock(&replica->lock);
    if (code != 0 || known || !has_origin || replica->means.reshapes == NULL ||
        store_exists(replica->path))
        return code;
    code = reshapes_install(replica->means.reshapes, replica->id, origin, err);
    return code == ERR_NOT_FOUND ? 0 : code;
}

/* What cannot be read is of no use to a learner: it is made anew of the primary's. */
static enum replica_state open_state(struct replica *replica, struct err *err)
{
    if (replica->renewed && !replica->installs && part_of(replica).learner) {
        err_set(err, ERR_CORRUPT, "what is here of it is damaged");
        return REPLICA_LEARNING;
    }
    if (replica->installs &&
        checkpoints_install(replica->means.checkpoints, replica->id, replica->install, err) != 0)
        return REPLICA_FAILED;
    if (!replica->installs && take_origin(replica, err) != 0)
        return REPLICA_FAILED;
    if (open_range(replica, err) == 0)
        return REPLICA_OPEN;
    if (err->code != ERR_CORRUPT || !part_of(replica).learner)
        return REPLICA_FAILED;
    return REPLICA_LEARNING;
}

static void log_opened(struct replica *replica, uint64_t ms)
{
    struct range_figures figures;
    range_figures(replica->range, &figures);
    log_event(LOG_INFO, "range opened", LOG_U64("range", replica->id),
              LOG_U64("entries", figures.entries), LOG_U64("durable", figures.durable_seq),
              LOG_U64("last", replica->extent.last_seq), LOG_U64("ms", ms));
}

static void run_open(struct pool_job *job)
{
    struct replica *replica = list_entry(job, struct replica, open_job);
    uint64_t start = clock_ms();
    struct err err = {0};
    enum replica_state state = open_state(replica, &err);
    if (state == REPLICA_OPEN) {
        log_opened(replica, clock_ms() - start);
    } else if (state == REPLICA_LEARNING) {
        log_event(LOG_INFO, "range to be copied from its primary", LOG_U64("range", replica->id),
                  LOG_STR("because", err.text));
    } else {
        err_prefix(&err, "open range %llu", (unsigned long long)replica->id);
        log_event(LOG_ERROR, "range cannot be opened", LOG_U64("range", replica->id),
                  LOG_STR("error", err.text));
        replica->error = err;
        replica->failed_ms = clock_ms();
    }
    atomic_store(&replica->state, state);
    if (state != REPLICA_FAILED)
        replicator_opened(replica->means.replicator, replica);
    replica->means.opened(replica->means.data);
    replica_unref(replica);
}

void replica_start(struct replica *replica)
{
    replica_ref(replica);
    replica->open_job.run = run_open;
    if (pool_submit(replica->means.background, &replica->open_job) != 0)
        run_open(&replica->open_job); /* the queue is full: then here */
}

void replica_damaged(struct replica *replica, const struct err *err)
{
    if (err->code != ERR_CORRUPT || atomic_exchange(&replica->damaged, true))
        return;
    log_event(LOG_ERROR, "range is damaged here", LOG_U64("range", replica->id),
              LOG_STR("what", err->text));
    replica->means.opened(replica->means.data); /* the coordinators are told at once */
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
    replication_destroy(replica->core);
    range_close(replica->range);
    if (atomic_load(&replica->dropped))
        remove_files(replica);
    replica->means.ended(replica->means.data, replica);
    log_extent_deinit(&replica->extent);
    tail_deinit(&replica->tail);
    buf_deinit(&replica->middle);
    quire__range__free_unpacked(replica->config, NULL);
    pthread_mutex_destroy(&replica->lock);
    pthread_cond_destroy(&replica->applied);
    free(replica->language);
    free(replica->path);
    free(replica);
}

/* ---- what others want to know ---- */

bool replica_take_config(struct replica *replica, const Quire__Range *range, bool may_lead)
{
    bool newer;
    pthread_mutex_lock(&replica->lock);
    newer = range->epoch > replica->config->epoch ||
            (range->epoch == replica->config->epoch && replica->core == NULL);
    if (newer) {
        quire__range__free_unpacked(replica->config, NULL);
        replica->config = copy_range(range);
        replica->may_lead = may_lead;
    }
    pthread_mutex_unlock(&replica->lock);
    return newer;
}

void replica_standing(struct replica *replica, struct replica_standing *out)
{
    pthread_mutex_lock(&replica->lock);
    *out = (struct replica_standing){.epoch = replica->config->epoch,
                                     .in_sync = replica->config->n_in_sync};
    if (replica->core != NULL) {
        out->role = replication_role(replica->core);
        out->epoch = replication_epoch(replica->core);
        out->committed = replication_committed(replica->core);
        out->last = replication_last(replica->core);
        const Quire__Reshape *reshape = replica->config->reshape;
        out->reshaped = reshape != NULL;
        out->sealed = reshape != NULL && reshape->sealed && out->epoch == replica->config->epoch;
    }
    pthread_mutex_unlock(&replica->lock);
}

Quire__Range *replica_current(struct replica *replica, uint64_t epoch, struct arena *arena)
{
    struct buf packed = {0};
    pthread_mutex_lock(&replica->lock);
    if (replica->config->epoch > epoch)
        quire__range__pack(replica->config,
                           buf_extend(&packed, quire__range__get_packed_size(replica->config)));
    pthread_mutex_unlock(&replica->lock);
    Quire__Range *current =
        packed.size == 0 ? NULL
                         : quire__range__unpack(arena_protobuf(arena), packed.size, packed.data);
    buf_deinit(&packed);
    return current;
}

int replica_may_read(struct replica *replica, const Quire__RangeRef *ref, struct err *err)
{
    pthread_mutex_lock(&replica->lock);
    int code = replica->core == NULL ? err_set(err, ERR_UNAVAILABLE, "range %llu is being opened",
                                               (unsigned long long)replica->id)
                                     : replication_may_read(replica->core, ref->epoch,
                                                            ref->from_primary, clock_ms(), err);
    pthread_mutex_unlock(&replica->lock);
    return code;
}

static uint64_t needed(struct replica *replica, uint64_t seq)
{
    uint64_t committed = replica->core != NULL ? replication_committed(replica->core) : 0;
    uint64_t floor = atomic_load(&replica->read_floor);
    seq = committed > seq ? committed : seq;
    return floor > seq ? floor : seq;
}

int replica_await(struct replica *replica, uint64_t seq, uint64_t deadline_ms, struct err *err)
{
    uint64_t until = clock_ms() + REPLICA_READ_WAIT_MS;
    if (deadline_ms < until)
        until = deadline_ms;
    struct timespec at = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
    bool in_time = true;
    pthread_mutex_lock(&replica->lock);
    seq = needed(replica, seq);
    replica->waiting++;
    while (in_time && replica->core != NULL && range_applied_seq(replica->range) < seq)
        in_time = pthread_cond_timedwait(&replica->applied, &replica->lock, &at) == 0;
    replica->waiting--;
    bool applied = range_applied_seq(replica->range) >= seq;
    pthread_mutex_unlock(&replica->lock);
    return applied ? 0
                   : err_set(err, ERR_UNAVAILABLE, "range %llu has not applied operation %llu yet",
                             (unsigned long long)replica->id, (unsigned long long)seq);
}

bool replica_lags(struct replica *replica)
{
    struct range_figures figures;
    range_figures(replica->range, &figures);
    return figures.memory_bytes >= 2 * replica->memory_limit && range_wants_flush(replica->range) &&
           range_broken(replica->range, NULL) == 0;
}

/* ---- background work ---- */

/* The log goes as far as no replica and no checkpoint needs it. The core is told first: it never
 * reads what is gone. */
static int forget_log(struct replica *replica, struct err *err)
{
    uint64_t durable = range_durable_seq(replica->range), seq = 0;
    pthread_mutex_lock(&replica->lock);
    if (replica->core != NULL) {
        replication_flushed(replica->core, durable);
        seq = replication_retain(replica->core);
    }
    pthread_mutex_unlock(&replica->lock);
    seq =
        checkpoints_retain(replica->means.checkpoints, replica->id, seq < durable ? seq : durable);
    uint64_t kept = atomic_load(&replica->kept_seq); /* read after durable, as in there */
    seq = kept < seq ? kept : seq;
    if (seq == 0)
        return 0;
    pthread_mutex_lock(&replica->lock);
    if (replica->core != NULL)
        replication_truncated(replica->core, seq);
    pthread_mutex_unlock(&replica->lock);
    return log_store_truncate(replica->means.log, replica->id, seq, err);
}

static int flush_and_truncate(struct replica *replica,
                              int (*flush)(struct range *range, struct err *err), struct err *err)
{
    int code = flush(replica->range, err);
    atomic_store(&replica->flushed_ms, clock_ms());
    if (code != 0)
        return code;
    return forget_log(replica, err);
}

int replica_flush(struct replica *replica, struct err *err)
{
    return flush_and_truncate(replica, range_flush, err);
}

/* One at a time: the first call of a process that has another malloc (a sanitizer's) sets up the
 * heap that it looks at, and two that do so at once crash. */
void replica_give_memory_back(void)
{
    static pthread_mutex_t trimming = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&trimming);
    malloc_trim(0);
    pthread_mutex_unlock(&trimming);
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

static void run_halve(struct pool_job *job)
{
    struct replica *replica = list_entry(job, struct replica, middle_job);
    struct range_figures figures;
    struct buf middle = {0};
    struct err err = {0};
    range_figures(replica->range, &figures);
    pthread_mutex_lock(&replica->lock);
    const Quire__Range *config = replica->config;
    struct buf lo = {0}, hi = {0};
    buf_append(&lo, config->lo.data, config->lo.len);
    buf_append(&hi, config->hi.data, config->hi.len);
    pthread_mutex_unlock(&replica->lock);
    if (range_middle(replica->range, buf_bytes(&lo), buf_bytes(&hi), &middle, &err) == 0) {
        pthread_mutex_lock(&replica->lock);
        struct buf before = replica->middle;
        replica->middle = middle;
        middle = before;
        pthread_mutex_unlock(&replica->lock);
        atomic_store(&replica->halved, figures.entries);
    }
    buf_deinit(&middle);
    buf_deinit(&lo);
    buf_deinit(&hi);
    replica_damaged(replica, &err);
    replica->means.opened(replica->means.data); /* somebody may wait to hear of it */
    end_job(replica, &replica->halving, "no middle found", &err);
}

void replica_halve(struct replica *replica)
{
    struct range_figures figures;
    struct replica_standing standing;
    if (atomic_load(&replica->state) != REPLICA_OPEN || atomic_load(&replica->halving))
        return;
    range_figures(replica->range, &figures);
    uint64_t before = atomic_load(&replica->halved), now = figures.entries;
    uint64_t change = now > before ? now - before : before - now;
    replica_standing(replica, &standing);
    if (standing.role == REPLICATION_PRIMARY && (before == UINT64_MAX || change > before / 8))
        start_job(replica, replica->means.background, &replica->middle_job, &replica->halving,
                  run_halve);
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
