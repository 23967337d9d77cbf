/* Term keys. Pure ASCII, nearly everything, takes one pass over the bytes; the rest is folded into
 * code points first. Both walk the same automaton (struct spacer): a separator is only remembered,
 * and written as one space in front of the next character that stays. */
#include "proto/text/key.h"

#include "proto/text/fold.h"
#include "proto/text/utf8.h"

#include <assert.h>
#include <utf8proc.h>

struct spacer {
    bool pending; /* a separator was seen since the last kept character */
    bool letter;  /* the last character was a letter, or a sign that was kept */
    bool any;
};

/* Whether `point` stays; `*space` whether a space goes before it. */
static bool spacer_keep(struct spacer *spacer, int32_t point, bool *space)
{
    enum utf8_class class = utf8_class(point);
    bool sign = (point == '+' || point == '#') && spacer->letter;
    /* Ignorable characters are gone by now, but for those that an unfolded text may hold. */
    bool keep = class == CLASS_LETTER || class == CLASS_DIGIT || class == CLASS_MARK ||
                class == CLASS_BIGRAM || sign;
    if (!keep) {
        spacer->pending = true;
        spacer->letter = false;
        return false;
    }
    *space = spacer->pending && spacer->any;
    spacer->pending = false;
    spacer->any = true;
    spacer->letter = sign || class == CLASS_LETTER || class == CLASS_BIGRAM ||
                     (class == CLASS_MARK && spacer->letter);
    return true;
}

static bool ascii(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] >= 0x80)
            return false;
    return true;
}

static void key_ascii(struct bytes text, struct buf *out)
{
    struct spacer spacer = {0};
    uint8_t *to = buf_extend(out, text.size); /* a space stands for at least one byte that went */
    uint8_t *start = to;
    for (size_t i = 0; i < text.size; i++) {
        bool space;
        uint8_t c = text.data[i];
        if (!spacer_keep(&spacer, c, &space))
            continue;
        if (space)
            *to++ = ' ';
        *to++ = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
    }
    out->size -= text.size - (size_t)(to - start);
}

/* In place: a space is only ever written for a separator that went. */
static void space_out(struct fold *fold)
{
    struct spacer spacer = {0};
    size_t count = 0;
    for (size_t i = 0; i < fold->count; i++) {
        bool space;
        int32_t point = fold->points[i];
        if (!spacer_keep(&spacer, point, &space))
            continue;
        if (space)
            fold->points[count++] = ' ';
        fold->points[count++] = point;
    }
    fold->count = count;
}

/* A text of nothing but punctuation: folded, white space single and trimmed. */
static void collapse(struct fold *fold)
{
    size_t count = 0;
    bool pending = false;
    for (size_t i = 0; i < fold->count; i++) {
        int32_t point = fold->points[i];
        if (utf8_space(point)) {
            pending = true;
            continue;
        }
        if (pending && count > 0)
            fold->points[count++] = ' ';
        pending = false;
        fold->points[count++] = point;
    }
    fold->count = count;
}

void text_key(struct bytes text, struct buf *out)
{
    size_t before = out->size;
    if (text.size == 0)
        return;
    if (ascii(text)) {
        key_ascii(text, out);
        if (out->size > before)
            return;
    }
    struct fold fold = {0};
    fold_decompose(&fold, text, true);
    space_out(&fold);
    if (fold.count == 0) {
        fold_decompose(&fold, text, true);
        collapse(&fold);
    }
    fold_compose(&fold);
    fold_append(&fold, out);
    fold_deinit(&fold);
    if (out->size == before) /* only white space, lone marks or invisible characters */
        buf_append_bytes(out, text);
}

void text_letter(struct bytes key, struct buf *out)
{
    if (key.size == 0)
        return;
    const uint8_t *at = key.data;
    int32_t point = utf8_next(&at, key.data + key.size);
    utf8_append(out, utf8proc_toupper(point));
}

void text_separator(struct bytes a, struct bytes b, struct buf *out)
{
    assert(bytes_compare(a, b) < 0);
    size_t size = 0;
    while (size < a.size && a.data[size] == b.data[size])
        size++;
    size++; /* b is longer than the common part, or it would not sort after a */
    while (size < b.size && (b.data[size] & 0xC0) == 0x80)
        size++;
    buf_append(out, b.data, size);
}
