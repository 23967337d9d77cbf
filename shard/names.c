/* The `name` rows are (name key, 0, entry key) -> the name as written, so the entries of a name
 * stand together, the first of them in entry-key order in front. Near spellings are found in the
 * name index, and then looked up here, the nearest first, until there are enough. For every other
 * strategy the rows are scanned; what differs is where the scan begins, when it may end, and which
 * names it takes. */
#include "shard/names.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "shard/distance.h"
#include "shard/nearest.h"

#include <string.h>

#define ROWS_PER_CHECK 1024
#define GONE_MAX 64 /* names of the index that are not there, until it is told */

struct scan {
    Quire__MatchRequest__Strategy strategy;
    struct bytes key;
    uint32_t distance;
    struct distance_word *word;   /* FUZZY: the key */
    struct candidates candidates; /* FUZZY */
    bool no_memory;
    struct nearest nearest;
    const struct search_budget *budget;
    uint32_t rows;
};

uint32_t names_distance(struct bytes a, struct bytes b, uint32_t limit)
{
    struct distance_word x, y;
    distance_word_init(&x, a);
    distance_word_init(&y, b);
    return distance_between(&x, &y, limit);
}

static int check_budget(struct scan *scan, struct err *err)
{
    if (++scan->rows % ROWS_PER_CHECK || !scan->budget)
        return 0;
    if (scan->budget->deadline_ms && clock_ms() >= scan->budget->deadline_ms)
        return err_set(err, ERR_DEADLINE,
                       "looking through the names took longer than the deadline");
    if (scan->budget->abandoned && scan->budget->abandoned(scan->budget->data))
        return err_set(err, ERR_CANCELED, "the search for names was given up by its caller");
    return 0;
}

/* The name part of a row's key. */
static struct bytes name_of(struct bytes row)
{
    const uint8_t *end = row.size ? memchr(row.data, 0, row.size) : NULL;
    return bytes_of(row.data, end ? (size_t)(end - row.data) : row.size);
}

/* All names in a run of rows that begin with this can match; the scan covers just that run. */
static struct bytes scan_prefix(const struct scan *scan)
{
    switch (scan->strategy) {
    case QUIRE__MATCH_REQUEST__STRATEGY__EXACT:
    case QUIRE__MATCH_REQUEST__STRATEGY__PREFIX:
        return scan->key;
    default:
        return bytes_of(NULL, 0);
    }
}

static bool matches(const struct scan *scan, struct bytes name)
{
    switch (scan->strategy) {
    case QUIRE__MATCH_REQUEST__STRATEGY__EXACT:
        return bytes_equal(name, scan->key);
    case QUIRE__MATCH_REQUEST__STRATEGY__SUBSTRING:
        return scan->key.size == 0 || memmem(name.data, name.size, scan->key.data, scan->key.size);
    default:
        return true; /* PREFIX: scan_prefix() sees to it */
    }
}

/* What comes is the nearest of the rest (or the first in key order): nothing further on can get in.
 */
static bool is_full(const struct scan *scan)
{
    return scan->nearest.count == scan->nearest.limit;
}

/* Counts the rows of the name on which the iterator stands, and moves behind them. */
static int count_rows(struct scan *scan, struct store_iterator *it, struct bytes name,
                      uint64_t *count, struct err *err)
{
    *count = 0;
    for (; store_iterator_valid(it); store_iterator_next(it)) {
        if (!bytes_equal(name_of(store_iterator_key(it)), name))
            break;
        int status = check_budget(scan, err);
        if (status)
            return status;
        ++*count;
    }
    return 0;
}

/* Takes the name on which the iterator stands, and moves behind its rows. */
static int take_name(struct scan *scan, struct store_iterator *it, struct bytes name,
                     uint32_t distance, struct err *err)
{
    struct buf spelling = {0}; /* the row's own memory goes with the next step */
    buf_append_bytes(&spelling, store_iterator_value(it));
    struct nearest_item item = {
        .distance = distance, .text = name, .spelling = buf_bytes(&spelling)};
    int status = count_rows(scan, it, name, &item.number, err);
    if (!status && !nearest_add(&scan->nearest, &item))
        status = err_set(err, ERR_NOMEM, "out of memory for names");
    buf_deinit(&spelling);
    return status;
}

static int scan_rows(struct scan *scan, struct store_iterator *it, struct err *err)
{
    struct bytes prefix = scan_prefix(scan);
    struct buf name = {0};
    uint64_t passed;
    int status = 0;
    while (!status && store_iterator_valid(it) && !is_full(scan)) {
        struct bytes here = name_of(store_iterator_key(it));
        if (!bytes_has_prefix(here, prefix))
            break;
        buf_clear(&name);
        buf_append_bytes(&name, here);
        if (matches(scan, buf_bytes(&name)))
            status = take_name(scan, it, buf_bytes(&name), 0, err);
        else
            status = count_rows(scan, it, buf_bytes(&name), &passed, err);
        if (scan->strategy == QUIRE__MATCH_REQUEST__STRATEGY__EXACT)
            break;
    }
    buf_deinit(&name);
    return status ? status : store_iterator_status(it, err);
}

static int scan_all(struct scan *scan, struct store *store, struct err *err)
{
    struct store_iterator *it =
        store_iterate(store, STORE_NAME, scan_prefix(scan), bytes_of(NULL, 0));
    int status = scan_rows(scan, it, err);
    store_iterator_close(it);
    return status;
}

/* ---- near spellings ---- */

static void take_candidate(void *data, struct bytes name, uint32_t distance, uint32_t number)
{
    struct scan *scan = data;
    struct candidate candidate = {.text = name, .distance = distance, .number = number};
    scan->no_memory |= !candidates_add(&scan->candidates, &candidate);
}

static int look_up(struct scan *scan, struct store_iterator *it, uint32_t *gone, struct err *err)
{
    struct candidate candidate;
    int status = 0;
    while (!status && !is_full(scan) && candidates_take(&scan->candidates, &candidate)) {
        status = check_budget(scan, err);
        if (status)
            return status;
        store_iterator_seek(it, candidate.text);
        if (store_iterator_valid(it) &&
            bytes_equal(name_of(store_iterator_key(it)), candidate.text))
            status = take_name(scan, it, candidate.text, candidate.distance, err);
        else
            ++*gone;
    }
    return status ? status : store_iterator_status(it, err);
}

static int find_near(struct scan *scan, struct name_index *index, struct arena *arena,
                     struct err *err)
{
    struct distance_walks walks = {.limit = scan->distance};
    struct bytes letter = distance_first_letter(scan->key);
    uint32_t gone = 0;
    candidates_init(&scan->candidates, arena);
    if (!distance_walks_add(&walks, scan->word, arena))
        return err_set(err, ERR_NOMEM, "out of memory for names");
    int status = name_index_near(index, letter, &walks, take_candidate, scan, err);
    if (!status && scan->no_memory)
        status = err_set(err, ERR_NOMEM, "out of memory for names");
    if (status)
        return status;
    struct store_iterator *it =
        store_iterate(name_index_store(index), STORE_NAME, letter, bytes_of(NULL, 0));
    status = look_up(scan, it, &gone, err);
    store_iterator_close(it);
    if (gone > GONE_MAX)
        name_index_forget(index, letter);
    return status;
}

static int scan_init(struct scan *scan, const Quire__ShardMatch *request, struct arena *arena,
                     struct err *err)
{
    const Quire__MatchRequest *match = request->match;
    if (match->strategy < QUIRE__MATCH_REQUEST__STRATEGY__EXACT ||
        match->strategy > QUIRE__MATCH_REQUEST__STRATEGY__FUZZY)
        return err_set(err, ERR_INVALID, "unknown strategy %d", (int)match->strategy);
    uint32_t limit = match->has_limit && match->limit ? match->limit : 50;
    if (limit > LIMIT_MATCHES)
        return err_set(err, ERR_INVALID, "%u names asked for (limit %d)", limit, LIMIT_MATCHES);
    scan->distance = match->has_distance ? match->distance : 2;
    if (scan->distance < 1 || scan->distance > 2)
        return err_set(err, ERR_INVALID, "a distance of %u (1 or 2)", scan->distance);
    scan->strategy = match->strategy;
    scan->key = bytes_of(request->key.data, request->key.len);
    scan->word = arena_alloc(arena, sizeof *scan->word);
    if (!scan->word || !nearest_init(&scan->nearest, (size_t)limit + 1, arena))
        return err_set(err, ERR_NOMEM, "out of memory for names");
    distance_word_init(scan->word, scan->key);
    return 0;
}

static int write_names(struct scan *scan, struct arena *arena, Quire__MatchedName ***names,
                       size_t *count, struct err *err)
{
    struct nearest *nearest = &scan->nearest;
    nearest_sort(nearest);
    Quire__MatchedName **list = arena_alloc(arena, (nearest->count + 1) * sizeof *list);
    for (size_t i = 0; list && i < nearest->count; i++) {
        const struct nearest_item *item = &nearest->items[i];
        Quire__MatchedName *name = arena_alloc(arena, sizeof *name);
        char *text =
            arena_copy(arena, item->spelling.size ? item->spelling.data : (const uint8_t *)"",
                       item->spelling.size);
        if (!name || !text)
            return err_set(err, ERR_NOMEM, "out of memory for names");
        quire__matched_name__init(name);
        name->name = text;
        name->key = (ProtobufCBinaryData){item->text.size, (uint8_t *)item->text.data};
        name->has_distance = scan->strategy == QUIRE__MATCH_REQUEST__STRATEGY__FUZZY;
        name->distance = item->distance;
        name->has_entries = 1;
        name->entries = item->number;
        list[i] = name;
    }
    if (!list)
        return err_set(err, ERR_NOMEM, "out of memory for names");
    *names = list;
    *count = nearest->count;
    return 0;
}

int names_match(struct name_index *index, const Quire__ShardMatch *request,
                const struct search_budget *budget, struct arena *arena,
                Quire__MatchedName ***names, size_t *count, struct err *err)
{
    *names = NULL;
    *count = 0;
    struct scan scan = {.budget = budget};
    int status = scan_init(&scan, request, arena, err);
    if (status)
        return status;
    if (scan.strategy != QUIRE__MATCH_REQUEST__STRATEGY__FUZZY)
        status = scan_all(&scan, name_index_store(index), err);
    else if (scan.key.size > 0)
        status = find_near(&scan, index, arena, err);
    return status ? status : write_names(&scan, arena, names, count, err);
}
