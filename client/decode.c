/* Replies into results.
 *
 * A reply is unpacked into the arena of its result, and the result's texts point to the unpacked
 * ones. What came over the wire is not trusted: a text that is not UTF-8 or an answer without what
 * it must have is ERR_PROTOCOL, so that a program never prints what it must not, and never finds a
 * NULL where the header promises a text. Embedded NUL bytes end a text, which is how protobuf-c
 * gives it to us.
 */
#include "client/result.h"

#include "proto/limits.h"
#include "proto/quire.pb-c.h"
#include "proto/text/analysis.h"
#include "proto/text/key.h"
#include "quire.h"

#include <stdlib.h>
#include <string.h>

#define SCORE_UNIT 1048576.0 /* scores travel in units of 2^-20 */

struct decoder {
    struct arena *arena;
    bool bad;
};

static void *take(struct decoder *d, size_t count, size_t size)
{
    void *memory;
    if (count == 0)
        return NULL;
    memory = arena_calloc(d->arena, count, size);
    if (memory == NULL)
        abort(); /* as buf does: a reply is bounded by the frame that carried it */
    return memory;
}

static const char *text(struct decoder *d, const char *value)
{
    if (value == NULL)
        return "";
    if (!text_valid(bytes_str(value), NULL)) {
        d->bad = true;
        return "";
    }
    return value;
}

static const char *text_of(struct decoder *d, protobuf_c_boolean has, ProtobufCBinaryData value)
{
    char *copy;
    if (!has || value.len == 0)
        return "";
    copy = arena_copy(d->arena, value.data, value.len);
    if (copy == NULL)
        abort();
    return text(d, copy);
}

static const char *const *texts(struct decoder *d, char *const *values, size_t count)
{
    const char **list = take(d, count, sizeof(*list));
    for (size_t i = 0; i < count; i++)
        list[i] = text(d, values[i]);
    return list;
}

/* An array of pointers to `count` zeroed structs. */
#define LIST(d, type, count) ((type **)list_of(d, count, sizeof(type)))
static void *list_of(struct decoder *d, size_t count, size_t size)
{
    void **list = take(d, count, sizeof(*list));
    char *items = take(d, count, size);
    for (size_t i = 0; i < count; i++)
        list[i] = items + i * size;
    return list;
}

/* Unpacks into the box's arena; the arrays that protobuf-c makes are freed with it. */
#define UNPACK(name, box, payload)                                                                 \
    quire__##name##__unpack(arena_protobuf(&(box)->arena), (payload).size, (payload).data)

static int finish(const struct decoder *d, struct err *err)
{
    return d->bad ? err_set(err, ERR_PROTOCOL, "the answer has a text that is not UTF-8") : 0;
}

static int unreadable(struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "the answer cannot be read");
}

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

/* ---- browsing and names ---- */

static void head_of(struct decoder *d, const Quire__EntryHead *in, struct quire_head *out)
{
    out->headword = text(d, in->headword);
    out->sense = text(d, in->sense);
    out->terms = texts(d, in->terms, in->n_terms);
    out->term_count = in->n_terms;
    out->categories = texts(d, in->categories, in->n_categories);
    out->category_count = in->n_categories;
    out->key = text_of(d, in->has_key, in->key);
}

static int decode_browse(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_browse_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__BrowseReply *in = UNPACK(browse_reply, box, payload);
    struct quire_letter **letters;
    struct quire_head **heads;
    if (in == NULL)
        return unreadable(err);
    letters = LIST(&d, struct quire_letter, in->n_letters);
    for (size_t i = 0; i < in->n_letters; i++) {
        letters[i]->letter = text(&d, in->letters[i]->letter);
        letters[i]->count = in->letters[i]->count;
    }
    heads = LIST(&d, struct quire_head, in->n_entries);
    for (size_t i = 0; i < in->n_entries; i++)
        head_of(&d, in->entries[i], heads[i]);
    result->page = in->page;
    result->pages = in->pages;
    result->total = in->total;
    result->letters = (const struct quire_letter *const *)letters;
    result->letter_count = in->n_letters;
    result->entries = (const struct quire_head *const *)heads;
    result->entry_count = in->n_entries;
    return finish(&d, err);
}

static int decode_match(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_match_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__MatchReply *in = UNPACK(match_reply, box, payload);
    struct quire_name **names;
    if (in == NULL)
        return unreadable(err);
    names = LIST(&d, struct quire_name, in->n_names);
    for (size_t i = 0; i < in->n_names; i++) {
        names[i]->name = text(&d, in->names[i]->name);
        names[i]->key = text_of(&d, true, in->names[i]->key);
        names[i]->distance = in->names[i]->distance;
        names[i]->entries = in->names[i]->entries;
    }
    result->names = (const struct quire_name *const *)names;
    result->name_count = in->n_names;
    result->limited = in->limited;
    return finish(&d, err);
}

/* ---- search ---- */

static void hit_of(struct decoder *d, const Quire__Hit *in, struct quire_hit *out)
{
    size_t size, kept = 0;
    struct quire_highlight *highlights = take(d, in->n_highlights, sizeof(*highlights));
    out->headword = text(d, in->headword);
    out->sense = text(d, in->sense);
    out->score = (double)in->score / SCORE_UNIT;
    out->score_fixed = in->score;
    out->categories = texts(d, in->categories, in->n_categories);
    out->category_count = in->n_categories;
    out->snippet = text(d, in->snippet);
    size = strlen(out->snippet);
    for (size_t i = 0; i < in->n_highlights; i++) {
        /* Programs cut the snippet by these: one that lies outside is left out. */
        struct quire_highlight h = {in->highlights[i]->offset, in->highlights[i]->length};
        if (h.offset <= size && h.length <= size - h.offset)
            highlights[kept++] = h;
    }
    out->highlights = highlights;
    out->highlight_count = kept;
    out->key = text_of(d, in->has_key, in->key);
}

static void missing_of(struct decoder *d, const Quire__MissingRange *in, struct quire_missing *out)
{
    out->lo = text_of(d, in->has_lo, in->lo);
    out->hi = text_of(d, in->has_hi, in->hi);
    out->reason = text(d, in->reason);
}

static void search_init(void *result)
{
    ((struct quire_search_result *)result)->cursor = "";
}

static int decode_search(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_search_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__SearchReply *in = UNPACK(search_reply, box, payload);
    struct quire_hit **hits;
    struct quire_missing **missing;
    struct quire_facet **facets;
    if (in == NULL)
        return unreadable(err);
    hits = LIST(&d, struct quire_hit, in->n_hits);
    for (size_t i = 0; i < in->n_hits; i++)
        hit_of(&d, in->hits[i], hits[i]);
    missing = LIST(&d, struct quire_missing, in->n_missing);
    for (size_t i = 0; i < in->n_missing; i++)
        missing_of(&d, in->missing[i], missing[i]);
    facets = LIST(&d, struct quire_facet, in->n_categories);
    for (size_t i = 0; i < in->n_categories; i++) {
        facets[i]->value = text(&d, in->categories[i]->value);
        facets[i]->count = in->categories[i]->count;
    }
    result->hits = (const struct quire_hit *const *)hits;
    result->hit_count = in->n_hits;
    result->missing = (const struct quire_missing *const *)missing;
    result->missing_count = in->n_missing;
    result->categories = (const struct quire_facet *const *)facets;
    result->category_count = in->n_categories;
    result->warnings = texts(&d, in->warnings, in->n_warnings);
    result->warning_count = in->n_warnings;
    result->total = in->total;
    result->total_is_lower_bound = in->total_is_lower_bound;
    result->complete = in->complete;
    result->expansion_limited = in->expansion_limited;
    result->cursor = text(&d, in->cursor);
    result->took_us = in->took_us;
    return finish(&d, err);
}

static const char *field_name(uint32_t field)
{
    switch (field) {
    case TEXT_FIELD_ALL:
        return "text";
    case TEXT_FIELD_HEADWORD:
        return "headword";
    case TEXT_FIELD_TERMS:
        return "terms";
    case TEXT_FIELD_CATEGORY:
        return "category";
    case TEXT_FIELD_BODY:
        return "body";
    default:
        return "unknown";
    }
}

static void explain_init(void *result)
{
    ((struct quire_explain_result *)result)->headword = "";
    ((struct quire_explain_result *)result)->sense = "";
}

static int decode_explain(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_explain_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__ExplainReply *in = UNPACK(explain_reply, box, payload);
    struct quire_explain_term **terms;
    if (in == NULL)
        return unreadable(err);
    terms = LIST(&d, struct quire_explain_term, in->n_terms);
    for (size_t i = 0; i < in->n_terms; i++) {
        const Quire__ExplainTerm *from = in->terms[i];
        terms[i]->token = text(&d, from->token);
        terms[i]->field = field_name(from->field);
        terms[i]->document_frequency = from->document_frequency;
        terms[i]->idf = from->idf;
        terms[i]->frequency = from->frequency;
        terms[i]->boost = from->boost;
        terms[i]->contribution = (double)from->contribution / SCORE_UNIT;
        terms[i]->contribution_fixed = from->contribution;
    }
    result->matched = in->matched;
    result->headword = text(&d, in->headword);
    result->sense = text(&d, in->sense);
    result->score = (double)in->score / SCORE_UNIT;
    result->score_fixed = in->score;
    result->terms = (const struct quire_explain_term *const *)terms;
    result->term_count = in->n_terms;
    result->documents = in->documents;
    result->average_length = in->average_length;
    result->length = in->length;
    result->k1 = in->k1;
    result->b = in->b;
    return finish(&d, err);
}

/* ---- the cluster ---- */

static const struct quire_node *const *nodes_of(struct decoder *d, Quire__Node *const *in,
                                                size_t count)
{
    struct quire_node **list = LIST(d, struct quire_node, count);
    for (size_t i = 0; i < count; i++) {
        list[i]->id = text(d, in[i]->id);
        list[i]->address = text(d, in[i]->address);
        list[i]->zone = text(d, in[i]->zone);
        list[i]->alive = in[i]->alive;
        list[i]->last_seen_ms = in[i]->last_seen_ms;
    }
    return (const struct quire_node *const *)list;
}

static void range_of(struct decoder *d, const Quire__RangeStatus *in, struct quire_range *out)
{
    out->id = in->id;
    out->collection = text(d, in->collection);
    out->epoch = in->epoch;
    out->lo = text_of(d, in->has_lo, in->lo);
    out->hi = text_of(d, in->has_hi, in->hi);
    out->primary = text(d, in->primary);
    out->in_sync = texts(d, in->in_sync, in->n_in_sync);
    out->in_sync_count = in->n_in_sync;
    out->state = text(d, in->state);
    out->entries = in->entries;
    out->bytes = in->bytes;
    out->memory_bytes = in->memory_bytes;
    out->segments = in->segments;
    out->committed_seq = in->committed_seq;
    out->durable_seq = in->durable_seq;
}

static void status_init(void *result)
{
    struct quire_status_result *status = result;
    status->cluster_id = status->leader = status->software = "";
}

static int decode_status(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_status_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__StatusReply *in = UNPACK(status_reply, box, payload);
    struct quire_range **ranges;
    if (in == NULL)
        return unreadable(err);
    ranges = LIST(&d, struct quire_range, in->n_ranges);
    for (size_t i = 0; i < in->n_ranges; i++)
        range_of(&d, in->ranges[i], ranges[i]);
    result->cluster_id = text(&d, in->cluster_id);
    result->map_epoch = in->map_epoch;
    result->coordinators = nodes_of(&d, in->coordinators, in->n_coordinators);
    result->coordinator_count = in->n_coordinators;
    result->leader = text(&d, in->leader);
    result->software = text(&d, in->software);
    result->nodes = nodes_of(&d, in->nodes, in->n_nodes);
    result->node_count = in->n_nodes;
    result->ranges = (const struct quire_range *const *)ranges;
    result->range_count = in->n_ranges;
    return finish(&d, err);
}

static int decode_verify(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_verify_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__VerifyReply *in = UNPACK(verify_reply, box, payload);
    struct quire_problem **problems;
    if (in == NULL)
        return unreadable(err);
    problems = LIST(&d, struct quire_problem, in->n_problems);
    for (size_t i = 0; i < in->n_problems; i++) {
        problems[i]->range = in->problems[i]->range;
        problems[i]->text = text(&d, in->problems[i]->text);
    }
    result->ranges = in->ranges;
    result->entries = in->entries;
    result->postings = in->postings;
    result->problems = (const struct quire_problem *const *)problems;
    result->problem_count = in->n_problems;
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
const struct result_type result_browse = {sizeof(struct quire_browse_result), NULL, decode_browse};
const struct result_type result_match = {sizeof(struct quire_match_result), NULL, decode_match};
const struct result_type result_search = {sizeof(struct quire_search_result), search_init,
                                          decode_search};
const struct result_type result_explain = {sizeof(struct quire_explain_result), explain_init,
                                           decode_explain};
const struct result_type result_export = {sizeof(struct quire_export_result), NULL, decode_export};
const struct result_type result_status = {sizeof(struct quire_status_result), status_init,
                                          decode_status};
const struct result_type result_verify = {sizeof(struct quire_verify_result), NULL, decode_verify};
