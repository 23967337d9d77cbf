/* What must hold. Each says in one sentence what did not. */
#include "tests/simulation/simulation.h"

#include <stdlib.h>
#include <string.h>

#define SLACK_MS 350 /* a client's attempt that went nowhere, and a bit */

typedef unsigned long long ull;

static struct world *world_of(const struct replica *replica)
{
    return replica->shard->process.world;
}

/* ---- one history ---- */

static void grow(struct history *history, uint64_t seq)
{
    if (seq < history->room)
        return;
    history->room = 2 * seq + 1024;
    history->op = realloc(history->op, history->room * sizeof history->op[0]);
    history->digest = realloc(history->digest, history->room * sizeof history->digest[0]);
    history->epoch = realloc(history->epoch, history->room * sizeof history->epoch[0]);
    history->index = realloc(history->index, history->room * sizeof history->index[0]);
    if (history->op == NULL || history->digest == NULL || history->epoch == NULL ||
        history->index == NULL)
        abort();
}

void history_begin(struct world *world, const Quire__Range *range)
{
    struct history *history = &world->history[slot_of(range->id)];
    history->origin = history->count = history->acknowledged = range->origin_seq;
    for (int i = 0; i < KEYS; i++) {
        const struct key_history *key = &world->key[i];
        history->covers[i] = key_in(range, i);
        if (history->covers[i] && key->count > 0)
            history->start.key[i] =
                (struct cell){key->op[key->count].value, key->count, key->digest[key->count]};
    }
    grow(history, history->count);
    history->digest[history->count] = state_digest(&history->start);
    history->epoch[history->count] = range->origin_epoch;
}

/* ---- one key ---- */

static bool same_operation(const struct operation *a, const struct operation *b)
{
    return a->client == b->client && a->key == b->key && a->batch == b->batch &&
           a->value == b->value;
}

static void key_append(struct world *world, struct key_history *key, const struct operation *op,
                       uint64_t digest)
{
    if (key->count + 2 >= key->room) {
        key->room = 2 * key->room + 256;
        key->op = realloc(key->op, key->room * sizeof key->op[0]);
        key->digest = realloc(key->digest, key->room * sizeof key->digest[0]);
        if (key->op == NULL || key->digest == NULL)
            abort();
    }
    key->op[++key->count] = *op;
    key->digest[key->count] = digest;
    if (op->value <= key->newest[op->client]) /* they rise */
        violated(world, "batch %llu of client %d is applied twice to key %d", (ull)op->batch,
                 op->client, op->key);
    key->newest[op->client] = op->value;
}

/* Whichever range has the key, what is applied to it goes on where the range before ended. */
static void check_key(struct replica *replica, const struct operation *op)
{
    struct world *world = world_of(replica);
    struct key_history *key = &world->key[op->key];
    const struct cell *cell = &replica->state.key[op->key];
    if (cell->count == key->count + 1)
        key_append(world, key, op, cell->digest);
    if (cell->count > key->count || !same_operation(op, &key->op[cell->count]) ||
        cell->digest != key->digest[cell->count])
        violated(world,
                 "shard %d applied another operation than others as number %llu of key %d (range "
                 "%d)",
                 replica->shard->process.place, (ull)cell->count, op->key, replica->range);
}

/* The how-manieth it is; 0: none. */
static uint64_t key_index(const struct world *world, const struct operation *op)
{
    const struct key_history *key = &world->key[op->key];
    uint64_t index = key->count;
    while (index > 0 && key->op[index].value != op->value)
        index--;
    return index;
}

/* ---- one range ---- */

void check_applied(struct replica *replica, const struct operation *op)
{
    struct history *history = &world_of(replica)->history[replica->range];
    const struct state *state = &replica->state;
    uint64_t seq = state->applied;
    grow(history, seq);
    if (seq == history->count + 1 && history->replaced)
        violated(world_of(replica), "shard %d applied seq %llu of range %d, which is replaced",
                 replica->shard->process.place, (ull)seq, replica->range);
    if (seq == history->count + 1) {
        history->count++;
        history->op[seq] = *op;
        history->digest[seq] = state_digest(state);
        history->epoch[seq] = state->epoch;
        history->index[seq] = state->key[op->key].count;
    }
    if (seq > history->count)
        violated(world_of(replica), "shard %d applied seq %llu of range %d before its predecessor",
                 replica->shard->process.place, (ull)seq, replica->range);
    else if (!same_operation(op, &history->op[seq]) ||
             history->digest[seq] != state_digest(state) || history->epoch[seq] != state->epoch)
        violated(world_of(replica),
                 "shard %d applied another operation than others at seq %llu of range %d",
                 replica->shard->process.place, (ull)seq, replica->range);
    check_key(replica, op);
}

void check_installed(struct replica *replica)
{
    const struct history *history = &world_of(replica)->history[replica->range];
    const struct state *state = &replica->state;
    if (state->applied > history->count || state->applied < history->origin ||
        state_digest(state) != history->digest[state->applied])
        violated(world_of(replica),
                 "shard %d installed a checkpoint that is not what was committed",
                 replica->shard->process.place);
}

void check_committed(struct replica *replica, uint64_t seq)
{
    if (seq < replica->committed)
        violated(world_of(replica), "the commit point of range %d on shard %d went back",
                 replica->range, replica->shard->process.place);
    replica->committed = seq;
}

/* ---- acknowledgements ---- */

/* On each in-sync replica of that configuration, but such as a later one told to drop all. */
static void check_durable(struct replica *replica, uint64_t seq, const Quire__Range *range)
{
    struct world *world = world_of(replica);
    for (size_t i = 0; i < range->n_in_sync; i++) {
        int shard = shard_of(world, range->in_sync[i]);
        const struct replica *other = &world->shard[shard].replica[replica->range];
        if (other->dropped <= range->epoch && !disk_has(other, seq) &&
            !check_prepared(other->shard, replica->range, seq))
            violated(
                world,
                "shard %d acknowledged seq %llu of range %d, which is not durable on shard %d, "
                "an in-sync replica",
                replica->shard->process.place, (ull)seq, replica->range, shard);
    }
}

void check_acknowledged(struct replica *replica, uint64_t seq, const struct operation *last)
{
    struct world *world = world_of(replica);
    uint64_t index = key_index(world, last);
    struct history *history = &world->history[replica->range];
    const Quire__Range *newest = range_in(newest_map(world), replica->range);
    const char *id = replica->shard->process.id;
    check_durable(replica, seq, range_in(replica->shard->map, replica->range));
    if (newest != NULL)
        check_durable(replica, seq, newest);
    if (newest != NULL && !map_range_in_sync(newest, id))
        violated(world, "shard %d acknowledged seq %llu of range %d, and was not in sync any more",
                 replica->shard->process.place, (ull)seq, replica->range);
    if (index > world->key[last->key].acknowledged)
        world->key[last->key].acknowledged = index;
    if (seq > history->acknowledged)
        history->acknowledged = seq;
    history->acknowledged_at = world->now;
}

void check_write(struct world *world, struct client *client, const struct response *response)
{
    const struct history *history = &world->history[response->range];
    const struct record *record = &client->record;
    const struct key_history *key = &world->key[client->key];
    uint64_t first = response->seq + 1 - record->at.count;
    uint64_t index = key_index(world, &record->op[record->at.count - 1]);
    bool here = response->seq > history->origin; /* else a range that this one was made of */
    bool found = response->seq <= history->count && index >= record->at.count &&
                 (!here || first > history->origin);
    for (uint32_t i = 0; i < record->at.count && found; i++)
        found = same_operation(&record->op[i], &key->op[index - record->at.count + 1 + i]) &&
                (!here || same_operation(&record->op[i], &history->op[first + i]));
    if (!found)
        violated(world,
                 "client %d was told that its batch %llu is at seq %llu of range %d, and it "
                 "is not",
                 client->index, (ull)client->batch, (ull)response->seq, response->range);
    if (index < client->written_floor + record->at.count)
        violated(world,
                 "the write of client %d stands before one that was acknowledged before it "
                 "began",
                 client->index);
    if (index > client->seen[client->key])
        client->seen[client->key] = index;
}

/* ---- reads ---- */

/* What the key was when the range was up to seq. */
static struct cell cell_at(const struct world *world, const struct history *history, uint64_t seq,
                           int key)
{
    for (; seq > history->origin; seq--)
        if (history->op[seq].key == key)
            return (struct cell){history->op[seq].value, history->index[seq],
                                 world->key[key].digest[history->index[seq]]};
    return history->start.key[key];
}

void check_read(struct world *world, struct client *client, const struct response *response,
                int key)
{
    struct history *history = &world->history[response->range];
    const struct cell *saw = &response->key[key];
    uint64_t token = client->token[response->range];
    if (response->seq > history->count || response->seq < history->origin ||
        saw->value != cell_at(world, history, response->seq, key).value ||
        saw->count != cell_at(world, history, response->seq, key).count)
        violated(world, "client %d read what was not committed (key %d, range %d, shard %d)",
                 client->index, key, response->range, response->shard);
    if (client->wish == WISH_PRIMARY && saw->count < client->floor[key])
        violated(world,
                 "a read from the primary of range %d, shard %d, saw %llu operations on key %d; "
                 "%llu were acknowledged before",
                 response->range, response->shard, (ull)saw->count, key, (ull)client->floor[key]);
    if (client->wish != WISH_ANY && (saw->count < client->seen[key] || response->seq < token))
        violated(world,
                 "client %d did not see its own write: %llu operations on key %d (range %d, shard "
                 "%d), and has seen %llu",
                 client->index, (ull)saw->count, key, response->range, response->shard,
                 (ull)client->seen[key]);
    if (client->wish != WISH_ANY && saw->count > client->seen[key])
        client->seen[key] = saw->count;
    if (client->wish == WISH_PRIMARY && saw->count > world->key[key].acknowledged)
        world->key[key].acknowledged = saw->count;
    if (client->wish == WISH_PRIMARY && response->seq > history->acknowledged)
        history->acknowledged = response->seq;
}

/* ---- always ---- */

/* Whether the primary, as far as it knows, waits for the acknowledgements of that shard. */
static bool counts(const struct replica *replica, const Quire__Range *range, int shard)
{
    const struct world *world = replica->shard->process.world;
    return replica->asked[shard] == range->epoch ||
           map_range_in_sync(range, world->shard[shard].process.id);
}

/* The newest epoch of the range that it has seen, and not forgotten by a crash. */
static uint64_t epoch_seen(const struct replica *replica)
{
    const struct world *world = replica->shard->process.world;
    const Quire__Range *range =
        range_in(world->maps[replica->shard->durable_map_epoch], replica->range);
    uint64_t seen = range == NULL ? 0 : range->epoch;
    uint64_t epoch = replica->core == NULL ? 0 : replication_epoch(replica->core);
    return epoch > seen ? epoch : seen;
}

/* A primary with a lease all of whose in-sync replicas, as it knows them, would follow it. */
static bool can_acknowledge(const struct world *world, const struct replica *replica)
{
    if (!replica_leads(replica))
        return false;
    const Quire__Range *range = range_in(replica->shard->map, replica->range);
    for (int i = 0; i < world->shards; i++) {
        const struct replica *other = &world->shard[i].replica[replica->range];
        if (counts(replica, range, i) && epoch_seen(other) > replication_epoch(replica->core))
            return false;
    }
    return true;
}

static void check_longest(struct world *world)
{
    static const uint64_t limits[] = {
        [SCHEDULE_CRASH] = 2000, [SCHEDULE_SILENCE] = 5000, [SCHEDULE_LEAVE] = 300,
        [SCHEDULE_LINK] = 2000,  [SCHEDULE_DRAIN] = 300,    [SCHEDULE_SPLIT] = 300,
        [SCHEDULE_STUCK] = 2500};
    static const char *const what[] = {
        [SCHEDULE_CRASH] = "process crashed",
        [SCHEDULE_SILENCE] = "process fell silent",
        [SCHEDULE_LEAVE] = "process was asked to stop",
        [SCHEDULE_LINK] = "link between two shards is cut",
        [SCHEDULE_DRAIN] = "shard was drained",
        [SCHEDULE_SPLIT] = "range is split or merged",
        [SCHEDULE_STUCK] = "range is split or merged in vain",
    };
    uint64_t limit = limits[world->schedule] + SLACK_MS;
    for (int i = 0; i < CLIENTS; i++) {
        const struct client *client = &world->client[i];
        if (client->busy && world->now > client->since + limit * MS)
            violated(world, "one %s, and client %d has waited for %llu ms for its %s (key %d)",
                     what[world->schedule], i, (ull)((world->now - client->since) / MS),
                     client->wish == WISH_WRITE ? "write" : "read", client->key);
    }
}

/* A primary that answers reads has applied what was acknowledged, by whomever. */
static void check_fresh(struct world *world, const struct replica *replica)
{
    uint64_t acknowledged = world->history[replica->range].acknowledged;
    if (replica->state.applied < acknowledged && replica_leads(replica))
        violated(world,
                 "shard %d would answer reads as the primary of range %d from seq %llu; %llu was "
                 "acknowledged",
                 replica->shard->process.place, replica->range, (ull)replica->state.applied,
                 (ull)acknowledged);
}

void check_step(struct world *world)
{
    for (int r = 0; r < world->slots; r++) {
        int who = -1;
        for (int i = 0; i < world->shards; i++) {
            check_fresh(world, &world->shard[i].replica[r]);
            if (!can_acknowledge(world, &world->shard[i].replica[r]))
                continue;
            if (who >= 0)
                violated(world, "shards %d and %d could both acknowledge writes of range %d", who,
                         i, r);
            who = i;
        }
        if (range_in(newest_map(world), r) != NULL)
            check_kept(world, r);
        else if (world->history[r].replaced)
            check_replaced(world, r);
    }
    if (world->schedule != SCHEDULE_ANY && !world->healed)
        check_longest(world);
}

/* ---- the map ---- */

static size_t staying_in_sync(const Quire__Range *range)
{
    size_t count = 0;
    for (size_t i = 0; i < range->n_in_sync; i++)
        count += !map_range_leaves(range, range->in_sync[i]);
    return count;
}

/* Who is in sync and goes, leaves as many as are wanted. What is forgotten is a shard's no more: a
 * member is a learner first, or was in sync. */
void check_change(struct world *world, const struct map *before, const struct map *after)
{
    for (int r = 0; r < world->slots; r++) {
        const Quire__Range *old = range_in(before, r), *new = range_in(after, r);
        if (old == NULL || new == NULL)
            continue;
        for (size_t i = 0; i < old->n_in_sync; i++)
            if (!map_range_on(new, old->in_sync[i]) &&
                staying_in_sync(new) < (size_t)world->replicas)
                violated(world, "range %d was taken from %s, in sync, and only %zu are left", r,
                         old->in_sync[i], staying_in_sync(new));
        for (size_t i = 0; i < new->n_in_sync; i++)
            if (!map_range_on(old, new->in_sync[i]))
                violated(world, "%s is in sync of range %d and never learned it", new->in_sync[i],
                         r);
    }
}

/* ---- at rest ---- */

/* A replica where it shall not be, although others have room. */
static const char *misplaced(const struct world *world, const Quire__Range *range)
{
    if (range->n_leaving > 0)
        return "is on the move still";
    if (range->reshape != NULL)
        return "is being split or merged still";
    bool room = count_drained(world) + world->replicas <= world->shards;
    for (size_t i = 0; i < map_range_members(range) && world->manner.motion && room; i++)
        if (world->drained[shard_of(world, map_range_member(range, i))])
            return "has a replica on a shard that is drained";
    return NULL;
}

/* A range of the newest map. */
static const char *unrest(const struct world *world, const Quire__Range *range)
{
    int r = slot_of(range->id);
    const struct replica *primary = &world->shard[shard_of(world, range->primary)].replica[r];
    if (range->n_in_sync < (size_t)world->replicas)
        return "does not have the replicas that are wanted in sync";
    if (!replica_leads(primary) || replication_epoch(primary->core) != range->epoch)
        return "has no primary that leads";
    if (primary->state.applied < world->history[r].acknowledged)
        return "has lost what was acknowledged";
    for (size_t i = 0; i < range->n_in_sync; i++) {
        const struct replica *replica =
            &world->shard[shard_of(world, range->in_sync[i])].replica[r];
        if (replica->core == NULL || replica->state.applied != primary->state.applied ||
            state_digest(&replica->state) != state_digest(&primary->state))
            return "has replicas that are not equal";
    }
    return misplaced(world, range);
}

/* Of a range that is gone nothing is left, and nothing of one that did not come. */
static bool is_left(const struct world *world, int slot)
{
    for (int i = 0; i < world->shards; i++) {
        const struct replica *replica = &world->shard[i].replica[slot];
        if (replica->core != NULL || replica->has_data || replica->copy != COPY_NONE ||
            world->shard[i].derived[slot].kept.there || world->shard[i].derived[slot].building)
            return true;
    }
    return false;
}

static int find_left(const struct world *world)
{
    for (int r = 0; r < world->slots; r++)
        if (range_in(newest_map(world), r) == NULL && is_left(world, r))
            return r;
    return -1;
}

bool at_rest(const struct world *world)
{
    if (!clients_idle(world) || world->order % 8 != 0)
        return false;
    const Quire__ClusterMap *map = newest_map(world)->message;
    for (size_t i = 0; i < map->n_ranges; i++)
        if (unrest(world, map->ranges[i]) != NULL)
            return false;
    return find_left(world) < 0;
}

static void say_replicas(struct world *world)
{
    static const char *const roles[] = {"none", "reconciling", "primary", "secondary", "learner"};
    for (int i = 0; i < world->shards * world->slots; i++) {
        const struct replica *replica = &world->shard[i / world->slots].replica[i % world->slots];
        if (replica->core != NULL)
            say(world, "shard %d, range %d: %s, epoch %llu, log %llu..%llu, committed %llu%s%s",
                i / world->slots, i % world->slots, roles[replication_role(replica->core)],
                (ull)replication_epoch(replica->core), (ull)replica->base.seq,
                (ull)replication_last(replica->core), (ull)replication_committed(replica->core),
                replica->broken ? ", broken" : "", replica->has_data ? "" : ", empty");
    }
}

void check_rest(struct world *world)
{
    say_replicas(world);
    const Quire__ClusterMap *map = newest_map(world)->message;
    for (size_t i = 0; i < map->n_ranges; i++)
        if (unrest(world, map->ranges[i]) != NULL)
            violated(world, "long after everything was mended, range %d %s",
                     slot_of(map->ranges[i]->id), unrest(world, map->ranges[i]));
    if (find_left(world) >= 0)
        violated(world, "long after everything was mended, a shard holds range %d, which is gone",
                 find_left(world));
    if (world->schedule == SCHEDULE_SPLIT && world->reshape_asked &&
        world->splits + world->merges != 1)
        violated(world, "one range was to be split or merged, and it did not come to that");
    for (int i = 0; i < CLIENTS; i++)
        if (world->client[i].busy)
            violated(world, "long after everything was mended, client %d waits for its %s", i,
                     world->client[i].wish == WISH_WRITE ? "write" : "read");
}
