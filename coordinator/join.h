/* Joining: how a coordinator becomes one of several; see join.c. */
#ifndef QUIRE_COORDINATOR_JOIN_H
#define QUIRE_COORDINATOR_JOIN_H

#include "coordinator/ops.h"

#define JOIN_FILE "joining" /* in the data folder, for as long as it has not joined: the urls */
#define JOIN_RETRY_MS 500
#define JOIN_LOOK_MS 10000
#define JOIN_CHECK_MS 10000

/* The voter's id of the coordinator with this node id. */
uint64_t join_raft_id(const char *node_id);

/* Whether a coordinator in this folder has taken part in a cluster, or begun to. */
bool join_took_part(const char *dir);

/* Whether a coordinator has to join before it takes part, and by whom: `join`, a list of urls as it
 * was told (or NULL), on a first start; or what an earlier start that did not get there was told.
 * `urls`, of DATA_DIR_TEXT_MAX bytes, is empty when not.
 *
 * All coordinators of a new cluster may be told the same list. `self`, the url that this one is
 * reached at, is left out of it. The one that comes first in it begins the cluster, when nobody of
 * the others listens: which it tries for JOIN_LOOK_MS, before this returns. (They listen once they
 * serve a cluster, so a first coordinator that has lost its folder joins them. Only when they are
 * all gone for so long as well does it begin another cluster, which the shards and the others of
 * the old one do not take for theirs.) ERR_IO, ERR_TOO_LARGE. */
int join_wanted(const char *dir, const char *join, const char *self, char *urls, struct err *err);

/* Asks the coordinators at `urls`, one after the other and again and again, to take this one in;
 * until join_stop(). */
int join_start(struct coordinator *coordinator, const char *urls, struct err *err);
void join_stop(struct coordinator *coordinator);
/* It takes part, and the map names it. */
void join_ended(struct coordinator *coordinator);
/* One that took part before and is told to join, serves already: fails (coordinator_fail()) when
 * it is told the name of another cluster. */
void join_check(struct coordinator *coordinator);

/* In the map; NULL: it is not. */
const Quire__Coordinator *join_find(const struct coordinator *coordinator, const char *id);

/* While it leads: puts this coordinator, as it can be reached now, into the map. */
void join_keep_self(struct coordinator *coordinator);

operation op_coordinator_join;
operation op_coordinator_leave;

#endif
