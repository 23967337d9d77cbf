#include "shard/reshape.h"

#include "shard/replicas.h"
#include "shard/reshape_internal.h"

#include <stdio.h>
#include <stdlib.h>

uint64_t reshape_position(const struct reshape *reshape, size_t source)
{
    uint64_t seq = UINT64_MAX;
    for (size_t i = 0; i < reshape->target_count; i++)
        if (reshape->target[i].position[source] < seq)
            seq = reshape->target[i].position[source];
    return seq;
}

bool reshape_asked_of(struct replica *replica, uint64_t reshape)
{
    pthread_mutex_lock(&replica->lock);
    const Quire__Reshape *asked = replica->config->reshape;
    bool asks = asked != NULL && asked->n_targets > 0 && asked->targets[0]->id == reshape;
    pthread_mutex_unlock(&replica->lock);
    return asks;
}

/* ---- the table ---- */

struct reshape *reshape_find(const struct reshapes *reshapes, uint64_t id)
{
    for (struct list *link = reshapes->all.next; link != &reshapes->all; link = link->next)
        if (list_entry(link, struct reshape, link)->id == id)
            return list_entry(link, struct reshape, link);
    return NULL;
}

static void reshape_free(struct reshape *reshape)
{
    for (size_t i = 0; i < RESHAPE_TARGETS_MAX; i++) {
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
    if (asked->n_sources == 0 || asked->n_sources > RESHAPE_SOURCES_MAX || asked->n_targets == 0 ||
        asked->n_targets > RESHAPE_TARGETS_MAX ||
        reshape_find(reshapes, asked->targets[0]->id) != NULL || reshapes->count == RESHAPES_MAX ||
        reshapes->stopping)
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
            out->seq = ready ? reshape->source[i].seq : reshape_position(reshape, i);
        }
    }
    pthread_mutex_unlock(&reshapes->lock);
}

/* ---- life ---- */

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
        code = reshape_drop_unready(reshapes, err);
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
