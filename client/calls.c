/* The public calls: for each kind of request what it is (struct call_spec), how its callback is
 * called, and its asynchronous and its blocking form. All of them go through call_start() and
 * call_wait(). */
#include "client/core.h"
#include "client/encode.h"
#include "proto/base/clock.h"
#include "proto/quire.pb-c.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The members that all request structs begin with. */
struct request_head {
    size_t size;
    uint32_t timeout_ms;
};

#define REQUEST_MAX 256 /* bytes of the largest public request struct */

/* ---- submitting ---- */

/* A lane that nobody uses now; with the door's lock held. */
static struct lane *take_lane(struct door *door)
{
    struct list *link = list_shift(&door->lanes);
    struct lane *lane = link ? list_entry(link, struct lane, link) : calloc(1, sizeof(*lane));
    if (lane == NULL)
        return NULL;
    if (link == NULL)
        uuid_generate_text(lane->client_id);
    list_init(&lane->link);
    lane->batch++;
    return lane;
}

/* Puts the request on the list of what the loop's thread will take, to whom it belongs from then
 * on. 0: not taken, since the client is closing or memory for a lane is out. */
static quire_ticket enter_door(struct quire_client *client, struct request *request,
                               bool identified)
{
    struct door *door = &client->door;
    quire_ticket ticket = 0;
    pthread_mutex_lock(&door->lock);
    if (door->closing)
        goto done;
    if (request->refusal == NULL && door->outstanding >= client->max_outstanding)
        request->refusal =
            box_failed(request->spec->result, QUIRE_FULL, "too many requests are outstanding");
    if (request->refusal == NULL && request->spec->write && !identified) {
        request->lane = take_lane(door);
        if (request->lane == NULL)
            goto done;
        encode_write_identity(request->lane->client_id, request->lane->batch, &request->payload);
    }
    ticket = request->ticket = ++door->last_ticket;
    door->outstanding++;
    list_push(&door->incoming, &request->link);
    uv_async_send(&client->async);
done:
    pthread_mutex_unlock(&door->lock);
    return ticket;
}

quire_ticket request_submit(struct quire_client *client, const struct call_spec *spec,
                            uint32_t timeout_ms, struct buf *payload, const struct encoded *how,
                            struct box *refusal, deliver_fn deliver, void (*cb)(void), void *data)
{
    struct request *request = client->pid == getpid() ? calloc(1, sizeof(*request)) : NULL;
    quire_ticket ticket;
    if (request == NULL) {
        box_release(refusal);
        return 0;
    }
    if (timeout_ms == 0)
        timeout_ms = spec->timeout_ms ? spec->timeout_ms : client->timeout_ms;
    if (spec->reads && refusal == NULL)
        session_append(&client->session, payload);
    request->client = client;
    request->spec = spec;
    request->payload = *payload;
    request->ops = how->ops;
    request->bulk = how->bulk;
    buf_init(payload);
    request->refusal = refusal;
    request->timeout_ms = timeout_ms;
    request->waiting_since_ms = clock_ms();
    request->deadline_ms = request->waiting_since_ms + timeout_ms;
    request->deliver = deliver;
    request->cb = cb;
    request->data = data;
    ticket = enter_door(client, request, how->identified);
    if (ticket == 0) {
        box_release(request->refusal);
        buf_deinit(&request->payload);
        free(request);
    }
    return ticket;
}

static int encode(const struct call_spec *spec, const void *request, uint32_t *timeout_ms,
                  struct buf *payload, struct encoded *how, struct err *err)
{
    _Alignas(16) unsigned char copy[REQUEST_MAX];
    assert(spec->request_size <= sizeof(copy));
    memset(copy, 0, sizeof(copy));
    if (!(request == NULL && spec->optional) &&
        struct_copy(copy, spec->request_size, request, "request", err) != 0)
        return err->code;
    *timeout_ms = ((const struct request_head *)(void *)copy)->timeout_ms;
    return spec->encode(copy, payload, how, err);
}

static quire_ticket call_start(struct quire_client *client, const struct call_spec *spec,
                               const void *request, deliver_fn deliver, void (*cb)(void),
                               void *data)
{
    struct buf payload;
    struct err err = {0};
    struct box *refusal = NULL;
    uint32_t timeout_ms = 0;
    struct encoded how = {0};
    quire_ticket ticket;
    buf_init(&payload);
    if (encode(spec, request, &timeout_ms, &payload, &how, &err) != 0) {
        refusal = box_failed(spec->result, err.code, err.text);
        if (refusal == NULL) {
            buf_deinit(&payload);
            return 0;
        }
    }
    ticket = request_submit(client, spec, timeout_ms, &payload, &how, refusal, deliver, cb, data);
    buf_deinit(&payload);
    return ticket;
}

/* ---- blocking ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t came;
    const void *result;
};

static void deliver_to_waiter(void (*cb)(void), void *data, const void *result)
{
    struct waiter *waiter = data;
    pthread_mutex_lock(&waiter->lock);
    waiter->result = quire_result_keep(result);
    pthread_cond_signal(&waiter->came);
    pthread_mutex_unlock(&waiter->lock);
}

static const void *refused(const struct call_spec *spec, int status, const char *text)
{
    struct box *box = box_failed(spec->result, status, text);
    return box ? box->result : NULL;
}

static const void *wait_for(struct quire_client *client, const struct call_spec *spec,
                            const void *request)
{
    struct waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};
    if (client->pid != getpid())
        return refused(spec, QUIRE_INVALID,
                       "the client belongs to the process that created it, before fork()");
    if (client_on_loop(client))
        return refused(spec, QUIRE_INVALID,
                       "a blocking call from a callback would wait for itself");
    if (call_start(client, spec, request, deliver_to_waiter, NULL, &waiter) == 0)
        return refused(spec, QUIRE_CLOSED, "the client is closing, or memory is out");
    pthread_mutex_lock(&waiter.lock);
    while (waiter.result == NULL)
        pthread_cond_wait(&waiter.came, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    pthread_cond_destroy(&waiter.came);
    pthread_mutex_destroy(&waiter.lock);
    return waiter.result;
}

static int status_of(const void *result)
{
    return result ? ((const struct quire_result *)result)->status : QUIRE_NOMEM;
}

/* ---- the calls ---- */

/* Defines quire_<name>() and quire_<name>_wait(). */
#define CALL(name, spec, request_type, result_type, cb_type)                                       \
    static void deliver_##name(void (*cb)(void), void *data, const void *result)                   \
    {                                                                                              \
        if (cb != NULL)                                                                            \
            ((cb_type)cb)(data, result);                                                           \
    }                                                                                              \
    quire_ticket quire_##name(struct quire_client *client, const struct request_type *request,     \
                              cb_type cb, void *data)                                              \
    {                                                                                              \
        return call_start(client, &spec, request, deliver_##name, (void (*)(void))cb, data);       \
    }                                                                                              \
    int quire_##name##_wait(struct quire_client *client, const struct request_type *request,       \
                            const struct result_type **result)                                     \
    {                                                                                              \
        *result = wait_for(client, &spec, request);                                                \
        return status_of(*result);                                                                 \
    }

#define SPEC(name) static const struct call_spec name

SPEC(spec_collection_create) = {.kind = QUIRE__KIND__KIND_COLLECTION_CREATE,
                                .request_size = sizeof(struct quire_collection_request),
                                .result = &result_collection,
                                .encode = encode_collection_create};
SPEC(spec_collection_drop) = {.kind = QUIRE__KIND__KIND_COLLECTION_DROP,
                              .request_size = sizeof(struct quire_simple_request),
                              .result = &result_done,
                              .encode = encode_collection_drop};
SPEC(spec_collection_list) = {.kind = QUIRE__KIND__KIND_COLLECTION_LIST,
                              .repeatable = true,
                              .optional = true,
                              .request_size = sizeof(struct quire_simple_request),
                              .result = &result_collections,
                              .encode = encode_nothing};
SPEC(spec_import_prepare) = {.kind = QUIRE__KIND__KIND_IMPORT_PREPARE,
                             .repeatable = true,
                             .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                             .request_size = sizeof(struct quire_prepare_request),
                             .result = &result_collection,
                             .encode = encode_prepare};
const struct call_spec call_write = {.kind = QUIRE__KIND__KIND_WRITE,
                                     .repeatable = true,
                                     .write = true,
                                     .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                                     .request_size = sizeof(struct quire_write_request),
                                     .result = &result_write,
                                     .encode = encode_write};
SPEC(spec_put) = {.kind = QUIRE__KIND__KIND_WRITE,
                  .repeatable = true,
                  .write = true,
                  .request_size = sizeof(struct quire_put_request),
                  .result = &result_write_one,
                  .encode = encode_put};
SPEC(spec_delete) = {.kind = QUIRE__KIND__KIND_WRITE,
                     .repeatable = true,
                     .write = true,
                     .request_size = sizeof(struct quire_delete_request),
                     .result = &result_write_one,
                     .encode = encode_delete};
SPEC(spec_get) = {.kind = QUIRE__KIND__KIND_GET,
                  .repeatable = true,
                  .reads = true,
                  .request_size = sizeof(struct quire_get_request),
                  .result = &result_entries,
                  .encode = encode_get};
SPEC(spec_define) = {.kind = QUIRE__KIND__KIND_DEFINE,
                     .repeatable = true,
                     .reads = true,
                     .request_size = sizeof(struct quire_define_request),
                     .result = &result_entries,
                     .encode = encode_define};
SPEC(spec_browse) = {.kind = QUIRE__KIND__KIND_BROWSE,
                     .repeatable = true,
                     .reads = true,
                     .request_size = sizeof(struct quire_browse_request),
                     .result = &result_browse,
                     .encode = encode_browse};
SPEC(spec_match) = {.kind = QUIRE__KIND__KIND_MATCH,
                    .repeatable = true,
                    .reads = true,
                    .request_size = sizeof(struct quire_match_request),
                    .result = &result_match,
                    .encode = encode_match};
SPEC(spec_suggest) = {.kind = QUIRE__KIND__KIND_MATCH,
                      .repeatable = true,
                      .reads = true,
                      .request_size = sizeof(struct quire_suggest_request),
                      .result = &result_match,
                      .encode = encode_suggest};
SPEC(spec_search) = {.kind = QUIRE__KIND__KIND_SEARCH,
                     .repeatable = true,
                     .reads = true,
                     .request_size = sizeof(struct quire_search_request),
                     .result = &result_search,
                     .encode = encode_search};
SPEC(spec_explain) = {.kind = QUIRE__KIND__KIND_EXPLAIN,
                      .repeatable = true,
                      .reads = true,
                      .request_size = sizeof(struct quire_explain_request),
                      .result = &result_explain,
                      .encode = encode_explain};
SPEC(spec_export) = {.kind = QUIRE__KIND__KIND_EXPORT,
                     .repeatable = true,
                     .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                     .reads = true,
                     .request_size = sizeof(struct quire_export_request),
                     .result = &result_export,
                     .encode = encode_export};
SPEC(spec_snapshot) = {.kind = QUIRE__KIND__KIND_SNAPSHOT,
                       .repeatable = true,
                       .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                       .request_size = sizeof(struct quire_snapshot_request),
                       .result = &result_snapshot,
                       .encode = encode_snapshot};
SPEC(spec_snapshot_page) = {.kind = QUIRE__KIND__KIND_SNAPSHOT_READ,
                            .repeatable = true,
                            .request_size = sizeof(struct quire_snapshot_page_request),
                            .result = &result_snapshot_page,
                            .encode = encode_snapshot_page};
SPEC(spec_status) = {.kind = QUIRE__KIND__KIND_STATUS,
                     .repeatable = true,
                     .optional = true,
                     .request_size = sizeof(struct quire_simple_request),
                     .result = &result_status,
                     .encode = encode_nothing};
SPEC(spec_verify) = {.kind = QUIRE__KIND__KIND_VERIFY,
                     .repeatable = true,
                     .optional = true,
                     .timeout_ms = CLIENT_VERIFY_TIMEOUT_MS,
                     .request_size = sizeof(struct quire_simple_request),
                     .result = &result_verify,
                     .encode = encode_verify};
SPEC(spec_coordinator_remove) = {.kind = QUIRE__KIND__KIND_COORDINATOR_LEAVE,
                                 .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                                 .request_size = sizeof(struct quire_coordinator_request),
                                 .result = &result_done,
                                 .encode = encode_coordinator_remove};
SPEC(spec_node_drain) = {.kind = QUIRE__KIND__KIND_NODE_SET,
                         .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                         .request_size = sizeof(struct quire_node_request),
                         .result = &result_done,
                         .encode = encode_node_drain};
SPEC(spec_node_remove) = {.kind = QUIRE__KIND__KIND_NODE_REMOVE,
                          .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                          .request_size = sizeof(struct quire_node_request),
                          .result = &result_done,
                          .encode = encode_node_remove};
SPEC(spec_placement_set) = {.kind = QUIRE__KIND__KIND_PLACEMENT_SET,
                            .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                            .request_size = sizeof(struct quire_placement_request),
                            .result = &result_done,
                            .encode = encode_placement_set};
SPEC(spec_range_move) = {.kind = QUIRE__KIND__KIND_RANGE_MOVE,
                         .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                         .request_size = sizeof(struct quire_move_request),
                         .result = &result_done,
                         .encode = encode_range_move};
SPEC(spec_range_split) = {.kind = QUIRE__KIND__KIND_RANGE_SPLIT,
                          .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                          .request_size = sizeof(struct quire_split_request),
                          .result = &result_done,
                          .encode = encode_range_split};
SPEC(spec_range_merge) = {.kind = QUIRE__KIND__KIND_RANGE_MERGE,
                          .timeout_ms = CLIENT_WRITE_TIMEOUT_MS,
                          .request_size = sizeof(struct quire_merge_request),
                          .result = &result_done,
                          .encode = encode_range_merge};
SPEC(spec_recover) = {.kind = QUIRE__KIND__KIND_RECOVER,
                      .optional = true,
                      .request_size = sizeof(struct quire_recover_request),
                      .result = &result_recover,
                      .encode = encode_recover};

CALL(collection_create, spec_collection_create, quire_collection_request, quire_collection_result,
     quire_collection_cb)
CALL(collection_drop, spec_collection_drop, quire_simple_request, quire_result, quire_done_cb)
CALL(collection_list, spec_collection_list, quire_simple_request, quire_collections_result,
     quire_collections_cb)
CALL(import_prepare, spec_import_prepare, quire_prepare_request, quire_collection_result,
     quire_collection_cb)
CALL(write, call_write, quire_write_request, quire_write_result, quire_write_cb)
CALL(put, spec_put, quire_put_request, quire_write_result, quire_write_cb)
CALL(delete, spec_delete, quire_delete_request, quire_write_result, quire_write_cb)
CALL(get, spec_get, quire_get_request, quire_entries_result, quire_entries_cb)
CALL(define, spec_define, quire_define_request, quire_entries_result, quire_entries_cb)
CALL(browse, spec_browse, quire_browse_request, quire_browse_result, quire_browse_cb)
CALL(match, spec_match, quire_match_request, quire_match_result, quire_match_cb)
CALL(suggest, spec_suggest, quire_suggest_request, quire_match_result, quire_match_cb)
CALL(search, spec_search, quire_search_request, quire_search_result, quire_search_cb)
CALL(explain, spec_explain, quire_explain_request, quire_explain_result, quire_explain_cb)
CALL(export, spec_export, quire_export_request, quire_export_result, quire_export_cb)
CALL(snapshot, spec_snapshot, quire_snapshot_request, quire_snapshot_result, quire_snapshot_cb)
CALL(snapshot_page, spec_snapshot_page, quire_snapshot_page_request, quire_snapshot_page_result,
     quire_snapshot_page_cb)
CALL(status, spec_status, quire_simple_request, quire_status_result, quire_status_cb)
CALL(verify, spec_verify, quire_simple_request, quire_verify_result, quire_verify_cb)
CALL(coordinator_remove, spec_coordinator_remove, quire_coordinator_request, quire_result,
     quire_done_cb)
CALL(node_drain, spec_node_drain, quire_node_request, quire_result, quire_done_cb)
CALL(node_remove, spec_node_remove, quire_node_request, quire_result, quire_done_cb)
CALL(placement_set, spec_placement_set, quire_placement_request, quire_result, quire_done_cb)
CALL(range_move, spec_range_move, quire_move_request, quire_result, quire_done_cb)
CALL(range_split, spec_range_split, quire_split_request, quire_result, quire_done_cb)
CALL(range_merge, spec_range_merge, quire_merge_request, quire_result, quire_done_cb)
CALL(recover, spec_recover, quire_recover_request, quire_recover_result, quire_recover_cb)
