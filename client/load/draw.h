/* Draws: what the load is made of, from a seed. Pure; not thread-safe. */
#ifndef QUIRE_LOAD_DRAW_H
#define QUIRE_LOAD_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draw { /* xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64 */
    uint64_t state[4];
};

void draw_seed(struct draw *draw, uint64_t seed);
uint64_t draw_bits(struct draw *draw);
double draw_unit(struct draw *draw);                    /* [0, 1) */
uint64_t draw_below(struct draw *draw, uint64_t count); /* count > 0 */
/* The pause until the next arrival of a Poisson process of so many a second, in ns. */
uint64_t draw_pause_ns(struct draw *draw, double rate);

/* Ranks 0 .. count-1, rank r with a probability proportional to 1 / (r + 1)^exponent. */
struct zipf {
    double *cumulated;
    size_t count;
};

/* count > 0, exponent >= 0. False: no memory. */
bool zipf_init(struct zipf *zipf, size_t count, double exponent);
void zipf_deinit(struct zipf *zipf);
size_t zipf_draw(const struct zipf *zipf, struct draw *draw);

#endif
