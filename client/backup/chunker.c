#include "client/backup/chunker.h"

#include "proto/base/bytes.h"

#include <string.h>

bool chunker_take(struct chunker *chunker, const char *headword, const char *sense, size_t bytes)
{
    uint64_t hash = hash64(headword, strlen(headword)) * UINT64_C(0x9e3779b97f4a7c15) ^
                    hash64(sense, strlen(sense));
    /* The high bits of a product are its best mixed ones. */
    uint64_t draw = (hash * UINT64_C(0xd6e8feb86659fd93)) >> 32;
    uint64_t bound = ((uint64_t)bytes << 32) / CHUNK_TARGET;
    bool cut;

    chunker->bytes += bytes;
    cut = chunker->bytes >= CHUNK_MAX || (chunker->bytes >= CHUNK_MIN && draw < bound);
    if (cut)
        chunker->bytes = 0;
    return cut;
}
