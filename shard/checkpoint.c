/* The primary's side: checkpoints that are being fetched. */
#include "shard/checkpoint_internal.h"

#include "proto/base/log.h"
#include "proto/base/uuid.h"
#include "shard/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct checkpoint {
    struct list link;
    uint64_t id, range;
    char learner[UUID_TEXT_SIZE];
    uint64_t durable_seq; /* while it is made: not above what it will be */
    uint64_t used_ms;
    int users;  /* threads that make it or read from it: its files stay */
    bool ready; /* to be read from */
    bool gone;  /* out of the list; its last user removes it */
};

/* ---- life ---- */

void checkpoint_incoming(const struct checkpoints *checkpoints, uint64_t range,
                         char path[CHECKPOINT_PATH_MAX])
{
    snprintf(path, CHECKPOINT_PATH_MAX, "%s/checkpoints/in-%llu", checkpoints->dir,
             (unsigned long long)range);
}

static void path_of(const struct checkpoints *checkpoints, uint64_t id,
                    char path[CHECKPOINT_PATH_MAX])
{
    snprintf(path, CHECKPOINT_PATH_MAX, "%s/checkpoints/%016llx", checkpoints->dir,
             (unsigned long long)id);
}

/* Numbers of another life of this process must not be taken for ours. */
static uint64_t first_id(void)
{
    char random[UUID_TEXT_SIZE];
    uuid_generate_text(random);
    return hash64(random, sizeof random - 1);
}

int checkpoints_create(const char *dir, struct log_store *log, struct checkpoints **out,
                       struct err *err)
{
    char path[CHECKPOINT_PATH_MAX];
    *out = NULL;
    struct checkpoints *checkpoints = calloc(1, sizeof *checkpoints);
    if (checkpoints == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    checkpoints->dir = dir;
    checkpoints->log = log;
    checkpoints->next_id = first_id();
    list_init(&checkpoints->all);
    pthread_mutex_init(&checkpoints->lock, NULL);
    snprintf(path, sizeof path, "%s/checkpoints", dir);
    int code = folder_remove(path, err);
    if (code == 0)
        code = store_make_folder(path, err);
    if (code == 0)
        code = checkpoint_complete(checkpoints, err);
    if (code != 0) {
        checkpoints_destroy(checkpoints);
        return code;
    }
    *out = checkpoints;
    return 0;
}

/* Out of the lock: unlinking takes its time. */
static void remove_files(struct checkpoints *checkpoints, struct checkpoint *checkpoint)
{
    char path[CHECKPOINT_PATH_MAX];
    struct err err = {0};
    path_of(checkpoints, checkpoint->id, path);
    if (folder_remove(path, &err) != 0)
        log_event(LOG_WARN, "a checkpoint was left behind", LOG_STR("error", err.text));
    free(checkpoint);
}

void checkpoints_destroy(struct checkpoints *checkpoints)
{
    struct list *link;
    if (checkpoints == NULL)
        return;
    while ((link = list_shift(&checkpoints->all)) != NULL)
        remove_files(checkpoints, list_entry(link, struct checkpoint, link));
    pthread_mutex_destroy(&checkpoints->lock);
    free(checkpoints);
}

/* Holder of the lock. */
static void take_out(struct checkpoints *checkpoints, struct checkpoint *checkpoint)
{
    list_remove(&checkpoint->link);
    checkpoints->count--;
    checkpoint->gone = true;
}

/* Holder of the lock. One that nobody uses is put on `unused`, to be removed without the lock. */
static void retire(struct checkpoints *checkpoints, struct checkpoint *checkpoint,
                   struct list *unused)
{
    take_out(checkpoints, checkpoint);
    if (checkpoint->users == 0)
        list_push(unused, &checkpoint->link);
}

static void remove_all(struct checkpoints *checkpoints, struct list *unused)
{
    struct list *link;
    while ((link = list_shift(unused)) != NULL)
        remove_files(checkpoints, list_entry(link, struct checkpoint, link));
}

/* Ends a use; the last user of one that is gone removes it. */
static void release(struct checkpoints *checkpoints, struct checkpoint *checkpoint, uint64_t now_ms)
{
    pthread_mutex_lock(&checkpoints->lock);
    checkpoint->used_ms = now_ms;
    bool unused = --checkpoint->users == 0 && checkpoint->gone;
    pthread_mutex_unlock(&checkpoints->lock);
    if (unused)
        remove_files(checkpoints, checkpoint);
}

/* ---- making one ---- */

static struct checkpoint *begin(struct checkpoints *checkpoints, struct range *range,
                                const char *learner, struct err *err)
{
    struct list unused;
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (checkpoint == NULL)
        abort();
    checkpoint->range = range_id(range);
    checkpoint->durable_seq = range_durable_seq(range);
    checkpoint->users = 1;
    snprintf(checkpoint->learner, sizeof checkpoint->learner, "%s", learner);
    list_init(&unused);
    pthread_mutex_lock(&checkpoints->lock);
    for (struct list *link = checkpoints->all.next, *next; link != &checkpoints->all; link = next) {
        struct checkpoint *old = list_entry(link, struct checkpoint, link);
        next = link->next;
        if (old->range == checkpoint->range && strcmp(old->learner, checkpoint->learner) == 0)
            retire(checkpoints, old, &unused);
    }
    bool room = checkpoints->count < CHECKPOINTS_MAX;
    if (room) {
        checkpoint->id = checkpoints->next_id++;
        checkpoints->count++;
        list_push(&checkpoints->all, &checkpoint->link);
    }
    pthread_mutex_unlock(&checkpoints->lock);
    remove_all(checkpoints, &unused);
    if (room)
        return checkpoint;
    free(checkpoint);
    err_set(err, ERR_FULL, "%d checkpoints are being fetched already", CHECKPOINTS_MAX);
    return NULL;
}

struct listing {
    const char *path;
    struct arena *arena;
    Quire__ReplicaFiles *files;
};

static int list_file(void *data, const char *name, struct err *err)
{
    struct listing *listing = data;
    Quire__ReplicaFiles *files = listing->files;
    char path[CHECKPOINT_PATH_MAX];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", listing->path, name);
    if (stat(path, &info) != 0)
        return err_set(err, ERR_IO, "read %s: %s", path, strerror(errno));
    if (files->n_files == CHECKPOINT_FILES_MAX)
        return err_set(err, ERR_TOO_LARGE, "the index has more than %d files",
                       CHECKPOINT_FILES_MAX);
    Quire__ReplicaFile *file = arena_alloc(listing->arena, sizeof *file);
    if (file == NULL)
        abort();
    quire__replica_file__init(file);
    file->name = arena_strdup(listing->arena, name);
    file->size = (uint64_t)info.st_size;
    files->files[files->n_files++] = file;
    return 0;
}

static int make(struct checkpoints *checkpoints, struct checkpoint *checkpoint, struct range *range,
                struct arena *arena, Quire__ReplicaFiles *files, struct err *err)
{
    char path[CHECKPOINT_PATH_MAX];
    struct listing listing = {path, arena, files};
    path_of(checkpoints, checkpoint->id, path);
    files->checkpoint = checkpoint->id;
    files->files = arena_calloc(arena, CHECKPOINT_FILES_MAX, sizeof files->files[0]);
    if (files->files == NULL)
        abort();
    int code = range_checkpoint(range, path, &files->durable_seq, err);
    if (code == 0)
        code = folder_each(path, list_file, &listing, err);
    if (code == 0)
        code = log_store_epoch_at(checkpoints->log, checkpoint->range, files->durable_seq,
                                  &files->log_epoch, err);
    return code;
}

int checkpoints_take(struct checkpoints *checkpoints, struct range *range, const char *learner,
                     uint64_t now_ms, struct arena *arena, Quire__ReplicaFiles **out,
                     struct err *err)
{
    *out = NULL;
    struct checkpoint *checkpoint = begin(checkpoints, range, learner, err);
    if (checkpoint == NULL)
        return ERR_FULL;
    Quire__ReplicaFiles *files = arena_alloc(arena, sizeof *files);
    if (files == NULL)
        abort();
    quire__replica_files__init(files);
    int code = make(checkpoints, checkpoint, range, arena, files, err);
    pthread_mutex_lock(&checkpoints->lock);
    checkpoint->durable_seq = files->durable_seq;
    checkpoint->ready = code == 0;
    if (code != 0 && !checkpoint->gone)
        take_out(checkpoints, checkpoint);
    pthread_mutex_unlock(&checkpoints->lock);
    release(checkpoints, checkpoint, now_ms);
    if (code != 0)
        return err_prefix(err, "checkpoint of range %llu", (unsigned long long)range_id(range));
    *out = files;
    return 0;
}

/* ---- reading from one ---- */

static struct checkpoint *use(struct checkpoints *checkpoints, uint64_t id)
{
    struct checkpoint *found = NULL;
    pthread_mutex_lock(&checkpoints->lock);
    for (struct list *link = checkpoints->all.next; link != &checkpoints->all; link = link->next) {
        struct checkpoint *checkpoint = list_entry(link, struct checkpoint, link);
        if (checkpoint->id == id && checkpoint->ready)
            found = checkpoint;
    }
    if (found != NULL)
        found->users++;
    pthread_mutex_unlock(&checkpoints->lock);
    return found;
}

static int read_at(int fd, uint64_t offset, uint32_t size, struct arena *arena,
                   Quire__ReplicaChunk *chunk, struct err *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return err_set(err, ERR_IO, "%s", strerror(errno));
    uint64_t left = offset < (uint64_t)info.st_size ? (uint64_t)info.st_size - offset : 0;
    if (left == 0)
        return err_set(err, ERR_INVALID, "it ends at %lld", (long long)info.st_size);
    if (size > CHECKPOINT_CHUNK)
        size = CHECKPOINT_CHUNK;
    chunk->data.len = left < size ? (size_t)left : size;
    chunk->data.data = arena_alloc(arena, chunk->data.len + 1);
    if (chunk->data.data == NULL)
        abort();
    for (size_t at = 0; at < chunk->data.len;) {
        ssize_t got = pread(fd, chunk->data.data + at, chunk->data.len - at, (off_t)(offset + at));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return err_set(err, ERR_IO, "%s", got == 0 ? "it has become shorter" : strerror(errno));
        at += (size_t)got;
    }
    chunk->checksum = checksum32(chunk->data.data, chunk->data.len);
    return 0;
}

static int read_file(const struct checkpoints *checkpoints, const Quire__ReplicaFetch *fetch,
                     struct arena *arena, Quire__ReplicaChunk *chunk, struct err *err)
{
    char path[CHECKPOINT_PATH_MAX];
    size_t length = strlen(fetch->file);
    if (length == 0 || length > NAME_MAX || strchr(fetch->file, '/') != NULL ||
        fetch->file[0] == '.')
        return err_set(err, ERR_NOT_FOUND, "no such file");
    path_of(checkpoints, fetch->checkpoint, path);
    snprintf(path + strlen(path), sizeof path - strlen(path), "/%s", fetch->file);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s", strerror(errno));
    int code = read_at(fd, fetch->offset, fetch->size, arena, chunk, err);
    close(fd);
    return code;
}

int checkpoints_read(struct checkpoints *checkpoints, const Quire__ReplicaFetch *fetch,
                     uint64_t now_ms, struct arena *arena, Quire__ReplicaChunk **out,
                     struct err *err)
{
    *out = NULL;
    struct checkpoint *checkpoint = use(checkpoints, fetch->checkpoint);
    if (checkpoint == NULL)
        return err_set(err, ERR_NOT_FOUND, "this checkpoint is not kept any more");
    Quire__ReplicaChunk *chunk = arena_alloc(arena, sizeof *chunk);
    if (chunk == NULL)
        abort();
    quire__replica_chunk__init(chunk);
    int code = read_file(checkpoints, fetch, arena, chunk, err);
    release(checkpoints, checkpoint, now_ms);
    if (code != 0)
        return err_prefix(err, "file %.*s of a checkpoint", NAME_MAX, fetch->file);
    *out = chunk;
    return 0;
}

/* ---- keeping ---- */

void checkpoints_expire(struct checkpoints *checkpoints, uint64_t now_ms)
{
    struct list unused;
    list_init(&unused);
    pthread_mutex_lock(&checkpoints->lock);
    for (struct list *link = checkpoints->all.next, *next; link != &checkpoints->all; link = next) {
        struct checkpoint *checkpoint = list_entry(link, struct checkpoint, link);
        next = link->next;
        if (checkpoint->users == 0 && now_ms > checkpoint->used_ms &&
            now_ms - checkpoint->used_ms >= CHECKPOINT_KEPT_MS)
            retire(checkpoints, checkpoint, &unused);
    }
    pthread_mutex_unlock(&checkpoints->lock);
    remove_all(checkpoints, &unused);
}

uint64_t checkpoints_retain(struct checkpoints *checkpoints, uint64_t range, uint64_t seq)
{
    pthread_mutex_lock(&checkpoints->lock);
    for (struct list *link = checkpoints->all.next; link != &checkpoints->all; link = link->next) {
        const struct checkpoint *checkpoint = list_entry(link, struct checkpoint, link);
        if (checkpoint->range == range && checkpoint->durable_seq < seq)
            seq = checkpoint->durable_seq;
    }
    pthread_mutex_unlock(&checkpoints->lock);
    return seq;
}
