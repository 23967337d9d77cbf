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

#define REGISTER_MS 500
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
};

static const char *state_name(struct replica *replica)
{
    switch (atomic_load(&replica->state)) {
    case REPLICA_OPENING:
        return "opening";
    case REPLICA_FAILED:
        return "failed";
    default:
        if (range_broken(replica->range, NULL) != 0)
            return "read-only";
        return atomic_load(&replica->sealed) ? "sealed" : "serving";
    }
}

static void add_report(void *data, struct replica *replica)
{
    struct reports *reports = data;
    struct range_figures figures = {0};
    if (reports->count == REPORTS_MAX)
        return;
    if (reports->count == reports->capacity) {
        size_t capacity = reports->capacity == 0 ? 64 : 2 * reports->capacity;
        Quire__RangeReport **grown = arena_calloc(reports->arena, capacity, sizeof grown[0]);
        if (grown == NULL)
            abort();
        if (reports->count > 0)
            memcpy(grown, reports->reports, reports->count * sizeof grown[0]);
        reports->reports = grown;
        reports->capacity = capacity;
    }
    Quire__RangeReport *report = arena_alloc(reports->arena, sizeof *report);
    if (report == NULL)
        abort();
    if (atomic_load(&replica->state) == REPLICA_OPEN)
        range_figures(replica->range, &figures);
    quire__range_report__init(report);
    report->id = replica->id;
    report->epoch = atomic_load(&replica->epoch);
    report->state = (char *)state_name(replica);
    report->entries = figures.entries;
    report->bytes = figures.disk_bytes;
    report->has_memory_bytes = report->has_segments = 1;
    report->memory_bytes = figures.memory_bytes;
    report->segments = figures.segments;
    report->has_committed_seq = report->has_durable_seq = 1;
    report->committed_seq = figures.applied_seq;
    report->durable_seq = figures.durable_seq;
    reports->reports[reports->count++] = report;
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
    struct reports reports = {.arena = &arena};
    node.id = server->node_id;
    node.address = address_of(server, &arena);
    node.zone = server->zone;
    message.node = &node;
    message.has_map_epoch = 1;
    message.map_epoch = replicas_map_epoch(server->replicas);
    replicas_each(server->replicas, add_report, &reports);
    message.n_ranges = reports.count;
    message.ranges = reports.reports;
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
        registration->busy++;
        contact->call = (struct rpc_call){.data = contact, .done = on_reply};
        rpc_call_start(&contact->call, contact->peer, QUIRE__KIND__KIND_REGISTER,
                       buf_bytes(&message), REGISTER_TIMEOUT_MS, 0);
    }
    buf_deinit(&message);
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
