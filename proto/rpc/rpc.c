/* The context that all rpc of one loop shares.
 *
 * The happy path. Callbacks of nng put what happened into their object, under its lock, and
 * announce the object at the door (a locked list and one uv_async_t). The loop empties the list and
 * visits each object once. Calls that end without a reply are gathered in `finished`, and their
 * callbacks run at the end of a visit or of the timer, with a clean stack below them: a callback
 * may start calls, cancel calls, destroy peers and servers or close the context.
 *
 * Time. One uv_timer_t serves the deadlines (a heap) and a tick every RPC_TICK_MS for heartbeats,
 * silence and reconnection. When the process itself did not run for a while (stopped, suspended),
 * the silence of others proves nothing, and they get a new chance.
 *
 * The end. rpc_close() closes every server and peer. Each hands its aios and streams to the reaper,
 * since nng_aio_stop() waits for callbacks and so must not be called from one, nor should it hold
 * up the loop. When the reaper has returned all of them and no callback is due, the reaper is
 * joined, the handles are closed, and the last close callback frees the context. Requests that are
 * still being answered keep only their connection's memory, never the context.
 */
#include "proto/rpc/internal.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define LOG_LINES_PER_SECOND 5

/* ---- door ---- */

static void announce(struct rpc *rpc, struct door_item *item, bool reaped)
{
    pthread_mutex_lock(&rpc->door_lock);
    assert(!item->reaped);
    item->reaped = reaped;
    if (!item->queued) {
        bool first = list_empty(&rpc->door_items);
        item->queued = true;
        list_push(&rpc->door_items, &item->link);
        /* Under the lock: the handle is closed only by a loop that found the list empty under it.
         */
        if (first)
            uv_async_send(&rpc->door);
    }
    pthread_mutex_unlock(&rpc->door_lock);
}

void rpc_door_push(struct rpc *rpc, struct door_item *item)
{
    announce(rpc, item, false);
}

void rpc_door_push_reaped(struct rpc *rpc, struct door_item *item)
{
    announce(rpc, item, true);
}

static struct door_item *door_next(struct rpc *rpc, struct list *visitors, bool *reaped)
{
    struct door_item *item = NULL;
    pthread_mutex_lock(&rpc->door_lock);
    struct list *link = list_shift(visitors);
    if (link) {
        item = list_entry(link, struct door_item, link);
        item->queued = false; /* from here on a new announcement is a new visit */
        *reaped = item->reaped;
    }
    pthread_mutex_unlock(&rpc->door_lock);
    return item;
}

/* ---- ends of calls ---- */

void rpc_finish(struct rpc *rpc, struct rpc_call *call, int status, const char *text)
{
    call->status = status;
    buf_clear(&call->queued);
    buf_append_str(&call->queued, text);
    if (list_empty(&rpc->finished))
        uv_async_send(&rpc->door);
    list_push(&rpc->finished, &call->link);
}

static void finished_drain(struct rpc *rpc)
{
    /* Only those that are there now: a callback that makes new calls which fail at once must not
     * keep the loop here. */
    struct list due;
    list_init(&due);
    list_splice(&due, &rpc->finished);
    for (struct list *link; (link = list_shift(&due));) {
        struct rpc_call *call = list_entry(link, struct rpc_call, link);
        struct err err;
        err_set(&err, call->status, "%s", buf_text(&call->queued));
        buf_deinit(&call->queued);
        call->done(call, err.code, &err, 0, bytes_of(NULL, 0));
    }
}

static void maybe_end(struct rpc *rpc);

static void door_opened(uv_async_t *async)
{
    struct rpc *rpc = async->data;
    struct list visitors;
    list_init(&visitors);
    pthread_mutex_lock(&rpc->door_lock);
    list_splice(&visitors, &rpc->door_items);
    pthread_mutex_unlock(&rpc->door_lock);
    bool reaped;
    for (struct door_item *item; (item = door_next(rpc, &visitors, &reaped));)
        item->run(item, reaped);
    finished_drain(rpc);
    maybe_end(rpc);
}

/* ---- reaper ---- */

void rpc_reap(struct rpc *rpc, struct reap_item *item)
{
    pthread_mutex_lock(&rpc->reap_lock);
    list_push(&rpc->reap_items, &item->link);
    pthread_cond_signal(&rpc->reap_wake);
    pthread_mutex_unlock(&rpc->reap_lock);
}

static void *reaper_main(void *data)
{
    struct rpc *rpc = data;
    pthread_setname_np(pthread_self(), "rpc-reaper");
    pthread_mutex_lock(&rpc->reap_lock);
    for (;;) {
        struct list *link = list_shift(&rpc->reap_items);
        if (link) {
            pthread_mutex_unlock(&rpc->reap_lock);
            struct reap_item *item = list_entry(link, struct reap_item, link);
            item->run(item);
            pthread_mutex_lock(&rpc->reap_lock);
        } else if (rpc->reap_stop) {
            break;
        } else {
            pthread_cond_wait(&rpc->reap_wake, &rpc->reap_lock);
        }
    }
    pthread_mutex_unlock(&rpc->reap_lock);
    return NULL;
}

/* The host's signals are for the host's threads. */
static int reaper_start(struct rpc *rpc)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int status = pthread_create(&rpc->reaper, NULL, reaper_main, rpc);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return status;
}

static void reaper_stop(struct rpc *rpc)
{
    pthread_mutex_lock(&rpc->reap_lock);
    rpc->reap_stop = true;
    pthread_cond_signal(&rpc->reap_wake);
    pthread_mutex_unlock(&rpc->reap_lock);
    pthread_join(rpc->reaper, NULL);
}

/* ---- time ---- */

static void timer_fired(uv_timer_t *timer);

void rpc_wake_at(struct rpc *rpc, uint64_t at_ms)
{
    if (at_ms >= rpc->timer_at || uv_is_closing((uv_handle_t *)&rpc->timer))
        return;
    uint64_t now = clock_ms();
    rpc->timer_at = at_ms;
    /* libuv counts from its idea of now, which may lag behind by a turn of the loop. */
    uv_update_time(rpc->loop);
    uv_timer_start(&rpc->timer, timer_fired, at_ms > now ? at_ms - now : 0, 0);
}

void rpc_tick_at(struct rpc *rpc, uint64_t at_ms)
{
    if (!rpc->ticked) {
        rpc->ticked = clock_ms(); /* the first one may come late, too */
        rpc->tick_at = at_ms;
    }
    if (at_ms < rpc->tick_at)
        rpc->tick_at = at_ms;
    rpc_wake_at(rpc, at_ms);
}

/* Nothing here calls back into the user's code, so the lists do not change while they are walked.
 */
static void tick(struct rpc *rpc, uint64_t now)
{
    bool stopped = now - rpc->ticked > RPC_SILENCE_MS / 2;
    struct list *link;
    for (link = rpc->conns.next; link != &rpc->conns; link = link->next) {
        struct rpc_conn *conn = list_entry(link, struct rpc_conn, link);
        if (stopped)
            conn_forgive(conn, now);
        conn_tick(conn, now);
    }
    for (link = rpc->peers.next; link != &rpc->peers; link = link->next)
        peer_tick(peer_of(link), now);
    for (link = rpc->servers.next; link != &rpc->servers; link = link->next)
        server_tick(server_of(link), now);
    rpc->ticked = now;
    rpc->tick_at = now + RPC_TICK_MS;
}

static void timer_fired(uv_timer_t *timer)
{
    struct rpc *rpc = timer->data;
    uint64_t now = clock_ms();
    rpc->timer_at = UINT64_MAX;
    struct rpc_call *call;
    while ((call = heap_first(&rpc->deadlines)) && call->deadline_ms <= now)
        peer_expire(call);
    if (now >= rpc->tick_at)
        tick(rpc, now);
    finished_drain(rpc);
    if (rpc->live)
        rpc_wake_at(rpc, rpc->tick_at);
    else
        rpc->ticked = 0;
    if ((call = heap_first(&rpc->deadlines)))
        rpc_wake_at(rpc, call->deadline_ms);
    maybe_end(rpc);
}

uint32_t rpc_random(struct rpc *rpc, uint32_t below)
{
    rpc->random ^= rpc->random << 13; /* xorshift64: enough for jitter */
    rpc->random ^= rpc->random >> 7;
    rpc->random ^= rpc->random << 17;
    return (uint32_t)((rpc->random >> 32) % below);
}

void rpc_log(struct rpc *rpc, const char *event, const char *url, const char *why)
{
    enum log_level level = rpc->role == RPC_ROLE_CLIENT ? LOG_DEBUG : LOG_WARN;
    uint64_t now = clock_ms();
    if (now < rpc->log_at) {
        rpc->log_dropped++;
        return;
    }
    rpc->log_at = now + 1000 / LOG_LINES_PER_SECOND;
    log_event(level, event, LOG_STR("url", url), LOG_STR("why", why),
              LOG_U64("similar_not_logged", rpc->log_dropped));
    rpc->log_dropped = 0;
}

/* ---- life ---- */

static int copy_id(char out[RPC_ID_SIZE], const char *text, const char *what, struct err *err)
{
    if (text && strlen(text) >= RPC_ID_SIZE)
        return err_set(err, ERR_INVALID, "%s longer than %d bytes", what, RPC_ID_SIZE - 1);
    snprintf(out, RPC_ID_SIZE, "%s", text ? text : "");
    return 0;
}

struct rpc *rpc_create(uv_loop_t *loop, const struct rpc_identity *identity, struct err *err)
{
    struct rpc *rpc = calloc(1, sizeof *rpc);
    if (!rpc) {
        err_set(err, ERR_NOMEM, "rpc: out of memory");
        return NULL;
    }
    rpc->budget = calloc(1, sizeof *rpc->budget);
    if (!rpc->budget) {
        err_set(err, ERR_NOMEM, "rpc: out of memory");
        goto err_after_alloc;
    }
    atomic_init(&rpc->budget->refs, 1);
    rpc->loop = loop;
    rpc->role = identity->role;
    if (copy_id(rpc->node_id, identity->node_id, "node id", err) ||
        copy_id(rpc->cluster_id, identity->cluster_id, "cluster id", err))
        goto err_after_alloc;
    rpc->timer_at = UINT64_MAX;
    list_init(&rpc->door_items);
    list_init(&rpc->reap_items);
    list_init(&rpc->finished);
    list_init(&rpc->conns);
    list_init(&rpc->peers);
    list_init(&rpc->servers);
    if (getrandom(&rpc->random, sizeof rpc->random, GRND_NONBLOCK) != sizeof rpc->random ||
        !rpc->random)
        rpc->random = clock_ns() | 1;
    pthread_mutex_init(&rpc->door_lock, NULL);
    pthread_mutex_init(&rpc->reap_lock, NULL);
    pthread_cond_init(&rpc->reap_wake, NULL);
    if (reaper_start(rpc)) {
        err_set(err, ERR_IO, "rpc: cannot start a thread");
        goto err_after_locks;
    }
    /* The async handle comes last: once it is in the loop, only the loop can free it. */
    if (uv_async_init(loop, &rpc->door, door_opened)) {
        err_set(err, ERR_IO, "rpc: the event loop has no room for another handle");
        goto err_after_reaper;
    }
    uv_timer_init(loop, &rpc->timer); /* cannot fail */
    rpc->door.data = rpc;
    rpc->timer.data = rpc;
    rpc->handles = 2;
    return rpc;

err_after_reaper:
    reaper_stop(rpc);
err_after_locks:
    pthread_cond_destroy(&rpc->reap_wake);
    pthread_mutex_destroy(&rpc->reap_lock);
    pthread_mutex_destroy(&rpc->door_lock);
err_after_alloc:
    if (rpc->budget)
        budget_unref(rpc->budget);
    free(rpc);
    return NULL;
}

void rpc_set_cluster_id(struct rpc *rpc, const char *cluster_id)
{
    int status = copy_id(rpc->cluster_id, cluster_id, "cluster id", NULL);
    assert(!status);
    (void)status;
}

static void handle_closed(uv_handle_t *handle)
{
    struct rpc *rpc = handle->data;
    if (--rpc->handles)
        return;
    void (*closed)(void *data) = rpc->closed;
    void *data = rpc->closed_data;
    pthread_cond_destroy(&rpc->reap_wake);
    pthread_mutex_destroy(&rpc->reap_lock);
    pthread_mutex_destroy(&rpc->door_lock);
    heap_deinit(&rpc->deadlines);
    budget_unref(rpc->budget);
    free(rpc);
    if (closed)
        closed(data);
}

/* The last step of rpc_close(), taken when nothing is left that could use the context. */
static void maybe_end(struct rpc *rpc)
{
    if (!rpc->closing || rpc->live || !list_empty(&rpc->finished) ||
        uv_is_closing((uv_handle_t *)&rpc->door))
        return;
    assert(rpc->deadlines.count == 0);
    reaper_stop(rpc);
    pthread_mutex_lock(&rpc->door_lock); /* whoever announced the last object has left */
    assert(list_empty(&rpc->door_items));
    pthread_mutex_unlock(&rpc->door_lock);
    uv_close((uv_handle_t *)&rpc->door, handle_closed);
    uv_close((uv_handle_t *)&rpc->timer, handle_closed);
}

void rpc_left(struct rpc *rpc)
{
    assert(rpc->live > 0);
    rpc->live--;
}

void rpc_close(struct rpc *rpc, void (*closed)(void *data), void *data)
{
    assert(!rpc->closing);
    rpc->closing = true;
    rpc->closed = closed;
    rpc->closed_data = data;
    while (!list_empty(&rpc->servers))
        rpc_server_destroy(server_of(rpc->servers.next));
    while (!list_empty(&rpc->peers))
        rpc_peer_destroy(peer_of(rpc->peers.next));
    assert(list_empty(&rpc->conns));
    uv_async_send(&rpc->door); /* for a context that had nothing to close */
}
