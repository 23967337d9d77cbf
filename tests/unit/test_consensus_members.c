/* Consensus among several coordinators, in one process and on one loop: who leads, who takes part,
 * and that all apply the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/consensus_raft.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMBERS 5

struct member { /* remembers the numbers that it was told to apply */
    struct world *world;
    struct consensus *consensus;
    char dir[64], address[32];
    uint64_t id;
    uint64_t *number;
    size_t count, room;
    size_t restored;
    bool ready, leads, closed;
};

struct world {
    uv_loop_t loop;
    uv_timer_t timer;
    char dir[48];
    struct member member[MEMBERS];
};

static int member_apply(void *data, struct bytes change, struct err *err)
{
    struct member *member = data;
    (void)err;
    assert_int_equal(change.size, 8);
    if (member->count == member->room) {
        member->room = 2 * member->room + 1024;
        member->number = realloc(member->number, member->room * sizeof member->number[0]);
    }
    memcpy(&member->number[member->count++], change.data, 8);
    return 0;
}

static void member_snapshot(void *data, struct buf *out)
{
    struct member *member = data;
    buf_append_bytes(out, bytes_of(member->number, member->count * sizeof member->number[0]));
}

static int member_restore(void *data, struct bytes snapshot, struct err *err)
{
    struct member *member = data;
    (void)err;
    member->count = snapshot.size / 8;
    member->room = member->count + 1024;
    member->restored = member->count;
    member->number = realloc(member->number, member->room * sizeof member->number[0]);
    if (snapshot.size > 0)
        memcpy(member->number, snapshot.data, snapshot.size);
    return 0;
}

static void on_ready(void *data, int status, const struct err *err)
{
    struct member *member = data;
    assert_int_equal(status, 0);
    (void)err;
    member->ready = true;
}

static void on_leads(void *data, bool leads)
{
    struct member *member = data;
    assert_true(member->leads != leads);
    member->leads = leads;
}

static void on_closed(void *data)
{
    struct member *member = data;
    member->closed = true;
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

/* The bound only ends a test that hangs. */
#define AWAIT(world, expression)                                                                   \
    do {                                                                                           \
        uint64_t until = clock_ms() + 100000;                                                      \
        while (!(expression) && clock_ms() < until)                                                \
            uv_run(&(world)->loop, UV_RUN_ONCE);                                                   \
        assert_true(expression);                                                                   \
    } while (0)

/* A port that was free a moment ago. */
static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void open_member(struct member *member, bool join)
{
    struct world *world = member->world;
    struct consensus_raft_options options = {.dir = member->dir,
                                             .address = member->address,
                                             .id = member->id,
                                             .join = join,
                                             .ready = on_ready,
                                             .leads = on_leads,
                                             .data = member};
    struct consensus_fsm fsm = {member, member_apply, member_snapshot, member_restore};
    struct err err = {0};
    member->count = member->restored = 0;
    member->ready = member->leads = member->closed = false;
    if (consensus_raft_open(&world->loop, &options, &fsm, &member->consensus, &err) != 0)
        fail_msg("%s", err.text);
}

static void close_member(struct member *member)
{
    if (member->consensus == NULL)
        return;
    consensus_close(member->consensus, on_closed, member);
    member->consensus = NULL;
    AWAIT(member->world, member->closed);
}

static struct member *leader(struct world *world)
{
    for (int i = 0; i < MEMBERS; i++)
        if (world->member[i].consensus != NULL && world->member[i].leads &&
            consensus_is_leader(world->member[i].consensus))
            return &world->member[i];
    return NULL;
}

/* ---- proposals ---- */

struct proposal {
    struct consensus_proposal base;
    bool done;
    int status;
};

static void on_done(struct consensus_proposal *base, int status, const struct err *err)
{
    struct proposal *proposal = (struct proposal *)base;
    (void)err;
    proposal->done = true;
    proposal->status = status;
}

static int propose(struct member *member, uint64_t number)
{
    struct proposal proposal = {.base.done = on_done};
    consensus_propose(member->consensus, &proposal.base, bytes_of(&number, 8));
    AWAIT(member->world, proposal.done);
    return proposal.status;
}

/* With whoever leads, until it is agreed on. It may then be there twice: a loss of leadership
 * leaves open whether it happened. */
static void agree(struct world *world, uint64_t number)
{
    int status;
    do {
        AWAIT(world, leader(world) != NULL);
        status = propose(leader(world), number);
        assert_true(status == 0 || status == ERR_UNAVAILABLE);
    } while (status != 0);
}

/* Many at once, with a leader that stays. */
static void agree_on_many(struct world *world, uint64_t first, size_t count)
{
    struct proposal *proposals = calloc(count, sizeof *proposals);
    AWAIT(world, leader(world) != NULL);
    struct member *member = leader(world);
    for (size_t i = 0; i < count; i++) {
        uint64_t number = first + i;
        proposals[i].base.done = on_done;
        consensus_propose(member->consensus, &proposals[i].base, bytes_of(&number, 8));
    }
    for (size_t i = 0; i < count; i++) {
        AWAIT(world, proposals[i].done);
        assert_int_equal(proposals[i].status, 0);
    }
    free(proposals);
}

static bool has(const struct member *member, uint64_t number)
{
    for (size_t i = 0; i < member->count; i++)
        if (member->number[i] == number)
            return true;
    return false;
}

/* Everybody who is there has applied the same, all of it. */
static void check_equal(struct world *world, uint64_t last)
{
    struct member *first = leader(world);
    for (uint64_t number = 1; number <= last; number++)
        assert_true(has(first, number));
    for (int i = 0; i < MEMBERS; i++) {
        struct member *member = &world->member[i];
        if (member->consensus == NULL)
            continue;
        AWAIT(world, member->count == first->count);
        assert_memory_equal(member->number, first->number, first->count * 8);
    }
}

/* ---- membership ---- */

struct change {
    struct consensus_membership base;
    bool done;
    int status;
};

static void on_changed(struct consensus_membership *base, int status, const struct err *err)
{
    struct change *change = (struct change *)base;
    (void)err;
    change->done = true;
    change->status = status;
}

static int change(struct world *world, struct member *by, uint64_t id, const char *address)
{
    struct change change = {.base = {.id = id, .address = address, .done = on_changed}};
    consensus_change(by->consensus, &change.base);
    AWAIT(world, change.done);
    return change.status;
}

static void join(struct member *member)
{
    struct world *world = member->world;
    int status;
    open_member(member, true);
    do {
        AWAIT(world, leader(world) != NULL);
        status = change(world, leader(world), member->id, member->address);
        assert_true(status == 0 || status == ERR_UNAVAILABLE || status == ERR_CONFLICT);
    } while (status != 0);
    AWAIT(world, member->ready);
}

/* ---- the world ---- */

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    snprintf(world->dir, sizeof world->dir, "/tmp/quire-test-members-XXXXXX");
    if (mkdtemp(world->dir) == NULL)
        return -1;
    uv_loop_init(&world->loop);
    uv_timer_init(&world->loop, &world->timer);
    uv_timer_start(&world->timer, nothing, 5, 5);
    for (int i = 0; i < MEMBERS; i++) {
        struct member *member = &world->member[i];
        member->world = world;
        member->id = (uint64_t)i + 1;
        snprintf(member->dir, sizeof member->dir, "%s/%d", world->dir, i);
        snprintf(member->address, sizeof member->address, "127.0.0.1:%d", free_port());
    }
    *state = world;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    struct world *world = *state;
    for (int i = 0; i < MEMBERS; i++) {
        close_member(&world->member[i]);
        free(world->member[i].number);
    }
    uv_close((uv_handle_t *)&world->timer, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    int code = uv_loop_close(&world->loop);
    nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(world);
    return code;
}

static void three(struct world *world)
{
    open_member(&world->member[0], false);
    AWAIT(world, world->member[0].ready);
    join(&world->member[1]);
    join(&world->member[2]);
}

/* ---- tests ---- */

static void test_three(void **state)
{
    struct world *world = *state;
    uint64_t id;
    const char *address;
    open_member(&world->member[0], false);
    AWAIT(world, leader(world) != NULL);
    agree_on_many(world, 1, 40);
    join(&world->member[1]);
    join(&world->member[2]);
    agree_on_many(world, 41, 60);
    check_equal(world, 100);
    consensus_leader(world->member[1].consensus, &id, &address);
    assert_int_equal(id, 1);
    assert_string_equal(address, world->member[0].address);
    assert_int_equal(propose(&world->member[1], 7), ERR_UNAVAILABLE);
    /* It is there already, and may be said again. */
    assert_int_equal(change(world, &world->member[0], 2, world->member[1].address), 0);
}

static void test_leader_leaves_and_returns(void **state)
{
    struct world *world = *state;
    uint64_t number = 0;
    three(world);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 10; i++)
            agree(world, ++number);
        struct member *old = leader(world);
        close_member(old);
        assert_ptr_not_equal(leader(world), old);
        for (int i = 0; i < 10; i++)
            agree(world, ++number);
        open_member(old, false);
        AWAIT(world, old->ready);
        check_equal(world, number);
    }
}

/* One that was away for longer than the log is kept gets a snapshot. */
static void test_snapshot_to_a_follower(void **state)
{
    enum { MANY = 6000 };
    struct world *world = *state;
    three(world);
    agree_on_many(world, 1, 10);
    struct member *away = &world->member[leader(world) == &world->member[2] ? 1 : 2];
    close_member(away);
    agree_on_many(world, 11, MANY - 10);
    open_member(away, false);
    AWAIT(world, away->ready);
    check_equal(world, MANY);
    assert_true(away->restored > 10);
}

static void test_replace(void **state)
{
    struct world *world = *state;
    three(world);
    agree_on_many(world, 1, 20);
    struct member *gone = &world->member[leader(world) == &world->member[2] ? 1 : 2];
    close_member(gone);
    assert_int_equal(change(world, leader(world), gone->id, NULL), 0);
    assert_int_equal(change(world, leader(world), gone->id, NULL), 0); /* gone already */
    join(&world->member[3]);
    join(&world->member[4]);
    agree_on_many(world, 21, 20);
    check_equal(world, 40);
    /* The leader cannot remove itself: it hands over, and the next one removes it. */
    struct member *old = leader(world);
    assert_int_equal(change(world, old, old->id, NULL), ERR_UNAVAILABLE);
    AWAIT(world, leader(world) != NULL && leader(world) != old);
    assert_int_equal(change(world, leader(world), old->id, NULL), 0);
    close_member(old);
    for (uint64_t number = 41; number <= 50; number++)
        agree(world, number);
    check_equal(world, 50);
}

/* Said twice, the second time while the first hand-over is under way. */
static void test_leader_asked_to_leave_twice(void **state)
{
    struct world *world = *state;
    three(world);
    struct member *old = leader(world);
    struct change first = {.base = {.id = old->id, .done = on_changed}};
    struct change second = {.base = {.id = old->id, .done = on_changed}};
    consensus_change(old->consensus, &first.base);
    consensus_change(old->consensus, &second.base);
    assert_true(first.done && second.done);
    assert_int_equal(first.status, ERR_UNAVAILABLE);
    assert_int_equal(second.status, ERR_UNAVAILABLE);
    AWAIT(world, leader(world) != NULL && leader(world) != old);
}

/* The others know a member by the address with which it was added. */
static void test_other_address(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    three(world);
    struct member *member = &world->member[leader(world) == &world->member[1] ? 2 : 1];
    close_member(member);
    struct consensus_raft_options options = {.dir = member->dir,
                                             .address = world->member[4].address,
                                             .id = member->id,
                                             .ready = on_ready,
                                             .data = member};
    struct consensus_fsm fsm = {member, member_apply, member_snapshot, member_restore};
    assert_int_equal(consensus_raft_open(&world->loop, &options, &fsm, &member->consensus, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.text, member->address));
    assert_null(member->consensus);
    open_member(member, false);
    AWAIT(world, member->ready);
    agree(world, 1);
}

/* One of three is made the only one, with another address, and others join it anew. */
static void test_recover_alone(void **state)
{
    struct world *world = *state;
    struct err err = {0};
    uint64_t members[MEMBERS];
    three(world);
    agree_on_many(world, 1, 30);
    struct member *last = &world->member[2];
    AWAIT(world, last->count == 30);
    for (int i = 0; i < 3; i++)
        close_member(&world->member[i]);
    struct consensus_raft_options options = {
        .dir = last->dir, .address = world->member[4].address, .id = last->id};
    if (consensus_raft_recover(&options, &err) != 0)
        fail_msg("%s", err.text);
    memcpy(last->address, world->member[4].address, sizeof last->address);
    open_member(last, false);
    AWAIT(world, leader(world) == last);
    assert_int_equal(consensus_members(last->consensus, members, MEMBERS), 1);
    assert_int_equal(members[0], last->id);
    agree_on_many(world, 31, 10);
    join(&world->member[3]);
    agree_on_many(world, 41, 10);
    check_equal(world, 50);
    close_member(last);
    open_member(last, false); /* what it has written since is there after a restart */
    AWAIT(world, last->ready);
    agree(world, 51);
    check_equal(world, 51);
}

static void test_last_one_stays(void **state)
{
    struct world *world = *state;
    open_member(&world->member[0], false);
    AWAIT(world, leader(world) != NULL);
    assert_int_equal(change(world, &world->member[0], 1, NULL), ERR_CONFLICT);
    assert_int_equal(propose(&world->member[0], 1), 0);
}

static void test_majority_lost(void **state)
{
    struct world *world = *state;
    three(world);
    agree_on_many(world, 1, 10);
    struct member *last = &world->member[0];
    close_member(&world->member[1]);
    close_member(&world->member[2]);
    int status;
    do /* until it has noticed */
        status = propose(last, 11);
    while (status == 0);
    assert_int_equal(status, ERR_UNAVAILABLE);
    AWAIT(world, !last->leads);
    assert_true(last->count >= 10); /* what it knows, it knows */
    open_member(&world->member[1], false);
    AWAIT(world, world->member[1].ready);
    agree(world, 12);
    assert_true(has(leader(world), 12));
}

int main(void)
{
    log_configure(LOG_ERROR, false, "test");
    signal(SIGPIPE, SIG_IGN); /* raft writes to sockets; as quire-coordinator does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_three, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leader_leaves_and_returns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_to_a_follower, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leader_asked_to_leave_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_address, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recover_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_one_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_majority_lost, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
