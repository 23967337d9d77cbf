#include "client/cli/sample.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void sample_init(struct sample *sample, size_t most)
{
    *sample = (struct sample){.most = most, .random = UINT64_C(0x9e3779b97f4a7c15)};
    sample->words = calloc(most, sizeof *sample->words);
    assert(sample->words != NULL);
}

void sample_deinit(struct sample *sample)
{
    for (size_t i = 0; i < sample->count; i++)
        free(sample->words[i]);
    free(sample->words);
}

/* splitmix64 */
static uint64_t next_random(struct sample *sample)
{
    uint64_t z = sample->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

bool sample_wants(struct sample *sample)
{
    uint64_t place;

    sample->seen++;
    if (sample->count < sample->most) {
        sample->place = sample->count;
        return true;
    }
    place = next_random(sample) % sample->seen;
    sample->place = (size_t)place;
    return place < sample->most;
}

void sample_add(struct sample *sample, const char *word)
{
    if (sample->place < sample->count)
        free(sample->words[sample->place]);
    else
        sample->count = sample->place + 1;
    sample->words[sample->place] = strdup(word);
    assert(sample->words[sample->place] != NULL);
}
