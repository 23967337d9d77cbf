/* Collections: create, drop, and making room for an import.
 *
 * A collection comes into being with its ranges in one change of the map; then the shards that hold
 * them are told, and the reply waits until they have opened them, so that whoever gets it can write
 * at once.
 *
 * Making room for an import (ImportPrepare) cuts the key space by the sample:
 *
 *   no such collection -> create it with the ranges that the sample suggests
 *   one range          -> seal it (the shard refuses writes from now on, if it is empty) -> replace
 * it by the new ones. Not empty: it stays as it is. several ranges     -> they stay
 *
 * A coordinator that dies between the seal and the change leaves a sealed empty range: reopen.c.
 */
#include "coordinator/admin.h"
#include "coordinator/cut.h"
#include "coordinator/defaults.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/placement.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/limits.h"
#include "proto/text/analysis.h"
#include "proto/text/key.h"

#include <math.h>
#include <string.h>

struct job {
    struct admin_job admin;
    struct coordinator *coordinator;
    struct rpc_request *request;
    const Quire__Collection *wanted; /* settings as asked for; only the name is sure to be there */
    const Quire__ImportPrepare *prepare; /* NULL: plain creation */
    struct coordinator_change change;
    struct nodes_waiter waiter;
    struct node_call seal;
    uint64_t sealed, sealed_epoch; /* range id */
};

static void leave_with_error(struct job *job, int code, const char *text)
{
    struct rpc_request *request = job->request;
    admin_leave(&job->admin);
    request_error(request, code, "%s", text);
}

static void leave_with_collection(struct job *job)
{
    struct map *map = job->coordinator->map;
    struct rpc_request *request = job->request;
    const Quire__Collection *found = map_collection(map, job->wanted->name);
    if (found == NULL) {
        leave_with_error(job, ERR_NOT_FOUND, "the collection was dropped");
        return;
    }
    Quire__Collection reply = *found;
    reply.has_ranges = true;
    reply.ranges = (uint32_t)map_ranges(map, found->id).count;
    admin_leave(&job->admin);
    request_reply(request, &reply.base);
}

/* ---- settings ---- */

static uint32_t weight_or(bool has, uint32_t value, uint32_t otherwise)
{
    return has ? value : otherwise;
}

/* Fills in the defaults, in the request's arena. */
static Quire__Collection *complete_settings(struct coordinator *coordinator,
                                            struct rpc_request *request,
                                            const Quire__Collection *wanted)
{
    Quire__Collection *full = arena_alloc(&request->arena, sizeof *full);
    Quire__FieldWeights *weights = arena_alloc(&request->arena, sizeof *weights);
    Quire__FieldWeights none = QUIRE__FIELD_WEIGHTS__INIT;
    const Quire__FieldWeights *given = wanted->weights != NULL ? wanted->weights : &none;
    quire__field_weights__init(weights);
    weights->has_headword = weights->has_terms = weights->has_categories = weights->has_body = true;
    weights->headword = weight_or(given->has_headword, given->headword, DEFAULT_WEIGHT_HEADWORD);
    weights->terms = weight_or(given->has_terms, given->terms, DEFAULT_WEIGHT_TERMS);
    weights->categories =
        weight_or(given->has_categories, given->categories, DEFAULT_WEIGHT_CATEGORIES);
    weights->body = weight_or(given->has_body, given->body, DEFAULT_WEIGHT_BODY);
    quire__collection__init(full);
    full->name = wanted->name;
    full->language = wanted->language != NULL ? wanted->language : (char *)DEFAULT_LANGUAGE;
    full->weights = weights;
    full->has_k1 = full->has_b = full->has_analysis_version = true;
    full->k1 = wanted->has_k1 ? wanted->k1 : DEFAULT_K1;
    full->b = wanted->has_b ? wanted->b : DEFAULT_B;
    full->analysis_version = TEXT_ANALYSIS_VERSION;
    full->has_order = true;
    full->has_replicas = true;
    full->replicas = wanted->has_replicas ? wanted->replicas : coordinator->replicas;
    full->order = wanted->has_order ? wanted->order : QUIRE__COLLECTION__ORDER__ARRIVAL;
    return full;
}

static bool settings_valid(struct rpc_request *request, const Quire__Collection *wanted)
{
    const Quire__FieldWeights *w = wanted->weights;
    if (!map_collection_name_valid(wanted->name))
        request_error(request, ERR_INVALID,
                      "a collection's name is 1 to %d of a-z, 0-9, '_' and '-', and begins with a "
                      "letter or digit",
                      LIMIT_COLLECTION_NAME);
    else if (wanted->language != NULL && !analyzer_language_known(wanted->language))
        request_error(request, ERR_INVALID, "the language \"%.20s\" is not one of %s",
                      wanted->language, analyzer_languages());
    else if (w != NULL && (w->headword > DEFAULT_WEIGHT_MAX || w->terms > DEFAULT_WEIGHT_MAX ||
                           w->categories > DEFAULT_WEIGHT_MAX || w->body > DEFAULT_WEIGHT_MAX))
        request_error(request, ERR_INVALID, "the weight of a field is 0 to %d", DEFAULT_WEIGHT_MAX);
    else if (wanted->has_k1 && !(isfinite(wanted->k1) && wanted->k1 > 0 && wanted->k1 <= 100))
        request_error(request, ERR_INVALID, "k1 is above 0 and at most 100");
    else if (wanted->has_b && !(isfinite(wanted->b) && wanted->b >= 0 && wanted->b <= 1))
        request_error(request, ERR_INVALID, "b is 0 to 1");
    else if (wanted->has_replicas && (wanted->replicas < 1 || wanted->replicas > LIMIT_REPLICAS))
        request_error(request, ERR_INVALID, "a range has 1 to %d replicas", LIMIT_REPLICAS);
    else if (wanted->has_order && wanted->order != QUIRE__COLLECTION__ORDER__ARRIVAL &&
             wanted->order != QUIRE__COLLECTION__ORDER__CATEGORY)
        request_error(request, ERR_INVALID, "the order of documents is arrival or category");
    else
        return true;
    return false;
}

/* ---- ranges ---- */

/* Bounds from the sample: as many ranges as there are live shards, or fewer. */
static size_t plan_bounds(struct job *job, struct bytes *bounds, size_t shards)
{
    const Quire__ImportPrepare *prepare = job->prepare;
    if (prepare == NULL || shards < 2)
        return 0;
    struct arena *arena = &job->request->arena;
    struct bytes *keys = arena_calloc(arena, prepare->n_sample + 1, sizeof *keys);
    size_t count = 0;
    struct buf key;
    buf_init(&key);
    for (size_t i = 0; i < prepare->n_sample; i++) {
        struct bytes raw = bytes_of(prepare->sample[i].data, prepare->sample[i].len);
        if (raw.size == 0 || raw.size > LIMIT_HEADWORD_BYTES || !text_valid(raw, NULL))
            continue; /* the import will report it, with its line */
        buf_clear(&key);
        text_key(raw, &key);
        keys[count++] = bytes_of(arena_copy(arena, key.data, key.size), key.size);
    }
    buf_deinit(&key);
    return cut_bounds(keys, count, shards, arena, bounds);
}

/* `by`: 1, or -1 for a range that goes. */
static void count_range(struct placement_node *node, const Quire__Range *range, int by)
{
    if (map_range_on(range, node->id))
        node->replicas += (size_t)by;
    if (strcmp(range->primary, node->id) == 0)
        node->primaries += (size_t)by;
}

static bool is_there(struct coordinator *coordinator, const Quire__Node *it)
{
    struct node *node = nodes_find(&coordinator->nodes, it->id);
    return node != NULL && node->up && node->connected;
}

static void add_node(const Quire__ClusterMap *map, const Quire__Node *it,
                     struct placement_node *out)
{
    out->id = it->id;
    out->zone = it->zone;
    for (size_t i = 0; i < map->n_ranges; i++)
        count_range(out, map->ranges[i], 1);
}

/* Those that new ranges of the collection may go to; such as are drained only when there are not
 * enough others. */
static size_t live_nodes(struct coordinator *coordinator, const Quire__Collection *collection,
                         struct arena *arena, struct placement_node **out)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    size_t replicas = collection->has_replicas ? collection->replicas : coordinator->replicas;
    size_t count = 0;
    *out = arena_calloc(arena, map->n_nodes + 1, sizeof **out);
    for (int drained = 0; drained < 2 && count < replicas; drained++)
        for (size_t i = 0; i < map->n_nodes; i++)
            if (map->nodes[i]->draining == drained && is_there(coordinator, map->nodes[i]))
                add_node(map, map->nodes[i], &(*out)[count++]);
    return count;
}

static void place(Quire__Range *range, const struct placement_node *nodes, const size_t *chosen,
                  size_t replicas, struct arena *arena)
{
    range->in_sync = arena_calloc(arena, replicas, sizeof *range->in_sync);
    for (size_t i = 0; i < replicas; i++)
        range->in_sync[range->n_in_sync++] = (char *)nodes[chosen[i]].id;
    range->primary = range->in_sync[0];
    range->has_fresh = range->fresh = true;
}

/* New ranges [.., b0), [b0, b1), ..., with ids from first_id on, spread over the nodes. */
static Quire__RangeSet *make_ranges(struct job *job, const Quire__Collection *collection,
                                    uint64_t first_id, const struct bytes *bounds,
                                    size_t bound_count, struct placement_node *nodes,
                                    size_t node_count)
{
    struct arena *arena = &job->request->arena;
    size_t count = bound_count + 1;
    size_t replicas = collection->has_replicas ? collection->replicas : 1;
    size_t *chosen = arena_calloc(arena, count * replicas, sizeof *chosen);
    placement_spread(nodes, node_count, replicas, count, chosen);
    Quire__RangeSet *set = arena_alloc(arena, sizeof *set);
    quire__range_set__init(set);
    set->collection = collection->id;
    set->n_ranges = count;
    set->ranges = arena_calloc(arena, count, sizeof *set->ranges);
    for (size_t i = 0; i < count; i++) {
        Quire__Range *range = arena_alloc(arena, sizeof *range);
        quire__range__init(range);
        range->id = first_id + i;
        range->collection = collection->id;
        range->epoch = 1;
        range->has_lo = range->has_hi = true;
        if (i > 0)
            range->lo = (ProtobufCBinaryData){bounds[i - 1].size, (uint8_t *)bounds[i - 1].data};
        if (i < bound_count)
            range->hi = (ProtobufCBinaryData){bounds[i].size, (uint8_t *)bounds[i].data};
        place(range, nodes, chosen + i * replicas, replicas, arena);
        set->ranges[i] = range;
    }
    return set;
}

/* ---- create and prepare ---- */

static void on_assigned(struct nodes_waiter *waiter, int status)
{
    struct job *job = waiter->data;
    if (status == 0)
        leave_with_collection(job);
    else if (status == ERR_DEADLINE)
        leave_with_error(job, ERR_UNAVAILABLE,
                         "the collection exists, but not every shard has opened its ranges yet: "
                         "try again");
    else
        leave_with_error(job, ERR_UNAVAILABLE, "the coordinator is stopping");
}

static void on_changed(struct coordinator_change *change, int status, const struct err *err)
{
    struct job *job = change->data;
    struct coordinator *coordinator = job->coordinator;
    if (status == ERR_CONFLICT && !coordinator->closing && clock_ms() < job->request->deadline_ms) {
        admin_again(&job->admin, NODE_TICK_MS); /* the map moved on meanwhile */
        return;
    }
    if (status != 0) {
        leave_with_error(job, status, err->text);
        return;
    }
    const Quire__Collection *found = map_collection(coordinator->map, job->wanted->name);
    log_event(LOG_INFO, "collection placed", LOG_STR("collection", found->name),
              LOG_U64("ranges", map_ranges(coordinator->map, found->id).count));
    job->waiter.collection = found->id;
    job->waiter.epoch = map_epoch(coordinator->map);
    job->waiter.deadline_ms = coordinator_deadline(job->request, COORDINATOR_ASSIGN_MS);
    job->waiter.data = job;
    job->waiter.done = on_assigned;
    nodes_wait(&coordinator->nodes, &job->waiter);
}

/* The ranges that go, as they are now: should one of them change before they do, it may take writes
 * again, and nothing must go. */
static void name_replaced(Quire__RangeSet *set, const struct map *map, struct arena *arena)
{
    struct map_ranges old = map_ranges(map, set->collection);
    set->replaced = arena_calloc(arena, old.count + 1, sizeof *set->replaced);
    for (size_t i = 0; i < old.count; i++) {
        Quire__RangeRef *ref = arena_alloc(arena, sizeof *ref);
        quire__range_ref__init(ref);
        ref->id = old.items[i]->id;
        ref->epoch = old.items[i]->epoch;
        set->replaced[set->n_replaced++] = ref;
    }
}

/* Proposes new ranges for the collection: a new one when `collection` is NULL. False: there are
 * not enough nodes for its replicas. */
static bool propose(struct job *job, const Quire__Collection *collection,
                    const struct bytes *bounds, size_t bound_count, struct placement_node *nodes,
                    size_t node_count)
{
    struct coordinator *coordinator = job->coordinator;
    uint64_t next_id = coordinator->map->message->next_id;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    if (collection == NULL) {
        change.collection_put = complete_settings(job->coordinator, job->request, job->wanted);
        change.collection_put->has_id = true;
        change.collection_put->id = next_id++;
        collection = change.collection_put;
    }
    if (collection->has_replicas && collection->replicas > node_count)
        return false;
    change.ranges_replace =
        make_ranges(job, collection, next_id, bounds, bound_count, nodes, node_count);
    name_replaced(change.ranges_replace, coordinator->map, &job->request->arena);
    job->change.data = job;
    job->change.done = on_changed;
    coordinator_change(coordinator, &job->change, &change);
    return true;
}

/* Right after a start, or a lost connection, it is not known yet which shards live: within a few
 * seconds each is either connected or down. */
static bool still_connecting(struct job *job)
{
    struct coordinator *coordinator = job->coordinator;
    struct list *all = &coordinator->nodes.all;
    if (coordinator->closing)
        return false;
    for (struct list *link = all->next; link != all; link = link->next) {
        struct node *node = list_entry(link, struct node, link);
        if (node->up && !node->connected) {
            admin_again(&job->admin, NODE_TICK_MS);
            return true;
        }
    }
    return false;
}

static void run_create(struct admin_job *admin)
{
    struct job *job = list_entry(admin, struct job, admin);
    struct coordinator *coordinator = job->coordinator;
    if (still_connecting(job))
        return;
    struct arena *arena = &job->request->arena;
    struct placement_node *nodes;
    size_t node_count = live_nodes(coordinator, job->wanted, arena, &nodes);
    if (map_collection(coordinator->map, job->wanted->name) != NULL) {
        leave_with_error(job, ERR_EXISTS,
                         arena_printf(arena, "collection %s exists already", job->wanted->name));
        return;
    }
    if (node_count == 0) {
        leave_with_error(job, ERR_UNAVAILABLE,
                         "no shard is connected to this coordinator: a collection needs one to "
                         "hold it");
        return;
    }
    struct bytes *bounds = arena_calloc(arena, node_count, sizeof *bounds);
    size_t bound_count = plan_bounds(job, bounds, node_count);
    if (!propose(job, NULL, bounds, bound_count, nodes, node_count))
        leave_with_error(job, ERR_UNAVAILABLE,
                         arena_printf(arena,
                                      "%u replicas of each range need %u shards, and %zu %s "
                                      "connected to this coordinator",
                                      job->wanted->replicas, job->wanted->replicas, node_count,
                                      node_count == 1 ? "is" : "are"));
}

static void run_prepare(struct admin_job *admin);

static void on_sealed(struct node_call *call, int status, const struct err *err, uint16_t kind,
                      struct bytes payload)
{
    (void)kind;
    (void)payload;
    struct job *job = call->data;
    struct coordinator *coordinator = job->coordinator;
    struct arena *arena = &job->request->arena;
    const Quire__Collection *found = map_collection(coordinator->map, job->wanted->name);
    if (found == NULL || status == ERR_CONFLICT) { /* not empty: it stays as it is */
        leave_with_collection(job);
        return;
    }
    if (status != 0) {
        leave_with_error(job, status == ERR_CANCELED ? ERR_UNAVAILABLE : status, err->text);
        return;
    }
    const Quire__Range *sealed = map_range(coordinator->map, job->sealed);
    if (sealed == NULL || sealed->epoch != job->sealed_epoch) {
        run_prepare(&job->admin); /* it has moved on, and is sealed no more */
        return;
    }
    struct placement_node *nodes;
    size_t node_count = live_nodes(coordinator, found, arena, &nodes);
    if (node_count == 0) {
        leave_with_error(job, ERR_UNAVAILABLE, "no shard is connected to this coordinator");
        return;
    }
    /* The ranges that go do not count where they are. */
    struct map_ranges old = map_ranges(coordinator->map, found->id);
    for (size_t i = 0; i < old.count; i++)
        for (size_t j = 0; j < node_count; j++)
            count_range(&nodes[j], old.items[i], -1);
    struct bytes *bounds = arena_calloc(arena, node_count, sizeof *bounds);
    size_t bound_count = plan_bounds(job, bounds, node_count);
    if (!propose(job, found, bounds, bound_count, nodes, node_count))
        leave_with_collection(job); /* one range, as it was; it is reopened */
}

static void seal(struct job *job, const Quire__Range *range)
{
    struct err err = {0};
    if (consensus_check(job->coordinator->consensus, &err) !=
        0) { /* sealed for nothing otherwise */
        leave_with_error(job, err.code, err.text);
        return;
    }
    Quire__RangeRef ref = QUIRE__RANGE_REF__INIT;
    Quire__RangeRef *refs[1] = {&ref};
    Quire__ShardSeal message = QUIRE__SHARD_SEAL__INIT;
    ref.id = range->id;
    ref.epoch = range->epoch;
    message.n_ranges = 1;
    message.ranges = refs;
    struct buf packed;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    job->sealed = range->id;
    job->sealed_epoch = range->epoch;
    job->seal.data = job;
    job->seal.done = on_sealed;
    node_call_start(&job->coordinator->nodes, &job->seal, range->primary,
                    QUIRE__KIND__KIND_SHARD_SEAL, buf_bytes(&packed), COORDINATOR_READ_MS,
                    job->request->trace);
    buf_deinit(&packed);
}

static void run_prepare(struct admin_job *admin)
{
    struct job *job = list_entry(admin, struct job, admin);
    struct coordinator *coordinator = job->coordinator;
    struct arena *arena = &job->request->arena;
    const Quire__Collection *found = map_collection(coordinator->map, job->wanted->name);
    if (found == NULL) {
        run_create(admin);
        return;
    }
    if (still_connecting(job))
        return;
    struct map_ranges ranges = map_ranges(coordinator->map, found->id);
    struct placement_node *nodes;
    size_t node_count = live_nodes(coordinator, found, arena, &nodes);
    struct bytes *bounds = arena_calloc(arena, node_count + 1, sizeof *bounds);
    const Quire__RangeReport *report = NULL;
    struct node *node = nodes_find(&coordinator->nodes, ranges.items[0]->primary);
    if (node != NULL)
        report = node_report(node, ranges.items[0]->id);
    bool known_filled = report != NULL && report->entries > 0;
    if (ranges.count == 1 && !known_filled && plan_bounds(job, bounds, node_count) > 0)
        seal(job, ranges.items[0]);
    else
        leave_with_collection(job);
}

static struct job *job_new(struct coordinator *coordinator, struct rpc_request *request,
                           const Quire__Collection *wanted)
{
    struct job *job = arena_calloc(&request->arena, 1, sizeof *job);
    job->coordinator = coordinator;
    job->request = request;
    job->wanted = wanted;
    return job;
}

void op_collection_create(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__Collection *wanted = request_unpack(request, &quire__collection__descriptor);
    if (wanted == NULL || !settings_valid(request, wanted))
        return;
    struct job *job = job_new(coordinator, request, wanted);
    admin_enter(coordinator, &job->admin, run_create);
}

void op_import_prepare(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__ImportPrepare *prepare = request_unpack(request, &quire__import_prepare__descriptor);
    if (prepare == NULL)
        return;
    if (prepare->n_sample > LIMIT_SAMPLE) {
        request_error(request, ERR_TOO_LARGE, "a sample has at most %d headwords, this one has %zu",
                      LIMIT_SAMPLE, prepare->n_sample);
        return;
    }
    Quire__Collection *wanted = arena_alloc(&request->arena, sizeof *wanted);
    quire__collection__init(wanted);
    wanted->name = prepare->collection;
    wanted->language = prepare->language;
    wanted->has_replicas = prepare->has_replicas;
    wanted->replicas = prepare->replicas;
    if (!settings_valid(request, wanted))
        return;
    struct job *job = job_new(coordinator, request, wanted);
    job->prepare = prepare;
    admin_enter(coordinator, &job->admin, run_prepare);
}

/* ---- drop ---- */

static void on_dropped(struct coordinator_change *change, int status, const struct err *err)
{
    struct job *job = change->data;
    struct rpc_request *request = job->request;
    if (status != 0) {
        leave_with_error(job, status, err->text);
        return;
    }
    log_event(LOG_INFO, "collection dropped", LOG_STR("collection", job->wanted->name));
    admin_leave(&job->admin);
    request_reply_ok(request);
}

static void run_drop(struct admin_job *admin)
{
    struct job *job = list_entry(admin, struct job, admin);
    const Quire__Collection *found = map_collection(job->coordinator->map, job->wanted->name);
    if (found == NULL) {
        leave_with_error(
            job, ERR_NOT_FOUND,
            arena_printf(&job->request->arena, "there is no collection %s", job->wanted->name));
        return;
    }
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.has_collection_drop = true;
    change.collection_drop = found->id;
    job->change.data = job;
    job->change.done = on_dropped;
    coordinator_change(job->coordinator, &job->change, &change);
}

void op_collection_drop(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__Collection *wanted = request_unpack(request, &quire__collection__descriptor);
    if (wanted == NULL || op_collection(coordinator, request, wanted->name) == NULL)
        return;
    struct job *job = job_new(coordinator, request, wanted);
    admin_enter(coordinator, &job->admin, run_drop);
}
