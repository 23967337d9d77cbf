/* Chunker: where the stream of a collection's entries in key order is cut into blocks, such that
 * two backups share nearly all of their blocks.
 *
 * A cut depends on what stands next to it, not on where the stream began: an entry ends its block
 * when the hash of its identity falls below a bound that is in proportion to its size, so that a
 * block has CHUNK_TARGET bytes on average, of small entries or of large. An entry that is new, gone
 * or changed therefore changes its own block, rarely the next one, and no other: after a cut both
 * streams are alike again. (Content-defined chunking, as in Muthitacharoen, Chen, Mazieres: A
 * Low-bandwidth Network File System, 2001; by entries instead of by windows of bytes.) Blocks below
 * CHUNK_MIN are not ended so, and at CHUNK_MAX every block ends; both are limits of the cost, and
 * the next cut by hash brings two streams together again.
 *
 * Pure; one thread.
 */
#ifndef QUIRE_BACKUP_CHUNKER_H
#define QUIRE_BACKUP_CHUNKER_H

#include <stdbool.h>
#include <stddef.h>

#define CHUNK_TARGET ((size_t)64 << 10)
#define CHUNK_MIN (CHUNK_TARGET / 8)
#define CHUNK_MAX (4 * CHUNK_TARGET)

struct chunker {
    size_t bytes; /* of the block so far */
};

/* Takes the next entry, whose line has so many bytes. True: the block ends behind it. */
bool chunker_take(struct chunker *chunker, const char *headword, const char *sense, size_t bytes);

#endif
