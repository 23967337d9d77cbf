/* libquire's decoders of replies, on any bytes. The first byte chooses the kind of reply.
 *
 * What must hold: a reply is read or refused with a sentence, and a result that is handed out, also
 * a failed one, has no text that is NULL or not UTF-8, and no highlight outside its snippet. */
#include "client/result.h"
#include "fuzz.h"
#include "proto/quire.pb-c.h"
#include "proto/text/key.h"
#include "quire.h"

#include <assert.h>
#include <string.h>

static const struct result_type *const types[] = {
    &result_search,      &result_entries,  &result_browse,        &result_match,
    &result_write,       &result_explain,  &result_export,        &result_status,
    &result_recover,     &result_verify,   &result_collection,    &result_write_one,
    &result_collections, &result_snapshot, &result_snapshot_page,
};
#define TYPES (sizeof(types) / sizeof(types[0]))

static char *lend(const char *text)
{
    return (char *)(uintptr_t)text;
}

static struct fuzz_seed seed_of(uint8_t type, const ProtobufCMessage *message, uint8_t *memory,
                                size_t size)
{
    size_t packed = protobuf_c_message_get_packed_size(message);
    assert(packed < size);
    memory[0] = type;
    protobuf_c_message_pack(message, memory + 1);
    return (struct fuzz_seed){memory, packed + 1};
}

static struct fuzz_seed seed_search(void)
{
    static uint8_t memory[512];
    Quire__SearchReply reply = QUIRE__SEARCH_REPLY__INIT;
    Quire__Hit hit = QUIRE__HIT__INIT;
    Quire__Hit *hits[] = {&hit, &hit};
    Quire__Highlight highlight = QUIRE__HIGHLIGHT__INIT;
    Quire__Highlight *highlights[] = {&highlight};
    Quire__FacetCount facet = QUIRE__FACET_COUNT__INIT;
    Quire__FacetCount *facets[] = {&facet};
    char *categories[] = {lend("training"), lend("loss")};
    highlight.offset = 4;
    highlight.length = 3;
    hit.headword = lend("gradient descent");
    hit.snippet = lend("the way down");
    hit.highlights = highlights;
    hit.n_highlights = 1;
    hit.categories = categories;
    hit.n_categories = 2;
    facet.value = lend("training");
    reply.hits = hits;
    reply.n_hits = 2;
    reply.categories = facets;
    reply.n_categories = 1;
    reply.cursor = lend("next");
    return seed_of(0, &reply.base, memory, sizeof(memory));
}

static struct fuzz_seed seed_entries(void)
{
    static uint8_t memory[512];
    Quire__EntryList reply = QUIRE__ENTRY_LIST__INIT;
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    Quire__Entry *entries[] = {&entry, &entry};
    Quire__Attribute attribute = QUIRE__ATTRIBUTE__INIT;
    Quire__Attribute *attributes[] = {&attribute};
    char *terms[] = {lend("int8"), lend("int4")};
    attribute.name = lend("license");
    attribute.value = lend("CC");
    entry.headword = lend("quantization");
    entry.terms = terms;
    entry.n_terms = 2;
    entry.attributes = attributes;
    entry.n_attributes = 1;
    entry.body = lend("fewer *bits*");
    reply.entries = entries;
    reply.n_entries = 2;
    return seed_of(1, &reply.base, memory, sizeof(memory));
}

static struct fuzz_seed seed_write(void)
{
    static uint8_t memory[256];
    Quire__WriteReply reply = QUIRE__WRITE_REPLY__INIT;
    Quire__WriteResult result = QUIRE__WRITE_RESULT__INIT;
    Quire__WriteResult *results[] = {&result};
    Quire__Error error = QUIRE__ERROR__INIT;
    error.code = 7;
    error.text = lend("moving");
    result.outcome = QUIRE__WRITE_RESULT__OUTCOME__FAILED;
    result.error = &error;
    reply.results = results;
    reply.n_results = 1;
    return seed_of(4, &reply.base, memory, sizeof(memory));
}

const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    static struct fuzz_seed seeds[3];
    seeds[0] = seed_search();
    seeds[1] = seed_entries();
    seeds[2] = seed_write();
    *count = 3;
    return seeds;
}

static void check_text(const char *text)
{
    assert(text != NULL && text_valid(bytes_str(text), NULL));
}

static void check_hits(const struct quire_search_result *result)
{
    check_text(result->cursor);
    for (size_t i = 0; i < result->hit_count; i++) {
        const struct quire_hit *hit = result->hits[i];
        check_text(hit->headword);
        check_text(hit->sense);
        check_text(hit->snippet);
        check_text(hit->key);
        for (size_t c = 0; c < hit->category_count; c++)
            check_text(hit->categories[c]);
        for (size_t h = 0; h < hit->highlight_count; h++)
            assert((uint64_t)hit->highlights[h].offset + hit->highlights[h].length <=
                   strlen(hit->snippet));
    }
}

static void check_entries(const struct quire_entries_result *result)
{
    for (size_t i = 0; i < result->entry_count; i++) {
        const struct quire_entry *entry = result->entries[i];
        check_text(entry->headword);
        check_text(entry->sense);
        check_text(entry->body);
        check_text(entry->source);
        assert(entry->body_size == strlen(entry->body));
        for (size_t t = 0; t < entry->term_count; t++)
            check_text(entry->terms[t]);
        for (size_t a = 0; a < entry->attribute_count; a++) {
            check_text(entry->attributes[a].name);
            check_text(entry->attributes[a].value);
        }
    }
}

static void check_snapshots(const struct quire_snapshot_result *result)
{
    check_text(result->cluster_id);
    for (size_t i = 0; i < result->snapshot_count; i++) {
        check_text(result->snapshots[i]->node);
        check_text(result->snapshots[i]->lo);
        check_text(result->snapshots[i]->hi);
    }
}

static void check_writes(const struct quire_write_result *result)
{
    for (size_t i = 0; i < result->written_count; i++) {
        check_text(result->written[i]->error);
        assert((result->written[i]->outcome == QUIRE_FAILED) ==
               (result->written[i]->status != QUIRE_OK));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct result_type *type = types[data[0] % TYPES];
    struct err err = {0};
    struct box *box = box_create(type);
    assert(box != NULL);
    if (type->decode(box, bytes_of(data + 1, size - 1), &err) != 0) {
        assert(err.code != 0 && err.text[0] != '\0');
        box_release(box);
        box = box_failed(type, err.code, err.text);
    }
    check_text(((struct quire_result *)box->result)->error);
    if (type == &result_search)
        check_hits((void *)box->result);
    else if (type == &result_entries)
        check_entries((void *)box->result);
    else if (type == &result_snapshot)
        check_snapshots((void *)box->result);
    else if (type == &result_write)
        check_writes((void *)box->result);
    box_release(box);
    return 0;
}
