/* HTML as it occurs in Markdown: tags and comments vanish, autolinks and entities turn into what
 * they stand for. */
#include "proto/text/entity.h"
#include "proto/text/markdown_state.h"

#include <stdlib.h>
#include <string.h>

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
    while (strip_letter(strip_byte(strip, at)) || strip_byte(strip, at) == '-')
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
        if (!strip_letter(c) && !(size > 0 && c >= '0' && c <= '9'))
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

void strip_angle(struct strip *strip)
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
    while (scheme - at < 8 && strip_letter(strip_byte(strip, scheme)))
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
        strip_as_text(strip, 1);
        return;
    }
    if (!inline_level)
        strip_space(strip, at);
    strip->at = end;
}

void strip_entity(struct strip *strip)
{
    int32_t point;
    size_t size = entity_decode(strip->base + strip->at, strip->size - strip->at, &point);
    if (size == 0) {
        strip_as_text(strip, 1);
        return;
    }
    strip_decoded(strip, strip->at, strip->at + size, point);
    strip->at += size;
}
