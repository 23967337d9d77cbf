/* Requests into messages, and everything that is checked before anything is sent. */
#ifndef QUIRE_CLIENT_ENCODE_H
#define QUIRE_CLIENT_ENCODE_H

#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "quire.h"

/* Copies a struct of the caller, whose first member is its size, into ours of `size` bytes: members
 * that the caller's version does not know are zero. ERR_INVALID when it was not initialised,
 * ERR_UNSUPPORTED when the caller's is newer and uses a member that this library does not know. */
int struct_copy(void *out, size_t size, const void *in, const char *what, struct err *err);

/* Checks `op` (of our size) and appends it as an element of WriteRequest.ops. */
int encode_op(const struct quire_op *op, struct buf *payload, struct err *err);
/* Appends the other fields of a WriteRequest; in whatever order, the message is the sum of its
 * fields. */
int encode_write_collection(const char *collection, struct buf *payload, struct err *err);
void encode_write_identity(const char *client_id, uint64_t batch, struct buf *payload);

/* What else there is to know about a request that was encoded. */
struct encoded {
    size_t ops;      /* of a write: so many results belong to it */
    bool bulk;       /* of a writer */
    bool identified; /* a write with a client id of the caller's */
};

/* For struct call_spec. `request` is the public struct, already of our size. */
int encode_collection_create(const void *request, struct buf *payload, struct encoded *how,
                             struct err *err);
int encode_collection_drop(const void *request, struct buf *payload, struct encoded *how,
                           struct err *err);
int encode_nothing(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_prepare(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_write(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_put(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_delete(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_get(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_define(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_browse(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_match(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_suggest(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_search(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_explain(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_export(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_snapshot(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_snapshot_page(const void *request, struct buf *payload, struct encoded *how,
                         struct err *err);
int encode_verify(const void *request, struct buf *payload, struct encoded *how, struct err *err);
int encode_coordinator_remove(const void *request, struct buf *payload, struct encoded *how,
                              struct err *err);
int encode_node_drain(const void *request, struct buf *payload, struct encoded *how,
                      struct err *err);
int encode_node_remove(const void *request, struct buf *payload, struct encoded *how,
                       struct err *err);
int encode_placement_set(const void *request, struct buf *payload, struct encoded *how,
                         struct err *err);
int encode_range_split(const void *request, struct buf *payload, struct encoded *how,
                       struct err *err);
int encode_range_merge(const void *request, struct buf *payload, struct encoded *how,
                       struct err *err);
int encode_range_move(const void *request, struct buf *payload, struct encoded *how,
                      struct err *err);
int encode_recover(const void *request, struct buf *payload, struct encoded *how, struct err *err);

/* check.c: each names the member that is wrong. `what` is its name. */
int check_text(const char *what, const char *text, size_t limit, struct err *err);
int check_required(const char *what, const char *text, size_t limit, struct err *err);
int check_collection(const char *name, struct err *err);
int check_number(const char *what, uint64_t value, uint64_t most, struct err *err);
/* An entry of our size; *bytes is the sum of its texts. */
int check_entry(const struct quire_entry *entry, size_t *bytes, struct err *err);

#endif
