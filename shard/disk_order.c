/* The numbers of the documents of a new disk segment.
 *
 * By arrival: those of the first source first, each source's in their order. That is all a flush
 * may do, which keeps the numbers.
 *
 * By category: documents with the same categories stand next to each other, so that the lists of a
 * category have long runs, and a conjunction with one passes over blocks and chunks of the other
 * words. The categories of a document, told apart and sorted by term key, are written as a text:
 * one letter (four bytes) a category, the rank of its key among those of all sources. The documents
 * are numbered by that text, those with the same one as by arrival; those without a category come
 * first. The whole list is used, not the first category, because that measured better
 * (tests/bench/README.md), and because columns do not know which category an entry named first.
 *
 * The order of two documents depends on themselves only (and, where the categories are the same, on
 * that of their source), so a segment that was written by category is in order for every later
 * merge: `rising` tells the lists that nothing has to be sorted there.
 *
 * Done by counting: each different text is a group; one pass over the documents finds their group
 * (noted where the new number will be) and counts, the groups are sorted, a second pass deals out
 * numbers. Memory: 8 bytes a new document (`origins`), 8 bytes a category name of the sources and
 * its key, and some 40 bytes and the text for each group.
 */
#include "proto/base/arena.h"
#include "proto/text/key.h"
#include "shard/disk_writer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MIN 64u /* a power of two */

struct name { /* of a category in a source */
    struct bytes key;
    uint32_t source, ordinal;
};

struct group { /* documents with the same categories */
    struct bytes ranks;
    uint32_t next; /* how many; later the number that the next of them gets */
};

struct order {
    struct disk_writer *w;
    struct arena arena; /* keys of names, ranks of groups */
    uint32_t **rank;    /* by source and ordinal */
    struct group *groups;
    uint32_t *slots; /* number of the group + 1 by hash of its ranks; as many as twice `capacity` */
    uint32_t count, capacity;
    struct buf ranks; /* scratch: of one document */
};

/* ---- categories to ranks ---- */

static int name_compare(const void *a, const void *b)
{
    return bytes_compare(((const struct name *)a)->key, ((const struct name *)b)->key);
}

/* The keys of all category names of the sources; *out is the caller's. */
static int collect_names(struct order *order, struct name **out, size_t *count)
{
    struct disk_writer *w = order->w;
    struct buf key = {0};
    size_t most = 0, at = 0;

    *count = 0;
    for (uint32_t i = 0; i < w->source_count; i++)
        most += w->sources[i].segment->ops->category_count(w->sources[i].segment);
    *out = malloc((most + 1) * sizeof(**out));
    if (*out == NULL)
        return disk_writer_nomem(w);
    for (uint32_t i = 0; i < w->source_count; i++) {
        struct segment *segment = w->sources[i].segment;
        uint32_t names = segment->ops->category_count(segment);

        order->rank[i] = arena_alloc(&order->arena, ((size_t)names + 1) * sizeof(uint32_t));
        for (uint32_t j = 0; j < names && order->rank[i] != NULL; j++) {
            buf_clear(&key);
            text_key(segment->ops->category_name(segment, j), &key);
            (*out)[at++] = (struct name){
                bytes_of(arena_copy(&order->arena, key.data, key.size), key.size), i, j};
        }
    }
    buf_deinit(&key);
    *count = at;
    for (size_t i = 0; i < at; i++)
        if ((*out)[i].key.data == NULL)
            return disk_writer_nomem(w);
    return at == most ? 0 : disk_writer_nomem(w);
}

static int rank_names(struct order *order)
{
    struct name *names;
    size_t count;
    uint32_t rank = 0;
    int code = collect_names(order, &names, &count);

    if (code == 0)
        qsort(names, count, sizeof(*names), name_compare);
    for (size_t i = 0; i < count && code == 0; i++) {
        rank += i > 0 && !bytes_equal(names[i].key, names[i - 1].key);
        order->rank[names[i].source][names[i].ordinal] = rank;
    }
    free(names);
    return code;
}

/* ---- documents to groups ---- */

/* Into order->ranks: those of the document's categories, each once, rising, high byte first, so
 * that they compare as bytes do. */
static void document_ranks(struct order *order, uint32_t source, uint32_t doc)
{
    struct segment *segment = order->w->sources[source].segment;
    uint32_t count, least = 0;
    const uint32_t *ordinals = segment->ops->categories(segment, doc, &count);

    buf_clear(&order->ranks);
    for (uint32_t taken = 0; taken < count; taken++) {
        uint32_t next = UINT32_MAX;

        for (uint32_t i = 0; i < count; i++) {
            uint32_t rank = order->rank[source][ordinals[i]];

            if (rank >= least && rank < next)
                next = rank;
        }
        if (next == UINT32_MAX)
            break; /* two spellings of one category */
        buf_append_be32(&order->ranks, next);
        least = next + 1;
    }
}

static uint32_t *find_slot(const struct order *order, struct bytes ranks)
{
    size_t mask = 2 * (size_t)order->capacity - 1, at = hash64(ranks.data, ranks.size) & mask;

    while (order->slots[at] != 0 && !bytes_equal(order->groups[order->slots[at] - 1].ranks, ranks))
        at = (at + 1) & mask;
    return &order->slots[at];
}

static bool grow_groups(struct order *order)
{
    uint32_t capacity = order->capacity == 0 ? GROUPS_MIN : 2 * order->capacity;
    struct group *groups = realloc(order->groups, capacity * sizeof(*groups));

    if (groups == NULL)
        return false;
    order->groups = groups;
    free(order->slots);
    order->slots = calloc(2 * (size_t)capacity, sizeof(*order->slots));
    if (order->slots == NULL)
        return false;
    order->capacity = capacity;
    for (uint32_t i = 0; i < order->count; i++)
        *find_slot(order, groups[i].ranks) = i + 1;
    return true;
}

/* The group of the ranks in order->ranks, which is made when it is new; POSTING_END: no memory. */
static uint32_t find_group(struct order *order)
{
    struct bytes ranks = buf_bytes(&order->ranks);
    uint32_t *slot;

    if (order->count == order->capacity && !grow_groups(order))
        return POSTING_END;
    slot = find_slot(order, ranks);
    if (*slot == 0) {
        const uint8_t *copy = arena_copy(&order->arena, ranks.data, ranks.size);

        if (copy == NULL)
            return POSTING_END;
        order->groups[order->count] = (struct group){.ranks = bytes_of(copy, ranks.size)};
        *slot = ++order->count;
    }
    return *slot - 1;
}

/* Notes the groups of the live documents where their new numbers will be. */
static int group_documents(struct order *order)
{
    struct disk_writer *w = order->w;

    for (uint32_t i = 0; i < w->source_count; i++)
        for (uint32_t doc = 0; doc < w->sources[i].doc_limit; doc++) {
            uint32_t group;

            if (w->remap[i][doc] == POSTING_END)
                continue;
            document_ranks(order, i, doc);
            group = find_group(order);
            if (group == POSTING_END)
                return disk_writer_nomem(w);
            order->groups[group].next++;
            w->remap[i][doc] = group;
        }
    return 0;
}

/* ---- groups to numbers ---- */

static int group_compare(const void *a, const void *b)
{
    return bytes_compare((*(struct group *const *)a)->ranks, (*(struct group *const *)b)->ranks);
}

/* Turns the counts of the groups into the number that the first of each gets. */
static int number_groups(struct order *order)
{
    struct group **sorted = malloc(((size_t)order->count + 1) * sizeof(struct group *));
    uint32_t first = 0;

    if (sorted == NULL)
        return disk_writer_nomem(order->w);
    for (uint32_t i = 0; i < order->count; i++)
        sorted[i] = &order->groups[i];
    qsort(sorted, order->count, sizeof(*sorted), group_compare);
    for (uint32_t i = 0; i < order->count; i++) {
        uint32_t documents = sorted[i]->next;

        sorted[i]->next = first;
        first += documents;
    }
    assert(first == order->w->header.documents);
    free(sorted);
    return 0;
}

static void number_documents(struct order *order)
{
    struct disk_writer *w = order->w;

    for (uint32_t i = 0; i < w->source_count; i++) {
        uint32_t least = 0;

        for (uint32_t doc = 0; doc < w->sources[i].doc_limit; doc++) {
            uint32_t number;

            if (w->remap[i][doc] == POSTING_END)
                continue;
            number = order->groups[w->remap[i][doc]].next++;
            w->remap[i][doc] = number;
            w->origins[number] = (struct disk_origin){i, doc};
            if (number < least)
                w->rising[i] = false;
            least = number;
        }
    }
}

static int order_by_category(struct disk_writer *w)
{
    struct order order = {.w = w};
    int code;

    arena_init(&order.arena, 0);
    order.rank = arena_calloc(&order.arena, w->source_count + 1, sizeof(*order.rank));
    w->origins = malloc((w->header.documents + 1) * sizeof(*w->origins));
    code = order.rank == NULL || w->origins == NULL ? disk_writer_nomem(w) : rank_names(&order);
    if (code == 0)
        code = group_documents(&order);
    if (code == 0)
        code = number_groups(&order);
    if (code == 0)
        number_documents(&order);
    free(order.groups);
    free(order.slots);
    buf_deinit(&order.ranks);
    arena_deinit(&order.arena);
    return code;
}

/* ---- both ---- */

static int order_by_arrival(struct disk_writer *w)
{
    uint64_t next = 0;

    for (uint32_t i = 0; i < w->source_count; i++) {
        const struct view_segment *source = &w->sources[i];

        w->rising[i] = true;
        w->remap[i] = malloc(((size_t)source->doc_limit + 1) * sizeof(*w->remap[i]));
        if (w->remap[i] == NULL)
            return disk_writer_nomem(w);
        for (uint32_t doc = 0; doc < source->doc_limit; doc++)
            w->remap[i][doc] = view_live(source, doc) ? (uint32_t)next++ : POSTING_END;
        if (next >= POSTING_END)
            return err_set(w->err, ERR_FULL, "write segment: too many documents");
    }
    w->header.documents = next;
    return 0;
}

int disk_writer_number(struct disk_writer *w, enum segment_order order)
{
    int code = order_by_arrival(w);

    return code == 0 && order == SEGMENT_ORDER_CATEGORY ? order_by_category(w) : code;
}
