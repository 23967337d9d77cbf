/* The inline half: emphasis, code, formulas, escapes; markdown_link.c and markdown_html.c have the
 * rest. */
#include "proto/text/markdown_state.h"

#include <string.h>

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

/* ---- emphasis ----
 * A mark goes when it can open emphasis (something other than space follows, no word is before it)
 * or can close what was opened. "a * b", "snake_case", "x*y" and a footnote* stay. */

static void emphasis(struct strip *strip, uint8_t mark)
{
    size_t run = run_length(strip);
    uint8_t before = strip->at > 0 ? strip->base[strip->at - 1] : ' ';
    uint8_t after = strip_byte(strip, strip->at + run);
    if (run > STRIP_EMPHASIS_MAX) {
        strip_as_text(strip, run);
        return;
    }
    uint8_t *open = &strip->open[mark == '_'][run];
    bool inside = mark == '*' && run >= 2 && (strip_letter(before) || before >= 0x80) &&
                  (strip_letter(after) || after >= 0x80);
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
        strip_as_text(strip, run);
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
        strip_as_text(strip, run);
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
        strip_as_text(strip, run);
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
        strip_as_text(strip, run);
}

/* ---- TeX ---- */

/* At a backslash before a letter: the command, with the name of an environment if it begins or ends
 * one. */
static size_t command_end(const struct strip *strip, size_t at, size_t limit)
{
    size_t end = at + 1;
    while (end < limit && strip_letter(strip->base[end]))
        end++;
    size_t size = end - at;
    bool environment = (size == 6 && memcmp(strip->base + at, "\\begin", 6) == 0) ||
                       (size == 4 && memcmp(strip->base + at, "\\end", 4) == 0);
    if (!environment || end >= limit || strip->base[end] != '{')
        return end;
    size_t name = end + 1;
    while (name < limit && (strip_letter(strip->base[name]) || strip->base[name] == '*'))
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
        } else if (at + 1 < to && strip_letter(strip->base[at + 1])) {
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
        strip_as_text(strip, run);
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
    if (strip_letter(next)) {
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
        strip_as_text(strip, 1);
    }
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
        strip_bracket(strip);
        break;
    case '<':
        strip_angle(strip);
        break;
    case '&':
        strip_entity(strip);
        break;
    case '|':
        strip_bar(strip);
        break;
    case ':':
        strip_url(strip);
        break;
    default:
        strip_as_text(strip, 1);
    }
}
