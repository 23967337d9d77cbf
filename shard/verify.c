/* Verification: everything a range holds against everything it should hold.
 *
 * It works on one moment, taken while the writer and the background work stand still, and then goes
 * on beside them: a view, iterators over the rows, copies of the counts.
 *
 *   entries  each row of `entry` is analysed anew; its names have their rows and there are no
 *            others; its place names a live document whose columns hold what the analysis says
 *   lists    every posting of every list is read. Of each document the postings are summed up as
 *            hashes of (field, token, frequency, positions); the sum must be the one that the
 *            analysis of its entry gives, so a posting that is missing, wrong or too many shows.
 *            Of each token the dead postings are counted and compared with the counts that
 *            document frequencies are made with.
 *   figures  live documents, total length, letters
 *   files    every block's checksum
 */
#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/range_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct segment_check {
    const struct view_segment *segment;
    struct dead_terms *dead_terms; /* a copy */
    bool on_disk;
    uint64_t *expected, *found; /* by document: sums of posting hashes */
    uint8_t *standing;          /* by document: an entry stands here */
};

struct check {
    struct range *range;
    struct analyzer *analyzer;
    struct view *view;
    struct store_iterator *entries, *names, *places;
    struct letters letters, counted_letters;
    struct segment_check *segments;
    uint64_t entry_count, name_count, total_length, postings, digest;
    uint32_t problems;
    void (*problem)(void *data, const char *text);
    void *data;
};

static void problem(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void problem(struct check *check, const char *format, ...)
{
    char text[ERR_TEXT_MAX];
    va_list arguments;
    if (check->problems++ >= LIMIT_VERIFY_PROBLEMS)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    check->problem(check->data, text);
}

/* (term key, 0, sense) for people, cut off where it gets long. */
static const char *show(struct bytes key, char out[160])
{
    size_t key_size = strnlen((const char *)key.data, key.size);
    int sense_size = key_size < key.size ? (int)(key.size - key_size - 1) : 0;
    snprintf(out, 160, "\"%.*s\" (%.*s)", key_size > 70 ? 70 : (int)key_size,
             (const char *)key.data, sense_size > 70 ? 70 : sense_size,
             (const char *)key.data + key_size + 1);
    return out;
}

/* ---- the moment ---- */

static void copy_term(void *data, uint8_t field, struct bytes token, uint32_t count)
{
    dead_terms_add(data, field, token, count);
}

static void check_init(struct check *check)
{
    struct range *range = check->range;
    static const struct bytes none = {0};
    range_visit(range);
    pthread_mutex_lock(&range->apply);
    check->view = range_view(range);
    check->entries = store_iterate(range->store, STORE_ENTRY, none, none);
    check->names = store_iterate(range->store, STORE_NAME, none, none);
    check->places = store_iterate(range->store, STORE_PLACE, none, none);
    letters_copy(&check->letters, &range->now.letters);
    check->segments = calloc(check->view->segment_count + 1, sizeof check->segments[0]);
    if (check->segments == NULL)
        abort();
    for (uint32_t i = 0; i < check->view->segment_count; i++) {
        struct segment_check *to = &check->segments[i];
        to->segment = &check->view->segments[i];
        to->on_disk = range->segments[i].on_disk;
        to->dead_terms = dead_terms_create();
        if (to->dead_terms == NULL)
            abort();
        if (to->segment->dead_terms != NULL)
            dead_terms_each(to->segment->dead_terms, copy_term, to->dead_terms);
    }
    pthread_mutex_unlock(&range->apply);
    range_visit_end(range);
    for (uint32_t i = 0; i < check->view->segment_count; i++) {
        struct segment_check *to = &check->segments[i];
        to->expected = calloc(to->segment->doc_limit + 1, sizeof to->expected[0]);
        to->found = calloc(to->segment->doc_limit + 1, sizeof to->found[0]);
        to->standing = calloc(to->segment->doc_limit + 1, 1);
        if (to->expected == NULL || to->found == NULL || to->standing == NULL)
            abort();
    }
}

static void check_deinit(struct check *check)
{
    for (uint32_t i = 0; i < check->view->segment_count; i++) {
        dead_terms_unref(check->segments[i].dead_terms);
        free(check->segments[i].expected);
        free(check->segments[i].found);
        free(check->segments[i].standing);
    }
    free(check->segments);
    store_iterator_close(check->entries);
    store_iterator_close(check->names);
    store_iterator_close(check->places);
    letters_deinit(&check->letters);
    letters_deinit(&check->counted_letters);
    view_release(check->view);
    analyzer_destroy(check->analyzer);
}

/* ---- entries ---- */

static uint64_t token_hash(struct segment_token token)
{
    return hash64(token.text.data, token.text.size) * 31 + token.field;
}

static uint64_t posting_hash(uint64_t token, uint32_t freq, const uint32_t *positions,
                             uint32_t count)
{
    uint64_t parts[3] = {token, freq,
                         count > 0 ? hash64(positions, count * sizeof positions[0]) : 0};
    return hash64(parts, sizeof parts);
}

static void check_columns(struct check *check, struct segment *segment, uint32_t doc,
                          const struct document *document, struct bytes key)
{
    char text[160];
    uint32_t count;
    if (!bytes_equal(segment->ops->entry_key(segment, doc), key))
        problem(check, "entry %s: its document bears another key", show(key, text));
    if (segment->ops->norm(segment, doc) != document->norm)
        problem(check, "entry %s: length %u in the index, %u by its text", show(key, text),
                norm_decode(segment->ops->norm(segment, doc)), norm_decode(document->norm));
    if (segment->ops->body_length(segment, doc) != document->body_length)
        problem(check, "entry %s: body length %u in the index, %u by its text", show(key, text),
                segment->ops->body_length(segment, doc), document->body_length);
    const uint32_t *ordinals = segment->ops->categories(segment, doc, &count);
    bool same = count == document->category_count;
    for (uint32_t i = 0; i < document->category_count && same; i++) {
        bool there = false;
        for (uint32_t j = 0; j < count && !there; j++)
            there = bytes_equal(segment->ops->category_name(segment, ordinals[j]),
                                document->categories[i]);
        same = there;
    }
    if (!same)
        problem(check, "entry %s: other categories in the index", show(key, text));
}

/* Why a row was not found: it is not there, or the file that should hold it cannot be read. */
static void missing(struct check *check, const struct store_iterator *it, struct bytes key,
                    const char *what, const char *name)
{
    char text[160];
    struct err err = {0};
    if (store_iterator_status(it, &err) != 0)
        problem(check, "entry %s: its %s%s cannot be read: %s", show(key, text), what, name,
                err.text);
    else
        problem(check, "entry %s: no %s%s", show(key, text), what, name);
}

static void check_place(struct check *check, const struct document *document, struct bytes key)
{
    char text[160];
    uint64_t id;
    uint32_t doc;
    struct segment_check *at = NULL;
    store_iterator_seek(check->places, key);
    if (!store_iterator_valid(check->places) ||
        !bytes_equal(store_iterator_key(check->places), key)) {
        missing(check, check->places, key, "place", "");
        return;
    }
    if (!range_place_decode(store_iterator_value(check->places), &id, &doc)) {
        problem(check, "entry %s: malformed place", show(key, text));
        return;
    }
    for (uint32_t i = 0; i < check->view->segment_count; i++)
        if (check->segments[i].segment->segment->id == id)
            at = &check->segments[i];
    if (at == NULL || !view_live(at->segment, doc)) {
        problem(check, "entry %s: its place, document %u of segment %llu, is %s", show(key, text),
                doc, (unsigned long long)id, at == NULL ? "nowhere" : "dead");
        return;
    }
    if (at->standing[doc]) {
        problem(check, "entry %s: shares document %u of segment %llu", show(key, text), doc,
                (unsigned long long)id);
        return;
    }
    at->standing[doc] = 1;
    for (uint32_t i = 0; i < document->term_count; i++) {
        const struct document_term *term = &document->terms[i];
        at->expected[doc] += posting_hash(token_hash(term->token), term->freq, term->positions,
                                          term->position_count);
    }
    check_columns(check, at->segment->segment, doc, document, key);
}

static void check_names(struct check *check, const Quire__Entry *entry, struct bytes key,
                        struct arena *arena)
{
    char text[160];
    size_t count;
    struct range_name *names = range_names(entry, arena, &count);
    struct buf row = {0};
    for (size_t i = 0; i < count; i++) {
        buf_clear(&row);
        range_name_key(names[i].key, key, &row);
        store_iterator_seek(check->names, buf_bytes(&row));
        if (!store_iterator_valid(check->names) ||
            !bytes_equal(store_iterator_key(check->names), buf_bytes(&row)))
            missing(check, check->names, key, "row for its name ", names[i].written);
        else if (!bytes_equal(store_iterator_value(check->names), bytes_str(names[i].written)))
            problem(check, "entry %s: its name \"%.100s\" is written otherwise", show(key, text),
                    names[i].written);
    }
    check->name_count += count;
    buf_deinit(&row);
}

static int check_entry(struct check *check, struct arena *arena, struct err *err)
{
    char text[160];
    struct bytes key = store_iterator_key(check->entries);
    struct bytes row = store_iterator_value(check->entries);
    struct document document;
    struct err why;
    struct buf own_key = {0};
    uint64_t parts[2] = {hash64(key.data, key.size), hash64(row.data, row.size)};
    check->entry_count++;
    check->digest += hash64(parts, sizeof parts);
    Quire__Entry *entry = quire__entry__unpack(arena_protobuf(arena), row.size, row.data);
    if (entry == NULL || entry_validate(entry, &why) != 0) {
        problem(check, "entry %s: malformed row", show(key, text));
        return 0;
    }
    entry_key(entry->headword, entry->sense, &own_key);
    if (!bytes_equal(buf_bytes(&own_key), key))
        problem(check, "entry %s: stands under a key that is not its own", show(key, text));
    buf_deinit(&own_key);
    int code = document_analyze(check->analyzer, &check->range->settings.document, entry, arena,
                                &document, err);
    if (code != 0)
        return code;
    check->total_length += norm_decode(document.norm);
    letters_add(&check->counted_letters, key, 1);
    if (entry->version == 0 || entry->version > check->view->seq)
        problem(check, "entry %s: version %llu, the range is at %llu", show(key, text),
                (unsigned long long)entry->version, (unsigned long long)check->view->seq);
    check_names(check, entry, key, arena);
    check_place(check, &document, key);
    return 0;
}

static int check_entries(struct check *check, struct err *err)
{
    int code = 0;
    for (; code == 0 && store_iterator_valid(check->entries); store_iterator_next(check->entries)) {
        struct arena arena;
        arena_init(&arena, 0);
        code = check_entry(check, &arena, err);
        arena_deinit(&arena);
        if (atomic_load(&check->range->stopping))
            return err_set(err, ERR_CANCELED, "the range is being closed");
    }
    return code != 0 ? code : store_iterator_status(check->entries, err);
}

/* Rows that no entry accounts for. Each wanted row was looked for already, so the numbers tell. */
static int check_row_counts(struct check *check, struct err *err)
{
    uint64_t names = 0, places = 0;
    struct store_iterator *its[] = {check->names, check->places};
    uint64_t *counts[] = {&names, &places};
    for (int i = 0; i < 2; i++) {
        store_iterator_seek(its[i], (struct bytes){(const uint8_t *)"", 0});
        for (; store_iterator_valid(its[i]); store_iterator_next(its[i]))
            ++*counts[i];
        int code = store_iterator_status(its[i], err);
        if (code != 0)
            return code;
    }
    if (names != check->name_count)
        problem(check, "names: %llu rows, the entries have %llu names", (unsigned long long)names,
                (unsigned long long)check->name_count);
    if (places != check->entry_count)
        problem(check, "places: %llu rows for %llu entries", (unsigned long long)places,
                (unsigned long long)check->entry_count);
    return 0;
}

/* ---- lists ---- */

struct list_count {
    uint32_t postings, dead;
};

static int sum_list(struct check *check, struct segment_check *at, struct posting_cursor *cursor,
                    uint64_t token, struct list_count *count, struct err *err)
{
    uint32_t last = 0;
    int code = posting_advance(cursor, 0, err);
    for (; code == 0 && posting_doc(cursor) != POSTING_END; code = posting_next(cursor, err)) {
        uint32_t doc = posting_doc(cursor), position_count = 0;
        const uint32_t *positions = NULL;
        if (count->postings > 0 && doc <= last)
            return err_set(err, ERR_CORRUPT, "documents do not rise");
        last = doc;
        if (doc >= at->segment->doc_limit) {
            if (at->on_disk)
                return err_set(err, ERR_CORRUPT, "document %u does not exist", doc);
            break; /* added after our moment */
        }
        count->postings++;
        code = posting_load_freqs(cursor, err);
        if (code == 0)
            code = cursor->ops->positions(cursor, cursor->index, &positions, &position_count, err);
        if (code != 0)
            return code;
        at->found[doc] += posting_hash(token, posting_freq(cursor), positions, position_count);
        count->dead += live_is_dead(at->segment->dead, doc);
    }
    check->postings += count->postings;
    return code;
}

static void check_list(struct check *check, struct segment_check *at, struct segment_terms *terms,
                       uint64_t *dead_tokens)
{
    struct segment_token token = terms->ops->token(terms);
    struct list_count count = {0};
    struct posting_cursor *cursor = NULL;
    struct err err = {0};
    unsigned long long id = at->segment->segment->id;
    int code = terms->ops->postings(terms, &cursor, &err);
    if (code == 0 && cursor != NULL)
        code = sum_list(check, at, cursor, token_hash(token), &count, &err);
    posting_close(cursor);
    if (code != 0) {
        problem(check, "segment %llu, list of \"%.*s\" in field %d: %s", id, (int)token.text.size,
                (const char *)token.text.data, token.field, err.text);
        return;
    }
    if (at->on_disk && terms->ops->frequency(terms) != count.postings)
        problem(check, "segment %llu, list of \"%.*s\" in field %d: says %u postings, has %u", id,
                (int)token.text.size, (const char *)token.text.data, token.field,
                terms->ops->frequency(terms), count.postings);
    uint32_t dead = dead_terms_get(at->dead_terms, token.field, token.text);
    *dead_tokens += count.dead > 0;
    if (dead != count.dead)
        problem(check,
                "segment %llu, list of \"%.*s\" in field %d: %u dead postings, %u are counted", id,
                (int)token.text.size, (const char *)token.text.data, token.field, count.dead, dead);
}

static int check_segment(struct check *check, struct segment_check *at, struct err *err)
{
    struct segment *segment = at->segment->segment;
    struct segment_terms *terms = NULL;
    unsigned long long id = segment->id;
    uint64_t dead_tokens = 0, postings;
    char text[160];
    if (at->on_disk) {
        struct err why = {0};
        if (disk_segment_validate(segment, &postings, &why) != 0)
            problem(check, "segment %llu: %s", id, why.text);
    }
    int code = segment->ops->terms(segment, NULL, &terms, err);
    while (code == 0 && terms->ops->valid(terms)) {
        check_list(check, at, terms, &dead_tokens);
        code = terms->ops->next(terms, err);
    }
    if (terms != NULL)
        terms->ops->close(terms);
    if (code != 0) {
        problem(check, "segment %llu: %s", id, err->text);
        return 0;
    }
    if (dead_tokens != dead_terms_count(at->dead_terms))
        problem(check, "segment %llu: %zu tokens have counts of dead postings, %llu should", id,
                dead_terms_count(at->dead_terms), (unsigned long long)dead_tokens);
    for (uint32_t doc = 0; doc < at->segment->doc_limit; doc++) {
        if (live_is_dead(at->segment->dead, doc))
            continue;
        struct bytes key = segment->ops->entry_key(segment, doc);
        if (!at->standing[doc])
            problem(check, "segment %llu, document %u: alive, but no entry %s stands there", id,
                    doc, show(key, text));
        else if (at->expected[doc] != at->found[doc])
            problem(check, "entry %s: its postings in segment %llu are not those of its text",
                    show(key, text), id);
    }
    return 0;
}

/* ---- all together ---- */

static void check_figures(struct check *check)
{
    if (check->view->documents != check->entry_count)
        problem(check, "statistics: %llu documents, there are %llu entries",
                (unsigned long long)check->view->documents, (unsigned long long)check->entry_count);
    if (check->view->total_length != check->total_length)
        problem(check, "statistics: total length %llu, by the entries it is %llu",
                (unsigned long long)check->view->total_length,
                (unsigned long long)check->total_length);
    if (!letters_equal(&check->letters, &check->counted_letters))
        problem(check, "statistics: the counts by letter are not those of the entries");
}

int range_verify(struct range *range, struct range_verified *verified,
                 void (*report)(void *data, const char *text), void *data, struct err *err)
{
    struct check check = {.range = range, .problem = report, .data = data};
    struct err unused;
    err = err != NULL ? err : &unused;
    int code = analyzer_create(range->settings.language, &check.analyzer, err);
    if (code != 0)
        return code;
    check_init(&check);
    code = check_entries(&check, err);
    if (code == 0)
        code = check_row_counts(&check, err);
    for (uint32_t i = 0; i < check.view->segment_count && code == 0; i++)
        code = check_segment(&check, &check.segments[i], err);
    if (code == 0)
        check_figures(&check);
    if (code == 0)
        code = store_verify(range->store, err);
    *verified =
        (struct range_verified){check.entry_count, check.postings, check.view->seq, check.digest};
    check_deinit(&check);
    if (code == ERR_CORRUPT) { /* a damaged file is what we were looking for */
        report(data, err->text);
        return 0;
    }
    return code;
}
