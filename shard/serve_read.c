/* Lookup and browsing: entries by key, by name, in order; letters; names. */
#include "shard/server_internal.h"

#include "proto/base/clock.h"
#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/names.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 4096              /* of one reply */
#define ENTRIES_BYTES_MAX (12u << 20) /* of one reply; at least one entry */
#define ROWS_PER_CHECK 512            /* between two looks at the deadline */

/* ---- collecting entries ---- */

struct entries {
    struct work *work;
    Quire__ShardEntries reply;
    size_t capacity;
    size_t bytes;
    bool heads_only;
};

static void entries_init(struct entries *entries, struct work *work)
{
    *entries = (struct entries){.work = work};
    quire__shard_entries__init(&entries->reply);
}

static void grow(struct entries *entries, size_t count)
{
    if (count < entries->capacity)
        return;
    size_t capacity = entries->capacity == 0 ? 64 : 2 * entries->capacity;
    void **whole = serve_alloc(entries->work, capacity, sizeof whole[0]);
    void **heads = serve_alloc(entries->work, capacity, sizeof heads[0]);
    if (entries->reply.n_entries > 0)
        memcpy(whole, entries->reply.entries, entries->reply.n_entries * sizeof whole[0]);
    if (entries->reply.n_heads > 0)
        memcpy(heads, entries->reply.heads, entries->reply.n_heads * sizeof heads[0]);
    entries->reply.entries = (Quire__Entry **)whole;
    entries->reply.heads = (Quire__EntryHead **)heads;
    entries->capacity = capacity;
}

static Quire__EntryHead *head_of(struct work *work, const Quire__Entry *entry, struct bytes key)
{
    Quire__EntryHead *head = serve_alloc(work, 1, sizeof *head);
    quire__entry_head__init(head);
    head->headword = entry->headword;
    head->sense = entry->sense;
    head->n_terms = entry->n_terms;
    head->terms = entry->terms;
    head->n_categories = entry->n_categories;
    head->categories = entry->categories;
    head->has_key = 1;
    struct bytes copy =
        serve_copy(work, bytes_of(key.data, strnlen((const char *)key.data, key.size)));
    head->key.data = (uint8_t *)copy.data;
    head->key.len = copy.size;
    return head;
}

/* Adds the entry whose packed form is `row`. */
static int add_row(struct entries *entries, struct bytes key, struct bytes row, struct err *err)
{
    struct work *work = entries->work;
    Quire__Entry *entry =
        quire__entry__unpack(arena_protobuf(&work->request->arena), row.size, row.data);
    if (entry == NULL)
        return err_set(err, ERR_CORRUPT, "an entry's row is malformed");
    if (entries->heads_only) {
        Quire__EntryHead *head = head_of(work, entry, key);
        grow(entries, entries->reply.n_heads);
        entries->reply.heads[entries->reply.n_heads++] = head;
        entries->bytes += quire__entry_head__get_packed_size(head);
    } else {
        grow(entries, entries->reply.n_entries);
        entries->reply.entries[entries->reply.n_entries++] = entry;
        entries->bytes += row.size;
    }
    return 0;
}

static size_t entries_count(const struct entries *entries)
{
    return entries->reply.n_entries + entries->reply.n_heads;
}

static bool entries_full(const struct entries *entries)
{
    return entries_count(entries) >= ENTRIES_MAX || entries->bytes >= ENTRIES_BYTES_MAX;
}

static int check_budget(struct work *work, uint64_t rows, struct err *err)
{
    if (rows % ROWS_PER_CHECK != 0)
        return 0;
    if (work->budget.deadline_ms != 0 && clock_ms() > work->budget.deadline_ms)
        return err_set(err, ERR_DEADLINE, "the deadline passed while rows were read");
    if (rpc_request_abandoned(work->request))
        return err_set(err, ERR_CANCELED, "the caller is gone");
    return 0;
}

static void reply_one_range(struct entries *entries, const Quire__RangeRef *ref)
{
    uint64_t *covered = serve_alloc(entries->work, 1, sizeof covered[0]);
    covered[0] = ref->id;
    entries->reply.covered = covered;
    entries->reply.n_covered = 1;
    serve_reply(entries->work->server, entries->work->request, &entries->reply.base);
}

/* ---- get ---- */

static int get_all_senses(struct entries *entries, struct replica *replica, struct bytes key,
                          struct err *err)
{
    struct buf from = {0}, to = {0};
    buf_append_bytes(&from, key);
    buf_append_u8(&from, 0);
    buf_append_bytes(&to, key);
    buf_append_u8(&to, 1);
    struct store_iterator *it =
        store_iterate(range_store(replica->range), STORE_ENTRY, buf_bytes(&from), buf_bytes(&to));
    int code = 0;
    for (; code == 0 && store_iterator_valid(it) && !entries_full(entries); store_iterator_next(it))
        code = add_row(entries, store_iterator_key(it), store_iterator_value(it), err);
    if (code == 0)
        code = store_iterator_status(it, err);
    store_iterator_close(it);
    buf_deinit(&from);
    buf_deinit(&to);
    return code;
}

static int get_row(struct entries *entries, struct replica *replica, struct bytes key,
                   struct err *err)
{
    struct store_value row;
    bool found;
    int code = store_get(range_store(replica->range), STORE_ENTRY, key, &row, &found, err);
    if (code == 0 && found)
        code = add_row(entries, key, row.bytes, err);
    store_value_release(&row);
    return code;
}

static int get(struct entries *entries, const Quire__ShardGet *request, struct err *err)
{
    struct replica *replica;
    struct bytes key = bytes_of(request->key.data, request->key.len);
    int code = replicas_acquire(entries->work->server->replicas, request->range,
                                entries->work->request->deadline_ms, &replica, err);
    if (code != 0)
        return code;
    if (request->sense == NULL) {
        code = get_all_senses(entries, replica, key, err);
    } else {
        struct buf whole = {0};
        buf_append_bytes(&whole, key);
        buf_append_u8(&whole, 0);
        buf_append_str(&whole, request->sense);
        code = get_row(entries, replica, buf_bytes(&whole), err);
        buf_deinit(&whole);
    }
    if (code != 0)
        replica_damaged(replica, err);
    replica_unref(replica);
    return code;
}

void serve_get(struct work *work)
{
    Quire__ShardGet *request = serve_unpack(work, &quire__shard_get__descriptor);
    struct entries entries;
    struct err err = {0};
    if (request == NULL)
        return;
    entries_init(&entries, work);
    if (get(&entries, request, &err) == 0)
        reply_one_range(&entries, request->range);
    else
        serve_range_error(work->server, work->request, request->range, &err);
}

/* ---- lookup by name ---- */

struct lookup {
    struct entries entries;
    struct bytes key;
};

static int lookup_range(struct work *work, struct replica *replica, void *data, struct err *err)
{
    struct lookup *lookup = data;
    struct buf from = {0}, to = {0};
    buf_append_bytes(&from, lookup->key);
    buf_append_u8(&from, 0);
    buf_append_bytes(&to, lookup->key);
    buf_append_u8(&to, 1);
    struct store_iterator *it =
        store_iterate(range_store(replica->range), STORE_NAME, buf_bytes(&from), buf_bytes(&to));
    int code = 0;
    for (uint64_t rows = 1; code == 0 && store_iterator_valid(it); store_iterator_next(it)) {
        struct bytes row = store_iterator_key(it);
        struct bytes entry = bytes_of(row.data + from.size, row.size - from.size);
        if (entries_full(&lookup->entries)) {
            code = err_set(err, ERR_TOO_LARGE, "more than %d entries bear this name", ENTRIES_MAX);
            break;
        }
        code = get_row(&lookup->entries, replica, entry, err);
        if (code == 0)
            code = check_budget(work, rows++, err);
    }
    if (code == 0)
        code = store_iterator_status(it, err);
    store_iterator_close(it);
    buf_deinit(&from);
    buf_deinit(&to);
    return code;
}

void serve_lookup(struct work *work)
{
    Quire__ShardLookup *request = serve_unpack(work, &quire__shard_lookup__descriptor);
    if (request == NULL)
        return;
    struct lookup lookup = {.key = bytes_of(request->key.data, request->key.len)};
    struct coverage coverage = {0};
    struct err err = {0};
    entries_init(&lookup.entries, work);
    if (serve_ranges(work, request->ranges, request->n_ranges, &coverage, lookup_range, &lookup,
                     &err) != 0) {
        serve_error(work->server, work->request, &err);
        return;
    }
    lookup.entries.reply.n_covered = coverage.covered_count;
    lookup.entries.reply.covered = coverage.covered;
    lookup.entries.reply.n_failed = coverage.failed_count;
    lookup.entries.reply.failed = coverage.failed;
    serve_reply(work->server, work->request, &lookup.entries.reply.base);
}

/* ---- browse ---- */

static int browse_rows(struct entries *entries, struct store_iterator *it,
                       const Quire__ShardBrowse *request, struct err *err)
{
    uint64_t skip = request->skip, rows = 1;
    uint32_t limit = request->has_limit ? request->limit : LIMIT_PER_PAGE;
    size_t bytes = request->has_limit_bytes ? request->limit_bytes : ENTRIES_BYTES_MAX;
    int code = 0;
    entries->reply.has_skipped = 1;
    for (; code == 0 && store_iterator_valid(it); store_iterator_next(it)) {
        code = check_budget(entries->work, rows++, err);
        if (skip > 0) {
            skip--;
            entries->reply.skipped++;
            continue;
        }
        bool first = entries_count(entries) == 0;
        if (entries_count(entries) >= limit || entries_full(entries) ||
            (!first && entries->bytes >= bytes)) {
            struct bytes next = serve_copy(entries->work, store_iterator_key(it));
            entries->reply.has_next = 1;
            entries->reply.next.data = (uint8_t *)next.data;
            entries->reply.next.len = next.size;
            break;
        }
        if (code == 0)
            code = add_row(entries, store_iterator_key(it), store_iterator_value(it), err);
    }
    return code != 0 ? code : store_iterator_status(it, err);
}

void serve_browse(struct work *work)
{
    Quire__ShardBrowse *request = serve_unpack(work, &quire__shard_browse__descriptor);
    struct entries entries;
    struct replica *replica;
    struct err err = {0};
    if (request == NULL)
        return;
    entries_init(&entries, work);
    entries.heads_only = request->has_heads_only && request->heads_only;
    int code = replicas_acquire(work->server->replicas, request->range, work->request->deadline_ms,
                                &replica, &err);
    if (code == 0) {
        struct store_iterator *it = store_iterate(range_store(replica->range), STORE_ENTRY,
                                                  bytes_of(request->from.data, request->from.len),
                                                  bytes_of(request->to.data, request->to.len));
        code = browse_rows(&entries, it, request, &err);
        store_iterator_close(it);
        replica_damaged(replica, &err);
        replica_unref(replica);
    }
    if (code == 0)
        reply_one_range(&entries, request->range);
    else
        serve_range_error(work->server, work->request, request->range, &err);
}

/* ---- letters ---- */

struct letter_sum {
    struct bytes letter; /* as people see it */
    struct bytes key;    /* by which it is sorted */
    uint64_t count;
};

struct letters_work {
    struct work *work;
    struct bytes before;
    struct letter_sum *sums;
    size_t count, capacity;
    uint64_t total, before_count;
};

static void add_letter(void *data, struct bytes letter, uint64_t count)
{
    struct letters_work *it = data;
    struct buf key = {0};
    it->total += count;
    if (it->count == it->capacity) {
        size_t capacity = it->capacity == 0 ? 64 : 2 * it->capacity;
        struct letter_sum *sums = serve_alloc(it->work, capacity, sizeof sums[0]);
        if (it->count > 0)
            memcpy(sums, it->sums, it->count * sizeof sums[0]);
        it->sums = sums;
        it->capacity = capacity;
    }
    text_key(letter, &key);
    it->sums[it->count++] = (struct letter_sum){serve_copy(it->work, letter),
                                                serve_copy(it->work, buf_bytes(&key)), count};
    buf_deinit(&key);
}

static int letters_range(struct work *work, struct replica *replica, void *data, struct err *err)
{
    struct letters_work *it = data;
    uint64_t before;
    int code = range_count_before(replica->range, it->before, &before, err);
    if (code != 0)
        return code;
    it->before_count += before;
    range_letters(replica->range, add_letter, it);
    return 0;
}

static int by_letter(const void *a, const void *b)
{
    const struct letter_sum *x = a, *y = b;
    int order = bytes_compare(x->key, y->key);
    return order != 0 ? order : bytes_compare(x->letter, y->letter);
}

static void put_letters(struct letters_work *it, Quire__ShardLettersReply *reply)
{
    if (it->count > 0)
        qsort(it->sums, it->count, sizeof it->sums[0], by_letter);
    reply->letters = serve_alloc(it->work, it->count, sizeof reply->letters[0]);
    for (size_t i = 0; i < it->count; i++) {
        if (i > 0 && bytes_equal(it->sums[i - 1].letter, it->sums[i].letter)) {
            reply->letters[reply->n_letters - 1]->count += it->sums[i].count;
            continue;
        }
        Quire__LetterCount *letter = serve_alloc(it->work, 1, sizeof *letter);
        quire__letter_count__init(letter);
        letter->letter = (char *)it->sums[i].letter.data;
        letter->count = it->sums[i].count;
        reply->letters[reply->n_letters++] = letter;
    }
}

void serve_letters(struct work *work)
{
    Quire__ShardLetters *request = serve_unpack(work, &quire__shard_letters__descriptor);
    if (request == NULL)
        return;
    Quire__ShardLettersReply reply = QUIRE__SHARD_LETTERS_REPLY__INIT;
    struct letters_work it = {.work = work};
    struct coverage coverage = {0};
    struct err err = {0};
    if (request->has_before)
        it.before = bytes_of(request->before.data, request->before.len);
    if (serve_ranges(work, request->ranges, request->n_ranges, &coverage, letters_range, &it,
                     &err) != 0) {
        serve_error(work->server, work->request, &err);
        return;
    }
    put_letters(&it, &reply);
    reply.has_total = 1;
    reply.total = it.total;
    reply.has_before = request->has_before;
    reply.before = it.before_count;
    reply.n_covered = coverage.covered_count;
    reply.covered = coverage.covered;
    reply.n_failed = coverage.failed_count;
    reply.failed = coverage.failed;
    serve_reply(work->server, work->request, &reply.base);
}

/* ---- names ---- */

struct match_work {
    const Quire__ShardMatch *request;
    Quire__MatchedName **names;
    size_t count;
};

static int match_range(struct work *work, struct replica *replica, void *data, struct err *err)
{
    struct match_work *it = data;
    Quire__MatchedName **names = NULL;
    size_t count = 0;
    int code = names_match(range_name_index(replica->range), it->request, &work->budget,
                           &work->request->arena, &names, &count, err);
    if (code != 0)
        return code;
    Quire__MatchedName **all = serve_alloc(work, it->count + count, sizeof all[0]);
    if (it->count > 0)
        memcpy(all, it->names, it->count * sizeof all[0]);
    if (count > 0)
        memcpy(all + it->count, names, count * sizeof all[0]);
    it->names = all;
    it->count += count;
    return 0;
}

static struct bytes name_key(const Quire__MatchedName *name)
{
    return bytes_of(name->key.data, name->key.len);
}

static int by_distance(const void *a, const void *b)
{
    const Quire__MatchedName *x = *(Quire__MatchedName *const *)a;
    const Quire__MatchedName *y = *(Quire__MatchedName *const *)b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return bytes_compare(name_key(x), name_key(y));
}

/* A name that entries of several ranges bear is one name. */
static size_t join_names(Quire__MatchedName **names, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && bytes_equal(name_key(names[kept - 1]), name_key(names[i])))
            names[kept - 1]->entries += names[i]->entries;
        else
            names[kept++] = names[i];
    }
    return kept;
}

void serve_match(struct work *work)
{
    Quire__ShardMatch *request = serve_unpack(work, &quire__shard_match__descriptor);
    if (request == NULL)
        return;
    Quire__ShardMatchReply reply = QUIRE__SHARD_MATCH_REPLY__INIT;
    struct match_work it = {.request = request};
    struct coverage coverage = {0};
    struct err err = {0};
    uint32_t limit = request->match->has_limit ? request->match->limit : 50;
    int code = 0;
    if (limit > LIMIT_MATCHES)
        code = err_set(&err, ERR_TOO_LARGE, "at most %d names are given", LIMIT_MATCHES);
    if (code == 0)
        code = serve_ranges(work, request->ranges, request->n_ranges, &coverage, match_range, &it,
                            &err);
    if (code != 0) {
        serve_error(work->server, work->request, &err);
        return;
    }
    if (it.count > 1) {
        qsort(it.names, it.count, sizeof it.names[0], by_distance);
        it.count = join_names(it.names, it.count);
    }
    reply.names = it.names;
    reply.n_names = it.count > (size_t)limit + 1 ? (size_t)limit + 1 : it.count;
    reply.n_covered = coverage.covered_count;
    reply.covered = coverage.covered;
    reply.n_failed = coverage.failed_count;
    reply.failed = coverage.failed;
    serve_reply(work->server, work->request, &reply.base);
}
