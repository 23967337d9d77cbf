#include "shard/links.h"

#include "proto/base/list.h"
#include "proto/base/log.h"
#include "proto/base/uuid.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct link { /* to one node; the loop's */
    struct list link;
    char id[UUID_TEXT_SIZE];
    char *address;
    struct rpc_peer *peer;
};

struct ask { /* who waits for an answer */
    struct buf *reply;
    struct err err;
    bool done;
};

struct outgoing {
    struct list link;
    struct links *links;
    struct rpc_call call;
    char to[UUID_TEXT_SIZE];
    uint16_t kind;
    uint64_t range;  /* of a prepare */
    struct ask *ask; /* NULL: a prepare */
    struct buf payload;
};

struct links {
    struct rpc *rpc;
    struct links_events events;
    uv_async_t door;
    struct list all; /* of struct link; the loop's */
    void (*freed)(void *data);
    void *freed_data;

    pthread_mutex_t lock; /* the rest */
    pthread_cond_t answered;
    struct list outgoing;
    Quire__ShardAssign *nodes; /* only its nodes; NULL: nothing new */
    bool stopped;
};

/* ---- who is where ---- */

static struct link *find(struct links *links, const char *id)
{
    for (struct list *at = links->all.next; at != &links->all; at = at->next)
        if (strcmp(list_entry(at, struct link, link)->id, id) == 0)
            return list_entry(at, struct link, link);
    return NULL;
}

static void unlink_node(struct link *link)
{
    if (link->peer != NULL)
        rpc_peer_destroy(link->peer);
    list_remove(&link->link);
    free(link->address);
    free(link);
}

static void link_node(struct links *links, const Quire__Node *node)
{
    struct link *link = find(links, node->id);
    struct err err = {0};
    if (link != NULL && strcmp(link->address, node->address) == 0)
        return;
    if (link != NULL)
        unlink_node(link);
    link = calloc(1, sizeof *link);
    if (link == NULL)
        abort();
    snprintf(link->id, sizeof link->id, "%s", node->id);
    link->address = strdup(node->address);
    list_push(&links->all, &link->link);
    if (rpc_peer_create(links->rpc, node->address, &link->peer, &err) != 0)
        log_event(LOG_ERROR, "a shard cannot be dialed", LOG_STR("shard", node->id),
                  LOG_STR("error", err.text));
}

static bool in_map(const Quire__ShardAssign *map, const char *id)
{
    for (size_t i = 0; i < map->n_nodes; i++)
        if (strcmp(map->nodes[i]->id, id) == 0)
            return true;
    return false;
}

static void follow(struct links *links, Quire__ShardAssign *map)
{
    for (struct list *at = links->all.next, *next; at != &links->all; at = next) {
        next = at->next;
        if (!in_map(map, list_entry(at, struct link, link)->id))
            unlink_node(list_entry(at, struct link, link));
    }
    for (size_t i = 0; i < map->n_nodes; i++)
        link_node(links, map->nodes[i]);
    quire__shard_assign__free_unpacked(map, NULL);
}

void links_nodes(struct links *links, Quire__Node *const *nodes, size_t count)
{
    Quire__ShardAssign message = QUIRE__SHARD_ASSIGN__INIT;
    struct buf packed = {0};
    message.n_nodes = count;
    message.nodes = (Quire__Node **)nodes;
    quire__shard_assign__pack(&message,
                              buf_extend(&packed, quire__shard_assign__get_packed_size(&message)));
    Quire__ShardAssign *copy = quire__shard_assign__unpack(NULL, packed.size, packed.data);
    buf_deinit(&packed);
    if (copy == NULL)
        abort();
    pthread_mutex_lock(&links->lock);
    if (links->nodes != NULL)
        quire__shard_assign__free_unpacked(links->nodes, NULL);
    links->nodes = copy;
    pthread_mutex_unlock(&links->lock);
    uv_async_send(&links->door);
}

/* ---- sending ---- */

static void outgoing_free(struct outgoing *message)
{
    buf_deinit(&message->payload);
    free(message);
}

/* Who answers at the address may be another one, with a new folder. */
static bool is_there(const struct link *link)
{
    return link != NULL && link->peer != NULL && rpc_peer_connected(link->peer) &&
           strcmp(rpc_peer_node_id(link->peer), link->id) == 0;
}

static void end_ask(struct links *links, struct ask *ask, const struct err *err)
{
    pthread_mutex_lock(&links->lock);
    ask->err = *err;
    ask->done = true;
    pthread_cond_broadcast(&links->answered);
    pthread_mutex_unlock(&links->lock);
}

static bool has_stopped(struct links *links)
{
    pthread_mutex_lock(&links->lock);
    bool stopped = links->stopped;
    pthread_mutex_unlock(&links->lock);
    return stopped;
}

static void not_sent(struct outgoing *message, const struct err *err)
{
    struct links *links = message->links;
    if (message->ask != NULL)
        end_ask(links, message->ask, err);
    else if (!has_stopped(links))
        links->events.lost(links->events.data, message->range, message->to,
                           !is_there(find(links, message->to)));
    outgoing_free(message);
}

static void answered_prepare(struct outgoing *message, uint16_t kind, struct bytes payload)
{
    struct links *links = message->links;
    Quire__ReplicaAck *ack = kind == message->kind + 1
                                 ? quire__replica_ack__unpack(NULL, payload.size, payload.data)
                                 : NULL;
    if (has_stopped(links))
        ;
    else if (ack != NULL)
        links->events.acked(links->events.data, message->range, message->to, ack);
    else
        links->events.lost(links->events.data, message->range, message->to, false);
    if (ack != NULL)
        quire__replica_ack__free_unpacked(ack, NULL);
    outgoing_free(message);
}

static void answered_ask(struct outgoing *message, uint16_t kind, struct bytes payload)
{
    struct err err = {0};
    if (kind == message->kind + 1)
        buf_append_bytes(message->ask->reply, payload);
    else
        err_set(&err, ERR_PROTOCOL, "an answer of kind %u", kind);
    end_ask(message->links, message->ask, &err);
    outgoing_free(message);
}

static void on_reply(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                     struct bytes payload)
{
    struct outgoing *message = call->data;
    if (status != 0)
        not_sent(message, err);
    else if (message->ask != NULL)
        answered_ask(message, kind, payload);
    else
        answered_prepare(message, kind, payload);
}

static void transmit(struct links *links, struct outgoing *message)
{
    struct link *link = find(links, message->to);
    struct err err = {0};
    if (has_stopped(links))
        err_set(&err, ERR_CANCELED, "the shard is stopping");
    else if (!is_there(link))
        err_set(&err, ERR_UNAVAILABLE, "there is no connection to shard %s", message->to);
    if (err.code != 0) {
        not_sent(message, &err);
        return;
    }
    message->call = (struct rpc_call){.data = message, .done = on_reply};
    rpc_call_start(&message->call, link->peer, message->kind, buf_bytes(&message->payload),
                   message->ask != NULL ? LINKS_ASK_TIMEOUT_MS : LINKS_TIMEOUT_MS, 0);
    buf_deinit(&message->payload); /* rpc has copied it */
    message->payload = (struct buf){0};
}

static void on_door(uv_async_t *door)
{
    struct links *links = door->data;
    struct list outgoing;
    list_init(&outgoing);
    pthread_mutex_lock(&links->lock);
    list_splice(&outgoing, &links->outgoing);
    Quire__ShardAssign *nodes = links->nodes;
    links->nodes = NULL;
    bool stopped = links->stopped;
    pthread_mutex_unlock(&links->lock);
    if (nodes != NULL && stopped)
        quire__shard_assign__free_unpacked(nodes, NULL);
    else if (nodes != NULL)
        follow(links, nodes);
    for (struct list *at; (at = list_shift(&outgoing)) != NULL;)
        transmit(links, list_entry(at, struct outgoing, link));
}

static void hand_over(struct links *links, struct outgoing *message)
{
    pthread_mutex_lock(&links->lock);
    bool stopped = links->stopped;
    if (!stopped)
        list_push(&links->outgoing, &message->link);
    pthread_mutex_unlock(&links->lock);
    if (stopped)
        outgoing_free(message);
    else
        uv_async_send(&links->door);
}

static struct outgoing *outgoing_new(struct links *links, const char *to, uint16_t kind)
{
    struct outgoing *message = calloc(1, sizeof *message);
    if (message == NULL)
        abort();
    message->links = links;
    message->kind = kind;
    snprintf(message->to, sizeof message->to, "%s", to);
    return message;
}

void links_prepare(struct links *links, const char *to, uint64_t range, struct buf *payload)
{
    struct outgoing *message = outgoing_new(links, to, QUIRE__KIND__KIND_REPLICA_PREPARE);
    message->range = range;
    message->payload = *payload;
    *payload = (struct buf){0};
    hand_over(links, message);
}

int links_ask(struct links *links, const char *to, uint16_t kind, struct bytes request,
              struct buf *reply, struct err *err)
{
    struct ask ask = {.reply = reply};
    if (has_stopped(links))
        return err_set(err, ERR_CANCELED, "the shard is stopping");
    struct outgoing *message = outgoing_new(links, to, kind);
    message->ask = &ask;
    buf_append_bytes(&message->payload, request);
    pthread_mutex_lock(&links->lock);
    if (links->stopped) {
        ask.done = true;
        err_set(&ask.err, ERR_CANCELED, "the shard is stopping");
        outgoing_free(message);
    } else {
        list_push(&links->outgoing, &message->link);
        uv_async_send(&links->door);
    }
    while (!ask.done)
        pthread_cond_wait(&links->answered, &links->lock);
    pthread_mutex_unlock(&links->lock);
    if (ask.err.code != 0 && err != NULL)
        *err = ask.err;
    return ask.err.code;
}

/* ---- life ---- */

struct links *links_create(uv_loop_t *loop, struct rpc *rpc, const struct links_events *events)
{
    struct links *links = calloc(1, sizeof *links);
    if (links == NULL)
        return NULL;
    links->rpc = rpc;
    links->events = *events;
    list_init(&links->all);
    list_init(&links->outgoing);
    pthread_mutex_init(&links->lock, NULL);
    pthread_cond_init(&links->answered, NULL);
    uv_async_init(loop, &links->door, on_door);
    links->door.data = links;
    return links;
}

/* Calls that are under way end with the peers, with ERR_CANCELED. */
void links_stop(struct links *links)
{
    pthread_mutex_lock(&links->lock);
    links->stopped = true;
    pthread_mutex_unlock(&links->lock);
    while (!list_empty(&links->all))
        unlink_node(list_entry(links->all.next, struct link, link));
    on_door(&links->door);
}

static void on_closed(uv_handle_t *handle)
{
    struct links *links = handle->data;
    void (*freed)(void *data) = links->freed;
    void *data = links->freed_data;
    if (links->nodes != NULL)
        quire__shard_assign__free_unpacked(links->nodes, NULL);
    pthread_mutex_destroy(&links->lock);
    pthread_cond_destroy(&links->answered);
    free(links);
    freed(data);
}

void links_free(struct links *links, void (*freed)(void *data), void *data)
{
    links->freed = freed;
    links->freed_data = data;
    uv_close((uv_handle_t *)&links->door, on_closed);
}
