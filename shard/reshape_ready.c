/* What is ready, on the disk: DIR/reshape/ID/ready, and the targets beside it. */
#include "shard/reshape_internal.h"

#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "shard/folder.h"
#include "shard/replicas.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define READY_FILE "ready"
#define READY_SIZE 256

/* ---- paths ---- */

void reshape_path(const struct reshapes *reshapes, uint64_t id, char out[RESHAPE_PATH_SIZE])
{
    snprintf(out, RESHAPE_PATH_SIZE, "%s/%llu", reshapes->folder, (unsigned long long)id);
}

void reshape_path_within(const struct reshape *reshape, uint64_t id, char out[RESHAPE_PATH_SIZE])
{
    snprintf(out, RESHAPE_PATH_SIZE, "%s/%llu/%llu", reshape->reshapes->folder,
             (unsigned long long)reshape->id, (unsigned long long)id);
}

/* ---- what is ready ---- */

static bool parse_ready(const char *text, struct reshape_source *source, size_t *count)
{
    for (*count = 0; *text != 0 && *count < RESHAPE_SOURCES_MAX; ++*count) {
        unsigned long long id, epoch, seq;
        int length = 0;
        if (sscanf(text, "%llu:%llu:%llu%n", &id, &epoch, &seq, &length) != 3)
            return false;
        source[*count] = (struct reshape_source){id, epoch, seq};
        text += length;
        text += *text == ' ';
    }
    return *text == 0 && *count > 0;
}

int reshape_read_ready(const char *path, struct reshape_source *source, size_t *count,
                       struct err *err)
{
    char text[READY_SIZE];
    int code = data_dir_read(path, READY_FILE, text, sizeof text, err);
    if (code == 0 && !parse_ready(text, source, count))
        code = err_set(err, ERR_CORRUPT, "%s/" READY_FILE " does not say what is ready", path);
    return code;
}

int reshape_write_ready(const struct reshape *reshape, const struct reshape_source *source,
                        struct err *err)
{
    char path[RESHAPE_PATH_SIZE], text[READY_SIZE];
    int size = 0;
    reshape_path(reshape->reshapes, reshape->id, path);
    for (size_t i = 0; i < reshape->source_count; i++)
        size += snprintf(text + size, sizeof text - (size_t)size, "%s%llu:%llu:%llu",
                         i > 0 ? " " : "", (unsigned long long)source[i].id,
                         (unsigned long long)source[i].epoch, (unsigned long long)source[i].seq);
    return data_dir_write(path, READY_FILE, text, err);
}

struct replication_position reshape_end(const struct reshape_source *source, size_t count)
{
    struct replication_position end = {0};
    for (size_t i = 0; i < count; i++) {
        end.epoch = source[i].epoch > end.epoch ? source[i].epoch : end.epoch;
        end.seq = source[i].seq > end.seq ? source[i].seq : end.seq;
    }
    return end;
}

int reshape_remove_ready(const struct reshape *reshape, struct err *err)
{
    char path[RESHAPE_PATH_SIZE];
    reshape_path(reshape->reshapes, reshape->id, path);
    return data_dir_remove(path, READY_FILE, err);
}

static int drop_unready_one(void *data, const char *name, struct err *err)
{
    const struct reshapes *reshapes = data;
    char path[RESHAPE_PATH_SIZE];
    struct reshape_source source[RESHAPE_SOURCES_MAX];
    size_t count;
    snprintf(path, sizeof path, "%s/%s", reshapes->folder, name);
    return reshape_read_ready(path, source, &count, err) == 0 ? 0 : folder_remove(path, err);
}

int reshape_drop_unready(struct reshapes *reshapes, struct err *err)
{
    return folder_each(reshapes->folder, drop_unready_one, reshapes, err);
}

/* ---- taking it, and clearing up ---- */

struct search {
    struct reshapes *reshapes;
    uint64_t target;
    struct replication_position end;
    char path[2 * RESHAPE_PATH_SIZE];
    bool found;
};

static int look_into(void *data, const char *name, struct err *err)
{
    (void)err;
    struct search *search = data;
    char path[RESHAPE_PATH_SIZE], inner[2 * RESHAPE_PATH_SIZE];
    struct reshape_source source[RESHAPE_SOURCES_MAX];
    struct stat info;
    size_t count;
    struct err why;
    snprintf(path, sizeof path, "%s/%s", search->reshapes->folder, name);
    snprintf(inner, sizeof inner, "%s/%llu", path, (unsigned long long)search->target);
    if (stat(inner, &info) != 0 || reshape_read_ready(path, source, &count, &why) != 0)
        return 0;
    struct replication_position end = reshape_end(source, count);
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
    char path[RESHAPE_PATH_SIZE];
    struct stat info;
    snprintf(path, sizeof path, "%s/%llu", use->path, (unsigned long long)replica->id);
    use->used |= reshape_asked_of(replica, use->id) ||
                 (atomic_load(&replica->state) == REPLICA_OPENING && stat(path, &info) == 0);
}

static int sweep_one(void *data, const char *name, struct err *err)
{
    struct reshapes *reshapes = data;
    char path[RESHAPE_PATH_SIZE], *end;
    struct use use = {.id = strtoull(name, &end, 10), .path = path};
    snprintf(path, sizeof path, "%s/%s", reshapes->folder, name);
    pthread_mutex_lock(&reshapes->lock);
    use.used = reshape_find(reshapes, use.id) != NULL;
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
