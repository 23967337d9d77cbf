/* What a new collection is set to unless its creator says otherwise. The figures of scoring
 * were chosen by measurement on the judged collections: tests/bench/judged.py prints them beside a
 * plain BM25's. The weights are integers because the index stores weighted frequencies; they
 * multiply frequencies, which is why k1 is above the usual 0.9 to 1.2. */
#ifndef QUIRE_COORDINATOR_DEFAULTS_H
#define QUIRE_COORDINATOR_DEFAULTS_H

#define DEFAULT_COLLECTION "default"
#define DEFAULT_LANGUAGE "en"
#define DEFAULT_WEIGHT_HEADWORD 3
#define DEFAULT_WEIGHT_TERMS 2
#define DEFAULT_WEIGHT_CATEGORIES 1
#define DEFAULT_WEIGHT_BODY 1
#define DEFAULT_WEIGHT_MAX 15
#define DEFAULT_K1 2.0
#define DEFAULT_B 0.75

#define DEFAULT_HITS 10
#define DEFAULT_PER_PAGE 50
#define DEFAULT_MATCHES 50
#define DEFAULT_EXPORT_BYTES (1u << 20)

#endif
