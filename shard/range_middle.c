/* Where a range is best split: see range_middle() in range_derive.h. */
#include "shard/range_derive.h"

#include "proto/text/key.h"
#include "shard/range_internal.h"

#include <string.h>

#define STOP_ROWS 4096 /* between two looks at `stopping` */

struct middle {
    uint64_t entries, from, to; /* a bound with so many entries before it will do */
    struct bytes lo, hi;
    struct buf before; /* the term key before the place that is looked at */
    struct buf best;   /* empty: none yet */
    uint64_t best_at;  /* how many entries are before it */
    bool best_within;  /* [from, to] */
};

static uint64_t distance_to_middle(const struct middle *middle, uint64_t at)
{
    uint64_t twice = 2 * at;
    return twice > middle->entries ? twice - middle->entries : middle->entries - twice;
}

/* A place where the key changes: `at` entries are before it. */
static void consider(struct middle *middle, uint64_t at, struct bytes key)
{
    struct buf bound = {0};
    bool within = at >= middle->from && at <= middle->to;
    bool nearer = middle->best.size == 0 ||
                  distance_to_middle(middle, at) < distance_to_middle(middle, middle->best_at);
    if (!within && (middle->best_within || !nearer))
        return;
    text_separator(buf_bytes(&middle->before), key, &bound);
    bool better = !middle->best_within || bound.size < middle->best.size ||
                  (bound.size == middle->best.size && nearer);
    if (better && bytes_compare(middle->lo, buf_bytes(&bound)) < 0 &&
        (middle->hi.size == 0 || bytes_compare(buf_bytes(&bound), middle->hi) < 0)) {
        buf_clear(&middle->best);
        buf_append_bytes(&middle->best, buf_bytes(&bound));
        middle->best_at = at;
        middle->best_within = within;
    }
    buf_deinit(&bound);
}

/* `it` stands at the place of entry number `at`. */
static int scan(struct middle *middle, struct range *range, struct store_iterator *it, uint64_t at,
                struct err *err)
{
    for (bool first = true; store_iterator_valid(it);
         store_iterator_next(it), at++, first = false) {
        struct bytes key = store_iterator_key(it);
        key.size = strnlen((const char *)key.data, key.size);
        if (!first && !bytes_equal(key, buf_bytes(&middle->before))) {
            consider(middle, at, key);
            if (at >= middle->to)
                break; /* what comes is farther off */
        }
        buf_clear(&middle->before);
        buf_append_bytes(&middle->before, key);
        if (at % STOP_ROWS == 0 && atomic_load(&range->stopping))
            return err_set(err, ERR_CANCELED, "the range is being closed");
    }
    return store_iterator_status(it, err);
}

/* The letter in which entry number `middle->from` is, and how many entries are before it. */
static uint64_t find_letter(struct middle *middle, struct range *range, struct buf *letter)
{
    const struct letters *letters = &range->now.letters;
    uint64_t before = 0;
    pthread_mutex_lock(&range->lock);
    for (uint32_t i = 0; i < letters->count; i++)
        middle->entries += letters->letters[i].count;
    middle->from = middle->entries * 9 / 20;
    middle->to = middle->entries * 11 / 20;
    for (uint32_t i = 0; i < letters->count; i++) {
        buf_clear(letter);
        buf_append(letter, letters->letters[i].text, letters->letters[i].size);
        if (before + letters->letters[i].count > middle->from)
            break;
        before += letters->letters[i].count;
    }
    pthread_mutex_unlock(&range->lock);
    return before;
}

int range_middle(struct range *range, struct bytes lo, struct bytes hi, struct buf *out,
                 struct err *err)
{
    static const struct bytes none = {0};
    struct middle middle = {.lo = lo, .hi = hi};
    struct buf letter = {0};
    int code = 0;
    buf_clear(out);
    uint64_t at = find_letter(&middle, range, &letter);
    if (middle.entries > 1) {
        struct store_iterator *it = store_iterate(range->store, STORE_PLACE, none, none);
        store_iterator_seek(it, buf_bytes(&letter));
        if (at > 0 && store_iterator_valid(it)) { /* the key before it makes it a bound */
            store_iterator_prev(it);
            at--;
        }
        code = scan(&middle, range, it, at, err);
        store_iterator_close(it);
    }
    if (code == 0)
        buf_append_bytes(out, buf_bytes(&middle.best));
    buf_deinit(&middle.best);
    buf_deinit(&middle.before);
    buf_deinit(&letter);
    return code;
}
