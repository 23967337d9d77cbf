/* Consensus over libraft: what was acknowledged is there after kill -9, in order, whatever its
 * length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/consensus_raft.h"
#include "proto/base/log.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A state machine that remembers everything: le32 length, bytes, ... A change that begins with '!'
 * is refused. */
struct memory {
    uv_loop_t loop;
    struct consensus *consensus;
    struct buf all;
    uint64_t count;
    uint64_t restored; /* changes that came with a snapshot */
    bool ready;
    bool closed;
    int status;
};

static int memory_apply(void *data, struct bytes change, struct err *err)
{
    struct memory *memory = data;
    if (change.size > 0 && change.data[0] == '!')
        return err_set(err, ERR_INVALID, "no shouting");
    buf_append_le32(&memory->all, (uint32_t)change.size);
    buf_append_bytes(&memory->all, change);
    memory->count++;
    return 0;
}

static void memory_snapshot(void *data, struct buf *out)
{
    struct memory *memory = data;
    buf_append_le64(out, memory->count);
    buf_append_bytes(out, buf_bytes(&memory->all));
}

static int memory_restore(void *data, struct bytes snapshot, struct err *err)
{
    struct memory *memory = data;
    struct reader reader;
    struct bytes all;
    reader_init(&reader, snapshot);
    if (!reader_le64(&reader, &memory->count) || !reader_bytes(&reader, reader_left(&reader), &all))
        return err_set(err, ERR_CORRUPT, "short");
    memory->restored = memory->count;
    buf_clear(&memory->all);
    buf_append_bytes(&memory->all, all);
    return 0;
}

static void on_ready(void *data, int status, const struct err *err)
{
    struct memory *memory = data;
    memory->ready = true;
    memory->status = status;
    if (status != 0)
        print_error("%s\n", err->text);
}

static void on_closed(void *data)
{
    ((struct memory *)data)->closed = true;
}

static int open_memory(struct memory *memory, const char *dir, uint64_t reserve)
{
    *memory = (struct memory){0};
    uv_loop_init(&memory->loop);
    struct consensus_raft_options options = {
        .dir = dir,
        .address = "127.0.0.1:0",
        .id = 7,
        .disk_reserve = reserve,
        .ready = on_ready,
        .data = memory,
    };
    struct consensus_fsm fsm = {memory, memory_apply, memory_snapshot, memory_restore};
    struct err err = {0};
    int rc = consensus_raft_open(&memory->loop, &options, &fsm, &memory->consensus, &err);
    if (rc != 0) {
        uv_run(&memory->loop, UV_RUN_DEFAULT);
        if (uv_loop_close(&memory->loop) != 0)
            return -1;
        return rc;
    }
    while (!memory->ready)
        uv_run(&memory->loop, UV_RUN_ONCE);
    return memory->status;
}

static void close_memory(struct memory *memory)
{
    consensus_close(memory->consensus, on_closed, memory);
    uv_run(&memory->loop, UV_RUN_DEFAULT);
    assert_true(memory->closed);
    assert_int_equal(uv_loop_close(&memory->loop), 0);
    buf_deinit(&memory->all);
}

struct proposal {
    struct consensus_proposal base;
    bool done;
    int status;
    char text[ERR_TEXT_MAX];
};

static void on_done(struct consensus_proposal *base, int status, const struct err *err)
{
    struct proposal *proposal = (struct proposal *)base;
    proposal->done = true;
    proposal->status = status;
    snprintf(proposal->text, sizeof proposal->text, "%s", err->text);
}

static int propose(struct memory *memory, struct proposal *proposal, struct bytes change)
{
    proposal->base.done = on_done;
    proposal->done = false;
    consensus_propose(memory->consensus, &proposal->base, change);
    assert_false(proposal->done); /* never from inside */
    while (!proposal->done)
        uv_run(&memory->loop, UV_RUN_ONCE);
    return proposal->status;
}

/* Change number i: "i:" and i % 23 letters, so that every length modulo 8 comes up. */
static size_t make_change(uint64_t i, char *out)
{
    int size = sprintf(out, "%llu:", (unsigned long long)i);
    for (uint64_t j = 0; j < i % 23; j++)
        out[size++] = (char)('a' + j);
    return (size_t)size;
}

static void check_all(const struct memory *memory)
{
    struct reader reader;
    char expected[64];
    reader_init(&reader, buf_bytes(&memory->all));
    for (uint64_t i = 0; i < memory->count; i++) {
        uint32_t size;
        struct bytes change = {0};
        assert_true(reader_le32(&reader, &size) && reader_bytes(&reader, size, &change));
        assert_true(bytes_equal(change, bytes_of(expected, make_change(i, expected))));
    }
    assert_int_equal(reader_left(&reader), 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int make_dir(void **state)
{
    char *dir = strdup("/tmp/quire-test-consensus-XXXXXX");
    *state = mkdtemp(dir);
    return *state == NULL ? -1 : 0;
}

static int remove_dir(void **state)
{
    nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

static void test_reopen(void **state)
{
    struct memory memory;
    struct proposal proposal;
    char change[64];
    for (int life = 0; life < 4; life++) {
        assert_int_equal(open_memory(&memory, *state, 0), 0);
        assert_true(consensus_is_leader(memory.consensus));
        assert_int_equal(memory.count, life * 25);
        for (uint64_t i = 0; i < 25; i++) {
            size_t size = make_change(memory.count, change);
            assert_int_equal(propose(&memory, &proposal, bytes_of(change, size)), 0);
        }
        assert_int_equal(propose(&memory, &proposal, bytes_str("!")), ERR_INVALID);
        assert_string_equal(proposal.text, "no shouting");
        check_all(&memory);
        close_memory(&memory);
    }
}

/* Proposals that are outstanding when it closes end with an error or were agreed on; none is
 * forgotten. */
static void test_close_with_proposals(void **state)
{
    enum { COUNT = 200 };
    static struct proposal proposals[COUNT];
    struct memory memory;
    char change[64];
    assert_int_equal(open_memory(&memory, *state, 0), 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        proposals[i] = (struct proposal){.base.done = on_done};
        consensus_propose(memory.consensus, &proposals[i].base,
                          bytes_of(change, make_change(i, change)));
    }
    for (int turns = 0; turns < 3; turns++)
        uv_run(&memory.loop, UV_RUN_NOWAIT);
    close_memory(&memory);
    uint64_t agreed = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_true(proposals[i].done);
        assert_true(proposals[i].status == 0 || proposals[i].status == ERR_CANCELED);
        agreed += proposals[i].status == 0;
    }
    assert_int_equal(open_memory(&memory, *state, 0), 0);
    assert_true(memory.count >= agreed);
    check_all(&memory);
    close_memory(&memory);
}

static void test_snapshots(void **state)
{
    struct memory memory;
    struct proposal proposal;
    char change[64];
    uint64_t total = CONSENSUS_SNAPSHOT_THRESHOLD * 2 + 50;
    assert_int_equal(open_memory(&memory, *state, 0), 0);
    while (memory.count < total)
        assert_int_equal(
            propose(&memory, &proposal, bytes_of(change, make_change(memory.count, change))), 0);
    close_memory(&memory);
    assert_int_equal(open_memory(&memory, *state, 0), 0);
    assert_int_equal(memory.count, total);
    assert_true(memory.restored > 0); /* not all of it came from the log */
    check_all(&memory);
    close_memory(&memory);
}

/* The largest change there may be, and one byte more. */
static void test_large_changes(void **state)
{
    struct memory memory;
    struct proposal proposal;
    size_t size = CONSENSUS_CHANGE_MAX + 1;
    uint8_t *large = malloc(size);
    memset(large, 'x', size);
    assert_int_equal(open_memory(&memory, *state, 0), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(propose(&memory, &proposal, bytes_of(large, size - 1)), 0);
    assert_int_equal(propose(&memory, &proposal, bytes_of(large, size)), ERR_TOO_LARGE);
    assert_int_equal(propose(&memory, &proposal, bytes_of("", 0)), 0);
    close_memory(&memory);
    assert_int_equal(open_memory(&memory, *state, 0), 0);
    assert_int_equal(memory.count, 4);
    assert_int_equal(memory.all.size, 3 * (size - 1) + 4 * 4);
    close_memory(&memory);
    free(large);
}

static void test_full_disk(void **state)
{
    struct memory memory;
    assert_int_equal(open_memory(&memory, *state, UINT64_MAX), ERR_FULL);
}

static void test_bad_address(void **state)
{
    static const char *const bad[] = {"", "7400", "localhost:7400", "1.2.3.4:", "1.2.3.4:99999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uv_loop_t loop;
        struct consensus *consensus;
        struct err err = {0};
        struct consensus_fsm fsm = {NULL, memory_apply, memory_snapshot, memory_restore};
        struct consensus_raft_options options = {.dir = *state, .address = bad[i], .id = 1};
        uv_loop_init(&loop);
        assert_int_equal(consensus_raft_open(&loop, &options, &fsm, &consensus, &err), ERR_INVALID);
        assert_int_equal(uv_loop_close(&loop), 0);
    }
}

/* The child proposes without end and writes the number of each acknowledged change to the pipe. */
static void child(const char *dir, int to)
{
    struct memory memory;
    struct proposal proposal;
    char change[64];
    if (open_memory(&memory, dir, 0) != 0)
        _exit(1);
    for (;;) {
        uint64_t number = memory.count;
        size_t size = make_change(number, change);
        if (propose(&memory, &proposal, bytes_of(change, size)) != 0)
            _exit(2);
        number++;
        if (write(to, &number, sizeof number) != sizeof number)
            _exit(3);
    }
}

static void test_kill_and_reopen(void **state)
{
    unsigned seed = 11;
    uint64_t acknowledged = 0;
    for (int life = 0; life < 12; life++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(ends[0]);
            child(*state, ends[1]);
        }
        close(ends[1]);
        /* Some acknowledgements, then the end in the middle of things. */
        uint64_t number;
        int wanted = 1 + rand_r(&seed) % 30;
        for (int i = 0; i < wanted && read(ends[0], &number, sizeof number) == sizeof number; i++)
            acknowledged = number;
        usleep((useconds_t)(rand_r(&seed) % 3000));
        kill(pid, SIGKILL);
        while (read(ends[0], &number, sizeof number) == sizeof number)
            acknowledged = number;
        close(ends[0]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

        struct memory memory;
        assert_int_equal(open_memory(&memory, *state, 0), 0);
        assert_true(memory.count >= acknowledged);
        check_all(&memory);
        acknowledged = memory.count;
        close_memory(&memory);
    }
    assert_true(acknowledged >= 12);
}

int main(void)
{
    log_configure(LOG_ERROR, false, "test");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reopen, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_close_with_proposals, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_snapshots, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_large_changes, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_full_disk, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_bad_address, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_kill_and_reopen, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
