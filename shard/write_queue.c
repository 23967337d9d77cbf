#include "shard/write_queue.h"

#include "proto/base/clock.h"

#include <pthread.h>
#include <stdlib.h>

struct write_queue {
    void (*wake)(void *data);
    void *wake_data;
    pthread_mutex_t lock;
    pthread_cond_t room; /* less is prepared, or another write is the first */
    struct list waiting; /* of struct write */
    size_t count, bytes, bytes_max;
    size_t prepared; /* bytes of memory of the writes that are ready, until they are done */
    uint64_t held_since_ms;
};

struct write_queue *write_queue_create(size_t queue_bytes, void (*wake)(void *data), void *data)
{
    struct write_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL)
        return NULL;
    queue->wake = wake;
    queue->wake_data = data;
    queue->bytes_max = queue_bytes < WRITE_QUEUE_LEAST  ? WRITE_QUEUE_LEAST
                       : queue_bytes > WRITE_QUEUE_MOST ? WRITE_QUEUE_MOST
                                                        : queue_bytes;
    list_init(&queue->waiting);
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->room, NULL);
    return queue;
}

void write_queue_destroy(struct write_queue *queue)
{
    if (queue == NULL)
        return;
    pthread_mutex_destroy(&queue->lock);
    pthread_cond_destroy(&queue->room);
    free(queue);
}

int write_queue_enqueue(struct write_queue *queue, struct write *write)
{
    int status = 0;
    pthread_mutex_lock(&queue->lock);
    if (queue->count >= WRITE_QUEUE_MAX || queue->bytes + write->bytes > queue->bytes_max) {
        status = ERR_FULL;
    } else {
        write->ready = false;
        queue->count++;
        queue->bytes += write->bytes;
        list_push(&queue->waiting, &write->link);
    }
    pthread_mutex_unlock(&queue->lock);
    return status;
}

static struct write *head(struct write_queue *queue)
{
    if (list_empty(&queue->waiting))
        return NULL;
    return list_entry(queue->waiting.next, struct write, link);
}

/* Were the head to wait, nothing would ever make room: those behind it are done after it. */
void write_queue_await_room(struct write_queue *queue, const struct write *write)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->prepared >= WRITE_QUEUE_PREPARED && head(queue) != write)
        pthread_cond_wait(&queue->room, &queue->lock);
    pthread_mutex_unlock(&queue->lock);
}

void write_queue_ready(struct write_queue *queue, struct write *write)
{
    pthread_mutex_lock(&queue->lock);
    write->ready = true;
    queue->prepared += write->prepared;
    bool first = head(queue) == write;
    pthread_mutex_unlock(&queue->lock);
    if (first)
        queue->wake(queue->wake_data);
}

static bool joins(const struct write *write, struct write **group, size_t count, size_t bytes)
{
    return count == 0 || (write->run == NULL && group[0]->run == NULL && count < WRITE_GROUP_MAX &&
                          bytes + write->bytes <= WRITE_GROUP_BYTES);
}

/* While the flush of a range lags far behind, its writers wait: memory has a ceiling. They do not
 * wait for what no flush gives back (counts of dead documents' tokens, which go with a merge). */
static bool must_wait(struct write_queue *queue, const struct write *write)
{
    struct replica *replica = write->replica;
    if (replica == NULL || write->error.code != 0 || !replica_lags(replica)) {
        queue->held_since_ms = 0;
        return false;
    }
    uint64_t now = clock_ms();
    if (queue->held_since_ms == 0)
        queue->held_since_ms = now;
    replica_maintain(replica);
    return now - queue->held_since_ms < WRITE_STALL_MS;
}

size_t write_queue_take(struct write_queue *queue, struct write **group, bool *held)
{
    size_t count = 0, bytes = 0;
    struct write *write;
    *held = false;
    pthread_mutex_lock(&queue->lock);
    while ((write = head(queue)) != NULL && write->ready && joins(write, group, count, bytes)) {
        *held = must_wait(queue, write);
        if (*held)
            break;
        list_remove(&write->link);
        group[count++] = write;
        bytes += write->bytes;
    }
    pthread_cond_broadcast(&queue->room);
    pthread_mutex_unlock(&queue->lock);
    return count;
}

void write_queue_end(struct write_queue *queue, struct write *write, int status,
                     const struct err *err)
{
    pthread_mutex_lock(&queue->lock);
    queue->count--;
    queue->bytes -= write->bytes;
    queue->prepared -= write->prepared;
    pthread_cond_broadcast(&queue->room);
    pthread_mutex_unlock(&queue->lock);
    write->done(write, status, err);
}

size_t write_queue_count(struct write_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    size_t count = queue->count;
    pthread_mutex_unlock(&queue->lock);
    return count;
}
