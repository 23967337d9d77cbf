/* An entry as a file holds it, and what can be wrong with it.
 *
 * Every importer yields entries of this one shape; they go to a cluster unchanged. All texts are
 * NUL-terminated UTF-8 and live in the arena of the entry, so an entry is released in one go.
 */
#ifndef QUIRE_IMPORT_ENTRY_H
#define QUIRE_IMPORT_ENTRY_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stddef.h>

struct import_attribute {
    const char *name;
    const char *value;
};

struct import_entry {
    const char *headword;
    const char *sense; /* "" when there is none */
    const char **terms;
    size_t term_count;
    const char **categories;
    size_t category_count;
    const char *body;
    size_t body_size;
    const char *source; /* "" when there is none */
    struct import_attribute *attributes;
    size_t attribute_count;
    size_t line; /* where the entry begins, from 1; 0 when the format has no lines */
    struct arena arena;
};

void import_entry_init(struct import_entry *entry);
void import_entry_deinit(struct import_entry *entry);

/* Forgets the contents; the entry may be filled again. */
void import_entry_reset(struct import_entry *entry);

/* Copies of texts into the entry's arena; never NULL (the process ends when memory is out). */
const char *import_entry_text(struct import_entry *entry, struct bytes text);
/* `count` zeroed elements of `size` bytes; NULL only when count is 0. */
void *import_entry_array(struct import_entry *entry, size_t count, size_t size);
void import_entry_set_body(struct import_entry *entry, struct bytes body);

/* Checks an entry against every limit of proto/limits.h and for valid UTF-8. ERR_INVALID or
 * ERR_TOO_LARGE with a sentence that names the limit. */
int import_entry_check(const struct import_entry *entry, struct err *err);

/* Fills an entry from one JSON object (the shapes are told in jsonl.c) and checks it. ERR_INVALID
 * or ERR_TOO_LARGE. */
int import_entry_from_json(struct import_entry *entry, struct bytes text, struct err *err);

/* `text` without white space (ASCII) at either end. */
struct bytes import_trim(struct bytes text);

#endif
