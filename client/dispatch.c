/* From the door to a coordinator and back: everything that happens to a request on the loop's
 * thread.
 *
 *   SUBMITTED ----> CALLING ----> ENDED
 *       |           ^     |         ^
 *       |           |     v         |
 *       +---------> WAITING --------+
 *
 * The happy path: a coordinator is connected, the request is sent to it (CALLING), its reply is
 * decoded and delivered. Without a connection it waits. Whenever one comes up, all that wait for it
 * are sent. While there is none, one more coordinator is dialed every CLIENT_DIAL_NEXT_MS until all
 * are; those that were dialed stay so, and rpc goes on trying them with back-off.
 *
 * When an attempt fails with "unavailable" or "stale epoch" the request waits a little (twice as
 * long each time) and is sent again, if that is safe (call_spec.repeatable). A connection that was
 * lost, or a write that did not reach its shard, is worth trying until the deadline; a read that
 * the coordinator itself answers with "unavailable" is tried CLIENT_READ_ATTEMPTS times, since the
 * coordinator has already done what it could. A write of which single ops failed in that way is
 * repeated as a whole: it carries its identity, so the ops that were applied are recognised. When
 * the deadline comes first, the last such answer is the result.
 *
 * What the cluster refuses since it is overloaded is sent again when it said (retry.h), if the
 * deadline allows that and the budget does; writers go without the budget, since they wait for what
 * they sent before they send more.
 *
 * Failure modes: the deadline (WAITING: the tick timer; CALLING: rpc's), cancellation (at once, or
 * through rpc), the end of the client (dispatch_stop() for those that wait, rpc_close() for those
 * that are called). All of them end in end(), which delivers exactly once; it is reached from the
 * loop only, never from a public call.
 */
#include "client/core.h"

#include "proto/base/clock.h"
#include "proto/quire.pb-c.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SUBMITTED, WAITING, CALLING, ENDED };

static const struct sm_state states[] = {
    [SUBMITTED] = {"submitted", SM_TO(WAITING) | SM_TO(CALLING) | SM_TO(ENDED), false},
    [WAITING] = {"waiting", SM_TO(CALLING) | SM_TO(ENDED), false},
    [CALLING] = {"calling", SM_TO(WAITING) | SM_TO(ENDED), false},
    [ENDED] = {"ended", 0, true},
};

static uint64_t next_random(struct quire_client *client)
{
    uint64_t *state = &client->random;
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * 0x2545f4914f6cdd1dull) >> 8;
}

static struct list *bucket_of(struct quire_client *client, quire_ticket ticket)
{
    return &client->tickets[ticket % CLIENT_TICKET_BUCKETS];
}

/* A lane goes back for the next write when it is certain that its last batch is no longer on its
 * way. */
static void give_back_lane(struct request *request)
{
    struct door *door = &request->client->door;
    if (request->lane == NULL)
        return;
    if (request->in_doubt) {
        free(request->lane);
        return;
    }
    pthread_mutex_lock(&door->lock);
    list_push(&door->lanes, &request->lane->link);
    pthread_mutex_unlock(&door->lock);
}

/* Delivers `box` (taking it over) and frees the request. */
static void end(struct request *request, struct box *box)
{
    struct quire_client *client = request->client;
    if (box == NULL)
        abort(); /* memory for a result of some hundred bytes: nothing can be told any more */
    box->trace = request->attempts > 0 ? request->trace : 0;
    sm_move(&request->sm, ENDED);
    sm_deinit(&request->sm);
    list_remove(&request->link);
    list_remove(&request->bucket);
    give_back_lane(request);
    pthread_mutex_lock(&client->door.lock);
    client->door.outstanding--;
    pthread_mutex_unlock(&client->door.lock);
    request->deliver(request->cb, request->data, box->result);
    box_release(box);
    if (request->partial != NULL)
        box_release(request->partial);
    buf_deinit(&request->payload);
    free(request);
}

static void end_with(struct request *request, int status, const char *text)
{
    end(request, box_failed(request->spec->result, status, text));
}

static void end_with_err(struct request *request, const struct err *err)
{
    struct box *box = box_failed(request->spec->result, err->code, err->text);
    if (box != NULL)
        box->retry_after_ms = err->retry_after_ms;
    end(request, box);
}

/* Time is up. An answer that told more than "time is up" is preferred. */
static void end_late(struct request *request)
{
    struct err err;
    char urls[256];
    if (request->partial != NULL) {
        struct box *box = request->partial;
        request->partial = NULL;
        end(request, box);
        return;
    }
    if (sm_state(&request->sm) == CALLING) {
        err_set(&err, ERR_DEADLINE, "no answer within %" PRIu32 " ms", request->timeout_ms);
    } else if (request->last.code != 0) {
        err = request->last;
    } else {
        coordinators_text(&request->client->coordinators, urls, sizeof(urls));
        err_set(&err, ERR_UNAVAILABLE, "no connection to %s within %" PRIu64 " ms", urls,
                clock_ms() - request->waiting_since_ms);
    }
    end_with_err(request, &err);
}

/* ---- coordinators ---- */

static struct coordinator *connected_one(struct coordinators *all)
{
    for (size_t i = 0; i < all->dialed; i++) {
        size_t at = (all->preferred + i) % all->dialed;
        if (all->list[at].connected) {
            all->preferred = at;
            return &all->list[at];
        }
    }
    return NULL;
}

static void arm(struct quire_client *client, uint64_t at_ms)
{
    uint64_t now = clock_ms();
    if (client->stopping || at_ms >= client->tick_at_ms)
        return;
    client->tick_at_ms = at_ms;
    uv_timer_start(&client->tick, dispatch_tick, at_ms > now ? at_ms - now : 0, 0);
}

static void try_send(struct request *request);

/* Those that wait for a connection rather than for their next attempt. */
static void send_waiting(struct quire_client *client)
{
    struct list all;
    struct list *link;
    list_init(&all);
    list_splice(&all, &client->waiting);
    while ((link = list_shift(&all)) != NULL) {
        struct request *request = list_entry(link, struct request, link);
        try_send(request);
    }
}

static void connection_changed(void *data, bool connected)
{
    struct coordinator *coordinator = data;
    coordinator->connected = connected;
    if (connected && !coordinator->client->stopping)
        send_waiting(coordinator->client);
}

static void dial_next(struct quire_client *client)
{
    struct coordinators *all = &client->coordinators;
    while (all->dialed < all->count) {
        struct coordinator *coordinator = &all->list[all->dialed++];
        struct err err;
        coordinator->client = client;
        client->next_dial_ms = clock_ms() + CLIENT_DIAL_NEXT_MS;
        if (rpc_peer_create(client->rpc, coordinator->url, &coordinator->peer, &err) != 0)
            continue; /* an address that nng does not like is as good as one that does not answer */
        rpc_peer_on_change(coordinator->peer, connection_changed, coordinator);
        coordinator->connected = rpc_peer_connected(coordinator->peer);
        return;
    }
}

void dispatch_start(struct quire_client *client)
{
    client->tick_at_ms = UINT64_MAX;
    dial_next(client);
}

/* ---- attempts ---- */

static uint64_t give_up_ms(const struct request *request)
{
    uint64_t connect = request->client->connect_timeout_ms;
    if (connect == 0 || request->waiting_since_ms + connect > request->deadline_ms)
        return request->deadline_ms;
    return request->waiting_since_ms + connect;
}

/* Waits for a connection (retry_at_ms 0) or for its next attempt. */
static void wait(struct request *request, uint64_t retry_at_ms)
{
    struct quire_client *client = request->client;
    uint64_t wake = retry_at_ms ? retry_at_ms : give_up_ms(request);
    if (sm_state(&request->sm) != WAITING)
        sm_move(&request->sm, WAITING);
    request->retry_at_ms = retry_at_ms;
    list_remove(&request->link);
    list_push(&client->waiting, &request->link);
    if (retry_at_ms == 0 && client->coordinators.dialed < client->coordinators.count &&
        client->next_dial_ms < wake)
        wake = client->next_dial_ms;
    arm(client, wake < request->deadline_ms ? wake : request->deadline_ms);
}

static bool worth_repeating(const struct request *request, int status, bool said)
{
    if ((status != ERR_UNAVAILABLE && status != ERR_STALE) || !request->spec->repeatable ||
        request->client->stopping)
        return false;
    return !said || request->spec->write || request->attempts < CLIENT_READ_ATTEMPTS;
}

static void wait_for_retry(struct request *request)
{
    uint64_t pause = CLIENT_RETRY_MIN_MS;
    for (uint32_t i = 1; i < request->attempts && pause < CLIENT_RETRY_MAX_MS; i++)
        pause *= 2;
    if (pause > CLIENT_RETRY_MAX_MS)
        pause = CLIENT_RETRY_MAX_MS;
    request->waiting_since_ms = clock_ms();
    wait(request, request->waiting_since_ms + pause);
}

/* False: it ends with this refusal. */
static bool repeat_refused(struct request *request, const struct err *err)
{
    struct quire_client *client = request->client;
    uint64_t now = clock_ms();
    uint64_t pause = retry_pause_ms(err->retry_after_ms, request->attempts, next_random(client));
    if (client->no_retry || client->stopping || !request->spec->repeatable ||
        now + pause >= request->deadline_ms ||
        (!request->bulk && !retry_take(&client->budget, now)))
        return false;
    request->last = *err;
    request->waiting_since_ms = now;
    wait(request, now + pause);
    return true;
}

/* `said`: by the coordinator, rather than found out by ourselves. rpc does not tell them apart, but
 * when a connection is lost it is down by the time its calls end. */
static void failed(struct request *request, int status, const struct err *err)
{
    const char *text = err ? err->text : "";
    bool late = status == ERR_DEADLINE && clock_ms() >= request->deadline_ms;
    bool said = !late && request->target->connected;
    if (said && status != ERR_UNAVAILABLE && status != ERR_DEADLINE && status != ERR_CANCELED)
        request->in_doubt = false;
    if (status == ERR_OVERLOADED) {
        if (!repeat_refused(request, err))
            end_with_err(request, err);
    } else if (worth_repeating(request, status, said)) {
        err_set(&request->last, status, "%s", text);
        wait_for_retry(request);
    } else if (late) {
        end_late(request);
    } else if (status == ERR_UNAVAILABLE && !said && !request->spec->repeatable) {
        end_with(request, status,
                 "the connection was lost before the answer came: the request may or may not have "
                 "been carried out");
    } else {
        end_with(request, status, text);
    }
}

static int decode(const struct request *request, struct box *box, struct bytes payload,
                  struct err *err)
{
    const struct result_type *type = request->spec->result;
    if (type->decode != NULL && type->decode(box, payload, err) != 0)
        return err->code;
    if (request->spec->write) {
        size_t count = ((struct quire_write_result *)box->result)->written_count;
        if (count != request->ops)
            return err_set(err, ERR_PROTOCOL, "the answer has %zu results for %zu writes", count,
                           request->ops);
    }
    return 0;
}

static void answered(struct request *request, uint16_t kind, struct bytes payload)
{
    const struct call_spec *spec = request->spec;
    struct err err = {0};
    struct box *box;
    request->in_doubt = false;
    if (kind != spec->kind + 1 && !(kind == QUIRE__KIND__KIND_OK && spec->result->decode == NULL)) {
        err_set(&err, ERR_PROTOCOL, "the answer is of the unexpected kind %u", (unsigned)kind);
        end_with(request, err.code, err.text);
        return;
    }
    if (spec->write)
        session_wrote(&request->client->session, payload);
    box = box_create(spec->result);
    if (box != NULL && decode(request, box, payload, &err) != 0) {
        box_release(box);
        end_with(request, err.code, err.text);
        return;
    }
    if (box != NULL && box->retry && spec->write && !request->client->stopping &&
        clock_ms() < request->deadline_ms) {
        if (request->partial != NULL)
            box_release(request->partial);
        request->partial = box;
        wait_for_retry(request);
        return;
    }
    end(request, box);
}

static void call_done(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                      struct bytes payload)
{
    struct request *request = call->data;
    list_remove(&request->link);
    if (status == 0)
        answered(request, kind, payload);
    else
        failed(request, status, err);
}

static void try_send(struct request *request)
{
    struct quire_client *client = request->client;
    uint64_t now = clock_ms();
    struct coordinator *to = connected_one(&client->coordinators);
    if (now >= request->deadline_ms) {
        end_late(request);
        return;
    }
    if (request->retry_at_ms > now) {
        wait(request, request->retry_at_ms);
        return;
    }
    if (to == NULL) {
        if (client->next_dial_ms <= now)
            dial_next(client);
        wait(request, 0);
        return;
    }
    sm_move(&request->sm, CALLING);
    list_remove(&request->link);
    list_push(&client->calling, &request->link);
    request->retry_at_ms = 0;
    if (request->attempts++ == 0)
        retry_request(&client->budget);
    request->in_doubt = true;
    request->target = to;
    request->call.data = request;
    request->call.done = call_done;
    rpc_call_start(&request->call, to->peer, request->spec->kind, buf_bytes(&request->payload),
                   (uint32_t)(request->deadline_ms - now), request->trace);
}

/* ---- events ---- */

void dispatch_request(struct request *request)
{
    struct quire_client *client = request->client;
    sm_init(&request->sm, "request", states, sizeof(states) / sizeof(states[0]), SUBMITTED, NULL);
    list_init(&request->link);
    list_init(&request->bucket);
    request->trace = next_random(client) << 32 ^ next_random(client);
    list_push(bucket_of(client, request->ticket), &request->bucket);
    if (request->refusal != NULL)
        end(request, request->refusal);
    else if (client->stopping)
        end_with(request, ERR_CANCELED, "the client was closed");
    else
        try_send(request);
}

void dispatch_cancel(struct quire_client *client, quire_ticket ticket)
{
    struct list *head = bucket_of(client, ticket);
    for (struct list *link = head->next; link != head; link = link->next) {
        struct request *request = list_entry(link, struct request, bucket);
        if (request->ticket != ticket)
            continue;
        if (sm_state(&request->sm) == CALLING)
            rpc_call_cancel(&request->call);
        else
            end_with(request, ERR_CANCELED, "");
        return;
    }
}

void dispatch_stop(struct quire_client *client)
{
    struct list *link;
    client->stopping = true;
    uv_timer_stop(&client->tick);
    while ((link = list_shift(&client->waiting)) != NULL)
        end_with(list_entry(link, struct request, link), ERR_CANCELED, "the client was closed");
}

void dispatch_tick(uv_timer_t *timer)
{
    struct quire_client *client = timer->data;
    uint64_t now = clock_ms();
    struct list all;
    struct list *link;
    client->tick_at_ms = UINT64_MAX;
    list_init(&all);
    list_splice(&all, &client->waiting);
    while ((link = list_shift(&all)) != NULL) {
        struct request *request = list_entry(link, struct request, link);
        if (request->retry_at_ms == 0 && now >= give_up_ms(request))
            end_late(request);
        else
            try_send(
                request); /* which looks at the rest, and arms the timer for what goes on waiting */
    }
}
