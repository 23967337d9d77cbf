/* Chance, time, the network and what a process is. */
#include "tests/simulation/simulation.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACTIVE_MS 5000
#define QUIET_MS 30000 /* after which all is to be at rest again */

/* splitmix64 */
uint64_t chance(struct world *world)
{
    uint64_t z = world->random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static void hash(struct world *world, uint64_t number)
{
    world->trace_hash = (world->trace_hash ^ number) * 0x100000001b3ull;
    world->trace_hash ^= world->trace_hash >> 29;
}

void say(struct world *world, const char *format, ...)
{
    if (!world->trace)
        return;
    va_list args;
    printf("%10.6f s  ", (double)world->now / 1e6);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

void violated(struct world *world, const char *format, ...)
{
    va_list args;
    if (world->violation[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(world->violation, sizeof world->violation, format, args);
    va_end(args);
    say(world, "VIOLATED: %s", world->violation);
}

/* ---- events: a heap by time ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct world *world, struct event *event)
{
    if (world->heap_count == world->heap_room) {
        world->heap_room = world->heap_room == 0 ? 1024 : 2 * world->heap_room;
        world->heap = realloc(world->heap, world->heap_room * sizeof world->heap[0]);
        if (world->heap == NULL)
            abort();
    }
    event->order = ++world->order;
    size_t i = world->heap_count++;
    for (; i > 0 && before(event, world->heap[(i - 1) / 2]); i = (i - 1) / 2)
        world->heap[i] = world->heap[(i - 1) / 2];
    world->heap[i] = event;
}

static struct event *take(struct world *world)
{
    struct event *first = world->heap[0], *last = world->heap[--world->heap_count];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < world->heap_count) {
        if (child + 1 < world->heap_count && before(world->heap[child + 1], world->heap[child]))
            child++;
        if (!before(world->heap[child], last))
            break;
        world->heap[i] = world->heap[child];
        i = child;
    }
    world->heap[i] = last;
    return first;
}

struct event *post(struct world *world, uint64_t delay, enum event_kind kind, int place)
{
    struct event *event = calloc(1, sizeof *event);
    if (event == NULL)
        abort();
    event->at = world->now + delay;
    event->kind = kind;
    event->place = place;
    push(world, event);
    return event;
}

struct event *post_own(struct process *process, uint64_t delay, enum event_kind kind)
{
    struct event *event = post(process->world, delay, kind, process->place);
    event->life = process->life;
    return event;
}

static void event_free(struct event *event)
{
    free(event->body);
    free(event);
}

/* ---- the network ---- */

bool reachable(const struct world *world, int from, int to)
{
    return !world->cut[from][to];
}

void transmit(struct world *world, enum event_kind kind, int from, int to, const void *body,
              size_t size)
{
    if (!reachable(world, from, to) || below(world, 1000) < world->loss)
        return;
    for (int times = below(world, 1000) < world->duplicate ? 2 : 1; times > 0; times--) {
        uint64_t delay = 50 + below(world, 2 * MS);
        if (world->slow != 0 && one_in(world, world->slow))
            delay += below(world, one_in(world, 3) ? 4000 * MS : 900 * MS);
        struct event *event = post(world, delay, kind, to);
        event->other = from;
        event->body = malloc(size);
        if (event->body == NULL)
            abort();
        memcpy(event->body, body, size);
    }
}

/* ---- processes ---- */

struct process *process_at(struct world *world, int place)
{
    return place < SHARDS_MAX ? &world->shard[place].process
                              : &world->coordinator[place - SHARDS_MAX].process;
}

uint64_t local_ms(const struct process *process)
{
    return (uint64_t)((double)process->world->now * process->rate / (double)MS) + 1000000;
}

void process_start(struct process *process)
{
    process->up = true;
    process->paused = false;
    process->life++;
    process->held = NULL;
    process->held_end = &process->held;
}

static void drop_held(struct process *process)
{
    while (process->held != NULL) {
        struct event *event = process->held;
        process->held = event->next;
        event_free(event);
    }
    process->held_end = &process->held;
}

void process_stop(struct process *process)
{
    process->up = process->paused = false;
    if (process->held_end != NULL)
        drop_held(process);
}

void process_resume(struct process *process)
{
    if (!process->paused)
        return;
    process->paused = false;
    while (process->held != NULL) {
        struct event *event = process->held;
        process->held = event->next;
        event->at = process->world->now;
        push(process->world, event);
    }
    process->held_end = &process->held;
}

/* Whether the event was for a process that can see it; else it is kept for later, or is void. */
static bool deliverable(struct process *process, struct event *event)
{
    if (!process->up || (event->life != 0 && event->life != process->life)) {
        event_free(event);
        return false;
    }
    if (!process->paused)
        return true;
    event->next = NULL;
    *process->held_end = event;
    process->held_end = &event->next;
    return false;
}

/* ---- one schedule ---- */

static void happen(struct world *world, struct event *event)
{
    hash(world, event->at);
    hash(world, (uint64_t)event->kind << 16 ^ (uint64_t)event->place);
    switch (event->kind) {
    case EVENT_RESPONSE:
    case EVENT_CLIENT:
    case EVENT_CLIENT_TIMEOUT:
        client_event(world, event);
        break;
    case EVENT_FAULT:
        fault_event(world, event);
        break;
    case EVENT_PROPOSAL:
    case EVENT_ELECTION:
        consensus_event(world, event);
        break;
    default:
        if (!deliverable(process_at(world, event->place), event))
            return;
        if (event->place < SHARDS_MAX)
            shard_event(&world->shard[event->place], event);
        else
            coordinator_event(&world->coordinator[event->place - SHARDS_MAX], event);
    }
    event_free(event);
}

static void begin(struct world *world)
{
    world->random = world->seed * 0x2545f4914f6cdd1dull + 88172645463325252ull;
    profile_choose(world);
    world->shards = 3 + (int)below(world, 3);
    world->coordinators = 1 + 2 * (int)below(world, 3);
    if (world->schedule != SCHEDULE_ANY && world->coordinators == 1)
        world->coordinators = 3;
    world->ranges = 1 + (int)below(world, RANGES_FIRST);
    world->replicas = 2 + (int)below(world, 2);
    if (world->manner.ranges != 0)
        world->ranges = world->manner.ranges;
    if (world->manner.replicas != 0)
        world->replicas = world->manner.replicas;
    world->end = ACTIVE_MS * MS;
    for (int i = 0; i < world->shards; i++)
        shard_init(world, i);
    for (int i = 0; i < world->coordinators; i++)
        coordinator_init(world, i);
    for (int i = 0; i < world->shards; i++)
        shard_start(&world->shard[i]);
    consensus_start(world);
    client_start(world);
    faults_start(world);
}

void world_run(struct world *world)
{
    begin(world);
    while (world->violation[0] == '\0') {
        if (!world->healed && world->heap[0]->at >= world->end) {
            world->now = world->end;
            heal(world);
        }
        if (world->healed && (world->now >= world->end + QUIET_MS * MS || at_rest(world)))
            break;
        struct event *event = take(world);
        world->now = event->at;
        happen(world, event);
        check_step(world);
    }
    if (world->violation[0] == '\0')
        check_rest(world);
}

void world_finish(struct world *world)
{
    while (world->heap_count > 0)
        event_free(take(world));
    free(world->heap);
    for (int i = 0; i < world->shards; i++)
        shard_deinit(&world->shard[i]);
    for (int i = 0; i < world->coordinators; i++)
        coordinator_deinit(&world->coordinator[i]);
    free(world->answered);
    consensus_deinit(world);
    for (int i = 0; i < RANGES_MAX; i++)
        history_deinit(&world->history[i]);
    for (int i = 0; i < KEYS; i++) {
        free(world->key[i].op);
        free(world->key[i].digest);
    }
}
