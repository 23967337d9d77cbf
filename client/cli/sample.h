/* An even sample of the headwords to come: reservoir sampling (Vitter's algorithm R), so that a
 * file needs to be read once and its length need not be known. The same words in the same order
 * give the same sample. */
#ifndef QUIRE_CLI_SAMPLE_H
#define QUIRE_CLI_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sample {
    char **words; /* malloc'd */
    size_t count;
    size_t most;
    uint64_t seen;
    uint64_t random; /* state of the generator */
    size_t place;    /* where the word that is wanted goes */
};

void sample_init(struct sample *sample, size_t most);
void sample_deinit(struct sample *sample);
/* For each word that comes: whether the sample takes it. If so, sample_add() must follow, or
 * nothing when there turns out to be no word; else the word need not even be read. */
bool sample_wants(struct sample *sample);
void sample_add(struct sample *sample, const char *word);

#endif
