/* Seen: which values were met under a name, by hash, and the small number that each got.
 *
 * Tells apart entries that share their identity: the bodies under one glossary header line, the
 * homographs of a dictionary. Keeps 16 bytes a pair, no texts: two different texts meet with a
 * chance of 2^-64.
 */
#ifndef QUIRE_IMPORT_SEEN_H
#define QUIRE_IMPORT_SEEN_H

#include <stddef.h>
#include <stdint.h>

struct seen;

struct seen *seen_create(void); /* NULL when memory is out */
void seen_destroy(struct seen *seen);

/* The number of (name, value), 0 when it was not met. */
uint32_t seen_find(const struct seen *seen, uint64_t name, uint64_t value);
/* Remembers it; the process ends when memory is out. */
void seen_put(struct seen *seen, uint64_t name, uint64_t value, uint32_t number);

#endif
