/* The end of applying: readers see at one moment what died, what is new, and the statistics. */
#include "shard/range_apply.h"

#include <stdlib.h>

static int by_segment(const void *a, const void *b)
{
    const struct apply_kill *x = a, *y = b;
    return x->segment < y->segment ? -1 : x->segment > y->segment;
}

static void count_dead_terms(struct dead_terms *dead, const struct apply_kill *kill)
{
    for (uint32_t i = 0; i < kill->document->term_count; i++) {
        struct segment_token token = kill->document->terms[i].token;
        dead_terms_add(dead, token.field, token.text, 1);
    }
}

/* Counts the kills of one segment; returns its documents that are dead from now on. */
static struct live *count_kills(struct range *range, struct range_segment *segment,
                                const struct apply_kill *kills, size_t count)
{
    pthread_mutex_lock(&range->lock); /* views copy these pointers */
    if (segment->dead_terms == NULL)
        segment->dead_terms = dead_terms_create();
    pthread_mutex_unlock(&range->lock);
    if (segment->recent == NULL)
        segment->recent = dead_terms_create();
    uint32_t *docs = malloc((count + 1) * sizeof docs[0]);
    if (docs == NULL || segment->dead_terms == NULL || segment->recent == NULL)
        abort();
    for (size_t i = 0; i < count; i++) {
        docs[i] = kills[i].doc;
        count_dead_terms(segment->dead_terms, &kills[i]);
        count_dead_terms(segment->recent, &kills[i]);
        if (segment->merging != NULL)
            count_dead_terms(segment->merging, &kills[i]);
    }
    struct live *dead = live_with(segment->dead, docs, count);
    free(docs);
    return dead;
}

void apply_publish(struct apply *a, uint64_t seq)
{
    struct range *range = a->range;
    struct live **dead = calloc(range->segment_count, sizeof dead[0]);
    if (dead == NULL)
        abort();
    if (a->kill_count > 0)
        qsort(a->kills, a->kill_count, sizeof a->kills[0], by_segment);
    for (size_t from = 0, to; from < a->kill_count; from = to) {
        for (to = from; to < a->kill_count && a->kills[to].segment == a->kills[from].segment;)
            to++;
        struct range_segment *segment = range_find_segment(range, a->kills[from].segment);
        dead[segment - range->segments] = count_kills(range, segment, &a->kills[from], to - from);
    }
    pthread_mutex_lock(&range->lock);
    for (uint32_t i = 0; i < range->segment_count; i++) {
        if (dead[i] == NULL)
            continue;
        live_unref(range->segments[i].dead);
        range->segments[i].dead = dead[i];
    }
    for (size_t i = 0; i < a->letter_count; i++)
        letters_add(&range->now.letters, a->letters[i].key, a->letters[i].delta);
    range->segments[range->segment_count - 1].doc_limit = a->doc_limit;
    range->now.seq = seq;
    range->now.documents = a->documents;
    range->now.total_length = a->total_length;
    pthread_mutex_unlock(&range->lock);
    free(dead);
}
