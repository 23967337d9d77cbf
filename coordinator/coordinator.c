/* The coordinator's life.
 *
 *   start: restore the map -> (first start: agree on a new cluster) -> connect to the shards that
 * the map names
 *          -> listen -> ready
 *   stop:  refuse new requests; end the calls to shards and what waits, so that every request gets
 * its reply; close consensus; once no request is open, close rpc; then free everything.
 *
 * A start that fails after coordinator_start() has returned (the log cannot be applied, the address
 * is taken) is told to `ready`; the owner then stops the coordinator.
 */
#include "coordinator/coordinator.h"

#include "coordinator/consensus_raft.h"
#include "coordinator/control.h"
#include "coordinator/forward.h"
#include "coordinator/join.h"
#include "coordinator/messages.h"
#include "coordinator/server.h"
#include "coordinator/stats_cache.h"
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

static void set_map(struct coordinator *coordinator, struct map *map)
{
    map_unref(coordinator->map);
    coordinator->map = map;
    controller_map(coordinator->controller, map, clock_ms());
    if (coordinator->serving)
        nodes_map_changed(&coordinator->nodes, map);
    else if (coordinator->consensus_ready && !coordinator->closing && !coordinator->arrival.queued)
        later_post(&coordinator->later, &coordinator->arrival, 0, on_arrival);
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
        rc = map_apply(coordinator->map, message, &next, err);
    arena_deinit(&arena);
    if (rc == 0)
        set_map(coordinator, next);
    return rc;
}

static void fsm_snapshot(void *data, struct buf *out)
{
    struct coordinator *coordinator = data;
    map_pack(coordinator->map, out);
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

static void fail_start(struct coordinator *coordinator, int status, const struct err *err)
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
    join_ended(coordinator);
    snprintf(coordinator->cluster_id, sizeof coordinator->cluster_id, "%s",
             coordinator->map->message->cluster_id);
    rpc_set_cluster_id(coordinator->rpc, coordinator->cluster_id);
    coordinator->serving = true;
    nodes_map_changed(&coordinator->nodes, coordinator->map);
    int rc = rpc_server_create(coordinator->rpc, coordinator->listen, server_handle, coordinator,
                               &coordinator->server, &err);
    if (rc != 0) {
        fail_start(coordinator, rc, &err);
        return;
    }
    log_event(LOG_INFO, "serving", LOG_STR("listen", coordinator->listen),
              LOG_STR("cluster", coordinator->cluster_id),
              LOG_U64("map_epoch", map_epoch(coordinator->map)));
    control_start(coordinator);
    coordinator->ready(coordinator->ready_data, 0, NULL);
}

static void on_bootstrapped(struct coordinator_change *change, int status, const struct err *err)
{
    struct coordinator *coordinator = change->coordinator;
    if (coordinator->closing)
        return;
    if (status == 0 || map_epoch(coordinator->map) > 0) /* another coordinator was quicker */
        serve(coordinator);
    else
        fail_start(coordinator, status, err);
}

static void create_cluster(struct coordinator *coordinator)
{
    char id[UUID_TEXT_SIZE];
    uint8_t secret[16];
    struct err err = {0};
    uuid_generate_text(id);
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) {
        err_set(&err, ERR_IO, "no random bytes: %s", strerror(errno));
        fail_start(coordinator, ERR_IO, &err);
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
    if (status != 0)
        fail_start(coordinator, status, err);
    else if (map_epoch(coordinator->map) > 0)
        serve(coordinator);
    else if (consensus_is_leader(coordinator->consensus))
        create_cluster(coordinator);
}

static void free_all(struct coordinator *coordinator)
{
    for (size_t i = 0; i < coordinator->analyzer_count; i++)
        analyzer_destroy(coordinator->analyzers[i].analyzer);
    controller_destroy(coordinator->controller);
    map_unref(coordinator->map);
    stats_cache_destroy(coordinator->statistics);
    free(coordinator->listen);
    free(coordinator->advertise);
    free(coordinator->raft_address);
    free(coordinator->dir);
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
        .address = options->raft_listen,
        .id = join_raft_id(options->node_id),
        .join = coordinator->join_url[0] != '\0',
        .ready = on_consensus_ready,
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
    coordinator->controller = controller_create(NULL);
    coordinator->statistics = stats_cache_create(options->stats_cache_bytes);
    coordinator->listen = strdup(options->listen);
    coordinator->advertise = strdup(options->advertise);
    coordinator->dir = strdup(options->dir);
    snprintf(coordinator->node_id, sizeof coordinator->node_id, "%s", options->node_id);
    coordinator->ready = options->ready;
    coordinator->ready_data = options->data;
    coordinator->raft_address = strdup(options->raft_listen);
    list_init(&coordinator->admin);
    list_init(&coordinator->forward_links);
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
    nodes_init(&coordinator->nodes, coordinator->rpc, &coordinator->later, coordinator->controller);
    int rc = join_wanted(options->dir, options->join, coordinator->join_url, err);
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
        fail_start(coordinator, coordinator->failure_err.code, NULL);
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
    nodes_stop(&coordinator->nodes);
    join_stop(coordinator);
    forward_stop(coordinator);
    control_stop(coordinator);
    later_hurry(&coordinator->later);
    consensus_close(coordinator->consensus, on_consensus_closed, coordinator);
}
