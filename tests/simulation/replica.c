/* A replica: the edge of a replication core, over a disk and a toy state machine. */
#include "tests/simulation/simulation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define EPOCHS_MAX 512 /* in one log, of one schedule */

static struct world *world_of(const struct replica *replica)
{
    return replica->shard->process.world;
}

static uint64_t now_ms(const struct replica *replica)
{
    return local_ms(&replica->shard->process);
}

/* ---- applying ---- */

static void apply_one(struct replica *replica, const struct operation *op)
{
    struct cell *cell = &replica->state.key[op->key];
    uint64_t mix = cell->digest ^ (op->value * 0x9e3779b97f4a7c15ull);
    cell->digest = (mix ^ mix >> 29) * 0xbf58476d1ce4e5b9ull;
    cell->value = op->value;
    cell->count++;
    replica->state.applied++;
    check_applied(replica, op);
}

static void apply(struct replica *replica, const struct record *record)
{
    struct state *state = &replica->state;
    int client = record->op[0].client;
    if (record->op[0].batch <= state->batch[client])
        violated(world_of(replica), "shard %d applied batch %llu of client %d twice (range %d)",
                 replica->shard->process.place, (unsigned long long)record->op[0].batch, client,
                 replica->range);
    state->epoch = record->at.epoch;
    for (uint32_t i = 0; i < record->at.count; i++)
        apply_one(replica, &record->op[i]);
    state->batch[client] = record->op[0].batch;
    state->seq[client] = record_end(record);
}

/* ---- the edge ---- */

struct ticket { /* who is to be answered */
    int to;
    uint64_t call, life;
    const struct prepare_body *message; /* while it is being received */
};

static void expect_answer(struct replica *replica, uint64_t call, int other)
{
    struct world *world = world_of(replica);
    if (call >= world->answered_room) {
        world->answered_room = 2 * call + 1024;
        world->answered = realloc(world->answered, world->answered_room);
        if (world->answered == NULL)
            abort();
    }
    world->answered[call] = false;
    struct event *timeout =
        post_own(&replica->shard->process, CALL_TIMEOUT_MS * MS, EVENT_CALL_TIMEOUT);
    timeout->other = other;
    timeout->number = (uint64_t)replica->range;
    timeout->number2 = call;
}

static uint64_t edge_send(void *data, const char *to, const struct replication_prepare *prepare,
                          uint64_t first)
{
    struct replica *replica = data;
    struct world *world = world_of(replica);
    struct process *process = &replica->shard->process;
    size_t at = 0, count = 0;
    if (first != 0) {
        at = log_at(&replica->log, first);
        size_t most = 1 + below(world, 4);
        while (count < most && at + count < replica->log.count)
            count++;
        assert(count > 0 && replica->log.record[at].at.first_seq == first);
    }
    size_t size = sizeof(struct prepare_body) + count * sizeof(struct record);
    struct prepare_body *body = calloc(1, size);
    if (body == NULL)
        abort();
    check_reign(replica, prepare->epoch);
    body->prepare = *prepare;
    body->from = process->place;
    body->range = replica->range;
    body->life = process->life;
    body->call = ++world->calls;
    body->count = count;
    if (count > 0)
        memcpy(body->record, &replica->log.record[at], count * sizeof body->record[0]);
    transmit(world, EVENT_PREPARE, process->place, shard_of(world, to), body, size);
    expect_answer(replica, body->call, shard_of(world, to));
    uint64_t last = count > 0 ? record_end(&body->record[count - 1]) : 0;
    free(body);
    return last;
}

static void edge_answer(void *data, void *ticket, const struct replication_ack *ack)
{
    struct replica *replica = data;
    struct ticket *whom = ticket;
    struct ack_body answer = {.from = replica->shard->process.place,
                              .range = replica->range,
                              .call = whom->call,
                              .life = whom->life,
                              .ack = *ack};
    if (replica->shard->process.up)
        transmit(world_of(replica), EVENT_ACK, answer.from, whom->to, &answer, sizeof answer);
    free(whom);
}

static void edge_append(void *data, void *ticket, size_t count, uint64_t cut)
{
    struct replica *replica = data;
    const struct prepare_body *message = ((struct ticket *)ticket)->message;
    assert(count <= message->count);
    struct write *write = disk_begin(replica);
    write->cut = cut;
    if (cut != 0) {
        check_cut(replica, cut);
        log_drop_from(&replica->log, cut);
    }
    for (size_t i = message->count - count; i < message->count; i++) {
        log_add(&replica->log, &message->record[i]);
        log_add(&write->records, &message->record[i]);
    }
}

static void respond(struct replica *replica, const struct request *request,
                    struct response response)
{
    struct shard *shard = replica->shard;
    response.call = request->call;
    response.client = request->client;
    response.range = request->range;
    response.shard = shard->process.place;
    if (response.status == ERR_STALE)
        response.current = shard->map;
    if (!reachable(shard->process.world, shard->process.place, SHARDS_MAX + request->coordinator))
        return;
    transmit(shard->process.world, EVENT_RESPONSE, shard->process.place, shard->process.place,
             &response, sizeof response);
}

static void respond_pending(struct replica *replica, const struct pending *pending, int status)
{
    struct request request = {
        .call = pending->call, .client = pending->client, .range = replica->range};
    request.coordinator = world_of(replica)->client[pending->client].coordinator;
    if (status == 0)
        check_acknowledged(replica, pending->last_seq, &pending->last);
    respond(replica, &request, (struct response){.status = status, .seq = pending->last_seq});
}

static void edge_commit(void *data, uint64_t seq)
{
    struct replica *replica = data;
    check_committed(replica, seq);
    for (size_t i = log_at(&replica->log, replica->state.applied + 1);
         i < replica->log.count && record_end(&replica->log.record[i]) <= seq; i++) {
        assert(replica->log.record[i].at.first_seq == replica->state.applied + 1);
        apply(replica, &replica->log.record[i]);
    }
    if (replica->state.applied != seq)
        violated(world_of(replica), "shard %d was told to commit %llu and has the log up to %llu",
                 replica->shard->process.place, (unsigned long long)seq,
                 (unsigned long long)replica->state.applied);
    size_t kept = 0;
    for (size_t i = 0; i < replica->pending_count; i++) {
        if (replica->pending[i].last_seq > seq)
            replica->pending[kept++] = replica->pending[i];
        else
            respond_pending(replica, &replica->pending[i], 0);
    }
    replica->pending_count = kept;
}

static void edge_abandon(void *data, uint64_t seq)
{
    struct replica *replica = data;
    for (size_t i = 0; i < replica->pending_count; i++) {
        assert(replica->pending[i].last_seq >= seq);
        respond_pending(replica, &replica->pending[i], ERR_UNAVAILABLE);
    }
    replica->pending_count = 0;
}

static void edge_request(void *data, uint64_t epoch, const char *id, bool in_sync)
{
    struct replica *replica = data;
    if (replica->want_epoch != epoch)
        memset(replica->want, 0, sizeof replica->want);
    replica->want_epoch = epoch;
    int other = shard_of(world_of(replica), id);
    replica->want[other] = true;
    replica->want_in_sync[other] = in_sync;
    if (in_sync)
        replica->asked[other] = epoch;
}

static void edge_need_checkpoint(void *data, const char *primary)
{
    struct replica *replica = data;
    struct world *world = world_of(replica);
    int other = shard_of(world, primary);
    const struct replica *from = &world->shard[other].replica[replica->range];
    if (replica->copy != COPY_NONE || !from->has_data)
        return;
    replica->copy = COPY_PULLS;
    replica->copied = from->flushed;
    replica->copied_life = from->shard->process.life;
    uint64_t took = 5 + below(world, one_in(world, 3) ? world->manner.copy_ms : 300);
    struct event *event = post_own(&replica->shard->process, took * MS, EVENT_COPIED);
    event->other = other;
    event->number = (uint64_t)replica->range;
    event->number2 = replica->generation;
}

/* ---- life ---- */

void replica_init(struct shard *shard, int range)
{
    struct replica *replica = &shard->replica[range];
    replica->shard = shard;
    replica->range = range;
}

/* Most slots are never used. */
static void make_room(struct replica *replica)
{
    if (replica->write != NULL)
        return;
    replica->write = calloc(WRITES_MAX, sizeof replica->write[0]);
    replica->pending = calloc(PENDING_MAX, sizeof replica->pending[0]);
    if (replica->write == NULL || replica->pending == NULL)
        abort();
}

void replica_deinit(struct replica *replica)
{
    replica->shard->process.up = false; /* nothing is sent any more */
    replication_destroy(replica->core);
    for (size_t i = 0; i < WRITES_MAX && replica->write != NULL; i++)
        free(replica->write[i].records.record);
    free(replica->write);
    free(replica->pending);
    free(replica->log.record);
    free(replica->durable.record);
}

static void begin_life(struct replica *replica)
{
    replica->generation++;
    replica->state = replica->flushed;
    replica->committed = replica->flushed.applied;
    replica->pending_count = 0;
    replica->write_begun = replica->write_done = 0;
    replica->disk_free_at = 0;
    replica->copy = COPY_NONE;
    replica->broken = false;
    memset(replica->want, 0, sizeof replica->want);
    memset(replica->asked, 0, sizeof replica->asked);
    replica->log.count = 0;
    for (size_t i = 0; i < replica->durable.count; i++)
        log_add(&replica->log, &replica->durable.record[i]);
}

void replica_open(struct replica *replica)
{
    struct replication_position starts[EPOCHS_MAX];
    struct replication_start start = {.node_id = replica->shard->process.id,
                                      .base = replica->base,
                                      .starts = starts,
                                      .last_seq = replica->base.seq,
                                      .committed = replica->flushed.applied,
                                      .empty = !replica->has_data};
    const struct replication_edge edge = {replica,      edge_send,           edge_answer,
                                          edge_append,  edge_commit,         edge_abandon,
                                          edge_request, edge_need_checkpoint};
    make_room(replica);
    begin_life(replica);
    for (size_t i = 0; i < replica->log.count; i++) {
        const struct record *record = &replica->log.record[i];
        if (i == 0 || record->at.epoch != replica->log.record[i - 1].at.epoch)
            starts[start.start_count++] =
                (struct replication_position){record->at.epoch, record->at.first_seq};
        start.last_seq = record_end(record);
        assert(start.start_count < EPOCHS_MAX);
    }
    replication_destroy(replica->core);
    replica->core = replication_create(&start, &edge);
    if (replica->shard->leaving)
        replication_resign(replica->core);
    struct event *event =
        post_own(&replica->shard->process, below(world_of(replica), 300 * MS), EVENT_FLUSH);
    event->number = (uint64_t)replica->range;
    event->number2 = replica->generation;
}

/* From here on what is here is the checkpoint, and nothing else. */
static void take_over(struct replica *replica)
{
    replica->flushed = replica->copied;
    replica->durable.count = 0;
    replica->base = (struct replication_position){replica->copied.epoch, replica->copied.applied};
    replica->has_data = true;
    replica->copy = COPY_NONE;
    replica->shard->derived[replica->range].kept.there = false; /* it is this, or was never used */
}

void replica_close(struct replica *replica)
{
    if (replica->copy == COPY_INSTALLS && one_in(world_of(replica), 2))
        take_over(replica); /* the next life completes it */
    replica->copy = COPY_NONE;
    if (replica->core == NULL)
        return;
    disk_crash(replica);
    replication_destroy(replica->core);
    replica->core = NULL;
    replica->generation++;
}

void replica_drop(struct replica *replica)
{
    if (replica->core == NULL && !replica->has_data && replica->copy == COPY_NONE)
        return;
    say(world_of(replica), "shard %d drops its replica of range %d", replica->shard->process.place,
        replica->range);
    replication_destroy(replica->core);
    replica->core = NULL;
    replica->generation++;
    replica->copy = COPY_NONE;
    replica->has_data = false;
    const Quire__Range *range = range_in(replica->shard->map, replica->range);
    replica->dropped = range != NULL ? range->epoch : UINT64_MAX;
    replica->durable.count = 0;
    replica->base = (struct replication_position){0, 0};
    memset(&replica->flushed, 0, sizeof replica->flushed);
}

static uint64_t life_in(const struct map *map, const char *id)
{
    const Quire__Node *node = map_node(map, id);
    return node == NULL ? 0 : node->incarnation;
}

void replica_configure(struct replica *replica)
{
    const struct shard *shard = replica->shard;
    const Quire__Range *range = range_in(shard->map, replica->range);
    struct replication_config config = {.epoch = range->epoch,
                                        .primary = range->primary,
                                        .in_sync = (const char *const *)range->in_sync,
                                        .in_sync_count = range->n_in_sync,
                                        .learners = (const char *const *)range->learners,
                                        .learner_count = range->n_learners};
    bool may_lead = life_in(shard->map, shard->process.id) == shard->process.life;
    replication_configure(replica->core, &config, may_lead, now_ms(replica));
}

/* ---- what happens to it ---- */

void replica_prepare(struct replica *replica, const struct prepare_body *body)
{
    struct replication_prepare prepare = body->prepare;
    struct replication_record records[64];
    struct ticket *ticket = calloc(1, sizeof *ticket);
    if (ticket == NULL)
        abort();
    *ticket = (struct ticket){body->from, body->call, body->life, body};
    for (size_t i = 0; i < body->count; i++)
        records[i] = body->record[i].at;
    prepare.from = world_of(replica)->shard[body->from].process.id;
    prepare.records = records;
    prepare.record_count = body->count;
    replication_receive(replica->core, ticket, &prepare, now_ms(replica));
}

void replica_written(struct replica *replica)
{
    if (disk_finish(replica)) {
        replication_appended(replica->core, 1, now_ms(replica));
    } else if (!replica->broken) {
        say(world_of(replica), "shard %d cannot write its log of range %d",
            replica->shard->process.place, replica->range);
        replica->broken = true;
        replication_broke(replica->core, now_ms(replica));
    }
}

static void truncate_log(struct replica *replica)
{
    uint64_t seq = replication_retain(replica->core);
    if (seq <= replica->base.seq || one_in(world_of(replica), 3))
        return;
    size_t count = 0; /* records that end at or before seq */
    while (count < replica->log.count && record_end(&replica->log.record[count]) <= seq)
        count++;
    if (count == 0)
        return;
    const struct record *last = &replica->log.record[count - 1];
    check_truncated(replica, record_end(last));
    replica->base = (struct replication_position){last->at.epoch, record_end(last)};
    log_drop_until(&replica->durable, replica->base.seq);
    log_drop_until(&replica->log, replica->base.seq);
    replication_truncated(replica->core, replica->base.seq);
}

void replica_flush(struct replica *replica)
{
    struct world *world = world_of(replica);
    struct event *event = post_own(&replica->shard->process,
                                   (10 + below(world, world->manner.flush_ms)) * MS, EVENT_FLUSH);
    event->number = (uint64_t)replica->range;
    event->number2 = replica->generation;
    if (!replica->has_data || replica->broken || replica->shard->disk_full)
        return;
    replica->flushed = replica->state;
    replication_flushed(replica->core, replica->state.applied);
    truncate_log(replica);
}

void replica_copied(struct replica *replica, const struct replica *from)
{
    struct world *world = world_of(replica);
    const struct shard *shard = replica->shard, *other = from->shard;
    replica->copy = COPY_NONE;
    if (!runs(&other->process) || other->process.life != replica->copied_life || !from->has_data ||
        shard->disk_full || !reachable(world, shard->process.place, other->process.place) ||
        !reachable(world, other->process.place, shard->process.place) ||
        !replication_may_install(replica->core, replica->copied.applied))
        return;
    say(world, "shard %d begins to install a checkpoint of range %d at %llu", shard->process.place,
        replica->range, (unsigned long long)replica->copied.applied);
    replication_destroy(replica->core);
    replica->core = NULL;
    replica->generation++;
    replica->copy = COPY_INSTALLS;
    struct event *event =
        post_own(&replica->shard->process, below(world, 100 * MS), EVENT_INSTALLED);
    event->number = (uint64_t)replica->range;
    event->number2 = replica->generation;
}

void replica_installed(struct replica *replica)
{
    world_of(replica)->installs += !replica->shard->derived[replica->range].kept.there;
    take_over(replica);
    replica_open(replica);
    check_installed(replica);
    replica_configure(replica);
}

bool replica_leads(const struct replica *replica)
{
    return runs(&replica->shard->process) && replica->core != NULL && !replica->broken &&
           replication_role(replica->core) == REPLICATION_PRIMARY &&
           replication_may_read(replica->core, 0, true, now_ms(replica), NULL) == 0;
}

/* ---- requests ---- */

static void serve_write(struct replica *replica, const struct request *request)
{
    struct state *state = &replica->state;
    struct record record = request->record;
    int client = request->client;
    uint64_t now = now_ms(replica);
    if (request->epoch > replication_epoch(replica->core) ||
        (replication_role(replica->core) != REPLICATION_PRIMARY &&
         replication_role(replica->core) != REPLICATION_RECONCILING)) {
        respond(replica, request, (struct response){.status = ERR_STALE});
        return;
    }
    if (reshape_seals(replica)) {
        respond(replica, request, (struct response){.status = ERR_STALE});
        return;
    }
    if (record.op[0].batch <= state->batch[client]) { /* a retry of what is committed */
        struct response response = {.status = replica_leads(replica) ? 0 : ERR_UNAVAILABLE,
                                    .seq = state->seq[client]};
        if (response.status == 0 && record.op[0].batch == state->batch[client])
            check_acknowledged(replica, response.seq, &record.op[record.at.count - 1]);
        respond(replica, request, response);
        return;
    }
    int code = replica->pending_count == PENDING_MAX ? ERR_FULL : 0;
    for (size_t i = 0; i < replica->pending_count; i++)
        if (replica->pending[i].client == client)
            code = ERR_UNAVAILABLE; /* is being written */
    if (code == 0)
        code = replication_propose(replica->core, record.at.count, now, &record.at.first_seq, NULL);
    if (code != 0) {
        respond(replica, request, (struct response){.status = code});
        return;
    }
    record.at.epoch = replication_epoch(replica->core);
    log_add(&replica->log, &record);
    log_add(&disk_begin(replica)->records, &record);
    replica->pending[replica->pending_count++] = (struct pending){
        record_end(&record), request->call, client, record.op[record.at.count - 1]};
    replication_pump(replica->core, now);
}

void replica_serve(struct replica *replica, const struct request *request)
{
    if (replica->core == NULL) {
        respond(replica, request, (struct response){.status = ERR_STALE});
        return;
    }
    if (request->wish == WISH_WRITE) {
        serve_write(replica, request);
        return;
    }
    const struct state *state = &replica->state;
    int code = replication_may_read(replica->core, request->epoch, request->wish == WISH_PRIMARY,
                                    now_ms(replica), NULL);
    if (code == 0 && state->applied < request->token)
        code = ERR_UNAVAILABLE; /* the product waits a little; here the client tries again */
    struct response response = {.status = code, .seq = state->applied};
    memcpy(response.key, state->key, sizeof response.key);
    respond(replica, request, response);
}
