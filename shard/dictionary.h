/* Dictionary: many texts in byte order, each with a number, packed, in memory, to find near
 * spellings in. Immutable; counted references; any thread. */
#ifndef QUIRE_SHARD_DICTIONARY_H
#define QUIRE_SHARD_DICTIONARY_H

#include "shard/distance.h"

struct dictionary;

struct dictionary_builder { /* = {0} */
    struct buf shared, ends, bytes, small, large;
    struct buf last;
    bool numbered;
};

/* Texts, of at most DISTANCE_TEXT_MAX bytes, come in rising order; one that is there already is
 * passed over. Where all numbers are 0 they take no memory. */
void dictionary_add(struct dictionary_builder *builder, struct bytes text, uint32_t number);
/* Frees what the builder holds. refs = 1. */
struct dictionary *dictionary_finish(struct dictionary_builder *builder);
void dictionary_ref(struct dictionary *dictionary);
void dictionary_unref(struct dictionary *dictionary); /* NULL is allowed */

uint32_t dictionary_count(const struct dictionary *dictionary);
size_t dictionary_bytes(const struct dictionary *dictionary); /* of memory */

typedef void dictionary_visit(void *data, struct bytes text, uint32_t distance, uint32_t number);

/* Calls `visit` with each text that one of the walks is near, and the least distance, in order. */
void dictionary_near(const struct dictionary *dictionary, struct distance_walks *walks,
                     dictionary_visit *visit, void *data);

/* All texts in order. */
struct dictionary_reader { /* = {.dictionary = ...} */
    const struct dictionary *dictionary;
    uint32_t next;
    struct buf text;
};
bool dictionary_read(struct dictionary_reader *reader, struct bytes *text); /* false: at the end */
void dictionary_reader_deinit(struct dictionary_reader *reader);

#endif
