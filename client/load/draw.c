#include "client/load/draw.h"

#include <math.h>
#include <stdlib.h>

void draw_seed(struct draw *draw, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15ull;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ z >> 27) * 0x94d049bb133111ebull;
        draw->state[i] = z ^ z >> 31;
    }
}

static uint64_t rotate(uint64_t value, int by)
{
    return value << by | value >> (64 - by);
}

uint64_t draw_bits(struct draw *draw)
{
    uint64_t *s = draw->state, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double draw_unit(struct draw *draw)
{
    return (double)(draw_bits(draw) >> 11) * 0x1p-53;
}

uint64_t draw_below(struct draw *draw, uint64_t count)
{
    return (uint64_t)(draw_unit(draw) * (double)count);
}

uint64_t draw_pause_ns(struct draw *draw, double rate)
{
    return (uint64_t)(-log1p(-draw_unit(draw)) / rate * 1e9);
}

bool zipf_init(struct zipf *zipf, size_t count, double exponent)
{
    double sum = 0;
    zipf->count = count;
    zipf->cumulated = malloc(count * sizeof *zipf->cumulated);
    if (zipf->cumulated == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        zipf->cumulated[i] = sum += pow((double)i + 1, -exponent);
    for (size_t i = 0; i < count; i++)
        zipf->cumulated[i] /= sum;
    return true;
}

void zipf_deinit(struct zipf *zipf)
{
    free(zipf->cumulated);
}

size_t zipf_draw(const struct zipf *zipf, struct draw *draw)
{
    double at = draw_unit(draw);
    size_t low = 0, high = zipf->count - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zipf->cumulated[middle] <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
