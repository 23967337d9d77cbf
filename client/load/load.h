/* quire-load: what its files share.
 *
 *   main.c       options
 *   corpus.c     what is in the collection: headwords and words to ask for
 *   run.c        the arrivals, the requests, the checks of their answers
 *   report.c     the second by second line, the table and the JSON at the end
 *   histogram.c, draw.c, journal.c   pure
 */
#ifndef QUIRE_LOAD_LOAD_H
#define QUIRE_LOAD_LOAD_H

#include "client/load/draw.h"
#include "client/load/histogram.h"
#include "client/load/journal.h"
#include "quire.h"

#include <jansson.h>

enum load_kind { LOAD_LOOKUP, LOAD_SEARCH, LOAD_BROWSE, LOAD_MATCH, LOAD_WRITE, LOAD_KINDS };
extern const char *const load_kind_names[LOAD_KINDS];

enum load_fault { /* of an answer */
                  LOAD_LOST,
                  LOAD_STALE,
                  LOAD_DUPLICATE,
                  LOAD_WRONG,
                  LOAD_INCOMPLETE,
                  LOAD_FAULTS
};
extern const char *const load_fault_names[LOAD_FAULTS];

#define LOAD_STATUSES 32

struct load_options {
    const char *connect, *collection, *json;
    double rate;     /* requests a second */
    double duration; /* seconds */
    double zipf;     /* exponent */
    unsigned mix[LOAD_KINDS];
    unsigned clients, keys;
    uint32_t timeout_ms;
    uint64_t seed;
    bool keep, quiet, no_errors, no_retry;
};

struct corpus {
    char **headwords;
    size_t headword_count;
    char **queries;    /* words of headwords: each is in an entry at least */
    uint64_t *answers; /* by query: what the first answer was; 0: none yet */
    size_t query_count;
};

struct kind_figures {
    uint64_t sent, ok, errors, refused; /* refused: by an overloaded cluster; no errors */
    uint64_t by_status[LOAD_STATUSES];
    struct histogram latency;            /* of all others, from the intended start */
    struct histogram refusal;            /* of the refused ones */
    uint64_t last_ok_us, longest_gap_us; /* without a good answer */
};

struct second_figures {
    uint64_t sent, ok, errors, refused, faults;
    uint64_t p99_us, max_us;
};

struct figures {
    struct kind_figures kinds[LOAD_KINDS];
    uint64_t faults[LOAD_FAULTS];
    uint64_t not_sent;                  /* the client had no room for more */
    uint64_t unknown;                   /* writes whose outcome is not known */
    uint64_t audited;                   /* own keys read at the end */
    uint64_t read_gap_us, write_gap_us; /* longest time without a good answer of either */
    struct second_figures *seconds;
    size_t second_count, second_room;
    char **examples; /* of faults and errors, the first ones */
    size_t example_count;
    double took_s;
};

#define LOAD_EXAMPLES 20
#define LOAD_HEADWORDS_MAX 1000000
#define LOAD_QUERIES_MAX 1024
#define LOAD_OWN_COLLECTION "quire-load"

/* False: a sentence was printed. */
bool corpus_read(const struct load_options *options, struct corpus *corpus);
void corpus_free(struct corpus *corpus);

/* Runs the load; false: it could not begin, and a sentence was printed. */
bool load_run(const struct load_options *options, struct corpus *corpus, struct figures *figures);

void report_second(const struct second_figures *second, size_t index);
void report_end(const struct load_options *options, const struct figures *figures);
bool report_json(const struct load_options *options, const struct figures *figures);
uint64_t figures_faults(const struct figures *figures);
uint64_t figures_errors(const struct figures *figures);
uint64_t figures_refused(const struct figures *figures);
void figures_free(struct figures *figures);

#endif
