#include "shard/replicas.h"

#include "proto/base/clock.h"
#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "shard/replicator.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define EPOCH_FILE "map-epoch"
#define MEMORY_MIN ((size_t)4 << 20)  /* of one range: below, flushes cost more than they save */
#define MEMORY_MAX ((size_t)64 << 20) /* of one range: above, a restart takes long */

struct replicas {
    struct replicas_settings settings;
    char *folder;              /* DIR/ranges */
    pthread_mutex_t lock;      /* the table */
    pthread_mutex_t assigning; /* one assignment at a time */
    struct list all;
    struct list ending; /* dropped, or to be followed by another, and still in use */
    bool closing;
    uint64_t durable_epoch; /* of the newest assignment ever seen: an older one drops nothing */
};

/* ---- the epoch file ---- */

static int read_epoch(struct replicas *replicas, struct err *err)
{
    int code =
        data_dir_read_number(replicas->settings.dir, EPOCH_FILE, &replicas->durable_epoch, err);
    return code == ERR_NOT_FOUND ? 0 : code;
}

static void write_epoch(struct replicas *replicas, uint64_t epoch)
{
    struct err err;
    if (data_dir_write_number(replicas->settings.dir, EPOCH_FILE, epoch, &err) != 0)
        log_event(LOG_WARN, "the map's epoch cannot be kept", LOG_STR("error", err.text));
}

/* ---- what replicas tell ---- */

static void on_opened(void *data)
{
    struct replicas *replicas = data;
    replicas->settings.opened(replicas->settings.data);
}

/* Nobody uses it any more, and its files are as it left them: who waited for that may begin. */
static void on_ended(void *data, struct replica *replica)
{
    struct replicas *replicas = data;
    pthread_mutex_lock(&replicas->lock);
    list_remove(&replica->link);
    struct replica *successor = replica->successor;
    bool closing = replicas->closing;
    pthread_mutex_unlock(&replicas->lock);
    if (successor == NULL)
        return;
    if (!closing && !atomic_load(&successor->dropped))
        replica_start(successor);
    replica_unref(successor);
}

/* ---- life ---- */

int replicas_create(const struct replicas_settings *settings, struct replicas **out,
                    struct err *err)
{
    *out = NULL;
    struct replicas *replicas = calloc(1, sizeof *replicas);
    if (replicas == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    replicas->settings = *settings;
    if (asprintf(&replicas->folder, "%s/ranges", settings->dir) < 0)
        abort();
    pthread_mutex_init(&replicas->lock, NULL);
    pthread_mutex_init(&replicas->assigning, NULL);
    list_init(&replicas->all);
    list_init(&replicas->ending);
    replicas->settings.means.ended = on_ended;
    replicas->settings.means.data = replicas;
    replicas->settings.means.opened = on_opened;
    int code = store_make_folder(replicas->folder, err);
    if (code == 0)
        code = read_epoch(replicas, err);
    if (code != 0) {
        replicas_destroy(replicas);
        return code;
    }
    *out = replicas;
    return 0;
}

void replicas_close(struct replicas *replicas)
{
    pthread_mutex_lock(&replicas->lock);
    replicas->closing = true;
    pthread_mutex_unlock(&replicas->lock);
}

void replicas_destroy(struct replicas *replicas)
{
    if (replicas == NULL)
        return;
    struct list *link;
    while ((link = list_shift(&replicas->all)) != NULL)
        replica_unref(list_entry(link, struct replica, link));
    pthread_mutex_destroy(&replicas->lock);
    pthread_mutex_destroy(&replicas->assigning);
    free(replicas->folder);
    free(replicas);
}

/* Holder of the lock. */
static struct replica *find(const struct list *list, uint64_t id)
{
    for (struct list *link = list->next; link != list; link = link->next) {
        struct replica *replica = list_entry(link, struct replica, link);
        if (replica->id == id)
            return replica;
    }
    return NULL;
}

/* ---- assignments ---- */

static const Quire__Collection *collection_of(const Quire__ShardAssign *assign, uint64_t id)
{
    for (size_t i = 0; i < assign->n_collections; i++)
        if (assign->collections[i]->has_id && assign->collections[i]->id == id)
            return assign->collections[i];
    return NULL;
}

static bool named(const Quire__ShardAssign *assign, uint64_t id)
{
    for (size_t i = 0; i < assign->n_ranges; i++)
        if (assign->ranges[i]->id == id)
            return true;
    return false;
}

/* Takes it from the table; holder of the lock. The table's reference goes to the caller. */
static void take_out(struct replicas *replicas, struct replica *replica)
{
    list_remove(&replica->link);
    list_push(&replicas->ending, &replica->link);
}

static void let_go(struct replicas *replicas, struct replica *replica)
{
    replicator_dropped(replicas->settings.means.replicator, replica);
    if (replica->range != NULL && atomic_load(&replica->state) == REPLICA_OPEN)
        range_stop(replica->range);
    replica_unref(replica);
}

static void drop_unnamed(struct replicas *replicas, const Quire__ShardAssign *assign)
{
    struct replica **gone = NULL;
    size_t count = 0;
    pthread_mutex_lock(&replicas->lock);
    for (struct list *link = replicas->all.next, *next; link != &replicas->all; link = next) {
        struct replica *replica = list_entry(link, struct replica, link);
        next = link->next;
        if (named(assign, replica->id))
            continue;
        take_out(replicas, replica);
        gone = realloc(gone, (count + 1) * sizeof *gone);
        if (gone == NULL)
            abort();
        gone[count++] = replica;
    }
    pthread_mutex_unlock(&replicas->lock);
    for (size_t i = 0; i < count; i++) {
        atomic_store(&gone[i]->dropped, true);
        let_go(replicas, gone[i]);
    }
    free(gone);
}

/* Folders of ranges that were dropped while this process did not run. */
static void drop_folders(struct replicas *replicas, const Quire__ShardAssign *assign)
{
    DIR *folder = opendir(replicas->folder);
    struct dirent *item;
    while (folder != NULL && (item = readdir(folder)) != NULL) {
        char *end, path[4096];
        unsigned long long id = strtoull(item->d_name, &end, 10);
        if (item->d_name[0] < '0' || item->d_name[0] > '9' || *end != 0 || named(assign, id))
            continue;
        pthread_mutex_lock(&replicas->lock);
        bool held = find(&replicas->all, id) != NULL || find(&replicas->ending, id) != NULL;
        pthread_mutex_unlock(&replicas->lock);
        if (held)
            continue;
        struct err err = {0};
        snprintf(path, sizeof path, "%s/%s", replicas->folder, item->d_name);
        if (log_store_drop(replicas->settings.means.log, id, &err) != 0 ||
            store_destroy_files(path, &err) != 0 || (rmdir(path) != 0 && errno != ENOENT))
            continue; /* one that was dropped just now and is still read: its last reader does it */
        log_event(LOG_INFO, "folder of a dropped range removed", LOG_U64("range", id));
    }
    if (folder != NULL)
        closedir(folder);
}

static struct replica *new_replica(struct replicas *replicas, const Quire__Range *range,
                                   const Quire__Collection *collection, size_t count)
{
    char path[4096];
    size_t memory = replicas->settings.memory_budget / (count < 2 ? 2 : count);
    memory = memory < MEMORY_MIN ? MEMORY_MIN : memory > MEMORY_MAX ? MEMORY_MAX : memory;
    snprintf(path, sizeof path, "%s/%llu", replicas->folder, (unsigned long long)range->id);
    return replica_create(range, collection, path, memory, &replicas->settings.means);
}

/* Puts it into the table and opens it: at once, or when `before`, which has been taken out, has
 * ended. Holder of the lock; returns whether the caller has to start it. */
static bool put_in(struct replicas *replicas, struct replica *replica, struct replica *before)
{
    list_push(&replicas->all, &replica->link);
    if (before == NULL)
        return true;
    assert(before->successor == NULL); /* it was the newest of its id */
    replica_ref(replica);
    before->successor = replica;
    return false;
}

/* The one of this id that was taken out last. */
static struct replica *ending(struct replicas *replicas, uint64_t id)
{
    struct replica *last = NULL;
    for (struct list *link = replicas->ending.next; link != &replicas->ending; link = link->next)
        if (list_entry(link, struct replica, link)->id == id)
            last = list_entry(link, struct replica, link);
    return last;
}

/* It is damaged, and the configuration says that it learns: from the start, then. */
static bool is_to_be_renewed(const struct replicas *replicas, struct replica *replica,
                             const Quire__Range *range)
{
    if (!atomic_load(&replica->damaged) || atomic_load(&replica->state) != REPLICA_OPEN)
        return false;
    for (size_t i = 0; i < range->n_learners; i++)
        if (strcmp(range->learners[i], replicas->settings.means.node_id) == 0)
            return true;
    return false;
}

/* Opens what is not here and hands over the configuration of what is. ERR_INVALID when a collection
 * is missing. */
static int take_up(struct replicas *replicas, const Quire__ShardAssign *assign, bool may_lead,
                   const Quire__Range *range, struct err *err)
{
    const Quire__Collection *collection = collection_of(assign, range->collection);
    if (collection == NULL)
        return err_set(err, ERR_INVALID, "assignment: range %llu without its collection",
                       (unsigned long long)range->id);
    struct replica *failed = NULL, *started = NULL;
    pthread_mutex_lock(&replicas->lock);
    struct replica *replica = find(&replicas->all, range->id);
    if (replica != NULL && atomic_load(&replica->state) == REPLICA_FAILED) {
        failed = replica; /* tried again from the start */
        take_out(replicas, failed);
        replica = NULL;
    }
    bool renews = replica != NULL && is_to_be_renewed(replicas, replica, range);
    if (renews) {
        failed = replica;
        take_out(replicas, failed);
        replica = NULL;
    }
    if (replica == NULL) {
        replica = new_replica(replicas, range, collection, assign->n_ranges);
        replica->may_lead = may_lead;
        replica->renewed = renews;
        if (put_in(replicas, replica, ending(replicas, range->id)))
            started = replica;
    } else if (replica_take_config(replica, range, may_lead)) {
        replicator_configured(replicas->settings.means.replicator, replica);
    }
    if (started != NULL)
        replica_ref(started);
    pthread_mutex_unlock(&replicas->lock);
    if (failed != NULL && renews)
        let_go(replicas, failed);
    else if (failed != NULL)
        replica_unref(failed);
    if (started != NULL) {
        replica_start(started);
        replica_unref(started);
    }
    return 0;
}

static int assign_one(struct replicas *replicas, const Quire__ShardAssign *assign, bool may_lead,
                      struct err *err)
{
    if (assign->map_epoch < replicas->durable_epoch)
        return err_set(err, ERR_STALE, "assignment of map epoch %llu, %llu was seen already",
                       (unsigned long long)assign->map_epoch,
                       (unsigned long long)replicas->durable_epoch);
    if (assign->map_epoch > replicas->durable_epoch)
        write_epoch(replicas, assign->map_epoch);
    replicas->durable_epoch = assign->map_epoch;
    drop_unnamed(replicas, assign);
    drop_folders(replicas, assign);
    int code = 0;
    for (size_t i = 0; i < assign->n_ranges && code == 0; i++)
        code = take_up(replicas, assign, may_lead, assign->ranges[i], err);
    if (code == 0)
        replicator_map(replicas->settings.means.replicator, assign->map_epoch);
    return code;
}

int replicas_assign(struct replicas *replicas, const Quire__ShardAssign *assign, bool may_lead,
                    struct err *err)
{
    pthread_mutex_lock(&replicas->assigning);
    int code = assign_one(replicas, assign, may_lead, err);
    pthread_mutex_unlock(&replicas->assigning);
    return code;
}

bool replicas_settled(struct replicas *replicas, const uint64_t *ids, size_t count, struct err *err)
{
    bool settled = true;
    err->code = 0;
    pthread_mutex_lock(&replicas->lock);
    for (size_t i = 0; i < count; i++) {
        struct replica *replica = find(&replicas->all, ids[i]);
        int state = replica == NULL ? REPLICA_OPEN : atomic_load(&replica->state);
        settled &= state != REPLICA_OPENING;
        if (state == REPLICA_FAILED && err->code == 0)
            *err = replica->error;
    }
    pthread_mutex_unlock(&replicas->lock);
    return settled;
}

void replicas_reinstall(struct replicas *replicas, struct replica *replica,
                        struct replication_position at)
{
    struct replica *again = replica_again(replica);
    again->installs = true;
    again->install = at;
    pthread_mutex_lock(&replicas->lock);
    bool here = find(&replicas->all, replica->id) == replica;
    if (here) {
        take_out(replicas, replica);
        (void)put_in(replicas, again, replica);
    }
    pthread_mutex_unlock(&replicas->lock);
    if (!here) { /* dropped meanwhile */
        list_init(&again->link);
        replica_unref(again);
        return;
    }
    if (replica->range != NULL)
        range_stop(replica->range);
    replica_unref(replica);
}

void replicas_retry(struct replicas *replicas, uint64_t now_ms)
{
    struct replica *failed = NULL, *again = NULL;
    pthread_mutex_lock(&replicas->lock);
    for (struct list *link = replicas->all.next; link != &replicas->all; link = link->next) {
        struct replica *replica = list_entry(link, struct replica, link);
        if (atomic_load(&replica->state) == REPLICA_FAILED &&
            now_ms - replica->failed_ms >= REPLICAS_RETRY_MS) {
            failed = replica;
            break;
        }
    }
    if (failed != NULL) {
        again = replica_again(failed);
        again->installs = failed->installs;
        again->install = failed->install;
        take_out(replicas, failed);
        (void)put_in(replicas, again, failed);
    }
    pthread_mutex_unlock(&replicas->lock);
    if (failed != NULL)
        replica_unref(failed);
}

/* ---- use ---- */

struct replica *replicas_find(struct replicas *replicas, uint64_t id)
{
    pthread_mutex_lock(&replicas->lock);
    struct replica *replica = find(&replicas->all, id);
    if (replica != NULL)
        replica_ref(replica);
    pthread_mutex_unlock(&replicas->lock);
    return replica;
}

int replicas_acquire_open(struct replicas *replicas, uint64_t id, struct replica **out,
                          struct err *err)
{
    struct replica *replica = replicas_find(replicas, id);
    int state = replica == NULL ? REPLICA_LEARNING : atomic_load(&replica->state), code = 0;
    *out = NULL;
    if (state == REPLICA_LEARNING)
        code = err_set(err, ERR_STALE, "range %llu is not here", (unsigned long long)id);
    else if (state == REPLICA_OPENING)
        code = err_set(err, ERR_UNAVAILABLE, "range %llu is being opened", (unsigned long long)id);
    else if (state == REPLICA_FAILED)
        code = err_set(err, replica->error.code, "%s", replica->error.text);
    if (code == 0)
        *out = replica;
    else if (replica != NULL)
        replica_unref(replica);
    return code;
}

int replicas_acquire(struct replicas *replicas, const Quire__RangeRef *ref, uint64_t deadline_ms,
                     struct replica **out, struct err *err)
{
    int code = replicas_acquire_open(replicas, ref->id, out, err);
    if (code != 0)
        return code;
    code = replica_may_read(*out, ref, err);
    if (code == 0)
        code = replica_await(*out, ref->min_seq, deadline_ms, err);
    if (code != 0) {
        replica_unref(*out);
        *out = NULL;
    }
    return code;
}

void replicas_each(struct replicas *replicas, void (*visit)(void *data, struct replica *replica),
                   void *data)
{
    pthread_mutex_lock(&replicas->lock);
    for (struct list *link = replicas->all.next; link != &replicas->all; link = link->next)
        visit(data, list_entry(link, struct replica, link));
    pthread_mutex_unlock(&replicas->lock);
}
