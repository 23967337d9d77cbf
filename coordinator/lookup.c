/* Lookups: get (by identity, from the owning range), define (by headword or other name) and match
 * (names by exact, prefix, substring or near spelling). An entry's other names live in the entry's
 * range, wherever their own keys would sort, so define and match ask every range; a range that does
 * not answer makes the answer ERR_INCOMPLETE, since what it holds cannot be told from what does not
 * exist. */
#include "coordinator/defaults.h"
#include "coordinator/messages.h"
#include "coordinator/ops.h"
#include "coordinator/scatter.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <stdlib.h>
#include <string.h>

struct lookup {
    struct scatter scatter;
    struct bytes key;
    const char *sense;
    Quire__MatchRequest *match;
};

static struct lookup *lookup_new(struct coordinator *coordinator, struct rpc_request *request,
                                 const Quire__Collection *collection, uint16_t kind,
                                 const ProtobufCMessageDescriptor *reply_type,
                                 struct scatter_view view)
{
    struct lookup *lookup = arena_calloc(&request->arena, 1, sizeof *lookup);
    struct scatter *scatter = &lookup->scatter;
    scatter->coordinator = coordinator;
    scatter->request = request;
    scatter->collection = collection->id;
    scatter->kind = kind;
    scatter->reply_type = reply_type;
    scatter->view = view;
    scatter->deadline_ms = coordinator_deadline(request, COORDINATOR_READ_MS);
    scatter->data = lookup;
    return lookup;
}

/* ---- entries: get and define ---- */

struct keyed_entry {
    struct bytes key;
    Quire__Entry *entry;
};

static int compare_entries(const void *a, const void *b)
{
    const struct keyed_entry *x = a;
    const struct keyed_entry *y = b;
    int order = bytes_compare(x->key, y->key);
    if (order != 0)
        return order;
    return strcmp(x->entry->sense != NULL ? x->entry->sense : "",
                  y->entry->sense != NULL ? y->entry->sense : "");
}

/* By (key, sense), as if one range had answered. */
static void sort_entries(struct arena *arena, Quire__Entry **entries, size_t count)
{
    struct keyed_entry *keyed = arena_calloc(arena, count + 1, sizeof *keyed);
    struct buf key;
    buf_init(&key);
    for (size_t i = 0; i < count; i++) {
        buf_clear(&key);
        text_key(bytes_str(entries[i]->headword), &key);
        keyed[i].key = bytes_of(arena_copy(arena, key.data, key.size), key.size);
        keyed[i].entry = entries[i];
    }
    buf_deinit(&key);
    qsort(keyed, count, sizeof *keyed, compare_entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = keyed[i].entry;
}

static void reply_entries(struct scatter *scatter)
{
    if (!scatter_require_all(scatter))
        return;
    struct arena *arena = &scatter->request->arena;
    Quire__EntryList list = QUIRE__ENTRY_LIST__INIT;
    size_t total = 0;
    for (size_t i = 0; i < scatter->gather.piece_count; i++)
        if (scatter->replies[i] != NULL) /* what it did not answer, another piece did */
            total += ((Quire__ShardEntries *)scatter->replies[i])->n_entries;
    list.entries = arena_calloc(arena, total + 1, sizeof *list.entries);
    for (size_t i = 0; i < scatter->gather.piece_count; i++) {
        Quire__ShardEntries *answer = (Quire__ShardEntries *)scatter->replies[i];
        for (size_t j = 0; answer != NULL && j < answer->n_entries; j++)
            list.entries[list.n_entries++] = answer->entries[j];
    }
    sort_entries(arena, list.entries, list.n_entries);
    request_reply(scatter->request, &list.base);
}

static void build_get(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                      struct buf *out)
{
    (void)count;
    struct lookup *lookup = scatter->data;
    Quire__ShardGet message = QUIRE__SHARD_GET__INIT;
    message.range = ranges[0];
    message.key = (ProtobufCBinaryData){lookup->key.size, (uint8_t *)lookup->key.data};
    message.sense = (char *)lookup->sense;
    message_pack(&message.base, out);
}

void op_get(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__GetRequest *message = request_unpack(request, &quire__get_request__descriptor);
    if (message == NULL)
        return;
    struct bytes key;
    const Quire__Collection *found = op_collection(coordinator, request, message->collection);
    if (found == NULL || !op_key(request, "headword", message->headword, &key))
        return;
    if (message->sense != NULL && strlen(message->sense) > LIMIT_SENSE_BYTES) {
        request_error(request, ERR_TOO_LARGE, "a sense has at most %d bytes", LIMIT_SENSE_BYTES);
        return;
    }
    struct lookup *lookup = lookup_new(coordinator, request, found, QUIRE__KIND__KIND_SHARD_GET,
                                       &quire__shard_entries__descriptor, SCATTER_VIEW(message));
    lookup->key = key;
    lookup->sense = message->sense;
    lookup->scatter.whole_replies = true;
    lookup->scatter.build = build_get;
    lookup->scatter.done = reply_entries;
    scatter_set_key(&lookup->scatter, key);
    scatter_start(&lookup->scatter);
}

static void build_define(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                         struct buf *out)
{
    struct lookup *lookup = scatter->data;
    Quire__ShardLookup message = QUIRE__SHARD_LOOKUP__INIT;
    message.ranges = ranges;
    message.n_ranges = count;
    message.key = (ProtobufCBinaryData){lookup->key.size, (uint8_t *)lookup->key.data};
    message_pack(&message.base, out);
}

void op_define(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__DefineRequest *message = request_unpack(request, &quire__define_request__descriptor);
    if (message == NULL)
        return;
    struct bytes key;
    const Quire__Collection *found = op_collection(coordinator, request, message->collection);
    if (found == NULL || !op_key(request, "term", message->term, &key))
        return;
    struct lookup *lookup = lookup_new(coordinator, request, found, QUIRE__KIND__KIND_SHARD_LOOKUP,
                                       &quire__shard_entries__descriptor, SCATTER_VIEW(message));
    lookup->key = key;
    lookup->scatter.build = build_define;
    lookup->scatter.done = reply_entries;
    scatter_start(&lookup->scatter);
}

/* ---- names: match and suggest ---- */

/* One name of one range, and where the range stands, so that the first of equals is the first in
 * key order. */
struct found_name {
    Quire__MatchedName *name;
    size_t range;
};

static int compare_names(const void *a, const void *b)
{
    const struct found_name *x = a;
    const struct found_name *y = b;
    if (x->name->distance != y->name->distance)
        return x->name->distance < y->name->distance ? -1 : 1;
    int order = bytes_compare(bytes_of(x->name->key.data, x->name->key.len),
                              bytes_of(y->name->key.data, y->name->key.len));
    if (order != 0)
        return order;
    return (x->range > y->range) - (x->range < y->range);
}

static bool same_key(const Quire__MatchedName *a, const Quire__MatchedName *b)
{
    return bytes_equal(bytes_of(a->key.data, a->key.len), bytes_of(b->key.data, b->key.len));
}

static void reply_names(struct scatter *scatter)
{
    if (!scatter_require_all(scatter))
        return;
    struct lookup *lookup = scatter->data;
    struct arena *arena = &scatter->request->arena;
    size_t total = 0;
    for (size_t i = 0; i < scatter->gather.piece_count; i++)
        total += ((Quire__ShardMatchReply *)scatter->replies[i])->n_names; /* each is a range */
    struct found_name *all = arena_calloc(arena, total + 1, sizeof *all);
    size_t count = 0;
    for (size_t i = 0; i < scatter->gather.piece_count; i++) {
        Quire__ShardMatchReply *answer = (Quire__ShardMatchReply *)scatter->replies[i];
        for (size_t j = 0; j < answer->n_names; j++)
            all[count++] = (struct found_name){answer->names[j], i};
    }
    qsort(all, count, sizeof *all, compare_names);
    Quire__MatchReply reply = QUIRE__MATCH_REPLY__INIT;
    reply.names = arena_calloc(arena, count + 1, sizeof *reply.names);
    for (size_t i = 0; i < count; i++) {
        Quire__MatchedName *last = reply.n_names > 0 ? reply.names[reply.n_names - 1] : NULL;
        if (last != NULL && same_key(last, all[i].name))
            last->entries += all[i].name->entries;
        else
            reply.names[reply.n_names++] = all[i].name;
    }
    reply.has_limited = true;
    reply.limited = reply.n_names > lookup->match->limit;
    if (reply.limited)
        reply.n_names = lookup->match->limit;
    request_reply(scatter->request, &reply.base);
}

static void build_match(struct scatter *scatter, Quire__RangeRef **ranges, size_t count,
                        struct buf *out)
{
    struct lookup *lookup = scatter->data;
    Quire__ShardMatch message = QUIRE__SHARD_MATCH__INIT;
    message.ranges = ranges;
    message.n_ranges = count;
    message.match = lookup->match;
    message.key = (ProtobufCBinaryData){lookup->key.size, (uint8_t *)lookup->key.data};
    message_pack(&message.base, out);
}

static bool match_valid(struct rpc_request *request, Quire__MatchRequest *message)
{
    if (!message->has_limit)
        message->limit = DEFAULT_MATCHES;
    message->has_limit = true;
    bool fuzzy = message->strategy == QUIRE__MATCH_REQUEST__STRATEGY__FUZZY;
    if (!message->has_distance)
        message->distance = 2;
    message->has_distance = fuzzy; /* means nothing otherwise */
    if (protobuf_c_enum_descriptor_get_value(&quire__match_request__strategy__descriptor,
                                             (int)message->strategy) == NULL)
        request_error(request, ERR_INVALID,
                      "the strategy of a match is exact, prefix, substring or fuzzy");
    else if (fuzzy && (message->distance < 1 || message->distance > 2))
        request_error(request, ERR_INVALID, "the distance of a near spelling is 1 or 2");
    else if (message->limit < 1 || message->limit > LIMIT_MATCHES)
        request_error(request, ERR_INVALID, "a match gives 1 to %d names", LIMIT_MATCHES);
    else
        return true;
    return false;
}

void op_match(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__MatchRequest *message = request_unpack(request, &quire__match_request__descriptor);
    if (message == NULL)
        return;
    struct bytes key;
    const Quire__Collection *found = op_collection(coordinator, request, message->collection);
    if (found == NULL || !match_valid(request, message) ||
        !op_key(request, "word", message->word, &key))
        return;
    struct lookup *lookup =
        lookup_new(coordinator, request, found, QUIRE__KIND__KIND_SHARD_MATCH,
                   &quire__shard_match_reply__descriptor, SCATTER_VIEW(message));
    message->n_session = 0; /* the shards are told in another way */
    message->has_from_primary = message->has_replica = false;
    lookup->key = key;
    lookup->match = message;
    lookup->scatter.piece_per_range =
        true; /* whose name comes first depends on the order of the ranges */
    lookup->scatter.build = build_match;
    lookup->scatter.done = reply_names;
    scatter_start(&lookup->scatter);
}
