#include "client/import/glossary_header.h"

#include "client/import/entry.h"

#include <string.h>
#include <strings.h>

#define LINE_MAX_BYTES 512
#define PART_MAX_BYTES 96
#define PART_MAX_WORDS 9
#define PART_LONG_WORDS 6
#define PROSE_LEAST_BYTES 80 /* the first line of a body is seldom shorter */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_upper(uint8_t c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(uint8_t c)
{
    return c >= 'a' && c <= 'z';
}

static bool starts(struct bytes text, const char *with)
{
    return bytes_has_prefix(text, bytes_str(with));
}

static bool contains(struct bytes text, const char *what)
{
    return text.size > 0 && memmem(text.data, text.size, what, strlen(what)) != NULL;
}

/* Case-insensitive for ASCII. */
static bool contains_word(struct bytes text, struct bytes word)
{
    for (size_t i = 0; i + word.size <= text.size; i++)
        if (strncasecmp((const char *)text.data + i, (const char *)word.data, word.size) == 0)
            return true;
    return false;
}

/* "1. ", "12) ". */
static bool starts_numbered(struct bytes line)
{
    size_t i = 0;

    while (i < line.size && is_digit(line.data[i]))
        i++;
    return i > 0 && i + 1 < line.size && (line.data[i] == '.' || line.data[i] == ')') &&
           line.data[i + 1] == ' ';
}

/* Marks of Markdown, of code, of formulas, of drawings: not the start of a name. */
static bool starts_with_mark(struct bytes line)
{
    uint8_t first = line.data[0];

    if (first < 0x80)
        return !(is_digit(first) || is_upper(first) || is_lower(first)) && first != '.' &&
               first != '(' && first != '@' && first != '\'';
    /* U+2010 to U+2BFF: dashes, bullets, arrows, boxes */
    return line.size > 1 && first == 0xe2 && line.data[1] >= 0x80 && line.data[1] <= 0xaf;
}

/* Signs that names do not have but tables, formulas and code do. */
static bool has_foreign_sign(struct bytes line)
{
    static const char *const signs[] = {"**", "`",  "|",   "\\", "{",  "}",  ";",
                                        "$$", "==", " = ", "](", "\t", "://"};

    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (contains(line, signs[i]))
            return true;
    return false;
}

/* A word with "(" right behind it: a call. "moco (momentum contrast)" has a space there. */
static bool has_call(struct bytes line)
{
    for (size_t i = 1; i < line.size; i++)
        if (line.data[i] == '(' && line.data[i - 1] != ' ' && line.data[i - 1] != '(')
            return true;
    return false;
}

static size_t count_words(struct bytes part)
{
    size_t words = 0;

    for (size_t i = 0; i < part.size; i++)
        words += part.data[i] != ' ' && (i == 0 || part.data[i - 1] == ' ');
    return words;
}

/* A part that no list of names has. */
static bool part_is_prose(struct bytes part)
{
    static const char *const openers[] = {"and ", "or ",   "but ", "which ",   "where ",
                                          "so ",  "then ", "as ",  "because ", "while "};

    for (size_t i = 0; i < sizeof openers / sizeof *openers; i++)
        if (starts(part, openers[i]))
            return true;
    return contains(part, " is ") || contains(part, " are ") || contains(part, " can ");
}

struct parts {
    size_t count;
    int tight; /* commas without a space behind them */
    int score;
    bool impossible;
};

/* Weighs each part of the line for itself. */
static struct parts weigh_parts(struct bytes line)
{
    struct parts parts = {0};
    const uint8_t *at = line.data;
    const uint8_t *end = line.data + line.size;

    while (at <= end) {
        const uint8_t *comma = memchr(at, ',', (size_t)(end - at));
        const uint8_t *stop = comma != NULL ? comma : end;
        struct bytes part = import_trim(bytes_of(at, (size_t)(stop - at)));
        size_t words = count_words(part);

        if (part.size == 0 || part.size > PART_MAX_BYTES || words > PART_MAX_WORDS ||
            part.data[part.size - 1] == '.') {
            parts.impossible = true;
            return parts;
        }
        parts.score -= words > PART_LONG_WORDS ? 2 : 0;
        parts.score -= part_is_prose(part) ? 4 : 0;
        parts.score -= (memchr(part.data, '(', part.size) != NULL) !=
                               (memchr(part.data, ')', part.size) != NULL)
                           ? 3
                           : 0;
        parts.count++;
        if (comma == NULL)
            break;
        parts.tight += comma + 1 < end && comma[1] != ' ';
        at = comma + 1;
    }
    return parts;
}

static int weigh_signs(struct bytes line)
{
    static const char *const odd[] = {". ", ": ", "$", "=", "<", ">", "[", "]", "\"", "? ", "! "};
    int score = 0;

    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        score -= contains(line, odd[i]) ? 3 : 0;
    return score;
}

/* Names are written small; a sentence starts with a capital; "NMOS" or "3d" may be either. */
static int weigh_start(struct bytes line)
{
    uint8_t first = line.data[0];
    uint8_t second = line.size > 1 ? line.data[1] : 0;

    if (!is_upper(first))
        return 2;
    return is_upper(second) || is_digit(second) || second == '-' ? 0 : -2;
}

/* The part before the first comma. */
static struct bytes headword_of(struct bytes line)
{
    const uint8_t *comma = line.size > 0 ? memchr(line.data, ',', line.size) : NULL;

    return import_trim(
        bytes_of(line.data, comma != NULL ? (size_t)(comma - line.data) : line.size));
}

/* Whether the body that would begin speaks of the headword. */
static int weigh_next(struct bytes line, struct bytes next)
{
    struct bytes headword = headword_of(line);
    struct bytes beginning = bytes_of(next.data, next.size < 240 ? next.size : 240);
    size_t words = 0, found = 0;
    int score = 0;

    for (size_t i = 0; i < headword.size;) {
        size_t from = i;
        while (i < headword.size && headword.data[i] != ' ')
            i++;
        struct bytes word = bytes_of(headword.data + from, i - from);
        if (word.size > 3 && word.data[word.size - 1] == 's')
            word.size--;
        if (word.size > 1) {
            words++;
            found += contains_word(beginning, word);
        }
        i++;
    }
    if (words > 0 && found == words)
        score += 4;
    else if (found > 0)
        score += 2;
    if (starts(next, "**"))
        score += 2;
    if (next.size >= PROSE_LEAST_BYTES)
        score += 1;
    if (!starts(next, "**") && (starts_with_mark(next) || starts_numbered(next)))
        score -= 2;
    return score;
}

static int weigh_previous(struct bytes previous)
{
    static const char *const closings[] = {".", "!", "?", ")", "*", "|", "`", "$"};

    if (previous.size == 0)
        return 1;
    if (previous.data[previous.size - 1] == ':' || previous.data[previous.size - 1] == ',')
        return -3;
    for (size_t i = 0; i < sizeof closings / sizeof *closings; i++)
        if (previous.data[previous.size - 1] == (uint8_t)closings[i][0])
            return 1;
    return 0;
}

int header_score(struct bytes line, const struct header_context *context)
{
    struct bytes next = import_trim(context->next);
    struct parts parts;
    int score;

    if (line.size == 0 || line.size > LINE_MAX_BYTES || next.size == 0 || line.data[0] == ' ')
        return 0;
    line = import_trim(line);
    if (line.size == 0 || starts_with_mark(line) || starts_numbered(line) ||
        has_foreign_sign(line) || has_call(line) ||
        strchr(".:;,={", line.data[line.size - 1]) != NULL)
        return 0;
    parts = weigh_parts(line);
    if (parts.impossible)
        return 0;
    score = parts.score + weigh_signs(line) + weigh_start(line) + weigh_next(line, next) +
            weigh_previous(import_trim(context->previous));
    if (parts.count == 1)
        score -= 3;
    else
        score += parts.tight > 0 ? 4 : 1;
    if (context->alone)
        score += 3;
    if (context->enclosed) {
        if (next.size < PROSE_LEAST_BYTES && !starts(next, "**"))
            return 0;
        score -= 6;
    }
    return score > 0 ? score : 0;
}

static int compare_folded(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = strncasecmp((const char *)a.data, (const char *)b.data, size);

    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

bool header_in_order(struct bytes a, struct bytes b)
{
    return bytes_compare(a, b) <= 0 || compare_folded(a, b) <= 0 ||
           compare_folded(headword_of(a), headword_of(b)) <= 0;
}
