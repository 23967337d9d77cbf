/* The list of collections, with how many live entries each has: one count of every range of every
 * collection. */
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"

#include <stdlib.h>
#include <string.h>

struct listing {
    struct rpc_request *request;
    Quire__CollectionList reply;
    struct scatter *counts; /* one for each collection */
    size_t open;
};

static void build_count(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                        struct buf *out)
{
    Quire__ShardStats message = QUIRE__SHARD_STATS__INIT;
    message.n_ranges = count;
    message.ranges = ranges;
    message_pack(&message.base, out);
}

static uint64_t documents_of(const Quire__ShardStatsReply *answer)
{
    uint64_t documents = 0;
    for (size_t i = 0; i < answer->n_ranges; i++)
        documents += answer->ranges[i]->documents;
    return documents;
}

/* A count that misses a range is no count: the list shows none then. */
static void on_count(struct scatter *scatter)
{
    struct listing *listing = scatter->data;
    Quire__Collection *collection = listing->reply.collections[scatter - listing->counts];
    if (scatter->status == 0 && gather_missing(&scatter->gather) == 0) {
        collection->has_entries = true;
        for (size_t i = 0; i < scatter->gather.piece_count; i++)
            collection->entries +=
                documents_of((const Quire__ShardStatsReply *)scatter->replies[i]);
    }
    if (--listing->open == 0)
        request_reply(listing->request, &listing->reply.base);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(Quire__Collection *const *)a)->name, (*(Quire__Collection *const *)b)->name);
}

void op_collection_list(struct coordinator *coordinator, struct rpc_request *request)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    struct arena *arena = &request->arena;
    struct listing *listing = arena_calloc(arena, 1, sizeof *listing);
    listing->request = request;
    quire__collection_list__init(&listing->reply);
    if (map->n_collections == 0) {
        request_reply(request, &listing->reply.base);
        return;
    }
    listing->reply.n_collections = listing->open = map->n_collections;
    listing->reply.collections =
        arena_calloc(arena, map->n_collections, sizeof *listing->reply.collections);
    listing->counts = arena_calloc(arena, map->n_collections, sizeof *listing->counts);
    for (size_t i = 0; i < map->n_collections; i++) {
        Quire__Collection *copy = arena_alloc(arena, sizeof *copy);
        *copy = *map->collections[i];
        copy->name = arena_strdup(arena, copy->name); /* the map may go while we count */
        copy->language = arena_strdup(arena, copy->language != NULL ? copy->language : "none");
        if (copy->weights != NULL) {
            Quire__FieldWeights *weights = arena_alloc(arena, sizeof *weights);
            *weights = *copy->weights;
            copy->weights = weights;
        }
        copy->has_ranges = true;
        copy->ranges = (uint32_t)map_ranges(coordinator->map, copy->id).count;
        listing->reply.collections[i] = copy;
    }
    qsort(listing->reply.collections, map->n_collections, sizeof *listing->reply.collections,
          compare_names);
    for (size_t i = 0; i < listing->reply.n_collections; i++) {
        struct scatter *scatter = &listing->counts[i];
        scatter->coordinator = coordinator;
        scatter->request = request;
        scatter->collection = listing->reply.collections[i]->id;
        scatter->kind = QUIRE__KIND__KIND_SHARD_STATS;
        scatter->reply_type = &quire__shard_stats_reply__descriptor;
        scatter->deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
        scatter->data = listing;
        scatter->build = build_count;
        scatter->done = on_count;
        scatter_start(scatter);
    }
}
