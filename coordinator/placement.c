#include "coordinator/placement.h"

#include <assert.h>
#include <string.h>

bool placement_same_zone(const char *a, const char *b)
{
    return a != NULL && b != NULL && a[0] != '\0' && strcmp(a, b) == 0;
}

static bool before(const struct placement_node *a, const struct placement_node *b, bool primary)
{
    if (primary && a->primaries != b->primaries)
        return a->primaries < b->primaries;
    if (a->replicas != b->replicas)
        return a->replicas < b->replicas;
    return strcmp(a->id, b->id) < 0;
}

/* The node for the replica after those taken; the first one is the primary. */
static size_t pick(const struct placement_node *nodes, size_t node_count, const size_t *taken,
                   size_t taken_count)
{
    size_t best = node_count;
    size_t best_mates = 0;
    for (size_t i = 0; i < node_count; i++) {
        size_t mates = 0;
        bool used = false;
        for (size_t j = 0; j < taken_count; j++) {
            used |= taken[j] == i;
            mates += placement_same_zone(nodes[taken[j]].zone, nodes[i].zone);
        }
        if (used || (best < node_count && mates > best_mates))
            continue;
        if (best == node_count || mates < best_mates ||
            before(&nodes[i], &nodes[best], taken_count == 0)) {
            best = i;
            best_mates = mates;
        }
    }
    return best;
}

void placement_spread(struct placement_node *nodes, size_t node_count, size_t replicas,
                      size_t count, size_t *chosen)
{
    assert(replicas > 0 && replicas <= node_count);
    for (size_t i = 0; i < count; i++) {
        size_t *places = chosen + i * replicas;
        for (size_t j = 0; j < replicas; j++) {
            places[j] = pick(nodes, node_count, places, j);
            nodes[places[j]].replicas++;
        }
        nodes[places[0]].primaries++;
    }
}
