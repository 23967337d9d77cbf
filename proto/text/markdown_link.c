/* Links, images and bare URLs.
 *
 * Whether "[" begins a link is only known at its "](target)", so links are found before the body is
 * read, with a stack of open brackets: strip_links() leaves a list of places to skip. */
#include "proto/text/markdown_state.h"

#include <stdlib.h>
#include <string.h>

/* Behind the target of a link whose "(" is at `at`; 0 when there is none. A target has no newline
 * in it and no square brackets, so looking for its end never passes the next link. */
static size_t target_end(const struct strip *strip, size_t at)
{
    size_t depth = 0;
    for (size_t i = at; i < strip->size && i - at < STRIP_TARGET_MAX; i++) {
        switch (strip->base[i]) {
        case '(':
            depth++;
            break;
        case ')':
            if (--depth == 0)
                return i + 1;
            break;
        case '\\':
            i++;
            break;
        case '\n':
        case '[':
        case ']':
            return 0;
        }
    }
    return 0;
}

static void add_skip(struct markdown *out, size_t at, size_t to)
{
    if (out->skip_count == out->skip_capacity) {
        size_t capacity = out->skip_capacity ? 2 * out->skip_capacity : 32;
        struct markdown_skip *skips = realloc(out->skips, capacity * sizeof *skips);
        if (!skips)
            abort();
        out->skips = skips;
        out->skip_capacity = capacity;
    }
    out->skips[out->skip_count++] = (struct markdown_skip){(uint32_t)at, (uint32_t)to};
}

static int compare_skips(const void *a, const void *b)
{
    const struct markdown_skip *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* Brackets nest; only the innermost 32 are remembered, the oldest forgotten first. */
#define BRACKETS 32

void strip_links(struct strip *strip)
{
    size_t stack[BRACKETS];
    size_t top = 0, depth = 0;
    for (size_t i = 0; i < strip->size; i++) {
        uint8_t c = strip->base[i];
        if (c == '\\') {
            i++;
        } else if (c == '[') {
            stack[top++ % BRACKETS] = i;
            depth += depth < BRACKETS;
        } else if (c == ']' && depth > 0) {
            size_t open = stack[--top % BRACKETS];
            depth--;
            size_t end = strip_byte(strip, i + 1) == '(' ? target_end(strip, i + 1) : 0;
            if (end == 0)
                continue;
            bool image = open > 0 && strip->base[open - 1] == '!';
            add_skip(strip->out, open - image, open + 1);
            add_skip(strip->out, i, end);
            i = end - 1;
        }
    }
    if (strip->out->skip_count > 0)
        qsort(strip->out->skips, strip->out->skip_count, sizeof *strip->out->skips, compare_skips);
}

void strip_bracket(struct strip *strip)
{
    const struct markdown *out = strip->out;
    while (strip->skip < out->skip_count && out->skips[strip->skip].at < strip->at)
        strip->skip++;
    if (strip->skip < out->skip_count && out->skips[strip->skip].at == strip->at)
        strip->at = out->skips[strip->skip].to;
    else
        strip_as_text(strip, 1);
}

/* ---- URLs ---- */

/* At the ':' of "://". The scheme, which has been written already, turns silent. */
void strip_url(struct strip *strip)
{
    struct markdown *out = strip->out;
    size_t colon = strip->at, start = colon;
    if (strip_byte(strip, colon + 1) != '/' || strip_byte(strip, colon + 2) != '/') {
        strip_as_text(strip, 1);
        return;
    }
    while (start > 0 && colon - start < 8 && strip_letter(strip->base[start - 1]))
        start--;
    size_t scheme = colon - start;
    struct markdown_span *last = out->span_count > 0 ? &out->spans[out->span_count - 1] : NULL;
    size_t plain = out->plain.size;
    if (scheme < 3 || scheme > 6 || !last || last->silent || last->size || plain < scheme ||
        last->plain > plain - scheme || last->source + (plain - last->plain) != colon) {
        strip_as_text(strip, 3);
        return;
    }
    out->plain.size -= scheme;
    if (last->plain == out->plain.size)
        out->span_count--;
    strip_write(strip, start, colon, true);
    size_t end = colon;
    while (end < strip->size && !strip_blank(strip->base[end]) &&
           !strchr("<>\"`)]|*", strip->base[end]))
        end++;
    strip_text(strip, colon, end);
}
