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

void sample_add(struct sample *sample, const char *word)
{
    size_t at = sample->count;

    sample->seen++;
    if (sample->count == sample->most) {
        uint64_t place = next_random(sample) % sample->seen;
        if (place >= sample->most)
            return;
        at = (size_t)place;
        free(sample->words[at]);
    } else {
        sample->count++;
    }
    sample->words[at] = strdup(word);
    assert(sample->words[at] != NULL);
}
