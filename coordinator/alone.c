#include "coordinator/alone.h"

#include "coordinator/consensus_raft.h"
#include "coordinator/join.h"
#include "coordinator/map_cache.h"

#include <string.h>

static void tell_map(const struct alone_options *options, const struct map *map, FILE *to)
{
    const Quire__ClusterMap *message = map->message;
    fprintf(
        to,
        "cluster %s: this coordinator has the map of epoch %llu: %zu collections in %zu ranges on "
        "%zu shards\n",
        message->cluster_id, (unsigned long long)message->epoch, message->n_collections,
        message->n_ranges, message->n_nodes);
    for (size_t i = 0; i < message->n_coordinators; i++) {
        const Quire__Coordinator *it = message->coordinators[i];
        bool self = strcmp(it->id, options->node_id) == 0;
        fprintf(to, "  coordinator %s (%s): %s\n", it->id, it->address,
                self ? "this one; the only one afterwards" : "takes part no more");
    }
}

static void tell_losses(const struct map *map, FILE *to)
{
    fputs("lost: changes of the map that the others had agreed on and this one had not got yet\n"
          "  (collections that were created or dropped, ranges that got another primary or other\n"
          "  replicas). Entries are on the shards; those of a collection that this one does not\n"
          "  know are dropped there.\n"
          "kept: changes that this one had got and nobody may have acknowledged.\n",
          to);
    if (map != NULL)
        fprintf(to,
                "If another coordinator is left, run this there without --force, too, and recover "
                "the one\n  that has the highest epoch (here %llu).\n",
                (unsigned long long)map_epoch(map));
    fputs(
        "The others must never be started again with their folders: they would go on as the same\n"
        "  cluster without this one. New ones join with empty folders.\n",
        to);
}

static int check_folder(const char *dir, struct err *err)
{
    if (!join_took_part(dir))
        return err_set(err, ERR_NOT_FOUND, "%s holds no coordinator that took part in a cluster",
                       dir);
    return 0;
}

int alone_recover(const struct alone_options *options, FILE *to, struct err *err)
{
    char raft_dir[4096];
    struct map *map = NULL;
    struct err why = {0};
    int rc = check_folder(options->dir, err);
    if (rc != 0)
        return rc;
    if (snprintf(raft_dir, sizeof raft_dir, "%s/raft", options->dir) >= (int)sizeof raft_dir)
        return err_set(err, ERR_INVALID, "the path of the data folder is too long");
    if (map_cache_read(options->dir, &map, &why) == 0)
        tell_map(options, map, to);
    else
        fprintf(to, "which map it has is not known before it is started: %s\n", why.text);
    tell_losses(map, to);
    map_unref(map);
    if (!options->force) {
        fputs("Nothing was changed. With --force it is.\n", to);
        return 0;
    }
    struct consensus_raft_options raft = {
        .dir = raft_dir, .address = options->raft_address, .id = join_raft_id(options->node_id)};
    rc = consensus_raft_recover(&raft, err);
    if (rc == 0)
        fputs("Done. Start it as before, without --join; the others leave the map a few seconds "
              "after "
              "that.\n",
              to);
    return rc;
}
