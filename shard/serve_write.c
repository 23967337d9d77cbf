/* Writing, and sealing, which takes its turn among the writes.
 *
 * A write gets its place in the queue when it arrives; then a pool thread unpacks it,
 * finds the range and analyses what is new or changed. An entry that is stored already as it comes
 * is not analysed: importing a corpus again costs a comparison an entry.
 */
#include "shard/disk_room.h"
#include "shard/server_internal.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define DISK_CHECK_MS 200

struct write_work {
    struct work work; /* first */
    struct write write;
    struct pool_job prepare;
};

/* ---- the end ---- */

static Quire__WriteResult *pack_result(struct work *work, const struct range_result *from)
{
    Quire__WriteResult *to = serve_alloc(work, 1, sizeof *to);
    quire__write_result__init(to);
    to->outcome = (Quire__WriteResult__Outcome)from->outcome;
    to->has_version = from->version != 0;
    to->version = from->version;
    if (from->outcome == QUIRE__WRITE_RESULT__OUTCOME__FAILED) {
        to->error = serve_alloc(work, 1, sizeof *to->error);
        quire__error__init(to->error);
        to->error->code = (uint32_t)from->error.code;
        to->error->text = (char *)serve_copy(work, bytes_str(from->error.text)).data;
    }
    return to;
}

static void finish(struct write_work *it, int status, const struct err *err)
{
    struct write *write = &it->write;
    struct work *work = &it->work;
    if (status == 0) {
        Quire__ShardWriteReply reply = QUIRE__SHARD_WRITE_REPLY__INIT;
        reply.n_results = write->answer_count;
        reply.results = serve_alloc(work, write->answer_count, sizeof reply.results[0]);
        for (size_t i = 0; i < write->answer_count; i++)
            reply.results[i] = pack_result(work, &write->answers[i]);
        reply.has_seq = 1;
        reply.seq = write->seq;
        serve_reply(work->server, work->request, &reply.base);
    } else if (write->message != NULL) {
        serve_range_error(work->server, work->request, write->message->range, err);
    } else {
        serve_error(work->server, work->request, err);
    }
    if (write->replica != NULL)
        replica_unref(write->replica);
    free(it);
}

static void on_written(struct write *write, int status, const struct err *err)
{
    finish(write->data, status, err);
}

/* ---- preparing ---- */

static bool stored_alike(struct replica *replica, const Quire__Entry *entry, struct arena *arena)
{
    struct buf key = {0};
    Quire__Entry *stored;
    entry_key(entry->headword, entry->sense, &key);
    int code = range_get(replica->range, buf_bytes(&key), arena, &stored, NULL);
    buf_deinit(&key);
    return code == 0 && stored != NULL && entry_equal(stored, entry);
}

static int analyze(struct write_work *it, struct analyzer *analyzer, size_t i, struct err *err)
{
    struct work *work = &it->work;
    const Quire__Entry *put = it->write.message->ops[i]->put;
    struct replica *replica = it->write.replica;
    if (put == NULL || entry_validate(put, NULL) != 0 ||
        stored_alike(replica, put, &work->request->arena))
        return 0; /* nothing to analyse, or a failure that applying it will report */
    struct document *document = serve_alloc(work, 1, sizeof *document);
    int code =
        document_analyze(analyzer, &replica->document, put, &work->request->arena, document, err);
    if (code == 0)
        it->write.documents[i] = document;
    return code;
}

static int check_write(const Quire__ShardWrite *write, struct err *err)
{
    if (write->n_ops == 0)
        return err_set(err, ERR_INVALID, "a write without operations");
    if (write->n_ops > LIMIT_BATCH_OPS)
        return err_set(err, ERR_TOO_LARGE, "%zu operations, at most %d are allowed", write->n_ops,
                       LIMIT_BATCH_OPS);
    if (write->client_id != NULL && strlen(write->client_id) > LIMIT_CLIENT_ID)
        return err_set(err, ERR_TOO_LARGE, "a client id has at most %d bytes", LIMIT_CLIENT_ID);
    return 0;
}

/* A message with one record has to fit into a frame, too. */
#define WRITE_BYTES_MAX (RPC_FRAME_MAX - 4096)

static int prepare(struct write_work *it, struct err *err)
{
    struct work *work = &it->work;
    struct rpc_request *request = work->request;
    struct write *write = &it->write;
    Quire__ShardWrite *message = quire__shard_write__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    if (message == NULL)
        return err_set(err, ERR_PROTOCOL, "a malformed ShardWrite message");
    write->message = message;
    int code = check_write(message, err);
    if (code == 0 && request->payload.size > WRITE_BYTES_MAX)
        code = err_set(err, ERR_TOO_LARGE, "a write of %zu bytes, at most %u are taken",
                       request->payload.size, WRITE_BYTES_MAX);
    if (code == 0 && rpc_request_abandoned(request))
        code = err_set(err, ERR_DEADLINE, "the deadline passed while the write was waiting");
    if (code == 0)
        code =
            replicas_acquire_open(work->server->replicas, message->range->id, &write->replica, err);
    if (code != 0)
        return code;
    write->epoch = message->range->epoch;
    write->payload = request->payload;
    write->arena = &request->arena;
    write->documents = serve_alloc(work, message->n_ops, sizeof write->documents[0]);
    write->results = serve_alloc(work, message->n_ops, sizeof write->results[0]);
    const char *language = write->replica->language;
    struct analyzer *analyzer = analyzers_take(work->server->analyzers, language);
    if (analyzer == NULL)
        return err_set(err, ERR_INTERNAL, "no analyzer for language \"%s\"", language);
    for (size_t i = 0; i < message->n_ops && code == 0; i++)
        code = analyze(it, analyzer, i, err);
    analyzers_give(work->server->analyzers, language, analyzer);
    return code;
}

static void run_prepare(struct pool_job *job)
{
    struct write_work *it =
        (struct write_work *)((char *)job - offsetof(struct write_work, prepare));
    struct write_queue *queue = it->work.server->writes;
    struct err err = {0};
    write_queue_await_room(queue, &it->write);
    if (prepare(it, &err) != 0)
        it->write.error = err;
    it->write.prepared = it->work.request->arena.used;
    write_queue_ready(queue, &it->write);
}

/* ---- arrival ---- */

static struct write_work *enqueue(struct server *server, struct rpc_request *request)
{
    struct write_work *it = calloc(1, sizeof *it);
    if (it == NULL) {
        serve_fail(server, request, ERR_NOMEM, "out of memory");
        return NULL;
    }
    it->work = (struct work){.server = server, .request = request};
    it->write.data = it;
    it->write.bytes = request->payload.size;
    it->write.done = on_written;
    if (write_queue_enqueue(server->writes, &it->write) == 0)
        return it;
    free(it);
    admit_full(server->admit, request, ADMISSION_WRITE);
    return NULL;
}

/* ---- the disk ---- */

static void add_range(void *data, struct replica *replica)
{
    struct disk_room *room = data;
    struct range_figures figures;
    if (atomic_load(&replica->state) != REPLICA_OPEN)
        return;
    range_figures(replica->range, &figures);
    room->reserve += figures.memory_bytes; /* to be flushed */
    room->largest = figures.disk_bytes > room->largest ? figures.disk_bytes : room->largest;
}

uint64_t disk_reserve(const struct server *server)
{
    uint64_t reserve = server->settings.disk_reserve;
    return reserve != 0 ? reserve : SERVER_DISK_RESERVE;
}

static void hold_merges(void *data, struct replica *replica)
{
    const struct disk_room *room = data;
    struct range_figures figures;
    if (atomic_load(&replica->state) != REPLICA_OPEN)
        return;
    range_figures(replica->range, &figures);
    atomic_store(&replica->hold_merges, !disk_takes_merge(room, figures.disk_bytes));
}

/* A disk that is full in the middle of a write, a flush or a merge costs the process or the range
 * its ability to write until a restart. So writes are refused while there is still room to flush
 * what has been taken, and merges are put off that there might be no room for; when space is back
 * they go on by themselves. */
bool disk_has_room(struct server *server)
{
    uint64_t now = clock_ms();
    if (server->disk_checked_ms != 0 && now - server->disk_checked_ms < DISK_CHECK_MS)
        return server->disk_short.code == 0;
    struct disk_room room = {.reserve = disk_reserve(server)};
    struct statvfs fs;
    bool was_short = server->disk_short.code != 0;
    server->disk_checked_ms = now;
    server->disk_short.code = 0;
    if (statvfs(server->dir, &fs) != 0)
        return true; /* the write itself will tell what is wrong */
    replicas_each(server->replicas, add_range, &room);
    room.unused = (uint64_t)fs.f_bavail * fs.f_frsize;
    replicas_each(server->replicas, hold_merges, &room);
    bool is_short = !disk_takes_writes(&room);
    if (is_short)
        err_set(&server->disk_short, ERR_FULL,
                "the shard's disk is nearly full: %llu MiB are free, it takes no writes below %llu "
                "MiB",
                (unsigned long long)(room.unused >> 20), (unsigned long long)(room.reserve >> 20));
    if (is_short != was_short)
        log_event(is_short ? LOG_ERROR : LOG_INFO,
                  is_short ? "disk nearly full: writes are refused" : "disk has room again",
                  LOG_U64("free_bytes", room.unused), LOG_U64("reserve_bytes", room.reserve));
    return !is_short;
}

void serve_write(struct server *server, struct rpc_request *request)
{
    if (!disk_has_room(server)) {
        serve_error(server, request, &server->disk_short);
        return;
    }
    if (!admit_write(server->admit, request))
        return;
    struct write_work *it = enqueue(server, request);
    if (it == NULL)
        return;
    it->prepare.run = run_prepare;
    if (pool_submit(server->prepare, &it->prepare) == 0)
        return;
    const struct admission_refusal full = {.reason = ADMISSION_FULL,
                                           .retry_after_ms = ADMISSION_INTERVAL_US / 1000};
    admission_error(ADMISSION_WRITE, &full, "the shard", &it->write.error);
    write_queue_ready(server->writes, &it->write);
}

/* ---- sealing ---- */

/* Empty, and nothing on its way. */
static int check_empty(struct replica *replica, const Quire__RangeRef *ref, struct err *err)
{
    struct range_figures figures;
    struct replica_standing standing;
    Quire__RangeRef primary = *ref;
    primary.has_from_primary = primary.from_primary = true;
    int code = replica_may_read(replica, &primary, err);
    if (code != 0)
        return code;
    replica_standing(replica, &standing);
    range_figures(replica->range, &figures);
    if (figures.entries > 0 || standing.last != figures.applied_seq)
        return err_set(err, ERR_CONFLICT, "range %llu has %llu entries",
                       (unsigned long long)replica->id, (unsigned long long)figures.entries);
    return 0;
}

static int seal_all(struct work *work, const Quire__ShardSeal *seal, struct replica **held,
                    struct err *err)
{
    for (size_t i = 0; i < seal->n_ranges; i++) {
        int code =
            replicas_acquire_open(work->server->replicas, seal->ranges[i]->id, &held[i], err);
        if (code == 0)
            code = check_empty(held[i], seal->ranges[i], err);
        if (code != 0)
            return code;
    }
    for (size_t i = 0; i < seal->n_ranges; i++)
        atomic_store(&held[i]->sealed, true);
    return 0;
}

/* On the replicator's thread, in its turn. */
static int run_seal(struct write *write, struct err *err)
{
    struct write_work *it = write->data;
    struct work *work = &it->work;
    struct rpc_request *request = work->request;
    Quire__ShardSeal *seal = quire__shard_seal__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    if (seal == NULL)
        return err_set(err, ERR_PROTOCOL, "a malformed ShardSeal message");
    struct replica **held = serve_alloc(work, seal->n_ranges, sizeof held[0]);
    int code = seal_all(work, seal, held, err);
    for (size_t i = 0; i < seal->n_ranges; i++)
        if (held[i] != NULL)
            replica_unref(held[i]);
    return code;
}

static void on_sealed(struct write *write, int status, const struct err *err)
{
    struct write_work *it = write->data;
    if (status == 0)
        serve_ok(it->work.server, it->work.request);
    else
        serve_error(it->work.server, it->work.request, err);
    free(it);
}

void serve_seal(struct server *server, struct rpc_request *request)
{
    struct write_work *it = calloc(1, sizeof *it);
    if (it == NULL) {
        serve_fail(server, request, ERR_NOMEM, "out of memory");
        return;
    }
    it->work = (struct work){.server = server, .request = request};
    it->write = (struct write){.data = it, .run = run_seal, .done = on_sealed};
    if (write_queue_enqueue(server->writes, &it->write) == 0) {
        write_queue_ready(server->writes, &it->write);
        return;
    }
    free(it);
    serve_fail(server, request, ERR_FULL, "the shard has too many writes waiting");
}
