#include "coordinator/query_lex.h"

#include <string.h>
#include <strings.h>

/* Bytes of the white space at `at` (Unicode's White_Space, valid UTF-8), 0 when there is none. */
static size_t space_at(struct bytes text, size_t at)
{
    const uint8_t *s = text.data + at;
    size_t left = text.size - at;
    if (left == 0)
        return 0;
    if (s[0] == ' ' || (s[0] >= '\t' && s[0] <= '\r'))
        return 1;
    if (left >= 2 && s[0] == 0xc2 && (s[1] == 0x85 || s[1] == 0xa0))
        return 2;
    if (left < 3)
        return 0;
    uint32_t three = (uint32_t)s[0] << 16 | (uint32_t)s[1] << 8 | s[2];
    bool space = three == 0xe19a80 || (three >= 0xe28080 && three <= 0xe2808a) ||
                 three == 0xe280a8 || three == 0xe280a9 || three == 0xe280af || three == 0xe2819f ||
                 three == 0xe38080;
    return space ? 3 : 0;
}

/* Bytes of the quotation mark at `at`: the straight one, and the curly ones that keyboards and word
 * processors put in its place. */
static size_t quote_at(struct bytes text, size_t at)
{
    const uint8_t *s = text.data + at;
    if (at < text.size && s[0] == '"')
        return 1;
    if (text.size - at >= 3 && s[0] == 0xe2 && s[1] == 0x80 && s[2] >= 0x9c && s[2] <= 0x9f)
        return 3;
    return 0;
}

static bool ends_word(struct bytes text, size_t at)
{
    return at >= text.size || text.data[at] == '(' || text.data[at] == ')' || space_at(text, at) ||
           quote_at(text, at);
}

static bool is_digit(struct bytes text, size_t at)
{
    return at < text.size && text.data[at] >= '0' && text.data[at] <= '9';
}

/* digits [. digits]; false when there are none. More of them than a double holds do no harm. */
static bool number_at(struct bytes text, size_t at, double *value, size_t *end)
{
    double number = 0, scale = 1;
    size_t from = at;
    for (; is_digit(text, at); at++)
        number = number * 10 + (text.data[at] - '0');
    if (at < text.size && text.data[at] == '.' && is_digit(text, at + 1)) {
        for (at++; is_digit(text, at); at++) {
            scale /= 10;
            number += (text.data[at] - '0') * scale;
        }
    }
    *value = number;
    *end = at;
    return at > from;
}

struct lex_suffix lex_boost(struct bytes text, size_t at, size_t *end)
{
    struct lex_suffix suffix = {0};
    *end = at;
    if (at < text.size && text.data[at] == '^')
        suffix.present = number_at(text, at + 1, &suffix.value, end);
    if (!suffix.present)
        *end = at;
    return suffix;
}

static struct lex_suffix tilde_at(struct bytes text, size_t at, size_t *end)
{
    struct lex_suffix suffix = {0};
    *end = at;
    if (at < text.size && text.data[at] == '~') {
        suffix.present = true;
        if (!number_at(text, at + 1, &suffix.value, end)) {
            suffix.value = -1;
            *end = at + 1;
        }
    }
    return suffix;
}

/* The suffixes of a word that begin at `at`, if they reach to its end: [*] [~n] [^x]. */
static bool word_suffix(struct bytes text, size_t at, struct lex_token *token)
{
    struct lex_token tried = *token;
    size_t end = at;
    if (text.data[end] == '*') {
        tried.star = true;
        end++;
    }
    tried.tilde = tilde_at(text, end, &end);
    tried.boost = lex_boost(text, end, &end);
    if (end == at || !ends_word(text, end))
        return false;
    tried.end = end;
    *token = tried;
    return true;
}

/* Behind a code point, or an escaped one. */
static size_t skip_one(struct bytes text, size_t at)
{
    at += text.data[at] == '\\' && at + 1 < text.size ? 2 : 1;
    while (at < text.size && (text.data[at] & 0xc0) == 0x80)
        at++;
    return at;
}

static struct lex_token lex_quoted(struct bytes text, size_t at, struct arena *arena)
{
    struct lex_token token = {.kind = LEX_QUOTED, .start = at};
    at += quote_at(text, at);
    size_t end = at;
    while (end < text.size && !quote_at(text, end))
        end = skip_one(text, end);
    uint8_t *content = arena_alloc(arena, end - at + 1);
    if (!content)
        return (struct lex_token){.kind = LEX_NOMEM};
    size_t size = 0;
    while (at < end) {
        if (text.data[at] == '\\' && at + 1 < end)
            at++;
        content[size++] = text.data[at++];
    }
    token.text = bytes_of(content, size);
    token.unclosed = at >= text.size;
    if (!token.unclosed) {
        at += quote_at(text, at);
        token.tilde = tilde_at(text, at, &at);
        token.boost = lex_boost(text, at, &at);
    }
    token.end = at;
    return token;
}

static size_t word_end(struct bytes text, size_t at)
{
    while (!ends_word(text, at))
        at = skip_one(text, at);
    return at;
}

static struct lex_token lex_word(struct bytes text, size_t at, struct arena *arena)
{
    struct lex_token token = {.kind = LEX_WORD, .start = at, .end = word_end(text, at)};
    size_t end = token.end;
    uint8_t *word = arena_alloc(arena, end - at + 1);
    if (!word)
        return (struct lex_token){.kind = LEX_NOMEM};
    size_t size = 0;
    while (at < end) {
        uint8_t byte = text.data[at];
        if ((byte == '*' || byte == '~' || byte == '^') && word_suffix(text, at, &token))
            break;
        token.inner_star |= byte == '*';
        if (byte == '\\' && at + 1 < end)
            at++;
        word[size++] = text.data[at++];
    }
    token.text = bytes_of(word, size);
    return token;
}

static const struct {
    const char *name;
    enum text_field field;
} fields[] = {
    {"headword", TEXT_FIELD_HEADWORD},   {"name", TEXT_FIELD_TERMS},
    {"names", TEXT_FIELD_TERMS},         {"term", TEXT_FIELD_TERMS},
    {"terms", TEXT_FIELD_TERMS},         {"category", TEXT_FIELD_CATEGORY},
    {"categories", TEXT_FIELD_CATEGORY}, {"body", TEXT_FIELD_BODY},
};

/* letters ':' at `at`. Other things with a colon ("std::vector", "10:30", "http://x") are words. */
static bool lex_field(struct bytes text, size_t at, struct lex_token *token, bool *unknown)
{
    size_t end = at;
    while (end < text.size && end - at < 32 &&
           ((text.data[end] | 0x20) >= 'a' && (text.data[end] | 0x20) <= 'z'))
        end++;
    if (end == at || end >= text.size || text.data[end] != ':')
        return false;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (strlen(fields[i].name) == end - at &&
            strncasecmp(fields[i].name, (const char *)text.data + at, end - at) == 0) {
            *token = (struct lex_token){
                .kind = LEX_FIELD, .start = at, .end = end + 1, .field = fields[i].field};
            return true;
        }
    }
    *unknown = end + 1 < text.size && text.data[end + 1] != ':' && text.data[end + 1] != '/' &&
               (!ends_word(text, end + 1) || quote_at(text, end + 1));
    return false;
}

static bool is_operand_start(struct bytes text, size_t at, uint8_t sign)
{
    return at < text.size && text.data[at] != ')' && text.data[at] != sign && !space_at(text, at);
}

static enum lex_kind keyword(struct lex_token *token, struct bytes text)
{
    static const struct {
        const char *word;
        enum lex_kind kind;
        bool symbol;
    } keywords[] = {{"AND", LEX_AND, false},
                    {"OR", LEX_OR, false},
                    {"NOT", LEX_NOT, false},
                    {"&&", LEX_AND, true},
                    {"||", LEX_OR, true}};
    struct bytes raw = bytes_of(text.data + token->start, token->end - token->start);
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (bytes_equal(raw, bytes_str(keywords[i].word))) {
            token->symbol = keywords[i].symbol;
            return keywords[i].kind;
        }
    }
    return LEX_WORD;
}

struct lex_token lex_next(struct bytes text, size_t at, bool plain, struct arena *arena)
{
    for (size_t space; (space = space_at(text, at)) > 0;)
        at += space;
    struct lex_token token = {.kind = LEX_END, .start = at, .end = at};
    if (at >= text.size)
        return token;
    uint8_t byte = text.data[at];
    token.end = at + 1;
    token.kind = byte == '(' ? LEX_OPEN : byte == ')' ? LEX_CLOSE : LEX_END;
    if (token.kind != LEX_END)
        return token;
    if (quote_at(text, at))
        return lex_quoted(text, at, arena);
    if (!plain && (byte == '+' || byte == '-' || byte == '!') &&
        is_operand_start(text, at + 1, byte)) {
        token.kind = byte == '+' ? LEX_PLUS : LEX_MINUS;
        return token;
    }
    bool unknown = false;
    if (!plain && lex_field(text, at, &token, &unknown))
        return token;
    token = lex_word(text, at, arena);
    token.unknown_field = unknown;
    if (!plain && token.kind == LEX_WORD)
        token.kind = keyword(&token, text);
    return token;
}
