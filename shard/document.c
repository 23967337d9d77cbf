/* From an entry to its terms.
 *
 * Analysis emits tokens; each is looked up in a hash table, and noted as an occurrence (term,
 * position) in the order of emission, which is the order of positions. When all fields are through,
 * one pass over the occurrences deals the positions out to their terms: a counting sort, no list
 * per term. The terms stay in the order in which they came.
 */
#include "shard/document.h"

#include "proto/base/hash.h"
#include "proto/limits.h"
#include "proto/text/key.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TERMS_FIRST 256u
#define TEXT_FIRST 2048u

struct occurrence {
    uint32_t term;
    uint32_t position;
};

/* A term while it is being counted. */
struct building {
    uint32_t hash;
    uint32_t text;      /* where it begins, of all terms' */
    uint32_t freq;      /* weighted */
    uint32_t positions; /* how many */
    uint8_t field, size;
};

struct builder {
    struct arena *arena;  /* of what the document keeps */
    struct arena scratch; /* of everything else here: three quarters of it */
    struct building *terms;
    uint32_t *slots; /* term index + 1, 0: free */
    struct occurrence *occurrences;
    uint8_t *text; /* of all terms, one after another */
    uint32_t term_count, term_capacity, slot_mask;
    uint32_t occurrence_count, occurrence_capacity;
    uint32_t text_size, text_capacity;
    bool failed; /* out of memory */

    /* Of the field being analysed. */
    uint8_t field;
    uint32_t weight;
    uint32_t base;   /* position of its first token */
    uint32_t next;   /* one above its last position */
    uint32_t tokens; /* counted */
};

/* Arena memory cannot be given back: growth by doubling wastes as much again as is used, until the
 * document is done. */
static void *builder_grow(struct builder *b, void *old, size_t used, size_t bytes)
{
    void *bigger = arena_alloc(&b->scratch, bytes);

    if (bigger == NULL) {
        b->failed = true;
        return NULL;
    }
    if (used > 0)
        memcpy(bigger, old, used);
    return bigger;
}

static bool builder_init(struct builder *b, struct arena *arena)
{
    struct first { /* enough for most entries, in one piece */
        uint32_t slots[TERMS_FIRST * 2];
        struct building terms[TERMS_FIRST];
        struct occurrence occurrences[TERMS_FIRST];
        uint8_t text[TEXT_FIRST];
    } * first;

    *b = (struct builder){.arena = arena};
    arena_init(&b->scratch, 0);
    first = arena_alloc(&b->scratch, sizeof(*first));
    if (first == NULL)
        return false;
    memset(first->slots, 0, sizeof(first->slots));
    b->slots = first->slots;
    b->terms = first->terms;
    b->occurrences = first->occurrences;
    b->text = first->text;
    b->slot_mask = TERMS_FIRST * 2 - 1;
    b->term_capacity = TERMS_FIRST;
    b->occurrence_capacity = TERMS_FIRST;
    b->text_capacity = TEXT_FIRST;
    return true;
}

static bool builder_grow_terms(struct builder *b)
{
    uint32_t capacity = b->term_capacity * 2, mask = capacity * 2 - 1;
    struct building *terms =
        builder_grow(b, b->terms, b->term_count * sizeof(*terms), capacity * sizeof(*terms));
    uint32_t *slots = arena_calloc(&b->scratch, (size_t)mask + 1, sizeof(*slots));

    if (terms == NULL || slots == NULL) {
        b->failed = true;
        return false;
    }
    for (uint32_t i = 0; i < b->term_count; i++) {
        uint32_t at = terms[i].hash & mask;

        while (slots[at] != 0)
            at = (at + 1) & mask;
        slots[at] = i + 1;
    }
    b->terms = terms;
    b->slots = slots;
    b->slot_mask = mask;
    b->term_capacity = capacity;
    return true;
}

static bool builder_grow_text(struct builder *b)
{
    uint8_t *bigger = builder_grow(b, b->text, b->text_size, (size_t)b->text_capacity * 2);

    if (bigger == NULL)
        return false;
    b->text = bigger;
    b->text_capacity *= 2;
    return true;
}

/* Room for one more term and its text. */
static bool builder_room(struct builder *b)
{
    return (b->term_count < b->term_capacity || builder_grow_terms(b)) &&
           (b->text_capacity - b->text_size > UINT8_MAX || builder_grow_text(b));
}

/* The index of the token's term, which is made when it is new; UINT32_MAX when out of memory. */
static uint32_t builder_term(struct builder *b, uint8_t field, struct bytes text)
{
    uint32_t hash = short_hash(text.data, text.size) ^ (field * 0x9e3779b1u);
    uint32_t at = hash & b->slot_mask;

    for (; b->slots[at] != 0; at = (at + 1) & b->slot_mask) {
        const struct building *built = &b->terms[b->slots[at] - 1];

        if (built->hash == hash && built->field == field && built->size == text.size &&
            short_equal(b->text + built->text, text.data, text.size))
            return b->slots[at] - 1;
    }
    if (!builder_room(b))
        return UINT32_MAX;
    for (at = hash & b->slot_mask; b->slots[at] != 0; at = (at + 1) & b->slot_mask)
        ;
    assert(text.size <= UINT8_MAX);
    b->terms[b->term_count] = (struct building){
        .hash = hash, .text = b->text_size, .field = field, .size = (uint8_t)text.size};
    if (text.size > 0)
        memcpy(b->text + b->text_size, text.data, text.size);
    b->text_size += (uint32_t)text.size;
    b->slots[at] = ++b->term_count;
    return b->term_count - 1;
}

static bool builder_occurrence(struct builder *b, uint32_t term, uint32_t position)
{
    if (b->occurrence_count == b->occurrence_capacity) {
        size_t used = b->occurrence_count * sizeof(*b->occurrences);
        struct occurrence *bigger = builder_grow(b, b->occurrences, used, used * 2);

        if (bigger == NULL)
            return false;
        b->occurrences = bigger;
        b->occurrence_capacity *= 2;
    }
    b->occurrences[b->occurrence_count++] = (struct occurrence){term, position};
    return true;
}

/* A token of the list that all fields share. */
static bool emit_all(void *data, const struct token *token)
{
    struct builder *b = data;
    uint32_t term = builder_term(b, TEXT_FIELD_ALL, token->text);
    uint32_t position = b->base + token->position;

    if (term == UINT32_MAX || !builder_occurrence(b, term, position))
        return false;
    b->terms[term].freq += b->weight;
    b->terms[term].positions++;
    b->next = position + 1;
    b->tokens++;
    return true;
}

/* A token of a field's own space: counted, without positions. */
static bool emit_field(void *data, const struct token *token)
{
    struct builder *b = data;
    uint32_t term = builder_term(b, b->field, token->text);

    if (term == UINT32_MAX)
        return false;
    b->terms[term].freq++;
    return true;
}

/* One text of a field into ALL; returns its share of the length. */
static uint64_t builder_add(struct builder *b, struct analyzer *analyzer, const char *text,
                            bool markdown, uint32_t weight)
{
    if (weight == 0 || text == NULL)
        return 0;
    b->weight = weight;
    b->tokens = 0;
    b->next = b->base;
    analyzer_run(analyzer, bytes_str(text), ANALYSIS_STEMMED, markdown, emit_all, b);
    return (uint64_t)weight * b->tokens;
}

/* One name (headword, other name, category): into ALL behind a gap, and into the field's own space.
 */
static uint64_t builder_add_name(struct builder *b, struct analyzer *analyzer, const char *text,
                                 uint8_t field, uint32_t weight)
{
    uint64_t length;

    b->base = b->next + DOCUMENT_POSITION_GAP;
    b->next = b->base;
    length = builder_add(b, analyzer, text, false, weight);
    b->field = field;
    analyzer_run(analyzer, bytes_str(text), ANALYSIS_UNSTEMMED, false, emit_field, b);
    return length;
}

/* A whole category as one token. */
static void builder_add_category(struct builder *b, struct bytes key)
{
    uint8_t space[DOCUMENT_CATEGORY_TOKEN_BYTES];
    uint32_t term = builder_term(b, TEXT_FIELD_CATEGORY_KEY, document_category_token(key, space));

    if (term != UINT32_MAX)
        b->terms[term].freq = 1;
}

/* Makes the document's terms and deals out the positions. */
static bool builder_finish(struct builder *b, struct document *out)
{
    uint32_t count = b->term_count;
    struct document_term *terms = arena_alloc(b->arena, (count + 1) * sizeof(*terms));
    uint32_t *positions = arena_alloc(b->arena, (b->occurrence_count + 1) * sizeof(*positions));
    uint8_t *text = arena_copy(b->arena, b->text, b->text_size);
    uint32_t *next = arena_alloc(&b->scratch, (count + 1) * sizeof(*next)), before = 0;

    if (terms == NULL || positions == NULL || text == NULL || next == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct building *built = &b->terms[i];

        terms[i] = (struct document_term){
            .token = {built->field, bytes_of(text + built->text, built->size)},
            .freq = built->freq,
            .position_count = built->positions,
            .positions = positions + before};
        next[i] = before;
        before += built->positions;
    }
    for (uint32_t i = 0; i < b->occurrence_count; i++)
        positions[next[b->occurrences[i].term]++] = b->occurrences[i].position;
    out->terms = terms;
    out->term_count = count;
    return true;
}

/* ---- names and categories ---- */

static bool arena_key(struct arena *arena, struct buf *scratch, const char *text, struct bytes *out)
{
    void *copy;

    buf_clear(scratch);
    text_key(bytes_str(text), scratch);
    copy = arena_copy(arena, scratch->data, scratch->size);
    *out = bytes_of(copy, scratch->size);
    return copy != NULL;
}

struct name {
    struct bytes key;
    size_t number; /* 0: the headword */
};

static int name_order(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    int order = bytes_compare(x->key, y->key);

    return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

static bool document_names(const Quire__Entry *entry, struct arena *arena, struct buf *scratch,
                           struct document *out)
{
    size_t count = 1 + entry->n_terms, kept = 0;
    struct name *names = arena_alloc(arena, count * sizeof(*names));
    struct bytes *keys = arena_alloc(arena, count * sizeof(*keys));
    const char **written = arena_alloc(arena, count * sizeof(*written));

    if (names == NULL || keys == NULL || written == NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        names[i].number = i;
        if (!arena_key(arena, scratch, i == 0 ? entry->headword : entry->terms[i - 1],
                       &names[i].key))
            return false;
    }
    if (count > 1)
        qsort(names, count, sizeof(*names), name_order);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && bytes_equal(keys[kept - 1], names[i].key))
            continue;
        keys[kept] = names[i].key;
        written[kept++] =
            names[i].number == 0 ? entry->headword : entry->terms[names[i].number - 1];
    }
    out->names = keys;
    out->written = written;
    out->name_count = (uint32_t)kept;
    return true;
}

#define CATEGORY_KEPT (DOCUMENT_CATEGORY_TOKEN_BYTES - 1 - 2 * (int)sizeof(uint64_t))

struct bytes document_category_token(struct bytes key, uint8_t space[DOCUMENT_CATEGORY_TOKEN_BYTES])
{
    uint64_t hash[2];

    if (key.size <= DOCUMENT_CATEGORY_TOKEN_BYTES)
        return key;
    hash[0] = hash64(key.data, key.size);
    hash[1] = hash64(key.data + 1, key.size - 1);
    memcpy(space, key.data, CATEGORY_KEPT);
    space[CATEGORY_KEPT] = 0;
    memcpy(space + CATEGORY_KEPT + 1, hash, sizeof(hash));
    return bytes_of(space, DOCUMENT_CATEGORY_TOKEN_BYTES);
}

/* At most LIMIT_CATEGORIES: comparing all with all is cheaper than a table. */
static bool document_categories(const Quire__Entry *entry, struct arena *arena, struct buf *scratch,
                                struct document *out)
{
    struct bytes *categories = arena_alloc(arena, (entry->n_categories + 1) * sizeof(*categories));
    struct bytes *keys = arena_alloc(arena, (entry->n_categories + 1) * sizeof(*keys));

    if (categories == NULL || keys == NULL)
        return false;
    for (size_t i = 0; i < entry->n_categories; i++) {
        struct bytes *key = &keys[out->category_count];
        uint32_t j = 0;

        if (!arena_key(arena, scratch, entry->categories[i], key))
            return false;
        while (j < out->category_count && !bytes_equal(keys[j], *key))
            j++;
        if (j < out->category_count)
            continue;
        categories[j].size = strlen(entry->categories[i]);
        categories[j].data = arena_copy(arena, entry->categories[i], categories[j].size);
        if (categories[j].data == NULL)
            return false;
        out->category_count++;
    }
    out->categories = categories;
    out->category_keys = keys;
    return true;
}

static bool document_key(const Quire__Entry *entry, struct arena *arena, struct buf *scratch,
                         struct document *out)
{
    void *copy;

    buf_clear(scratch);
    entry_key(entry->headword, entry->sense, scratch);
    copy = arena_copy(arena, scratch->data, scratch->size);
    out->key = bytes_of(copy, scratch->size);
    return copy != NULL;
}

static bool document_terms(struct analyzer *analyzer, const struct document_settings *settings,
                           const Quire__Entry *entry, struct arena *arena, struct document *out)
{
    struct builder b;
    uint64_t length = 0;
    bool done = builder_init(&b, arena);

    if (!done) {
        arena_deinit(&b.scratch);
        return false;
    }
    length += builder_add(&b, analyzer, entry->body, true, settings->weight_body);
    out->body_length = b.next;
    length += builder_add_name(&b, analyzer, entry->headword, TEXT_FIELD_HEADWORD,
                               settings->weight_headword);
    for (size_t i = 0; i < entry->n_terms; i++)
        length += builder_add_name(&b, analyzer, entry->terms[i], TEXT_FIELD_TERMS,
                                   settings->weight_terms);
    for (size_t i = 0; i < entry->n_categories; i++)
        length += builder_add_name(&b, analyzer, entry->categories[i], TEXT_FIELD_CATEGORY,
                                   settings->weight_categories);
    for (uint32_t i = 0; i < out->category_count; i++)
        builder_add_category(&b, out->category_keys[i]);
    out->norm = norm_encode(length > UINT32_MAX ? UINT32_MAX : (uint32_t)length);
    done = !b.failed && builder_finish(&b, out);
    arena_deinit(&b.scratch);
    return done;
}

int document_analyze(struct analyzer *analyzer, const struct document_settings *settings,
                     const Quire__Entry *entry, struct arena *arena, struct document *out,
                     struct err *err)
{
    struct buf scratch = {0};
    bool done;

    *out = (struct document){0};
    done = document_key(entry, arena, &scratch, out) &&
           document_names(entry, arena, &scratch, out) &&
           document_categories(entry, arena, &scratch, out) &&
           document_terms(analyzer, settings, entry, arena, out);
    buf_deinit(&scratch);
    return done ? 0 : err_set(err, ERR_NOMEM, "analyze entry: out of memory");
}
