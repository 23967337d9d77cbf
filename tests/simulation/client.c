/* Clients: each wishes one thing after another, and tries again until it has it. They plan with the
 * map of a coordinator, which may be behind. */
#include "tests/simulation/simulation.h"

#include <string.h>

#define ATTEMPT_MS 250
#define SCATTER_MS 1500 /* after which a scatter read says what it has */

static void later(struct world *world, int client, uint64_t delay)
{
    post(world, delay, EVENT_CLIENT, 0)->number = (uint64_t)client;
}

void client_start(struct world *world)
{
    for (int i = 0; i < CLIENTS; i++) {
        world->client[i].index = i;
        later(world, i, 20 * MS + below(world, 100 * MS));
    }
}

bool clients_idle(const struct world *world)
{
    for (int i = 0; i < CLIENTS; i++)
        if (world->client[i].busy)
            return false;
    return true;
}

/* ---- asking ---- */

/* By the coordinator's map; of that range it may have been told something newer. */
static const Quire__Range *plan(const struct world *world, const struct client *client, int key)
{
    const struct map *map = world->coordinator[client->coordinator].map;
    const uint8_t letter = (uint8_t)('a' + key);
    const Quire__Range *range = map_range_of(map, 1, bytes_of(&letter, 1)), *newer = NULL;
    if (client->hint != NULL && map_epoch(client->hint) > map_epoch(map))
        newer = range_in(client->hint, slot_of(range->id));
    return newer != NULL ? newer : range;
}

static void ask(struct world *world, struct client *client, const Quire__Range *planned, int key)
{
    int range = slot_of(planned->id);
    struct request request = {.call = client->call,
                              .client = client->index,
                              .range = range,
                              .key = key,
                              .coordinator = client->coordinator,
                              .wish = client->wish,
                              .epoch = planned->epoch,
                              .token = client->wish == WISH_ANY ? 0 : client->token[range],
                              .record = client->record};
    const char *to = planned->primary;
    if (client->wish != WISH_WRITE && client->wish != WISH_PRIMARY)
        to = planned->in_sync[below(world, planned->n_in_sync)];
    transmit(world, EVENT_REQUEST, SHARDS_MAX + client->coordinator, shard_of(world, to), &request,
             sizeof request);
}

/* Through which coordinator; false: none runs. */
static bool choose_coordinator(struct world *world, struct client *client)
{
    int first =
        one_in(world, 5) ? (int)below(world, (uint64_t)world->coordinators) : client->coordinator;
    for (int i = 0; i < world->coordinators; i++) {
        int c = (first + i) % world->coordinators;
        client->coordinator = c;
        if (runs(&world->coordinator[c].process) && world->coordinator[c].map != NULL)
            return true;
    }
    return false;
}

/* A range that its session names and its map does not have: if it may come yet, that map is too
 * old to be answered by. */
static bool knows_session(const struct world *world, const struct client *client)
{
    const struct map *map = world->coordinator[client->coordinator].map;
    for (int i = 0; i < world->slots; i++)
        if (client->token[i] > 0 && range_in(map, i) == NULL && map_range_may_come(map, id_of(i)))
            return false;
    return true;
}

static void attempt(struct world *world, struct client *client)
{
    client->call = ++world->calls;
    struct event *timeout = post(world, ATTEMPT_MS * MS, EVENT_CLIENT_TIMEOUT, 0);
    timeout->number = (uint64_t)client->index;
    timeout->number2 = client->call;
    for (int i = 0; i < KEYS; i++)
        client->floor[i] = world->key[i].acknowledged;
    if (!choose_coordinator(world, client))
        return;
    if (client->wish != WISH_WRITE && client->wish != WISH_ANY && !knows_session(world, client))
        return;                       /* and asks again */
    const Quire__Range *asked = NULL; /* they are in key order */
    for (int i = 0; i < KEYS; i++) {
        if (client->wish == WISH_SCATTER ? client->answered[i] : i != client->key)
            continue;
        const Quire__Range *range = plan(world, client, i);
        if (range != asked)
            ask(world, client, range, i);
        asked = range;
    }
}

static void begin(struct world *world, struct client *client)
{
    client->busy = true;
    client->since = world->now;
    client->wish = one_in(world, 2) ? WISH_WRITE : WISH_PRIMARY + (enum wish)below(world, 4);
    client->partial = one_in(world, 2);
    client->key = (int)below(world, KEYS);
    client->deadline = world->now + SCATTER_MS * MS;
    memset(client->answered, 0, sizeof client->answered);
    client->record = (struct record){.at.count = 1 + (uint32_t)below(world, RECORD_MAX)};
    client->written_floor = world->key[client->key].acknowledged;
    if (client->wish == WISH_WRITE)
        client->batch++;
    for (uint32_t i = 0; i < client->record.at.count; i++)
        client->record.op[i] =
            (struct operation){client->index, client->key, client->batch, ++world->values};
    attempt(world, client);
}

/* ---- answers ---- */

static void done(struct world *world, struct client *client)
{
    client->busy = false;
    client->call = 0;
    later(world, client->index,
          below(world, one_in(world, 8) ? world->manner.idle_ms * MS + 1 : 25 * MS));
}

static void scattered(struct world *world, struct client *client)
{
    int missing = 0;
    for (int i = 0; i < KEYS; i++)
        missing += !client->answered[i];
    if (missing > 0 && world->now < client->deadline)
        return;
    /* `complete` fails now, `partial` names what is missing. */
    world->partials += missing > 0;
    world->reads += missing == 0;
    done(world, client);
}

static void read(struct world *world, struct client *client, const struct response *response)
{
    for (int i = 0; i < KEYS; i++) {
        bool wanted = client->wish == WISH_SCATTER ? !client->answered[i] : i == client->key;
        if (!wanted || !world->history[response->range].covers[i])
            continue;
        check_read(world, client, response, i);
        client->answered[i] = true;
    }
}

static void succeeded(struct world *world, struct client *client, const struct response *response)
{
    if (client->wish == WISH_WRITE) {
        world->writes++;
        check_write(world, client, response);
    } else {
        read(world, client, response);
    }
    if (client->wish != WISH_ANY && response->seq > client->token[response->range])
        client->token[response->range] = response->seq;
    if (client->wish == WISH_SCATTER) {
        scattered(world, client);
        return;
    }
    world->reads += client->wish != WISH_WRITE;
    done(world, client);
}

static void answered(struct world *world, const struct response *response)
{
    struct client *client = &world->client[response->client];
    if (!client->busy || client->call != response->call)
        return;
    if (response->status == 0) {
        succeeded(world, client, response);
        return;
    }
    if (response->status == ERR_STALE && response->current != NULL &&
        (client->hint == NULL || map_epoch(response->current) > map_epoch(client->hint)))
        client->hint = response->current;
    if (client->wish != WISH_SCATTER) {
        client->call = 0;
        later(world, client->index, 20 * MS);
    }
}

void client_event(struct world *world, struct event *event)
{
    struct client *client = &world->client[event->number];
    if (event->kind == EVENT_RESPONSE) {
        answered(world, event->body);
    } else if (event->kind == EVENT_CLIENT_TIMEOUT) {
        if (!client->busy || client->call != event->number2)
            return;
        if (client->wish == WISH_SCATTER)
            scattered(world, client);
        if (client->busy)
            attempt(world, client);
    } else if (client->busy) {
        attempt(world, client);
    } else if (!world->healed) {
        begin(world, client);
    }
}
