/* Nearly all words are ASCII letters and digits with white space or a comma behind them:
 * words_scan() takes those by itself with one table. Everything else goes to long_word() or
 * pairs(), which look at code points. */
#include "proto/text/words.h"

#include "proto/text/analysis.h"
#include "proto/text/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (64u << 10)
#define SIGNS_MAX 3
#define RAW_MAX 1024     /* bytes of a word that are folded: far more than a token keeps */
#define UNIT_MARKS_MAX 8 /* of one character of a pair; further ones are dropped */

struct words_block {
    struct words_block *next;
    size_t used;
    uint8_t data[BLOCK_BYTES];
};

struct scan {
    struct words *words;
    const uint8_t *base, *end;
    bool (*emit)(void *data, const struct word *word);
    void *data;
};

void words_deinit(struct words *words)
{
    fold_deinit(&words->fold);
    buf_deinit(&words->raw);
    buf_deinit(&words->folded);
    for (struct words_block *block = words->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *words = (struct words){0};
}

void words_reset(struct words *words)
{
    struct words_block *block = words->blocks;
    if (!block)
        return;
    while (block->next) {
        struct words_block *next = block->next;
        block->next = next->next;
        free(next);
    }
    block->used = 0;
}

uint8_t *words_reserve(struct words *words, size_t size)
{
    assert(size <= TEXT_TOKEN_BYTES);
    struct words_block *block = words->blocks;
    if (!block || BLOCK_BYTES - block->used < size) {
        block = malloc(sizeof *block);
        if (!block)
            abort();
        block->next = words->blocks;
        block->used = 0;
        words->blocks = block;
    }
    return block->data + block->used;
}

void words_commit(struct words *words, size_t size)
{
    words->blocks->used += size;
}

/* What an ASCII letter or digit folds to; 0 for every other byte. */
static const uint8_t plain[256] = {
    ['0'] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ['A'] = 'a', 'b', 'c',
    'd',         'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n',         'o', 'p',
    'q',         'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', ['a'] = 'a', 'b', 'c',
    'd',         'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n',         'o', 'p',
    'q',         'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z',
};

static bool digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool emit_word(struct scan *scan, struct bytes text, const uint8_t *start,
                      const uint8_t *end, bool letters)
{
    struct word word = {.text = text,
                        .start = (size_t)(start - scan->base),
                        .end = (size_t)(end - scan->base),
                        .letters = letters};
    return scan->emit(scan->data, &word);
}

/* Copies a finished text to where it stays, cut to the length of a token. */
static struct bytes keep(struct words *words, struct bytes text)
{
    size_t size = utf8_cut(text, TEXT_TOKEN_BYTES);
    uint8_t *to = words_reserve(words, size);
    if (size > 0)
        memcpy(to, text.data, size);
    words_commit(words, size);
    return bytes_of(to, size);
}

static enum utf8_class class_at(const uint8_t *at, const uint8_t *end)
{
    return at < end ? utf8_class(utf8_next(&at, end)) : CLASS_BREAK;
}

/* Appends the fold of `raw` to words->folded, without what is no part of a word (a fold can make
 * such: the slash of a vulgar fraction). */
static void fold_word(struct words *words, struct bytes raw)
{
    fold_decompose(&words->fold, raw, words->strip);
    size_t count = 0;
    for (size_t i = 0; i < words->fold.count; i++) {
        int32_t point = words->fold.points[i];
        enum utf8_class class = utf8_class(point);
        bool sign = point == '+' || point == '#' || point == '.';
        if (sign || (class != CLASS_BREAK && class != CLASS_APOSTROPHE && class != CLASS_IGNORED))
            words->fold.points[count++] = point;
    }
    words->fold.count = count;
    fold_compose(&words->fold);
    fold_append(&words->fold, &words->folded);
}

/* ---- words with something special in them ---- */

struct long_word {
    const uint8_t *at;    /* behind what has been taken or looked at */
    const uint8_t *stop;  /* behind the last character that counts */
    enum utf8_class last; /* LETTER or DIGIT */
    bool letters;
    bool ascii;
};

static void take(struct scan *scan, struct long_word *word, const uint8_t *from, const uint8_t *to)
{
    if (scan->words->raw.size < RAW_MAX)
        buf_append(&scan->words->raw, from, (size_t)(to - from));
    word->at = word->stop = to;
}

/* At an apostrophe that ends at `behind`. True when the word goes on after it. */
static bool take_apostrophe(struct scan *scan, struct long_word *word, const uint8_t *behind)
{
    const uint8_t *after = behind;
    if (class_at(behind, scan->end) != CLASS_LETTER)
        return false;
    int32_t next = utf8_next(&after, scan->end);
    if (next == 's' || next == 'S') {
        enum utf8_class then = class_at(after, scan->end);
        if (then == CLASS_BREAK || then == CLASS_BIGRAM) {
            word->at = word->stop = after;
            return false;
        }
    }
    if (scan->words->elides || word->last != CLASS_LETTER)
        return false;
    word->at = behind;
    return true;
}

static void take_signs(struct scan *scan, struct long_word *word, const uint8_t *from)
{
    const uint8_t *to = from;
    while (to < scan->end && (*to == '+' || *to == '#'))
        to++;
    if (!word->letters || to - from > SIGNS_MAX)
        return;
    enum utf8_class then = class_at(to, scan->end);
    bool plusplus = to - from == 2 && from[0] == '+' && from[1] == '+';
    if (plusplus || (then != CLASS_LETTER && then != CLASS_DIGIT)) {
        take(scan, word, from, to);
        word->letters = false;
    }
}

/* Takes the next character of the word. False when the word has ended. */
static bool take_next(struct scan *scan, struct long_word *word)
{
    const uint8_t *behind = word->at;
    int32_t point = utf8_next(&behind, scan->end);
    enum utf8_class class = utf8_class(point);
    switch (class) {
    case CLASS_LETTER:
    case CLASS_DIGIT:
        word->last = class;
        word->letters = word->letters && class == CLASS_LETTER;
        /* fall through */
    case CLASS_MARK:
        word->ascii = word->ascii && behind == word->at + 1;
        take(scan, word, word->at, behind);
        return true;
    case CLASS_IGNORED:
        word->at = behind;
        return true;
    case CLASS_APOSTROPHE:
        return take_apostrophe(scan, word, behind);
    case CLASS_BREAK:
        if (point == '.' && word->last == CLASS_DIGIT && digit(word->at[-1]) &&
            behind < scan->end && digit(*behind)) {
            take(scan, word, word->at, behind);
            return true;
        }
        if (point == '+' || point == '#')
            take_signs(scan, word, word->at);
        return false;
    case CLASS_BIGRAM:
        return false;
    }
    return false;
}

/* The word that starts at `*at`, a letter or digit; moves `*at` behind it. */
static bool long_word(struct scan *scan, const uint8_t **at)
{
    struct words *words = scan->words;
    struct long_word word = {.at = *at, .stop = *at, .letters = true, .ascii = true};
    const uint8_t *start = *at;
    buf_clear(&words->raw);
    while (word.at < scan->end && take_next(scan, &word)) {
    }
    *at = word.at;
    struct bytes raw = buf_bytes(&words->raw);
    if (word.ascii) {
        for (size_t i = 0; i < raw.size; i++)
            if (plain[raw.data[i]])
                words->raw.data[i] = plain[raw.data[i]];
        return emit_word(scan, keep(words, raw), start, word.stop, word.letters);
    }
    buf_clear(&words->folded);
    fold_word(words, raw);
    struct bytes text = keep(words, buf_bytes(&words->folded));
    return text.size == 0 || emit_word(scan, text, start, word.stop, word.letters);
}

/* ---- scripts without spaces ---- */

/* A character with what combines with it: marks, the half-width voicing marks, trailing jamo. */
static const uint8_t *unit_end(const uint8_t *at, const uint8_t *end)
{
    utf8_next(&at, end);
    for (int marks = 0; at < end; marks++) {
        const uint8_t *behind = at;
        int32_t point = utf8_next(&behind, end);
        enum utf8_class class = utf8_class(point);
        bool joins = class == CLASS_MARK || class == CLASS_IGNORED || point == 0xFF9E ||
                     point == 0xFF9F || (point >= 0x1160 && point <= 0x11FF);
        if (!joins || marks == UNIT_MARKS_MAX)
            break;
        at = behind;
    }
    return at;
}

/* Overlapping pairs of the run that starts at `*at`. words->folded holds the fold of the unit
 * before and, from `half` on, that of this one. */
static bool pairs(struct scan *scan, const uint8_t **at)
{
    struct words *words = scan->words;
    const uint8_t *before = NULL; /* start of the unit before */
    const uint8_t *before_end = NULL;
    bool paired = false;
    buf_clear(&words->folded);
    while (*at < scan->end) {
        enum utf8_class class = class_at(*at, scan->end);
        if (class != CLASS_BIGRAM && (class != CLASS_MARK || !before))
            break;
        const uint8_t *unit = *at;
        *at = unit_end(unit, scan->end);
        size_t half = words->folded.size;
        fold_word(words, bytes_of(unit, (size_t)(*at - unit)));
        if (words->folded.size == half)
            continue;
        if (before) {
            paired = true;
            if (!emit_word(scan, keep(words, buf_bytes(&words->folded)), before, *at, false))
                return false;
            memmove(words->folded.data, words->folded.data + half, words->folded.size - half);
            words->folded.size -= half;
        }
        before = unit;
        before_end = *at;
    }
    if (before && !paired)
        return emit_word(scan, keep(words, buf_bytes(&words->folded)), before, before_end, false);
    return true;
}

bool words_scan(struct words *words, struct bytes text, size_t from, size_t to,
                bool (*emit)(void *data, const struct word *word), void *data)
{
    assert(from <= to && to <= text.size);
    struct scan scan = {
        .words = words, .base = text.data, .end = text.data + to, .emit = emit, .data = data};
    const uint8_t *at = text.data + from;
    while (at < scan.end) {
        if (*at < 0x80) {
            if (!plain[*at]) {
                at++;
                continue;
            }
            const uint8_t *start = at;
            uint8_t *out = words_reserve(words, TEXT_TOKEN_BYTES);
            size_t size = 0;
            uint8_t all_letters = 0x40; /* set in letters, not in digits */
            for (uint8_t c; at < scan.end && (c = plain[*at]); at++) {
                all_letters &= c;
                if (size < TEXT_TOKEN_BYTES)
                    out[size++] = c;
            }
            bool special = at < scan.end &&
                           (*at >= 0x80 || *at == '\'' || *at == '.' || *at == '+' || *at == '#');
            if (special) {
                at = start;
                if (!long_word(&scan, &at))
                    return false;
                continue;
            }
            words_commit(words, size);
            if (!emit_word(&scan, bytes_of(out, size), start, at, all_letters != 0))
                return false;
            continue;
        }
        const uint8_t *behind = at;
        switch (utf8_class(utf8_next(&behind, scan.end))) {
        case CLASS_LETTER:
        case CLASS_DIGIT:
            if (!long_word(&scan, &at))
                return false;
            break;
        case CLASS_BIGRAM:
            if (!pairs(&scan, &at))
                return false;
            break;
        default:
            at = behind;
        }
    }
    return true;
}
