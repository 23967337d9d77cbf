/* The block half: lines, fences, tables. markdown_inline.c has what stands within a line,
 * markdown_state.c the writer and the searches. */
#include "proto/text/markdown.h"

#include "proto/text/markdown_state.h"

#include <stdlib.h>
#include <string.h>

/* Bytes at which copying stops. */
enum { PLAIN, STOP, SPACE, COLON, BANG, WIDE };
static const uint8_t kinds[256] = {
    ['\1'] = STOP, STOP,          STOP,          STOP,          STOP,          STOP,
    STOP,          STOP,          STOP,          STOP,          STOP,          STOP,
    STOP,          STOP,          STOP,          STOP,          STOP,          STOP,
    STOP,          STOP,          STOP,          STOP,          STOP,          STOP,
    STOP,          STOP,          STOP,          STOP,          STOP,          STOP,
    STOP,          SPACE,         [0] = STOP,    [0x7F] = STOP, ['`'] = STOP,  ['*'] = STOP,
    ['_'] = STOP,  ['~'] = STOP,  ['\\'] = STOP, ['$'] = STOP,  ['['] = STOP,  [']'] = STOP,
    ['<'] = STOP,  ['&'] = STOP,  ['|'] = STOP,  ['#'] = STOP,  [':'] = COLON, ['!'] = BANG,
    [0xC2] = WIDE, [0xE2] = WIDE, [0xE3] = WIDE,
};

void markdown_deinit(struct markdown *markdown)
{
    buf_deinit(&markdown->plain);
    free(markdown->spans);
    free(markdown->skips);
    *markdown = (struct markdown){0};
}

/* ---- lines ---- */

static size_t run_of(const struct strip *strip, size_t at, uint8_t c)
{
    size_t start = at;
    while (at < strip->size && strip->base[at] == c)
        at++;
    return at - start;
}

/* The end of the line at `at` if it is a ruler (--- *** ___), the underline of a heading (=== ---)
 * or the rule of a table (|:--|---|), else 0. */
static size_t ruler_end(const struct strip *strip, size_t at)
{
    uint8_t first = strip_byte(strip, at);
    bool table = first == '-' || first == '|' || first == ':';
    if (!table && first != '*' && first != '_' && first != '=')
        return 0;
    size_t marks = 0;
    for (; at < strip->size && strip->base[at] != '\n'; at++) {
        uint8_t c = strip->base[at];
        if (c == '-' || (!table && c == first))
            marks++;
        else if (!strip_blank(c) && !(table && (c == '|' || c == ':')))
            return 0;
        if (!table && c != first && !strip_blank(c))
            return 0;
    }
    return marks >= (table ? 1 : 3) ? at : 0;
}

/* A list bullet or heading mark at `at`: the bytes to skip, white space behind it included. */
static size_t opener(const struct strip *strip, size_t at)
{
    uint8_t c = strip_byte(strip, at);
    if (c == '>')
        return 1;
    size_t marks = 0;
    if (c == '-' || c == '*' || c == '+')
        marks = 1;
    else if (c == '#')
        marks = run_of(strip, at, '#');
    if (marks == 0 || marks > 6 || !strip_blank(strip_byte(strip, at + marks)))
        return 0;
    return marks;
}

/* At the start of a line: skips what only shapes it. */
static void begin_line(struct strip *strip)
{
    bool bullet =
        false; /* behind one no ruler is looked for: "- - - - x" would be read again and again */
    strip->table_line = false;
    for (;;) {
        while (strip->at < strip->size && strip->base[strip->at] != '\n' &&
               strip_blank(strip->base[strip->at]))
            strip->at++;
        if (strip->at >= strip->size)
            return;
        if (strip->base[strip->at] == '\n') { /* a blank line ends the paragraph and its emphasis */
            memset(strip->open, 0, sizeof strip->open);
            return;
        }
        size_t end = bullet ? 0 : ruler_end(strip, strip->at);
        if (end > 0) {
            strip->at = end;
            return;
        }
        size_t marks = opener(strip, strip->at);
        if (marks == 0)
            break;
        bullet = strip->base[strip->at] != '>';
        strip->at += marks;
    }
    uint8_t c = strip->base[strip->at];
    strip->table_line = c == '|';
    size_t run = c == '`' || c == '~' ? run_of(strip, strip->at, c) : 0;
    if (run >= 3)
        strip_fence(strip, run, true);
}

/* ---- fences ---- */

/* Behind the language named after an opening fence. In a flattened body the code goes on in the
 * same line, so only one word is taken, and only if it stands directly behind the fence or alone in
 * its line. */
static size_t language_end(const struct strip *strip, size_t at, bool *alone)
{
    size_t word = at;
    while (strip_byte(strip, word) == ' ' && word < strip->size)
        word++;
    size_t end = word;
    while (end < strip->size && !strip_blank(strip->base[end]) && strip->base[end] != '`')
        end++;
    size_t line = end;
    while (line < strip->size && strip->base[line] != '\n' && strip_blank(strip->base[line]))
        line++;
    *alone = line >= strip->size || strip->base[line] == '\n';
    bool code = end < strip->size && strip->base[end] == '`'; /* ```code``` */
    return !code && (*alone || word == at) ? end : at;
}

/* Where the fence closes: at the start of a line if the opening one had a line of its own, else
 * anywhere. */
static size_t fence_close(const struct strip *strip, size_t at, uint8_t mark, size_t run,
                          bool lines, size_t *behind)
{
    while (at < strip->size) {
        const uint8_t *hit = memchr(strip->base + at, mark, strip->size - at);
        if (!hit)
            break;
        size_t start = (size_t)(hit - strip->base);
        size_t length = run_of(strip, start, mark);
        size_t line = start;
        if (lines)
            while (line > at && strip->base[line - 1] != '\n' && strip_blank(strip->base[line - 1]))
                line--;
        *behind = start + length;
        if (length >= run && (!lines || line == 0 || strip->base[line - 1] == '\n'))
            return start;
        at = start + length;
    }
    *behind = strip->size;
    return strip->size;
}

void strip_fence(struct strip *strip, size_t run, bool line_start)
{
    uint8_t mark = strip->base[strip->at];
    size_t at = strip->at + run;
    bool alone;
    size_t behind, code = language_end(strip, at, &alone);
    size_t end = fence_close(strip, code, mark, run, line_start && alone, &behind);
    strip_space(strip, strip->at);
    strip_text(strip, code, end);
    if (behind > end)
        strip_space(strip, end);
    strip->at = behind;
}

/* ---- tables ---- */

/* Behind the cells of a table's rule that follow the bar at `at` ("|---|:-:|" up to its last bar);
 * `at` if there are none. */
static size_t rule_end(const struct strip *strip, size_t at)
{
    size_t end = at;
    for (;;) {
        size_t i = end + 1, dashes = 0;
        while (strip_byte(strip, i) == ' ' && i < strip->size)
            i++;
        bool colon = strip_byte(strip, i) == ':';
        i += colon;
        dashes = run_of(strip, i, '-');
        i += dashes;
        if (strip_byte(strip, i) == ':') {
            colon = true;
            i++;
        }
        while (i < strip->size && strip->base[i] == ' ')
            i++;
        bool closed = i >= strip->size || strip->base[i] == '|' || strip->base[i] == '\n';
        if (!closed || dashes + colon < 2 || dashes == 0)
            return end;
        end = i;
        if (i >= strip->size || strip->base[i] == '\n')
            return end;
    }
}

void strip_bar(struct strip *strip)
{
    size_t at = strip->at;
    size_t rule = rule_end(strip, at);
    if (rule > at) {
        strip->table_line = true; /* the rows of a flattened table follow in the same line */
        strip_space(strip, at);
        strip->at = rule;
        return;
    }
    bool table = strip->table_line;
    if (!table) {
        size_t ahead = strip_find(strip, MARK_RULE, at);
        table = ahead != STRIP_NOWHERE && ahead - at <= STRIP_TABLE_AHEAD &&
                strip_find(strip, MARK_NEWLINE, at) > ahead;
    }
    if (table)
        strip_space(strip, at);
    else
        strip_write(strip, at, at + 1, false);
    strip->at = at + 1;
}

/* ---- the whole ---- */

/* Copies up to the next byte that may begin markup or is to be made a single space. */
static void copy(struct strip *strip)
{
    size_t start = strip->at, at = start;
    for (; at < strip->size; at++) {
        uint8_t c = strip->base[at];
        uint8_t kind = kinds[c];
        if (kind == PLAIN)
            continue;
        uint8_t next = strip_byte(strip, at + 1);
        if (kind == SPACE && at > start && next > ' ')
            continue;
        if ((kind == COLON && next != '/') || (kind == BANG && next != '['))
            continue;
        if (kind == WIDE && strip_wide_space(strip, at) == 0)
            continue;
        break;
    }
    strip_write(strip, start, at, false);
    strip->at = at;
}

void markdown_strip(struct markdown *markdown, struct bytes body)
{
    struct strip strip = {.out = markdown, .base = body.data, .size = body.size};
    buf_clear(&markdown->plain);
    buf_reserve(&markdown->plain, body.size);
    markdown->span_count = 0;
    markdown->skip_count = 0;
    if (body.size > 0 && memmem(body.data, body.size, "](", 2))
        strip_links(&strip);
    if (body.size > 0)
        begin_line(&strip);
    while (strip.at < strip.size) {
        uint8_t c = strip.base[strip.at];
        if (strip_white(&strip)) {
            if (c == '\n')
                begin_line(&strip);
        } else if (kinds[c] == PLAIN || kinds[c] == WIDE) {
            copy(&strip);
        } else {
            strip_inline(&strip);
        }
    }
    struct buf *plain = &markdown->plain;
    if (plain->size > 0 && plain->data[plain->size - 1] == ' ')
        plain->size--;
    while (markdown->span_count > 0 &&
           markdown->spans[markdown->span_count - 1].plain >= plain->size)
        markdown->span_count--;
}
