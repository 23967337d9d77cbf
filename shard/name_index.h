/* Name index: what near spellings of names are looked for in. It knows of every name that has rows
 * in the store's family `name`, and may know of others, that had: who asks makes sure.
 *
 * Any thread. Every write of rows of `name` goes through name_index_write(), from when the first
 * reader comes.
 */
#ifndef QUIRE_SHARD_NAME_INDEX_H
#define QUIRE_SHARD_NAME_INDEX_H

#include "shard/dictionary.h"
#include "shard/index_store.h"

struct name_index;

/* The store must outlive it. */
struct name_index *name_index_create(struct store *store);
void name_index_destroy(struct name_index *index); /* NULL is allowed */
struct store *name_index_store(struct name_index *index);
size_t name_index_bytes(struct name_index *index); /* of memory */

/* Appends a name's key to `names`, for name_index_write(). */
void name_index_note(struct buf *names, struct bytes key);
/* store_write() of a batch in which these names get rows; `names` is empty afterwards. */
int name_index_write(struct name_index *index, struct store_batch *batch, struct buf *names,
                     struct err *err);

/* Calls `visit` with each name known that begins with `letter` (a code point) and is within the
 * walks' limit, in no order, some more than once; its number is 0. A store iterator opened
 * afterwards shows which of them there are. */
int name_index_near(struct name_index *index, struct bytes letter, struct distance_walks *walks,
                    dictionary_visit *visit, void *data, struct err *err);
/* Many names of this letter were found to be gone: it is read anew when it is asked for next. */
void name_index_forget(struct name_index *index, struct bytes letter);

#endif
