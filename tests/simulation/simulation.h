/* A cluster in one process, in virtual time: coordinators, shards and clients. What decides is the
 * product's: the core of replication (shard/replication.h), the controller and the map
 * (coordinator/controller.h, coordinator/map.h). What is around it is simulated: network, disks,
 * clocks, processes, the log on which the coordinators agree, and the people who want something.
 * Everything that happens hangs on one seed. See README.md for the list of faults and promises.
 *
 * Time is in microseconds since the world began; a process' own clock (local_ms) runs up to 5 %
 * fast or slow. Nothing here is thread-safe; there is one thread.
 */
#ifndef QUIRE_SIMULATION_H
#define QUIRE_SIMULATION_H

#include "coordinator/controller.h"
#include "coordinator/map.h"
#include "shard/replication.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARDS_MAX 6
#define COORDINATORS_MAX 5
#define PLACES (SHARDS_MAX + COORDINATORS_MAX) /* shards, then coordinators: for the network */
#define RANGES_FIRST 3                         /* at most, of the first map */
#define RANGES_MAX 32 /* slots: that there ever were in a schedule, see slot_of() */
#define FIRST_ID 2    /* of a range */
#define CLIENTS 4
#define KEYS 9       /* of one byte each: "a" and so on */
#define RECORD_MAX 3 /* operations of one record, which are of one batch and of one key */
#define MS 1000ull   /* microseconds */

#define TICK_MS 50
#define REGISTER_MS 250
#define CALL_TIMEOUT_MS 1000
#define REPLACE_MS 4000 /* the product's is longer; a schedule lasts seconds */
#define CALM_MS 300     /* so is that */
#define SIZE_UNIT                                                                                  \
    1000 /* bytes; a range has this times the square of the keys that it covers...                 \
          */
#define RANGE_BYTES                                                                                \
    (30 * SIZE_UNIT) /* ...and is split above this: of six keys, into three each                   \
                      */

struct world;

/* ---- what is written ---- */

struct operation {
    int client, key;
    uint64_t batch, value; /* value: unique */
};

struct record {
    struct replication_record at;
    struct operation op[RECORD_MAX]; /* at.count of them, of one batch */
};

struct log {
    struct record *record;
    size_t count, room;
};

struct cell { /* of a key */
    uint64_t value;
    uint64_t count;  /* of operations on it since the world began, whichever range had it */
    uint64_t digest; /* of these, in order */
};

struct state { /* what applying the log makes */
    uint64_t applied;
    uint64_t epoch; /* of the record at `applied` */
    struct cell key[KEYS];
    uint64_t batch[CLIENTS]; /* the last one of each client that was applied... */
    uint64_t seq[CLIENTS];   /* ...and where */
};

/* ---- processes ---- */

struct event;

struct process {
    struct world *world;
    int place;
    char id[UUID_TEXT_SIZE];
    bool up, paused;
    double rate;                    /* of its clock */
    uint64_t life;                  /* changes with each start; never 0 */
    struct event *held, **held_end; /* what it will see when it goes on */
};

struct write { /* to a log, under way */
    uint64_t cut;
    struct log records;
};

struct pending { /* a client's write that waits for its commit */
    uint64_t last_seq, call;
    int client;
    struct operation last;
};

enum copy { COPY_NONE, COPY_PULLS, COPY_INSTALLS }; /* of a checkpoint, under way */

struct replica {
    struct shard *shard;
    int range; /* its slot */
    bool has_data;
    uint64_t dropped;    /* the range's epoch that told it to drop all it had; 0: none did */
    uint64_t generation; /* changes when the core is made anew: events of the one before are void */

    /* durable */
    struct log durable;
    struct replication_position base;
    struct state flushed; /* the index on disk */

    /* of this life */
    struct replication *core; /* NULL: the process is down, or nothing is to be held here */
    struct log log;
    struct state state;
    struct write *write; /* ring of WRITES_MAX */
    uint64_t write_begun, write_done;
    uint64_t disk_free_at; /* writes are done one after the other */
    struct pending *pending;
    size_t pending_count;
    bool want[SHARDS_MAX], want_in_sync[SHARDS_MAX]; /* edge->request since the last Register */
    uint64_t want_epoch;
    uint64_t asked[SHARDS_MAX]; /* the epoch under which it asked to make that one in sync */
    bool broken;
    uint64_t committed; /* as the core said last */
    enum copy copy;
    struct state copied;  /* the checkpoint: what the primary's index had when it was begun... */
    uint64_t copied_life; /* ...and in which life of its process */
};

struct image { /* of a target of a reshape: what is applied of its sources, within its bounds */
    bool there;
    bool sealed; /* the sources took no writes */
    struct state state;
    uint64_t seq[2], epoch[2]; /* of the sources in key order: up to where, under which epochs */
};

struct derived {         /* a target, beside its sources */
    bool building;       /* in this life, by the map of now */
    bool failed;         /* it cannot be made here */
    bool writing;        /* `written` is on its way to the disk */
    uint64_t generation; /* changes when it begins or ends: events of before are void */
    struct image memory, written;
    struct image kept; /* durable; of sealed sources */
};

struct derived_report { /* of a source; as in RangeReport */
    bool derived, failed, drained;
    uint64_t seq;
};

#define WRITES_MAX 2048
#define PENDING_MAX 64

struct shard {
    struct process process;
    bool disk_slow, disk_full;
    bool disk_short; /* writes work yet, and it wants to lead nothing */
    bool leaving;
    uint64_t leaving_since;
    bool stuck;             /* what it derives does not become durable */
    uint64_t assigning;     /* the newest assignment that is here... */
    uint64_t assigns_until; /* ...and until when it has to do with it and those before */
    struct map *map;        /* the newest that it has carried out in this life; NULL: none */
    uint64_t durable_map_epoch;
    struct replica replica[RANGES_MAX];
    struct derived derived[RANGES_MAX];
    struct derived_report said[RANGES_MAX]; /* of sealed sources, last */
};

struct coordinator {
    struct process process;
    struct controller *controller;
    struct map *map;
    bool leads;              /* as it believes... */
    uint64_t believes_until; /* ...at most until then; UINT64_MAX: it does lead */
    uint64_t told_at;        /* when it last told the followers what is committed */
    bool linked[SHARDS_MAX];
};

/* ---- clients ---- */

enum wish { WISH_WRITE, WISH_PRIMARY, WISH_TOKEN, WISH_ANY, WISH_SCATTER };

struct client {
    int index;
    enum wish wish;
    bool busy, partial;
    int key;         /* of a write or a read of one key */
    int coordinator; /* through which it asks */
    uint64_t batch;
    uint64_t deadline; /* of a scatter read */
    uint64_t since;    /* when the wish began */
    uint64_t call;     /* of the newest attempt */
    struct map *hint;  /* the newest that it was told with ERR_STALE; not its own */
    bool answered[KEYS];
    struct record record;
    uint64_t token[RANGES_MAX]; /* its session: what it has seen of each range, as seqs... */
    uint64_t seen[KEYS];        /* ...and what that is, as counts of operations */
    uint64_t floor[KEYS];       /* what had been acknowledged to anybody when the attempt began */
    uint64_t written_floor;     /* ...when the write began, of its key */
};

struct request {
    uint64_t call;
    int client, range, key, coordinator;
    enum wish wish;
    uint64_t epoch, token;
    struct record record;
};

struct response {
    uint64_t call;
    int client, range, shard;
    int status;
    uint64_t seq;          /* of the write, or that the read saw */
    struct cell key[KEYS]; /* of a read */
    struct map *current;   /* ERR_STALE: what the shard knows; a reference of the world's */
};

/* ---- messages between shards, and between shards and coordinators ---- */

struct prepare_body {
    int from, range;
    uint64_t call, life;
    struct replication_prepare prepare;
    size_t count;
    struct record record[];
};

struct ack_body {
    int from, range;
    uint64_t call, life; /* of the one who asked */
    uint64_t generation;
    struct replication_ack ack;
};

struct register_body {
    int from;
    uint64_t life, sent_ms, map_epoch;
    bool leaving, disk_short;
    struct {
        bool held, broken, lost; /* lost: in sync, and it has nothing */
        struct derived_report derived;
        enum replication_role role;
        uint64_t epoch, committed, durable, last, want_epoch;
        bool want[SHARDS_MAX], want_in_sync[SHARDS_MAX];
    } range[RANGES_MAX];
};

struct registered_body {
    uint64_t life, sent_ms, lease_ms;
};

struct map_body { /* an assignment, or what a follower learns: the map of that epoch */
    uint64_t epoch;
};

/* ---- events ---- */

enum event_kind {
    EVENT_TICK, /* of a shard or a coordinator */
    EVENT_FLUSH,
    EVENT_WRITTEN,
    EVENT_PREPARE,
    EVENT_ACK,
    EVENT_CALL_TIMEOUT,
    EVENT_REGISTER,
    EVENT_REGISTERED,
    EVENT_ASSIGN,
    EVENT_ASSIGNED, /* it has carried that out */
    EVENT_COPIED,
    EVENT_INSTALLED,
    EVENT_DERIVED,      /* a target of a reshape, again... */
    EVENT_DERIVED_KEPT, /* ...and it is durable */
    EVENT_LINK,         /* tells `place` that its connection to `other` is gone */
    EVENT_LINKED,       /* ...or there again */
    EVENT_REQUEST,      /* at a shard */
    EVENT_MAP,          /* a follower learns what was committed */
    EVENT_PROPOSAL,     /* can be committed now, if there is a majority */
    EVENT_ELECTION,
    EVENT_RESPONSE, /* at a client */
    EVENT_CLIENT,
    EVENT_CLIENT_TIMEOUT,
    EVENT_FAULT,
};

struct event {
    uint64_t at, order;
    enum event_kind kind;
    int place, other;
    uint64_t life; /* for this life of the process; 0: any */
    uint64_t number, number2;
    void *body; /* freed with the event */
    struct event *next;
};

/* ---- the world ---- */

struct seen { /* a record that was durable somewhere */
    uint64_t epoch, first_seq, value;
};

struct reign { /* who sent records as the primary of an epoch; life 0: nobody */
    int shard;
    uint64_t life;
};

struct history { /* of a range: what was committed at each seq, by whoever said so first */
    struct operation *op;
    uint64_t *digest, *epoch; /* up to there; of the record */
    uint64_t *index;          /* the how-manieth on its key it is */
    uint64_t count, room;
    bool covers[KEYS];
    bool replaced;      /* by a split or a merge: */
    int replaced_by[2]; /* -1: none */
    uint64_t origin;    /* the seq after which it begins... */
    struct state start; /* ...and what is there then */
    struct seen *seen;  /* a hash table; seen_room: 0 or a power of two */
    size_t seen_count, seen_room;
    struct reign *reign; /* by epoch */
    uint64_t reign_room;
    uint64_t acknowledged; /* highest seq that was acknowledged, or that a primary showed */
    uint64_t acknowledged_at;
};

struct key_history { /* what was committed on a key, from 1 on, whichever range had it */
    struct operation *op;
    uint64_t *digest; /* up to there */
    uint64_t count, room;
    uint64_t newest[CLIENTS]; /* value of each client */
    uint64_t acknowledged;    /* as many, to anybody */
};

enum schedule {
    SCHEDULE_ANY,
    SCHEDULE_CRASH,
    SCHEDULE_SILENCE,
    SCHEDULE_LEAVE,
    SCHEDULE_LINK,
    SCHEDULE_DRAIN,
    SCHEDULE_SPLIT, /* or a merge */
    SCHEDULE_STUCK, /* the same, and one shard does not get its targets to its disk */
};

struct proposal;

enum kind {              /* of trouble */
            KIND_CRASH,  /* of a process, which comes back as another life */
            KIND_STILL,  /* a process stands still */
            KIND_CUT,    /* all or many links of one place */
            KIND_LINK,   /* one link, one way or both */
            KIND_RESET,  /* connections of one place are closed and made again */
            KIND_LEADER, /* another coordinator leads */
            KIND_LEAVE,  /* a shard is asked to stop */
            KIND_DISK,   /* slow, or full */
            KIND_SHORT,  /* a disk on which little is left */
            KIND_DRAIN,  /* an operator drains a shard, or wants one back */
            KIND_MOVE,   /* an operator moves a replica */
            KIND_SPLIT,  /* an operator splits a range */
            KIND_MERGE,  /* an operator merges one with the next */
};

/* How this world is, apart from what goes wrong in it. */
struct manner {
    uint64_t idle_ms;     /* the longest pause between two wishes of a client */
    uint64_t flush_ms;    /* the longest time between two flushes of an index */
    uint64_t copy_ms;     /* the longest time that a checkpoint takes */
    uint64_t agree_ms;    /* the longest time until the coordinators have agreed on something */
    uint64_t derive_ms;   /* the longest time between two looks at what is new for a target */
    uint64_t assign_ms;   /* the longest time that a shard takes for an assignment */
    uint64_t unwritten;   /* of so many changes of the map the leader cannot write one; 0: it can */
    int ranges, replicas; /* 0: drawn */
    bool motion;          /* replicas are moved to even out the shards; else the map is frozen */
};

/* What goes wrong in a schedule, how often and for how long. The numbers are upper bounds: each
 * schedule draws its own below them. */
struct profile {
    const enum kind *kinds; /* one of them is drawn for each strike */
    size_t kind_count;
    uint64_t every_ms;        /* from one strike to the next */
    uint64_t while_ms;        /* until it is mended, mostly... */
    uint64_t long_ms;         /* ...and once in three times */
    unsigned coordinators;    /* so many of 16 strikes are at a coordinator */
    unsigned loss, duplicate; /* messages in 1000 */
    uint64_t slow;            /* one in so many messages is late, at the most often */
    struct manner manner;
};

struct world {
    uint64_t seed, random, now, order, end;
    bool trace, healed;
    enum schedule schedule;
    const struct profile *profile;
    struct manner manner;
    struct event **heap;
    size_t heap_count, heap_room;
    struct shard shard[SHARDS_MAX];
    struct coordinator coordinator[COORDINATORS_MAX];
    struct client client[CLIENTS];
    struct history history[RANGES_MAX];
    struct key_history key[KEYS];
    int slots; /* that are in use, or were */
    int shards, coordinators, ranges, replicas;
    bool drained[SHARDS_MAX];   /* as operators asked, and it was agreed on... */
    bool may_drain[SHARDS_MAX]; /* ...or may be yet */
    bool reshape_asked;         /* and the leader began it */
    bool sizes; /* ranges are large or small: the leader splits and merges them unasked */

    bool cut[PLACES][PLACES]; /* [from][to] */
    unsigned loss, duplicate; /* in 1000 */
    uint64_t slow;            /* one in so many messages is late; 0: none */

    /* what the coordinators agreed on */
    struct map **maps; /* by epoch; [0] is the empty one */
    uint64_t map_count, map_room;
    int leader; /* the one that can commit; -1: none */
    uint64_t leaderless_since, elect_at;
    struct proposal *proposals, **proposals_end; /* in the leader's log, and not committed */

    uint64_t values, calls;
    bool *answered; /* by call */
    uint64_t answered_room;
    uint64_t writes, reads, partials, failovers, installs, moves, splits, merges, aborts,
        trace_hash;
    char violation[512];
};

/* world.c */
uint64_t chance(struct world *world);
static inline uint64_t below(struct world *world, uint64_t n)
{
    return chance(world) % n;
}
static inline bool one_in(struct world *world, uint64_t n)
{
    return below(world, n) == 0;
}
void say(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first one counts. */
void violated(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct event *post(struct world *world, uint64_t delay, enum event_kind kind, int place);
/* As post(), void when the process has begun anew by then. */
struct event *post_own(struct process *process, uint64_t delay, enum event_kind kind);
/* Over the network: lost, late, or twice. `body` is copied. */
void transmit(struct world *world, enum event_kind kind, int from, int to, const void *body,
              size_t size);
bool reachable(const struct world *world, int from, int to);
struct process *process_at(struct world *world, int place);
uint64_t local_ms(const struct process *process);
void process_start(struct process *process);
void process_stop(struct process *process); /* forgets what it holds */
void process_resume(struct process *process);
static inline bool runs(const struct process *process)
{
    return process->up && !process->paused;
}
void world_run(struct world *world);
void world_finish(struct world *world);

/* disk.c */
uint64_t record_end(const struct record *record);
void log_add(struct log *log, const struct record *record);
void log_drop_from(struct log *log, uint64_t seq);
void log_drop_until(struct log *log, uint64_t seq);
size_t log_at(const struct log *log, uint64_t first); /* the first record at or after `first` */
/* A write to the replica's log, after those under way; EVENT_WRITTEN follows. */
struct write *disk_begin(struct replica *replica);
/* It is durable now; false: it could not be written. */
bool disk_finish(struct replica *replica);
/* Of what was under way, some reached the disk: the first so many. */
void disk_crash(struct replica *replica);
bool disk_has(const struct replica *replica, uint64_t seq);

/* replica.c */
void replica_init(struct shard *shard, int range);
void replica_deinit(struct replica *replica);
/* A core over what is durable. */
void replica_open(struct replica *replica);
void replica_close(struct replica *replica); /* loses what is not durable */
void replica_drop(struct replica *replica);
void replica_configure(struct replica *replica);
void replica_prepare(struct replica *replica, const struct prepare_body *body);
void replica_written(struct replica *replica);
void replica_flush(struct replica *replica);
void replica_copied(struct replica *replica, const struct replica *from);
void replica_installed(struct replica *replica);
void replica_serve(struct replica *replica, const struct request *request);
/* It could acknowledge a write now, if the others went along. */
bool replica_leads(const struct replica *replica);

/* reshape.c */
/* What a shard says of a source. */
struct derived_report reshape_report(const struct shard *shard, int slot);
/* The primary takes no writes. */
bool reshape_seals(const struct replica *replica);
/* The map that it has carried out is another one. */
void reshape_follow(struct shard *shard);
void reshape_event(struct shard *shard, const struct event *event);
void reshape_close(struct shard *shard); /* loses what is not durable */
/* Begins to open what was made of a target; false: it was not made here. */
bool reshape_installs(struct replica *replica, const Quire__Range *range);

/* shard.c */
void shard_init(struct world *world, int index);
void shard_deinit(struct shard *shard);
void shard_start(struct shard *shard);
void shard_crash(struct shard *shard);
void shard_leave(struct shard *shard);
void shard_event(struct shard *shard, struct event *event);
int shard_of(const struct world *world, const char *id);

/* coordinator.c */
void coordinator_init(struct world *world, int index);
void coordinator_deinit(struct coordinator *coordinator);
void coordinator_start(struct coordinator *coordinator);
void coordinator_crash(struct coordinator *coordinator);
void coordinator_event(struct coordinator *coordinator, struct event *event);
void coordinator_lead(struct coordinator *coordinator, bool leads);
void coordinator_learn(struct coordinator *coordinator, uint64_t epoch);

/* consensus.c */
void consensus_start(struct world *world);
void consensus_deinit(struct world *world);
void consensus_propose(struct coordinator *coordinator, const Quire__MapChange *change);
void consensus_event(struct world *world, struct event *event);
void consensus_change_leader(struct world *world);
struct map *newest_map(const struct world *world);
const Quire__Range *some_range(struct world *world); /* of the newest map */

/* client.c */
void client_start(struct world *world);
void client_event(struct world *world, struct event *event);
bool clients_idle(const struct world *world);

/* profiles.c */
void profile_choose(struct world *world); /* by the seed; and the schedule */

/* faults.c */
void faults_start(struct world *world);
void fault_event(struct world *world, struct event *event);
void heal(struct world *world);
int count_drained(const struct world *world);

/* check_log.c */
void check_durable_record(struct replica *replica, const struct record *record);
/* It sends as the primary of that epoch. */
void check_reign(struct replica *replica, uint64_t epoch);
void check_cut(struct replica *replica, uint64_t cut);
void check_truncated(struct replica *replica, uint64_t seq);
void check_kept(struct world *world, int range); /* after each event */
/* That range is new. */
void history_begin(struct world *world, const Quire__Range *range);
void history_deinit(struct history *history);

/* check_reshape.c */
void check_reshaped(struct world *world, const struct map *before, const struct map *after);
/* After each event, of a range that the newest map has no more. */
void check_replaced(struct world *world, int slot);
/* Whether the shard has all that the target began with, durably, and that is all up to seq. It is
 * not open yet. */
bool check_prepared(const struct shard *shard, int slot, uint64_t seq);

/* check.c */
void check_applied(struct replica *replica, const struct operation *op);
void check_installed(struct replica *replica);
void check_committed(struct replica *replica, uint64_t seq);
/* Of a batch, the last operation; at `seq`, or in what the range began with. */
void check_acknowledged(struct replica *replica, uint64_t seq, const struct operation *last);
/* What it saw of a key that it asked for. */
void check_read(struct world *world, struct client *client, const struct response *response,
                int key);
void check_write(struct world *world, struct client *client, const struct response *response);
void check_step(struct world *world); /* after each event */
/* Of the map, each that is committed. */
void check_change(struct world *world, const struct map *before, const struct map *after);
bool at_rest(const struct world *world);
void check_rest(struct world *world);

/* Ranges are known by slots: an id is never used twice. */
static inline int slot_of(uint64_t id)
{
    return (int)(id - FIRST_ID);
}

static inline uint64_t id_of(int slot)
{
    return FIRST_ID + (uint64_t)slot;
}

/* How many keys it covers; *middle: that of the second half. */
static inline uint64_t keys_of(const struct history *history, int *middle)
{
    uint64_t count = 0, half = 0;
    for (int i = 0; i < KEYS; i++)
        count += history->covers[i];
    for (int i = 0; i < KEYS; i++) {
        if (history->covers[i] && half++ == count / 2)
            *middle = i;
    }
    return count;
}

/* NULL: that map does not have it. */
static inline const Quire__Range *range_in(const struct map *map, int slot)
{
    for (size_t i = 0; i < map->message->n_ranges; i++)
        if (map->message->ranges[i]->id == id_of(slot))
            return map->message->ranges[i];
    return NULL;
}

/* Whether a key lies within [lo, hi). */
static inline bool key_within(int key, struct bytes lo, struct bytes hi)
{
    uint8_t letter = (uint8_t)('a' + key);
    struct bytes name = bytes_of(&letter, 1);
    return bytes_compare(lo, name) <= 0 && (hi.size == 0 || bytes_compare(name, hi) < 0);
}

static inline bool key_in(const Quire__Range *range, int key)
{
    return key_within(key, map_range_lo(range), map_range_hi(range));
}

/* Of all keys. */
static inline uint64_t state_digest(const struct state *state)
{
    uint64_t digest = 0;
    for (int i = 0; i < KEYS; i++)
        digest = (digest ^ state->key[i].digest) * 0x9e3779b97f4a7c15ull + state->key[i].count;
    return digest;
}

#endif
