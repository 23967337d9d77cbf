#include "coordinator/nodes.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- liveness ---- */

struct node *nodes_find(struct nodes *nodes, const char *id)
{
    for (struct list *link = nodes->all.next; link != &nodes->all; link = link->next) {
        struct node *node = list_entry(link, struct node, link);
        if (!node->dropped && strcmp(node->id, id) == 0)
            return node;
    }
    return NULL;
}

size_t nodes_up_count(const struct nodes *nodes)
{
    size_t count = 0;
    for (struct list *link = nodes->all.next; link != &nodes->all; link = link->next)
        count += list_entry(link, struct node, link)->up;
    return count;
}

/* Who answers at the address may be somebody else: a shard that was given a new data folder. */
static bool is_impostor(const struct node *node)
{
    const char *answered = rpc_peer_node_id(node->peer);
    return answered[0] != '\0' && strcmp(answered, node->id) != 0;
}

bool node_answers(const struct node *node)
{
    return node->peer != NULL && node->connected && !is_impostor(node);
}

static bool link_works(const struct node *node, uint64_t now)
{
    if (node->peer == NULL)
        return false;
    if (node->connected)
        return !is_impostor(node);
    return now - node->link_since_ms <
           (node->ever_connected ? NODE_LINK_GRACE_MS : CONTROLLER_GRACE_MS);
}

void node_reason(const struct node *node, struct err *err)
{
    uint64_t now = clock_ms();
    if (node->peer == NULL)
        err_set(err, ERR_UNAVAILABLE, "shard %s has an address that cannot be dialed: %s", node->id,
                node->address);
    else if (node->connected && is_impostor(node))
        err_set(err, ERR_UNAVAILABLE, "shard %s is down: another one answers at %s", node->id,
                node->address);
    else if (!link_works(node, now))
        err_set(err, ERR_UNAVAILABLE, "shard %s is down: no connection to %s", node->id,
                node->address);
    else
        err_set(err, ERR_UNAVAILABLE, "shard %s is down: silent for %llu s", node->id,
                (unsigned long long)((now - node->seen_ms) / 1000));
}

static void give_up_calls(struct node *node)
{
    struct err err = {0};
    node_reason(node, &err);
    for (struct list *link = node->calls.next; link != &node->calls; link = link->next) {
        struct node_call *call = list_entry(link, struct node_call, link);
        if (call->given_up)
            continue;
        call->given_up = true;
        call->err = err;
        rpc_call_cancel(&call->rpc);
    }
}

static void judge(struct node *node)
{
    bool dead = controller_node_state(node->nodes->controller, node->id) == CONTROLLER_DEAD;
    bool up = !node->dropped && !dead && link_works(node, clock_ms());
    if (up == node->up)
        return;
    node->up = up;
    node->answers = 0;
    if (up) {
        log_event(LOG_INFO, "shard up", LOG_STR("shard", node->id),
                  LOG_STR("address", node->address));
        return;
    }
    struct err err = {0};
    node_reason(node, &err);
    log_event(LOG_WARN, "shard down", LOG_STR("shard", node->id), LOG_STR("reason", err.text));
    give_up_calls(node);
}

static void on_link(void *data, bool connected)
{
    struct node *node = data;
    node->connected = connected;
    node->ever_connected |= connected;
    node->link_since_ms = clock_ms();
    controller_link(node->nodes->controller, node->id, connected, node->link_since_ms);
    judge(node);
}

/* ---- assignments ---- */

static void pack_assignment(const struct map *map, const char *node_id, struct buf *out)
{
    const Quire__ClusterMap *message = map->message;
    struct arena arena;
    arena_init(&arena, 0);
    Quire__ShardAssign assign = QUIRE__SHARD_ASSIGN__INIT;
    const Quire__Node *known = map_node(map, node_id);
    assign.map_epoch = message->epoch;
    assign.has_incarnation = known != NULL && known->has_incarnation;
    assign.incarnation = assign.has_incarnation ? known->incarnation : 0;
    assign.n_nodes = message->n_nodes;
    assign.nodes = message->nodes;
    assign.ranges = arena_calloc(&arena, message->n_ranges + 1, sizeof *assign.ranges);
    assign.collections =
        arena_calloc(&arena, message->n_collections + 1, sizeof *assign.collections);
    for (size_t i = 0; i < message->n_ranges; i++) {
        Quire__Range *range = message->ranges[i];
        if (!map_range_on(range, node_id))
            continue;
        assign.ranges[assign.n_ranges++] = range;
        size_t last = assign.n_collections; /* ranges come by collection */
        if (last == 0 || assign.collections[last - 1]->id != range->collection)
            assign.collections[assign.n_collections++] =
                (Quire__Collection *)map_collection_by_id(map, range->collection);
    }
    quire__shard_assign__pack(&assign,
                              buf_extend(out, quire__shard_assign__get_packed_size(&assign)));
    arena_deinit(&arena);
}

static void node_free(struct node *node);
static void push(struct node *node);
static void check_waiters(struct nodes *nodes);

static void on_assigned(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                        struct bytes payload)
{
    (void)payload;
    struct node *node = call->data;
    node->assigning = false;
    if (node->dropped) {
        node_free(node);
        return;
    }
    if (node->nodes->closing)
        return;
    if (status == 0 && kind == QUIRE__KIND__KIND_OK) {
        node->assigned_epoch = node->assigning_epoch;
    } else if (status != ERR_CANCELED) {
        log_event(LOG_WARN, "assignment not carried out", LOG_STR("shard", node->id),
                  LOG_U64("epoch", node->assigning_epoch),
                  LOG_STR("reason", err != NULL ? err->text : "unexpected reply"));
        node->assign_after_ms = clock_ms() + NODE_ASSIGN_RETRY_MS;
    }
    push(node);
    check_waiters(node->nodes);
}

static void push(struct node *node)
{
    struct nodes *nodes = node->nodes;
    if (nodes->closing || nodes->map == NULL || node->dropped || !node->up)
        return;
    if (node->assigning) { /* the shard answers when all is open; a newer map does not wait */
        if (node->assigning_epoch < map_epoch(nodes->map))
            rpc_call_cancel(&node->assign);
        return;
    }
    if (node->assigned_epoch >= map_epoch(nodes->map) || clock_ms() < node->assign_after_ms)
        return;
    struct buf packed;
    buf_init(&packed);
    pack_assignment(nodes->map, node->id, &packed);
    node->assigning = true;
    node->assigning_epoch = map_epoch(nodes->map);
    node->assign = (struct rpc_call){.data = node, .done = on_assigned};
    rpc_call_start(&node->assign, node->peer, QUIRE__KIND__KIND_SHARD_ASSIGN, buf_bytes(&packed),
                   NODE_ASSIGN_TIMEOUT_MS, 0);
    buf_deinit(&packed);
}

static void waiter_run(struct later_item *item)
{
    struct nodes_waiter *waiter = list_entry(item, struct nodes_waiter, later);
    waiter->done(waiter, waiter->status);
}

static void waiter_end(struct nodes *nodes, struct nodes_waiter *waiter, int status)
{
    list_remove(&waiter->link);
    waiter->status = status;
    later_post(nodes->later, &waiter->later, 0, waiter_run);
}

static bool assigned_range(struct nodes *nodes, const Quire__Range *range, uint64_t epoch)
{
    for (size_t i = 0; i < range->n_in_sync; i++) {
        struct node *node = nodes_find(nodes, range->in_sync[i]);
        if (node == NULL || node->assigned_epoch < epoch)
            return false;
    }
    return true;
}

static bool assigned(struct nodes *nodes, uint64_t collection, uint64_t epoch)
{
    struct map_ranges ranges = map_ranges(nodes->map, collection);
    for (size_t i = 0; i < ranges.count; i++)
        if (!assigned_range(nodes, ranges.items[i], epoch))
            return false;
    return true;
}

static void check_waiters(struct nodes *nodes)
{
    uint64_t now = clock_ms();
    for (struct list *link = nodes->waiters.next, *next; link != &nodes->waiters; link = next) {
        next = link->next;
        struct nodes_waiter *waiter = list_entry(link, struct nodes_waiter, link);
        if (nodes->closing)
            waiter_end(nodes, waiter, ERR_CANCELED);
        else if (assigned(nodes, waiter->collection, waiter->epoch))
            waiter_end(nodes, waiter, 0);
        else if (now >= waiter->deadline_ms)
            waiter_end(nodes, waiter, ERR_DEADLINE);
    }
}

void nodes_wait(struct nodes *nodes, struct nodes_waiter *waiter)
{
    list_push(&nodes->waiters, &waiter->link);
    check_waiters(nodes);
}

/* ---- calls ---- */

static void call_ended(struct rpc_call *rpc, int status, const struct err *err, uint16_t kind,
                       struct bytes payload)
{
    struct node_call *call = rpc->data;
    list_remove(&call->link);
    call->node = NULL;
    if (call->given_up && status != 0) {
        status = call->err.code;
        err = &call->err;
    }
    call->done(call, status, err, kind, payload);
}

static void call_refused(struct later_item *item)
{
    struct node_call *call = list_entry(item, struct node_call, later);
    call->done(call, call->err.code, &call->err, QUIRE__KIND__KIND_ERROR, bytes_of(NULL, 0));
}

void node_call_start(struct nodes *nodes, struct node_call *call, const char *node_id,
                     uint16_t kind, struct bytes payload, uint32_t timeout_ms, uint64_t trace)
{
    struct node *node = nodes_find(nodes, node_id);
    list_init(&call->link);
    call->given_up = false;
    call->node = node;
    call->err = (struct err){0};
    if (nodes->closing)
        err_set(&call->err, ERR_CANCELED, "the coordinator is stopping");
    else if (node == NULL)
        err_set(&call->err, ERR_UNAVAILABLE, "shard %s is not known", node_id);
    else if (!node->up)
        node_reason(node, &call->err);
    if (call->err.code != 0) {
        call->node = NULL;
        later_post(nodes->later, &call->later, 0, call_refused);
        return;
    }
    list_push(&node->calls, &call->link);
    call->rpc = (struct rpc_call){.data = call, .done = call_ended, .heavy = call->heavy};
    rpc_call_start(&call->rpc, node->peer, kind, payload, timeout_ms, trace);
}

void node_call_give_up(struct node_call *call, int code, const char *text)
{
    if (call->node == NULL || call->given_up)
        return;
    call->given_up = true;
    err_set(&call->err, code, "%s", text);
    rpc_call_cancel(&call->rpc);
}

bool node_quiet(const struct node *node)
{
    return clock_ms() - node->seen_ms >= NODE_QUIET_MS;
}

/* ---- following the map ---- */

static void connect_node(struct node *node)
{
    struct err err = {0};
    node->connected = node->ever_connected = false;
    node->link_since_ms = clock_ms();
    node->peer = NULL;
    if (rpc_peer_create(node->nodes->rpc, node->address, &node->peer, &err) != 0) {
        log_event(LOG_ERROR, "shard cannot be dialed", LOG_STR("shard", node->id),
                  LOG_STR("reason", err.text));
        node->peer = NULL;
        return;
    }
    rpc_peer_on_change(node->peer, on_link, node);
}

static void disconnect_node(struct node *node)
{
    if (node->peer == NULL)
        return;
    rpc_peer_on_change(node->peer, NULL, NULL);
    for (struct list *link = node->calls.next; link != &node->calls; link = link->next) {
        struct node_call *call = list_entry(link, struct node_call, link);
        call->given_up = true;
        err_set(&call->err, ERR_UNAVAILABLE, "the connection to shard %s was closed", node->id);
    }
    rpc_peer_destroy(node->peer);
    node->peer = NULL;
    node->connected = false;
}

static void node_free(struct node *node)
{
    list_remove(&node->link);
    /* Calls that are still to end unlink themselves from one another. */
    list_remove(&node->calls);
    arena_deinit(&node->reports_arena);
    free(node->address);
    free(node->zone);
    free(node);
}

static struct node *node_new(struct nodes *nodes, const Quire__Node *message)
{
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL)
        abort();
    node->nodes = nodes;
    snprintf(node->id, sizeof node->id, "%s", message->id);
    node->address = strdup(message->address);
    node->zone = strdup(message->zone != NULL ? message->zone : "");
    node->seen_ms = clock_ms();
    list_init(&node->calls);
    arena_init(&node->reports_arena, 0);
    list_push(&nodes->all, &node->link);
    connect_node(node);
    judge(node);
    return node;
}

static void follow_node(struct nodes *nodes, const Quire__Node *message)
{
    struct node *node = nodes_find(nodes, message->id);
    if (node == NULL) {
        node_new(nodes, message);
        return;
    }
    if (strcmp(node->address, message->address) != 0) {
        disconnect_node(node);
        free(node->address);
        node->address = strdup(message->address);
        connect_node(node);
        judge(node);
    }
    free(node->zone);
    node->zone = strdup(message->zone != NULL ? message->zone : "");
}

void nodes_map_changed(struct nodes *nodes, struct map *map)
{
    struct map *old = nodes->map;
    nodes->map = map_ref(map);
    map_unref(old);
    if (nodes->closing)
        return;
    for (size_t i = 0; i < map->message->n_nodes; i++)
        follow_node(nodes, map->message->nodes[i]);
    for (struct list *link = nodes->all.next, *next; link != &nodes->all; link = next) {
        next = link->next;
        struct node *node = list_entry(link, struct node, link);
        if (!node->dropped && map_node(map, node->id) == NULL) {
            node->dropped = true;
            disconnect_node(node);
            if (!node->assigning)
                node_free(node);
            continue;
        }
        push(node);
    }
    check_waiters(nodes);
}

void nodes_seen(struct nodes *nodes, const Quire__Register *message)
{
    struct node *node = nodes_find(nodes, message->node->id);
    if (node == NULL || nodes->closing)
        return;
    node->seen_ms = clock_ms();
    node->seen_wall_ms = clock_wall_ms();
    if (message->map_epoch > nodes->told_epoch) {
        nodes->told_epoch = message->map_epoch;
        nodes->told_ms = clock_ms();
    }
    if (message->map_epoch < node->assigned_epoch) {
        node->assigned_epoch = message->map_epoch;
        node->assign_after_ms = 0;
    }
    arena_deinit(&node->reports_arena);
    node->report_count = message->n_ranges;
    node->reports = arena_calloc(&node->reports_arena, message->n_ranges + 1, sizeof(void *));
    for (size_t i = 0; i < message->n_ranges; i++) {
        Quire__RangeReport *report = arena_alloc(&node->reports_arena, sizeof *report);
        *report = *message->ranges[i];
        report->state = arena_strdup(&node->reports_arena, message->ranges[i]->state);
        node->reports[i] = report;
    }
    judge(node);
    push(node);
    check_waiters(nodes);
}

bool nodes_behind(const struct nodes *nodes)
{
    return nodes->map != NULL && nodes->told_epoch > map_epoch(nodes->map) &&
           clock_ms() - nodes->told_ms < NODES_BEHIND_MS;
}

const Quire__RangeReport *node_report(const struct node *node, uint64_t range)
{
    for (size_t i = 0; i < node->report_count; i++)
        if (node->reports[i]->id == range)
            return node->reports[i];
    return NULL;
}

/* ---- life ---- */

/* Nobody waits for these any more: the shard may stop working on them. */
static void drop_abandoned(struct node *node)
{
    for (struct list *link = node->calls.next; link != &node->calls; link = link->next) {
        struct node_call *call = list_entry(link, struct node_call, link);
        if (call->given_up || call->on_behalf == NULL || !rpc_request_abandoned(call->on_behalf))
            continue;
        call->given_up = true;
        err_set(&call->err, ERR_CANCELED, "the client went away");
        rpc_call_cancel(&call->rpc);
    }
}

static void drop_impatient(struct node *node)
{
    if (!node_quiet(node))
        return;
    for (struct list *link = node->calls.next; link != &node->calls; link = link->next) {
        struct node_call *call = list_entry(link, struct node_call, link);
        if (call->impatient)
            node_call_give_up(call, ERR_UNAVAILABLE, "the shard has fallen silent");
    }
}

static void on_tick(struct later_item *item)
{
    struct nodes *nodes = list_entry(item, struct nodes, tick);
    if (nodes->closing)
        return;
    controller_tick(nodes->controller, clock_ms());
    for (struct list *link = nodes->all.next; link != &nodes->all; link = link->next) {
        struct node *node = list_entry(link, struct node, link);
        judge(node);
        push(node);
        drop_abandoned(node);
        drop_impatient(node);
    }
    check_waiters(nodes);
    later_post(nodes->later, &nodes->tick, NODE_TICK_MS, on_tick);
}

void nodes_init(struct nodes *nodes, struct rpc *rpc, struct later *later,
                struct controller *controller)
{
    *nodes = (struct nodes){.rpc = rpc, .later = later, .controller = controller};
    list_init(&nodes->all);
    list_init(&nodes->waiters);
    later_post(later, &nodes->tick, NODE_TICK_MS, on_tick);
}

void nodes_stop(struct nodes *nodes)
{
    nodes->closing = true;
    later_cancel(&nodes->tick);
    check_waiters(nodes);
    for (struct list *link = nodes->all.next; link != &nodes->all; link = link->next)
        disconnect_node(list_entry(link, struct node, link));
}

void nodes_deinit(struct nodes *nodes)
{
    for (struct list *link = nodes->all.next, *next; link != &nodes->all; link = next) {
        next = link->next;
        struct node *node = list_entry(link, struct node, link);
        assert(list_empty(&node->calls) && !node->assigning);
        node_free(node);
    }
    map_unref(nodes->map);
    nodes->map = NULL;
}
