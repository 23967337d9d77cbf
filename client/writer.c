/* The bulk writer: ops are encoded into the batch that is being gathered, full batches go out while
 * there is credit, and whoever brings more waits.
 *
 *   quire_writer_put() --> gathering (a WriteRequest that grows) --> credit? --> request_submit()
 *        ^ waits for room                                             ^                |
 *        +---------------- condition variable <------ batch_done() ---+<---------------+ loop's
 * thread
 *
 * Credit is counted in batches and in bytes. A batch that is larger than the byte credit goes when
 * it is alone, so every op that is allowed at all gets through. The writer's lock is not held while
 * results are told.
 *
 * Repetition of batches, with one identity for each that is under way, is the business of the
 * request (calls.c, dispatch.c); here a batch either has its results or failed as a whole, which
 * fails each of its ops.
 */
#include "client/core.h"
#include "client/encode.h"
#include "proto/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_OPS 1000
#define BATCH_BYTES (1u << 20)
#define OUTSTANDING 8
#define OUTSTANDING_MAX 64
#define OUTSTANDING_BYTES (32u << 20)

struct batch {
    struct list link; /* of those under way */
    struct quire_writer *writer;
    quire_ticket ticket;
    struct buf payload;
    size_t bytes;
    size_t count;
    size_t capacity;
    void **tags;
};

struct quire_writer {
    struct quire_client *client;
    struct quire_writer_options options;
    char collection[LIMIT_COLLECTION_NAME + 1];
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a batch ended */
    struct batch *gathering;
    struct list under_way;
    uint64_t under_way_bytes;
    struct quire_writer_stats stats;
    bool destroying;
    struct err failed; /* the first batch that failed as a whole */
};

static _Thread_local struct err last_error;

static int complain(int code, const char *text)
{
    return err_set(&last_error, code, "%s", text);
}

const char *quire_writer_error(const struct quire_writer *writer)
{
    return last_error.code ? last_error.text : "";
}

/* ---- batches ---- */

static struct batch *batch_create(struct quire_writer *writer)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    struct err err;
    if (batch == NULL)
        return NULL;
    batch->writer = writer;
    list_init(&batch->link);
    buf_init(&batch->payload);
    if (encode_write_collection(writer->collection, &batch->payload, &err) != 0)
        abort(); /* it was checked when the writer was created */
    return batch;
}

static void batch_destroy(struct batch *batch)
{
    if (batch == NULL)
        return;
    buf_deinit(&batch->payload);
    free(batch->tags);
    free(batch);
}

static bool batch_append(struct batch *batch, struct bytes op, void *tag)
{
    if (batch->count == batch->capacity) {
        size_t capacity = batch->capacity ? 2 * batch->capacity : 64;
        void **tags = realloc(batch->tags, capacity * sizeof(*tags));
        if (tags == NULL)
            return false;
        batch->tags = tags;
        batch->capacity = capacity;
    }
    buf_append_bytes(&batch->payload, op);
    batch->tags[batch->count++] = tag;
    batch->bytes = batch->payload.size;
    return true;
}

static bool batch_full(const struct quire_writer *writer, const struct batch *batch)
{
    return batch->count >= writer->options.batch_ops ||
           batch->payload.size >= writer->options.batch_bytes;
}

/* Room for `more` bytes; an empty batch takes any op. */
static bool batch_fits(const struct quire_writer *writer, const struct batch *batch, size_t more)
{
    return batch->count == 0 || (!batch_full(writer, batch) &&
                                 batch->payload.size + more <= writer->options.batch_bytes);
}

/* ---- results ---- */

static void tell_item(struct quire_writer *writer, void *tag, const struct quire_written *written,
                      int status, const char *error)
{
    struct quire_writer_item item = {
        .tag = tag, .outcome = QUIRE_FAILED, .status = status, .error = error};
    if (written != NULL) {
        item.outcome = written->outcome;
        item.version = written->version;
        item.status = written->status;
        item.error = written->error;
    }
    if (writer->options.result != NULL)
        writer->options.result(writer->options.data, &item);
}

static void tell(struct batch *batch, const struct quire_write_result *result,
                 uint64_t by_outcome[8])
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct quire_written *written =
            result->status == QUIRE_OK ? result->written[i] : NULL;
        tell_item(batch->writer, batch->tags[i], written, result->status, result->error);
        by_outcome[written ? written->outcome : QUIRE_FAILED]++;
    }
}

/* On the loop's thread, when a batch has its answer or will never have one. */
static void batch_done(void (*cb)(void), void *data, const void *any)
{
    const struct quire_write_result *result = any;
    struct batch *batch = data;
    struct quire_writer *writer = batch->writer;
    uint64_t by_outcome[8] = {0};
    tell(batch, result, by_outcome);
    pthread_mutex_lock(&writer->lock);
    list_remove(&batch->link);
    writer->under_way_bytes -= batch->bytes;
    writer->stats.outstanding--;
    writer->stats.told += batch->count;
    for (size_t i = 0; i < 8; i++)
        writer->stats.by_outcome[i] += by_outcome[i];
    if (result->status != QUIRE_OK && writer->failed.code == 0 && !writer->destroying)
        err_set(&writer->failed, result->status, "%s", result->error);
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    batch_destroy(batch);
}

/* ---- sending; all with the writer's lock held ---- */

static bool credit(const struct quire_writer *writer)
{
    if (writer->stats.outstanding == 0)
        return true;
    return writer->stats.outstanding < writer->options.outstanding &&
           writer->under_way_bytes + writer->gathering->bytes <= writer->options.outstanding_bytes;
}

/* Sends what is gathered, or with `refusal` only tells that it was not sent. */
static int send_batch(struct quire_writer *writer, struct box *refusal)
{
    struct batch *batch = writer->gathering;
    struct encoded how = {.ops = batch->count, .bulk = true};
    list_push(&writer->under_way, &batch->link);
    writer->under_way_bytes += batch->bytes;
    writer->stats.outstanding++;
    if (refusal == NULL) {
        writer->stats.batches++;
        writer->stats.bytes += batch->bytes;
    }
    writer->gathering = NULL;
    /* batch_done() cannot run to its end before we let go of the lock. */
    batch->ticket = request_submit(writer->client, &call_write, writer->options.timeout_ms,
                                   &batch->payload, &how, refusal, batch_done, NULL, batch);
    if (batch->ticket != 0)
        return QUIRE_OK;
    list_remove(&batch->link);
    writer->under_way_bytes -= batch->bytes;
    writer->stats.outstanding--;
    err_set(&writer->failed, QUIRE_CLOSED, "the client is closing, or memory is out");
    batch_destroy(batch);
    return QUIRE_CLOSED;
}

static int refuse_more(struct quire_writer *writer)
{
    if (writer->destroying)
        return complain(QUIRE_CLOSED, "the writer is closing");
    if (writer->failed.code != 0 && !writer->options.keep_going) {
        /* Not to be taken for "this op is refused". */
        bool like_refusal =
            writer->failed.code == QUIRE_INVALID || writer->failed.code == QUIRE_TOO_LARGE;
        return complain(like_refusal ? QUIRE_CLOSED : writer->failed.code, writer->failed.text);
    }
    return QUIRE_OK;
}

/* Makes room in the gathering batch for an op of `size` bytes. */
static int make_room(struct quire_writer *writer, size_t size)
{
    for (;;) {
        int code = refuse_more(writer);
        if (code != QUIRE_OK)
            return code;
        if (writer->gathering == NULL) {
            writer->gathering = batch_create(writer);
            if (writer->gathering == NULL)
                return complain(QUIRE_NOMEM, "out of memory");
        }
        if (batch_fits(writer, writer->gathering, size))
            return QUIRE_OK;
        if (!credit(writer))
            pthread_cond_wait(&writer->changed, &writer->lock);
        else if (send_batch(writer, NULL) != QUIRE_OK)
            return complain(writer->failed.code, writer->failed.text);
    }
}

static int add(struct quire_writer *writer, struct bytes op, void *tag)
{
    int code = make_room(writer, op.size);
    if (code != QUIRE_OK)
        return code;
    if (!batch_append(writer->gathering, op, tag))
        return complain(QUIRE_NOMEM, "out of memory");
    writer->stats.ops++;
    if (batch_full(writer, writer->gathering) && credit(writer))
        send_batch(writer, NULL); /* should it fail, the next call tells */
    return QUIRE_OK;
}

/* ---- public ---- */

/* These would wait for the thread they are on, or for one that does not exist. */
static bool usable(struct quire_writer *writer)
{
    last_error.code = 0;
    if (writer->client->pid != getpid())
        complain(QUIRE_INVALID, "the client belongs to the process that created it, before fork()");
    else if (client_on_loop(writer->client))
        complain(QUIRE_INVALID, "a writer's calls may wait, which a callback must not");
    return last_error.code == 0;
}

static int write_op(struct quire_writer *writer, const struct quire_op *op, void *tag)
{
    struct quire_op copy;
    struct buf encoded;
    int code;
    if (!usable(writer))
        return last_error.code;
    if (struct_copy(&copy, sizeof(copy), op, "op", &last_error) != 0)
        return last_error.code;
    buf_init(&encoded);
    code = encode_op(&copy, &encoded, &last_error);
    if (code == 0) {
        pthread_mutex_lock(&writer->lock);
        code = add(writer, buf_bytes(&encoded), tag);
        pthread_mutex_unlock(&writer->lock);
    }
    buf_deinit(&encoded);
    return code;
}

int quire_writer_put(struct quire_writer *writer, const struct quire_entry *entry, void *tag)
{
    struct quire_op op = QUIRE_OP_INIT;
    if (entry == NULL)
        return complain(QUIRE_INVALID, "entry: missing");
    op.put = entry;
    return write_op(writer, &op, tag);
}

int quire_writer_op(struct quire_writer *writer, const struct quire_op *op, void *tag)
{
    return write_op(writer, op, tag);
}

int quire_writer_flush(struct quire_writer *writer)
{
    int code = QUIRE_OK;
    if (!usable(writer))
        return last_error.code;
    pthread_mutex_lock(&writer->lock);
    while (writer->gathering != NULL && writer->gathering->count > 0) {
        if (credit(writer))
            send_batch(writer, NULL);
        else
            pthread_cond_wait(&writer->changed, &writer->lock);
    }
    while (writer->stats.outstanding > 0)
        pthread_cond_wait(&writer->changed, &writer->lock);
    if (writer->failed.code != 0)
        code = complain(writer->failed.code, writer->failed.text);
    pthread_mutex_unlock(&writer->lock);
    return code;
}

void quire_writer_get_stats(struct quire_writer *writer, struct quire_writer_stats *stats)
{
    size_t size = stats->size;
    struct quire_writer_stats copy;
    pthread_mutex_lock(&writer->lock);
    copy = writer->stats;
    pthread_mutex_unlock(&writer->lock);
    copy.size = size;
    memcpy(stats, &copy, size < sizeof(copy) ? size : sizeof(copy));
}

void quire_writer_destroy(struct quire_writer *writer)
{
    if (writer == NULL || writer->client->pid != getpid() || client_on_loop(writer->client))
        return;
    pthread_mutex_lock(&writer->lock);
    writer->destroying = true;
    for (struct list *link = writer->under_way.next; link != &writer->under_way; link = link->next)
        quire_cancel(writer->client, list_entry(link, struct batch, link)->ticket);
    if (writer->gathering != NULL && writer->gathering->count > 0)
        send_batch(writer, box_failed(&result_write, QUIRE_CANCELED,
                                      "the writer was destroyed before it was sent"));
    while (writer->stats.outstanding > 0)
        pthread_cond_wait(&writer->changed, &writer->lock);
    pthread_mutex_unlock(&writer->lock);
    batch_destroy(writer->gathering);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
}

static void set_default(uint32_t *option, uint32_t value)
{
    if (*option == 0)
        *option = value;
}

static int options_take(struct quire_writer *writer, const struct quire_writer_options *options,
                        struct err *err)
{
    struct quire_writer_options *own = &writer->options;
    const char *collection;
    if (struct_copy(own, sizeof(*own), options, "options", err) != 0)
        return err->code;
    collection = own->collection ? own->collection : QUIRE_DEFAULT_COLLECTION;
    if (check_collection(collection, err) != 0 ||
        check_number("batch_ops", own->batch_ops, LIMIT_BATCH_OPS, err) != 0 ||
        check_number("batch_bytes", own->batch_bytes, LIMIT_BATCH_BYTES, err) != 0 ||
        check_number("outstanding", own->outstanding, OUTSTANDING_MAX, err) != 0)
        return err->code;
    snprintf(writer->collection, sizeof(writer->collection), "%s", collection);
    set_default(&own->batch_ops, BATCH_OPS);
    set_default(&own->batch_bytes, BATCH_BYTES);
    set_default(&own->outstanding, OUTSTANDING);
    if (own->outstanding_bytes == 0)
        own->outstanding_bytes = OUTSTANDING_BYTES;
    return 0;
}

int quire_writer_create(struct quire_client *client, const struct quire_writer_options *options,
                        struct quire_writer **out, char *error, size_t error_size)
{
    struct quire_writer *writer = calloc(1, sizeof(*writer));
    struct err err = {0};
    *out = NULL;
    if (writer == NULL)
        err_set(&err, ERR_NOMEM, "out of memory");
    else
        options_take(writer, options, &err);
    if (error != NULL && error_size > 0)
        snprintf(error, error_size, "%s", err.text);
    if (err.code != 0) {
        free(writer);
        return err.code;
    }
    writer->client = client;
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->changed, NULL);
    list_init(&writer->under_way);
    *out = writer;
    return QUIRE_OK;
}
