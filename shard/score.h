/* Scoring: BM25 in fixed point (promise P2).
 *
 *   idf(t)    = ln(1 + (N - df + 0.5) / (df + 0.5))
 *   avg       = total_length / N
 *   part(t,d) = boost * idf * f / (f + k1 * (1 - b + b * len(d) / avg))
 *   score(d)  = sum over t of round(part * SCORE_ONE)
 *
 * (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; without
 * the constant factor k1 + 1, as Lucene since 8.) f and len are the weighted ones of document.h;
 * len is what the norm keeps. Each part is rounded to an integer before it is added: the sum does
 * not depend on its order, on pruning, on the instruction set or on the compiler
 * (-ffp-contract=off). N, total_length and df are those of the whole collection; they are integers,
 * so every range computes the same parts.
 */
#ifndef QUIRE_SHARD_SCORE_H
#define QUIRE_SHARD_SCORE_H

#include <stdint.h>

#define SCORE_ONE 1048576 /* 2^20: the unit of a score */

struct score_collection {
    uint64_t documents;
    uint64_t total_length;
    double k1, b;
};

/* What the terms of a query share: the formula tabulated over the 256 norms. Nearly all frequencies
 * of a text are small; of those the quotient is here, so that a posting costs a look-up and a
 * multiplication instead of a division. */
#define SCORE_FREQS 8
struct score_table {
    float norm_part[256];               /* k1 * (1 - b + b * len / avg) */
    double quotient[SCORE_FREQS * 256]; /* [f * 256 + norm]: f / (f + norm_part), f < SCORE_FREQS */
};

/* What one query word needs to score a posting. */
struct score_term {
    double weight; /* boost * idf * SCORE_ONE */
    const struct score_table *table;
};

/* Up to this weight, parts fit in 32 bits and score_parts() may be used. */
#define SCORE_WEIGHT_MAX 2147483520.0

#define SCORE_BOOST_MAX 1000.0 /* of a leaf, the boosts of its groups multiplied in */

/* The natural logarithm of x >= 1 from nothing but the four operations of IEEE 754, so that it is
 * the same to the last bit on every machine; the C library's differs between processors (it takes
 * fused multiply-add where there is one). Within 4e-16 relative of the true value. */
double score_ln(double x);
double score_idf(uint64_t documents, uint64_t df);
void score_table_init(const struct score_collection *collection, struct score_table *table);
/* The same, kept for the calling thread: it is computed anew only when other numbers come than the
 * last time. Valid until the thread's next call. */
const struct score_table *score_table_get(const struct score_collection *collection);
struct score_term score_term_init(const struct score_collection *collection,
                                  const struct score_table *table, uint64_t df, double boost);

/* round half up of weight * (f / (f + norm_part[norm])); below 2^42 (a boost of 1000 on a phrase of
 * 64 rare words). */
static inline uint64_t score_part(const struct score_term *term, uint32_t freq, uint8_t norm)
{
    double f = freq;
    double quotient = freq < SCORE_FREQS ? term->table->quotient[freq * 256 + norm]
                                         : f / (f + (double)term->table->norm_part[norm]);
    return (uint64_t)(int64_t)(term->weight * quotient + 0.5);
}

/* The same of `count` postings at once; term->weight <= SCORE_WEIGHT_MAX. */
void score_parts(const struct score_term *term, const uint32_t *freqs, const uint8_t *norms,
                 uint32_t count, uint32_t *parts);

#endif
