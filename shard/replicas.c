#include "shard/replicas.h"

#include "proto/base/data_dir.h"
#include "proto/base/log.h"

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
    pthread_mutex_t lock;      /* the table and the epoch */
    pthread_mutex_t assigning; /* one assignment at a time */
    struct list all;
    uint64_t map_epoch;
    uint64_t durable_epoch; /* of the newest assignment ever seen: an older one drops nothing */
};

/* ---- the epoch file ----
 *
 * The number and its checksum: one that a flipped bit made larger would have every assignment
 * refused for good. */

#define EPOCH_TEXT_MAX 32

static void epoch_text(uint64_t epoch, char text[EPOCH_TEXT_MAX])
{
    int size = snprintf(text, EPOCH_TEXT_MAX, "%llu", (unsigned long long)epoch);
    snprintf(text + size, EPOCH_TEXT_MAX - (size_t)size, " %08x",
             (unsigned)checksum32(text, (size_t)size));
}

static int read_epoch(struct replicas *replicas, struct err *err)
{
    char text[EPOCH_TEXT_MAX + 1], right[EPOCH_TEXT_MAX];
    int code = data_dir_read(replicas->settings.dir, EPOCH_FILE, text, sizeof text, err);
    if (code == ERR_NOT_FOUND)
        return 0;
    if (code != 0)
        return code;
    replicas->durable_epoch = strtoull(text, NULL, 10);
    epoch_text(replicas->durable_epoch, right);
    if (strcmp(text, right) != 0)
        return err_set(err, ERR_CORRUPT, "%s/" EPOCH_FILE " is damaged", replicas->settings.dir);
    return 0;
}

static void write_epoch(struct replicas *replicas, uint64_t epoch)
{
    char text[EPOCH_TEXT_MAX];
    struct err err;
    epoch_text(epoch, text);
    if (data_dir_write(replicas->settings.dir, EPOCH_FILE, text, &err) != 0)
        log_event(LOG_WARN, "the map's epoch cannot be kept", LOG_STR("error", err.text));
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
static struct replica *find(struct replicas *replicas, uint64_t id)
{
    for (struct list *link = replicas->all.next; link != &replicas->all; link = link->next) {
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

static void drop_unnamed(struct replicas *replicas, const Quire__ShardAssign *assign)
{
    struct list gone;
    list_init(&gone);
    pthread_mutex_lock(&replicas->lock);
    for (struct list *link = replicas->all.next, *next; link != &replicas->all; link = next) {
        struct replica *replica = list_entry(link, struct replica, link);
        next = link->next;
        if (named(assign, replica->id))
            continue;
        list_remove(link);
        list_push(&gone, link);
    }
    pthread_mutex_unlock(&replicas->lock);
    for (struct list *link; (link = list_shift(&gone)) != NULL;) {
        struct replica *replica = list_entry(link, struct replica, link);
        atomic_store(&replica->dropped, true);
        if (replica->range != NULL)
            range_stop(replica->range);
        replica_unref(replica);
    }
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
        bool held = find(replicas, id) != NULL;
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

struct opening {
    pthread_mutex_t lock;
    pthread_cond_t done;
    size_t left;
};

struct open_job {
    struct pool_job job;
    struct replica *replica;
    struct opening *opening;
};

static void run_open(struct pool_job *job)
{
    struct open_job *open = (struct open_job *)job;
    replica_open(open->replica);
    replica_maintain(open->replica);
    pthread_mutex_lock(&open->opening->lock);
    open->opening->left--;
    pthread_cond_signal(&open->opening->done);
    pthread_mutex_unlock(&open->opening->lock);
}

static struct replica *new_replica(struct replicas *replicas, const Quire__Range *range,
                                   const Quire__Collection *collection, size_t count)
{
    char path[4096];
    size_t memory = replicas->settings.memory_budget / (count < 2 ? 2 : count);
    memory = memory < MEMORY_MIN ? MEMORY_MIN : memory > MEMORY_MAX ? MEMORY_MAX : memory;
    snprintf(path, sizeof path, "%s/%llu", replicas->folder, (unsigned long long)range->id);
    return replica_create(range->id, range->epoch, collection, path, memory,
                          &replicas->settings.means);
}

/* What has to be opened, put into the table as opening. ERR_INVALID when a collection is missing.
 */
static int take_up(struct replicas *replicas, const Quire__ShardAssign *assign,
                   struct open_job *jobs, size_t *count, struct err *err)
{
    int code = 0;
    pthread_mutex_lock(&replicas->lock);
    for (size_t i = 0; i < assign->n_ranges && code == 0; i++) {
        const Quire__Range *range = assign->ranges[i];
        const Quire__Collection *collection = collection_of(assign, range->collection);
        struct replica *replica = find(replicas, range->id);
        if (collection == NULL) {
            code = err_set(err, ERR_INVALID, "assignment: range %llu without its collection",
                           (unsigned long long)range->id);
            break;
        }
        if (replica != NULL && atomic_load(&replica->state) != REPLICA_FAILED) {
            if (range->epoch > atomic_load(&replica->epoch))
                atomic_store(&replica->sealed, false); /* it was not replaced after all */
            atomic_store(&replica->epoch, range->epoch);
            continue;
        }
        if (replica != NULL) { /* tried again from the start */
            list_remove(&replica->link);
            replica_unref(replica);
        }
        replica = new_replica(replicas, range, collection, assign->n_ranges);
        list_push(&replicas->all, &replica->link);
        replica_ref(replica);
        jobs[(*count)++].replica = replica;
    }
    pthread_mutex_unlock(&replicas->lock);
    return code;
}

static int open_all(struct replicas *replicas, struct open_job *jobs, size_t count, struct err *err)
{
    struct opening opening = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};
    int code = 0;
    opening.left = count;
    for (size_t i = 0; i < count; i++) {
        jobs[i].job.run = run_open;
        jobs[i].opening = &opening;
        if (pool_submit(replicas->settings.means.background, &jobs[i].job) != 0)
            run_open(&jobs[i].job); /* the queue is full: then here */
    }
    pthread_mutex_lock(&opening.lock);
    while (opening.left > 0)
        pthread_cond_wait(&opening.done, &opening.lock);
    pthread_mutex_unlock(&opening.lock);
    for (size_t i = 0; i < count; i++) {
        if (code == 0 && atomic_load(&jobs[i].replica->state) == REPLICA_FAILED) {
            code = jobs[i].replica->error.code;
            if (err != NULL)
                *err = jobs[i].replica->error;
        }
        replica_unref(jobs[i].replica);
    }
    return code;
}

static int assign_one(struct replicas *replicas, const Quire__ShardAssign *assign, struct err *err)
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
    struct open_job *jobs = calloc(assign->n_ranges + 1, sizeof jobs[0]);
    size_t count = 0;
    if (jobs == NULL)
        abort();
    struct err why = {0};
    int code = take_up(replicas, assign, jobs, &count, &why);
    int opened = open_all(replicas, jobs, count, err);
    if (code != 0 && err != NULL)
        *err = why;
    free(jobs);
    return code != 0 ? code : opened;
}

int replicas_assign(struct replicas *replicas, const Quire__ShardAssign *assign, struct err *err)
{
    pthread_mutex_lock(&replicas->assigning);
    int code = assign_one(replicas, assign, err);
    if (code == 0) {
        pthread_mutex_lock(&replicas->lock);
        replicas->map_epoch = assign->map_epoch;
        pthread_mutex_unlock(&replicas->lock);
    }
    pthread_mutex_unlock(&replicas->assigning);
    return code;
}

uint64_t replicas_map_epoch(struct replicas *replicas)
{
    pthread_mutex_lock(&replicas->lock);
    uint64_t epoch = replicas->map_epoch;
    pthread_mutex_unlock(&replicas->lock);
    return epoch;
}

/* ---- use ---- */

int replicas_acquire(struct replicas *replicas, const Quire__RangeRef *ref, struct replica **out,
                     struct err *err)
{
    unsigned long long id = ref->id;
    int code = 0;
    *out = NULL;
    pthread_mutex_lock(&replicas->lock);
    struct replica *replica = find(replicas, ref->id);
    if (replica == NULL)
        code = err_set(err, ERR_STALE, "range %llu is not here", id);
    else if (atomic_load(&replica->epoch) != ref->epoch)
        code = err_set(err, ERR_STALE, "range %llu is at epoch %llu, not %llu", id,
                       (unsigned long long)atomic_load(&replica->epoch),
                       (unsigned long long)ref->epoch);
    else if (atomic_load(&replica->state) == REPLICA_OPENING)
        code = err_set(err, ERR_UNAVAILABLE, "range %llu is being opened", id);
    else if (atomic_load(&replica->state) == REPLICA_FAILED)
        code = err_set(err, replica->error.code, "%s", replica->error.text);
    if (code == 0) {
        replica_ref(replica);
        *out = replica;
    }
    pthread_mutex_unlock(&replicas->lock);
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
