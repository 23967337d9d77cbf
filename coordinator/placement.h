/* Placement: which node a new range goes to. Pure code. */
#ifndef QUIRE_COORDINATOR_PLACEMENT_H
#define QUIRE_COORDINATOR_PLACEMENT_H

#include <stddef.h>

struct placement_node {
    const char *id;
    size_t ranges; /* that it holds already */
};

/* For each of `count` ranges the index of its node: the one with the fewest ranges so far, the
 * smallest id of equals. `nodes` is counted up. node_count > 0. */
void placement_spread(struct placement_node *nodes, size_t node_count, size_t count,
                      size_t *chosen);

#endif
