/* Voters and the map are made to fit again by whoever leads: with a consensus that only remembers
 * what it was told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/join.h"
#include "coordinator/voters.h"
#include "proto/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 3

static char *const ids[COUNT] = {(char *)"11111111-1111-4111-8111-111111111111",
                                 (char *)"22222222-2222-4222-8222-222222222222",
                                 (char *)"33333333-3333-4333-8333-333333333333"};

struct world {
    struct consensus consensus; /* first */
    struct coordinator coordinator;
    uint64_t members[COUNT];
    size_t member_count;
    uint64_t removed; /* a voter that was to go; 0: none */
    char dropped[UUID_TEXT_SIZE];
    struct consensus_proposal *proposal;
};

static size_t fake_members(const struct consensus *consensus, uint64_t *out, size_t room)
{
    const struct world *world = (const struct world *)consensus;
    size_t count = world->member_count < room ? world->member_count : room;
    memcpy(out, world->members, count * sizeof *out);
    return count;
}

static void fake_change(struct consensus *consensus, struct consensus_membership *membership)
{
    struct world *world = (struct world *)consensus;
    struct err err = {0};
    assert_null(membership->address);
    world->removed = membership->id;
    membership->done(membership, 0, &err);
}

static void fake_propose(struct consensus *consensus, struct consensus_proposal *proposal)
{
    struct world *world = (struct world *)consensus;
    struct bytes packed = buf_bytes(&proposal->change);
    Quire__MapChange *change = quire__map_change__unpack(NULL, packed.size, packed.data);
    assert_non_null(change);
    assert_non_null(change->coordinator_drop);
    snprintf(world->dropped, sizeof world->dropped, "%s", change->coordinator_drop);
    quire__map_change__free_unpacked(change, NULL);
    buf_deinit(&proposal->change);
    world->proposal = proposal;
}

static const struct consensus_ops fake_ops = {
    .members = fake_members, .change = fake_change, .propose = fake_propose};

/* A map that names the first `named` coordinators. */
static struct map *make_map(size_t named)
{
    struct map *empty = map_create_empty(), *map;
    Quire__Coordinator all[COUNT], *pointers[COUNT];
    char addresses[COUNT][32];
    Quire__ClusterMap first = QUIRE__CLUSTER_MAP__INIT;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    struct err err = {0};
    for (size_t i = 0; i < named; i++) {
        quire__coordinator__init(&all[i]);
        snprintf(addresses[i], sizeof addresses[i], "tcp://127.0.0.1:%zu", i + 1);
        all[i].id = ids[i];
        all[i].raft_id = join_raft_id(ids[i]);
        all[i].address = all[i].raft_address = addresses[i];
        pointers[i] = &all[i];
    }
    first.cluster_id = (char *)"cluster";
    first.secret = (ProtobufCBinaryData){16, (uint8_t *)"0123456789abcdef"};
    first.next_id = 1;
    first.n_coordinators = named;
    first.coordinators = pointers;
    change.bootstrap = &first;
    if (map_apply(empty, &change, &map, &err) != 0)
        fail_msg("%s", err.text);
    map_unref(empty);
    return map;
}

/* The first `voters` take part, the first `named` are in the map; this one is the first. */
static struct world *create(size_t voters, size_t named)
{
    struct world *world = calloc(1, sizeof *world);
    world->consensus.ops = &fake_ops;
    world->coordinator.consensus = &world->consensus;
    world->coordinator.map = make_map(named);
    snprintf(world->coordinator.node_id, sizeof world->coordinator.node_id, "%s", ids[0]);
    world->member_count = voters;
    for (size_t i = 0; i < voters; i++)
        world->members[i] = join_raft_id(ids[i]);
    return world;
}

static void destroy(struct world *world)
{
    map_unref(world->coordinator.map);
    free(world);
}

static void ticks(struct world *world, uint64_t from, uint64_t to)
{
    for (uint64_t now = from; now < to; now += 50)
        voters_tick(&world->coordinator, now);
}

static void test_all_is_well(void **state)
{
    (void)state;
    struct world *world = create(3, 3);
    ticks(world, 1000, 100000);
    assert_int_equal(world->removed, 0);
    assert_string_equal(world->dropped, "");
    destroy(world);
}

static void test_voter_without_a_name(void **state)
{
    (void)state;
    struct world *world = create(3, 2);
    ticks(world, 1000, 1000 + VOTERS_GRACE_MS);
    assert_int_equal(world->removed, 0); /* it may be about to get it */
    ticks(world, 1000 + VOTERS_GRACE_MS, 2000 + VOTERS_GRACE_MS);
    assert_int_equal(world->removed, join_raft_id(ids[2]));
    destroy(world);
}

static void test_name_without_a_voter(void **state)
{
    (void)state;
    struct world *world = create(1, 2);
    struct err err = {0};
    ticks(world, 1000, 1000 + VOTERS_GRACE_MS);
    assert_null(world->proposal);
    ticks(world, 1000 + VOTERS_GRACE_MS, 2000 + VOTERS_GRACE_MS);
    assert_string_equal(world->dropped, ids[1]);
    struct consensus_proposal *first = world->proposal;
    world->proposal = NULL;
    ticks(world, 2000 + VOTERS_GRACE_MS, 5 * VOTERS_GRACE_MS);
    assert_null(world->proposal); /* the first is not through yet */
    first->done(first, ERR_UNAVAILABLE, &err);
    ticks(world, 5 * VOTERS_GRACE_MS, 7 * VOTERS_GRACE_MS);
    assert_non_null(world->proposal); /* again */
    destroy(world);
}

/* One that has just begun to lead waits as long as any other. */
static void test_forgets(void **state)
{
    (void)state;
    struct world *world = create(3, 2);
    ticks(world, 1000, 1000 + VOTERS_GRACE_MS - 100);
    voters_forget(&world->coordinator);
    ticks(world, 1000 + VOTERS_GRACE_MS, 2 * VOTERS_GRACE_MS);
    assert_int_equal(world->removed, 0);
    ticks(world, 2 * VOTERS_GRACE_MS, 3 * VOTERS_GRACE_MS);
    assert_int_equal(world->removed, join_raft_id(ids[2]));
    destroy(world);
}

/* It puts itself into the map; it does not put itself out. */
static void test_never_itself(void **state)
{
    (void)state;
    struct world *world = create(1, 0);
    ticks(world, 1000, 5 * VOTERS_GRACE_MS);
    assert_int_equal(world->removed, 0);
    destroy(world);
}

int main(void)
{
    log_configure(LOG_ERROR, false, "test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_well),          cmocka_unit_test(test_voter_without_a_name),
        cmocka_unit_test(test_name_without_a_voter), cmocka_unit_test(test_forgets),
        cmocka_unit_test(test_never_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
