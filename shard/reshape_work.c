/* The thread of a reshape: it builds the targets, and follows the sources; see reshape.h. */
#include "shard/reshape_internal.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "shard/folder.h"
#include "shard/log_write.h"
#include "shard/range_derive.h"
#include "shard/replicas.h"

#include <string.h>
#include <time.h>

#define TARGET_MEMORY_MIN ((size_t)4 << 20)

/* The sources as they are now; with references. */
struct held {
    struct replica *replica[RESHAPE_SOURCES_MAX];
    bool wanted;        /* some replica here is asked for the targets */
    bool here;          /* all sources are open, and in sync */
    bool sealed, quiet; /* and nothing is under way in them, as far as is known here */
    uint64_t epoch[RESHAPE_SOURCES_MAX], applied[RESHAPE_SOURCES_MAX];
};

static void tell(const struct reshape *reshape)
{
    reshape->reshapes->settings.news(reshape->reshapes->settings.data);
}

static void set_state(struct reshape *reshape, enum reshape_state state)
{
    pthread_mutex_lock(&reshape->reshapes->lock);
    reshape->state = state;
    pthread_mutex_unlock(&reshape->reshapes->lock);
}

static void set_ready(struct reshape *reshape, const struct reshape_source *source)
{
    pthread_mutex_lock(&reshape->reshapes->lock);
    memcpy(reshape->source, source, sizeof reshape->source);
    reshape->state = RESHAPE_READY;
    pthread_mutex_unlock(&reshape->reshapes->lock);
}

static void set_position(struct reshape *reshape, struct reshape_target *target, size_t source,
                         uint64_t seq)
{
    pthread_mutex_lock(&reshape->reshapes->lock);
    target->position[source] = seq;
    pthread_mutex_unlock(&reshape->reshapes->lock);
}

/* ---- the sources ---- */

static void look_at(struct held *held, size_t i, struct replica *replica, uint64_t reshape)
{
    struct replica_standing standing;
    bool asks = reshape_asked_of(replica, reshape);
    held->wanted |= asks;
    replica_standing(replica, &standing);
    if (!asks || atomic_load(&replica->state) != REPLICA_OPEN ||
        (standing.role != REPLICATION_PRIMARY && standing.role != REPLICATION_RECONCILING &&
         standing.role != REPLICATION_SECONDARY)) {
        held->here = false;
        return;
    }
    held->sealed &= standing.sealed;
    held->epoch[i] = standing.epoch;
    held->applied[i] = range_applied_seq(replica->range);
    held->quiet &= standing.committed == standing.last && held->applied[i] == standing.last;
}

static struct held hold(const struct reshape *reshape)
{
    struct held held = {.here = true, .sealed = true, .quiet = true};
    for (size_t i = 0; i < reshape->source_count; i++) {
        held.replica[i] =
            replicas_find(*reshape->reshapes->settings.replicas, reshape->source[i].id);
        if (held.replica[i] == NULL)
            held.here = false;
        else
            look_at(&held, i, held.replica[i], reshape->id);
    }
    return held;
}

/* The log of a source stays from here on; UINT64_MAX: as it likes. */
static void keep_log(struct held *held, size_t i, uint64_t seq)
{
    if (held->replica[i] != NULL)
        atomic_store(&held->replica[i]->kept_seq, seq);
}

static void let_go(struct held *held)
{
    for (size_t i = 0; i < RESHAPE_SOURCES_MAX; i++)
        if (held->replica[i] != NULL)
            replica_unref(held->replica[i]);
}

/* ---- targets ---- */

static void close_targets(struct reshape *reshape)
{
    for (size_t i = 0; i < reshape->target_count; i++) {
        pthread_mutex_lock(&reshape->reshapes->lock); /* reshapes_stop() speaks to it */
        struct range *range = reshape->target[i].range;
        reshape->target[i].range = NULL;
        pthread_mutex_unlock(&reshape->reshapes->lock);
        range_close(range);
    }
}

static int open_range(const struct replica *like, uint64_t id, const char *path, struct range **out,
                      struct err *err)
{
    size_t memory = like->memory_limit / 2;
    struct range_settings settings = {.id = id,
                                      .collection = like->collection,
                                      .language = like->language,
                                      .document = like->document,
                                      .order = like->order,
                                      .memory_limit =
                                          memory < TARGET_MEMORY_MIN ? TARGET_MEMORY_MIN : memory,
                                      .cache = like->means.cache,
                                      .merge_pace = like->means.merge_pace,
                                      .measures = like->means.measures};
    return range_open(path, &settings, out, err);
}

static int open_target(struct reshape *reshape, const struct replica *like,
                       struct reshape_target *target, struct err *err)
{
    char path[RESHAPE_PATH_SIZE];
    struct range *range;
    reshape_path_within(reshape, target->id, path);
    int code = open_range(like, target->id, path, &range, err);
    if (code != 0)
        return code;
    pthread_mutex_lock(&reshape->reshapes->lock);
    target->range = range;
    if (atomic_load(&reshape->stopping))
        range_stop(range);
    pthread_mutex_unlock(&reshape->reshapes->lock);
    return 0;
}

static int copy_index(struct replica *from, const char *path, uint64_t *seq, struct err *err)
{
    int code = replica_flush(from, err); /* so that little is left to follow */
    if (code == 0)
        code = range_checkpoint(from->range, path, seq, err);
    return code;
}

/* The entries of the second source of a merge, from a checkpoint of its own: what is applied to it
 * meanwhile comes with its log. */
static int add_source(struct reshape *reshape, struct held *held, size_t i,
                      struct reshape_target *target, struct err *err)
{
    char path[RESHAPE_PATH_SIZE];
    struct range *range = NULL;
    uint64_t seq = 0;
    reshape_path_within(reshape, reshape->source[i].id, path);
    int code = copy_index(held->replica[i], path, &seq, err);
    if (code == 0)
        code = open_range(held->replica[i], reshape->source[i].id, path, &range, err);
    if (code == 0)
        code = range_adopt(target->range, range, err);
    range_close(range);
    if (code == 0)
        code = folder_remove(path, err);
    if (code == 0)
        set_position(reshape, target, i, seq);
    return code;
}

static int build_target(struct reshape *reshape, struct held *held, struct reshape_target *target,
                        struct err *err)
{
    char path[RESHAPE_PATH_SIZE];
    uint64_t seq = 0;
    reshape_path_within(reshape, target->id, path);
    int code = copy_index(held->replica[0], path, &seq, err);
    if (code == 0)
        code = open_target(reshape, held->replica[0], target, err);
    if (code == 0)
        code = range_prune(target->range, buf_bytes(&target->lo), buf_bytes(&target->hi), err);
    if (code == 0)
        set_position(reshape, target, 0, seq);
    for (size_t i = 1; i < reshape->source_count && code == 0; i++)
        code = add_source(reshape, held, i, target, err);
    if (code == 0)
        code = range_flush(target->range, err);
    return code;
}

static int check_room(struct reshape *reshape, struct held *held, struct err *err)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < reshape->source_count; i++) {
        struct range_figures figures;
        range_figures(held->replica[i]->range, &figures);
        bytes += figures.disk_bytes + figures.memory_bytes;
    }
    return folder_check_room(reshape->reshapes->folder, bytes,
                             reshape->reshapes->settings.disk_left_bytes, err);
}

static int build(struct reshape *reshape, struct held *held, struct err *err)
{
    char path[RESHAPE_PATH_SIZE];
    uint64_t start = clock_ms();
    reshape_path(reshape->reshapes, reshape->id, path);
    int code = check_room(reshape, held, err);
    if (code == 0)
        code = folder_remove(path, err);
    if (code == 0)
        code = store_make_folder(path, err);
    for (size_t i = 0; i < reshape->source_count && code == 0; i++)
        keep_log(held, i, range_durable_seq(held->replica[i]->range));
    for (size_t i = 0; i < reshape->target_count && code == 0; i++)
        code = build_target(reshape, held, &reshape->target[i], err);
    if (code != 0)
        return code;
    log_event(LOG_INFO, "successors of ranges built", LOG_U64("reshape", reshape->id),
              LOG_U64("from", reshape->source[0].id), LOG_U64("ms", clock_ms() - start));
    set_state(reshape, RESHAPE_FOLLOWS);
    tell(reshape);
    return 0;
}

/* ---- following ---- */

struct follower {
    struct reshape *reshape;
    struct reshape_target *target;
    size_t source;
};

static int follow_record(void *data, const struct log_record *record, struct err *err)
{
    struct follower *follower = data;
    struct reshape_target *target = follower->target;
    struct log_write write;
    struct arena arena;
    if (record->first_seq != target->position[follower->source] + 1)
        return ERR_NOT_FOUND;
    arena_init(&arena, 0);
    int code =
        log_write_unpack(record->first_seq, record->count, record->write, &arena, &write, err);
    if (code == 0)
        code = range_follow(target->range, buf_bytes(&target->lo), buf_bytes(&target->hi),
                            write.has_session ? &write.session : NULL, write.ops, write.count, err);
    arena_deinit(&arena);
    if (code != 0)
        return code;
    set_position(follower->reshape, target, follower->source,
                 record->first_seq + record->count - 1);
    follower->reshape->unflushed += record->count;
    return 0;
}

/* ERR_NOT_FOUND: the log does not go on where the target stands. */
static int follow(struct reshape *reshape, struct reshape_target *target, size_t source,
                  uint64_t to, struct err *err)
{
    struct follower follower = {reshape, target, source};
    if (target->position[source] >= to)
        return 0;
    int code = log_store_read(reshape->reshapes->settings.log, reshape->source[source].id,
                              target->position[source] + 1, to, follow_record, &follower, err);
    return code != 0 || target->position[source] == to ? code : ERR_NOT_FOUND;
}

static int flush_targets(struct reshape *reshape, struct err *err)
{
    int code = 0;
    for (size_t i = 0; i < reshape->target_count && code == 0; i++)
        code = range_flush(reshape->target[i].range, err);
    reshape->unflushed = 0;
    return code;
}

/* Everything durable, then the word that it is. */
static int become_ready(struct reshape *reshape, const struct held *held, struct err *err)
{
    char path[RESHAPE_PATH_SIZE];
    struct reshape_source source[RESHAPE_SOURCES_MAX];
    int code = 0;
    for (size_t i = 0; i < reshape->source_count; i++)
        source[i] = (struct reshape_source){reshape->source[i].id, held->epoch[i],
                                            reshape_position(reshape, i)};
    uint64_t end = reshape_end(source, reshape->source_count).seq;
    for (size_t i = 0; i < reshape->target_count && code == 0; i++)
        code = range_advance(reshape->target[i].range, end, err);
    if (code == 0)
        code = flush_targets(reshape, err);
    close_targets(reshape);
    for (size_t i = 0; i < reshape->target_count && code == 0; i++) {
        reshape_path_within(reshape, reshape->target[i].id, path);
        code = folder_sync(path, err);
    }
    reshape_path(reshape->reshapes, reshape->id, path);
    if (code == 0)
        code = folder_sync(path, err);
    if (code == 0)
        code = folder_sync(reshape->reshapes->folder, err);
    if (code == 0)
        code = reshape_write_ready(reshape, source, err);
    if (code != 0)
        return code;
    set_ready(reshape, source);
    tell(reshape);
    return 0;
}

/* Another epoch, and nothing more to be had: it is ready under that one, too. */
static int confirm(struct reshape *reshape, const struct held *held, struct err *err)
{
    struct reshape_source source[RESHAPE_SOURCES_MAX];
    memcpy(source, reshape->source, sizeof source);
    for (size_t i = 0; i < reshape->source_count; i++)
        source[i].epoch = held->epoch[i];
    int code = reshape_write_ready(reshape, source, err);
    if (code != 0)
        return code;
    set_ready(reshape, source);
    tell(reshape);
    return 0;
}

/* More was applied after all. */
static int follow_again(struct reshape *reshape, struct held *held, struct err *err)
{
    set_state(reshape, RESHAPE_FOLLOWS);
    int code = reshape_remove_ready(reshape, err);
    for (size_t i = 0; i < reshape->target_count && code == 0; i++) {
        for (size_t j = 0; j < reshape->source_count; j++)
            set_position(reshape, &reshape->target[i], j, reshape->source[j].seq);
        code = open_target(reshape, held->replica[0], &reshape->target[i], err);
    }
    return code;
}

static int step_ready(struct reshape *reshape, struct held *held, struct err *err)
{
    bool more = false, other = false;
    int code = 0;
    for (size_t i = 0; i < reshape->source_count; i++) {
        if (held->applied[i] < reshape->source[i].seq)
            return 0; /* it was opened just now, and does not know yet what is committed */
        more |= held->applied[i] > reshape->source[i].seq;
        other |= held->epoch[i] != reshape->source[i].epoch;
    }
    pthread_mutex_lock(&reshape->reshapes->files);
    if (more)
        code = follow_again(reshape, held, err);
    else if (other && held->sealed)
        code = confirm(reshape, held, err);
    pthread_mutex_unlock(&reshape->reshapes->files);
    return code;
}

static int step_follow(struct reshape *reshape, struct held *held, struct err *err)
{
    int code = 0;
    for (size_t i = 0; i < reshape->target_count; i++)
        for (size_t j = 0; j < reshape->source_count && code == 0; j++)
            code = follow(reshape, &reshape->target[i], j, held->applied[j], err);
    if (code == ERR_NOT_FOUND) {
        log_event(LOG_INFO, "successors of ranges begun anew: the log does not go back so far",
                  LOG_U64("reshape", reshape->id));
        close_targets(reshape);
        set_state(reshape, RESHAPE_WAITS);
        return 0;
    }
    if (code == 0 && held->sealed && held->quiet) {
        pthread_mutex_lock(&reshape->reshapes->files);
        code = become_ready(reshape, held, err);
        pthread_mutex_unlock(&reshape->reshapes->files);
    } else if (code == 0 && reshape->unflushed >= RESHAPE_FLUSH_OPS) {
        code = flush_targets(reshape, err);
    }
    for (size_t j = 0; j < reshape->source_count && code == 0; j++)
        keep_log(held, j, reshape_position(reshape, j));
    return code;
}

static int step(struct reshape *reshape, struct held *held, struct err *err)
{
    if (!held->here)
        return 0;
    switch (reshape->state) {
    case RESHAPE_WAITS:
        return build(reshape, held, err);
    case RESHAPE_FOLLOWS:
        return step_follow(reshape, held, err);
    case RESHAPE_READY:
        return step_ready(reshape, held, err);
    default:
        return 0;
    }
}

/* ---- its thread ---- */

static void fail(struct reshape *reshape, const struct err *err)
{
    close_targets(reshape);
    set_state(reshape, RESHAPE_FAILED);
    log_event(LOG_ERROR, "successors of ranges cannot be built", LOG_U64("reshape", reshape->id),
              LOG_STR("error", err->text));
    tell(reshape);
}

/* What a former life of the process made ready. */
static void take_up_ready(struct reshape *reshape)
{
    char path[RESHAPE_PATH_SIZE];
    struct reshape_source source[RESHAPE_SOURCES_MAX];
    size_t count;
    struct err err;
    reshape_path(reshape->reshapes, reshape->id, path);
    if (reshape_read_ready(path, source, &count, &err) != 0 || count != reshape->source_count)
        return;
    for (size_t i = 0; i < count; i++)
        if (source[i].id != reshape->source[i].id)
            return;
    set_ready(reshape, source);
}

/* What is ready may be about to be taken: reshapes_sweep() knows. */
static void end(struct reshape *reshape)
{
    char path[RESHAPE_PATH_SIZE];
    struct err err;
    close_targets(reshape);
    if (reshape->state == RESHAPE_READY)
        return;
    reshape_path(reshape->reshapes, reshape->id, path);
    if (folder_remove(path, &err) != 0)
        log_event(LOG_WARN, "successors of ranges were left behind", LOG_STR("error", err.text));
}

static void pause_for(uint64_t ms)
{
    struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

void *reshape_main(void *data)
{
    struct reshape *reshape = data;
    bool wanted = true;
    pthread_setname_np(pthread_self(), "reshape");
    take_up_ready(reshape);
    while (wanted && !atomic_load(&reshape->stopping)) {
        struct err err = {0};
        struct held held = hold(reshape);
        wanted = held.wanted;
        int code = wanted ? step(reshape, &held, &err) : 0;
        if (code != 0 && !atomic_load(&reshape->stopping))
            fail(reshape, &err);
        bool hurries = held.sealed && reshape->state == RESHAPE_FOLLOWS;
        for (size_t i = 0; i < reshape->source_count; i++)
            if (!wanted || reshape->state == RESHAPE_FAILED)
                keep_log(&held, i, UINT64_MAX);
        let_go(&held);
        if (wanted)
            pause_for(hurries ? RESHAPE_SEALED_MS : RESHAPE_FOLLOW_MS);
    }
    end(reshape);
    atomic_store(&reshape->ended, true);
    return NULL;
}
