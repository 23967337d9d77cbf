#include "shard/distance.h"

#include <assert.h>
#include <string.h>

static uint32_t sequence_length(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead < 0xe0)
        return 2;
    if (lead >= 0xe0 && lead < 0xf0)
        return 3;
    return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

/* Decodes one code point; a byte that begins none becomes a number that no code point has. */
static uint32_t decode(const uint8_t *at, size_t left, uint32_t *size)
{
    uint32_t length = sequence_length(*at);
    *size = 1;
    if (length == 1)
        return *at;
    if (length == 0 || length > left)
        return 0x110000u + *at;
    uint32_t point = *at & (0xffu >> (length + 1));
    for (uint32_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0x110000u + *at;
        point = point << 6 | (at[i] & 0x3fu);
    }
    *size = length;
    return point;
}

void distance_word_init(struct distance_word *word, struct bytes text)
{
    word->count = 0;
    for (size_t at = 0; at < text.size && word->count < DISTANCE_POINTS_MAX;) {
        uint32_t size;
        word->points[word->count++] = decode(text.data + at, text.size - at, &size);
        at += size;
    }
}

struct bytes distance_first_letter(struct bytes text)
{
    uint32_t size = 0;
    if (text.size)
        decode(text.data, text.size, &size);
    return bytes_of(text.data, size);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Cells further than `limit` from the diagonal cannot lead to a distance within it; `far` stands
 * for those. */
static uint32_t banded(const uint32_t *a, uint32_t n, const uint32_t *b, uint32_t m, uint32_t limit)
{
    uint32_t rows[3][DISTANCE_POINTS_MAX + 2];
    uint32_t far = limit + 1;
    uint32_t *older = rows[0], *before = rows[1], *row = rows[2];
    for (uint32_t j = 0; j <= m; j++)
        before[j] = j <= limit ? j : far;
    uint32_t best_before = 0;
    for (uint32_t i = 1; i <= n; i++) {
        uint32_t from = i > limit ? i - limit : 0;
        uint32_t to = least(m, i + limit);
        uint32_t best = far;
        for (uint32_t j = from; j <= to; j++) {
            uint32_t cost = far;
            if (j == 0) {
                cost = i;
            } else {
                if (j > from)
                    cost = least(cost, row[j - 1] + 1);
                if (j < i + limit)
                    cost = least(cost, before[j] + 1);
                cost = least(cost, before[j - 1] + (a[i - 1] != b[j - 1]));
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    cost = least(cost, older[j - 2] + 1);
            }
            row[j] = least(cost, far);
            best = least(best, row[j]);
        }
        if (best == far && best_before >= limit)
            return far;
        best_before = best;
        uint32_t *spare = older;
        older = before;
        before = row;
        row = spare;
    }
    return before[m];
}

uint32_t distance_between(const struct distance_word *a, const struct distance_word *b,
                          uint32_t limit)
{
    const uint32_t *x = a->points, *y = b->points;
    uint32_t n = a->count, m = b->count;
    if (limit > DISTANCE_POINTS_MAX)
        limit = DISTANCE_POINTS_MAX;
    if ((n > m ? n - m : m - n) > limit)
        return limit + 1;
    while (n && m && *x == *y)
        x++, y++, n--, m--;
    while (n && m && x[n - 1] == y[m - 1])
        n--, m--;
    if (n == 0 || m == 0)
        return n + m;
    return limit == 0 ? 1 : banded(x, n, y, m, limit);
}

/* ---- walking ----
 *
 * Each row of the matrix as sets of bits: bit j of within[e] says that the text so far is at most e
 * edits from the word's first j code points. A row follows from the one before by a dozen
 * operations on words of the machine (Wu and Manber, "Fast Text Searching Allowing Errors", 1992;
 * swap[e] are the pairs of which one code point was found in the other's place). There is a row for
 * each byte of the text, so that one may go back to any of its beginnings. A text of which a row is
 * empty is out, whatever comes behind.
 *
 * What does not fit in that is compared whole, at its end: bytes that are not UTF-8, and the rest
 * of a word of more than WALK_POINTS code points, for the few texts that are near as far as that.
 */
#define WALK_LIMIT 2
#define WALK_POINTS 60

struct distance_state {
    uint64_t within[WALK_LIMIT + 1];
    uint64_t swap[WALK_LIMIT + 1];
    uint32_t point;  /* as much as there is of the code point that has begun */
    uint8_t missing; /* bytes of it */
    bool whole;      /* compare whole */
};

/* For each code point of the word, at which places it stands: bit j, the j-th. */
struct distance_letters {
    uint64_t ascii[128];
    uint64_t all; /* bits that there are, from 0 on */
    uint32_t count;
    struct {
        uint32_t point;
        uint64_t places;
    } others[WALK_POINTS + WALK_LIMIT];
};

static void letters_init(struct distance_letters *letters, const struct distance_word *word)
{
    uint32_t count = least(word->count, WALK_POINTS + WALK_LIMIT);
    memset(letters, 0, sizeof *letters);
    letters->all = (UINT64_C(2) << count) - 1;
    for (uint32_t i = 0, k; i < count; i++) {
        uint32_t point = word->points[i];
        uint64_t place = UINT64_C(2) << i;
        if (point < 128) {
            letters->ascii[point] |= place;
            continue;
        }
        for (k = 0; k < letters->count && letters->others[k].point != point;)
            k++;
        letters->count += k == letters->count;
        letters->others[k].point = point;
        letters->others[k].places |= place;
    }
}

static uint64_t places_of(const struct distance_letters *letters, uint32_t point)
{
    if (point < 128)
        return letters->ascii[point];
    for (uint32_t i = 0; i < letters->count; i++)
        if (letters->others[i].point == point)
            return letters->others[i].places;
    return 0;
}

bool distance_walk_init(struct distance_walk *walk, const struct distance_word *word,
                        uint32_t limit, struct arena *arena)
{
    assert(limit <= WALK_LIMIT);
    *walk = (struct distance_walk){.word = word, .limit = limit, .dead = DISTANCE_NO_BYTES};
    /* Longer texts are dead before, or compared whole. */
    walk->capacity = 4 * (least(word->count, WALK_POINTS) + WALK_LIMIT + 2);
    walk->states = arena_calloc(arena, walk->capacity + 1, sizeof *walk->states);
    walk->letters = arena_alloc(arena, sizeof *walk->letters);
    walk->text = arena_alloc(arena, DISTANCE_TEXT_MAX);
    walk->other = arena_alloc(arena, sizeof *walk->other);
    if (!walk->states || !walk->letters || !walk->text || !walk->other)
        return false;
    letters_init(walk->letters, word);
    for (uint32_t e = 0; e <= WALK_LIMIT; e++) /* as many code points of the word are left out */
        walk->states[0].within[e] = ((UINT64_C(2) << e) - 1) & walk->letters->all;
    if (word->count <= WALK_POINTS)
        walk->ends = UINT64_C(1) << word->count;
    return true;
}

/* The row of one more code point of the text. */
static inline void next_row(const struct distance_walk *walk, const struct distance_state *from,
                            struct distance_state *to)
{
    uint64_t all = walk->letters->all, places = places_of(walk->letters, to->point);
    const uint64_t *old = from->within;
    uint64_t *new = to->within;
    new[0] = (old[0] << 1) & places;
    for (uint32_t e = 1; e <= WALK_LIMIT; e++) {
        uint64_t edits = old[e - 1] | (old[e - 1] | new[e - 1]) << 1;
        new[e] = (((old[e] << 1) & places) | edits | (from->swap[e] & places << 1)) & all;
        to->swap[e] = (old[e - 1] << 2) & places;
    }
    to->whole = walk->word->count > WALK_POINTS && new[walk->limit] >> WALK_POINTS;
}

static inline void take_byte(const struct distance_walk *walk, const struct distance_state *from,
                             struct distance_state *to, uint8_t byte)
{
    if (byte < 0x80 && !from->missing && !from->whole) { /* nearly all */
        to->point = byte;
        to->missing = 0;
        next_row(walk, from, to);
        return;
    }
    *to = *from;
    if (from->whole)
        return;
    if (from->missing) {
        to->whole = (byte & 0xc0) != 0x80;
        to->point = from->point << 6 | (byte & 0x3fu);
        to->missing--;
    } else {
        uint32_t length = sequence_length(byte);
        to->whole = length == 0;
        to->point = byte & (0xffu >> (length + 1));
        to->missing = (uint8_t)(length ? length - 1 : 0);
    }
    if (!to->missing && !to->whole)
        next_row(walk, from, to);
}

static bool is_dead(const struct distance_walk *walk, const struct distance_state *state)
{
    return !(state->within[walk->limit] | state->swap[walk->limit]) && !state->whole;
}

static uint32_t distance_at_end(struct distance_walk *walk, const struct distance_state *state)
{
    if (state->whole || state->missing) {
        distance_word_init(walk->other, distance_walk_text(walk));
        uint32_t own = distance_between(walk->word, walk->other, walk->limit);
        if (walk->beginning == NULL)
            return own;
        return least(own, distance_between(walk->beginning, walk->other, walk->limit));
    }
    uint32_t distance = 0;
    while (distance <= walk->limit && !(state->within[distance] & walk->ends))
        distance++;
    return distance;
}

uint32_t distance_walk_to(struct distance_walk *walk, uint32_t shared, struct bytes rest)
{
    uint32_t size = shared + (uint32_t)rest.size, at = least(shared, walk->capacity);
    assert(shared <= walk->known && size <= DISTANCE_TEXT_MAX);
    const uint8_t *bytes = rest.data;
    struct distance_state *states = walk->states;
    walk->dead = DISTANCE_NO_BYTES;
    for (; at < size && at < walk->capacity; at++) {
        walk->text[at] = *bytes++;
        take_byte(walk, &states[at], &states[at + 1], walk->text[at]);
        if (!is_dead(walk, &states[at + 1]))
            continue;
        walk->known = walk->dead = at + 1;
        return walk->limit + 1;
    }
    if (size > shared)
        memcpy(walk->text + shared, rest.data, rest.size);
    walk->known = size;
    return distance_at_end(walk, &states[at]);
}

struct bytes distance_walk_text(const struct distance_walk *walk)
{
    return bytes_of(walk->text, walk->known);
}

static bool is_beginning(const struct distance_word *of, const struct distance_word *word)
{
    return word->count <= of->count &&
           memcmp(of->points, word->points, word->count * sizeof of->points[0]) == 0;
}

bool distance_walks_add(struct distance_walks *walks, const struct distance_word *word,
                        struct arena *arena)
{
    struct distance_walk *first = &walks->walk[0];
    assert(walks->count < DISTANCE_WALKS_MAX);
    walks->dead = DISTANCE_NO_BYTES;
    if (walks->count == 1 && first->ends != 0 && is_beginning(first->word, word)) {
        first->beginning = word;
        first->ends |= UINT64_C(1) << word->count;
        return true;
    }
    return distance_walk_init(&walks->walk[walks->count++], word, walks->limit, arena);
}

/* A walk that died stays where it was while texts come that are dead for it: whatever shares less
 * with the last one shares as much with that. */
uint32_t distance_walks_to(struct distance_walks *walks, uint32_t shared, struct bytes rest,
                           struct bytes *text)
{
    uint32_t best = walks->limit + 1;
    walks->dead = 0;
    for (uint32_t i = 0; i < walks->count; i++) {
        struct distance_walk *walk = &walks->walk[i];
        if (shared < walk->dead) {
            uint32_t distance = distance_walk_to(walk, shared, rest);
            if (distance < best) {
                best = distance;
                *text = distance_walk_text(walk);
            }
        }
        walks->dead = walk->dead > walks->dead ? walk->dead : walks->dead;
    }
    return best;
}
