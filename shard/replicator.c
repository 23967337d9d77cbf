#include "shard/replicator.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "shard/replicas.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define APPENDS_MAX                                                                                \
    4096 /* records of one append, beyond which the rest waits for the next turn                   \
          */

struct event {
    struct list link;
    void (*run)(struct replicator *replicator, struct event *event);
    struct replica *replica; /* a reference; NULL: found by `range`, or about none */
    uint64_t range;
    char node[UUID_TEXT_SIZE];
    struct rpc_request *request;
    struct replication_ack ack;
    struct replication_position at;
    uint64_t number;
    bool flag;
};

struct replicator {
    struct replicator_settings settings;
    struct write_queue *queue;
    pthread_t thread;

    pthread_mutex_t lock; /* the next six */
    pthread_cond_t arrived, done;
    struct list events;
    bool writes_ready, stopping;
    uint64_t orders, orders_done; /* that somebody waits for */

    _Atomic uint64_t lease_until_ms, map_epoch;
    _Atomic bool broken, rests;
    bool stopped;

    /* the thread's */
    struct list held; /* replicas with cores */
    uint64_t lease_told_ms, ticked_ms;
    bool resigned, queue_held;
    struct log_record *appends;
    struct tail_record **records; /* of the appends */
    size_t append_count, append_room;
};

/* ---- events ---- */

static struct event *event_new(void (*run)(struct replicator *replicator, struct event *event),
                               struct replica *replica)
{
    struct event *event = calloc(1, sizeof *event);
    if (event == NULL)
        abort();
    event->run = run;
    event->replica = replica;
    if (replica != NULL)
        replica_ref(replica);
    return event;
}

static void post(struct replicator *replicator, struct event *event)
{
    pthread_mutex_lock(&replicator->lock);
    list_push(&replicator->events, &event->link);
    pthread_cond_signal(&replicator->arrived);
    pthread_mutex_unlock(&replicator->lock);
}

static void on_writes(void *data)
{
    struct replicator *replicator = data;
    pthread_mutex_lock(&replicator->lock);
    replicator->writes_ready = true;
    pthread_cond_signal(&replicator->arrived);
    pthread_mutex_unlock(&replicator->lock);
}

/* ---- what is told to cores ---- */

static bool is_held(const struct replica *replica)
{
    return !list_empty(&replica->core_link);
}

static void hold(struct replicator *replicator, struct replica *replica)
{
    replica_ref(replica);
    list_push(&replicator->held, &replica->core_link);
}

static void append(struct replicator *replicator);

static void let_go(struct replica *replica)
{
    if (!is_held(replica))
        return;
    list_remove(&replica->core_link);
    replica_give_up(replica, "the range has gone elsewhere");
    replica_unref(replica);
}

static void run_opened(struct replicator *replicator, struct event *event)
{
    struct replica *replica = event->replica;
    if (atomic_load(&replica->dropped))
        return;
    hold(replicator, replica);
    pthread_mutex_lock(&replica->lock);
    replica_make_core(replica, atomic_load(&replicator->lease_until_ms), replicator->resigned);
    if (atomic_load(&replicator->broken))
        replication_broke(replica->core, clock_ms());
    pthread_mutex_unlock(&replica->lock);
    replicator->settings.news(replicator->settings.data);
}

static void run_configured(struct replicator *replicator, struct event *event)
{
    (void)replicator;
    struct replica *replica = event->replica;
    pthread_mutex_lock(&replica->lock);
    if (replica->core != NULL)
        replica_configure_core(replica);
    pthread_mutex_unlock(&replica->lock);
}

/* Whoever is let go takes its log along: what this turn has for it is written before, not after a
 * successor has begun that log anew. */
static void run_dropped(struct replicator *replicator, struct event *event)
{
    append(replicator);
    let_go(event->replica);
}

static void run_map(struct replicator *replicator, struct event *event)
{
    if (event->number > atomic_load(&replicator->map_epoch))
        atomic_store(&replicator->map_epoch, event->number);
    replicator->settings.news(replicator->settings.data);
}

static void order_done(struct replicator *replicator)
{
    pthread_mutex_lock(&replicator->lock);
    replicator->orders_done++;
    pthread_cond_broadcast(&replicator->done);
    pthread_mutex_unlock(&replicator->lock);
}

static void run_resign(struct replicator *replicator, struct event *event)
{
    (void)event;
    replicator->resigned = true;
    for (struct list *at = replicator->held.next; at != &replicator->held; at = at->next) {
        struct replica *replica = list_entry(at, struct replica, core_link);
        pthread_mutex_lock(&replica->lock);
        replication_resign(replica->core);
        pthread_mutex_unlock(&replica->lock);
    }
    order_done(replicator);
}

static void run_rest(struct replicator *replicator, struct event *event)
{
    (void)event;
    atomic_store(&replicator->rests, true);
    order_done(replicator);
}

/* ---- messages ---- */

void replicator_answer(struct replicator *replicator, void *ticket,
                       const struct replication_ack *ack)
{
    Quire__ReplicaAck message = QUIRE__REPLICA_ACK__INIT;
    message.status = (Quire__ReplicaAck__Status)ack->status;
    message.epoch = ack->epoch;
    message.last_seq = ack->last;
    message.committed = ack->committed;
    message.durable_seq = ack->durable_seq;
    replicator->settings.answer(replicator->settings.data, ticket, &message);
}

static void refuse(struct replicator *replicator, struct rpc_request *request)
{
    const struct replication_ack ack = {.status = REPLICATION_BEHIND};
    replicator_answer(replicator, request, &ack);
}

static void receive(struct replica *replica, struct rpc_request *request,
                    Quire__ReplicaPrepare *message)
{
    struct replication_record *records =
        arena_calloc(&request->arena, message->n_records + 1, sizeof *records);
    if (records == NULL)
        abort();
    for (size_t i = 0; i < message->n_records; i++)
        records[i] = (struct replication_record){
            message->records[i]->epoch, message->records[i]->first_seq, message->records[i]->count};
    struct replication_prepare prepare = {
        .epoch = message->epoch,
        .from = message->from,
        .prev = {message->prev_epoch, message->prev_seq},
        .records = records,
        .record_count = message->n_records,
        .committed = message->committed,
        .retain = message->retain,
        .base = message->log_base,
    };
    replica->message = message;
    replication_receive(replica->core, request, &prepare, clock_ms());
    replica->message = NULL;
}

static void run_receive(struct replicator *replicator, struct event *event)
{
    struct rpc_request *request = event->request;
    Quire__ReplicaPrepare *message = quire__replica_prepare__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    struct replica *replica = message == NULL || !uuid_valid(message->from)
                                  ? NULL
                                  : replicas_find(*replicator->settings.replicas, message->range);
    if (replica == NULL || !is_held(replica)) {
        refuse(replicator, request);
    } else {
        pthread_mutex_lock(&replica->lock);
        receive(replica, request, message);
        pthread_mutex_unlock(&replica->lock);
    }
    if (replica != NULL)
        replica_unref(replica);
}

/* The held replica of a range; NULL: none. */
static struct replica *held(struct replicator *replicator, uint64_t range)
{
    struct replica *replica = replicas_find(*replicator->settings.replicas, range);
    if (replica == NULL)
        return NULL;
    bool is = is_held(replica);
    replica_unref(replica); /* the list has one */
    return is ? replica : NULL;
}

static void run_acked(struct replicator *replicator, struct event *event)
{
    struct replica *replica = held(replicator, event->range);
    if (replica == NULL)
        return;
    pthread_mutex_lock(&replica->lock);
    replication_acked(replica->core, event->node, &event->ack, clock_ms());
    pthread_mutex_unlock(&replica->lock);
}

static void run_lost(struct replicator *replicator, struct event *event)
{
    struct replica *replica = held(replicator, event->range);
    if (replica == NULL)
        return;
    pthread_mutex_lock(&replica->lock);
    replication_lost(replica->core, event->node, event->flag, clock_ms());
    pthread_mutex_unlock(&replica->lock);
}

static void run_applied(struct replicator *replicator, struct event *event)
{
    (void)replicator;
    (void)event; /* the turn goes on with it */
    atomic_store(&event->replica->applying, false);
}

static void run_copied(struct replicator *replicator, struct event *event)
{
    struct replica *replica = event->replica;
    bool may = false;
    append(replicator); /* as run_dropped() */
    if (is_held(replica)) {
        pthread_mutex_lock(&replica->lock);
        may = replication_may_install(replica->core, event->at.seq);
        if (may) {
            replication_destroy(replica->core);
            replica->core = NULL;
            pthread_cond_broadcast(&replica->applied);
        }
        pthread_mutex_unlock(&replica->lock);
    }
    if (!may) {
        atomic_store(&replica->copying, false);
        return;
    }
    let_go(replica);
    replicas_reinstall(*replicator->settings.replicas, replica, event->at);
}

/* ---- writes ---- */

static bool same_client(const struct write *a, const struct write *b)
{
    return a->message->client_id != NULL && b->message->client_id != NULL &&
           strcmp(a->message->client_id, b->message->client_id) == 0;
}

/* A batch that is in the log and not yet applied is not known to the range. */
static int check_pending(const struct write *write, struct err *err)
{
    const struct list *pending = &write->replica->pending;
    for (struct list *at = pending->prev; at != pending; at = at->prev) {
        const struct write *other = list_entry(at, struct write, link);
        if (!same_client(other, write) || !other->message->has_batch || !write->message->has_batch)
            continue;
        if (other->message->batch == write->message->batch)
            return err_set(err, ERR_UNAVAILABLE, "this batch is being written already");
        if (other->message->batch > write->message->batch)
            return err_set(err, ERR_CONFLICT, "batch %llu of this client came before",
                           (unsigned long long)other->message->batch);
        return 0;
    }
    return 0;
}

/* What the log has and neither is applied nor pending: of a primary before this one. */
static bool is_behind(const struct replica *replica)
{
    uint64_t applied = range_applied_seq(replica->range);
    const struct write *write = list_empty(&replica->pending)
                                    ? NULL
                                    : list_entry(replica->pending.next, struct write, link);
    uint64_t next = write == NULL ? replication_last(replica->core) + 1
                                  : write->seq - write->message->n_ops + 1;
    return applied + 1 < next || atomic_load(&replica->applying);
}

/* Whether it is to be written at all; *known: it was answered before. */
static int admit(struct write *write, bool *known, struct err *err)
{
    struct replica *replica = write->replica;
    const Quire__ShardWrite *message = write->message;
    struct range_session session = {message->client_id, message->batch};
    *known = false;
    if (atomic_load(&replica->dropped) || !is_held(replica))
        return err_set(err, ERR_STALE, "range %llu has changed", (unsigned long long)replica->id);
    if (atomic_load(&replica->sealed))
        return err_set(err, ERR_STALE, "range %llu is about to be replaced",
                       (unsigned long long)replica->id);
    if (write->epoch > replication_epoch(replica->core))
        return err_set(err, ERR_STALE, "range %llu is at epoch %llu here, not %llu",
                       (unsigned long long)replica->id,
                       (unsigned long long)replication_epoch(replica->core),
                       (unsigned long long)write->epoch);
    int code = replication_may_read(replica->core, write->epoch, true, clock_ms(), err);
    if (code == 0)
        code = range_broken(replica->range, err);
    if (code == 0 && is_behind(replica))
        code = err_set(err, ERR_UNAVAILABLE, "the primary is taking over");
    if (code != 0 || message->client_id == NULL || message->client_id[0] == 0 ||
        !message->has_batch)
        return code;
    code = check_pending(write, err);
    if (code == 0)
        code = range_session_find(replica->range, &session, message->ops, message->n_ops, known,
                                  &write->answers, write->arena, err);
    if (code == 0 && *known)
        write->answer_count = message->n_ops;
    return code;
}

static int propose(struct replicator *replicator, struct write *write, struct err *err)
{
    struct replica *replica = write->replica;
    uint64_t first_seq;
    uint32_t count = (uint32_t)write->message->n_ops;
    pthread_mutex_lock(&replica->lock);
    int code = replication_propose(replica->core, count, clock_ms(), &first_seq, err);
    if (code == 0) {
        struct tail_record *record = tail_add(&replica->tail, replication_epoch(replica->core),
                                              first_seq, count, write->payload);
        replicator_append(replicator, replica, record, false);
        replica->writes++;
        write->seq = first_seq + count - 1;
        list_push(&replica->pending, &write->link);
        replication_pump(replica->core, clock_ms());
    }
    pthread_mutex_unlock(&replica->lock);
    return code;
}

static void take_write(struct replicator *replicator, struct write *write)
{
    struct err err = write->error;
    bool known = false;
    int code = err.code;
    if (code == 0 && write->run != NULL)
        code = write->run(write, &err);
    else if (code == 0)
        code = admit(write, &known, &err);
    if (code == 0 && known)
        write->seq = range_applied_seq(write->replica->range);
    else if (code == 0 && write->run == NULL && (code = propose(replicator, write, &err)) == 0)
        return;
    write_queue_end(replicator->queue, write, code, &err);
}

static void take_writes(struct replicator *replicator)
{
    struct write *group[WRITE_GROUP_MAX];
    size_t count = write_queue_take(replicator->queue, group, &replicator->queue_held);
    for (size_t i = 0; i < count; i++)
        take_write(replicator, group[i]);
    if (count > 0)
        on_writes(replicator); /* there may be more */
}

/* ---- the append ---- */

void replicator_append(struct replicator *replicator, struct replica *replica,
                       struct tail_record *record, bool cuts)
{
    if (replicator->append_count == replicator->append_room) {
        size_t room = replicator->append_room == 0 ? 64 : 2 * replicator->append_room;
        replicator->appends = realloc(replicator->appends, room * sizeof *replicator->appends);
        replicator->records = realloc(replicator->records, room * sizeof(void *));
        if (replicator->appends == NULL || replicator->records == NULL)
            abort();
        replicator->append_room = room;
    }
    tail_record_ref(record); /* a later record of this turn may cut it off */
    replicator->records[replicator->append_count] = record;
    replicator->appends[replicator->append_count++] =
        (struct log_record){replica->id,
                            record->epoch,
                            record->first_seq,
                            record->count,
                            bytes_of(record->write, record->size),
                            cuts};
}

static void tell_appended(struct replica *replica)
{
    pthread_mutex_lock(&replica->lock);
    size_t writes = replica->writes;
    replica->writes = 0;
    tail_trim(&replica->tail);
    if (replica->core != NULL && writes > 0)
        replication_appended(replica->core, writes, clock_ms());
    pthread_mutex_unlock(&replica->lock);
}

static void tell_broken(struct replica *replica)
{
    pthread_mutex_lock(&replica->lock);
    replica->writes = 0;
    replication_broke(replica->core, clock_ms());
    pthread_mutex_unlock(&replica->lock);
}

static void append(struct replicator *replicator)
{
    struct err err = {0};
    if (replicator->append_count == 0)
        return;
    if (!atomic_load(&replicator->broken) &&
        log_store_append(replicator->settings.log, replicator->appends, replicator->append_count,
                         &err) != 0) {
        atomic_store(&replicator->broken, true);
        log_event(LOG_ERROR, "the log cannot be written; reads go on", LOG_STR("error", err.text));
        replicator->settings.news(replicator->settings.data);
    }
    for (size_t i = 0; i < replicator->append_count; i++)
        tail_record_release(replicator->records[i]);
    replicator->append_count = 0;
    for (struct list *at = replicator->held.next; at != &replicator->held; at = at->next) {
        struct replica *replica = list_entry(at, struct replica, core_link);
        if (atomic_load(&replicator->broken))
            tell_broken(replica);
        else if (replica->writes > 0)
            tell_appended(replica);
    }
}

/* ---- a turn ---- */

static void take_events(struct replicator *replicator)
{
    struct list events;
    list_init(&events);
    pthread_mutex_lock(&replicator->lock);
    list_splice(&events, &replicator->events);
    replicator->writes_ready = false;
    pthread_mutex_unlock(&replicator->lock);
    for (struct list *at; (at = list_shift(&events)) != NULL;) {
        struct event *event = list_entry(at, struct event, link);
        event->run(replicator, event);
        if (event->replica != NULL)
            replica_unref(event->replica);
        free(event);
        if (replicator->append_count >= APPENDS_MAX)
            append(replicator);
    }
}

static void tick(struct replicator *replicator)
{
    uint64_t now = clock_ms(), lease = atomic_load(&replicator->lease_until_ms);
    bool due = now - replicator->ticked_ms >= REPLICATOR_TICK_MS, wishes = false;
    if (!due && lease == replicator->lease_told_ms)
        return;
    for (struct list *at = replicator->held.next; at != &replicator->held; at = at->next) {
        struct replica *replica = list_entry(at, struct replica, core_link);
        pthread_mutex_lock(&replica->lock);
        size_t before = replica->wish_count;
        replication_lease(replica->core, lease);
        if (due) {
            replica->wish_count = 0;
            replication_tick(replica->core, now);
        }
        wishes |= replica->wish_count > before;
        pthread_mutex_unlock(&replica->lock);
        replica_copy(replica, now);
    }
    replicator->lease_told_ms = lease;
    if (due)
        replicator->ticked_ms = now;
    if (wishes)
        replicator->settings.news(replicator->settings.data);
}

static void settle(struct replicator *replicator)
{
    for (struct list *at = replicator->held.next; at != &replicator->held; at = at->next)
        replica_settle(list_entry(at, struct replica, core_link));
}

static void turn(struct replicator *replicator)
{
    take_events(replicator);
    tick(replicator);
    settle(replicator); /* what the acknowledgements have committed is answered before the fsync */
    take_writes(replicator);
    append(replicator);
    settle(replicator);
}

/* False: there is nothing to do, and there will be nothing. */
static bool await(struct replicator *replicator)
{
    uint64_t now = clock_ms(), at = replicator->ticked_ms + REPLICATOR_TICK_MS;
    if (replicator->queue_held && now + REPLICATOR_HELD_MS < at)
        at = now + REPLICATOR_HELD_MS;
    struct timespec until = {(time_t)(at / 1000), (long)(at % 1000) * 1000000};
    pthread_mutex_lock(&replicator->lock);
    while (list_empty(&replicator->events) && !replicator->writes_ready && !replicator->stopping &&
           clock_ms() < at)
        pthread_cond_timedwait(&replicator->arrived, &replicator->lock, &until);
    bool goes_on =
        !replicator->stopping || !list_empty(&replicator->events) || replicator->writes_ready;
    pthread_mutex_unlock(&replicator->lock);
    return goes_on;
}

static void *replicator_main(void *data)
{
    struct replicator *replicator = data;
    pthread_setname_np(pthread_self(), "replicator");
    while (await(replicator))
        turn(replicator);
    turn(replicator); /* what was committed with the last append */
    while (!list_empty(&replicator->held))
        let_go(list_entry(replicator->held.next, struct replica, core_link));
    return NULL;
}

/* ---- life ---- */

int replicator_create(const struct replicator_settings *settings, struct replicator **out,
                      struct err *err)
{
    struct replicator *replicator = calloc(1, sizeof *replicator);
    pthread_condattr_t monotonic;
    *out = NULL;
    if (replicator == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    replicator->settings = *settings;
    list_init(&replicator->events);
    list_init(&replicator->held);
    pthread_mutex_init(&replicator->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&replicator->arrived, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&replicator->done, NULL);
    replicator->queue = write_queue_create(settings->queue_bytes, on_writes, replicator);
    if (replicator->queue == NULL ||
        pthread_create(&replicator->thread, NULL, replicator_main, replicator) != 0) {
        write_queue_destroy(replicator->queue);
        free(replicator);
        return err_set(err, ERR_NOMEM, "cannot start the replicator's thread");
    }
    *out = replicator;
    return 0;
}

void replicator_stop(struct replicator *replicator)
{
    if (replicator == NULL || replicator->stopped)
        return;
    replicator->stopped = true;
    pthread_mutex_lock(&replicator->lock);
    replicator->stopping = true;
    pthread_cond_signal(&replicator->arrived);
    pthread_mutex_unlock(&replicator->lock);
    pthread_join(replicator->thread, NULL);
}

void replicator_destroy(struct replicator *replicator)
{
    if (replicator == NULL)
        return;
    for (struct list *at; (at = list_shift(&replicator->events)) != NULL;) {
        struct event *event = list_entry(at, struct event, link);
        if (event->replica != NULL)
            replica_unref(event->replica);
        if (event->request != NULL)
            refuse(replicator, event->request);
        free(event);
    }
    write_queue_destroy(replicator->queue);
    free(replicator->appends);
    free(replicator->records);
    pthread_mutex_destroy(&replicator->lock);
    pthread_cond_destroy(&replicator->arrived);
    pthread_cond_destroy(&replicator->done);
    free(replicator);
}

/* ---- from outside ---- */

struct write_queue *replicator_queue(struct replicator *replicator)
{
    return replicator->queue;
}

void replicator_opened(struct replicator *replicator, struct replica *replica)
{
    post(replicator, event_new(run_opened, replica));
}

void replicator_configured(struct replicator *replicator, struct replica *replica)
{
    post(replicator, event_new(run_configured, replica));
}

void replicator_dropped(struct replicator *replicator, struct replica *replica)
{
    post(replicator, event_new(run_dropped, replica));
}

void replicator_applied(struct replicator *replicator, struct replica *replica)
{
    post(replicator, event_new(run_applied, replica));
}

void replicator_copied(struct replicator *replicator, struct replica *replica,
                       struct replication_position at)
{
    struct event *event = event_new(run_copied, replica);
    event->at = at;
    post(replicator, event);
}

void replicator_map(struct replicator *replicator, uint64_t epoch)
{
    struct event *event = event_new(run_map, NULL);
    event->number = epoch;
    post(replicator, event);
}

uint64_t replicator_map_epoch(struct replicator *replicator)
{
    return atomic_load(&replicator->map_epoch);
}

void replicator_lease(struct replicator *replicator, uint64_t until_ms)
{
    uint64_t before = atomic_load(&replicator->lease_until_ms);
    while (before < until_ms &&
           !atomic_compare_exchange_weak(&replicator->lease_until_ms, &before, until_ms))
        ;
    on_writes(replicator); /* a turn */
}

/* Posts it and waits until it is done. */
static void order(struct replicator *replicator, struct event *event)
{
    pthread_mutex_lock(&replicator->lock);
    uint64_t mine = ++replicator->orders;
    list_push(&replicator->events, &event->link);
    pthread_cond_signal(&replicator->arrived);
    while (replicator->orders_done < mine)
        pthread_cond_wait(&replicator->done, &replicator->lock);
    pthread_mutex_unlock(&replicator->lock);
}

void replicator_resign(struct replicator *replicator)
{
    order(replicator, event_new(run_resign, NULL));
}

void replicator_rest(struct replicator *replicator)
{
    order(replicator, event_new(run_rest, NULL));
}

bool replicator_rests(struct replicator *replicator)
{
    return atomic_load(&replicator->rests);
}

void replicator_receive(struct replicator *replicator, struct rpc_request *request)
{
    struct event *event = event_new(run_receive, NULL);
    event->request = request;
    post(replicator, event);
}

void replicator_acked(struct replicator *replicator, uint64_t range, const char *from,
                      const Quire__ReplicaAck *ack)
{
    struct event *event = event_new(run_acked, NULL);
    event->range = range;
    memcpy(event->node, from, strlen(from) + 1);
    event->ack = (struct replication_ack){(enum replication_status)ack->status, ack->epoch,
                                          ack->last_seq, ack->committed, ack->durable_seq};
    post(replicator, event);
}

void replicator_lost(struct replicator *replicator, uint64_t range, const char *to,
                     bool disconnected)
{
    struct event *event = event_new(run_lost, NULL);
    event->range = range;
    memcpy(event->node, to, strlen(to) + 1);
    event->flag = disconnected;
    post(replicator, event);
}

bool replicator_broken(struct replicator *replicator)
{
    return atomic_load(&replicator->broken);
}
