/* One scan over the `name` rows serves every strategy: rows are (name key, 0, entry key) -> the
 * name as written, so the entries of a name stand together, the first of them in entry-key order in
 * front. What differs is where the scan begins, when it may end, and which names it takes. */
#include "shard/names.h"
#include "proto/base/clock.h"
#include "proto/limits.h"
#include "shard/distance.h"
#include "shard/nearest.h"

#include <string.h>

#define ROWS_PER_CHECK 1024

struct scan {
    Quire__MatchRequest__Strategy strategy;
    struct bytes key;
    uint32_t distance;
    struct distance_word *word;  /* FUZZY: the key */
    struct distance_word *other; /* FUZZY: the name that is looked at */
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
    case QUIRE__MATCH_REQUEST__STRATEGY__FUZZY:
        return distance_first_letter(scan->key);
    default:
        return bytes_of(NULL, 0);
    }
}

static bool matches(struct scan *scan, struct bytes name, uint32_t *distance)
{
    *distance = 0;
    switch (scan->strategy) {
    case QUIRE__MATCH_REQUEST__STRATEGY__EXACT:
        return bytes_equal(name, scan->key);
    case QUIRE__MATCH_REQUEST__STRATEGY__SUBSTRING:
        return scan->key.size == 0 || memmem(name.data, name.size, scan->key.data, scan->key.size);
    case QUIRE__MATCH_REQUEST__STRATEGY__FUZZY:
        distance_word_init(scan->other, name);
        *distance = distance_between(scan->word, scan->other, scan->distance);
        return *distance <= scan->distance;
    default:
        return true; /* PREFIX: scan_prefix() sees to it */
    }
}

/* In key order, so the first ones are the nearest: nothing further on can get in any more. */
static bool is_full(const struct scan *scan)
{
    return scan->strategy != QUIRE__MATCH_REQUEST__STRATEGY__FUZZY &&
           scan->nearest.count == scan->nearest.limit;
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

static int scan_rows(struct scan *scan, struct store_iterator *it, struct err *err)
{
    struct bytes prefix = scan_prefix(scan);
    struct buf name = {0}, spelling = {0}; /* the row's own memory goes with the next step */
    int status = 0;
    while (!status && store_iterator_valid(it) && !is_full(scan)) {
        struct bytes here = name_of(store_iterator_key(it));
        if (!bytes_has_prefix(here, prefix))
            break;
        buf_clear(&name);
        buf_append_bytes(&name, here);
        buf_clear(&spelling);
        buf_append_bytes(&spelling, store_iterator_value(it));
        struct nearest_item item = {.text = buf_bytes(&name), .spelling = buf_bytes(&spelling)};
        bool taken = matches(scan, item.text, &item.distance) &&
                     nearest_wants(&scan->nearest, item.distance, item.text);
        status = count_rows(scan, it, item.text, &item.number, err);
        if (!status && taken && !nearest_add(&scan->nearest, &item))
            status = err_set(err, ERR_NOMEM, "out of memory for names");
        if (scan->strategy == QUIRE__MATCH_REQUEST__STRATEGY__EXACT && taken)
            break;
    }
    buf_deinit(&name);
    buf_deinit(&spelling);
    return status ? status : store_iterator_status(it, err);
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
    scan->other = arena_alloc(arena, sizeof *scan->other);
    if (!scan->word || !scan->other || !nearest_init(&scan->nearest, (size_t)limit + 1, arena))
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

int names_match(struct store *store, const Quire__ShardMatch *request,
                const struct search_budget *budget, struct arena *arena,
                Quire__MatchedName ***names, size_t *count, struct err *err)
{
    *names = NULL;
    *count = 0;
    struct scan scan = {.budget = budget};
    int status = scan_init(&scan, request, arena, err);
    if (status)
        return status;
    if (scan.key.size == 0 && scan.strategy == QUIRE__MATCH_REQUEST__STRATEGY__FUZZY)
        return write_names(&scan, arena, names, count, err);
    struct store_iterator *it =
        store_iterate(store, STORE_NAME, scan_prefix(&scan), bytes_of(NULL, 0));
    status = scan_rows(&scan, it, err);
    store_iterator_close(it);
    return status ? status : write_names(&scan, arena, names, count, err);
}
