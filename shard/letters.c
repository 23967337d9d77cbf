#include "shard/letters.h"

#include "proto/text/key.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LETTERS_MAX 1200000 /* more code points than there are */

void letters_deinit(struct letters *letters)
{
    free(letters->letters);
    *letters = (struct letters){0};
}

static uint8_t code_point_size(struct bytes key)
{
    if (key.size == 0)
        return 0;
    uint8_t first = key.data[0];
    uint8_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    return key.size < size ? (uint8_t)key.size : size;
}

static struct bytes letter_bytes(const struct letter *letter)
{
    return bytes_of(letter->text, letter->size);
}

static uint32_t lower_bound(const struct letters *letters, struct bytes text)
{
    uint32_t low = 0, high = letters->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bytes_compare(letter_bytes(&letters->letters[middle]), text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(struct letters *letters, uint32_t at, struct bytes text)
{
    if (letters->count == letters->capacity) {
        letters->capacity = letters->capacity == 0 ? 32 : 2 * letters->capacity;
        letters->letters =
            realloc(letters->letters, letters->capacity * sizeof letters->letters[0]);
        if (letters->letters == NULL)
            abort();
    }
    memmove(&letters->letters[at + 1], &letters->letters[at],
            (letters->count - at) * sizeof letters->letters[0]);
    struct letter *letter = &letters->letters[at];
    *letter = (struct letter){.size = (uint8_t)text.size};
    memcpy(letter->text, text.data, text.size);
    letters->count++;
}

void letters_add(struct letters *letters, struct bytes key, int64_t delta)
{
    struct bytes text = bytes_of(key.data, code_point_size(key));
    uint32_t at = lower_bound(letters, text);
    if (at == letters->count || !bytes_equal(letter_bytes(&letters->letters[at]), text))
        insert(letters, at, text);
    struct letter *letter = &letters->letters[at];
    assert(delta >= 0 || letter->count >= (uint64_t)-delta);
    letter->count += (uint64_t)delta;
    if (letter->count > 0)
        return;
    letters->count--;
    memmove(letter, letter + 1, (letters->count - at) * sizeof *letter);
}

uint64_t letters_before(const struct letters *letters, struct bytes key)
{
    uint32_t end = lower_bound(letters, letters_of(key));
    uint64_t count = 0;
    for (uint32_t i = 0; i < end; i++)
        count += letters->letters[i].count;
    return count;
}

struct bytes letters_of(struct bytes key)
{
    return bytes_of(key.data, code_point_size(key));
}

void letters_copy(struct letters *to, const struct letters *from)
{
    *to = (struct letters){.count = from->count, .capacity = from->count};
    if (from->count == 0)
        return;
    to->letters = malloc(from->count * sizeof to->letters[0]);
    if (to->letters == NULL)
        abort();
    memcpy(to->letters, from->letters, from->count * sizeof to->letters[0]);
}

bool letters_equal(const struct letters *a, const struct letters *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (a->letters[i].count != b->letters[i].count ||
            !bytes_equal(letter_bytes(&a->letters[i]), letter_bytes(&b->letters[i])))
            return false;
    return true;
}

void letters_each(const struct letters *letters,
                  void (*visit)(void *data, struct bytes letter, uint64_t count), void *data)
{
    struct buf current = {0}, next = {0};
    uint64_t count = 0;
    for (uint32_t i = 0; i < letters->count; i++) {
        buf_clear(&next);
        text_letter(letter_bytes(&letters->letters[i]), &next);
        if (i > 0 && !bytes_equal(buf_bytes(&current), buf_bytes(&next))) {
            visit(data, buf_bytes(&current), count);
            count = 0;
        }
        buf_clear(&current);
        buf_append_bytes(&current, buf_bytes(&next));
        count += letters->letters[i].count;
    }
    if (count > 0)
        visit(data, buf_bytes(&current), count);
    buf_deinit(&current);
    buf_deinit(&next);
}

void letters_encode(const struct letters *letters, struct buf *out)
{
    buf_append_varint(out, letters->count);
    for (uint32_t i = 0; i < letters->count; i++) {
        buf_append_u8(out, letters->letters[i].size);
        buf_append_bytes(out, letter_bytes(&letters->letters[i]));
        buf_append_varint(out, letters->letters[i].count);
    }
}

bool letters_decode(struct reader *reader, struct letters *out)
{
    *out = (struct letters){0};
    uint64_t count, entries;
    if (!reader_varint(reader, &count) || count > LETTERS_MAX)
        return false;
    for (uint64_t i = 0; i < count; i++) {
        uint8_t size;
        struct bytes text;
        if (!reader_u8(reader, &size) || size > 4 || !reader_bytes(reader, size, &text) ||
            !reader_varint(reader, &entries) || entries == 0 || entries > INT64_MAX ||
            (i > 0 && bytes_compare(letter_bytes(&out->letters[i - 1]), text) >= 0)) {
            letters_deinit(out);
            return false;
        }
        insert(out, out->count, text);
        out->letters[i].count = entries;
    }
    return true;
}
