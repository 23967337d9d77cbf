#include "client/encode.h"

#include "proto/base/uuid.h"
#include "proto/limits.h"
#include "proto/quire.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define NODE_NAME_LIMIT 256 /* an id, or a url */
#define CURSOR_LIMIT (64u << 10)

/* protobuf-c's structs have no const; packing does not write. */
static char *lend(const char *text)
{
    return (char *)(uintptr_t)text;
}

static const char *collection_or_default(const char *collection)
{
    return collection ? collection : QUIRE_DEFAULT_COLLECTION;
}

static void pack(const ProtobufCMessage *message, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    if (size > 0)
        protobuf_c_message_pack(message, buf_extend(out, size));
}

int struct_copy(void *out, size_t size, const void *in, const char *what, struct err *err)
{
    size_t theirs;
    memset(out, 0, size);
    if (in == NULL)
        return err_set(err, ERR_INVALID, "%s: missing", what);
    memcpy(&theirs, in, sizeof(theirs));
    if (theirs < 2 * sizeof(size_t) || theirs > 4096)
        return err_set(err, ERR_INVALID, "%s: the struct was not initialised", what);
    for (size_t i = size; i < theirs; i++)
        if (((const unsigned char *)in)[i] != 0)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: uses something that libquire %s does not know", what,
                           quire_version());
    memcpy(out, in, theirs < size ? theirs : size);
    memcpy(out, &size, sizeof(size));
    return 0;
}

/* ---- collections ---- */

static int encode_name(const char *collection, struct buf *payload, struct err *err)
{
    Quire__Collection message = QUIRE__COLLECTION__INIT;
    if (check_collection(collection, err) != 0)
        return err->code;
    message.name = lend(collection);
    pack(&message.base, payload);
    return 0;
}

int encode_collection_create(const void *request, struct buf *payload, struct encoded *how,
                             struct err *err)
{
    const struct quire_collection_request *in = request;
    Quire__Collection message = QUIRE__COLLECTION__INIT;
    Quire__FieldWeights weights = QUIRE__FIELD_WEIGHTS__INIT;
    message.name = lend(collection_or_default(in->collection));
    if (check_collection(message.name, err) != 0 ||
        check_text("language", in->language, 16, err) != 0 ||
        check_number("weight_headword", in->weight_headword, 15, err) != 0 ||
        check_number("weight_terms", in->weight_terms, 15, err) != 0 ||
        check_number("weight_categories", in->weight_categories, 15, err) != 0 ||
        check_number("weight_body", in->weight_body, 15, err) != 0 ||
        check_number("order", in->order, QUIRE_ORDER_CATEGORY, err) != 0 ||
        check_number("replicas", in->replicas, LIMIT_REPLICAS, err) != 0)
        return err->code;
    if (in->weight_headword || in->weight_terms || in->weight_categories || in->weight_body) {
        weights.has_headword = weights.has_terms = weights.has_categories = weights.has_body = true;
        weights.headword = in->weight_headword;
        weights.terms = in->weight_terms;
        weights.categories = in->weight_categories;
        weights.body = in->weight_body;
        message.weights = &weights;
    }
    if (in->k1 != 0 || in->b != 0) {
        if (!(in->k1 >= 0 && in->k1 <= 1000) || !(in->b >= 0 && in->b <= 1))
            return err_set(err, ERR_INVALID, "k1 and b: k1 is at least 0, b between 0 and 1");
        message.has_k1 = message.has_b = true;
        message.k1 = in->k1;
        message.b = in->b;
    }
    message.language = in->language ? lend(in->language) : NULL;
    message.has_replicas = in->replicas != 0;
    message.replicas = in->replicas;
    message.has_order = true;
    message.order = in->order == QUIRE_ORDER_CATEGORY ? QUIRE__COLLECTION__ORDER__CATEGORY
                                                      : QUIRE__COLLECTION__ORDER__ARRIVAL;
    pack(&message.base, payload);
    return 0;
}

int encode_collection_drop(const void *request, struct buf *payload, struct encoded *how,
                           struct err *err)
{
    const struct quire_simple_request *in = request;
    if (in->collection == NULL)
        return err_set(err, ERR_INVALID, "collection: missing");
    return encode_name(in->collection, payload, err);
}

int encode_nothing(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    return 0;
}

int encode_prepare(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_prepare_request *in = request;
    Quire__ImportPrepare message = QUIRE__IMPORT_PREPARE__INIT;
    message.collection = lend(collection_or_default(in->collection));
    if (check_collection(message.collection, err) != 0 ||
        check_text("language", in->language, 16, err) != 0 ||
        check_number("replicas", in->replicas, LIMIT_REPLICAS, err) != 0)
        return err->code;
    message.has_replicas = in->replicas != 0;
    message.replicas = in->replicas;
    if (in->sample_count > LIMIT_SAMPLE)
        return err_set(err, ERR_TOO_LARGE, "sample: %zu headwords are too many, the limit is %d",
                       in->sample_count, LIMIT_SAMPLE);
    for (size_t i = 0; i < in->sample_count; i++)
        if (check_required("sample", in->sample[i], LIMIT_HEADWORD_BYTES, err) != 0)
            return err->code;
    message.language = in->language ? lend(in->language) : NULL;
    message.n_sample = in->sample_count;
    message.sample = calloc(in->sample_count + 1, sizeof(*message.sample));
    if (message.sample == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < in->sample_count; i++)
        message.sample[i] =
            (ProtobufCBinaryData){strlen(in->sample[i]), (uint8_t *)lend(in->sample[i])};
    pack(&message.base, payload);
    free(message.sample);
    return 0;
}

/* ---- writes ---- */

#define WIRE_BYTES 2 /* protobuf's wire type of strings and messages */
#define WIRE_VARINT 0

static void append_field(struct buf *out, unsigned number, const void *data, size_t size)
{
    buf_append_varint(out, number << 3 | WIRE_BYTES);
    buf_append_varint(out, size);
    buf_append(out, data, size);
}

/* A WriteRequest is put together field by field, so that ops can be appended as they come. */
int encode_write_collection(const char *collection, struct buf *payload, struct err *err)
{
    collection = collection_or_default(collection);
    if (check_collection(collection, err) != 0)
        return err->code;
    append_field(payload, 1, collection, strlen(collection));
    return 0;
}

void encode_write_identity(const char *client_id, uint64_t batch, struct buf *payload)
{
    append_field(payload, 2, client_id, strlen(client_id));
    buf_append_varint(payload, 3 << 3 | WIRE_VARINT);
    buf_append_varint(payload, batch);
}

static void append_op(const Quire__WriteOp *message, struct buf *payload)
{
    size_t size = quire__write_op__get_packed_size(message);
    buf_append_varint(payload, 4 << 3 | WIRE_BYTES);
    buf_append_varint(payload, size);
    if (size > 0)
        quire__write_op__pack(message, buf_extend(payload, size));
}

static void *allocate(struct arena *arena, size_t count, size_t size)
{
    void *memory = arena_calloc(arena, count + 1, size);
    if (memory == NULL)
        abort(); /* the counts were checked: some kilobytes */
    return memory;
}

static void entry_message(const struct quire_entry *in, Quire__Entry *out, struct arena *arena)
{
    Quire__Attribute *attributes = allocate(arena, in->attribute_count, sizeof(*attributes));
    out->attributes = allocate(arena, in->attribute_count, sizeof(*out->attributes));
    for (size_t i = 0; i < in->attribute_count; i++) {
        quire__attribute__init(&attributes[i]);
        attributes[i].name = lend(in->attributes[i].name);
        attributes[i].value = lend(in->attributes[i].value ? in->attributes[i].value : "");
        out->attributes[i] = &attributes[i];
    }
    out->n_attributes = in->attribute_count;
    out->headword = lend(in->headword);
    out->sense = in->sense && in->sense[0] ? lend(in->sense) : NULL;
    out->source = in->source && in->source[0] ? lend(in->source) : NULL;
    out->terms = (char **)(uintptr_t)in->terms;
    out->n_terms = in->term_count;
    out->categories = (char **)(uintptr_t)in->categories;
    out->n_categories = in->category_count;
    if (in->body_size > 0) {
        /* It need not be terminated, and protobuf-c counts up to the NUL. */
        out->body = arena_copy(arena, in->body, in->body_size);
        if (out->body == NULL)
            abort();
    } else {
        out->body = in->body && in->body[0] ? lend(in->body) : NULL;
    }
}

static int encode_op_put(const struct quire_op *op, Quire__WriteOp *message, struct buf *payload,
                         struct err *err)
{
    struct quire_entry entry;
    Quire__Entry put = QUIRE__ENTRY__INIT;
    struct arena arena;
    size_t bytes;
    if (op->delete_headword != NULL)
        return err_set(err, ERR_INVALID, "op: both an entry to put and a headword to delete");
    if (struct_copy(&entry, sizeof(entry), op->put, "entry", err) != 0 ||
        check_entry(&entry, &bytes, err) != 0)
        return err->code;
    arena_init(&arena, 0);
    entry_message(&entry, &put, &arena);
    message->put = &put;
    append_op(message, payload);
    arena_deinit(&arena);
    return 0;
}

int encode_op(const struct quire_op *op, struct buf *payload, struct err *err)
{
    Quire__WriteOp message = QUIRE__WRITE_OP__INIT;
    message.has_if_version = op->conditional;
    message.if_version = op->if_version;
    if (op->put != NULL)
        return encode_op_put(op, &message, payload, err);
    if (check_required("headword", op->delete_headword, LIMIT_HEADWORD_BYTES, err) != 0 ||
        check_text("sense", op->delete_sense, LIMIT_SENSE_BYTES, err) != 0)
        return err->code;
    if (op->delete_all_senses && (op->delete_sense != NULL || op->conditional))
        return err_set(err, ERR_INVALID, "op: all senses, and at the same time a %s",
                       op->conditional ? "condition on one" : "certain one");
    message.delete_headword = lend(op->delete_headword);
    message.delete_sense = op->delete_sense ? lend(op->delete_sense) : NULL;
    message.has_delete_all_senses = message.delete_all_senses = op->delete_all_senses;
    append_op(&message, payload);
    return 0;
}

int encode_write(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_write_request *in = request;
    size_t stride = 0;
    if (in->op_count == 0 || in->ops == NULL)
        return err_set(err, ERR_INVALID, "ops: a batch without any");
    if (in->op_count > LIMIT_BATCH_OPS)
        return err_set(err, ERR_TOO_LARGE, "ops: %zu are too many for a batch, the limit is %d",
                       in->op_count, LIMIT_BATCH_OPS);
    if ((in->client_id == NULL) != (in->batch == 0) ||
        (in->client_id && !uuid_valid(in->client_id)))
        return err_set(err, ERR_INVALID,
                       "client_id and batch: a UUID and a number from 1, or neither");
    if (encode_write_collection(in->collection, payload, err) != 0)
        return err->code;
    how->ops = in->op_count;
    stride = in->ops[0].size;
    for (size_t i = 0; i < in->op_count; i++) {
        struct quire_op op;
        if (struct_copy(&op, sizeof(op), (const char *)in->ops + i * stride, "op", err) != 0 ||
            encode_op(&op, payload, err) != 0) {
            err_prefix(err, "ops[%zu]", i);
            return err->code;
        }
        if (payload->size > LIMIT_BATCH_BYTES)
            return err_set(err, ERR_TOO_LARGE, "ops: more than %u bytes, the limit of a batch",
                           LIMIT_BATCH_BYTES);
    }
    if (in->client_id != NULL) {
        encode_write_identity(in->client_id, in->batch, payload);
        how->identified = true;
    }
    return 0;
}

int encode_put(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_put_request *in = request;
    struct quire_op op = QUIRE_OP_INIT;
    if (in->entry == NULL)
        return err_set(err, ERR_INVALID, "entry: missing");
    how->ops = 1;
    op.put = in->entry;
    op.conditional = in->conditional;
    op.if_version = in->if_version;
    if (encode_write_collection(in->collection, payload, err) != 0)
        return err->code;
    return encode_op(&op, payload, err);
}

int encode_delete(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_delete_request *in = request;
    struct quire_op op = QUIRE_OP_INIT;
    how->ops = 1;
    op.delete_headword = in->headword;
    op.delete_sense = in->sense;
    op.delete_all_senses = in->all_senses;
    op.conditional = in->conditional;
    op.if_version = in->if_version;
    if (encode_write_collection(in->collection, payload, err) != 0)
        return err->code;
    return encode_op(&op, payload, err);
}

/* ---- lookup, browsing, names ---- */

int encode_get(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_get_request *in = request;
    Quire__GetRequest message = QUIRE__GET_REQUEST__INIT;
    message.collection = lend(collection_or_default(in->collection));
    if (check_collection(message.collection, err) != 0 ||
        check_required("headword", in->headword, LIMIT_HEADWORD_BYTES, err) != 0 ||
        check_text("sense", in->sense, LIMIT_SENSE_BYTES, err) != 0)
        return err->code;
    message.headword = lend(in->headword);
    message.sense = in->sense ? lend(in->sense) : NULL;
    pack(&message.base, payload);
    return 0;
}

int encode_define(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_define_request *in = request;
    Quire__DefineRequest message = QUIRE__DEFINE_REQUEST__INIT;
    message.collection = lend(collection_or_default(in->collection));
    if (check_collection(message.collection, err) != 0 ||
        check_required("term", in->term, LIMIT_HEADWORD_BYTES, err) != 0)
        return err->code;
    message.term = lend(in->term);
    pack(&message.base, payload);
    return 0;
}

int encode_browse(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_browse_request *in = request;
    Quire__BrowseRequest message = QUIRE__BROWSE_REQUEST__INIT;
    message.collection = lend(collection_or_default(in->collection));
    if (check_collection(message.collection, err) != 0 ||
        check_text("letter", in->letter, 64, err) != 0 ||
        check_text("from", in->from, LIMIT_HEADWORD_BYTES, err) != 0 ||
        check_number("per_page", in->per_page, LIMIT_PER_PAGE, err) != 0)
        return err->code;
    if (in->letter && in->from)
        return err_set(err, ERR_INVALID, "letter and from: only one of them");
    message.letter = in->letter ? lend(in->letter) : NULL;
    message.from = in->from ? lend(in->from) : NULL;
    message.has_page = true;
    message.page = in->page ? in->page : 1;
    message.has_per_page = in->per_page != 0;
    message.per_page = in->per_page;
    pack(&message.base, payload);
    return 0;
}

static int encode_names(const char *collection, const char *what, const char *word,
                        Quire__MatchRequest *message, struct buf *payload, struct err *err)
{
    message->collection = lend(collection_or_default(collection));
    message->word = lend(word);
    if (check_collection(message->collection, err) != 0 ||
        check_required(what, word, LIMIT_HEADWORD_BYTES, err) != 0 ||
        check_number("limit", message->limit, LIMIT_MATCHES, err) != 0)
        return err->code;
    message->has_limit = message->limit != 0;
    pack(&message->base, payload);
    return 0;
}

int encode_match(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_match_request *in = request;
    Quire__MatchRequest message = QUIRE__MATCH_REQUEST__INIT;
    int strategy = in->strategy ? (int)in->strategy : QUIRE_MATCH_EXACT;
    if (strategy < QUIRE_MATCH_EXACT || strategy > QUIRE_MATCH_FUZZY)
        return err_set(err, ERR_INVALID, "strategy: there is none of number %d", strategy);
    if (in->distance > 2)
        return err_set(err, ERR_INVALID, "distance: 1 or 2, not %u", in->distance);
    message.strategy = (Quire__MatchRequest__Strategy)strategy;
    message.has_distance = strategy == QUIRE_MATCH_FUZZY;
    message.distance = in->distance ? in->distance : 1;
    message.limit = in->limit;
    return encode_names(in->collection, "word", in->word, &message, payload, err);
}

int encode_suggest(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_suggest_request *in = request;
    Quire__MatchRequest message = QUIRE__MATCH_REQUEST__INIT;
    message.strategy = QUIRE__MATCH_REQUEST__STRATEGY__PREFIX;
    message.limit = in->limit ? in->limit : 10;
    return encode_names(in->collection, "prefix", in->prefix, &message, payload, err);
}

/* ---- search ---- */

int encode_search(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_search_request *in = request;
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    message.collection = lend(collection_or_default(in->collection));
    if (check_collection(message.collection, err) != 0 ||
        check_required("query", in->query, LIMIT_QUERY_BYTES, err) != 0 ||
        check_text("cursor", in->cursor, CURSOR_LIMIT, err) != 0 ||
        check_number("limit", in->limit, LIMIT_HITS, err) != 0 ||
        check_number("facet_limit", in->facet_limit, LIMIT_FACETS, err) != 0 ||
        check_number("categories", in->category_count, LIMIT_QUERY_NODES, err) != 0)
        return err->code;
    for (size_t i = 0; i < in->category_count; i++)
        if (check_required("categories", in->categories[i], LIMIT_HEADWORD_BYTES, err) != 0)
            return err->code;
    message.query = lend(in->query);
    message.has_limit = in->limit != 0;
    message.limit = in->limit;
    message.has_all = message.all = in->all;
    message.categories = (char **)(uintptr_t)in->categories;
    message.n_categories = in->category_count;
    message.cursor = in->cursor && in->cursor[0] ? lend(in->cursor) : NULL;
    message.has_completeness = in->complete;
    message.completeness =
        in->complete ? QUIRE__COMPLETENESS__COMPLETE : QUIRE__COMPLETENESS__PARTIAL;
    message.has_strict = message.strict = in->strict;
    message.has_total_limit = in->total_limit != 0;
    message.total_limit = in->total_limit;
    message.has_facet_limit = in->facet_limit != 0;
    message.facet_limit = in->facet_limit;
    message.has_trace = message.trace = in->trace;
    pack(&message.base, payload);
    return 0;
}

int encode_explain(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_explain_request *in = request;
    Quire__ExplainRequest message = QUIRE__EXPLAIN_REQUEST__INIT;
    message.collection = lend(collection_or_default(in->collection));
    if (check_collection(message.collection, err) != 0 ||
        check_required("query", in->query, LIMIT_QUERY_BYTES, err) != 0 ||
        check_required("headword", in->headword, LIMIT_HEADWORD_BYTES, err) != 0 ||
        check_text("sense", in->sense, LIMIT_SENSE_BYTES, err) != 0)
        return err->code;
    message.query = lend(in->query);
    message.headword = lend(in->headword);
    message.sense = in->sense ? lend(in->sense) : NULL;
    message.has_all = message.all = in->all;
    pack(&message.base, payload);
    return 0;
}

/* ---- export and the cluster ---- */

int encode_export(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_export_request *in = request;
    Quire__ExportRequest message = QUIRE__EXPORT_REQUEST__INIT;
    message.collection = lend(collection_or_default(in->collection));
    if (check_collection(message.collection, err) != 0 ||
        check_number("after_size", in->after_size, CURSOR_LIMIT, err) != 0 ||
        check_number("limit_bytes", in->limit_bytes, LIMIT_BATCH_BYTES, err) != 0)
        return err->code;
    message.has_after = in->after != NULL && in->after_size > 0;
    message.after = (ProtobufCBinaryData){in->after_size, (uint8_t *)(uintptr_t)in->after};
    message.has_limit_bytes = in->limit_bytes != 0;
    message.limit_bytes = in->limit_bytes;
    pack(&message.base, payload);
    return 0;
}

static int set_bound(const char *what, const char *text, protobuf_c_boolean *has,
                     ProtobufCBinaryData *bound, struct err *err)
{
    if (text == NULL || text[0] == '\0')
        return 0;
    if (check_text(what, text, CURSOR_LIMIT, err) != 0)
        return err->code;
    *has = 1;
    *bound = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
    return 0;
}

int encode_snapshot(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_snapshot_request *in = request;
    Quire__SnapshotRequest message = QUIRE__SNAPSHOT_REQUEST__INIT;
    message.collection = lend(collection_or_default(in->collection));
    if (check_collection(message.collection, err) != 0 ||
        set_bound("lo", in->lo, &message.has_lo, &message.lo, err) != 0 ||
        set_bound("hi", in->hi, &message.has_hi, &message.hi, err) != 0)
        return err->code;
    pack(&message.base, payload);
    return 0;
}

int encode_snapshot_page(const void *request, struct buf *payload, struct encoded *how,
                         struct err *err)
{
    const struct quire_snapshot_page_request *in = request;
    Quire__SnapshotRead message = QUIRE__SNAPSHOT_READ__INIT;
    if (check_required("node", in->node, NODE_NAME_LIMIT, err) != 0 ||
        check_number("from_size", in->from_size, CURSOR_LIMIT, err) != 0 ||
        check_number("limit_bytes", in->limit_bytes, LIMIT_BATCH_BYTES, err) != 0 ||
        set_bound("to", in->to, &message.has_to, &message.to, err) != 0)
        return err->code;
    if ((int)in->what < QUIRE_SNAPSHOT_ENTRIES || in->what > QUIRE_SNAPSHOT_RELEASE)
        return err_set(err, ERR_INVALID, "what is %d, which is nothing", (int)in->what);
    message.node = lend(in->node);
    message.id = in->id;
    message.has_what = in->what != QUIRE_SNAPSHOT_ENTRIES;
    message.what = (Quire__SnapshotRead__What)in->what;
    message.has_from = in->from != NULL && in->from_size > 0;
    message.from = (ProtobufCBinaryData){in->from_size, (uint8_t *)(uintptr_t)in->from};
    message.has_limit_bytes = in->limit_bytes != 0;
    message.limit_bytes = in->limit_bytes;
    pack(&message.base, payload);
    return 0;
}

int encode_verify(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_simple_request *in = request;
    Quire__VerifyRequest message = QUIRE__VERIFY_REQUEST__INIT;
    if (in->collection && check_collection(in->collection, err) != 0)
        return err->code;
    message.collection = in->collection ? lend(in->collection) : NULL;
    message.has_replicas = message.replicas = in->every_replica;
    pack(&message.base, payload);
    return 0;
}

int encode_coordinator_remove(const void *request, struct buf *payload, struct encoded *how,
                              struct err *err)
{
    const struct quire_coordinator_request *in = request;
    Quire__CoordinatorLeave message = QUIRE__COORDINATOR_LEAVE__INIT;
    if (check_required("id", in->id, NODE_NAME_LIMIT, err) != 0)
        return err->code;
    message.id = lend(in->id);
    pack(&message.base, payload);
    return 0;
}

int encode_node_drain(const void *request, struct buf *payload, struct encoded *how,
                      struct err *err)
{
    const struct quire_node_request *in = request;
    Quire__NodeSetting message = QUIRE__NODE_SETTING__INIT;
    if (check_required("id", in->id, NODE_NAME_LIMIT, err) != 0)
        return err->code;
    message.id = lend(in->id);
    message.draining = !in->undo;
    pack(&message.base, payload);
    return 0;
}

int encode_node_remove(const void *request, struct buf *payload, struct encoded *how,
                       struct err *err)
{
    const struct quire_node_request *in = request;
    Quire__NodeRemove message = QUIRE__NODE_REMOVE__INIT;
    if (check_required("id", in->id, NODE_NAME_LIMIT, err) != 0)
        return err->code;
    message.id = lend(in->id);
    pack(&message.base, payload);
    return 0;
}

int encode_placement_set(const void *request, struct buf *payload, struct encoded *how,
                         struct err *err)
{
    const struct quire_placement_request *in = request;
    Quire__PlacementSet message = QUIRE__PLACEMENT_SET__INIT;
    if ((int)in->placement < QUIRE_STEADY || in->placement > QUIRE_LIVELY)
        return err_set(err, ERR_INVALID, "placement is %d, which is none", (int)in->placement);
    message.placement = (Quire__Placement)in->placement;
    pack(&message.base, payload);
    return 0;
}

int encode_range_move(const void *request, struct buf *payload, struct encoded *how,
                      struct err *err)
{
    const struct quire_move_request *in = request;
    Quire__RangeMove message = QUIRE__RANGE_MOVE__INIT;
    if (in->range == 0)
        return err_set(err, ERR_INVALID, "which range to move is not said");
    if (check_required("from", in->from, NODE_NAME_LIMIT, err) != 0 ||
        (in->to != NULL && check_required("to", in->to, NODE_NAME_LIMIT, err) != 0))
        return err->code;
    message.range = in->range;
    message.from = lend(in->from);
    message.to = in->to != NULL ? lend(in->to) : NULL;
    pack(&message.base, payload);
    return 0;
}

int encode_range_split(const void *request, struct buf *payload, struct encoded *how,
                       struct err *err)
{
    const struct quire_split_request *in = request;
    Quire__RangeSplit message = QUIRE__RANGE_SPLIT__INIT;
    if (in->range == 0)
        return err_set(err, ERR_INVALID, "which range to split is not said");
    if (in->at != NULL && check_required("at", in->at, LIMIT_HEADWORD_BYTES, err) != 0)
        return err->code;
    message.range = in->range;
    message.at = in->at != NULL ? lend(in->at) : NULL;
    pack(&message.base, payload);
    return 0;
}

int encode_range_merge(const void *request, struct buf *payload, struct encoded *how,
                       struct err *err)
{
    const struct quire_merge_request *in = request;
    Quire__RangeMerge message = QUIRE__RANGE_MERGE__INIT;
    if (in->range == 0)
        return err_set(err, ERR_INVALID, "which range to merge is not said");
    message.range = in->range;
    pack(&message.base, payload);
    return 0;
}

int encode_recover(const void *request, struct buf *payload, struct encoded *how, struct err *err)
{
    const struct quire_recover_request *in = request;
    Quire__RecoverRequest message = QUIRE__RECOVER_REQUEST__INIT;
    if (in->node != NULL && check_required("node", in->node, NODE_NAME_LIMIT, err) != 0)
        return err->code;
    if (in->range == 0 && (in->node != NULL || in->force))
        return err_set(err, ERR_INVALID, "which range to recover is not said");
    message.has_range = in->range != 0;
    message.range = in->range;
    message.node = in->node != NULL ? lend(in->node) : NULL;
    message.has_force = message.force = in->force;
    pack(&message.base, payload);
    return 0;
}
