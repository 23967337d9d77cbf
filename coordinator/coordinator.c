/* The coordinator's life.
 *
 *   start: restore the map -> (first start: agree on a new cluster) -> connect to the shards that
 * the map names
 *          -> listen -> ready
 *          without a leader for COORDINATOR_ALONE_MS: the same with the map of the last run
 * (map_cache.h); what consensus applies takes its place as soon as it is as new
 *   stop:  refuse new requests; end the calls to shards and what waits, so that every request gets
 * its reply; close consensus; once no request is open, close rpc; then free everything.
 *
 * A start that fails after coordinator_start() has returned (the log cannot be applied, the address
 * is taken) is told to `ready`; the owner then stops the coordinator.
 */
#include "coordinator/coordinator.h"

#include "coordinator/consensus_raft.h"
#include "coordinator/control.h"
#include "coordinator/join.h"
#include "coordinator/map_cache.h"
#include "coordinator/messages.h"
#include "coordinator/observe.h"
#include "coordinator/server.h"
#include "coordinator/siblings.h"
#include "coordinator/stats_cache.h"
#include "coordinator/voters.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/text/analysis.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void serve(struct coordinator *coordinator);

/* ---- the map as the thing that is agreed on ---- */

static void on_arrival(struct later_item *item)
{
    struct coordinator *coordinator = list_entry(item, struct coordinator, arrival);
    if (!coordinator->closing && !coordinator->serving && map_epoch(coordinator->map) > 0)
        serve(coordinator);
}

static void save_map(struct later_item *item)
{
    struct coordinator *coordinator = list_entry(item, struct coordinator, saving);
    struct err err = {0};
    int rc = map_cache_write(coordinator->dir, coordinator->map, &err);
    if (rc != 0 && !coordinator->save_failed)
        log_event(LOG_WARN, "the map is not remembered for a start without a majority",
                  LOG_STR("reason", err.text));
    coordinator->save_failed = rc != 0;
}

static void tell_removed(struct later_item *item)
{
    struct coordinator *coordinator = list_entry(item, struct coordinator, removal);
    if (!coordinator->closing && coordinator->tell_removed != NULL)
        coordinator->tell_removed(coordinator->ready_data);
}

void coordinator_was_removed(struct coordinator *coordinator)
{
    if (coordinator->removed || coordinator->closing)
        return;
    coordinator->removed = true;
    log_event(LOG_WARN, "this coordinator was removed from the cluster",
              LOG_STR("id", coordinator->node_id));
    later_post(&coordinator->later, &coordinator->removal, 0, tell_removed);
}

static void look_for_self(struct coordinator *coordinator)
{
    bool named = join_find(coordinator, coordinator->node_id) != NULL;
    if (named)
        join_ended(coordinator);
    else if (coordinator->in_map)
        coordinator_was_removed(coordinator);
    coordinator->in_map = named;
}

static bool is_in_map(void *map, uint64_t range)
{
    return map_range(map, range) != NULL;
}

/* A seq stands for another operation now wherever writes were given up. */
static void follow_ranges(struct coordinator *coordinator, struct map *map)
{
    for (size_t i = 0; i < map->message->n_ranges; i++) {
        const Quire__Range *range = map->message->ranges[i];
        const Quire__Range *old =
            range->recovered > 0 ? map_range(coordinator->map, range->id) : NULL;
        if (old != NULL && old->recovered != range->recovered)
            stats_cache_forget(coordinator->statistics, range->id);
    }
    if (coordinator->acknowledged.count > map->message->n_ranges)
        marks_filter(&coordinator->acknowledged, is_in_map, map);
}

static void use_map(struct coordinator *coordinator, struct map *map)
{
    follow_ranges(coordinator, map);
    map_unref(coordinator->map);
    coordinator->map = map_ref(map);
    controller_map(coordinator->controller, map, clock_ms());
    if (!coordinator->saving.queued && !coordinator->closing && map_epoch(map) > 0)
        later_post(&coordinator->later, &coordinator->saving, 0, save_map);
    if (coordinator->serving) {
        nodes_map_changed(&coordinator->nodes, map);
        siblings_map_changed(coordinator);
        look_for_self(coordinator);
    } else if (coordinator->consensus_ready && !coordinator->closing &&
               !coordinator->arrival.queued) {
        later_post(&coordinator->later, &coordinator->arrival, 0, on_arrival);
    }
}

/* While the log is applied that was there at the start, the map of the last run may be further. */
static void set_map(struct coordinator *coordinator, struct map *map)
{
    map_unref(coordinator->agreed);
    coordinator->agreed = map;
    if (map_epoch(map) >= map_epoch(coordinator->map))
        use_map(coordinator, map);
}

static int fsm_apply(void *data, struct bytes change, struct err *err)
{
    struct coordinator *coordinator = data;
    struct arena arena;
    arena_init(&arena, 0);
    struct map *next = NULL;
    int rc = 0;
    Quire__MapChange *message =
        quire__map_change__unpack(arena_protobuf(&arena), change.size, change.data);
    if (message == NULL)
        rc = err_set(err, ERR_CORRUPT, "a change of the map that does not parse");
    else
        rc = map_apply(coordinator->agreed, message, &next, err);
    arena_deinit(&arena);
    if (rc == 0)
        set_map(coordinator, next);
    return rc;
}

static void fsm_snapshot(void *data, struct buf *out)
{
    struct coordinator *coordinator = data;
    map_pack(coordinator->agreed, out);
}

static int fsm_restore(void *data, struct bytes snapshot, struct err *err)
{
    struct coordinator *coordinator = data;
    struct map *map;
    int rc = map_unpack(snapshot, &map, err);
    if (rc == 0)
        set_map(coordinator, map);
    return rc;
}

static void change_done(struct consensus_proposal *proposal, int status, const struct err *err)
{
    struct coordinator_change *change = (struct coordinator_change *)proposal;
    change->done(change, status, err);
}

static void change_refused(struct later_item *item)
{
    struct coordinator_change *change = list_entry(item, struct coordinator_change, later);
    struct err err = {0};
    err_set(&err, ERR_CANCELED, "the coordinator is stopping");
    change->done(change, ERR_CANCELED, &err);
}

void coordinator_change(struct coordinator *coordinator, struct coordinator_change *change,
                        const Quire__MapChange *message)
{
    change->coordinator = coordinator;
    if (coordinator->closing) {
        later_post(&coordinator->later, &change->later, 0, change_refused);
        return;
    }
    struct buf packed;
    buf_init(&packed);
    message_pack(&message->base, &packed);
    change->proposal.done = change_done;
    consensus_propose(coordinator->consensus, &change->proposal, buf_bytes(&packed));
    buf_deinit(&packed);
}

/* ---- small services ---- */

uint64_t coordinator_deadline(const struct rpc_request *request, uint32_t default_ms)
{
    uint64_t now = clock_ms();
    uint64_t left = request->deadline_ms > now ? request->deadline_ms - now : 1;
    uint64_t back = left / 8 < 250 ? left / 8 : 250;
    left -= back;
    return now + (left < default_ms ? left : default_ms);
}

struct analyzer *coordinator_analyzer(struct coordinator *coordinator, const char *language,
                                      struct err *err)
{
    size_t i = 0;
    while (i < coordinator->analyzer_count &&
           strcmp(coordinator->analyzers[i].language, language) != 0)
        i++;
    if (i < coordinator->analyzer_count)
        return coordinator->analyzers[i].analyzer;
    if (i == COORDINATOR_LANGUAGES_MAX ||
        strlen(language) >= sizeof coordinator->analyzers[i].language) {
        err_set(err, ERR_UNSUPPORTED, "the language %.20s is not known", language);
        return NULL;
    }
    if (analyzer_create(language, &coordinator->analyzers[i].analyzer, err) != 0)
        return NULL;
    strcpy(coordinator->analyzers[i].language, language);
    coordinator->analyzer_count++;
    return coordinator->analyzers[i].analyzer;
}

/* ---- start ---- */

static void report_failure(struct later_item *item)
{
    struct coordinator *coordinator = list_entry(item, struct coordinator, failure);
    if (!coordinator->closing)
        coordinator->ready(coordinator->ready_data, coordinator->failure_err.code,
                           &coordinator->failure_err);
}

void coordinator_fail(struct coordinator *coordinator, int status, const struct err *err)
{
    if (err != NULL)
        coordinator->failure_err = *err;
    coordinator->failure_err.code = status;
    later_post(&coordinator->later, &coordinator->failure, 0, report_failure);
}

static void serve(struct coordinator *coordinator)
{
    struct err err = {0};
    if (coordinator->serving)
        return;
    snprintf(coordinator->cluster_id, sizeof coordinator->cluster_id, "%s",
             coordinator->map->message->cluster_id);
    rpc_set_cluster_id(coordinator->rpc, coordinator->cluster_id);
    coordinator->serving = true;
    nodes_map_changed(&coordinator->nodes, coordinator->map);
    siblings_map_changed(coordinator);
    look_for_self(coordinator);
    int rc = rpc_server_create(coordinator->rpc, coordinator->listen, server_handle, coordinator,
                               &coordinator->server, &err);
    if (rc != 0) {
        coordinator_fail(coordinator, rc, &err);
        return;
    }
    log_event(LOG_INFO, "serving", LOG_STR("listen", coordinator->listen),
              LOG_STR("cluster", coordinator->cluster_id),
              LOG_U64("map_epoch", map_epoch(coordinator->map)));
    control_start(coordinator);
    join_check(coordinator);
    coordinator->ready(coordinator->ready_data, 0, NULL);
}

static void on_leads(void *data, bool leads)
{
    struct coordinator *coordinator = data;
    if (coordinator->closing)
        return;
    if (leads && coordinator->map != coordinator->agreed) /* it has lost what it once knew */
        use_map(coordinator, coordinator->agreed);
    controller_lead(coordinator->controller, leads, clock_ms());
    if (!leads)
        voters_forget(coordinator);
    control_run(coordinator);
}

static void on_bootstrapped(struct coordinator_change *change, int status, const struct err *err)
{
    struct coordinator *coordinator = change->coordinator;
    if (coordinator->closing)
        return;
    if (status == 0 || map_epoch(coordinator->map) > 0) /* another coordinator was quicker */
        serve(coordinator);
    else
        coordinator_fail(coordinator, status, err);
}

static void create_cluster(struct coordinator *coordinator)
{
    char id[UUID_TEXT_SIZE];
    uint8_t secret[16];
    struct err err = {0};
    uuid_generate_text(id);
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) {
        err_set(&err, ERR_IO, "no random bytes: %s", strerror(errno));
        coordinator_fail(coordinator, ERR_IO, &err);
        return;
    }
    Quire__ClusterMap map = QUIRE__CLUSTER_MAP__INIT;
    map.cluster_id = id;
    map.secret.data = secret;
    map.secret.len = sizeof secret;
    map.next_id = 1;
    Quire__MapChange message = QUIRE__MAP_CHANGE__INIT;
    message.bootstrap = &map;
    coordinator->bootstrap.done = on_bootstrapped;
    coordinator_change(coordinator, &coordinator->bootstrap, &message);
}

static void on_consensus_ready(void *data, int status, const struct err *err)
{
    struct coordinator *coordinator = data;
    if (coordinator->closing)
        return;
    coordinator->consensus_ready = true;
    if (status != 0) {
        coordinator_fail(coordinator, status, err);
        return;
    }
    if (coordinator->serving)
        log_event(LOG_INFO, "there is a majority again");
    else if (map_epoch(coordinator->map) > 0)
        serve(coordinator);
    else if (consensus_is_leader(coordinator->consensus))
        create_cluster(coordinator);
}

/* Whether the map of an earlier life may be served with: what was agreed on is known to be further
 * only once there is a leader. */
static struct map *remembered(struct coordinator *coordinator)
{
    struct map *map;
    struct err err = {0};
    int rc = map_cache_read(coordinator->dir, &map, &err);
    if (rc == 0 && map_epoch(coordinator->agreed) > 0 &&
        strcmp(map->message->cluster_id, coordinator->agreed->message->cluster_id) != 0) {
        map_unref(map);
        rc = err_set(&err, ERR_CORRUPT, "it is the map of another cluster");
    }
    if (rc == 0)
        return map;
    if (rc != ERR_NOT_FOUND)
        log_event(LOG_WARN, "the map of the last run cannot be used", LOG_STR("reason", err.text));
    return map_ref(coordinator->agreed);
}

static void serve_alone(struct later_item *item)
{
    struct coordinator *coordinator = list_entry(item, struct coordinator, alone);
    if (coordinator->closing || coordinator->serving || coordinator->consensus_ready)
        return;
    struct map *map = remembered(coordinator);
    if (map_epoch(map) > 0) {
        log_event(
            LOG_WARN,
            "no coordinator leads yet: queries are answered with the map of the last run, and "
            "it cannot change",
            LOG_U64("map_epoch", map_epoch(map)));
        if (map_epoch(map) > map_epoch(coordinator->map))
            use_map(coordinator, map);
        serve(coordinator);
    }
    map_unref(map);
}

static void free_all(struct coordinator *coordinator)
{
    for (size_t i = 0; i < coordinator->analyzer_count; i++)
        analyzer_destroy(coordinator->analyzers[i].analyzer);
    controller_destroy(coordinator->controller);
    map_unref(coordinator->map);
    map_unref(coordinator->agreed);
    stats_cache_destroy(coordinator->statistics);
    marks_deinit(&coordinator->acknowledged);
    coordinator_observe_destroy(coordinator->observe);
    free(coordinator->listen);
    free(coordinator->advertise);
    free(coordinator->raft_address);
    free(coordinator->dir);
    free(coordinator->join);
    free(coordinator);
}

static int open_consensus(struct coordinator *coordinator,
                          const struct coordinator_options *options, struct err *err)
{
    char dir[4096];
    if (snprintf(dir, sizeof dir, "%s/raft", options->dir) >= (int)sizeof dir)
        return err_set(err, ERR_INVALID, "the path of the data folder is too long");
    struct consensus_raft_options raft = {
        .dir = dir,
        .address = coordinator->raft_address,
        .listen = options->raft_address != NULL ? options->raft_listen : NULL,
        .id = join_raft_id(options->node_id),
        .join = coordinator->join_url[0] != '\0',
        .ready = on_consensus_ready,
        .leads = on_leads,
        .data = coordinator,
    };
    struct consensus_fsm fsm = {coordinator, fsm_apply, fsm_snapshot, fsm_restore};
    return consensus_raft_open(coordinator->loop, &raft, &fsm, &coordinator->consensus, err);
}

static void on_start_undone(void *data)
{
    free_all(data);
}

static void on_rpc_undone(void *data)
{
    struct coordinator *coordinator = data;
    nodes_deinit(&coordinator->nodes);
    later_close(&coordinator->later, on_start_undone, coordinator);
}

int coordinator_start(uv_loop_t *loop, const struct coordinator_options *options,
                      struct coordinator **out, struct err *err)
{
    *out = NULL;
    struct coordinator *coordinator = calloc(1, sizeof *coordinator);
    if (coordinator == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    coordinator->loop = loop;
    coordinator->map = map_create_empty();
    coordinator->agreed = map_ref(coordinator->map);
    coordinator->controller = controller_create(NULL);
    coordinator->statistics = stats_cache_create(options->stats_cache_bytes);
    coordinator->observe = coordinator_observe_create(options->metrics);
    coordinator->random = clock_ns() | 1;
    coordinator->replicas = options->replicas != 0 ? options->replicas : 1;
    coordinator->listen = strdup(options->listen);
    coordinator->advertise = strdup(options->advertise);
    coordinator->dir = strdup(options->dir);
    snprintf(coordinator->node_id, sizeof coordinator->node_id, "%s", options->node_id);
    coordinator->ready = options->ready;
    coordinator->ready_data = options->data;
    coordinator->raft_address =
        strdup(options->raft_address != NULL ? options->raft_address : options->raft_listen);
    list_init(&coordinator->admin);
    admit_init(coordinator, &options->admit);
    coordinator->admit.enter = server_enter;
    coordinator->slow.limit_us = (uint64_t)options->slow_query_ms * 1000;
    list_init(&coordinator->siblings);
    coordinator->tell_removed = options->removed;
    coordinator->join = options->join != NULL ? strdup(options->join) : NULL;
    coordinator->identity = (struct rpc_identity){
        .role = RPC_ROLE_COORDINATOR,
        .node_id = coordinator->node_id,
        .cluster_id = coordinator->cluster_id,
    };
    coordinator->rpc = rpc_create(loop, &coordinator->identity, err);
    if (coordinator->rpc == NULL) {
        free_all(coordinator);
        return err != NULL && err->code != 0 ? err->code : ERR_INTERNAL;
    }
    later_init(&coordinator->later, loop);
    admit_start(coordinator);
    nodes_init(&coordinator->nodes, coordinator->rpc, &coordinator->later, coordinator->controller);
    int rc =
        join_wanted(options->dir, options->join, options->advertise, coordinator->join_url, err);
    if (rc == 0)
        rc = open_consensus(coordinator, options, err);
    if (rc != 0) {
        coordinator->closing = true;
        nodes_stop(&coordinator->nodes);
        rpc_close(coordinator->rpc, on_rpc_undone, coordinator);
        return rc;
    }
    if (coordinator->join_url[0] != '\0' &&
        join_start(coordinator, coordinator->join_url, &coordinator->failure_err) != 0)
        coordinator_fail(coordinator, coordinator->failure_err.code, NULL);
    if (coordinator->join_url[0] == '\0')
        later_post(&coordinator->later, &coordinator->alone, COORDINATOR_ALONE_MS, serve_alone);
    *out = coordinator;
    return 0;
}

/* ---- stop ---- */

static void on_later_closed(void *data)
{
    struct coordinator *coordinator = data;
    void (*stopped)(void *) = coordinator->stopped;
    void *stopped_data = coordinator->stopped_data;
    free_all(coordinator);
    if (stopped != NULL)
        stopped(stopped_data);
}

static void on_rpc_closed(void *data)
{
    struct coordinator *coordinator = data;
    assert(coordinator->requests == 0);
    nodes_deinit(&coordinator->nodes);
    later_close(&coordinator->later, on_later_closed, coordinator);
}

static void close_rpc_when_idle(struct coordinator *coordinator)
{
    if (!coordinator->closing || !coordinator->consensus_closed || coordinator->requests > 0 ||
        coordinator->rpc_closing)
        return;
    coordinator->rpc_closing = true;
    rpc_close(coordinator->rpc, on_rpc_closed, coordinator);
}

void coordinator_request_ended(struct coordinator *coordinator)
{
    assert(coordinator->requests > 0);
    coordinator->requests--;
    close_rpc_when_idle(coordinator);
}

static void on_consensus_closed(void *data)
{
    struct coordinator *coordinator = data;
    coordinator->consensus_closed = true;
    close_rpc_when_idle(coordinator);
}

void coordinator_stop(struct coordinator *coordinator, void (*stopped)(void *data), void *data)
{
    assert(!coordinator->closing);
    coordinator->closing = true;
    coordinator->stopped = stopped;
    coordinator->stopped_data = data;
    if (coordinator->server != NULL)
        rpc_server_destroy(coordinator->server);
    admit_stop(coordinator);
    nodes_stop(&coordinator->nodes);
    join_stop(coordinator);
    siblings_stop(coordinator);
    control_stop(coordinator);
    later_hurry(&coordinator->later);
    consensus_close(coordinator->consensus, on_consensus_closed, coordinator);
}
