/* Every limit that a message, an entry or a query has, in one place. Beyond a limit the sender gets
 * one sentence that names the limit; nothing is cut silently. */
#ifndef QUIRE_LIMITS_H
#define QUIRE_LIMITS_H

#define LIMIT_ENTRY_BYTES (8u << 20) /* body plus all other texts of an entry */
#define LIMIT_HEADWORD_BYTES 1024    /* also each other name and each category */
#define LIMIT_SENSE_BYTES 4096
#define LIMIT_TERMS 256            /* other names of an entry */
#define LIMIT_CATEGORIES 64        /* of an entry */
#define LIMIT_ATTRIBUTES 64        /* of an entry */
#define LIMIT_ATTRIBUTE_BYTES 4096 /* name or value */
#define LIMIT_SOURCE_BYTES 1024
#define LIMIT_COLLECTION_NAME 64 /* [a-z0-9][a-z0-9_-]* */
#define LIMIT_COLLECTIONS 1024
#define LIMIT_BATCH_OPS 4096
#define LIMIT_BATCH_BYTES (12u << 20)
#define LIMIT_SAMPLE 4096 /* headwords in ImportPrepare */
#define LIMIT_QUERY_BYTES (64u << 10)
#define LIMIT_QUERY_NODES 1024
#define LIMIT_QUERY_DEPTH 64 /* of parentheses, in the text */
#define LIMIT_PHRASE_TOKENS 64
#define LIMIT_EXPANSION 128       /* tokens that one prefix or near spelling may stand for */
#define LIMIT_QUERY_TOKENS 4096   /* of all words and phrases of a query */
#define LIMIT_QUERY_EXPANSIONS 32 /* prefixes and near spellings in a query */
#define LIMIT_HITS 1000           /* of one search */
#define LIMIT_PER_PAGE 1000
#define LIMIT_MATCHES 1000
#define LIMIT_FACETS 1000
#define LIMIT_TOTAL                                                                                \
    1000 /* hits that a search counts when it is not told how many; beyond: "at least" */
#define LIMIT_FACET_VALUES_SHARD 65536 /* distinct categories that a range counts */
#define LIMIT_VERIFY_PROBLEMS 1000
#define LIMIT_RANGES_PER_COLLECTION 4096
#define LIMIT_NODES 1024
#define LIMIT_COORDINATORS 7
#define LIMIT_REMOVED_COORDINATORS 64 /* that the map remembers */
#define LIMIT_REPLICAS 5              /* of a range, wanted */
#define LIMIT_SESSION_MARKS 4096      /* ranges that a session token names */
#define LIMIT_MEMBERS 9 /* of a range: replicas in sync and learners (replication.h: 8 others) */

#endif
