#include "shard/score.h"
#include "shard/segment.h"

#include <math.h>
#include <stdbool.h>

/* x = m * 2^e with m in [sqrt(1/2), sqrt(2)); ln x = e ln 2 + 2 atanh(s), s = (m - 1) / (m + 1),
 * |s| < 0.172: twelve terms of the series leave an error below 2^-63. Smallest terms first. */
double score_ln(double x)
{
    static const double ln2_high = 0x1.62e42fefa38p-1; /* exact times any exponent */
    static const double ln2_low = 0x1.ef35793c7673p-45;
    int e;
    double m = frexp(x, &e);
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    double s = (m - 1) / (m + 1);
    double square = s * s;
    double sum = 0;
    for (int k = 23; k >= 3; k -= 2)
        sum = (sum + 1.0 / k) * square;
    double series = 2 * s + 2 * s * sum;
    return e * ln2_high + (series + e * ln2_low);
}

double score_idf(uint64_t documents, uint64_t df)
{
    /* What comes over the wire may claim df > N; the formula must stay positive all the same. */
    uint64_t without = documents > df ? documents - df : 0;
    return score_ln(1.0 + ((double)without + 0.5) / ((double)df + 0.5));
}

void score_table_init(const struct score_collection *collection, struct score_table *table)
{
    double average = 1;
    if (collection->documents > 0 && collection->total_length > 0)
        average = (double)collection->total_length / (double)collection->documents;
    for (int norm = 0; norm < 256; norm++) {
        double length = norm_decode((uint8_t)norm);
        table->norm_part[norm] =
            (float)(collection->k1 * (1 - collection->b + collection->b * length / average));
    }
    for (int freq = 0; freq < SCORE_FREQS; freq++)
        for (int norm = 0; norm < 256; norm++)
            table->quotient[freq * 256 + norm] =
                freq == 0 ? 0 : freq / (freq + (double)table->norm_part[norm]);
}

const struct score_table *score_table_get(const struct score_collection *collection)
{
    static _Thread_local struct {
        struct score_collection collection;
        struct score_table table;
        bool known;
    } last;
    const struct score_collection *c = &last.collection;
    if (!last.known || c->documents != collection->documents ||
        c->total_length != collection->total_length || c->k1 != collection->k1 ||
        c->b != collection->b) {
        last.collection = *collection;
        score_table_init(collection, &last.table);
        last.known = true;
    }
    return &last.table;
}

struct score_term score_term_init(const struct score_collection *collection,
                                  const struct score_table *table, uint64_t df, double boost)
{
    return (struct score_term){
        .weight = boost * score_idf(collection->documents, df) * SCORE_ONE,
        .table = table,
    };
}

void score_parts(const struct score_term *term, const uint32_t *freqs, const uint8_t *norms,
                 uint32_t count, uint32_t *parts)
{
    const double *quotient = term->table->quotient, weight = term->weight;
    uint32_t most = 0;
    for (uint32_t i = 0; i < count; i++)
        most |= freqs[i];
    if (most >= SCORE_FREQS) {
        for (uint32_t i = 0; i < count; i++)
            parts[i] = (uint32_t)score_part(term, freqs[i], norms[i]);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        parts[i] = (uint32_t)(int32_t)(weight * quotient[freqs[i] * 256 + norms[i]] + 0.5);
}
