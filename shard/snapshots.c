#include "shard/snapshots.h"

#include "proto/base/clock.h"
#include "proto/base/list.h"
#include "proto/base/uuid.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_PER_CHECK 256 /* between two looks at the deadline */

struct snapshot {
    struct list link;
    uint64_t id;
    struct replica *replica; /* a reference */
    struct store_iterator *it;
    struct buf at; /* the key where `it` stands, after a page; empty: unknown */
    uint64_t used_ms;
    bool busy; /* a request reads from it: it stays */
    bool gone; /* out of the list; its reader ends it */
};

struct snapshots {
    pthread_mutex_t lock;
    struct list all;
    size_t count;
    uint64_t next_id;
};

int snapshots_create(struct snapshots **out, struct err *err)
{
    char random[UUID_TEXT_SIZE];
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    pthread_mutex_init(&(*out)->lock, NULL);
    list_init(&(*out)->all);
    /* Numbers of another life of this process must not be taken for ours. */
    uuid_generate_text(random);
    (*out)->next_id = hash64(random, sizeof random - 1);
    return 0;
}

/* Out of the lock: with the last reference the range is closed. */
static void end(struct snapshot *snapshot)
{
    store_iterator_close(snapshot->it);
    replica_unref(snapshot->replica);
    buf_deinit(&snapshot->at);
    free(snapshot);
}

static void end_all(struct list *gone)
{
    struct list *link;
    while ((link = list_shift(gone)) != NULL)
        end(list_entry(link, struct snapshot, link));
}

void snapshots_destroy(struct snapshots *snapshots)
{
    if (snapshots == NULL)
        return;
    end_all(&snapshots->all);
    pthread_mutex_destroy(&snapshots->lock);
    free(snapshots);
}

size_t snapshots_count(struct snapshots *snapshots)
{
    pthread_mutex_lock(&snapshots->lock);
    size_t count = snapshots->count;
    pthread_mutex_unlock(&snapshots->lock);
    return count;
}

/* ---- taking ---- */

int snapshots_take(struct snapshots *snapshots, struct replica *replica, uint64_t now_ms,
                   Quire__Snapshot *out, struct err *err)
{
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    replica_ref(replica);
    snapshot->replica = replica;
    snapshot->used_ms = now_ms;
    snapshot->it = range_snapshot(replica->range, &out->seq, &out->entries);
    out->has_entries = 1;
    out->range = replica->id;
    pthread_mutex_lock(&snapshots->lock);
    bool room = snapshots->count < SNAPSHOTS_MAX;
    if (room) {
        snapshots->count++;
        out->id = snapshot->id = snapshots->next_id++;
        list_push(&snapshots->all, &snapshot->link);
    }
    pthread_mutex_unlock(&snapshots->lock);
    if (room)
        return 0;
    end(snapshot);
    return err_set(err, ERR_FULL, "the shard keeps %d snapshots already", SNAPSHOTS_MAX);
}

/* ---- reading ---- */

static struct snapshot *find(struct snapshots *snapshots, uint64_t id)
{
    for (struct list *link = snapshots->all.next; link != &snapshots->all; link = link->next) {
        struct snapshot *snapshot = list_entry(link, struct snapshot, link);
        if (snapshot->id == id)
            return snapshot;
    }
    return NULL;
}

/* Holder of the lock. */
static void take_out(struct snapshots *snapshots, struct snapshot *snapshot)
{
    list_remove(&snapshot->link);
    snapshots->count--;
    snapshot->gone = true;
}

static int begin(struct snapshots *snapshots, uint64_t id, uint64_t now_ms, struct snapshot **out,
                 struct err *err)
{
    int code = 0;
    pthread_mutex_lock(&snapshots->lock);
    struct snapshot *snapshot = find(snapshots, id);
    if (snapshot == NULL) {
        code = err_set(err, ERR_NOT_FOUND, "this snapshot is not kept any more");
    } else if (snapshot->busy) {
        code = err_set(err, ERR_UNAVAILABLE, "another request reads from this snapshot");
    } else {
        snapshot->busy = true;
        snapshot->used_ms = now_ms;
    }
    pthread_mutex_unlock(&snapshots->lock);
    *out = code == 0 ? snapshot : NULL;
    return code;
}

static void finish(struct snapshots *snapshots, struct snapshot *snapshot)
{
    pthread_mutex_lock(&snapshots->lock);
    snapshot->busy = false;
    snapshot->used_ms = clock_ms();
    bool gone = snapshot->gone;
    pthread_mutex_unlock(&snapshots->lock);
    if (gone)
        end(snapshot);
}

static void *copy(struct arena *arena, struct bytes bytes)
{
    void *to = arena_copy(arena, bytes.data, bytes.size);
    if (to == NULL)
        abort(); /* arenas of requests have no limit */
    return to;
}

struct page {
    struct arena *arena;
    Quire__SnapshotPage *out;
    size_t capacity, bytes;
};

static int add_row(struct page *page, struct bytes row, struct err *err)
{
    Quire__SnapshotPage *out = page->out;
    if (out->n_entries == page->capacity) {
        size_t capacity = page->capacity == 0 ? 256 : 2 * page->capacity;
        Quire__Entry **entries = arena_calloc(page->arena, capacity, sizeof entries[0]);
        if (entries == NULL)
            abort();
        if (out->n_entries > 0)
            memcpy(entries, out->entries, out->n_entries * sizeof entries[0]);
        out->entries = entries;
        page->capacity = capacity;
    }
    Quire__Entry *entry = quire__entry__unpack(arena_protobuf(page->arena), row.size, row.data);
    if (entry == NULL)
        return err_set(err, ERR_CORRUPT, "an entry's row is malformed");
    out->entries[out->n_entries++] = entry;
    page->bytes += row.size;
    return 0;
}

static int check_budget(const struct search_budget *budget, size_t rows, struct err *err)
{
    if (rows % ROWS_PER_CHECK != 0)
        return 0;
    if (budget->deadline_ms != 0 && clock_ms() > budget->deadline_ms)
        return err_set(err, ERR_DEADLINE, "the deadline passed while rows were read");
    return 0;
}

static uint32_t limit_of(const Quire__SnapshotRead *request)
{
    uint32_t limit = request->has_limit_bytes ? request->limit_bytes : SNAPSHOT_PAGE_BYTES;
    return limit == 0 ? SNAPSHOT_PAGE_BYTES : limit > SNAPSHOT_PAGE_MAX ? SNAPSHOT_PAGE_MAX : limit;
}

static int read_page(struct snapshot *snapshot, const Quire__SnapshotRead *request,
                     const struct search_budget *budget, struct page *page, struct err *err)
{
    struct store_iterator *it = snapshot->it;
    struct bytes from = bytes_of(request->from.data, request->from.len);
    struct bytes to = bytes_of(request->to.data, request->to.len);
    uint32_t limit = limit_of(request);
    int code = 0;
    if (snapshot->at.size == 0 || !bytes_equal(from, buf_bytes(&snapshot->at)))
        store_iterator_seek(it, from.size > 0 ? from : bytes_str(""));
    buf_clear(&snapshot->at);
    for (size_t rows = 1; code == 0 && store_iterator_valid(it); store_iterator_next(it), rows++) {
        struct bytes key = store_iterator_key(it);
        if (to.size > 0 && bytes_compare(key, to) >= 0)
            break;
        if (page->out->n_entries > 0 &&
            (page->bytes >= limit || page->out->n_entries >= SNAPSHOT_PAGE_ENTRIES)) {
            page->out->has_next = 1;
            page->out->next.data = copy(page->arena, key);
            page->out->next.len = key.size;
            buf_append_bytes(&snapshot->at, key);
            break;
        }
        code = check_budget(budget, rows, err);
        if (code == 0)
            code = add_row(page, store_iterator_value(it), err);
    }
    return code != 0 ? code : store_iterator_status(it, err);
}

static int release(struct snapshots *snapshots, uint64_t id)
{
    pthread_mutex_lock(&snapshots->lock);
    struct snapshot *snapshot = find(snapshots, id);
    if (snapshot != NULL)
        take_out(snapshots, snapshot);
    bool idle = snapshot != NULL && !snapshot->busy;
    pthread_mutex_unlock(&snapshots->lock);
    if (idle)
        end(snapshot);
    return 0;
}

int snapshots_read(struct snapshots *snapshots, const Quire__SnapshotRead *request,
                   const struct search_budget *budget, uint64_t now_ms, struct arena *arena,
                   Quire__SnapshotPage *out, struct err *err)
{
    struct snapshot *snapshot;
    struct page page = {.arena = arena, .out = out};
    int code = 0;
    if (request->has_what && request->what == QUIRE__SNAPSHOT_READ__WHAT__RELEASE)
        return release(snapshots, request->id);
    code = begin(snapshots, request->id, now_ms, &snapshot, err);
    if (code != 0)
        return code;
    if (!request->has_what || request->what == QUIRE__SNAPSHOT_READ__WHAT__ENTRIES)
        code = read_page(snapshot, request, budget, &page, err);
    if (code != 0)
        replica_damaged(snapshot->replica, err);
    finish(snapshots, snapshot);
    return code;
}

/* ---- keeping ---- */

/* Whether the table has another replica for its range, or none. */
static bool is_replaced(const struct snapshot *snapshot, struct replicas *replicas)
{
    struct replica *now = replicas_find(replicas, snapshot->replica->id);
    bool replaced = now != snapshot->replica;
    if (now != NULL)
        replica_unref(now);
    return replaced;
}

void snapshots_expire(struct snapshots *snapshots, struct replicas *replicas, uint64_t now_ms)
{
    struct list gone;
    list_init(&gone);
    pthread_mutex_lock(&snapshots->lock);
    for (struct list *link = snapshots->all.next, *next; link != &snapshots->all; link = next) {
        struct snapshot *snapshot = list_entry(link, struct snapshot, link);
        next = link->next;
        bool idle = !snapshot->busy && now_ms > snapshot->used_ms &&
                    now_ms - snapshot->used_ms >= SNAPSHOT_KEPT_MS;
        if (!idle && !is_replaced(snapshot, replicas))
            continue;
        take_out(snapshots, snapshot);
        if (!snapshot->busy)
            list_push(&gone, &snapshot->link);
    }
    pthread_mutex_unlock(&snapshots->lock);
    end_all(&gone);
}
