#include "coordinator/server.h"

#include "coordinator/defaults.h"
#include "coordinator/forward.h"
#include "coordinator/join.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "coordinator/siblings.h"
#include "coordinator/wire.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <assert.h>
#include <string.h>

struct entrance {
    uint16_t kind;
    bool shards_only;
    bool by_leader;     /* it changes the map */
    size_t payload_max; /* 0: what a frame holds */
    const char *name;
    operation *run;
};

/* A query may be repeated in escapes and options; nothing honest is near these. */
#define SMALL_MAX (256u << 10)
#define SAMPLE_MAX ((size_t)LIMIT_SAMPLE * (LIMIT_HEADWORD_BYTES + 8) + SMALL_MAX)

/* A search beyond these is heavy (admission.h). */
#define HEAVY_SEARCH_BYTES 2048 /* of the message, without its session */
#define HEAVY_SEARCH_HITS 100
#define SEARCH_REQUEST_LIMIT 3 /* fields of SearchRequest */
#define SEARCH_REQUEST_SESSION 30

static const struct entrance entrances[] = {
    {QUIRE__KIND__KIND_COLLECTION_CREATE, false, true, SMALL_MAX, "create", op_collection_create},
    {QUIRE__KIND__KIND_COLLECTION_LIST, false, false, SMALL_MAX, "list", op_collection_list},
    {QUIRE__KIND__KIND_COLLECTION_DROP, false, true, SMALL_MAX, "drop", op_collection_drop},
    {QUIRE__KIND__KIND_IMPORT_PREPARE, false, true, SAMPLE_MAX, "prepare", op_import_prepare},
    {QUIRE__KIND__KIND_WRITE, false, false, LIMIT_BATCH_BYTES, "write", op_write},
    {QUIRE__KIND__KIND_GET, false, false, SMALL_MAX, "get", op_get},
    {QUIRE__KIND__KIND_DEFINE, false, false, SMALL_MAX, "define", op_define},
    {QUIRE__KIND__KIND_BROWSE, false, false, SMALL_MAX, "browse", op_browse},
    {QUIRE__KIND__KIND_MATCH, false, false, SMALL_MAX, "match", op_match},
    {QUIRE__KIND__KIND_SEARCH, false, false, 4 * SMALL_MAX, "search", op_search},
    {QUIRE__KIND__KIND_EXPLAIN, false, false, SMALL_MAX, "explain", op_explain},
    {QUIRE__KIND__KIND_EXPORT, false, false, SMALL_MAX, "export", op_export},
    {QUIRE__KIND__KIND_SNAPSHOT, false, false, SMALL_MAX, "snapshot", op_snapshot},
    {QUIRE__KIND__KIND_SNAPSHOT_READ, false, false, SMALL_MAX, "snapshot read", op_snapshot_read},
    {QUIRE__KIND__KIND_STATUS, false, false, SMALL_MAX, "status", op_status},
    {QUIRE__KIND__KIND_VERIFY, false, false, SMALL_MAX, "verify", op_verify},
    {QUIRE__KIND__KIND_COORDINATOR_JOIN, false, true, SMALL_MAX, "join", op_coordinator_join},
    {QUIRE__KIND__KIND_COORDINATOR_LEAVE, false, true, SMALL_MAX, "leave", op_coordinator_leave},
    {QUIRE__KIND__KIND_RECOVER, false, true, SMALL_MAX, "recover", op_recover},
    {QUIRE__KIND__KIND_NODE_SET, false, true, SMALL_MAX, "node", op_node_set},
    {QUIRE__KIND__KIND_NODE_REMOVE, false, true, SMALL_MAX, "node remove", op_node_remove},
    {QUIRE__KIND__KIND_PLACEMENT_SET, false, true, SMALL_MAX, "placement", op_placement_set},
    {QUIRE__KIND__KIND_RANGE_MOVE, false, true, SMALL_MAX, "move", op_range_move},
    {QUIRE__KIND__KIND_RANGE_SPLIT, false, true, SMALL_MAX, "split", op_range_split},
    {QUIRE__KIND__KIND_RANGE_MERGE, false, true, SMALL_MAX, "merge", op_range_merge},
    {QUIRE__KIND__KIND_COORDINATOR_INQUIRE, false, false, SMALL_MAX, "inquire",
     op_coordinator_inquire},
    {QUIRE__KIND__KIND_REGISTER, true, false, 0, "register", op_register},
};

static const struct entrance *entrance_of(uint16_t kind)
{
    for (size_t i = 0; i < sizeof entrances / sizeof *entrances; i++)
        if (entrances[i].kind == kind)
            return &entrances[i];
    return NULL;
}

#define ENTRANCES (sizeof entrances / sizeof *entrances)

size_t server_operation(uint16_t kind)
{
    const struct entrance *found = entrance_of(kind);
    return found != NULL ? (size_t)(found - entrances) : ENTRANCES;
}

size_t server_operations(const char **names, size_t max)
{
    assert(ENTRANCES < max);
    for (size_t i = 0; i < ENTRANCES; i++)
        names[i] = entrances[i].name;
    names[ENTRANCES] = "unknown";
    return ENTRANCES + 1;
}

const char *server_name(uint16_t kind)
{
    const struct entrance *found = entrance_of(kind);
    return found != NULL ? found->name : "unknown";
}

void server_enter(struct coordinator *coordinator, struct rpc_request *request)
{
    const struct entrance *by = entrance_of(request->kind);
    if (by->by_leader)
        forward_to_leader(coordinator, request, by->run);
    else
        by->run(coordinator, request);
}

/* A search that is long, or goes deep, is heavy; so much can be seen without unpacking it. */
static bool is_heavy_search(struct bytes packed)
{
    uint64_t limit = 0;
    return (packed.size > HEAVY_SEARCH_BYTES &&
            message_size_without(packed, SEARCH_REQUEST_SESSION) > HEAVY_SEARCH_BYTES) ||
           (message_number(packed, SEARCH_REQUEST_LIMIT, &limit) && limit > HEAVY_SEARCH_HITS);
}

static enum admission_class class_of(const struct rpc_request *request)
{
    switch (request->kind) {
    case QUIRE__KIND__KIND_GET:
    case QUIRE__KIND__KIND_DEFINE:
    case QUIRE__KIND__KIND_BROWSE:
        return ADMISSION_CHEAP;
    case QUIRE__KIND__KIND_SEARCH:
        return is_heavy_search(request->payload) ? ADMISSION_HEAVY : ADMISSION_SEARCH;
    case QUIRE__KIND__KIND_MATCH:
    case QUIRE__KIND__KIND_EXPLAIN:
        return ADMISSION_SEARCH;
    case QUIRE__KIND__KIND_EXPORT:
    case QUIRE__KIND__KIND_SNAPSHOT:
    case QUIRE__KIND__KIND_SNAPSHOT_READ:
    case QUIRE__KIND__KIND_VERIFY:
        return ADMISSION_HEAVY;
    case QUIRE__KIND__KIND_WRITE:
        return ADMISSION_WRITE;
    default:
        return ADMISSION_NONE;
    }
}

void server_handle(void *data, struct rpc_request *request)
{
    struct coordinator *coordinator = data;
    request->data = coordinator;
    request->class = ADMISSION_NONE;
    coordinator->requests++;
    const struct entrance *found = entrance_of(request->kind);
    if (coordinator->closing)
        request_error(request, ERR_UNAVAILABLE, "the coordinator is stopping");
    else if (found == NULL)
        request_error(request, ERR_UNSUPPORTED, "a coordinator does not know requests of kind %u",
                      request->kind);
    else if (found->shards_only && request->role != RPC_ROLE_SHARD)
        request_error(request, ERR_INVALID, "only a shard may send a %s request", found->name);
    else if (found->payload_max != 0 && request->payload.size > found->payload_max)
        request_error(request, ERR_TOO_LARGE,
                      "a %s request has at most %zu bytes, this one has %zu", found->name,
                      found->payload_max, request->payload.size);
    else
        admit_request(coordinator, request, class_of(request));
}

void op_again(struct coordinator *coordinator, struct rpc_request *request)
{
    if (coordinator->closing)
        request_error(request, ERR_UNAVAILABLE, "the coordinator is stopping");
    else if (rpc_request_abandoned(request))
        request_error(request, ERR_CANCELED, "the client went away");
    else
        server_enter(coordinator, request);
}

struct waiting_for_map {
    struct coordinator *coordinator;
    struct rpc_request *request;
    struct later_item later;
};

static void look_again(struct later_item *item)
{
    struct waiting_for_map *waiting = list_entry(item, struct waiting_for_map, later);
    op_again(waiting->coordinator, waiting->request);
}

/* Whether what the map lacks may be in one that this coordinator is about to get; then the request
 * begins again in a moment. */
static bool waits_for_map(struct coordinator *coordinator, struct rpc_request *request)
{
    uint64_t deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
    if (coordinator->closing || !nodes_behind(&coordinator->nodes) ||
        clock_ms() + SCATTER_STALE_DELAY_MS >= deadline_ms)
        return false;
    struct waiting_for_map *waiting = arena_calloc(&request->arena, 1, sizeof *waiting);
    waiting->coordinator = coordinator;
    waiting->request = request;
    later_post(&coordinator->later, &waiting->later, SCATTER_STALE_DELAY_MS, look_again);
    return true;
}

const Quire__Collection *op_collection(struct coordinator *coordinator, struct rpc_request *request,
                                       const char *name)
{
    if (name == NULL)
        name = DEFAULT_COLLECTION;
    if (!map_collection_name_valid(name)) {
        request_error(request, ERR_INVALID,
                      "a collection's name is 1 to %d of a-z, 0-9, '_' and '-', and begins with a "
                      "letter or digit",
                      LIMIT_COLLECTION_NAME);
        return NULL;
    }
    const Quire__Collection *found = map_collection(coordinator->map, name);
    if (found == NULL && !waits_for_map(coordinator, request))
        request_error(request, ERR_NOT_FOUND, "there is no collection %s", name);
    return found;
}

bool op_key(struct rpc_request *request, const char *what, const char *text, struct bytes *key)
{
    size_t size = strlen(text);
    if (size == 0) {
        request_error(request, ERR_INVALID, "the %s is empty", what);
        return false;
    }
    if (size > LIMIT_HEADWORD_BYTES) {
        request_error(request, ERR_TOO_LARGE, "a %s has at most %d bytes, this one has %zu", what,
                      LIMIT_HEADWORD_BYTES, size);
        return false;
    }
    struct buf buf;
    buf_init(&buf);
    text_key(bytes_str(text), &buf);
    *key = bytes_of(arena_copy(&request->arena, buf.data, buf.size), buf.size);
    buf_deinit(&buf);
    return true;
}
