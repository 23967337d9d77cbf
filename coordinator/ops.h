/* The operations, by file. Each gets a request whose kind is its own and ends it with exactly one
 * reply. */
#ifndef QUIRE_COORDINATOR_OPS_H
#define QUIRE_COORDINATOR_OPS_H

#include "coordinator/coordinator.h"

typedef void operation(struct coordinator *coordinator, struct rpc_request *request);

operation op_register;          /* register.c */
operation op_collection_create; /* collections.c */
operation op_collection_drop;
operation op_import_prepare;
operation op_collection_list; /* collection_list.c */
operation op_write;           /* write.c */
operation op_get;             /* lookup.c */
operation op_define;
operation op_match;
operation op_browse;   /* browse.c */
operation op_search;   /* search.c */
operation op_explain;  /* explain.c */
operation op_export;   /* export.c */
operation op_status;   /* status.c */
operation op_verify;   /* verify.c */
operation op_recover;  /* recover.c */
operation op_node_set; /* motion.c */
operation op_node_remove;
operation op_placement_set;
operation op_range_move;
operation op_range_split;
operation op_range_merge;
operation op_snapshot; /* snapshot.c */
operation op_snapshot_read;

/* Answers the request from the beginning: the collection that it was planned for is gone, and its
 * name may be that of another one by now. What was begun for it must be over. */
operation op_again;

/* What several of them do first. Each returns NULL (false) when the operation is to return: it has
 * replied with an error, or the request begins again later. */

/* The collection of that name in the current map; NULL name: the default one. ERR_NOT_FOUND,
 * ERR_INVALID. While the map is known to be behind (nodes_behind()), a name that it lacks is looked
 * for again in the maps to come. */
const Quire__Collection *op_collection(struct coordinator *coordinator, struct rpc_request *request,
                                       const char *name);
/* The key of a headword or term: not empty, at most LIMIT_HEADWORD_BYTES; `what` is its name in the
 * sentence. */
bool op_key(struct rpc_request *request, const char *what, const char *text, struct bytes *key);

#endif
