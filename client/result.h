/* Results: the public quire_*_result structs, counted, each with an arena that holds all that it
 * points to. */
#ifndef QUIRE_CLIENT_RESULT_H
#define QUIRE_CLIENT_RESULT_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct box;

/* A kind of result. */
struct result_type {
    size_t size;                /* of the public struct */
    void (*init)(void *result); /* makes texts "" that are NULL in zeros; may be NULL */
    /* Fills box->result from the reply; what it unpacks lives in the box's arena. */
    int (*decode)(struct box *box, struct bytes payload, struct err *err);
};

struct box {
    uint32_t magic;
    atomic_uint holds;
    struct arena arena;
    uint64_t trace;          /* 0: it was not sent */
    uint32_t retry_after_ms; /* with QUIRE_OVERLOADED */
    bool retry;              /* of a write: some ops failed for a reason that passes */
    _Alignas(16) unsigned char result[];
};

/* With one hold, status OK and no error; NULL when memory is out. */
struct box *box_create(const struct result_type *type);
/* With a status and its sentence ("" gives the fixed words). All else is empty, and no text is
 * NULL. */
struct box *box_failed(const struct result_type *type, int status, const char *text);
struct box *box_of(const void *result);
void box_release(struct box *box);
/* Sets status and error of the result in it. */
void box_fail(struct box *box, int status, const char *text);

/* The replies: decode.c, decode_search.c, decode_cluster.c. */
extern const struct result_type result_done;
extern const struct result_type result_collection;
extern const struct result_type result_collections;
extern const struct result_type result_write;
extern const struct result_type result_write_one;
extern const struct result_type result_entries;
extern const struct result_type result_browse;
extern const struct result_type result_match;
extern const struct result_type result_search;
extern const struct result_type result_explain;
extern const struct result_type result_export;
extern const struct result_type result_snapshot;
extern const struct result_type result_snapshot_page;
extern const struct result_type result_status;
extern const struct result_type result_verify;
extern const struct result_type result_recover;

#endif
