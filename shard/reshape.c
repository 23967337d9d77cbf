#include "shard/reshape.h"

#include "proto/base/clock.h"
#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "shard/folder.h"
#include "shard/log_write.h"
#include "shard/range_derive.h"
#include "shard/replicas.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SOURCES_MAX 2
#define TARGETS_MAX 2
#define PATH_SIZE 4096
#define READY_FILE "ready"
#define READY_SIZE 256
#define TARGET_MEMORY_MIN ((size_t)4 << 20)

enum reshape_state { RESHAPE_WAITS, RESHAPE_FOLLOWS, RESHAPE_READY, RESHAPE_FAILED };

struct source { /* as it was when the targets became ready */
    uint64_t id, epoch, seq;
};

struct target {
    uint64_t id;
    struct buf lo, hi;
    struct range *range;            /* while it follows */
    uint64_t position[SOURCES_MAX]; /* has all of the source up to there */
};

struct reshape {
    struct reshapes *reshapes;
    struct list link;
    uint64_t id; /* the first target's */
    size_t source_count, target_count;
    pthread_t thread;
    _Atomic bool stopping, ended;

    /* the thread's; read by others under the lock of `reshapes` */
    enum reshape_state state;
    struct source source[SOURCES_MAX];
    struct target target[TARGETS_MAX];

    size_t unflushed; /* operations that were followed */
};

struct reshapes {
    struct reshapes_settings settings;
    char *folder;          /* DIR/reshape */
    pthread_mutex_t lock;  /* the table, and what its members tell */
    pthread_mutex_t files; /* what is ready: while it becomes so, is given up, or is taken */
    struct list all;
    size_t count;
    bool stopping;
};

/* The sources as they are now; with references. */
struct held {
    struct replica *replica[SOURCES_MAX];
    bool wanted;        /* some replica here is asked for the targets */
    bool here;          /* all sources are open, and in sync */
    bool sealed, quiet; /* and nothing is under way in them, as far as is known here */
    uint64_t epoch[SOURCES_MAX], applied[SOURCES_MAX];
};

/* ---- paths ---- */

static void path_of(const struct reshapes *reshapes, uint64_t id, char out[PATH_SIZE])
{
    snprintf(out, PATH_SIZE, "%s/%llu", reshapes->folder, (unsigned long long)id);
}

static void path_within(const struct reshape *reshape, uint64_t id, char out[PATH_SIZE])
{
    snprintf(out, PATH_SIZE, "%s/%llu/%llu", reshape->reshapes->folder,
             (unsigned long long)reshape->id, (unsigned long long)id);
}

/* ---- what is ready ---- */

static bool parse_ready(const char *text, struct source *source, size_t *count)
{
    for (*count = 0; *text != 0 && *count < SOURCES_MAX; ++*count) {
        unsigned long long id, epoch, seq;
        int length = 0;
        if (sscanf(text, "%llu:%llu:%llu%n", &id, &epoch, &seq, &length) != 3)
            return false;
        source[*count] = (struct source){id, epoch, seq};
        text += length;
        text += *text == ' ';
    }
    return *text == 0 && *count > 0;
}

static int read_ready(const char *path, struct source *source, size_t *count, struct err *err)
{
    char text[READY_SIZE];
    int code = data_dir_read(path, READY_FILE, text, sizeof text, err);
    if (code == 0 && !parse_ready(text, source, count))
        code = err_set(err, ERR_CORRUPT, "%s/" READY_FILE " does not say what is ready", path);
    return code;
}

static int write_ready(const struct reshape *reshape, const struct source *source, struct err *err)
{
    char path[PATH_SIZE], text[READY_SIZE];
    int size = 0;
    path_of(reshape->reshapes, reshape->id, path);
    for (size_t i = 0; i < reshape->source_count; i++)
        size += snprintf(text + size, sizeof text - (size_t)size, "%s%llu:%llu:%llu",
                         i > 0 ? " " : "", (unsigned long long)source[i].id,
                         (unsigned long long)source[i].epoch, (unsigned long long)source[i].seq);
    return data_dir_write(path, READY_FILE, text, err);
}

static struct replication_position end_of(const struct source *source, size_t count)
{
    struct replication_position end = {0};
    for (size_t i = 0; i < count; i++) {
        end.epoch = source[i].epoch > end.epoch ? source[i].epoch : end.epoch;
        end.seq = source[i].seq > end.seq ? source[i].seq : end.seq;
    }
    return end;
}

static void set_state(struct reshape *reshape, enum reshape_state state)
{
    pthread_mutex_lock(&reshape->reshapes->lock);
    reshape->state = state;
    pthread_mutex_unlock(&reshape->reshapes->lock);
}

static void set_position(struct reshape *reshape, struct target *target, size_t source,
                         uint64_t seq)
{
    pthread_mutex_lock(&reshape->reshapes->lock);
    target->position[source] = seq;
    pthread_mutex_unlock(&reshape->reshapes->lock);
}

/* What all targets have of a source. */
static uint64_t position_of(const struct reshape *reshape, size_t source)
{
    uint64_t seq = UINT64_MAX;
    for (size_t i = 0; i < reshape->target_count; i++)
        if (reshape->target[i].position[source] < seq)
            seq = reshape->target[i].position[source];
    return seq;
}

/* ---- the sources ---- */

static bool asks_for(struct replica *replica, uint64_t reshape)
{
    pthread_mutex_lock(&replica->lock);
    const Quire__Reshape *asked = replica->config->reshape;
    bool asks = asked != NULL && asked->n_targets > 0 && asked->targets[0]->id == reshape;
    pthread_mutex_unlock(&replica->lock);
    return asks;
}

static void look_at(struct held *held, size_t i, struct replica *replica, uint64_t reshape)
{
    struct replica_standing standing;
    bool asks = asks_for(replica, reshape);
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
    for (size_t i = 0; i < SOURCES_MAX; i++)
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

static int open_target(struct reshape *reshape, const struct replica *like, struct target *target,
                       struct err *err)
{
    char path[PATH_SIZE];
    struct range *range;
    path_within(reshape, target->id, path);
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
static int add_source(struct reshape *reshape, struct held *held, size_t i, struct target *target,
                      struct err *err)
{
    char path[PATH_SIZE];
    struct range *range = NULL;
    uint64_t seq = 0;
    path_within(reshape, reshape->source[i].id, path);
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

static int build_target(struct reshape *reshape, struct held *held, struct target *target,
                        struct err *err)
{
    char path[PATH_SIZE];
    uint64_t seq = 0;
    path_within(reshape, target->id, path);
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
    char path[PATH_SIZE];
    uint64_t start = clock_ms();
    path_of(reshape->reshapes, reshape->id, path);
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
    reshape->reshapes->settings.news(reshape->reshapes->settings.data);
    return 0;
}

/* ---- following ---- */

struct follower {
    struct reshape *reshape;
    struct target *target;
    size_t source;
};

static int follow_record(void *data, const struct log_record *record, struct err *err)
{
    struct follower *follower = data;
    struct target *target = follower->target;
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
static int follow(struct reshape *reshape, struct target *target, size_t source, uint64_t to,
                  struct err *err)
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
    char path[PATH_SIZE];
    struct source source[SOURCES_MAX];
    int code = 0;
    for (size_t i = 0; i < reshape->source_count; i++)
        source[i] = (struct source){reshape->source[i].id, held->epoch[i], position_of(reshape, i)};
    uint64_t end = end_of(source, reshape->source_count).seq;
    for (size_t i = 0; i < reshape->target_count && code == 0; i++)
        code = range_advance(reshape->target[i].range, end, err);
    if (code == 0)
        code = flush_targets(reshape, err);
    close_targets(reshape);
    for (size_t i = 0; i < reshape->target_count && code == 0; i++) {
        path_within(reshape, reshape->target[i].id, path);
        code = folder_sync(path, err);
    }
    path_of(reshape->reshapes, reshape->id, path);
    if (code == 0)
        code = folder_sync(path, err);
    if (code == 0)
        code = folder_sync(reshape->reshapes->folder, err);
    if (code == 0)
        code = write_ready(reshape, source, err);
    if (code != 0)
        return code;
    pthread_mutex_lock(&reshape->reshapes->lock);
    memcpy(reshape->source, source, sizeof source);
    reshape->state = RESHAPE_READY;
    pthread_mutex_unlock(&reshape->reshapes->lock);
    reshape->reshapes->settings.news(reshape->reshapes->settings.data);
    return 0;
}

/* Another epoch, and nothing more to be had: it is ready under that one, too. */
static int confirm(struct reshape *reshape, const struct held *held, struct err *err)
{
    struct source source[SOURCES_MAX];
    memcpy(source, reshape->source, sizeof source);
    for (size_t i = 0; i < reshape->source_count; i++)
        source[i].epoch = held->epoch[i];
    int code = write_ready(reshape, source, err);
    if (code != 0)
        return code;
    pthread_mutex_lock(&reshape->reshapes->lock);
    memcpy(reshape->source, source, sizeof source);
    pthread_mutex_unlock(&reshape->reshapes->lock);
    reshape->reshapes->settings.news(reshape->reshapes->settings.data);
    return 0;
}

/* More was applied after all. */
static int follow_again(struct reshape *reshape, struct held *held, struct err *err)
{
    char path[PATH_SIZE];
    path_of(reshape->reshapes, reshape->id, path);
    set_state(reshape, RESHAPE_FOLLOWS);
    int code = data_dir_remove(path, READY_FILE, err);
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
        keep_log(held, j, position_of(reshape, j));
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
    reshape->reshapes->settings.news(reshape->reshapes->settings.data);
}

/* What a former life of the process made ready. */
static void take_up_ready(struct reshape *reshape)
{
    char path[PATH_SIZE];
    struct source source[SOURCES_MAX];
    size_t count;
    struct err err;
    path_of(reshape->reshapes, reshape->id, path);
    if (read_ready(path, source, &count, &err) != 0 || count != reshape->source_count)
        return;
    for (size_t i = 0; i < count; i++)
        if (source[i].id != reshape->source[i].id)
            return;
    pthread_mutex_lock(&reshape->reshapes->lock);
    memcpy(reshape->source, source, sizeof source);
    reshape->state = RESHAPE_READY;
    pthread_mutex_unlock(&reshape->reshapes->lock);
}

/* What is ready may be about to be taken: reshapes_sweep() knows. */
static void end(struct reshape *reshape)
{
    char path[PATH_SIZE];
    struct err err;
    close_targets(reshape);
    if (reshape->state == RESHAPE_READY)
        return;
    path_of(reshape->reshapes, reshape->id, path);
    if (folder_remove(path, &err) != 0)
        log_event(LOG_WARN, "successors of ranges were left behind", LOG_STR("error", err.text));
}

static void pause_for(uint64_t ms)
{
    struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static void *reshape_main(void *data)
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

/* ---- the table ---- */

static struct reshape *find(const struct reshapes *reshapes, uint64_t id)
{
    for (struct list *link = reshapes->all.next; link != &reshapes->all; link = link->next)
        if (list_entry(link, struct reshape, link)->id == id)
            return list_entry(link, struct reshape, link);
    return NULL;
}

static void reshape_free(struct reshape *reshape)
{
    for (size_t i = 0; i < TARGETS_MAX; i++) {
        buf_deinit(&reshape->target[i].lo);
        buf_deinit(&reshape->target[i].hi);
    }
    free(reshape);
}

static struct reshape *reshape_new(struct reshapes *reshapes, const Quire__Reshape *asked)
{
    struct reshape *reshape = calloc(1, sizeof *reshape);
    if (reshape == NULL)
        abort();
    reshape->reshapes = reshapes;
    reshape->id = asked->targets[0]->id;
    reshape->source_count = asked->n_sources;
    reshape->target_count = asked->n_targets;
    for (size_t i = 0; i < asked->n_sources; i++)
        reshape->source[i].id = asked->sources[i];
    for (size_t i = 0; i < asked->n_targets; i++) {
        const Quire__ReshapeTarget *target = asked->targets[i];
        reshape->target[i].id = target->id;
        buf_append(&reshape->target[i].lo, target->lo.data, target->lo.len);
        buf_append(&reshape->target[i].hi, target->hi.data, target->hi.len);
    }
    return reshape;
}

/* Holder of the lock. */
static void begin(struct reshapes *reshapes, const Quire__Reshape *asked)
{
    if (asked->n_sources == 0 || asked->n_sources > SOURCES_MAX || asked->n_targets == 0 ||
        asked->n_targets > TARGETS_MAX || find(reshapes, asked->targets[0]->id) != NULL ||
        reshapes->count == RESHAPES_MAX || reshapes->stopping)
        return;
    struct reshape *reshape = reshape_new(reshapes, asked);
    if (pthread_create(&reshape->thread, NULL, reshape_main, reshape) != 0) {
        reshape_free(reshape); /* with the next look */
        return;
    }
    list_push(&reshapes->all, &reshape->link);
    reshapes->count++;
}

static void look_at_replica(void *data, struct replica *replica)
{
    struct reshapes *reshapes = data;
    pthread_mutex_lock(&replica->lock);
    if (replica->config->reshape != NULL) {
        pthread_mutex_lock(&reshapes->lock);
        begin(reshapes, replica->config->reshape);
        pthread_mutex_unlock(&reshapes->lock);
    }
    pthread_mutex_unlock(&replica->lock);
}

/* Holder of the lock; gives it up for those whose thread is about to end. */
static void reap(struct reshapes *reshapes, bool all)
{
    for (struct list *link = reshapes->all.next, *next; link != &reshapes->all; link = next) {
        struct reshape *reshape = list_entry(link, struct reshape, link);
        next = link->next;
        if (!all && !atomic_load(&reshape->ended))
            continue;
        list_remove(&reshape->link);
        reshapes->count--;
        pthread_mutex_unlock(&reshapes->lock);
        pthread_join(reshape->thread, NULL);
        reshape_free(reshape);
        pthread_mutex_lock(&reshapes->lock);
        next = reshapes->all.next;
    }
}

void reshapes_look(struct reshapes *reshapes)
{
    pthread_mutex_lock(&reshapes->lock);
    reap(reshapes, false);
    pthread_mutex_unlock(&reshapes->lock);
    struct replicas *replicas = *reshapes->settings.replicas;
    replicas_each(replicas, look_at_replica, reshapes);
}

void reshapes_progress(struct reshapes *reshapes, uint64_t source, uint64_t epoch, bool sealed,
                       struct reshape_progress *out)
{
    *out = (struct reshape_progress){0};
    pthread_mutex_lock(&reshapes->lock);
    for (struct list *link = reshapes->all.next; link != &reshapes->all; link = link->next) {
        const struct reshape *reshape = list_entry(link, struct reshape, link);
        for (size_t i = 0; i < reshape->source_count; i++) {
            if (reshape->source[i].id != source || atomic_load(&reshape->ended))
                continue;
            bool ready = reshape->state == RESHAPE_READY;
            out->failed = reshape->state == RESHAPE_FAILED;
            out->derived = sealed ? ready && reshape->source[i].epoch == epoch
                                  : ready || reshape->state == RESHAPE_FOLLOWS;
            out->seq = ready ? reshape->source[i].seq : position_of(reshape, i);
        }
    }
    pthread_mutex_unlock(&reshapes->lock);
}

/* ---- what is left on the disk ---- */

struct search {
    struct reshapes *reshapes;
    uint64_t target;
    struct replication_position end;
    char path[2 * PATH_SIZE];
    bool found;
};

static int look_into(void *data, const char *name, struct err *err)
{
    (void)err;
    struct search *search = data;
    char path[PATH_SIZE], inner[2 * PATH_SIZE];
    struct source source[SOURCES_MAX];
    struct stat info;
    size_t count;
    struct err why;
    snprintf(path, sizeof path, "%s/%s", search->reshapes->folder, name);
    snprintf(inner, sizeof inner, "%s/%llu", path, (unsigned long long)search->target);
    if (stat(inner, &info) != 0 || read_ready(path, source, &count, &why) != 0)
        return 0;
    struct replication_position end = end_of(source, count);
    if (end.epoch != search->end.epoch || end.seq != search->end.seq)
        return 0;
    snprintf(search->path, sizeof search->path, "%s", inner);
    search->found = true;
    return 0;
}

int reshapes_install(struct reshapes *reshapes, uint64_t range, struct replication_position origin,
                     struct err *err)
{
    struct search search = {.reshapes = reshapes, .target = range, .end = origin};
    pthread_mutex_lock(&reshapes->files);
    int code = folder_each(reshapes->folder, look_into, &search, err);
    if (code == 0 && !search.found)
        code = err_set(err, ERR_NOT_FOUND, "nothing is ready for range %llu",
                       (unsigned long long)range);
    if (code == 0)
        code = checkpoints_adopt(reshapes->settings.checkpoints, search.path, range, origin, err);
    pthread_mutex_unlock(&reshapes->files);
    return code;
}

/* Some source asks for it, or a target that may take it is being opened. */
struct use {
    uint64_t id;
    const char *path;
    bool used;
};

static void see_use(void *data, struct replica *replica)
{
    struct use *use = data;
    char path[PATH_SIZE];
    struct stat info;
    snprintf(path, sizeof path, "%s/%llu", use->path, (unsigned long long)replica->id);
    use->used |= asks_for(replica, use->id) ||
                 (atomic_load(&replica->state) == REPLICA_OPENING && stat(path, &info) == 0);
}

static int sweep_one(void *data, const char *name, struct err *err)
{
    struct reshapes *reshapes = data;
    char path[PATH_SIZE], *end;
    struct use use = {.id = strtoull(name, &end, 10), .path = path};
    snprintf(path, sizeof path, "%s/%s", reshapes->folder, name);
    pthread_mutex_lock(&reshapes->lock);
    use.used = find(reshapes, use.id) != NULL;
    pthread_mutex_unlock(&reshapes->lock);
    replicas_each(*reshapes->settings.replicas, see_use, &use);
    return use.used ? 0 : folder_remove(path, err);
}

void reshapes_sweep(struct reshapes *reshapes)
{
    struct err err = {0};
    pthread_mutex_lock(&reshapes->files);
    if (folder_each(reshapes->folder, sweep_one, reshapes, &err) != 0)
        log_event(LOG_WARN, "successors of ranges were left behind", LOG_STR("error", err.text));
    pthread_mutex_unlock(&reshapes->files);
}

/* ---- life ---- */

static int drop_unready(void *data, const char *name, struct err *err)
{
    const struct reshapes *reshapes = data;
    char path[PATH_SIZE];
    struct source source[SOURCES_MAX];
    size_t count;
    snprintf(path, sizeof path, "%s/%s", reshapes->folder, name);
    return read_ready(path, source, &count, err) == 0 ? 0 : folder_remove(path, err);
}

int reshapes_create(const struct reshapes_settings *settings, struct reshapes **out,
                    struct err *err)
{
    struct reshapes *reshapes = calloc(1, sizeof *reshapes);
    *out = NULL;
    if (reshapes == NULL || asprintf(&reshapes->folder, "%s/reshape", settings->dir) < 0)
        abort();
    reshapes->settings = *settings;
    pthread_mutex_init(&reshapes->lock, NULL);
    pthread_mutex_init(&reshapes->files, NULL);
    list_init(&reshapes->all);
    int code = store_make_folder(reshapes->folder, err);
    if (code == 0)
        code = folder_each(reshapes->folder, drop_unready, reshapes, err);
    if (code != 0) {
        reshapes_destroy(reshapes);
        return code;
    }
    *out = reshapes;
    return 0;
}

void reshapes_stop(struct reshapes *reshapes)
{
    if (reshapes == NULL)
        return;
    pthread_mutex_lock(&reshapes->lock);
    reshapes->stopping = true;
    for (struct list *link = reshapes->all.next; link != &reshapes->all; link = link->next) {
        struct reshape *reshape = list_entry(link, struct reshape, link);
        atomic_store(&reshape->stopping, true);
        for (size_t i = 0; i < reshape->target_count; i++)
            if (reshape->target[i].range != NULL)
                range_stop(reshape->target[i].range);
    }
    reap(reshapes, true);
    pthread_mutex_unlock(&reshapes->lock);
}

void reshapes_destroy(struct reshapes *reshapes)
{
    if (reshapes == NULL)
        return;
    reshapes_stop(reshapes);
    pthread_mutex_destroy(&reshapes->lock);
    pthread_mutex_destroy(&reshapes->files);
    free(reshapes->folder);
    free(reshapes);
}
