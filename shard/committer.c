#include "shard/committer.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct committer {
    struct log_store *log;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_cond_t room; /* less is prepared, or another write is the first */
    struct list queue;   /* of struct commit */
    size_t count, bytes, bytes_max;
    size_t prepared; /* bytes of memory of the writes that are ready, until they are done */
    bool stopping;
    struct err broken; /* the thread's; code != 0: the log cannot be written */
};

/* ---- the queue ---- */

int committer_enqueue(struct committer *committer, struct commit *commit)
{
    int status = 0;
    pthread_mutex_lock(&committer->lock);
    if (committer->count >= COMMITTER_QUEUE_MAX || committer->stopping ||
        committer->bytes + commit->bytes > committer->bytes_max) {
        status = ERR_FULL;
    } else {
        commit->ready = false;
        committer->count++;
        committer->bytes += commit->bytes;
        list_push(&committer->queue, &commit->link);
    }
    pthread_mutex_unlock(&committer->lock);
    return status;
}

static struct commit *head(struct committer *committer)
{
    if (list_empty(&committer->queue))
        return NULL;
    return list_entry(committer->queue.next, struct commit, link);
}

/* Were the head to wait, nothing would ever make room: those behind it are done after it. */
void committer_await_room(struct committer *committer, const struct commit *commit)
{
    pthread_mutex_lock(&committer->lock);
    while (committer->prepared >= COMMITTER_PREPARED_BYTES && head(committer) != commit)
        pthread_cond_wait(&committer->room, &committer->lock);
    pthread_mutex_unlock(&committer->lock);
}

void committer_ready(struct committer *committer, struct commit *commit)
{
    pthread_mutex_lock(&committer->lock);
    commit->ready = true;
    committer->prepared += commit->prepared;
    pthread_cond_signal(&committer->changed);
    pthread_mutex_unlock(&committer->lock);
}

static bool same_client(const struct commit *a, const struct commit *b)
{
    return a->replica == b->replica && a->write != NULL && b->write != NULL &&
           a->write->client_id != NULL && b->write->client_id != NULL &&
           strcmp(a->write->client_id, b->write->client_id) == 0;
}

/* Whether it may be committed together with those before it. Batches of one client are told apart
 * by what the range remembers, so a second one waits until the first is applied. */
static bool joins(const struct commit *commit, struct commit **group, size_t count, size_t bytes)
{
    if (count == 0)
        return true;
    if (commit->run != NULL || group[0]->run != NULL || count == COMMITTER_GROUP_MAX ||
        bytes + commit->bytes > COMMITTER_GROUP_BYTES)
        return false;
    for (size_t i = 0; i < count; i++)
        if (same_client(group[i], commit))
            return false;
    return true;
}

/* Waits for work; 0: there is none and there will be none. */
static size_t take_group(struct committer *committer, struct commit **group)
{
    size_t count = 0, bytes = 0;
    struct commit *commit;
    pthread_mutex_lock(&committer->lock);
    while ((commit = head(committer)) == NULL || !commit->ready) {
        if (commit == NULL && committer->stopping) {
            pthread_mutex_unlock(&committer->lock);
            return 0;
        }
        pthread_cond_wait(&committer->changed, &committer->lock);
    }
    while ((commit = head(committer)) != NULL && commit->ready &&
           joins(commit, group, count, bytes)) {
        list_remove(&commit->link);
        group[count++] = commit;
        bytes += commit->bytes;
    }
    pthread_cond_broadcast(&committer->room);
    pthread_mutex_unlock(&committer->lock);
    return count;
}

static void end(struct committer *committer, struct commit *commit, int status,
                const struct err *err)
{
    pthread_mutex_lock(&committer->lock);
    committer->count--;
    committer->bytes -= commit->bytes;
    committer->prepared -= commit->prepared;
    pthread_cond_broadcast(&committer->room);
    pthread_mutex_unlock(&committer->lock);
    commit->done(commit, status, err);
}

/* ---- committing ---- */

static bool session_of(const struct commit *commit, struct range_session *session)
{
    const Quire__ShardWrite *write = commit->write;
    *session = (struct range_session){write->client_id, write->batch};
    return write->client_id != NULL && write->client_id[0] != 0 && write->has_batch;
}

/* Whether it is to be written at all; *known: it was answered before. */
static int admit(struct committer *committer, struct commit *commit, bool *known, struct err *err)
{
    struct replica *replica = commit->replica;
    struct range_session session;
    *known = false;
    if (commit->error.code != 0) {
        *err = commit->error;
        return err->code;
    }
    if (committer->broken.code != 0)
        return err_set(err, committer->broken.code, "no more writes until a restart: %s",
                       committer->broken.text);
    if (atomic_load(&replica->dropped) || atomic_load(&replica->epoch) != commit->epoch)
        return err_set(err, ERR_STALE, "range %llu has changed", (unsigned long long)replica->id);
    if (atomic_load(&replica->sealed))
        return err_set(err, ERR_STALE, "range %llu is about to be replaced",
                       (unsigned long long)replica->id);
    int code = range_broken(replica->range, err);
    if (code != 0)
        return code;
    if (session_of(commit, &session))
        code = range_session_find(replica->range, &session, known, &commit->answers,
                                  &commit->answer_count, commit->arena, err);
    return code;
}

/* While the flush of a range lags far behind, its writers wait: memory has a ceiling. They do not
 * wait for what no flush gives back (counts of dead documents' tokens, which go with a merge). */
static void hold_back(struct replica *replica)
{
    uint64_t until = clock_ms() + COMMITTER_STALL_MS;
    struct range_figures figures;
    for (;;) {
        range_figures(replica->range, &figures);
        if (figures.memory_bytes < 2 * replica->memory_limit ||
            !range_wants_flush(replica->range) || clock_ms() >= until ||
            range_broken(replica->range, NULL) != 0)
            return;
        replica_maintain(replica);
        usleep(5000);
    }
}

static int apply(struct commit *commit, uint64_t first_seq, struct err *err)
{
    struct replica *replica = commit->replica;
    size_t count = commit->write->n_ops;
    struct range_op *ops = arena_calloc(commit->arena, count, sizeof *ops);
    struct range_session session;
    if (ops == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        ops[i] = (struct range_op){first_seq + i, commit->write->ops[i],
                                   commit->documents != NULL ? commit->documents[i] : NULL};
    bool known = session_of(commit, &session);
    commit->answers = commit->results;
    commit->answer_count = count;
    commit->seq = first_seq + count - 1;
    return range_apply_as(replica->range, known ? &session : NULL, ops, count, commit->results,
                          err);
}

static void append_and_apply(struct committer *committer, struct commit **group,
                             struct log_record *records, size_t count)
{
    struct err err = {0};
    int code = count == 0 ? 0 : log_store_append(committer->log, records, count, &err);
    if (code != 0) {
        committer->broken = err;
        log_event(LOG_ERROR, "the log cannot be written; reads go on", LOG_STR("error", err.text));
    }
    for (size_t i = 0; i < count; i++) {
        int status = code;
        struct err own = err;
        struct replica *replica = group[i]->replica;
        if (status == 0)
            status = apply(group[i], records[i].first_seq, &own);
        replica_ref(replica);
        end(committer, group[i], status, &own);
        replica_maintain(replica);
        hold_back(replica);
        replica_unref(replica);
    }
}

static void commit_group(struct committer *committer, struct commit **group, size_t count)
{
    struct log_record records[COMMITTER_GROUP_MAX];
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        struct commit *commit = group[i];
        struct err err = {0};
        bool known;
        int code = admit(committer, commit, &known, &err);
        if (code != 0 || known) {
            commit->seq = commit->replica != NULL ? commit->replica->logged_seq : 0;
            end(committer, commit, code, &err);
            continue;
        }
        struct replica *replica = commit->replica;
        records[kept] = (struct log_record){
            replica->id,     commit->epoch, replica->logged_seq + 1, (uint32_t)commit->write->n_ops,
            commit->payload, false};
        replica->logged_seq += commit->write->n_ops;
        group[kept++] = commit;
    }
    append_and_apply(committer, group, records, kept);
}

static void *committer_main(void *data)
{
    struct committer *committer = data;
    struct commit *group[COMMITTER_GROUP_MAX];
    size_t count;
    pthread_setname_np(pthread_self(), "committer");
    while ((count = take_group(committer, group)) > 0) {
        struct err err = {0};
        if (group[0]->run != NULL && group[0]->error.code == 0)
            end(committer, group[0], group[0]->run(group[0], &err), &err);
        else
            commit_group(committer, group, count);
    }
    return NULL;
}

/* ---- life ---- */

int committer_create(struct log_store *log, size_t queue_bytes, struct committer **out,
                     struct err *err)
{
    struct committer *committer = calloc(1, sizeof *committer);
    *out = NULL;
    if (committer == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    committer->log = log;
    committer->bytes_max = queue_bytes < COMMITTER_QUEUE_LEAST  ? COMMITTER_QUEUE_LEAST
                           : queue_bytes > COMMITTER_QUEUE_MOST ? COMMITTER_QUEUE_MOST
                                                                : queue_bytes;
    list_init(&committer->queue);
    pthread_mutex_init(&committer->lock, NULL);
    pthread_cond_init(&committer->changed, NULL);
    pthread_cond_init(&committer->room, NULL);
    if (pthread_create(&committer->thread, NULL, committer_main, committer) != 0) {
        free(committer);
        return err_set(err, ERR_NOMEM, "cannot start the committer's thread");
    }
    *out = committer;
    return 0;
}

void committer_destroy(struct committer *committer)
{
    if (committer == NULL)
        return;
    pthread_mutex_lock(&committer->lock);
    committer->stopping = true;
    pthread_cond_signal(&committer->changed);
    pthread_mutex_unlock(&committer->lock);
    pthread_join(committer->thread, NULL);
    pthread_mutex_destroy(&committer->lock);
    pthread_cond_destroy(&committer->changed);
    pthread_cond_destroy(&committer->room);
    free(committer);
}
