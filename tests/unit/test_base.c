/* The domain-free primitives of proto/base. */
#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/base/err.h"
#include "proto/base/list.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/pool.h"
#include "proto/base/siphash.h"
#include "proto/base/sm.h"
#include "proto/base/uuid.h"
#include "proto/quire.pb-c.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- arena ---- */

static void test_arena(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 0);
    arena_deinit(&arena); /* nothing was allocated */
    uint8_t *pieces[500];
    for (size_t i = 0; i < 500; i++) {
        size_t size = i * i % 9000;
        pieces[i] = arena_alloc(&arena, size);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t j = 0; j < i * i % 9000; j++)
            assert_int_equal(pieces[i][j], i & 0xff);
    uint8_t *large = arena_alloc(&arena, 3u << 20); /* above the largest block */
    assert_non_null(large);
    memset(large, 1, 3u << 20);
    assert_string_equal(arena_strdup(&arena, "text"), "text");
    assert_string_equal(arena_printf(&arena, "%d-%s", 7, "x"), "7-x");
    assert_memory_equal(arena_copy(&arena, "a\0b", 3), "a\0b", 4);
    assert_non_null(arena_copy(&arena, NULL, 0));
    uint64_t *zeros = arena_calloc(&arena, 100, sizeof *zeros);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeros[i], 0);
    assert_null(arena_calloc(&arena, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 64));
    assert_null(arena_copy(&arena, "", SIZE_MAX));
    assert_true(arena.used > (3u << 20));
    arena_deinit(&arena);
    assert_int_equal(arena.used, 0);
}

static void test_arena_limit(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1024);
    assert_null(arena_alloc(&arena, 1025));
    size_t count = 0;
    while (arena_alloc(&arena, 100))
        count++;
    assert_int_equal(count, 1024 / 112);
    assert_non_null(arena_alloc(&arena, 16));
    assert_null(
        arena_strdup(&arena, "a text that is longer than what is left of the arena's 1024"));
    assert_null(arena_printf(&arena, "%100d", 1));
    arena_deinit(&arena);
    assert_non_null(arena_alloc(&arena, 1024)); /* usable again */
    arena_deinit(&arena);
}

static void test_arena_protobuf(void **state)
{
    (void)state;
    Quire__Error error = QUIRE__ERROR__INIT;
    error.code = 5;
    error.text = (char *)"why";
    uint8_t bytes[64];
    size_t size = quire__error__pack(&error, bytes);
    struct arena arena;
    arena_init(&arena, 0);
    Quire__Error *copy = quire__error__unpack(arena_protobuf(&arena), size, bytes);
    assert_non_null(copy);
    assert_string_equal(copy->text, "why");
    assert_null(quire__error__unpack(arena_protobuf(&arena), size - 1, bytes));
    arena_deinit(&arena);
    arena_init(&arena, 32); /* beyond the limit unpacking fails cleanly */
    assert_null(quire__error__unpack(arena_protobuf(&arena), size, bytes));
    arena_deinit(&arena);
}

/* ---- bytes ---- */

static void test_slices(void **state)
{
    (void)state;
    struct bytes a = bytes_str("abc"), empty = bytes_of(NULL, 0);
    assert_true(bytes_equal(a, bytes_of("abcd", 3)));
    assert_false(bytes_equal(a, bytes_str("abd")));
    assert_true(bytes_equal(empty, bytes_str("")));
    assert_true(bytes_compare(a, bytes_str("abd")) < 0);
    assert_true(bytes_compare(a, bytes_str("ab")) > 0);
    assert_true(bytes_compare(empty, a) < 0);
    assert_int_equal(bytes_compare(empty, bytes_str("")), 0);
    assert_true(bytes_compare(bytes_str("\xff"), bytes_str("\x01")) > 0); /* unsigned */
    assert_true(bytes_has_prefix(a, bytes_str("ab")));
    assert_true(bytes_has_prefix(a, empty));
    assert_false(bytes_has_prefix(bytes_str("ab"), a));
}

static void test_encodings(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0,        1,          127,        128,       16383,
                                       1u << 14, UINT32_MAX, 1ull << 63, UINT64_MAX};
    struct buf buf;
    buf_init(&buf);
    buf_append_u8(&buf, 0xfe);
    buf_append_be16(&buf, 0x0102);
    buf_append_be32(&buf, 0x01020304);
    buf_append_be64(&buf, 0x0102030405060708);
    buf_append_le32(&buf, 0x01020304);
    buf_append_le64(&buf, 0x0102030405060708);
    assert_memory_equal(buf.data, "\xfe\1\2\1\2\3\4\1\2\3\4\5\6\7\x08\4\3\2\1\x08\7\6\5\4\3\2\1",
                        27);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        buf_append_varint(&buf, numbers[i]);
    buf_append_str(&buf, "tail");
    struct reader r;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    struct bytes tail;
    reader_init(&r, buf_bytes(&buf));
    assert_true(reader_u8(&r, &u8) && u8 == 0xfe);
    assert_true(reader_be16(&r, &u16) && u16 == 0x0102);
    assert_true(reader_be32(&r, &u32) && u32 == 0x01020304);
    assert_true(reader_be64(&r, &u64) && u64 == 0x0102030405060708);
    assert_true(reader_le32(&r, &u32) && u32 == 0x01020304);
    assert_true(reader_le64(&r, &u64) && u64 == 0x0102030405060708);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_true(reader_varint(&r, &u64) && u64 == numbers[i]);
    assert_int_equal(reader_left(&r), 4);
    assert_false(reader_bytes(&r, 5, &tail));
    assert_true(r.bad);
    assert_false(reader_u8(&r, &u8)); /* bad stays bad */
    buf_deinit(&buf);
}

static void test_reader_bounds(void **state)
{
    (void)state;
    /* Every truncation of every number fails, and reads nothing beyond the end (ASan watches). */
    for (size_t size = 0; size < 8; size++) {
        uint8_t *copy = malloc(size ? size : 1);
        assert_non_null(copy);
        memset(copy, 0xff, size);
        struct reader r;
        uint64_t u64 = 1;
        reader_init(&r, bytes_of(copy, size));
        assert_false(reader_be64(&r, &u64));
        assert_int_equal(u64, 0);
        reader_init(&r, bytes_of(copy, size));
        assert_false(reader_varint(&r, &u64));
        free(copy);
    }
    struct reader r;
    uint64_t u64;
    reader_init(&r, bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10));
    assert_true(reader_varint(&r, &u64) && u64 == UINT64_MAX);
    reader_init(&r, bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10)); /* 65 bits */
    assert_false(reader_varint(&r, &u64));
    reader_init(&r, bytes_of("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11));
    assert_false(reader_varint(&r, &u64));
    reader_init(&r, bytes_of(NULL, 0));
    struct bytes none;
    assert_true(reader_bytes(&r, 0, &none));
    assert_false(reader_varint(&r, &u64));
}

static void test_buf(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_append(&buf, NULL, 0);
    assert_string_equal(buf_text(&buf), "");
    for (int i = 0; i < 1000; i++)
        buf_printf(&buf, "%d,", i);
    assert_int_equal(buf.size, 10 * 2 + 90 * 3 + 900 * 4);
    assert_true(strncmp(buf_text(&buf), "0,1,2,", 6) == 0);
    size_t size;
    uint8_t *stolen = buf_steal(&buf, &size);
    assert_int_equal(size, 3890);
    assert_null(buf.data);
    free(stolen);
    assert_non_null(buf_extend(&buf, 0));
    buf_clear(&buf);
    buf_append_bytes(&buf, bytes_str("x"));
    assert_int_equal(buf.size, 1);
    buf_deinit(&buf);
    buf_deinit(&buf);
}

/* Every burst of up to 16 bits, anywhere in a row and the checksum behind it. */
static void test_checksum16_bursts(void **state)
{
    uint8_t row[12] = "tokens 37";
    const size_t size = sizeof(row) - 2;
    uint16_t crc = checksum16(row, size);

    (void)state;
    row[size] = (uint8_t)(crc >> 8);
    row[size + 1] = (uint8_t)crc;
    for (size_t at = 0; at + 16 <= 8 * sizeof(row); at++)
        for (uint32_t burst = 1; burst <= 0xffff; burst++) {
            uint32_t bits = burst << (8 - at % 8);
            uint8_t damaged[sizeof(row) + 1] = {0};

            memcpy(damaged, row, sizeof(row));
            damaged[at / 8] ^= (uint8_t)(bits >> 16);
            damaged[at / 8 + 1] ^= (uint8_t)(bits >> 8);
            damaged[at / 8 + 2] ^= (uint8_t)bits;
            crc = checksum16(damaged, size);
            assert_false(damaged[size] == crc >> 8 && damaged[size + 1] == (uint8_t)crc);
        }
}

static void test_hashes(void **state)
{
    uint8_t row[300] = "quire";

    (void)state;
    /* Files and frames depend on these: known values of XXH3-64. */
    assert_true(hash64("", 0) == 0x2d06800538d394c2);
    assert_true(hash64(NULL, 0) == 0x2d06800538d394c2);
    assert_int_equal(checksum32("", 0), 0x38d394c2);
    assert_int_equal(checksum16("123456789", 9), 0x29b1); /* the check value of its catalogue */
    for (size_t bit = 0; bit < 8 * sizeof(row); bit++) {
        uint16_t before = checksum16(row, sizeof(row));

        row[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(checksum16(row, sizeof(row)), before);
        row[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* The vectors of the SipHash paper: key 00..0f, messages of 0 and 15 bytes. */
    uint8_t key[16], message[15];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    memcpy(message, key, 15);
    assert_true(siphash24(key, message, 15) == 0xa129ca6149be45e5);
    assert_true(siphash24(key, message, 0) == 0x726fdb47dd0e0e31);
    assert_true(siphash24(key, message, 8) == 0x93f5f5799a932462);
}

/* ---- errors ---- */

static void test_err(void **state)
{
    (void)state;
    struct err err;
    assert_string_equal(err_name(ERR_STALE), "stale epoch");
    assert_string_equal(err_name(0), "ok");
    assert_string_equal(err_name(4711), "unknown error");
    assert_string_equal(err_name(-1), "unknown error");
    assert_int_equal(err_set(&err, ERR_IO, "read %s", "manifest"), ERR_IO);
    assert_int_equal(err_prefix(&err, "open range %d", 7), ERR_IO);
    assert_string_equal(err.text, "open range 7: read manifest");
    assert_int_equal(err_set(NULL, ERR_FULL, "x"), ERR_FULL);
    assert_int_equal(err_prefix(NULL, "x"), ERR_INTERNAL);
    char text[2 * ERR_TEXT_MAX];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    err_set(&err, ERR_IO, "%s", text); /* cut, not overrun */
    assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
    for (size_t room = 0; room < 4; room++) { /* the separator itself is cut */
        err_set(&err, ERR_IO, "end");
        err_prefix(&err, "%.*s", (int)(ERR_TEXT_MAX - 1 - room), text);
        assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
        assert_string_equal(err.text + ERR_TEXT_MAX - 1 - room, room == 0   ? ""
                                                                : room == 1 ? ":"
                                                                : room == 2 ? ": "
                                                                            : ": e");
    }
}

/* ---- list ---- */

struct item {
    struct list link;
    int n;
};

static void test_list(void **state)
{
    (void)state;
    struct list a, b;
    struct item items[4];
    list_init(&a);
    list_init(&b);
    assert_null(list_shift(&a));
    list_splice(&a, &b);
    assert_true(list_empty(&a));
    for (int i = 0; i < 4; i++) {
        items[i].n = i;
        list_push(i < 2 ? &a : &b, &items[i].link);
    }
    list_splice(&a, &b);
    assert_true(list_empty(&b));
    list_remove(&items[1].link);
    list_remove(&items[1].link); /* an initialised link may be removed again */
    int expected[] = {0, 2, 3};
    for (int i = 0; i < 3; i++)
        assert_int_equal(list_entry(list_shift(&a), struct item, link)->n, expected[i]);
    assert_true(list_empty(&a));
}

/* ---- log ---- */

/* Runs the lines of `write_lines` with standard error going into `out`. */
static void capture(void (*write_lines)(void), char *out, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    int saved = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    write_lines();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    size_t at = 0;
    for (ssize_t n; at < size - 1 && (n = read(fds[0], out + at, size - 1 - at)) > 0;)
        at += (size_t)n;
    out[at] = 0;
    close(fds[0]);
}

static void lines_plain(void)
{
    log_configure(LOG_INFO, false, "shard-1");
    log_event(LOG_DEBUG, "not shown");
    log_event(LOG_INFO, "range opened", LOG_U64("range", 7), LOG_I64("delta", -3),
              LOG_F64("ratio", 0.5), LOG_STR("path", "/a b\n\"c\""), LOG_STR("plain", "x"),
              LOG_STR("nothing", NULL));
}

static void lines_json(void)
{
    log_configure(LOG_INFO, true, "n");
    log_event(LOG_WARN, "a \"b\"", LOG_STR("k", "line\nbreak\x01"), LOG_F64("nan", 0.0 / 0.0));
}

static char long_text[10000];

static void lines_long(void)
{
    log_configure(LOG_INFO, false, "");
    memset(long_text, 'x', sizeof long_text - 1);
    log_event(LOG_ERROR, "long", LOG_U64("before", 1), LOG_STR("huge", long_text));
    log_configure(LOG_ERROR, false, "");
}

static void test_log(void **state)
{
    (void)state;
    char text[8192];
    capture(lines_plain, text, sizeof text);
    assert_true(strncmp(text, "time=20", 7) == 0);
    assert_non_null(strstr(text,
                           "Z level=info node=shard-1 event=\"range opened\" range=7 delta=-3 "
                           "ratio=0.5 path=\"/a b\\n\\\"c\\\"\" plain=x nothing=\"\"\n"));
    assert_null(strstr(text, "not shown"));
    capture(lines_json, text, sizeof text);
    assert_true(strncmp(text, "{\"time\":\"20", 11) == 0);
    assert_non_null(strstr(text, "\"level\":\"warn\",\"node\":\"n\",\"event\":\"a \\\"b\\\"\","
                                 "\"k\":\"line\\nbreak\\u0001\",\"nan\":null}\n"));
    capture(lines_long, text, sizeof text);
    assert_non_null(strstr(text, "before=1 cut=true\n"));
    enum log_level level;
    assert_true(log_level_parse("warn", &level) && level == LOG_WARN);
    assert_false(log_level_parse("loud", &level));
}

/* ---- metrics ---- */

static void test_metrics(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_create();
    assert_non_null(metrics);
    struct metric *counter = metrics_counter(metrics, "quire_requests_total", "Requests.");
    struct metric *gauge = metrics_gauge(metrics, "quire_depth", "Depth.");
    struct histogram *times = metrics_histogram(metrics, "quire_time_seconds", "Time.");
    metric_add(counter, 3);
    metric_set(gauge, -4);
    assert_int_equal(metric_get(counter), 3);
    assert_int_equal(histogram_quantile(times, 0.5), 0);
    for (int i = 0; i < 90; i++)
        histogram_observe(times, 100); /* below 128 */
    for (int i = 0; i < 10; i++)
        histogram_observe(times, 5000); /* below 8192 */
    assert_int_equal(histogram_quantile(times, 0.5), 128);
    assert_int_equal(histogram_quantile(times, 0.9), 128);
    assert_int_equal(histogram_quantile(times, 0.95), 8192);
    assert_int_equal(histogram_quantile(times, 0), 128);
    assert_int_equal(histogram_quantile(times, 1), 8192);
    histogram_observe(times, 0);
    histogram_observe(times, UINT64_MAX / 2);
    struct buf buf = {0};
    metrics_render(metrics, &buf);
    const char *text = buf_text(&buf);
    assert_non_null(strstr(text, "# HELP quire_requests_total Requests.\n"
                                 "# TYPE quire_requests_total counter\nquire_requests_total 3\n"));
    assert_non_null(strstr(text, "# TYPE quire_depth gauge\nquire_depth -4\n"));
    assert_non_null(strstr(text, "# TYPE quire_time_seconds histogram\n"));
    assert_non_null(strstr(text, "quire_time_seconds_bucket{le=\"1e-06\"} 1\n"));
    assert_non_null(strstr(text, "quire_time_seconds_bucket{le=\"0.000128\"} 91\n"));
    assert_non_null(strstr(text, "quire_time_seconds_bucket{le=\"0.008192\"} 101\n"));
    assert_non_null(strstr(text, "quire_time_seconds_bucket{le=\"+Inf\"} 102\n"));
    assert_non_null(strstr(text, "quire_time_seconds_count 102\n"));
    buf_deinit(&buf);
    metrics_destroy(metrics);
    metrics_destroy(NULL);
}

static void count_rendering(void *data)
{
    metric_add(data, 1);
}

static void test_metric_families(void **state)
{
    (void)state;
    struct metrics *metrics = metrics_create();
    struct metric *a = metrics_counter_of(metrics, "quire_a_total", "A.", "of=\"x\"");
    struct histogram *times = metrics_histogram_of(metrics, "quire_b_seconds", "B.", "of=\"x\"");
    struct metric *late = metrics_counter_of(metrics, "quire_a_total", "A.", "of=\"y\"");
    struct metric *us = metrics_counter_us(metrics, "quire_c_seconds_total", "C.");
    struct metric *renderings = metrics_gauge(metrics, "quire_d", "D.");
    metrics_on_render(metrics, count_rendering, renderings);
    metric_add(a, 1);
    metric_add(late, 2);
    metric_set(us, 12000345);
    histogram_observe(times, 128); /* at most 128 us, so in that bucket */
    histogram_observe(times, 129);
    assert_int_equal(histogram_count(times), 2);
    struct buf buf = {0};
    metrics_render(metrics, &buf);
    const char *text = buf_text(&buf);
    assert_non_null(strstr(text, "# HELP quire_a_total A.\n# TYPE quire_a_total counter\n"
                                 "quire_a_total{of=\"x\"} 1\nquire_a_total{of=\"y\"} 2\n"
                                 "# HELP quire_b_seconds B.\n"));
    assert_non_null(strstr(text, "quire_b_seconds_bucket{of=\"x\",le=\"6.4e-05\"} 0\n"
                                 "quire_b_seconds_bucket{of=\"x\",le=\"0.000128\"} 1\n"
                                 "quire_b_seconds_bucket{of=\"x\",le=\"0.000256\"} 2\n"));
    assert_non_null(strstr(text, "quire_b_seconds_bucket{of=\"x\",le=\"+Inf\"} 2\n"
                                 "quire_b_seconds_sum{of=\"x\"} 0.000257\n"
                                 "quire_b_seconds_count{of=\"x\"} 2\n"));
    assert_non_null(strstr(text, "\nquire_c_seconds_total 12.000345\n"));
    assert_non_null(strstr(text, "\nquire_d 1\n"));
    buf_deinit(&buf);
    metrics_destroy(metrics);
}

/* ---- pool ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static _Atomic int ran;

static void run_count(struct pool_job *job)
{
    (void)job;
    ran++;
}

static void run_blocked(struct pool_job *job)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    run_count(job);
}

static void test_pool(void **state)
{
    (void)state;
    static struct pool_job jobs[100], blocked[2];
    struct pool *pool = pool_create("a-name-that-is-too-long", 2, 10);
    assert_non_null(pool);
    ran = 0;
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 2; i++) {
        blocked[i].run = run_blocked;
        assert_int_equal(pool_submit(pool, &blocked[i]), 0);
    }
    while (pool_depth(pool)) /* both threads have taken one */
        usleep(1000);
    for (int i = 0; i < 100; i++)
        jobs[i].run = run_count;
    for (int i = 0; i < 10; i++)
        assert_int_equal(pool_submit(pool, &jobs[i]), 0);
    assert_int_equal(pool_submit(pool, &jobs[10]), ERR_FULL);
    assert_int_equal(pool_depth(pool), 10);
    pthread_mutex_unlock(&gate);
    int submitted = 12;
    for (int i = 10; i < 100; i++) {
        while (pool_submit(pool, &jobs[i]) == ERR_FULL)
            usleep(100);
        submitted++;
    }
    pool_destroy(pool); /* what is queued still runs */
    assert_int_equal(ran, submitted);
    pool_destroy(NULL);
}

/* ---- state machine ---- */

enum { IDLE, BUSY, OVER };
static const struct sm_state table[] = {
    [IDLE] = {.name = "idle", .allowed = SM_TO(BUSY) | SM_TO(OVER)},
    [BUSY] = {.name = "busy", .allowed = SM_TO(IDLE)},
    [OVER] = {.name = "over", .final = true},
};

static bool few_moves(const struct sm *sm)
{
    return sm->moves < 50;
}

static void illegal_move(void)
{
    struct sm sm;
    sm_init(&sm, "test", table, 3, IDLE, NULL);
    sm_move(&sm, BUSY);
    sm_move(&sm, OVER);
}

static void broken_invariant(void)
{
    struct sm sm;
    sm_init(&sm, "test", table, 3, IDLE, few_moves);
    for (int i = 0; i < 100; i++)
        sm_move(&sm, i % 2 ? IDLE : BUSY);
}

static void not_final(void)
{
    struct sm sm;
    sm_init(&sm, "test", table, 3, IDLE, NULL);
    sm_deinit(&sm);
}

/* Runs it in a child, which must abort; its log line goes into `out`. */
static void (*dying)(void);
static int death;

static void die_in_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        dying();
        _exit(0);
    }
    waitpid(pid, &death, 0);
}

static void test_sm(void **state)
{
    (void)state;
    struct sm sm;
    sm_init(&sm, "test", table, 3, IDLE, few_moves);
    for (int i = 0; i < 20; i++)
        sm_move(&sm, i % 2 ? IDLE : BUSY);
    assert_int_equal(sm_state(&sm), IDLE);
    assert_string_equal(sm_state_name(&sm), "idle");
    sm_move(&sm, OVER);
    sm_deinit(&sm);
    char text[4096];
    log_configure(LOG_ERROR, false, "");
    dying = illegal_move;
    capture(die_in_child, text, sizeof text);
    assert_true(WIFSIGNALED(death));
    assert_non_null(strstr(text, "machine=test trace=\"idle > busy\" to=over"));
    dying = broken_invariant;
    capture(die_in_child, text, sizeof text);
    assert_true(WIFSIGNALED(death));
    assert_non_null(strstr(text, "busy > idle > busy"));
    dying = not_final;
    capture(die_in_child, text, sizeof text);
    assert_true(WIFSIGNALED(death));
}

/* ---- clock, uuid ---- */

static void test_clock_and_uuid(void **state)
{
    (void)state;
    uint64_t ns = clock_ns(), us = clock_us(), ms = clock_ms();
    assert_true(us >= ns / 1000 && ms >= us / 1000);
    assert_true(clock_wall_ms() > UINT64_C(1600000000000));
    char a[UUID_TEXT_SIZE], b[UUID_TEXT_SIZE];
    uuid_generate_text(a);
    uuid_generate_text(b);
    assert_string_not_equal(a, b);
    assert_true(uuid_valid(a) && uuid_valid(b));
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
    assert_false(uuid_valid(""));
    assert_false(uuid_valid("00000000-0000-4000-8000-00000000000"));
    assert_false(uuid_valid("00000000-0000-4000-8000-0000000000000"));
    assert_false(uuid_valid("00000000-0000-4000-8000-00000000000G"));
    assert_false(uuid_valid("00000000x0000-4000-8000-000000000000"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arena_limit),
        cmocka_unit_test(test_arena_protobuf),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_reader_bounds),
        cmocka_unit_test(test_buf),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_checksum16_bursts),
        cmocka_unit_test(test_err),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_metric_families),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_sm),
        cmocka_unit_test(test_clock_and_uuid),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
