/* libquire: the client library of Quire, a search server for glossaries, dictionaries and
 * encyclopedias.
 *
 * In short:
 *
 *     struct quire_client *client;
 *     struct quire_options options = QUIRE_OPTIONS_INIT;
 *     char error[QUIRE_ERROR_SIZE];
 *     options.connect = "tcp://127.0.0.1:7400";
 *     if (quire_client_create(&options, &client, error, sizeof(error)) != QUIRE_OK)
 *         ...
 *     struct quire_search_request request = QUIRE_SEARCH_INIT;
 *     const struct quire_search_result *result;
 *     request.collection = "ai";
 *     request.query = "gradient descent";
 *     if (quire_search_wait(client, &request, &result) == QUIRE_OK)
 *         for (size_t i = 0; i < result->hit_count; i++)
 *             printf("%s\n", result->hits[i]->headword);
 *     else
 *         fprintf(stderr, "%s\n", result->error);
 *     quire_result_free(result);
 *     quire_client_destroy(client);
 *
 * Each request exists twice: quire_X() is asynchronous and calls back, quire_X_wait() blocks.
 *
 * REQUESTS are structs of the caller. Start each with its initialiser (QUIRE_X_INIT): it sets the
 * member `size`, by which a library that is newer or older than the program knows which members
 * there are; every other member is zero, and zero means the default. Everything that a request
 * points to is copied before the call returns. Texts are UTF-8, terminated by NUL; the library
 * checks them and the limits named here before it sends anything. `collection` NULL means
 * "default". `timeout_ms` 0 means the client's.
 *
 * RESULTS all begin with `status` and `error` (a sentence; "" with QUIRE_OK) and are read-only.
 * In a callback a result is valid until the callback returns; quire_result_keep() makes it last
 * until quire_result_free(). A blocking call gives its result to the caller, also when it fails (it
 * is NULL only when memory is out): pass it to quire_result_free(). Arrays are arrays of pointers,
 * so that structs may grow (attributes and highlights, which never will, lie side by side); texts
 * in results are never NULL. An array of no elements may be NULL.
 *
 * CALLBACKS run on the client's own thread, each exactly once, and never from inside the call that
 * submitted the request: also a request that is refused at once is told so by its callback. A
 * callback must not block; it may submit further requests and cancel others; it may be NULL. A
 * blocking call made from a callback is refused with QUIRE_INVALID: it would wait for itself.
 *
 * THREADS: all functions may be called from any thread at any time, but quire_client_destroy() must
 * not run while another thread is in, or may still enter, a call on the same client.
 *
 * FAILURE: requests are sent to one of the coordinators of `connect`. When it cannot be reached, or
 * is lost before it answered, the request goes to the next one, as long as its deadline allows.
 * Reads are always safe to repeat. A write carries a client id and a batch number by which the
 * servers recognise a repetition, so it is repeated as well, and applied once. Collections are
 * created and dropped without repetition once the request may have arrived.
 *
 * OVERLOAD: a cluster that has too much to do refuses requests early (QUIRE_OVERLOADED) and says
 * when to come back. Reads and writes are then repeated after that time, a little later at random,
 * as long as their deadline allows; but only one repetition for ten requests (and one a second), so
 * that clients do not make it worse. Beyond that the program is told. Writers, which send only so
 * much at a time, repeat until the deadline.
 *
 * SESSIONS: a read is answered by any replica of a range that is in sync, and sees whatever was
 * acknowledged to the same client before. quire_session_export() makes a token of that, with which
 * another client (of another process, say) sees it, too.
 *
 * FORK: a client belongs to the process that created it; its threads do not exist in a child. After
 * fork() a child may call exec, or create a client of its own if the parent had none; on an
 * inherited client every request is refused with QUIRE_INVALID, and quire_client_destroy() does
 * nothing.
 *
 * SIGNALS: the library's threads block all signals. Nothing is installed or changed for the
 * process.
 */
#ifndef QUIRE_H
#define QUIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QUIRE_API __attribute__((visibility("default")))
#else
#define QUIRE_API
#endif

/* For the initialisers below: the size, and zeros. */
#ifdef __cplusplus
#define QUIRE_INIT_(type)                                                                          \
    {                                                                                              \
        sizeof(type)                                                                               \
    }
#else
#define QUIRE_INIT_(type)                                                                          \
    {                                                                                              \
        .size = sizeof(type)                                                                       \
    }
#endif

#define QUIRE_DEFAULT_PORT 7400
#define QUIRE_DEFAULT_COLLECTION "default"
#define QUIRE_ERROR_SIZE 512 /* room for any error text, NUL included */

/* The limits of the cluster (bytes without the NUL). Beyond them: QUIRE_TOO_LARGE. */
#define QUIRE_MAX_ENTRY_BYTES (8u << 20) /* all texts of an entry */
#define QUIRE_MAX_HEADWORD_BYTES 1024    /* also each other name, each category */
#define QUIRE_MAX_SENSE_BYTES 4096
#define QUIRE_MAX_TERMS 256
#define QUIRE_MAX_CATEGORIES 64
#define QUIRE_MAX_ATTRIBUTES 64
#define QUIRE_MAX_ATTRIBUTE_BYTES 4096
#define QUIRE_MAX_SOURCE_BYTES 1024
#define QUIRE_MAX_COLLECTION_NAME 64 /* [a-z0-9][a-z0-9_-]* */
#define QUIRE_MAX_BATCH_OPS 4096
#define QUIRE_MAX_BATCH_BYTES (12u << 20)
#define QUIRE_MAX_SAMPLE 4096
#define QUIRE_MAX_QUERY_BYTES (64u << 10)
#define QUIRE_MAX_HITS 1000
#define QUIRE_MAX_PER_PAGE 1000
#define QUIRE_MAX_MATCHES 1000
#define QUIRE_MAX_FACETS 1000

/* ---- status ---- */

enum quire_status {
    QUIRE_OK = 0,
    QUIRE_NOMEM = 1,
    QUIRE_INVALID = 2,   /* the request makes no sense; the error says where */
    QUIRE_TOO_LARGE = 3, /* beyond a limit */
    QUIRE_NOT_FOUND = 4, /* no such collection, entry, ... */
    QUIRE_EXISTS = 5,
    QUIRE_CONFLICT = 6,    /* if_version did not hold */
    QUIRE_UNAVAILABLE = 7, /* nobody who could answer was reached */
    QUIRE_DEADLINE = 8,    /* timeout_ms passed; a write may or may not have been applied */
    QUIRE_CANCELED = 9,    /* by quire_cancel() or because the client went away */
    QUIRE_STALE = 10,      /* the cluster changed meanwhile; ask again */
    QUIRE_CORRUPT = 11,    /* stored data is damaged; the error says what */
    QUIRE_IO = 12,
    QUIRE_FULL = 13,        /* a disk or a queue; ask again later */
    QUIRE_PROTOCOL = 14,    /* the other side is no Quire coordinator, or of another version */
    QUIRE_UNSUPPORTED = 15, /* the other side, or this library, is too old for that */
    QUIRE_INTERNAL = 16,
    QUIRE_INCOMPLETE = 17, /* a complete answer was asked for and ranges are missing */
    QUIRE_CLOSED = 18,     /* the client or the writer is closing */
    /* The cluster has more to do than it can, and refused the request before it did anything for
     * it: quire_result_retry_after_ms() says when to ask again. */
    QUIRE_OVERLOADED = 19
};

/* Fixed words for a status, "not found"; "unknown error" for any other number. */
QUIRE_API const char *quire_strerror(int status);

/* The version of the library that is linked, "0.1.0". */
QUIRE_API const char *quire_version(void);

/* ---- client ---- */

struct quire_client;

struct quire_options {
    size_t size;
    /* Coordinators, separated by commas: "tcp://host:port", "host:port" or "host" (port 7400), or
     * "ipc:///path". At most 16. NULL: the environment variable QUIRE_CONNECT, else
     * "tcp://127.0.0.1:7400". Spaces around the commas are ignored. */
    const char *connect;
    uint32_t timeout_ms; /* of requests that do not say; default 10,000 */
    /* A request that has waited so long for a connection to any coordinator gives up with
     * QUIRE_UNAVAILABLE; 0: it waits until its own timeout. */
    uint32_t connect_timeout_ms;
    uint32_t max_outstanding; /* requests at a time; beyond: QUIRE_FULL; default 65,536 */
    /* Every read sees everything that was acknowledged before it, whoever wrote it: it is answered
     * by the primaries only. Without this a read sees all that this client wrote (see SESSIONS) and
     * what others wrote through the same coordinator; it may miss what they wrote through another
     * one within the last fraction of a second. */
    bool from_primary;
    /* Every read is answered by replica number `replica` of each range and by no other: 0 is the
     * primary, 1 and up are the others that are in sync, in the order of quire_status. For
     * comparing replicas: nobody is asked instead of one that fails. QUIRE_INCOMPLETE when a range
     * has fewer. */
    bool one_replica;
    uint32_t replica;
    /* What an overloaded cluster refused is not repeated: QUIRE_OVERLOADED is told at once. */
    bool no_retry;
};
#define QUIRE_OPTIONS_INIT QUIRE_INIT_(struct quire_options)

/* Starts a client and its thread; does not wait for a connection. QUIRE_OK, QUIRE_INVALID (a
 * malformed `connect`), QUIRE_NOMEM. When it fails, *client is NULL and `error` (may be NULL) holds
 * a sentence. */
QUIRE_API int quire_client_create(const struct quire_options *options, struct quire_client **client,
                                  char *error, size_t error_size);

/* Ends outstanding requests with QUIRE_CANCELED (their callbacks run before this returns), stops
 * the thread and frees the client. Writers must have been destroyed before. NULL is allowed. From a
 * callback of this client it would wait for itself: that is refused, and nothing happens. */
QUIRE_API void quire_client_destroy(struct quire_client *client);

/* What this client has seen acknowledged, as opaque bytes. *size: the room in `token`, and then
 * what it takes (some 10 bytes for each range written to). QUIRE_TOO_LARGE: there is less room. */
QUIRE_API int quire_session_export(struct quire_client *client, void *token, size_t *size);
/* What this client reads from now on is not older than that. QUIRE_INVALID: it is no such token. */
QUIRE_API int quire_session_import(struct quire_client *client, const void *token, size_t size);

/* Names an outstanding asynchronous request. Never used twice by a client; 0 means that the request
 * was not taken and that no callback will come (memory is out, the client is being closed, or it
 * was inherited over fork). */
typedef uint64_t quire_ticket;

/* Ends a request: its callback comes soon, with QUIRE_CANCELED, unless its result was already on
 * the way. A ticket whose request has ended is ignored. */
QUIRE_API void quire_cancel(struct quire_client *client, quire_ticket ticket);

/* `result` is any quire_*_result. Keep: it lasts until a further quire_result_free(); returns its
 * argument. Free: gives up one hold; NULL is allowed. Results do not depend on their client. */
QUIRE_API const void *quire_result_keep(const void *result);
QUIRE_API void quire_result_free(const void *result);
/* With QUIRE_OVERLOADED: after how many milliseconds it may be worth asking again. Else 0. */
QUIRE_API uint32_t quire_result_retry_after_ms(const void *result);
/* The number that went with the request through the cluster, and stands in the lines that its logs
 * have about it, as 16 hexadecimal digits; 0: it was not sent. */
QUIRE_API uint64_t quire_result_trace(const void *result);

/* The head of all results, for code that handles them alike: every quire_*_result begins with
 * these. */
struct quire_result {
    int status;        /* enum quire_status */
    const char *error; /* a sentence; "" with QUIRE_OK */
};
/* The answer to requests that return nothing but success. */
typedef void (*quire_done_cb)(void *data, const struct quire_result *result);

/* ---- collections ---- */

/* How the merges of a collection number documents: as they came, or those with the same categories
 * next to each other. Hits and scores are the same. */
enum quire_order {
    QUIRE_ORDER_ARRIVAL = 0,
    QUIRE_ORDER_CATEGORY = 1,
};

struct quire_collection {
    const char *name;
    const char *language; /* "en", ... or "none" */
    uint32_t weight_headword, weight_terms, weight_categories, weight_body;
    double k1, b;     /* of BM25 */
    uint64_t entries; /* live entries; in lists only */
    uint32_t ranges;  /* in lists only */
    enum quire_order order;
    uint32_t replicas; /* of each range, wanted */
};

struct quire_collection_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *language; /* NULL: the cluster's default */
    /* How often an occurrence in a field counts, 1..15; all four 0: the cluster's default. */
    uint32_t weight_headword, weight_terms, weight_categories, weight_body;
    double k1, b; /* both 0: the cluster's default */
    enum quire_order order;
    uint32_t replicas; /* of each range, at most 5 and not more than there are shards; 0: one */
};
#define QUIRE_COLLECTION_INIT QUIRE_INIT_(struct quire_collection_request)

struct quire_collection_result {
    int status;
    const char *error;
    const struct quire_collection *collection; /* NULL when it failed */
};
typedef void (*quire_collection_cb)(void *data, const struct quire_collection_result *result);

/* QUIRE_EXISTS when there is one of that name. */
QUIRE_API quire_ticket quire_collection_create(struct quire_client *client,
                                               const struct quire_collection_request *request,
                                               quire_collection_cb cb, void *data);
QUIRE_API int quire_collection_create_wait(struct quire_client *client,
                                           const struct quire_collection_request *request,
                                           const struct quire_collection_result **result);

/* A request that names a collection and nothing else, or nothing at all. */
struct quire_simple_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    bool every_replica; /* quire_verify() only */
};
#define QUIRE_SIMPLE_INIT QUIRE_INIT_(struct quire_simple_request)

/* Drops a collection with all its entries; `collection` must be given. QUIRE_NOT_FOUND. */
QUIRE_API quire_ticket quire_collection_drop(struct quire_client *client,
                                             const struct quire_simple_request *request,
                                             quire_done_cb cb, void *data);
QUIRE_API int quire_collection_drop_wait(struct quire_client *client,
                                         const struct quire_simple_request *request,
                                         const struct quire_result **result);

struct quire_collections_result {
    int status;
    const char *error;
    const struct quire_collection *const *collections; /* by name */
    size_t collection_count;
};
typedef void (*quire_collections_cb)(void *data, const struct quire_collections_result *result);

/* `request` may be NULL; its collection is ignored. */
QUIRE_API quire_ticket quire_collection_list(struct quire_client *client,
                                             const struct quire_simple_request *request,
                                             quire_collections_cb cb, void *data);
QUIRE_API int quire_collection_list_wait(struct quire_client *client,
                                         const struct quire_simple_request *request,
                                         const struct quire_collections_result **result);

/* Before a large import: creates the collection when it is missing, and when it is empty cuts it
 * into ranges by a sample of the headwords to come, so that all shards share the work. Default
 * timeout 60 s. */
struct quire_prepare_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *language;      /* for a collection that is created; NULL: the cluster's default */
    const char *const *sample; /* headwords, drawn evenly from what will be written */
    size_t sample_count;       /* at most QUIRE_MAX_SAMPLE */
    uint32_t replicas;         /* as in quire_collection_request, for one that is created */
};
#define QUIRE_PREPARE_INIT QUIRE_INIT_(struct quire_prepare_request)

QUIRE_API quire_ticket quire_import_prepare(struct quire_client *client,
                                            const struct quire_prepare_request *request,
                                            quire_collection_cb cb, void *data);
QUIRE_API int quire_import_prepare_wait(struct quire_client *client,
                                        const struct quire_prepare_request *request,
                                        const struct quire_collection_result **result);

/* ---- entries ---- */

struct quire_attribute {
    const char *name;
    const char *value;
};

/* An entry; its identity is (collection, term key of the headword, sense). The same struct goes in
 * and comes out: an entry of a result may be put again as it is. In: start with QUIRE_ENTRY_INIT;
 * NULL texts count as empty. Out: no text is NULL. */
struct quire_entry {
    size_t size;
    const char *headword;
    const char *sense;        /* tells homographs apart */
    const char *const *terms; /* other names */
    size_t term_count;
    const char *const *categories;
    size_t category_count;
    const char *body;   /* Markdown */
    size_t body_size;   /* its bytes; in: 0 means up to the NUL */
    const char *source; /* where it came from */
    const struct quire_attribute *attributes;
    size_t attribute_count;
    uint64_t version; /* out only */
};
#define QUIRE_ENTRY_INIT QUIRE_INIT_(struct quire_entry)

struct quire_op {
    size_t size;
    const struct quire_entry *put; /* either this: written, replacing what has its identity */
    const char *delete_headword;   /* or this: deleted */
    const char *delete_sense;      /* NULL: the empty sense */
    bool delete_all_senses;
    bool conditional; /* only if the stored version is if_version (0: only if there is none) */
    uint64_t if_version;
};
#define QUIRE_OP_INIT QUIRE_INIT_(struct quire_op)

enum quire_outcome {
    QUIRE_NEW = 1,
    QUIRE_CHANGED = 2,
    QUIRE_UNCHANGED = 3,
    QUIRE_DELETED = 4,
    QUIRE_ABSENT = 5, /* there was nothing to delete */
    QUIRE_FAILED = 6
};

struct quire_written {
    enum quire_outcome outcome;
    uint64_t version;  /* of the entry now */
    int status;        /* with QUIRE_FAILED: why */
    const char *error; /* with QUIRE_FAILED: a sentence */
};

/* One batch of writes. An op that fails does not hinder the others: `status` of the result is
 * QUIRE_OK and the op's own says why. Default timeout 60 s. */
struct quire_write_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const struct quire_op *ops; /* all of one `size` */
    size_t op_count;            /* 1..QUIRE_MAX_BATCH_OPS, QUIRE_MAX_BATCH_BYTES together */
    /* By these the servers recognise a repetition. NULL and 0: the library chooses (recommended). A
     * program that repeats batches by itself gives a UUID and a number that rises by one from batch
     * to batch, and has one batch of a client id under way at a time. */
    const char *client_id;
    uint64_t batch;
};
#define QUIRE_WRITE_INIT QUIRE_INIT_(struct quire_write_request)

struct quire_write_result {
    int status;
    const char *error;
    const struct quire_written *const *written; /* one for each op, in their order */
    size_t written_count;                       /* 0 when the whole batch failed */
};
typedef void (*quire_write_cb)(void *data, const struct quire_write_result *result);

QUIRE_API quire_ticket quire_write(struct quire_client *client,
                                   const struct quire_write_request *request, quire_write_cb cb,
                                   void *data);
QUIRE_API int quire_write_wait(struct quire_client *client,
                               const struct quire_write_request *request,
                               const struct quire_write_result **result);

/* One entry. The result has one `written`; when it FAILED, its reason is also the status of the
 * result. */
struct quire_put_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const struct quire_entry *entry;
    bool conditional; /* see quire_op */
    uint64_t if_version;
};
#define QUIRE_PUT_INIT QUIRE_INIT_(struct quire_put_request)

QUIRE_API quire_ticket quire_put(struct quire_client *client,
                                 const struct quire_put_request *request, quire_write_cb cb,
                                 void *data);
QUIRE_API int quire_put_wait(struct quire_client *client, const struct quire_put_request *request,
                             const struct quire_write_result **result);

/* Deletes one entry, or every sense of a headword. Deleting what is not there is QUIRE_OK with the
 * outcome QUIRE_ABSENT. */
struct quire_delete_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *headword;
    const char *sense; /* NULL: the empty sense */
    bool all_senses;
    bool conditional; /* see quire_op */
    uint64_t if_version;
};
#define QUIRE_DELETE_INIT QUIRE_INIT_(struct quire_delete_request)

QUIRE_API quire_ticket quire_delete(struct quire_client *client,
                                    const struct quire_delete_request *request, quire_write_cb cb,
                                    void *data);
QUIRE_API int quire_delete_wait(struct quire_client *client,
                                const struct quire_delete_request *request,
                                const struct quire_write_result **result);

/* ---- lookup ---- */

struct quire_entries_result {
    int status;
    const char *error;
    const struct quire_entry *const *entries;
    size_t entry_count; /* 0: there are none; that is QUIRE_OK */
};
typedef void (*quire_entries_cb)(void *data, const struct quire_entries_result *result);

/* The entries of a headword (compared by term key: case, accents and punctuation do not matter). */
struct quire_get_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *headword;
    const char *sense; /* NULL: every sense */
};
#define QUIRE_GET_INIT QUIRE_INIT_(struct quire_get_request)

QUIRE_API quire_ticket quire_get(struct quire_client *client,
                                 const struct quire_get_request *request, quire_entries_cb cb,
                                 void *data);
QUIRE_API int quire_get_wait(struct quire_client *client, const struct quire_get_request *request,
                             const struct quire_entries_result **result);

/* The entries that bear `term` as headword or as other name. */
struct quire_define_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *term;
};
#define QUIRE_DEFINE_INIT QUIRE_INIT_(struct quire_define_request)

QUIRE_API quire_ticket quire_define(struct quire_client *client,
                                    const struct quire_define_request *request, quire_entries_cb cb,
                                    void *data);
QUIRE_API int quire_define_wait(struct quire_client *client,
                                const struct quire_define_request *request,
                                const struct quire_entries_result **result);

/* ---- browsing ---- */

struct quire_browse_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *letter; /* only this one, as in the result's letters; NULL: all. Not with `from` */
    const char *from;   /* pages begin at this term; NULL: at the beginning */
    uint64_t page;      /* from 1; 0: the first */
    uint32_t per_page;  /* 1..QUIRE_MAX_PER_PAGE; 0: 50 */
};
#define QUIRE_BROWSE_INIT QUIRE_INIT_(struct quire_browse_request)

struct quire_letter {
    const char *letter;
    uint64_t count;
};

struct quire_head { /* an entry without its body */
    const char *headword;
    const char *sense;
    const char *const *terms;
    size_t term_count;
    const char *const *categories;
    size_t category_count;
    const char *key; /* term key of the headword */
};

struct quire_browse_result {
    int status;
    const char *error;
    uint64_t page, pages, total;
    const struct quire_letter *const *letters; /* of the whole collection, in key order */
    size_t letter_count;
    const struct quire_head *const *entries; /* in key order */
    size_t entry_count;
};
typedef void (*quire_browse_cb)(void *data, const struct quire_browse_result *result);

QUIRE_API quire_ticket quire_browse(struct quire_client *client,
                                    const struct quire_browse_request *request, quire_browse_cb cb,
                                    void *data);
QUIRE_API int quire_browse_wait(struct quire_client *client,
                                const struct quire_browse_request *request,
                                const struct quire_browse_result **result);

/* ---- names: matching and suggestions ---- */

enum quire_strategy {
    QUIRE_MATCH_EXACT = 1, /* the default */
    QUIRE_MATCH_PREFIX = 2,
    QUIRE_MATCH_SUBSTRING = 3,
    QUIRE_MATCH_FUZZY = 4
};

struct quire_match_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *word;
    enum quire_strategy strategy; /* 0: QUIRE_MATCH_EXACT */
    uint32_t distance;            /* fuzzy: 1 or 2 edits; 0: 1 */
    uint32_t limit;               /* 1..QUIRE_MAX_MATCHES; 0: 50 */
};
#define QUIRE_MATCH_INIT QUIRE_INIT_(struct quire_match_request)

struct quire_name {
    const char *name;  /* as written by the first entry, in key order, that bears it */
    const char *key;   /* its term key */
    uint32_t distance; /* fuzzy: edits */
    uint64_t entries;  /* how many bear it */
};

struct quire_match_result {
    int status;
    const char *error;
    const struct quire_name *const *names; /* by distance, then key; each key once */
    size_t name_count;
    bool limited; /* there are more */
};
typedef void (*quire_match_cb)(void *data, const struct quire_match_result *result);

QUIRE_API quire_ticket quire_match(struct quire_client *client,
                                   const struct quire_match_request *request, quire_match_cb cb,
                                   void *data);
QUIRE_API int quire_match_wait(struct quire_client *client,
                               const struct quire_match_request *request,
                               const struct quire_match_result **result);

/* Headwords and other names that begin with `prefix`. */
struct quire_suggest_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *prefix;
    uint32_t limit; /* 1..QUIRE_MAX_MATCHES; 0: 10 */
};
#define QUIRE_SUGGEST_INIT QUIRE_INIT_(struct quire_suggest_request)

QUIRE_API quire_ticket quire_suggest(struct quire_client *client,
                                     const struct quire_suggest_request *request, quire_match_cb cb,
                                     void *data);
QUIRE_API int quire_suggest_wait(struct quire_client *client,
                                 const struct quire_suggest_request *request,
                                 const struct quire_match_result **result);

/* ---- full-text search ---- */

struct quire_search_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *query;    /* words "phrases" +must -not field:word pre* fuzy~ ... */
    uint32_t limit;       /* 1..QUIRE_MAX_HITS; 0: 10 */
    uint32_t facet_limit; /* the most frequent categories of all hits, up to QUIRE_MAX_FACETS; 0:
                           * none. Every hit is counted then, so the total is exact */
    const char *const *categories; /* only entries of any of these */
    size_t category_count;
    const char *cursor; /* of the previous result: go on after it */
    bool all;           /* all words rather than any */
    bool complete;      /* rather QUIRE_INCOMPLETE than an answer with missing ranges */
    bool strict;        /* a query that does not parse is QUIRE_INVALID, not a guess */
    /* Hits are counted up to so many; of more, `total` is only a bound. 0: 1,000. That of a single
     * word is exact whatever this says. */
    uint64_t total_limit;
    bool trace; /* say where the time went: `spans` */
};
#define QUIRE_TOTAL_EXACT UINT64_MAX /* total_limit: count them all, whatever it costs */
#define QUIRE_SEARCH_INIT QUIRE_INIT_(struct quire_search_request)

struct quire_highlight { /* bytes of the snippet that matched */
    uint32_t offset, length;
};

struct quire_hit {
    const char *headword;
    const char *sense;
    double score;
    uint64_t score_fixed; /* score * 2^20, exact: what the order goes by */
    const char *const *categories;
    size_t category_count;
    const char *snippet; /* plain text */
    const struct quire_highlight *highlights;
    size_t highlight_count;
    const char *key; /* term key of the headword; breaks ties, then the sense */
};

struct quire_facet {
    const char *value;
    uint64_t count;
};

struct quire_missing { /* part of the key space that the answer does not cover */
    const char *lo;    /* inclusive; "": from the start */
    const char *hi;    /* exclusive; "": to the end */
    const char *reason;
};

struct quire_span {    /* what the coordinator spent some time of a search with */
    const char *name;  /* "parse", "statistics", "search", "call", "merge", ... */
    uint32_t parent;   /* it lies within span number `parent`, counted from 1; 0: within none */
    uint64_t start_us; /* from when the request came to the coordinator */
    uint64_t took_us;
    const char *shard;  /* of a call to a shard: its url; else "" */
    uint32_t ranges;    /* of a call: so many were asked for */
    bool answered;      /* a call that the shard answered: the next two are set */
    uint64_t waited_us; /* there, before work on it began */
    uint64_t worked_us; /* there, until the answer was made */
    const char *note;   /* "to a second replica", why it failed; "": nothing to say */
};

struct quire_search_result {
    int status;
    const char *error;
    const struct quire_hit *const *hits;
    size_t hit_count;
    uint64_t total;            /* hits, or */
    bool total_is_lower_bound; /* at least so many: see total_limit */
    bool complete;             /* false: see `missing` */
    bool expansion_limited;    /* a pre* or fuzy~ stood for more words than are looked at */
    const struct quire_missing *const *missing;
    size_t missing_count;
    const struct quire_facet *const *categories; /* most frequent first, then by value */
    size_t category_count;
    const char *cursor;          /* "": there is no more */
    const char *const *warnings; /* what lenient parsing made of the query */
    size_t warning_count;
    uint64_t took_us; /* in the cluster */
    /* Words of the query are in no entry: the query with the nearest words that are. "": none. Of
     * the first page only. */
    const char *did_you_mean;
    const struct quire_span *const *spans; /* with `trace` */
    size_t span_count;
};
typedef void (*quire_search_cb)(void *data, const struct quire_search_result *result);

QUIRE_API quire_ticket quire_search(struct quire_client *client,
                                    const struct quire_search_request *request, quire_search_cb cb,
                                    void *data);
QUIRE_API int quire_search_wait(struct quire_client *client,
                                const struct quire_search_request *request,
                                const struct quire_search_result **result);

/* How the score of one entry came about. */
struct quire_explain_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *query;
    const char *headword;
    const char *sense; /* NULL: the empty sense, or the only one */
    bool all;
};
#define QUIRE_EXPLAIN_INIT QUIRE_INIT_(struct quire_explain_request)

struct quire_explain_term {
    const char *token;
    const char *field; /* "text" for a word of any field, else "headword", "terms", "category" */
    uint64_t document_frequency;
    double idf;
    uint32_t frequency; /* weighted, in this entry; 0: it is not there */
    double boost;
    double contribution;
    uint64_t contribution_fixed; /* contribution * 2^20, exact */
};

struct quire_explain_result {
    int status;
    const char *error;
    bool matched;
    const char *headword;
    const char *sense;
    double score;
    uint64_t score_fixed;
    const struct quire_explain_term *const *terms;
    size_t term_count;
    uint64_t documents;
    double average_length;
    uint32_t length; /* weighted, as the index keeps it */
    double k1, b;
};
typedef void (*quire_explain_cb)(void *data, const struct quire_explain_result *result);

QUIRE_API quire_ticket quire_explain(struct quire_client *client,
                                     const struct quire_explain_request *request,
                                     quire_explain_cb cb, void *data);
QUIRE_API int quire_explain_wait(struct quire_client *client,
                                 const struct quire_explain_request *request,
                                 const struct quire_explain_result **result);

/* ---- export ---- */

/* One page of all entries in key order. For the next page pass the result's `after`; when its size
 * is 0 that was all. Default timeout 60 s. */
struct quire_export_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const void *after; /* opaque bytes; NULL: from the beginning */
    size_t after_size;
    uint32_t limit_bytes; /* 0: 1 MiB */
};
#define QUIRE_EXPORT_INIT QUIRE_INIT_(struct quire_export_request)

struct quire_export_result {
    int status;
    const char *error;
    const struct quire_entry *const *entries;
    size_t entry_count;
    const void *after;
    size_t after_size;
};
typedef void (*quire_export_cb)(void *data, const struct quire_export_result *result);

QUIRE_API quire_ticket quire_export(struct quire_client *client,
                                    const struct quire_export_request *request, quire_export_cb cb,
                                    void *data);
QUIRE_API int quire_export_wait(struct quire_client *client,
                                const struct quire_export_request *request,
                                const struct quire_export_result **result);

/* ---- snapshots ---- */

/* All entries of a collection as they are now, to be read while it is written to: each range is
 * shown as it was at one moment, which is not earlier than the request. Of several ranges the
 * moments differ by what the request took. */
struct quire_snapshot {
    const char *node; /* id of the shard that keeps it... */
    uint64_t id;      /* ...under this number, for 60 s after the last request for it */
    uint64_t range;   /* id */
    uint64_t epoch;
    /* How often writes of the range were given up: only with the same number does a seq name the
     * same entries. */
    uint32_t recovered;
    const char *lo;   /* of the range; inclusive; "": from the start */
    const char *hi;   /* exclusive; "": to the end */
    uint64_t seq;     /* of the last write in it */
    uint64_t entries; /* of the range, about */
};

struct quire_snapshot_request {
    size_t size;
    uint32_t timeout_ms;
    const char *collection;
    const char *lo, *hi; /* only the ranges that meet [lo, hi), term keys; NULL or "": no bound */
};
#define QUIRE_SNAPSHOT_INIT QUIRE_INIT_(struct quire_snapshot_request)

struct quire_snapshot_result {
    int status;
    const char *error;
    const char *cluster_id;
    uint64_t collection_id; /* another one: dropped meanwhile, and created anew under its name */
    const struct quire_collection *collection;     /* its settings; NULL when it failed */
    const struct quire_snapshot *const *snapshots; /* in key order; they cover what was asked for */
    size_t snapshot_count;
};
typedef void (*quire_snapshot_cb)(void *data, const struct quire_snapshot_result *result);

/* QUIRE_INCOMPLETE: a range has no primary that answers. QUIRE_NOT_FOUND. */
QUIRE_API quire_ticket quire_snapshot(struct quire_client *client,
                                      const struct quire_snapshot_request *request,
                                      quire_snapshot_cb cb, void *data);
QUIRE_API int quire_snapshot_wait(struct quire_client *client,
                                  const struct quire_snapshot_request *request,
                                  const struct quire_snapshot_result **result);

enum quire_snapshot_what {
    QUIRE_SNAPSHOT_ENTRIES = 0, /* a page of them */
    QUIRE_SNAPSHOT_KEEP = 1,    /* nothing; it is kept for another 60 s */
    QUIRE_SNAPSHOT_RELEASE = 2, /* nothing; it is wanted no more */
};

struct quire_snapshot_page_request {
    size_t size;
    uint32_t timeout_ms;
    const char *node; /* as in struct quire_snapshot */
    uint64_t id;
    enum quire_snapshot_what what;
    const void *from; /* a term key, or what the last page's `next` was; NULL: from the beginning */
    size_t from_size;
    const char *to;       /* a term key, exclusive; NULL or "": to the end of the range */
    uint32_t limit_bytes; /* 0: 1 MiB; at most 4 MiB; one entry at least is given */
};
#define QUIRE_SNAPSHOT_PAGE_INIT QUIRE_INIT_(struct quire_snapshot_page_request)

struct quire_snapshot_page_result {
    int status;
    const char *error;
    const struct quire_entry *const *entries; /* in key order */
    size_t entry_count;
    const void *next; /* where to go on; */
    size_t next_size; /* 0: that was all */
};
typedef void (*quire_snapshot_page_cb)(void *data, const struct quire_snapshot_page_result *result);

/* QUIRE_NOT_FOUND: it is not kept any more; QUIRE_UNAVAILABLE: the shard does not answer. Then
 * another one has to be taken, and its range to be read from the start. */
QUIRE_API quire_ticket quire_snapshot_page(struct quire_client *client,
                                           const struct quire_snapshot_page_request *request,
                                           quire_snapshot_page_cb cb, void *data);
QUIRE_API int quire_snapshot_page_wait(struct quire_client *client,
                                       const struct quire_snapshot_page_request *request,
                                       const struct quire_snapshot_page_result **result);

/* ---- the cluster ---- */

struct quire_node {
    const char *id;
    const char *address;
    const char *zone;
    bool alive;
    uint64_t last_seen_ms; /* when it was last heard of, milliseconds since 1970 */
    bool draining;         /* quire_node_drain() */
};

/* A copy of a range on one shard. */
struct quire_replica {
    const char *node;  /* id */
    const char *role;  /* "primary", "secondary" (in sync, too), "learner" (catches up) */
    const char *state; /* "serving", "opening", "failed", ..., "unreachable" */
    uint64_t epoch;    /* of the range's configuration that it follows */
    uint64_t last_seq, committed_seq,
        durable_seq; /* in its log, known as committed, in its index */
};

struct quire_range {
    uint64_t id;
    const char *collection;
    uint64_t epoch;
    const char *lo;      /* inclusive; "": from the start */
    const char *hi;      /* exclusive; "": to the end */
    const char *primary; /* node id */
    const char *const *in_sync;
    size_t in_sync_count;
    const char *state; /* "serving", "opening", "unreachable", ... */
    uint64_t entries;
    uint64_t bytes; /* of files */
    uint64_t memory_bytes;
    uint32_t segments;
    uint64_t committed_seq;
    uint64_t durable_seq;
    const char *const *learners;
    size_t learner_count;
    const struct quire_replica *const *replicas; /* the primary first, then those in sync */
    size_t replica_count;
    uint32_t replicas_wanted;
    const char *const *leaving; /* shards from which a replica moves away */
    size_t leaving_count;
    const char *reshape; /* "split", "merge": what is under way; "": neither */
};

/* What the cluster may move by itself. A replica that is lost is made anew whatever it says. */
enum quire_placement {
    QUIRE_STEADY = 0, /* evens out the shards, two ranges on the move at a time */
    QUIRE_FROZEN = 1, /* begins no move, not for a drain either; what is on the move ends it */
    QUIRE_LIVELY = 2, /* as steady, eight at a time */
};

/* Of the coordinator that answered, since it started. */
struct quire_search_figures {
    uint64_t searches;    /* full-text searches */
    uint64_t one_round;   /* of them: that the statistics cache spared a round */
    uint64_t outdated;    /* that a write had overtaken: asked twice */
    uint64_t cache_bytes; /* of that cache; its limit: */
    uint64_t cache_limit;
};

/* Calls to shards for reads; of the coordinator that answered, since it started. */
struct quire_read_figures {
    uint64_t calls;      /* as reads were planned */
    uint64_t again;      /* to the next replica, since one failed */
    uint64_t hedges;     /* to a second replica, since the first one took long */
    uint64_t hedges_won; /* of those: that answered first */
    uint64_t given_up;   /* the first or the second, since the other one had answered */
    uint64_t refused;    /* requests of any kind that were refused, since there were too many */
};

struct quire_status_result {
    int status;
    const char *error;
    const char *cluster_id;
    uint64_t map_epoch;
    const struct quire_node *const *coordinators;
    size_t coordinator_count;
    const char *leader;   /* node id */
    const char *software; /* of the coordinator that answered */
    const struct quire_node *const *nodes;
    size_t node_count;
    const struct quire_range *const *ranges;
    size_t range_count;
    struct quire_search_figures searches;
    struct quire_read_figures reads;
    enum quire_placement placement;
};
typedef void (*quire_status_cb)(void *data, const struct quire_status_result *result);

/* `request` may be NULL; its collection is ignored. */
QUIRE_API quire_ticket quire_status(struct quire_client *client,
                                    const struct quire_simple_request *request, quire_status_cb cb,
                                    void *data);
QUIRE_API int quire_status_wait(struct quire_client *client,
                                const struct quire_simple_request *request,
                                const struct quire_status_result **result);

struct quire_problem {
    uint64_t range;
    const char *text;
};

struct quire_verify_result {
    int status;
    const char *error;
    uint64_t ranges, entries, postings;          /* that were looked at; of each replica */
    const struct quire_problem *const *problems; /* none: everything is as it should be */
    size_t problem_count;
    uint64_t uncompared; /* every_replica: ranges that were written to between the looks */
};
typedef void (*quire_verify_cb)(void *data, const struct quire_verify_result *result);

/* Compares the index of every range with its entries and checks all checksums; of one replica of
 * each range, or with every_replica of all that are in sync, and then the entries of each with
 * those of the others. A replica that is damaged is made anew of another one by itself. `request`
 * may be NULL; here `collection` NULL means all of them. Default timeout one hour. */
QUIRE_API quire_ticket quire_verify(struct quire_client *client,
                                    const struct quire_simple_request *request, quire_verify_cb cb,
                                    void *data);
QUIRE_API int quire_verify_wait(struct quire_client *client,
                                const struct quire_simple_request *request,
                                const struct quire_verify_result **result);

/* One of the coordinators, which quire_status() lists. */
struct quire_coordinator_request {
    size_t size;
    uint32_t timeout_ms;
    const char *id; /* or its url */
};
#define QUIRE_COORDINATOR_INIT QUIRE_INIT_(struct quire_coordinator_request)

/* It takes part no more, and stops. QUIRE_NOT_FOUND; QUIRE_CONFLICT when it is the last one, or
 * when those that remain would be no majority. */
QUIRE_API quire_ticket quire_coordinator_remove(struct quire_client *client,
                                                const struct quire_coordinator_request *request,
                                                quire_done_cb cb, void *data);
QUIRE_API int quire_coordinator_remove_wait(struct quire_client *client,
                                            const struct quire_coordinator_request *request,
                                            const struct quire_result **result);

/* One of the shards, which quire_status() lists. */
struct quire_node_request {
    size_t size;
    uint32_t timeout_ms;
    const char *id; /* or its url */
    bool undo;      /* quire_node_drain(): it is wanted again */
};
#define QUIRE_NODE_INIT QUIRE_INIT_(struct quire_node_request)

/* The shard is to have no replicas: it leads nothing from now on, and what it has is moved to
 * others, a few ranges at a time, while they are read and written. It is done when no range of
 * quire_status() names the shard; while there is no other shard with room, a replica stays.
 * QUIRE_NOT_FOUND. */
QUIRE_API quire_ticket quire_node_drain(struct quire_client *client,
                                        const struct quire_node_request *request, quire_done_cb cb,
                                        void *data);
QUIRE_API int quire_node_drain_wait(struct quire_client *client,
                                    const struct quire_node_request *request,
                                    const struct quire_result **result);

/* The cluster forgets the shard. QUIRE_NOT_FOUND; QUIRE_CONFLICT while it runs or has replicas. */
QUIRE_API quire_ticket quire_node_remove(struct quire_client *client,
                                         const struct quire_node_request *request, quire_done_cb cb,
                                         void *data);
QUIRE_API int quire_node_remove_wait(struct quire_client *client,
                                     const struct quire_node_request *request,
                                     const struct quire_result **result);

struct quire_placement_request {
    size_t size;
    uint32_t timeout_ms;
    enum quire_placement placement;
};
#define QUIRE_PLACEMENT_INIT QUIRE_INIT_(struct quire_placement_request)

QUIRE_API quire_ticket quire_placement_set(struct quire_client *client,
                                           const struct quire_placement_request *request,
                                           quire_done_cb cb, void *data);
QUIRE_API int quire_placement_set_wait(struct quire_client *client,
                                       const struct quire_placement_request *request,
                                       const struct quire_result **result);

struct quire_move_request {
    size_t size;
    uint32_t timeout_ms;
    uint64_t range;   /* id */
    const char *from; /* id or url of a shard that has a replica of it */
    const char *to;   /* of one that has none; NULL: the cluster chooses */
};
#define QUIRE_MOVE_INIT QUIRE_INIT_(struct quire_move_request)

/* Begins to move a replica, whatever the placement; it has moved when quire_status() shows the
 * range with nobody leaving. QUIRE_NOT_FOUND; QUIRE_CONFLICT when `from` has none, `to` has one or
 * has no room, or the range has a replica that is being made or moved. */
QUIRE_API quire_ticket quire_range_move(struct quire_client *client,
                                        const struct quire_move_request *request, quire_done_cb cb,
                                        void *data);
QUIRE_API int quire_range_move_wait(struct quire_client *client,
                                    const struct quire_move_request *request,
                                    const struct quire_result **result);

struct quire_split_request {
    size_t size;
    uint32_t timeout_ms;
    uint64_t range; /* id */
    const char *at; /* where the right half begins, raw; NULL: in the middle of the entries */
};
#define QUIRE_SPLIT_INIT QUIRE_INIT_(struct quire_split_request)

/* Begins to split a range in two; it is done when quire_status() no longer has it, and was given up
 * when it shows it with nothing under way. Reads and writes go on meanwhile. QUIRE_NOT_FOUND;
 * QUIRE_INVALID: `at` is not within its bounds; QUIRE_CONFLICT: something is under way in it, a
 * replica is not served, or all its entries have one key. */
QUIRE_API quire_ticket quire_range_split(struct quire_client *client,
                                         const struct quire_split_request *request,
                                         quire_done_cb cb, void *data);
QUIRE_API int quire_range_split_wait(struct quire_client *client,
                                     const struct quire_split_request *request,
                                     const struct quire_result **result);

struct quire_merge_request {
    size_t size;
    uint32_t timeout_ms;
    uint64_t range; /* id */
};
#define QUIRE_MERGE_INIT QUIRE_INIT_(struct quire_merge_request)

/* Begins to merge a range with its neighbour on the right, whose replicas are moved to the same
 * shards first. Otherwise as quire_range_split(). */
QUIRE_API quire_ticket quire_range_merge(struct quire_client *client,
                                         const struct quire_merge_request *request,
                                         quire_done_cb cb, void *data);
QUIRE_API int quire_range_merge_wait(struct quire_client *client,
                                     const struct quire_merge_request *request,
                                     const struct quire_result **result);

/* Giving up what is gone for good. Without a range: which ranges have no replica that could lead
 * them. With one: it goes on with the replica on `node` alone, or begins empty when `node` is NULL.
 */
struct quire_recover_request {
    size_t size;
    uint32_t timeout_ms;
    uint64_t range;   /* id; 0: none */
    const char *node; /* id or url of a shard; NULL: begin it empty */
    bool force;       /* do it; otherwise it is only told what would be lost */
};
#define QUIRE_RECOVER_INIT QUIRE_INIT_(struct quire_recover_request)

struct quire_recover_result {
    int status;
    const char *error;
    const char *const *losses; /* sentences */
    size_t loss_count;
};
typedef void (*quire_recover_cb)(void *data, const struct quire_recover_result *result);

/* QUIRE_CONFLICT when the range has a replica that can lead it, or when `node` cannot. */
QUIRE_API quire_ticket quire_recover(struct quire_client *client,
                                     const struct quire_recover_request *request,
                                     quire_recover_cb cb, void *data);
QUIRE_API int quire_recover_wait(struct quire_client *client,
                                 const struct quire_recover_request *request,
                                 const struct quire_recover_result **result);

/* ---- bulk writing ---- */

/* A stream of writes. Puts and deletes are gathered into batches; a bounded number of batches is
 * under way at a time, and quire_writer_put() waits when there is no room (that is the
 * back-pressure). What became of each op is told by a callback.
 *
 * A writer may be used by several threads, but not from callbacks (its calls may wait; they are
 * refused there with QUIRE_INVALID). Batches under way at the same time are applied in no
 * particular order: two ops on one entry belong in one batch, or have a quire_writer_flush()
 * between them. */
struct quire_writer;

struct quire_writer_item {
    void *tag; /* as given with the op */
    enum quire_outcome outcome;
    uint64_t version;
    int status;        /* with QUIRE_FAILED: why */
    const char *error; /* a sentence; "" unless QUIRE_FAILED; valid during the callback */
};

struct quire_writer_options {
    size_t size;
    const char *collection;
    uint32_t batch_ops;         /* 1..QUIRE_MAX_BATCH_OPS; 0: 1,000 */
    uint32_t batch_bytes;       /* up to QUIRE_MAX_BATCH_BYTES; 0: 1 MiB; a larger op goes alone */
    uint32_t outstanding;       /* batches under way; 1..64; 0: 8 */
    uint64_t outstanding_bytes; /* of ops gathered or under way; 0: 32 MiB; one batch always goes */
    uint32_t timeout_ms;        /* for each batch, repetitions included; 0: 60,000 */
    bool keep_going;            /* a batch that fails as a whole does not stop the writer */
    /* Called once for each op that a call accepted; on the client's thread; may be NULL. */
    void (*result)(void *data, const struct quire_writer_item *item);
    void *data;
};
#define QUIRE_WRITER_INIT QUIRE_INIT_(struct quire_writer_options)

QUIRE_API int quire_writer_create(struct quire_client *client,
                                  const struct quire_writer_options *options,
                                  struct quire_writer **writer, char *error, size_t error_size);

/* QUIRE_OK: the op was copied and taken, its result will be told. QUIRE_INVALID, QUIRE_TOO_LARGE:
 * this op is refused (no callback comes for it) and the writer goes on. Anything else: the writer
 * takes nothing more, since a batch failed as a whole (unless keep_going); it is that batch's
 * status, or QUIRE_CLOSED where that would be one of the two above. For all of them
 * quire_writer_error() has the sentence. */
QUIRE_API int quire_writer_put(struct quire_writer *writer, const struct quire_entry *entry,
                               void *tag);
/* `op` with conditions, or a deletion. */
QUIRE_API int quire_writer_op(struct quire_writer *writer, const struct quire_op *op, void *tag);

/* Sends what was gathered and waits until everything under way has been told. Returns QUIRE_OK, or
 * the status of the first batch that failed as a whole since the writer was created. */
QUIRE_API int quire_writer_flush(struct quire_writer *writer);

/* The sentence of the calling thread's last failed call on any writer; "" when there was none.
 * Valid until the thread's next call on a writer. */
QUIRE_API const char *quire_writer_error(const struct quire_writer *writer);

struct quire_writer_stats {
    size_t size;
    uint64_t ops;           /* taken */
    uint64_t told;          /* whose result is known */
    uint64_t batches;       /* sent */
    uint64_t outstanding;   /* batches under way now */
    uint64_t bytes;         /* sent */
    uint64_t by_outcome[8]; /* ops told, by enum quire_outcome */
};
#define QUIRE_WRITER_STATS_INIT QUIRE_INIT_(struct quire_writer_stats)
QUIRE_API void quire_writer_get_stats(struct quire_writer *writer,
                                      struct quire_writer_stats *stats);

/* Ops that are gathered or under way end with QUIRE_CANCELED (whether they were applied is not
 * known); quire_writer_flush() first when they matter. Waits for their callbacks. NULL is allowed.
 */
QUIRE_API void quire_writer_destroy(struct quire_writer *writer);

#ifdef __cplusplus
}
#endif

#endif
