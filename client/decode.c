/* Replies about collections, writes and entries into results. */
#include "client/decoder.h"

/* ---- collections ---- */

static void collection_of(struct decoder *d, const Quire__Collection *in,
                          struct quire_collection *out)
{
    out->name = text(d, in->name);
    out->language = text(d, in->language);
    if (in->weights != NULL) {
        out->weight_headword = in->weights->headword;
        out->weight_terms = in->weights->terms;
        out->weight_categories = in->weights->categories;
        out->weight_body = in->weights->body;
    }
    out->k1 = in->k1;
    out->b = in->b;
    out->entries = in->entries;
    out->ranges = in->ranges;
    out->replicas = in->has_replicas ? in->replicas : 1;
    out->order = in->order == QUIRE__COLLECTION__ORDER__CATEGORY ? QUIRE_ORDER_CATEGORY
                                                                 : QUIRE_ORDER_ARRIVAL;
}

static int decode_collection(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_collection_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__Collection *in = UNPACK(collection, box, payload);
    struct quire_collection *out;
    if (in == NULL)
        return unreadable(err);
    out = take(&d, 1, sizeof(*out));
    collection_of(&d, in, out);
    result->collection = out;
    return finish(&d, err);
}

static int decode_collections(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_collections_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__CollectionList *in = UNPACK(collection_list, box, payload);
    struct quire_collection **list;
    if (in == NULL)
        return unreadable(err);
    list = LIST(&d, struct quire_collection, in->n_collections);
    for (size_t i = 0; i < in->n_collections; i++)
        collection_of(&d, in->collections[i], list[i]);
    result->collections = (const struct quire_collection *const *)list;
    result->collection_count = in->n_collections;
    return finish(&d, err);
}

/* ---- writes ---- */

/* Reasons that pass by themselves: the whole batch is worth another attempt, and the ops that were
 * applied are recognised. */
static bool passes(uint32_t code)
{
    return code == ERR_UNAVAILABLE || code == ERR_STALE;
}

static int decode_write(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_write_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__WriteReply *in = UNPACK(write_reply, box, payload);
    struct quire_written **list;
    if (in == NULL)
        return unreadable(err);
    list = LIST(&d, struct quire_written, in->n_results);
    for (size_t i = 0; i < in->n_results; i++) {
        const Quire__WriteResult *from = in->results[i];
        list[i]->outcome = (enum quire_outcome)from->outcome;
        list[i]->version = from->version;
        list[i]->error = "";
        if (list[i]->outcome < QUIRE_NEW || list[i]->outcome > QUIRE_FAILED)
            return err_set(err, ERR_PROTOCOL, "the answer has an outcome of an unknown number %d",
                           (int)from->outcome);
        if (list[i]->outcome != QUIRE_FAILED)
            continue;
        list[i]->status =
            from->error && from->error->code ? (int)from->error->code : QUIRE_INTERNAL;
        list[i]->error = text(&d, from->error ? from->error->text : NULL);
        if (list[i]->error[0] == '\0')
            list[i]->error = quire_strerror(list[i]->status);
        box->retry |= passes((uint32_t)list[i]->status);
    }
    result->written = (const struct quire_written *const *)list;
    result->written_count = in->n_results;
    return finish(&d, err);
}

static int decode_write_one(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_write_result *result = (void *)box->result;
    int code = decode_write(box, payload, err);
    if (code != 0)
        return code;
    if (result->written_count == 1 && result->written[0]->outcome == QUIRE_FAILED)
        box_fail(box, result->written[0]->status, result->written[0]->error);
    return 0;
}

/* ---- entries ---- */

static void entry_of(struct decoder *d, const Quire__Entry *in, struct quire_entry *out)
{
    struct quire_attribute *attributes = take(d, in->n_attributes, sizeof(*attributes));
    for (size_t i = 0; i < in->n_attributes; i++) {
        attributes[i].name = text(d, in->attributes[i]->name);
        attributes[i].value = text(d, in->attributes[i]->value);
    }
    out->size = sizeof(*out);
    out->headword = text(d, in->headword);
    out->sense = text(d, in->sense);
    out->terms = texts(d, in->terms, in->n_terms);
    out->term_count = in->n_terms;
    out->categories = texts(d, in->categories, in->n_categories);
    out->category_count = in->n_categories;
    out->body = text(d, in->body);
    out->body_size = strlen(out->body);
    out->source = text(d, in->source);
    out->attributes = attributes;
    out->attribute_count = in->n_attributes;
    out->version = in->version;
}

static const struct quire_entry *const *entries_of(struct decoder *d, Quire__Entry *const *in,
                                                   size_t count)
{
    struct quire_entry **list = LIST(d, struct quire_entry, count);
    for (size_t i = 0; i < count; i++)
        entry_of(d, in[i], list[i]);
    return (const struct quire_entry *const *)list;
}

static int decode_entries(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_entries_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__EntryList *in = UNPACK(entry_list, box, payload);
    if (in == NULL)
        return unreadable(err);
    result->entries = entries_of(&d, in->entries, in->n_entries);
    result->entry_count = in->n_entries;
    return finish(&d, err);
}

static int decode_export(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_export_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__ExportReply *in = UNPACK(export_reply, box, payload);
    if (in == NULL)
        return unreadable(err);
    result->entries = entries_of(&d, in->entries, in->n_entries);
    result->entry_count = in->n_entries;
    if (in->has_after) {
        result->after = in->after.data;
        result->after_size = in->after.len;
    }
    return finish(&d, err);
}

static int decode_snapshot(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_snapshot_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__SnapshotReply *in = UNPACK(snapshot_reply, box, payload);
    if (in == NULL)
        return unreadable(err);
    struct quire_snapshot **list = LIST(&d, struct quire_snapshot, in->n_snapshots);
    struct quire_collection *collection = take(&d, 1, sizeof(*collection));
    collection_of(&d, in->collection, collection);
    for (size_t i = 0; i < in->n_snapshots; i++) {
        const Quire__Snapshot *from = in->snapshots[i];
        *list[i] = (struct quire_snapshot){.node = text(&d, from->node),
                                           .id = from->id,
                                           .range = from->range,
                                           .epoch = from->epoch,
                                           .recovered = from->recovered,
                                           .lo = text_of(&d, from->has_lo, from->lo),
                                           .hi = text_of(&d, from->has_hi, from->hi),
                                           .seq = from->seq,
                                           .entries = from->entries};
    }
    result->cluster_id = text(&d, in->cluster_id);
    result->collection_id = in->collection->id;
    result->collection = collection;
    result->snapshots = (const struct quire_snapshot *const *)list;
    result->snapshot_count = in->n_snapshots;
    return finish(&d, err);
}

static void init_snapshot(void *result)
{
    ((struct quire_snapshot_result *)result)->cluster_id = "";
}

static int decode_snapshot_page(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_snapshot_page_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__SnapshotPage *in = UNPACK(snapshot_page, box, payload);
    if (in == NULL)
        return unreadable(err);
    result->entries = entries_of(&d, in->entries, in->n_entries);
    result->entry_count = in->n_entries;
    if (in->has_next) {
        result->next = in->next.data;
        result->next_size = in->next.len;
    }
    return finish(&d, err);
}

const struct result_type result_done = {sizeof(struct quire_result), NULL, NULL};
const struct result_type result_collection = {sizeof(struct quire_collection_result), NULL,
                                              decode_collection};
const struct result_type result_collections = {sizeof(struct quire_collections_result), NULL,
                                               decode_collections};
const struct result_type result_write = {sizeof(struct quire_write_result), NULL, decode_write};
const struct result_type result_write_one = {sizeof(struct quire_write_result), NULL,
                                             decode_write_one};
const struct result_type result_entries = {sizeof(struct quire_entries_result), NULL,
                                           decode_entries};
const struct result_type result_export = {sizeof(struct quire_export_result), NULL, decode_export};
const struct result_type result_snapshot = {sizeof(struct quire_snapshot_result), init_snapshot,
                                            decode_snapshot};
const struct result_type result_snapshot_page = {sizeof(struct quire_snapshot_page_result), NULL,
                                                 decode_snapshot_page};
