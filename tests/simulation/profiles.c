/* Which kinds of trouble come together. In a schedule in which everything goes wrong the rare
 * histories are rare: those that need a message of two primaries ago, a checkpoint that was begun
 * under another one, or two changes of the map that were proposed while neither was agreed on. Here
 * each has seeds of its own, in which little else happens. A profile is made of what a cluster
 * does, never of what a fault that is planted would need. */
#include "tests/simulation/simulation.h"

#define KINDS(...)                                                                                 \
    .kinds = (const enum kind[]){__VA_ARGS__},                                                     \
    .kind_count = sizeof((const enum kind[]){__VA_ARGS__}) / sizeof(enum kind)

/* Everything. */
static const struct profile everything = {
    KINDS(KIND_CRASH, KIND_CRASH, KIND_STILL, KIND_CUT, KIND_RESET, KIND_LEADER, KIND_LEAVE,
          KIND_DISK, KIND_DISK, KIND_LINK, KIND_SHORT),
    .every_ms = 700,
    .while_ms = 1000,
    .long_ms = 5000,
    .coordinators = 4,
    .loss = 60,
    .duplicate = 60,
    .slow = 5,
    .manner = {.idle_ms = 300,
               .flush_ms = 550,
               .copy_ms = 1000,
               .agree_ms = 100,
               .assign_ms = 300,
               .unwritten = 40},
};

/* Links that come and go, and clients that write seldom. */
static const struct profile links = {
    KINDS(KIND_LINK, KIND_LINK, KIND_LINK, KIND_LINK, KIND_CUT, KIND_CUT, KIND_DISK),
    .every_ms = 250,
    .while_ms = 1500,
    .long_ms = 4000,
    .coordinators = 2,
    .loss = 150,
    .duplicate = 60,
    .slow = 10,
    .manner = {.idle_ms = 1500, .flush_ms = 550, .copy_ms = 300, .agree_ms = 10},
};

/* One life after another, on slow disks, and messages that get lost. */
static const struct profile lives = {
    KINDS(KIND_CRASH, KIND_CRASH, KIND_CRASH, KIND_CRASH, KIND_DISK, KIND_DISK, KIND_CUT),
    .every_ms = 400,
    .while_ms = 200,
    .long_ms = 1000,
    .coordinators = 1,
    .loss = 250,
    .duplicate = 20,
    .slow = 20,
    .manner = {.idle_ms = 300, .flush_ms = 550, .copy_ms = 300, .agree_ms = 10, .assign_ms = 1500},
};

/* Messages that come late, and primaries that change and live on. */
static const struct profile late = {
    KINDS(KIND_SHORT, KIND_SHORT, KIND_SHORT, KIND_LINK, KIND_LINK, KIND_CUT),
    .every_ms = 200,
    .while_ms = 300,
    .long_ms = 1500,
    .coordinators = 0,
    .loss = 150,
    .duplicate = 50,
    .slow = 2,
    .manner = {.idle_ms = 50,
               .flush_ms = 550,
               .copy_ms = 300,
               .agree_ms = 10,
               .assign_ms = 100,
               .ranges = 1,
               .replicas = 3},
};

/* Logs that are cut off often, and checkpoints that take long. */
static const struct profile copies = {
    KINDS(KIND_CRASH, KIND_CUT, KIND_LINK, KIND_STILL, KIND_LEAVE, KIND_DISK, KIND_DISK),
    .every_ms = 500,
    .while_ms = 800,
    .long_ms = 3000,
    .coordinators = 1,
    .loss = 60,
    .duplicate = 60,
    .slow = 20,
    .manner = {.idle_ms = 100, .flush_ms = 100, .copy_ms = 4000, .agree_ms = 10, .assign_ms = 100},
};

/* Coordinators that agree late, and leaders that change. */
static const struct profile agreement = {
    KINDS(KIND_LEADER, KIND_CUT, KIND_LINK, KIND_STILL, KIND_CRASH, KIND_LEAVE, KIND_SHORT,
          KIND_SHORT),
    .every_ms = 400,
    .while_ms = 1500,
    .long_ms = 3000,
    .coordinators = 8,
    .loss = 30,
    .duplicate = 30,
    .slow = 20,
    .manner = {.idle_ms = 300,
               .flush_ms = 550,
               .copy_ms = 300,
               .agree_ms = 4000,
               .assign_ms = 100,
               .unwritten = 20},
};

/* Who hears some of the others, and not all. */
static const struct profile deaf = {
    KINDS(KIND_LINK, KIND_LINK, KIND_LINK, KIND_CUT, KIND_STILL, KIND_LEADER),
    .every_ms = 500,
    .while_ms = 2000,
    .long_ms = 5000,
    .coordinators = 8,
    .loss = 20,
    .duplicate = 20,
    .slow = 20,
    .manner = {.idle_ms = 300, .flush_ms = 550, .copy_ms = 300, .agree_ms = 10, .assign_ms = 100},
};

/* Replicas on the move, while processes and leaders come and go. */
static const struct profile motion = {
    KINDS(KIND_DRAIN, KIND_DRAIN, KIND_DRAIN, KIND_MOVE, KIND_MOVE, KIND_MOVE, KIND_SPLIT,
          KIND_SPLIT, KIND_MERGE, KIND_CRASH, KIND_LEADER, KIND_LINK, KIND_CUT, KIND_STILL,
          KIND_LEAVE, KIND_SHORT),
    .every_ms = 400,
    .while_ms = 500,
    .long_ms = 3000,
    .coordinators = 4,
    .loss = 60,
    .duplicate = 60,
    .slow = 10,
    .manner = {.idle_ms = 200,
               .flush_ms = 300,
               .copy_ms = 1000,
               .agree_ms = 300,
               .assign_ms = 300,
               .unwritten = 40},
};

/* Ranges that are split and merged, while all that goes wrong. */
static const struct profile reshaping = {
    KINDS(KIND_SPLIT, KIND_SPLIT, KIND_SPLIT, KIND_SPLIT, KIND_MERGE, KIND_MERGE, KIND_MERGE,
          KIND_MOVE, KIND_CRASH, KIND_CRASH, KIND_LEADER, KIND_LINK, KIND_CUT, KIND_STILL,
          KIND_LEAVE, KIND_SHORT, KIND_DISK),
    .every_ms = 250,
    .while_ms = 400,
    .long_ms = 3000,
    .coordinators = 4,
    .loss = 40,
    .duplicate = 40,
    .slow = 15,
    .manner = {.idle_ms = 100,
               .flush_ms = 300,
               .copy_ms = 600,
               .agree_ms = 200,
               .derive_ms = 300,
               .assign_ms = 300,
               .unwritten = 60},
};

/* The same, when hardly anything else happens: more of them come to their end. */
static const struct profile reshaping_late = {
    KINDS(KIND_SPLIT, KIND_SPLIT, KIND_MERGE, KIND_MERGE, KIND_SHORT, KIND_LINK, KIND_STILL),
    .every_ms = 300,
    .while_ms = 300,
    .long_ms = 2500,
    .coordinators = 3,
    .loss = 30,
    .duplicate = 30,
    .slow = 4,
    .manner = {.idle_ms = 50,
               .flush_ms = 300,
               .copy_ms = 300,
               .agree_ms = 30,
               .derive_ms = 100,
               .assign_ms = 1500},
};

/* Coordinators that agree late on the steps of splits and merges, and leaders that change. */
static const struct profile reshaping_agreement = {
    KINDS(KIND_SPLIT, KIND_SPLIT, KIND_MERGE, KIND_MERGE, KIND_LEADER, KIND_SHORT, KIND_SHORT,
          KIND_STILL, KIND_LINK, KIND_MOVE),
    .every_ms = 300,
    .while_ms = 800,
    .long_ms = 3000,
    .coordinators = 5,
    .loss = 30,
    .duplicate = 30,
    .slow = 20,
    .manner = {.idle_ms = 50,
               .flush_ms = 300,
               .copy_ms = 300,
               .agree_ms = 2500,
               .derive_ms = 100,
               .assign_ms = 100,
               .unwritten = 30},
};

/* Shards and coordinators that sleep through the end of splits and merges, and are told late. */
static const struct profile reshaping_behind = {
    KINDS(KIND_SPLIT, KIND_SPLIT, KIND_SPLIT, KIND_MERGE, KIND_MERGE, KIND_STILL, KIND_STILL,
          KIND_STILL, KIND_STILL, KIND_LINK, KIND_CUT, KIND_CUT),
    .every_ms = 250,
    .while_ms = 1800,
    .long_ms = 3000,
    .coordinators = 6,
    .loss = 10,
    .duplicate = 10,
    .slow = 30,
    .manner = {.idle_ms = 20,
               .flush_ms = 300,
               .copy_ms = 300,
               .agree_ms = 10,
               .derive_ms = 50,
               .assign_ms = 2500},
};

/* One thing, at a place that is drawn as by the first one. */
static const struct manner calm = {.idle_ms = 25, .flush_ms = 500, .copy_ms = 300};

struct choice {
    enum schedule schedule;
    const struct profile *profile;
};

static const struct choice by_seed[] = {
    {SCHEDULE_ANY, &everything},     {SCHEDULE_ANY, &links},       {SCHEDULE_ANY, &lives},
    {SCHEDULE_ANY, &late},           {SCHEDULE_ANY, &copies},      {SCHEDULE_ANY, &agreement},
    {SCHEDULE_CRASH, &everything},   {SCHEDULE_ANY, &deaf},        {SCHEDULE_LEAVE, &everything},
    {SCHEDULE_ANY, &everything},     {SCHEDULE_ANY, &everything},  {SCHEDULE_ANY, &links},
    {SCHEDULE_ANY, &lives},          {SCHEDULE_ANY, &late},        {SCHEDULE_ANY, &copies},
    {SCHEDULE_ANY, &agreement},      {SCHEDULE_LINK, &everything}, {SCHEDULE_ANY, &late},
    {SCHEDULE_SILENCE, &everything}, {SCHEDULE_ANY, &copies},
};

/* One seed in MOTION_EVERY; in the others the map is frozen. */
#define MOTION_EVERY 3
static const struct choice by_seed_in_motion[] = {
    {SCHEDULE_ANY, &motion},           {SCHEDULE_ANY, &reshaping},
    {SCHEDULE_ANY, &reshaping_late},   {SCHEDULE_ANY, &reshaping_agreement},
    {SCHEDULE_DRAIN, &everything},     {SCHEDULE_SPLIT, &everything},
    {SCHEDULE_ANY, &motion},           {SCHEDULE_ANY, &reshaping},
    {SCHEDULE_ANY, &reshaping_late},   {SCHEDULE_STUCK, &everything},
    {SCHEDULE_ANY, &reshaping_behind}, {SCHEDULE_ANY, &reshaping},
    {SCHEDULE_ANY, &reshaping_behind},
};

#define CHOOSE(table, number) (table)[(number) % (sizeof(table) / sizeof *(table))]

void profile_choose(struct world *world)
{
    bool moves = world->seed % MOTION_EVERY == MOTION_EVERY - 1;
    struct choice choice = moves ? CHOOSE(by_seed_in_motion, world->seed / MOTION_EVERY)
                                 : CHOOSE(by_seed, world->seed);
    world->schedule = choice.schedule;
    world->profile = choice.profile;
    world->manner = choice.schedule == SCHEDULE_ANY ? choice.profile->manner : calm;
    world->manner.motion = moves;
    world->sizes = moves && choice.schedule == SCHEDULE_ANY && one_in(world, 3);
}
