/* Registration: tells every coordinator, again and again, that this shard is there, where, and what
 * it holds. That is also its heartbeat. The first reply tells the id of the cluster, which is kept
 * in DIR/cluster-id: from then on connections of other clusters are refused (rpc's Hello).
 *
 * One call at a time for each coordinator: every REGISTER_MS while it answers; after a failure the
 * pause doubles up to REGISTER_BACKOFF_MAX_MS (rpc itself dials again with a back-off of its own).
 */
#include "shard/server_internal.h"

#include "proto/base/clock.h"
#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "proto/base/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REGISTER_MS 240 /* the next tick after that */
#define REGISTER_TIMEOUT_MS 2000
#define REGISTER_BACKOFF_MAX_MS 2000
#define REPORTS_MAX 65536

struct contact { /* with one coordinator */
    struct registration *registration;
    struct rpc_peer *peer;
    struct rpc_call call;
    bool busy;
    bool registered; /* the last call succeeded */
    bool complained;
    uint64_t sent_ms; /* the lease is counted from it */
    uint64_t next_ms, pause_ms;
};

struct registration {
    struct server *server;
    bool stopping;
    size_t count, busy;
    struct contact contacts[SERVER_COORDINATORS_MAX];
};

/* ---- what is told ---- */

struct reports {
    struct arena *arena;
    Quire__RangeReport **reports;
    size_t count, capacity;
    Quire__ReplicaRequest **requests;
    size_t request_count, request_capacity;
    bool log_broken;
    struct reshapes *reshapes;
};

static const char *state_name(struct replica *replica, bool log_broken)
{
    switch (atomic_load(&replica->state)) {
    case REPLICA_OPENING:
        return "opening";
    case REPLICA_FAILED:
        return "failed";
    case REPLICA_LEARNING:
        return "copying";
    default:
        if (log_broken || range_broken(replica->range, NULL) != 0)
            return "read-only";
        if (atomic_load(&replica->damaged))
            return "damaged";
        return atomic_load(&replica->sealed) ? "sealed" : "serving";
    }
}

static const char *role_name(enum replication_role role)
{
    static const char *const names[] = {[REPLICATION_NONE] = "none",
                                        [REPLICATION_RECONCILING] = "reconciling",
                                        [REPLICATION_PRIMARY] = "primary",
                                        [REPLICATION_SECONDARY] = "secondary",
                                        [REPLICATION_LEARNER] = "learner"};
    return names[role];
}

/* Room for one more; from the arena. */
static void **grow(struct arena *arena, void **items, size_t count, size_t *capacity)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity == 0 ? 64 : 2 * *capacity;
    void **grown = arena_calloc(arena, *capacity, sizeof grown[0]);
    if (grown == NULL)
        abort();
    if (count > 0)
        memcpy(grown, items, count * sizeof grown[0]);
    return grown;
}

static void add_wish(struct reports *reports, uint64_t range, const struct replica_wish *wish)
{
    Quire__ReplicaRequest *request = arena_alloc(reports->arena, sizeof *request);
    if (request == NULL)
        abort();
    quire__replica_request__init(request);
    request->range = range;
    request->epoch = wish->epoch;
    request->node = arena_strdup(reports->arena, wish->node);
    request->in_sync = wish->in_sync;
    reports->requests =
        (Quire__ReplicaRequest **)grow(reports->arena, (void **)reports->requests,
                                       reports->request_count, &reports->request_capacity);
    reports->requests[reports->request_count++] = request;
}

static void add_middle(struct reports *reports, struct replica *replica, Quire__RangeReport *report)
{
    pthread_mutex_lock(&replica->lock);
    size_t size = replica->middle.size;
    report->has_middle = atomic_load(&replica->halved) != UINT64_MAX;
    report->middle.len = size;
    report->middle.data = size > 0 ? arena_copy(reports->arena, replica->middle.data, size) : NULL;
    pthread_mutex_unlock(&replica->lock);
}

static void add_wishes(struct reports *reports, struct replica *replica)
{
    pthread_mutex_lock(&replica->lock);
    for (size_t i = 0; i < replica->wish_count; i++)
        add_wish(reports, replica->id, &replica->wishes[i]);
    pthread_mutex_unlock(&replica->lock);
}

static void report_reshape(struct reshapes *reshapes, const struct replica_standing *standing,
                           Quire__RangeReport *report)
{
    struct reshape_progress progress;
    reshapes_progress(reshapes, report->id, standing->epoch, standing->sealed, &progress);
    report->has_derived_seq = progress.derived;
    report->derived_seq = progress.seq;
    report->has_derived_failed = report->derived_failed = progress.failed;
    report->has_drained = true;
    report->drained = standing->sealed && standing->role == REPLICATION_PRIMARY &&
                      standing->committed == standing->last &&
                      report->committed_seq == standing->last;
}

static void add_report(void *data, struct replica *replica)
{
    struct reports *reports = data;
    struct range_figures figures = {0};
    struct replica_standing standing;
    if (reports->count == REPORTS_MAX)
        return;
    Quire__RangeReport *report = arena_alloc(reports->arena, sizeof *report);
    if (report == NULL)
        abort();
    if (atomic_load(&replica->state) == REPLICA_OPEN)
        range_figures(replica->range, &figures);
    replica_standing(replica, &standing);
    quire__range_report__init(report);
    report->id = replica->id;
    report->epoch = standing.epoch;
    report->role = (char *)role_name(standing.role);
    report->state = (char *)state_name(replica, reports->log_broken);
    report->entries = figures.entries;
    report->bytes = figures.disk_bytes;
    report->has_memory_bytes = report->has_segments = 1;
    report->memory_bytes = figures.memory_bytes;
    report->segments = figures.segments;
    report->has_committed_seq = report->has_durable_seq = report->has_last_seq = 1;
    report->committed_seq = figures.applied_seq;
    report->durable_seq = figures.durable_seq;
    report->last_seq = standing.last;
    if (standing.role == REPLICATION_PRIMARY)
        add_middle(reports, replica, report);
    if (standing.reshaped)
        report_reshape(reports->reshapes, &standing, report);
    reports->reports = (Quire__RangeReport **)grow(reports->arena, (void **)reports->reports,
                                                   reports->count, &reports->capacity);
    reports->reports[reports->count++] = report;
    add_wishes(reports, replica);
}

/* The url that others dial: as told, or as listened, with the port that was found for port 0. */
static char *address_of(struct server *server, struct arena *arena)
{
    const char *url = server->advertise != NULL ? server->advertise : server->listen;
    const char *colon = strrchr(url, ':');
    if (strncmp(url, "tcp://", 6) != 0 || colon == NULL || strcmp(colon, ":0") != 0)
        return arena_strdup(arena, url);
    return arena_printf(arena, "%.*s:%d", (int)(colon - url), url, server_port(server));
}

static void pack_register(struct server *server, struct buf *out)
{
    struct arena arena;
    arena_init(&arena, 0);
    Quire__Register message = QUIRE__REGISTER__INIT;
    Quire__Node node = QUIRE__NODE__INIT;
    struct reports reports = {.arena = &arena,
                              .log_broken = replicator_broken(server->replicator),
                              .reshapes = server->reshapes};
    node.id = server->node_id;
    node.address = address_of(server, &arena);
    node.zone = server->zone;
    message.node = &node;
    message.has_map_epoch = 1;
    message.map_epoch = replicator_map_epoch(server->replicator);
    node.has_incarnation = true;
    node.incarnation = server->incarnation;
    message.has_leaving = message.leaving = server->leaving;
    message.has_disk_short = message.disk_short = !disk_has_room(server);
    replicas_each(server->replicas, add_report, &reports);
    message.n_ranges = reports.count;
    message.ranges = reports.reports;
    message.n_requests = reports.request_count;
    message.requests = reports.requests;
    quire__register__pack(&message, buf_extend(out, quire__register__get_packed_size(&message)));
    arena_deinit(&arena);
}

/* ---- what is answered ---- */

static void keep_cluster_id(struct server *server)
{
    struct err err;
    if (data_dir_write(server->dir, "cluster-id", server->cluster_id, &err) != 0)
        log_event(LOG_WARN, "the cluster's id cannot be kept", LOG_STR("error", err.text));
}

static bool learn(struct server *server, const Quire__RegisterReply *reply)
{
    if (!uuid_valid(reply->cluster_id))
        return false;
    if (server->cluster_id[0] == 0) {
        snprintf(server->cluster_id, sizeof server->cluster_id, "%s", reply->cluster_id);
        rpc_set_cluster_id(server->rpc, server->cluster_id);
        keep_cluster_id(server);
        log_event(LOG_INFO, "joined a cluster", LOG_STR("cluster", server->cluster_id));
    }
    return strcmp(server->cluster_id, reply->cluster_id) == 0;
}

static void succeeded(struct contact *contact, const Quire__RegisterReply *reply)
{
    struct server *server = contact->registration->server;
    if (!learn(server, reply)) {
        if (!contact->complained)
            log_event(LOG_ERROR, "a coordinator of another cluster",
                      LOG_STR("url", rpc_peer_url(contact->peer)),
                      LOG_STR("its_cluster", reply->cluster_id),
                      LOG_STR("our_cluster", server->cluster_id));
        contact->complained = true;
        return;
    }
    if (!contact->registered)
        log_event(LOG_INFO, "registered", LOG_STR("coordinator", rpc_peer_url(contact->peer)));
    if (reply->has_lease_ms)
        replicator_lease(server->replicator, contact->sent_ms + reply->lease_ms);
    contact->registered = true;
    contact->complained = false;
    contact->pause_ms = REGISTER_MS;
}

static void failed(struct contact *contact, const struct err *err)
{
    if (!contact->complained)
        log_event(LOG_WARN, "not registered", LOG_STR("coordinator", rpc_peer_url(contact->peer)),
                  LOG_STR("error", err->text));
    contact->registered = false;
    contact->complained = true;
    contact->pause_ms *= 2;
    if (contact->pause_ms > REGISTER_BACKOFF_MAX_MS)
        contact->pause_ms = REGISTER_BACKOFF_MAX_MS;
}

static void on_reply(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                     struct bytes payload)
{
    struct contact *contact = call->data;
    struct registration *registration = contact->registration;
    contact->busy = false;
    registration->busy--;
    if (registration->stopping) {
        if (registration->busy == 0)
            free(registration);
        return;
    }
    Quire__RegisterReply *reply = NULL;
    if (status == 0 && kind == QUIRE__KIND__KIND_REGISTER + 1)
        reply = quire__register_reply__unpack(NULL, payload.size, payload.data);
    if (reply != NULL) {
        succeeded(contact, reply);
    } else {
        struct err odd = {0};
        err_set(&odd, ERR_PROTOCOL, "an answer of kind %u", kind);
        failed(contact, status != 0 ? err : &odd);
    }
    if (reply != NULL)
        quire__register_reply__free_unpacked(reply, NULL);
    contact->next_ms = clock_ms() + contact->pause_ms;
}

/* ---- life ---- */

struct registration *registration_create(struct server *server)
{
    struct registration *registration = calloc(1, sizeof *registration);
    if (registration == NULL)
        return NULL;
    registration->server = server;
    for (size_t i = 0; i < server->settings.coordinator_count; i++) {
        struct contact *contact = &registration->contacts[i];
        contact->registration = registration;
        contact->pause_ms = REGISTER_MS;
        struct err err = {0};
        if (i == SERVER_COORDINATORS_MAX ||
            rpc_peer_create(server->rpc, server->settings.coordinators[i], &contact->peer, &err) !=
                0) {
            log_event(LOG_ERROR, "coordinator cannot be dialed", LOG_STR("error", err.text),
                      LOG_STR("url", server->settings.coordinators[i]));
            registration_stop(registration);
            return NULL;
        }
        registration->count++;
    }
    return registration;
}

void registration_tick(struct registration *registration)
{
    struct buf message = {0};
    uint64_t now = clock_ms();
    for (size_t i = 0; i < registration->count; i++) {
        struct contact *contact = &registration->contacts[i];
        if (contact->busy || now < contact->next_ms)
            continue;
        if (message.size == 0)
            pack_register(registration->server, &message);
        contact->busy = true;
        contact->sent_ms = now;
        registration->busy++;
        contact->call = (struct rpc_call){.data = contact, .done = on_reply};
        rpc_call_start(&contact->call, contact->peer, QUIRE__KIND__KIND_REGISTER,
                       buf_bytes(&message), REGISTER_TIMEOUT_MS, 0);
    }
    buf_deinit(&message);
}

bool registration_heard(const struct registration *registration)
{
    for (size_t i = 0; i < registration->count; i++)
        if (registration->contacts[i].registered)
            return true;
    return false;
}

void registration_hurry(struct registration *registration)
{
    for (size_t i = 0; i < registration->count; i++)
        registration->contacts[i].next_ms = 0;
}

void registration_stop(struct registration *registration)
{
    registration->stopping = true;
    for (size_t i = 0; i < registration->count; i++)
        rpc_peer_destroy(registration->contacts[i].peer);
    if (registration->busy == 0)
        free(registration);
}
