#include "proto/base/err.h"
#include "proto/limits.h"
#include "quire.h"

/* The public numbers are those that travel in messages. */
#define X(name, number, text)                                                                      \
    _Static_assert((int)QUIRE_##name == (int)ERR_##name, "quire.h and err.h disagree "             \
                                                         "about " #name);
ERR_CODES(X)
#undef X

#define SAME(limit) _Static_assert(QUIRE_MAX_##limit == LIMIT_##limit, #limit)
SAME(ENTRY_BYTES);
SAME(HEADWORD_BYTES);
SAME(SENSE_BYTES);
SAME(TERMS);
SAME(CATEGORIES);
SAME(ATTRIBUTES);
SAME(ATTRIBUTE_BYTES);
SAME(SOURCE_BYTES);
SAME(COLLECTION_NAME);
SAME(BATCH_OPS);
SAME(BATCH_BYTES);
SAME(SAMPLE);
SAME(QUERY_BYTES);
SAME(HITS);
SAME(PER_PAGE);
SAME(MATCHES);
SAME(FACETS);
#undef SAME

const char *quire_strerror(int status)
{
    return err_name(status);
}

const char *quire_version(void)
{
    return QUIRE_VERSION;
}
