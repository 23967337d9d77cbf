/* Letters: how many live entries of a range begin with which code point, in key order. Not locked.
 */
#ifndef QUIRE_SHARD_LETTERS_H
#define QUIRE_SHARD_LETTERS_H

#include "proto/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct letter {
    uint8_t text[4]; /* the first code point of the key, UTF-8 */
    uint8_t size;
    uint64_t count;
};

struct letters {
    struct letter *letters; /* rising */
    uint32_t count, capacity;
};

void letters_deinit(struct letters *letters);
/* `key` begins with the code point; one more or one fewer. */
void letters_add(struct letters *letters, struct bytes key, int64_t delta);
/* How many there are with a lower letter than that of `key`. */
uint64_t letters_before(const struct letters *letters, struct bytes key);
/* The letter of a key: its first code point. */
struct bytes letters_of(struct bytes key);
void letters_copy(struct letters *to,
                  const struct letters *from); /* `to` is overwritten, not freed */
bool letters_equal(const struct letters *a, const struct letters *b);
/* Calls `visit` for each letter as people see it (text_letter), neighbours with the same one added
 * up. */
void letters_each(const struct letters *letters,
                  void (*visit)(void *data, struct bytes letter, uint64_t count), void *data);

/* count, then for each: size (u8), text, count; varints otherwise. */
void letters_encode(const struct letters *letters, struct buf *out);
bool letters_decode(struct reader *reader, struct letters *out);

#endif
