#include "coordinator/placement.h"

#include <assert.h>
#include <string.h>

void placement_spread(struct placement_node *nodes, size_t node_count, size_t count, size_t *chosen)
{
    assert(node_count > 0);
    for (size_t i = 0; i < count; i++) {
        size_t best = 0;
        for (size_t j = 1; j < node_count; j++)
            if (nodes[j].ranges < nodes[best].ranges ||
                (nodes[j].ranges == nodes[best].ranges && strcmp(nodes[j].id, nodes[best].id) < 0))
                best = j;
        nodes[best].ranges++;
        chosen[i] = best;
    }
}
