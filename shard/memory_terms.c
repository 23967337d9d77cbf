/* The lists of a memory segment in order.
 *
 * Lists are found by hash; in order they are wanted now and then: by a prefix or near spelling on
 * the way, and by the flush. So the order is made when it is asked for, and kept: a sorted array of
 * the lists that were there then (shared by reference; a new one replaces it). Lists that came
 * since hang on a chain by age. Who asks sorts those of them that are asked for, as long as all are
 * few against the array, and reads both side by side; when they are more, they are merged into a
 * new array. So asking costs a look at a small share of the lists at most, and nothing is paid by
 * the writer.
 */
#include "shard/memory_list.h"

#include <stdlib.h>

#define RECENT_MIN 1024
#define RECENT_SHARE 32 /* of the sorted ones */

struct memory_term {
    const struct memory_list *list;
    uint64_t prefix; /* field and the first seven bytes: most comparisons end there */
};

struct memory_sorted {
    _Atomic int refs;
    const struct memory_list *newest; /* of those that are in it */
    size_t count;
    struct memory_term terms[];
};

struct run { /* a sorted stretch, being read */
    const struct memory_term *at, *end;
};

struct memory_terms {
    struct segment_terms base;
    struct memory_segment *segment;
    struct memory_sorted *sorted;
    struct memory_term *recent;
    struct run runs[2];
    const struct memory_list *list; /* the current one; NULL at the end */
    uint32_t count;                 /* its postings, when it became the current one */
};

void memory_sorted_unref(struct memory_sorted *sorted)
{
    if (sorted != NULL && atomic_fetch_sub_explicit(&sorted->refs, 1, memory_order_acq_rel) == 1)
        free(sorted);
}

static struct segment_token list_token(const struct memory_list *list)
{
    return (struct segment_token){list->field, bytes_of(list->text, list->size)};
}

static uint64_t token_prefix(struct segment_token token)
{
    uint64_t prefix = token.field;

    for (size_t i = 0; i < 7; i++)
        prefix = prefix << 8 | (i < token.text.size ? token.text.data[i] : 0);
    return prefix;
}

static int term_compare(const void *a, const void *b)
{
    const struct memory_term *x = a, *y = b;

    if (x->prefix != y->prefix)
        return x->prefix < y->prefix ? -1 : 1;
    return bytes_compare(list_token(x->list).text, list_token(y->list).text);
}

static bool list_within(const struct memory_list *list, const struct segment_token *within)
{
    return within == NULL ||
           (list->field == within->field && bytes_has_prefix(list_token(list).text, within->text));
}

/* How many lists were made after `known`. */
static size_t recent_count(const struct memory_list *newest, const struct memory_list *known)
{
    size_t count = 0;

    for (const struct memory_list *list = newest; list != known; list = list->older)
        count++;
    return count;
}

/* Those of them that are within, sorted, in *recent (from malloc); false when out of memory. */
static bool recent_collect(const struct memory_list *newest, const struct memory_list *known,
                           const struct segment_token *within, struct memory_term **recent,
                           size_t *count)
{
    const struct memory_list *list;
    size_t n = 0;

    for (list = newest; list != known; list = list->older)
        n += list_within(list, within);
    *count = n;
    *recent = malloc((n + 1) * sizeof(**recent));
    if (*recent == NULL)
        return false;
    for (list = newest, n = 0; list != known; list = list->older)
        if (list_within(list, within))
            (*recent)[n++] = (struct memory_term){list, token_prefix(list_token(list))};
    if (n > 1)
        qsort(*recent, n, sizeof(**recent), term_compare);
    return true;
}

/* The smaller of the two heads, which is taken; NULL when both runs are at their end. */
static const struct memory_term *runs_take(struct run runs[2])
{
    struct run *from = &runs[0];

    if (runs[0].at == runs[0].end ||
        (runs[1].at != runs[1].end && term_compare(runs[1].at, runs[0].at) < 0))
        from = &runs[1];
    return from->at == from->end ? NULL : from->at++;
}

static struct memory_sorted *sorted_merge(const struct memory_sorted *old,
                                          const struct memory_term *recent, size_t recent_count,
                                          const struct memory_list *newest)
{
    size_t count = (old == NULL ? 0 : old->count) + recent_count;
    struct memory_sorted *merged = malloc(sizeof(*merged) + count * sizeof(merged->terms[0]));
    struct run runs[2] = {{NULL, NULL}, {recent, recent + recent_count}};
    const struct memory_term *term;

    if (merged == NULL)
        return NULL;
    atomic_init(&merged->refs, 1);
    merged->newest = newest;
    merged->count = 0;
    if (old != NULL)
        runs[0] = (struct run){old->terms, old->terms + old->count};
    while ((term = runs_take(runs)) != NULL)
        merged->terms[merged->count++] = *term;
    return merged;
}

/* A new array of all lists; false when out of memory. Holder of sorted_lock. */
static bool sorted_renew(struct memory_segment *s, const struct memory_list *newest,
                         const struct memory_list *known)
{
    struct memory_term *recent;
    size_t count;
    struct memory_sorted *merged = NULL;

    if (recent_collect(newest, known, NULL, &recent, &count))
        merged = sorted_merge(s->sorted, recent, count, newest);
    free(recent);
    if (merged == NULL)
        return false;
    memory_sorted_unref(s->sorted);
    s->sorted = merged;
    return true;
}

/* Takes a reference on the sorted array, and sorts what is newer; merges the two first when that is
 * much. */
static bool terms_gather(struct memory_terms *t, const struct segment_token *within,
                         size_t *recents)
{
    struct memory_segment *s = t->segment;
    const struct memory_list *newest, *known;
    bool done = true;

    pthread_mutex_lock(&s->sorted_lock);
    newest = atomic_load_explicit(&s->newest, memory_order_acquire);
    known = s->sorted == NULL ? NULL : s->sorted->newest;
    if (recent_count(newest, known) >
        RECENT_MIN + (s->sorted == NULL ? 0 : s->sorted->count / RECENT_SHARE)) {
        done = sorted_renew(s, newest, known);
        known = newest;
    }
    t->sorted = s->sorted;
    if (t->sorted != NULL)
        atomic_fetch_add_explicit(&t->sorted->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&s->sorted_lock);
    return done && recent_collect(newest, known, within, &t->recent, recents);
}

/* The first of the sorted terms from `low` on that does not come before `within`, or, `behind`,
 * does not begin with it either. */
static size_t bound(const struct memory_sorted *sorted, size_t low,
                    const struct segment_token *within, bool behind)
{
    uint64_t prefix = token_prefix(*within);
    size_t high = sorted->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct memory_term *term = &sorted->terms[middle];

        if (term->prefix < prefix || (behind && list_within(term->list, within)) ||
            (term->prefix == prefix &&
             bytes_compare(list_token(term->list).text, within->text) < 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct run run_within(const struct memory_sorted *sorted, const struct segment_token *within)
{
    const struct memory_term *terms = sorted->terms;
    size_t from;

    if (within == NULL)
        return (struct run){terms, terms + sorted->count};
    from = bound(sorted, 0, within, false);
    return (struct run){terms + from, terms + bound(sorted, from, within, true)};
}

/* To the next list that has postings: one that was just made may have none yet. */
static void terms_step(struct memory_terms *t)
{
    const struct memory_term *term;

    t->list = NULL;
    while (t->list == NULL && (term = runs_take(t->runs)) != NULL) {
        t->count = atomic_load_explicit(&term->list->count, memory_order_acquire);
        if (t->count > 0)
            t->list = term->list;
    }
}

static bool terms_valid(const struct segment_terms *terms)
{
    return ((const struct memory_terms *)terms)->list != NULL;
}

static struct segment_token terms_token(const struct segment_terms *terms)
{
    return list_token(((const struct memory_terms *)terms)->list);
}

static int terms_next(struct segment_terms *terms, struct err *err)
{
    terms_step((struct memory_terms *)terms);
    return 0;
}

static int terms_postings(struct segment_terms *terms, struct posting_cursor **out, struct err *err)
{
    struct memory_terms *t = (struct memory_terms *)terms;

    *out = NULL;
    return memory_cursor_create(t->segment, t->list, t->count, false, out, err);
}

static uint32_t terms_frequency(const struct segment_terms *terms)
{
    return ((const struct memory_terms *)terms)->count;
}

static void terms_close(struct segment_terms *terms)
{
    struct memory_terms *t = (struct memory_terms *)terms;

    memory_sorted_unref(t->sorted);
    free(t->recent);
    free(t);
}

static const struct segment_terms_ops memory_terms_ops = {
    .valid = terms_valid,
    .token = terms_token,
    .next = terms_next,
    .postings = terms_postings,
    .frequency = terms_frequency,
    .close = terms_close,
};

int memory_terms(struct segment *segment, const struct segment_token *within,
                 struct segment_terms **out, struct err *err)
{
    struct memory_terms *t = calloc(1, sizeof(*t));
    size_t recents = 0;

    *out = NULL;
    if (t == NULL)
        return err_set(err, ERR_NOMEM, "terms: out of memory");
    t->base.ops = &memory_terms_ops;
    t->segment = memory_segment_of(segment);
    if (!terms_gather(t, within, &recents)) {
        terms_close(&t->base);
        return err_set(err, ERR_NOMEM, "terms: out of memory");
    }
    if (t->sorted != NULL)
        t->runs[0] = run_within(t->sorted, within);
    t->runs[1] = (struct run){t->recent, t->recent + recents};
    terms_step(t);
    *out = &t->base;
    return 0;
}
