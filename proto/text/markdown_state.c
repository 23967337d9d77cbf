#include "proto/text/markdown_state.h"

#include "proto/text/utf8.h"

#include <stdlib.h>
#include <string.h>

uint8_t strip_byte(const struct strip *strip, size_t at)
{
    return at < strip->size ? strip->base[at] : ' ';
}

bool strip_blank(uint8_t c)
{
    return c <= ' ' || c == 0x7F;
}

bool strip_letter(uint8_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

bool strip_wordy(uint8_t c)
{
    return c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* ---- cached searches ---- */

static size_t search_code(const struct strip *strip, size_t from, size_t run)
{
    for (size_t i = from; i < strip->size;) {
        const uint8_t *tick = memchr(strip->base + i, '`', strip->size - i);
        if (!tick)
            break;
        size_t start = (size_t)(tick - strip->base);
        for (i = start; i < strip->size && strip->base[i] == '`';)
            i++;
        if (i - start == run)
            return start;
    }
    return STRIP_NOWHERE;
}

static size_t search_text(const struct strip *strip, size_t from, const char *text)
{
    if (from >= strip->size)
        return STRIP_NOWHERE;
    const uint8_t *hit = memmem(strip->base + from, strip->size - from, text, strlen(text));
    return hit ? (size_t)(hit - strip->base) : STRIP_NOWHERE;
}

/* A dollar sign closes when it follows something other than white space or a backslash, no digit
 * comes next (so that "$5 or 6$7" is money), and it is no part of a longer run. */
static size_t search_dollar(const struct strip *strip, size_t from)
{
    for (size_t i = from; i < strip->size; i++) {
        const uint8_t *sign = memchr(strip->base + i, '$', strip->size - i);
        if (!sign)
            break;
        i = (size_t)(sign - strip->base);
        uint8_t before = i > 0 ? sign[-1] : ' ';
        uint8_t after = strip_byte(strip, i + 1);
        if (!strip_blank(before) && before != '\\' && before != '$' && after != '$' &&
            !(after >= '0' && after <= '9'))
            return i;
    }
    return STRIP_NOWHERE;
}

static size_t search_blank_line(const struct strip *strip, size_t from)
{
    size_t i = from;
    while (i < strip->size) {
        const uint8_t *newline = memchr(strip->base + i, '\n', strip->size - i);
        if (!newline)
            break;
        size_t start = (size_t)(newline - strip->base);
        for (i = start + 1;
             i < strip->size && strip->base[i] != '\n' && strip_blank(strip->base[i]);)
            i++;
        if (i < strip->size && strip->base[i] == '\n')
            return start;
    }
    return STRIP_NOWHERE;
}

/* "|", blanks, then "--" or ":-". */
static size_t search_rule(const struct strip *strip, size_t from)
{
    size_t i = from;
    while (i < strip->size) {
        const uint8_t *bar = memchr(strip->base + i, '|', strip->size - i);
        if (!bar)
            break;
        size_t start = (size_t)(bar - strip->base);
        for (i = start + 1; i < strip->size && strip->base[i] == ' ';)
            i++;
        uint8_t first = strip_byte(strip, i);
        if ((first == '-' || first == ':') && strip_byte(strip, i + 1) == '-')
            return start;
    }
    return STRIP_NOWHERE;
}

static size_t search(const struct strip *strip, enum strip_mark mark, size_t from)
{
    switch (mark) {
    case MARK_DOLLAR:
        return search_dollar(strip, from);
    case MARK_DOLLARS:
        return search_text(strip, from, "$$");
    case MARK_PAREN:
        return search_text(strip, from, "\\)");
    case MARK_BRACKET:
        return search_text(strip, from, "\\]");
    case MARK_COMMENT:
        return search_text(strip, from, "-->");
    case MARK_BLANK:
        return search_blank_line(strip, from);
    case MARK_NEWLINE:
        return search_text(strip, from, "\n");
    case MARK_RULE:
        return search_rule(strip, from);
    default:
        return search_code(strip, from, (size_t)mark - MARK_CODE_1 + 1);
    }
}

size_t strip_find(struct strip *strip, enum strip_mark mark, size_t from)
{
    if (!strip->searched[mark] || strip->found[mark] < from) {
        strip->found[mark] = search(strip, mark, from);
        strip->searched[mark] = true;
    }
    return strip->found[mark];
}

size_t strip_find_near(struct strip *strip, enum strip_mark mark, size_t from, size_t most)
{
    size_t found = strip_find(strip, mark, from);
    if (found == STRIP_NOWHERE || found - from > most ||
        strip_find(strip, MARK_BLANK, from) < found)
        return STRIP_NOWHERE;
    return found;
}

/* ---- the writer ---- */

static void add_span(struct strip *strip, size_t plain, size_t source, size_t size, bool silent)
{
    struct markdown *out = strip->out;
    if (out->span_count == out->span_capacity) {
        size_t capacity = out->span_capacity ? 2 * out->span_capacity : 64;
        struct markdown_span *spans = realloc(out->spans, capacity * sizeof *spans);
        if (!spans)
            abort();
        out->spans = spans;
        out->span_capacity = capacity;
    }
    out->spans[out->span_count++] = (struct markdown_span){.plain = (uint32_t)plain,
                                                           .source = (uint32_t)source,
                                                           .size = (uint32_t)size,
                                                           .silent = silent};
}

/* Makes sure that what is written next is known to come from `source`. */
static void continue_span(struct strip *strip, size_t source, bool silent)
{
    struct markdown *out = strip->out;
    if (out->span_count > 0) {
        const struct markdown_span *last = &out->spans[out->span_count - 1];
        if (last->size == 0 && last->silent == silent &&
            last->source + (out->plain.size - last->plain) == source)
            return;
    }
    add_span(strip, out->plain.size, source, 0, silent);
}

void strip_write(struct strip *strip, size_t from, size_t to, bool silent)
{
    if (from >= to)
        return;
    continue_span(strip, from, silent);
    buf_append(&strip->out->plain, strip->base + from, to - from);
}

void strip_space(struct strip *strip, size_t from)
{
    struct buf *plain = &strip->out->plain;
    if (plain->size == 0 || plain->data[plain->size - 1] == ' ')
        return;
    continue_span(strip, from, false);
    buf_append_u8(plain, ' ');
}

void strip_decoded(struct strip *strip, size_t from, size_t to, int32_t point)
{
    if (utf8_space(point) || point < ' ' || (point >= 0x7F && point < 0xA0)) {
        strip_space(strip, from);
        return;
    }
    add_span(strip, strip->out->plain.size, from, to - from, false);
    utf8_append(&strip->out->plain, point);
}

size_t strip_wide_space(const struct strip *strip, size_t at)
{
    uint8_t second = strip_byte(strip, at + 1), third = strip_byte(strip, at + 2);
    switch (strip->base[at]) {
    case 0xC2: /* U+0080..9F, U+00A0 */
        return second <= 0xA0 ? 2 : 0;
    case 0xE2: /* U+2000..200A, 2028, 2029, 202F; U+205F */
        if (second == 0x80)
            return third <= 0x8A || third == 0xA8 || third == 0xA9 || third == 0xAF ? 3 : 0;
        return second == 0x81 && third == 0x9F ? 3 : 0;
    case 0xE3: /* U+3000 */
        return second == 0x80 && third == 0x80 ? 3 : 0;
    default:
        return 0;
    }
}

bool strip_white(struct strip *strip)
{
    size_t size = strip_blank(strip->base[strip->at]) ? 1 : strip_wide_space(strip, strip->at);
    if (size == 0)
        return false;
    strip_space(strip, strip->at);
    strip->at = strip->at + size < strip->size ? strip->at + size : strip->size;
    return true;
}

void strip_text(struct strip *strip, size_t from, size_t to)
{
    size_t start = from; /* of what is still to be written */
    strip->at = from;
    while (strip->at < to) {
        size_t here = strip->at;
        if (strip_blank(strip->base[here]) || strip_wide_space(strip, here) > 0) {
            strip_write(strip, start, here, false);
            strip_white(strip);
            start = strip->at;
        } else {
            strip->at++;
        }
    }
    if (start < to)
        strip_write(strip, start, to, false);
    strip->at = to;
}

void strip_as_text(struct strip *strip, size_t size)
{
    strip_write(strip, strip->at, strip->at + size, false);
    strip->at += size;
}
