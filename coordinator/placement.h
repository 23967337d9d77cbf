/* Placement: which nodes the replicas of a new range go to. Pure code. */
#ifndef QUIRE_COORDINATOR_PLACEMENT_H
#define QUIRE_COORDINATOR_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>

struct placement_node {
    const char *id;
    const char *zone; /* NULL, "": none */
    size_t primaries; /* that it has already */
    size_t replicas;  /* primaries included */
};

/* For each of `count` ranges the indexes of `replicas` nodes, all different, the primary's first:
 * chosen[i * replicas ...]. A primary goes to the node with the fewest primaries; each other
 * replica into another zone than those before it if there is one, to the node with the fewest
 * replicas; of equals the one with the fewest replicas, then the smallest id. `nodes` is counted
 * up. 0 < replicas <= node_count. */
void placement_spread(struct placement_node *nodes, size_t node_count, size_t replicas,
                      size_t count, size_t *chosen);

/* Whether both are in one zone; who has none shares it with nobody. */
bool placement_same_zone(const char *a, const char *b);

#endif
