/* The inline half: emphasis, code, formulas, links, tags, entities, escapes, URLs. */
#include "proto/text/markdown_state.h"

#include "proto/text/entity.h"

#include <stdlib.h>
#include <string.h>

static bool letter(uint8_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool punctuation(uint8_t c)
{
    return c > ' ' && c < 0x7F && !strip_wordy(c);
}

static size_t run_length(const struct strip *strip)
{
    uint8_t c = strip->base[strip->at];
    size_t at = strip->at;
    while (at < strip->size && strip->base[at] == c)
        at++;
    return at - strip->at;
}

/* What seemed to begin markup is text. */
static void as_text(struct strip *strip, size_t size)
{
    strip_write(strip, strip->at, strip->at + size, false);
    strip->at += size;
}

/* ---- emphasis ----
 * A mark goes when it can open emphasis (something other than space follows, no word is before it)
 * or can close what was opened. "a * b", "snake_case", "x*y" and a footnote* stay. */

static void emphasis(struct strip *strip, uint8_t mark)
{
    size_t run = run_length(strip);
    uint8_t before = strip->at > 0 ? strip->base[strip->at - 1] : ' ';
    uint8_t after = strip_byte(strip, strip->at + run);
    if (run > STRIP_EMPHASIS_MAX) {
        as_text(strip, run);
        return;
    }
    uint8_t *open = &strip->open[mark == '_'][run];
    bool inside = mark == '*' && run >= 2 && (letter(before) || before >= 0x80) &&
                  (letter(after) || after >= 0x80);
    bool can_open =
        !strip_blank(after) && !(mark == '_' && after == '{') && (!strip_wordy(before) || inside);
    bool can_close = !strip_blank(before) && !(mark == '_' && strip_wordy(after));
    if (can_close && *open > 0) {
        --*open;
        strip->at += run;
    } else if (can_open) {
        if (*open < UINT8_MAX)
            ++*open;
        strip->at += run;
    } else {
        as_text(strip, run);
    }
}

static void tilde(struct strip *strip)
{
    size_t run = run_length(strip);
    uint8_t before = strip->at > 0 ? strip->base[strip->at - 1] : ' ';
    bool spaced = strip_blank(before) && strip_blank(strip_byte(strip, strip->at + run));
    if (run == 2 && !spaced)
        strip->at += run;
    else
        as_text(strip, run);
}

/* "##" alone between spaces is a heading of a flattened body; "c#" and "# 5" are text. */
static void hash(struct strip *strip)
{
    size_t run = run_length(strip);
    uint8_t before = strip->at > 0 ? strip->base[strip->at - 1] : ' ';
    bool spaced = strip_blank(before) && strip_blank(strip_byte(strip, strip->at + run));
    if (run >= 2 && run <= 6 && spaced)
        strip->at += run;
    else
        as_text(strip, run);
}

/* ---- code ---- */

static void code(struct strip *strip)
{
    size_t run = run_length(strip);
    size_t inside = strip->at + run;
    if (run <= STRIP_CODE_RUN_MAX) {
        size_t end =
            strip_find_near(strip, MARK_CODE_1 + (enum strip_mark)(run - 1), inside, strip->size);
        if (end != STRIP_NOWHERE && run < 3) {
            strip_text(strip, inside, end);
            strip->at = end + run;
            return;
        }
    }
    if (run >= 3)
        strip_fence(strip, run, false);
    else
        as_text(strip, run);
}

/* ---- TeX ---- */

/* At a backslash before a letter: the command, with the name of an environment if it begins or ends
 * one. */
static size_t command_end(const struct strip *strip, size_t at, size_t limit)
{
    size_t end = at + 1;
    while (end < limit && letter(strip->base[end]))
        end++;
    size_t size = end - at;
    bool environment = (size == 6 && memcmp(strip->base + at, "\\begin", 6) == 0) ||
                       (size == 4 && memcmp(strip->base + at, "\\end", 4) == 0);
    if (!environment || end >= limit || strip->base[end] != '{')
        return end;
    size_t name = end + 1;
    while (name < limit && (letter(strip->base[name]) || strip->base[name] == '*'))
        name++;
    return name < limit && strip->base[name] == '}' ? name + 1 : end;
}

/* Writes a formula: text, but for its commands, which are no words. */
static void formula(struct strip *strip, size_t from, size_t to)
{
    size_t start = from;
    for (size_t at = from; at < to;) {
        if (strip->base[at] != '\\') {
            at++;
        } else if (at + 1 < to && letter(strip->base[at + 1])) {
            strip_text(strip, start, at);
            start = command_end(strip, at, to);
            strip_write(strip, at, start, true);
            at = start;
        } else {
            at += at + 1 < to ? 2 : 1;
        }
    }
    strip_text(strip, start, to);
}

static void dollar(struct strip *strip)
{
    size_t run = run_length(strip);
    size_t inside = strip->at + run;
    size_t end = STRIP_NOWHERE;
    if (run == 2)
        end = strip_find_near(strip, MARK_DOLLARS, inside, STRIP_DISPLAY_MAX);
    else if (run == 1 && !strip_blank(strip_byte(strip, inside)))
        end = strip_find_near(strip, MARK_DOLLAR, inside, STRIP_FORMULA_MAX);
    if (end == STRIP_NOWHERE) {
        as_text(strip, run);
        return;
    }
    formula(strip, inside, end);
    strip->at = end + run;
}

static void backslash(struct strip *strip)
{
    size_t at = strip->at;
    uint8_t next = strip_byte(strip, at + 1);
    if (next == '(' || next == '[') {
        enum strip_mark mark = next == '(' ? MARK_PAREN : MARK_BRACKET;
        size_t end = strip_find_near(strip, mark, at + 2, STRIP_DISPLAY_MAX);
        if (end != STRIP_NOWHERE) {
            formula(strip, at + 2, end);
            strip->at = end + 2;
            return;
        }
    }
    if (letter(next)) {
        if (at > 0 && strip->base[at - 1] == ':') { /* C:\Program Files is a path */
            size_t end = at;
            while (end < strip->size && !strip_blank(strip->base[end]))
                end++;
            strip_text(strip, at, end);
            return;
        }
        size_t end = command_end(strip, at, strip->size);
        strip_write(strip, at, end, true);
        strip->at = end;
    } else if (punctuation(next)) {
        strip_write(strip, at + 1, at + 2, false);
        strip->at = at + 2;
    } else if (next == '\n') { /* a hard line break */
        strip->at = at + 1;
    } else {
        as_text(strip, 1);
    }
}

/* ---- links ---- */

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

static void bracket(struct strip *strip)
{
    const struct markdown *out = strip->out;
    while (strip->skip < out->skip_count && out->skips[strip->skip].at < strip->at)
        strip->skip++;
    if (strip->skip < out->skip_count && out->skips[strip->skip].at == strip->at)
        strip->at = out->skips[strip->skip].to;
    else
        as_text(strip, 1);
}

/* ---- URLs ---- */

/* At the ':' of "://". The scheme, which has been written already, turns silent. */
static void url(struct strip *strip)
{
    struct markdown *out = strip->out;
    size_t colon = strip->at, start = colon;
    if (strip_byte(strip, colon + 1) != '/' || strip_byte(strip, colon + 2) != '/') {
        as_text(strip, 1);
        return;
    }
    while (start > 0 && colon - start < 8 && letter(strip->base[start - 1]))
        start--;
    size_t scheme = colon - start;
    struct markdown_span *last = out->span_count > 0 ? &out->spans[out->span_count - 1] : NULL;
    size_t plain = out->plain.size;
    if (scheme < 3 || scheme > 6 || !last || last->silent || last->size || plain < scheme ||
        last->plain > plain - scheme || last->source + (plain - last->plain) != colon) {
        as_text(strip, 3);
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

/* ---- HTML ---- */

/* Sorted. Tags within a line leave no trace; the others separate words. */
static const struct tag {
    char name[11];
    bool inline_level;
} tags[] = {
    {"a", true},        {"abbr", true},     {"article", false},    {"aside", false},
    {"audio", false},   {"b", true},        {"blockquote", false}, {"body", false},
    {"br", false},      {"button", false},  {"caption", false},    {"center", false},
    {"cite", true},     {"code", true},     {"dd", false},         {"del", true},
    {"details", false}, {"dfn", true},      {"div", false},        {"dl", false},
    {"dt", false},      {"em", true},       {"figcaption", false}, {"figure", false},
    {"font", true},     {"footer", false},  {"h1", false},         {"h2", false},
    {"h3", false},      {"h4", false},      {"h5", false},         {"h6", false},
    {"head", false},    {"header", false},  {"hr", false},         {"html", false},
    {"i", true},        {"iframe", false},  {"img", false},        {"ins", true},
    {"kbd", true},      {"li", false},      {"main", false},       {"mark", true},
    {"nav", false},     {"ol", false},      {"p", false},          {"pre", false},
    {"q", true},        {"s", true},        {"samp", true},        {"section", false},
    {"small", true},    {"span", true},     {"strike", true},      {"strong", true},
    {"sub", true},      {"summary", false}, {"sup", true},         {"table", false},
    {"tbody", false},   {"td", false},      {"tfoot", false},      {"th", false},
    {"thead", false},   {"tr", false},      {"tt", true},          {"u", true},
    {"ul", false},      {"var", true},      {"video", false},      {"wbr", true},
};

static int compare_tag(const void *name, const void *tag)
{
    return strcmp(name, ((const struct tag *)tag)->name);
}

/* name="value", name='value' or name=value at `at`: behind it, 0 if there is none. Bare names are
 * not taken for attributes, so that "<b and c>" stays text. */
static size_t attribute_end(const struct strip *strip, size_t at)
{
    size_t name = at;
    while (letter(strip_byte(strip, at)) || strip_byte(strip, at) == '-')
        at++;
    if (at == name || strip_byte(strip, at) != '=')
        return 0;
    uint8_t quote = strip_byte(strip, ++at);
    if (quote != '"' && quote != '\'') {
        size_t value = at;
        while (!strip_blank(strip_byte(strip, at)) && !strchr("<>\"'`", strip->base[at]))
            at++;
        return at > value ? at : 0;
    }
    for (at++; at < strip->size && strip->base[at] != '<' && strip->base[at] != '\n'; at++)
        if (strip->base[at] == quote)
            return at + 1;
    return 0;
}

/* Behind the tag that begins at `at` ('<'), 0 if it is none; stops at the next '<', so it passes no
 * byte twice. */
static size_t tag_end(const struct strip *strip, size_t at, bool *inline_level)
{
    char name[sizeof tags[0].name] = {0};
    at++;
    bool closing = strip_byte(strip, at) == '/';
    at += closing;
    for (size_t size = 0;; at++) {
        uint8_t c = strip_byte(strip, at);
        if (!letter(c) && !(size > 0 && c >= '0' && c <= '9'))
            break;
        if (size + 1 == sizeof name)
            return 0;
        name[size++] = (char)(c | 0x20); /* digits have that bit already */
    }
    const struct tag *tag =
        bsearch(name, tags, sizeof tags / sizeof *tags, sizeof *tags, compare_tag);
    if (!tag)
        return 0;
    *inline_level = tag->inline_level;
    for (;;) {
        size_t space = at;
        while (at < strip->size && strip_blank(strip->base[at]))
            at++;
        uint8_t c = strip_byte(strip, at);
        if (c == '>')
            return at + 1;
        if (c == '/' && strip_byte(strip, at + 1) == '>')
            return at + 2;
        size_t end = at > space && !closing ? attribute_end(strip, at) : 0;
        if (end == 0)
            return 0;
        at = end;
    }
}

static void angle(struct strip *strip)
{
    size_t at = strip->at;
    if (strip->size - at >= 4 && memcmp(strip->base + at, "<!--", 4) == 0) {
        size_t end = strip_find(strip, MARK_COMMENT, at + 4);
        if (end != STRIP_NOWHERE) {
            strip_space(strip, at);
            strip->at = end + 3;
            return;
        }
    }
    /* <https://...>: the brackets go, the URL is met next. */
    size_t scheme = at + 1;
    while (scheme - at < 8 && letter(strip_byte(strip, scheme)))
        scheme++;
    if (scheme > at + 3 && strip->size - scheme >= 3 &&
        memcmp(strip->base + scheme, "://", 3) == 0) {
        size_t end = scheme;
        while (end < strip->size && end - at < STRIP_TARGET_MAX && !strip_blank(strip->base[end]) &&
               strip->base[end] != '<' && strip->base[end] != '>')
            end++;
        if (strip_byte(strip, end) == '>' && end < strip->size) {
            strip_write(strip, at + 1, scheme, true);
            strip_text(strip, scheme, end);
            strip->at = end + 1;
            return;
        }
    }
    bool inline_level = false;
    size_t end = tag_end(strip, at, &inline_level);
    if (end == 0) {
        as_text(strip, 1);
        return;
    }
    if (!inline_level)
        strip_space(strip, at);
    strip->at = end;
}

static void entity(struct strip *strip)
{
    int32_t point;
    size_t size = entity_decode(strip->base + strip->at, strip->size - strip->at, &point);
    if (size == 0) {
        as_text(strip, 1);
        return;
    }
    strip_decoded(strip, strip->at, strip->at + size, point);
    strip->at += size;
}

void strip_inline(struct strip *strip)
{
    uint8_t c = strip->base[strip->at];
    switch (c) {
    case '*':
    case '_':
        emphasis(strip, c);
        break;
    case '~':
        tilde(strip);
        break;
    case '#':
        hash(strip);
        break;
    case '`':
        code(strip);
        break;
    case '$':
        dollar(strip);
        break;
    case '\\':
        backslash(strip);
        break;
    case '!':
    case '[':
    case ']':
        bracket(strip);
        break;
    case '<':
        angle(strip);
        break;
    case '&':
        entity(strip);
        break;
    case '|':
        strip_bar(strip);
        break;
    case ':':
        url(strip);
        break;
    default:
        as_text(strip, 1);
    }
}
