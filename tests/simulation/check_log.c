/* What must hold of the logs. Each says in one sentence what did not. */
#include "tests/simulation/simulation.h"

#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

static struct world *world_of(const struct replica *replica)
{
    return replica->shard->process.world;
}

static struct history *history_of(const struct replica *replica)
{
    return &world_of(replica)->history[replica->range];
}

void history_deinit(struct history *history)
{
    free(history->op);
    free(history->digest);
    free(history->epoch);
    free(history->index);
    free(history->seen);
    free(history->reign);
}

/* ---- two logs that have a record of the same epoch and seq are equal there ---- */

static struct seen *find_seen(struct history *history, const struct seen *key)
{
    size_t mask = history->seen_room - 1;
    size_t i =
        (size_t)((key->epoch * 0x9e3779b97f4a7c15ull ^ key->first_seq) * 0xbf58476d1ce4e5b9ull >>
                 32);
    struct seen *seen;
    while ((seen = &history->seen[i & mask])->first_seq != 0 &&
           (seen->epoch != key->epoch || seen->first_seq != key->first_seq))
        i++;
    return seen;
}

static void make_room(struct history *history)
{
    struct seen *old = history->seen;
    size_t old_room = history->seen_room;
    if (2 * history->seen_count < old_room)
        return;
    history->seen_room = old_room == 0 ? 256 : 2 * old_room;
    history->seen = calloc(history->seen_room, sizeof history->seen[0]);
    if (history->seen == NULL)
        abort();
    for (size_t i = 0; i < old_room; i++)
        if (old[i].first_seq != 0)
            *find_seen(history, &old[i]) = old[i];
    free(old);
}

void check_durable_record(struct replica *replica, const struct record *record)
{
    struct history *history = history_of(replica);
    const struct seen key = {record->at.epoch, record->at.first_seq, record->op[0].value};
    make_room(history);
    struct seen *seen = find_seen(history, &key);
    if (seen->first_seq == 0) {
        *seen = key;
        history->seen_count++;
    } else if (seen->value != key.value) {
        violated(world_of(replica),
                 "two logs of range %d have different records of epoch %llu at seq %llu, one on "
                 "shard %d",
                 replica->range, (ull)key.epoch, (ull)key.first_seq, replica->shard->process.place);
    }
}

/* ---- an epoch is of one life of its primary ---- */

void check_reign(struct replica *replica, uint64_t epoch)
{
    struct history *history = history_of(replica);
    const struct process *process = &replica->shard->process;
    if (epoch >= history->reign_room) {
        uint64_t room = 2 * epoch + 64;
        history->reign = realloc(history->reign, room * sizeof history->reign[0]);
        if (history->reign == NULL)
            abort();
        memset(history->reign + history->reign_room, 0,
               (room - history->reign_room) * sizeof history->reign[0]);
        history->reign_room = room;
    }
    struct reign *reign = &history->reign[epoch];
    if (reign->life == 0)
        *reign = (struct reign){process->place, process->life};
    if (reign->shard != process->place || reign->life != process->life)
        violated(process->world,
                 "shard %d, life %llu, sends as the primary of epoch %llu of range %d, and so did "
                 "shard %d, life %llu",
                 process->place, (ull)process->life, (ull)epoch, replica->range, reign->shard,
                 (ull)reign->life);
}

/* ---- what is committed stays ---- */

/* A learner may: a late message of a primary that was deposed meanwhile, before what it has was
 * committed under the next one. Nobody counts on it. */
void check_cut(struct replica *replica, uint64_t cut)
{
    const struct history *history = history_of(replica);
    const Quire__Range *range = range_in(newest_map(world_of(replica)), replica->range);
    if (range == NULL || !map_range_in_sync(range, replica->shard->process.id))
        return;
    size_t at = log_at(&replica->log, cut);
    if (at == replica->log.count || cut > history->count)
        return;
    if (replica->log.record[at].at.epoch == history->epoch[cut])
        violated(world_of(replica),
                 "shard %d takes seq %llu of range %d out of its log, which is committed",
                 replica->shard->process.place, (ull)cut, replica->range);
}

/* Of what was committed, the last one is durable there, and not another one in its place: the rest
 * follows, since logs that are equal at one place are equal before it. */
static bool has_all(const struct replica *replica, const struct history *history)
{
    const struct log *log = &replica->durable;
    if (!disk_has(replica, history->count))
        return false;
    if (history->count <= replica->base.seq)
        return true;
    size_t at = log_at(log, history->count);
    if (at == log->count || log->record[at].at.first_seq > history->count)
        at--;
    return log->record[at].at.epoch == history->epoch[history->count];
}

void check_kept(struct world *world, int r)
{
    const struct history *history = &world->history[r];
    const Quire__Range *range = range_in(newest_map(world), r);
    for (size_t i = 0; i < range->n_in_sync && history->count > 0; i++) {
        int shard = shard_of(world, range->in_sync[i]);
        if (!has_all(&world->shard[shard].replica[r], history) &&
            !check_prepared(&world->shard[shard], r, history->count))
            violated(
                world,
                "shard %d is in sync, and does not have seq %llu of range %d, which was committed",
                shard, (ull)history->count, r);
    }
}

/* ---- the log is cut off only behind what every in-sync replica's index has ---- */

void check_truncated(struct replica *replica, uint64_t seq)
{
    struct world *world = world_of(replica);
    const Quire__Range *range = range_in(newest_map(world), replica->range);
    if (range == NULL || replication_epoch(replica->core) != range->epoch)
        return;
    for (size_t i = 0; i < range->n_in_sync; i++) {
        int shard = shard_of(world, range->in_sync[i]);
        const struct replica *other = &world->shard[shard].replica[replica->range];
        if (other->flushed.applied < seq)
            violated(
                world,
                "shard %d cuts its log of range %d off up to seq %llu, and shard %d, in sync, has "
                "only %llu in its index",
                replica->shard->process.place, replica->range, (ull)seq, shard,
                (ull)other->flushed.applied);
    }
}
