/* Joining and leaving.
 *
 *   new coordinator                       any coordinator -> the leader
 *     opens an empty log, listens
 *     CoordinatorJoin  ------------------>  adds it as a voter (once it has caught up),
 *                                           then puts its addresses into the map
 *     log and map come through raft
 *     follows, has the map: serves  <-----  OK
 *
 * Until then DIR/joining says whom to ask, so that a start that was broken off does not make a
 * cluster of its own of what it has. Each step may be repeated.
 */
#include "coordinator/join.h"

#include "coordinator/messages.h"
#include "proto/base/clock.h"
#include "proto/base/data_dir.h"
#include "proto/base/hash.h"
#include "proto/base/log.h"
#include "proto/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t join_raft_id(const char *node_id)
{
    uint64_t id = hash64(node_id, strlen(node_id));
    return id == 0 ? 1 : id;
}

/* ---- asking ---- */

static bool took_part(const char *dir)
{
    char path[4096];
    for (int i = 1; i <= 2; i++) { /* of these raft has one as soon as it knows a term */
        if (snprintf(path, sizeof path, "%s/raft/metadata%d", dir, i) < (int)sizeof path &&
            access(path, F_OK) == 0)
            return true;
    }
    return false;
}

int join_wanted(const char *dir, const char *join, char *url, struct err *err)
{
    url[0] = '\0';
    int code = data_dir_read(dir, JOIN_FILE, url, DATA_DIR_TEXT_MAX, err);
    if (code != 0 && code != ERR_NOT_FOUND)
        return code;
    bool begun = code == 0;
    if (join == NULL || (!begun && took_part(dir)))
        return 0;
    if (strlen(join) + 2 > DATA_DIR_TEXT_MAX)
        return err_set(err, ERR_TOO_LARGE, "the address to join has at most %d bytes",
                       DATA_DIR_TEXT_MAX - 2);
    snprintf(url, DATA_DIR_TEXT_MAX, "%s", join);
    return data_dir_write(dir, JOIN_FILE, join, err);
}

struct joining {
    struct coordinator *coordinator;
    struct rpc_peer *peer;
    struct rpc_call call;
    struct later_item later;
    bool asking, stopped, complained;
};

static void ask(struct later_item *item);

static void on_answer(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                      struct bytes payload)
{
    struct joining *joining = call->data;
    (void)kind;
    (void)payload;
    joining->asking = false;
    if (joining->stopped) {
        free(joining);
        return;
    }
    if (status != 0 && !joining->complained)
        log_event(LOG_WARN, "not taken in yet", LOG_STR("by", rpc_peer_url(joining->peer)),
                  LOG_STR("reason", err->text));
    joining->complained |= status != 0;
    later_post(&joining->coordinator->later, &joining->later, JOIN_RETRY_MS, ask);
}

static void fill_self(struct coordinator *coordinator, Quire__Coordinator *out)
{
    quire__coordinator__init(out);
    out->id = coordinator->node_id;
    out->raft_id = join_raft_id(coordinator->node_id);
    out->address = coordinator->advertise;
    out->raft_address = coordinator->raft_address;
}

static void ask(struct later_item *item)
{
    struct joining *joining = list_entry(item, struct joining, later);
    Quire__CoordinatorJoin message = QUIRE__COORDINATOR_JOIN__INIT;
    Quire__Coordinator self;
    struct buf packed;
    if (joining->coordinator->closing)
        return;
    fill_self(joining->coordinator, &self);
    message.coordinator = &self;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    joining->asking = true;
    joining->call = (struct rpc_call){.data = joining, .done = on_answer};
    rpc_call_start(&joining->call, joining->peer, QUIRE__KIND__KIND_COORDINATOR_JOIN,
                   buf_bytes(&packed), COORDINATOR_WRITE_MS, 0);
    buf_deinit(&packed);
}

int join_start(struct coordinator *coordinator, const char *url, struct err *err)
{
    struct joining *joining = calloc(1, sizeof *joining);
    if (joining == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    joining->coordinator = coordinator;
    int code = rpc_peer_create(coordinator->rpc, url, &joining->peer, err);
    if (code != 0) {
        free(joining);
        return code;
    }
    coordinator->joining = joining;
    later_post(&coordinator->later, &joining->later, 0, ask);
    return 0;
}

void join_stop(struct coordinator *coordinator)
{
    struct joining *joining = coordinator->joining;
    if (joining == NULL)
        return;
    coordinator->joining = NULL;
    later_cancel(&joining->later);
    joining->stopped = true;
    rpc_peer_destroy(joining->peer); /* ends the call, later */
    if (!joining->asking)
        free(joining);
}

void join_ended(struct coordinator *coordinator)
{
    struct err err;
    if (coordinator->join_url[0] == '\0')
        return;
    join_stop(coordinator);
    if (data_dir_remove(coordinator->dir, JOIN_FILE, &err) != 0)
        log_event(LOG_WARN, "joins again when it is started again", LOG_STR("reason", err.text));
}

/* ---- the leader ---- */

struct membership_work {                    /* in the request's arena */
    struct consensus_membership membership; /* first */
    struct coordinator_change change;
    struct coordinator *coordinator;
    struct rpc_request *request;
    Quire__MapChange message;
};

static void on_map_changed(struct coordinator_change *change, int status, const struct err *err)
{
    struct membership_work *work = change->data;
    if (status == 0)
        request_reply_ok(work->request);
    else
        request_error(work->request, status, "%s", err->text);
}

static void on_membership(struct consensus_membership *membership, int status,
                          const struct err *err)
{
    struct membership_work *work = (struct membership_work *)membership;
    if (status != 0) {
        request_error(work->request, status, "%s", err->text);
        return;
    }
    work->change.data = work;
    work->change.done = on_map_changed;
    coordinator_change(work->coordinator, &work->change, &work->message);
}

static void start(struct coordinator *coordinator, struct rpc_request *request,
                  const Quire__MapChange *message, uint64_t raft_id, const char *raft_address)
{
    struct membership_work *work = arena_calloc(&request->arena, 1, sizeof *work);
    work->coordinator = coordinator;
    work->request = request;
    work->message = *message;
    work->membership.id = raft_id;
    work->membership.address = raft_address;
    work->membership.done = on_membership;
    consensus_change(coordinator->consensus, &work->membership);
}

static const Quire__Coordinator *find(const struct coordinator *coordinator, const char *id)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    for (size_t i = 0; i < map->n_coordinators; i++)
        if (strcmp(map->coordinators[i]->id, id) == 0)
            return map->coordinators[i];
    return NULL;
}

/* Somebody else who has one of its addresses; NULL: nobody. */
static const Quire__Coordinator *same_address(const struct coordinator *coordinator,
                                              const Quire__Coordinator *wanted)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    for (size_t i = 0; i < map->n_coordinators; i++) {
        const Quire__Coordinator *other = map->coordinators[i];
        if (strcmp(other->id, wanted->id) != 0 &&
            (strcmp(other->address, wanted->address) == 0 ||
             strcmp(other->raft_address, wanted->raft_address) == 0))
            return other;
    }
    return NULL;
}

void op_coordinator_join(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__CoordinatorJoin *message = request_unpack(request, &quire__coordinator_join__descriptor);
    if (message == NULL)
        return;
    Quire__Coordinator *wanted = message->coordinator;
    if (!uuid_valid(wanted->id) || wanted->address[0] == '\0' ||
        strlen(wanted->address) > NODE_ADDRESS_MAX || wanted->raft_address[0] == '\0' ||
        strlen(wanted->raft_address) > NODE_ADDRESS_MAX) {
        request_error(request, ERR_INVALID,
                      "a coordinator that joins needs a UUID, and addresses of 1 to %d bytes",
                      NODE_ADDRESS_MAX);
        return;
    }
    const Quire__Coordinator *other = same_address(coordinator, wanted);
    if (other != NULL) {
        request_error(request, ERR_EXISTS,
                      "coordinator %s has the address %s or %s already: remove it first", other->id,
                      wanted->address, wanted->raft_address);
        return;
    }
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    wanted->raft_id = join_raft_id(wanted->id);
    change.coordinator_put = wanted;
    start(coordinator, request, &change, wanted->raft_id, wanted->raft_address);
}

void op_coordinator_leave(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__CoordinatorLeave *message =
        request_unpack(request, &quire__coordinator_leave__descriptor);
    if (message == NULL)
        return;
    const Quire__Coordinator *gone = find(coordinator, message->id);
    if (gone == NULL) {
        request_error(request, ERR_NOT_FOUND, "the cluster has no coordinator %s", message->id);
        return;
    }
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.coordinator_drop = message->id;
    start(coordinator, request, &change, gone->raft_id, NULL);
}

/* ---- this one ---- */

static void on_kept(struct coordinator_change *change, int status, const struct err *err)
{
    struct coordinator *coordinator = change->coordinator;
    coordinator->keeping_self = false;
    if (status != 0 && !coordinator->closing)
        log_event(LOG_WARN, "this coordinator is not in the map", LOG_STR("reason", err->text));
}

void join_keep_self(struct coordinator *coordinator)
{
    Quire__Coordinator self;
    fill_self(coordinator, &self);
    const Quire__Coordinator *known = find(coordinator, self.id);
    if (coordinator->keeping_self || (known != NULL && strcmp(known->address, self.address) == 0 &&
                                      strcmp(known->raft_address, self.raft_address) == 0))
        return;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.coordinator_put = &self;
    coordinator->keeping_self = true;
    coordinator->keep_self.done = on_kept;
    coordinator_change(coordinator, &coordinator->keep_self, &change);
}
