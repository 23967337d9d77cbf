/* The best passage is found in one pass over the tokens of the body: the matches of the last `room`
 * bytes are kept in a queue, with how often each query token is among them. Whenever a match raises
 * the number of distinct tokens above the best so far, the queue, without the repeated tokens at
 * its head, is the new best. The pass stops once a passage holds all of them. Context is then added
 * on both sides up to the size. */
#include "proto/text/snippet.h"

#include "proto/text/markdown.h"
#include "proto/text/plain.h"
#include "proto/text/utf8.h"

#include <stdlib.h>
#include <string.h>

#define ELLIPSIS "…"
#define ELLIPSIS_BYTES 3
#define ROOM_LEAST 16 /* below this size there is no room for ellipses and context */

void text_plain(struct bytes body, struct buf *out)
{
    struct markdown markdown = {0};
    markdown_strip(&markdown, body);
    buf_append_bytes(out, buf_bytes(&markdown.plain));
    markdown_deinit(&markdown);
}

struct match {
    size_t start, end; /* in the plain text */
    size_t token;      /* index in the query's */
};

struct finder {
    const struct bytes *tokens;
    size_t token_count;
    size_t room;
    uint32_t *counts;    /* of each token in the queue */
    struct match *queue; /* [head, tail) */
    size_t head, tail, capacity;
    size_t distinct, best;
    size_t best_start, best_end;
};

static bool look_up(const struct bytes *tokens, size_t count, struct bytes text, size_t *index)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(tokens[middle], text);
        if (order == 0) {
            *index = middle;
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static void drop_head(struct finder *finder)
{
    size_t token = finder->queue[finder->head++].token;
    if (--finder->counts[token] == 0)
        finder->distinct--;
}

static void push(struct finder *finder, struct match match)
{
    if (finder->tail == finder->capacity && finder->head > finder->capacity / 2) {
        memmove(finder->queue, finder->queue + finder->head,
                (finder->tail - finder->head) * sizeof *finder->queue);
        finder->tail -= finder->head;
        finder->head = 0;
    }
    if (finder->tail == finder->capacity) {
        finder->capacity = finder->capacity ? 2 * finder->capacity : 64;
        finder->queue = realloc(finder->queue, finder->capacity * sizeof *finder->queue);
        if (!finder->queue)
            abort();
    }
    finder->queue[finder->tail++] = match;
    if (finder->counts[match.token]++ == 0)
        finder->distinct++;
}

static bool on_candidate(void *data, const struct token *token)
{
    struct finder *finder = data;
    struct match match = {.start = token->offset, .end = token->offset + token->length};
    if (!look_up(finder->tokens, finder->token_count, token->text, &match.token))
        return true;
    push(finder, match);
    while (finder->head < finder->tail &&
           match.end - finder->queue[finder->head].start > finder->room)
        drop_head(finder);
    if (finder->distinct <= finder->best)
        return true;
    while (finder->counts[finder->queue[finder->head].token] > 1)
        drop_head(finder);
    finder->best = finder->distinct;
    finder->best_start = finder->queue[finder->head].start;
    finder->best_end = match.end;
    return finder->best < finder->token_count;
}

/* ---- where a passage may be cut ---- */

static bool bigram_at(struct bytes text, size_t at)
{
    const uint8_t *p = text.data + at;
    return *p >= 0x80 && utf8_class(utf8_next(&p, text.data + text.size)) == CLASS_BIGRAM;
}

/* At white space, or between two characters of a script without spaces. */
static bool cuttable(struct bytes text, size_t at)
{
    if (at == 0 || at >= text.size || text.data[at] == ' ' || text.data[at - 1] == ' ')
        return true;
    if ((text.data[at] & 0xC0) == 0x80 || !bigram_at(text, at))
        return false;
    return bigram_at(text, utf8_cut(bytes_of(text.data, at), at - 1));
}

static size_t cut_forward(struct bytes text, size_t from, size_t most)
{
    while (from < most && !cuttable(text, from))
        from++;
    return from;
}

static size_t cut_backward(struct bytes text, size_t from, size_t least)
{
    while (from > least && !cuttable(text, from))
        from--;
    return from;
}

struct passage {
    size_t start, end;
};

/* Around [start, end), which fits; a passage without a match is the beginning of the text. */
static struct passage widen(struct bytes plain, size_t start, size_t end, size_t size)
{
    struct passage passage = {0, plain.size};
    size_t room = size - 2 * ELLIPSIS_BYTES;
    if (end > size - ELLIPSIS_BYTES) {
        size_t before = (room - (end - start)) / 3;
        passage.start = cut_forward(plain, start > before ? start - before : 0, start);
    }
    size_t lead = passage.start > 0 ? ELLIPSIS_BYTES : 0;
    if (plain.size - passage.start + lead <= size) { /* to the end: more context fits in front */
        size_t least = plain.size - (size - ELLIPSIS_BYTES);
        passage.start = cut_forward(plain, least, passage.start);
        return passage;
    }
    size_t most = passage.start + size - lead - ELLIPSIS_BYTES;
    passage.end = cut_backward(plain, most, end);
    if (passage.end == 0) /* one word longer than all the room */
        passage.end = utf8_cut(plain, most);
    return passage;
}

static struct passage choose(struct analyzer *analyzer, struct bytes plain,
                             const struct bytes *tokens, size_t token_count, size_t size)
{
    if (plain.size <= size)
        return (struct passage){0, plain.size};
    if (size < ROOM_LEAST)
        return (struct passage){0, utf8_cut(plain, size)};
    struct finder finder = {
        .tokens = tokens, .token_count = token_count, .room = size - 2 * ELLIPSIS_BYTES};
    if (token_count > 0) {
        finder.counts = calloc(token_count, sizeof *finder.counts);
        if (!finder.counts)
            abort();
        analyzer_run_plain(analyzer, 0, plain.size, on_candidate, &finder);
        free(finder.counts);
        free(finder.queue);
    }
    return widen(plain, finder.best_start, finder.best_end, size);
}

/* ---- highlights ---- */

struct marker {
    const struct bytes *tokens;
    size_t token_count;
    size_t start; /* of the passage in the plain text */
    size_t lead;  /* bytes of the snippet in front of the passage */
    struct highlight *highlights;
    size_t count, max;
};

static bool on_highlight(void *data, const struct token *token)
{
    struct marker *marker = data;
    size_t index;
    if (!look_up(marker->tokens, marker->token_count, token->text, &index))
        return true;
    uint32_t offset = (uint32_t)(token->offset - marker->start + marker->lead);
    if (marker->count > 0) { /* pairs of characters overlap: one highlight */
        struct highlight *last = &marker->highlights[marker->count - 1];
        if (offset < last->offset + last->length) {
            last->length = offset + token->length - last->offset;
            return true;
        }
    }
    if (marker->count == marker->max)
        return false;
    marker->highlights[marker->count++] = (struct highlight){offset, token->length};
    return true;
}

size_t text_snippet(struct analyzer *analyzer, struct bytes body, const struct bytes *tokens,
                    size_t token_count, size_t size, struct buf *out, struct highlight *highlights,
                    size_t max)
{
    struct bytes plain = analyzer_plain(analyzer, body);
    struct passage passage = choose(analyzer, plain, tokens, token_count, size);
    while (passage.end > passage.start && plain.data[passage.end - 1] == ' ')
        passage.end--;
    while (passage.start < passage.end && plain.data[passage.start] == ' ')
        passage.start++;
    bool ellipses = plain.size > size && size >= ROOM_LEAST;
    struct marker marker = {.tokens = tokens,
                            .token_count = token_count,
                            .start = passage.start,
                            .highlights = highlights,
                            .max = max};
    if (ellipses && passage.start > 0) {
        buf_append_str(out, ELLIPSIS);
        marker.lead = ELLIPSIS_BYTES;
    }
    if (passage.end > passage.start)
        buf_append(out, plain.data + passage.start, passage.end - passage.start);
    if (ellipses && passage.end < plain.size)
        buf_append_str(out, ELLIPSIS);
    if (max > 0 && token_count > 0)
        analyzer_run_plain(analyzer, passage.start, passage.end, on_highlight, &marker);
    return marker.count;
}
