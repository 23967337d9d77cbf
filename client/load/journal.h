/* Journal: what this run wrote, and what a read may therefore find. Pure; not thread-safe.
 *
 * The keys are registers. The writes of a key are numbered 1, 2, ...: each puts an entry that names
 * its number, or deletes; there is one of a key under way at a time. What is in the cluster is the
 * state after some number between the last that was acknowledged when the read began and the last
 * that was sent when it ended; number 0 is "not there". Whoever reads an older one has found a
 * write that was acknowledged and is gone, or a replica that is behind.
 *
 * A write whose outcome is not known may still come to pass later, after writes that follow it: its
 * key is retired, and another one takes its place.
 */
#ifndef QUIRE_LOAD_JOURNAL_H
#define QUIRE_LOAD_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_HISTORY 64 /* writes of a key whose kind is remembered: the newest */

struct journal_key {
    uint64_t acknowledged, sent; /* numbers; sent - acknowledged is 0 or 1 */
    uint64_t deletions;          /* bit n % 64: write n deletes; of the newest */
    bool under_way, retired;
};

enum journal_verdict {
    JOURNAL_RIGHT,
    JOURNAL_LOST,      /* not there, though a write of it was acknowledged and none deleted it */
    JOURNAL_STALE,     /* an older state than was acknowledged */
    JOURNAL_DUPLICATE, /* there more than once */
    JOURNAL_WRONG,     /* what nobody wrote */
};

/* A write that may begin now: its number. The key is neither under way nor retired. */
uint64_t journal_begin(struct journal_key *key, bool deletes);
void journal_acknowledged(struct journal_key *key);
/* Surely not written (refused): as if it had not been. */
void journal_refused(struct journal_key *key);
void journal_unknown(struct journal_key *key);

/* What a read found: `count` entries, the first of which names `number`. `floor` is
 * key->acknowledged as it was when the read began. */
enum journal_verdict journal_judge(const struct journal_key *key, uint64_t floor, size_t count,
                                   uint64_t number);

#endif
