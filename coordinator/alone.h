/* Alone: when a majority of the coordinators is gone for good, one of those that are left is made
 * the only one. It may not know all that the others had agreed on, so what would happen is told
 * first. */
#ifndef QUIRE_COORDINATOR_ALONE_H
#define QUIRE_COORDINATOR_ALONE_H

#include "proto/base/err.h"

#include <stdbool.h>
#include <stdio.h>

struct alone_options {
    const char *dir;          /* locked by the caller */
    const char *node_id;      /* in it */
    const char *raft_address; /* HOST:PORT from now on */
    bool force;               /* do it; otherwise it is only told what would be done */
};

/* Tells on `to`. ERR_NOT_FOUND: there is no coordinator in the folder that took part in a cluster;
 * ERR_IO, ERR_CORRUPT, ERR_INVALID: it cannot be done. */
int alone_recover(const struct alone_options *options, FILE *to, struct err *err);

#endif
