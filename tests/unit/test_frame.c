/* The frame codec and the table of ids: round trips, every truncation, every flipped bit. */
#include "proto/rpc/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct frame sample = {
    .kind = 38, .flags = FRAME_REPLY, .deadline_ms = 1500, .id = 0x1122334455667788, .trace = 99};

static void encode(struct buf *out, const char *payload)
{
    struct frame frame = sample;
    frame.payload = bytes_str(payload);
    frame_append(out, &frame);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct buf buf = {0};
    encode(&buf, "hello");
    encode(&buf, "");
    struct bytes in = buf_bytes(&buf);
    struct frame frame;
    size_t size;
    struct err err = {0};
    assert_int_equal(frame_decode(in, 5, &frame, &size, &err), FRAME_COMPLETE);
    assert_int_equal(size, FRAME_HEADER + 5);
    assert_int_equal(frame.kind, sample.kind);
    assert_int_equal(frame.flags, sample.flags);
    assert_int_equal(frame.deadline_ms, sample.deadline_ms);
    assert_true(frame.id == sample.id && frame.trace == sample.trace);
    assert_true(bytes_equal(frame.payload, bytes_str("hello")));
    struct frame again;
    assert_int_equal(frame_read(in.data, &again), size);
    assert_true(again.id == sample.id && bytes_equal(again.payload, bytes_str("hello")));
    in = bytes_of(in.data + size, in.size - size);
    assert_int_equal(frame_decode(in, 5, &frame, &size, &err), FRAME_COMPLETE);
    assert_int_equal(frame.payload.size, 0);
    assert_int_equal(size, in.size);
    buf_deinit(&buf);
}

/* The layout is a contract between versions: these bytes may not change without a new magic. */
static void test_layout(void **state)
{
    (void)state;
    struct buf buf = {0};
    encode(&buf, "x");
    assert_int_equal(buf.size, 41);
    assert_memory_equal(buf.data, "QRP1", 4);
    assert_memory_equal(buf.data + 8, "\x01\0\0\0\x26\0\x01\0\x88\x77\x66\x55\x44\x33\x22\x11", 16);
    assert_memory_equal(buf.data + 24, "\x63\0\0\0\0\0\0\0\xdc\x05\0\0\0\0\0\0x", 17);
    buf_deinit(&buf);
}

static void test_truncations(void **state)
{
    (void)state;
    struct buf buf = {0};
    encode(&buf, "some payload");
    for (size_t n = 0; n < buf.size; n++) {
        uint8_t *copy = malloc(n ? n : 1); /* exactly as large, for the address sanitizer */
        assert_non_null(copy);
        memcpy(copy, buf.data, n);
        struct frame frame;
        size_t size;
        struct err err;
        assert_int_equal(frame_decode(bytes_of(copy, n), 100, &frame, &size, &err), FRAME_PARTIAL);
        assert_int_equal(size, n < FRAME_HEADER ? 0 : buf.size);
        free(copy);
    }
    buf_deinit(&buf);
}

static void test_flipped_bits(void **state)
{
    (void)state;
    struct buf buf = {0};
    encode(&buf, "some payload");
    for (size_t bit = 0; bit < buf.size * 8; bit++) {
        buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct frame frame;
        size_t size;
        struct err err = {0};
        enum frame_status status = frame_decode(buf_bytes(&buf), 1u << 20, &frame, &size, &err);
        assert_int_not_equal(status, FRAME_COMPLETE);
        if (status == FRAME_BAD)
            assert_true(err.code && err.text[0]);
        else /* a length that grew: the rest has yet to come */
            assert_true(bit / 8 >= 8 && bit / 8 < 12);
        buf.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buf_deinit(&buf);
}

static void test_bad(void **state)
{
    (void)state;
    struct frame frame;
    size_t size;
    struct err err = {0};
    /* The first wrong byte is enough. */
    assert_int_equal(frame_decode(bytes_str("G"), 100, &frame, &size, &err), FRAME_BAD);
    assert_int_equal(err.code, ERR_PROTOCOL);
    assert_int_equal(frame_decode(bytes_str("QRP2"), 100, &frame, &size, &err), FRAME_BAD);
    assert_int_equal(err.code, ERR_PROTOCOL);
    struct buf buf = {0};
    encode(&buf, "0123456789");
    assert_int_equal(frame_decode(buf_bytes(&buf), 9, &frame, &size, &err), FRAME_BAD);
    assert_int_equal(err.code, ERR_TOO_LARGE);
    /* Oversize is told by the header alone. */
    assert_int_equal(frame_decode(bytes_of(buf.data, FRAME_HEADER), 9, &frame, &size, &err),
                     FRAME_BAD);
    assert_int_equal(err.code, ERR_TOO_LARGE);
    buf.data[FRAME_HEADER] ^= 1;
    assert_int_equal(frame_decode(buf_bytes(&buf), 100, &frame, &size, &err), FRAME_BAD);
    assert_int_equal(err.code, ERR_CORRUPT);
    buf_deinit(&buf);
}

/* Against an array: ids far apart, in runs, and with holes that removal has to close. */
static void test_idmap(void **state)
{
    (void)state;
    enum { IDS = 512 };
    static void *oracle[IDS];
    memset(oracle, 0, sizeof oracle);
    struct idmap map;
    idmap_init(&map);
    assert_null(idmap_get(&map, 1));
    assert_null(idmap_take(&map, 1));
    uint32_t random = 12345;
    size_t count = 0;
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525 + 1013904223;
        size_t i = (random >> 16) % IDS;
        uint64_t id = i < IDS / 2 ? i : (uint64_t)i << 44;
        void *value = &oracle[(random >> 8) % IDS];
        if (random >> 31) {
            assert_int_equal(idmap_put(&map, id, value), oracle[i] ? ERR_EXISTS : 0);
            count += !oracle[i];
            oracle[i] = oracle[i] ? oracle[i] : value;
        } else {
            assert_ptr_equal(idmap_take(&map, id), oracle[i]);
            count -= oracle[i] != NULL;
            oracle[i] = NULL;
        }
        assert_int_equal(map.count, count);
        if (step % 97 == 0)
            for (size_t j = 0; j < IDS; j++)
                assert_ptr_equal(idmap_get(&map, j < IDS / 2 ? j : (uint64_t)j << 44), oracle[j]);
    }
    idmap_deinit(&map);
}

/* Always the earliest on top, whatever comes and goes. */
static void test_heap(void **state)
{
    (void)state;
    enum { CALLS = 300 };
    static struct rpc_call calls[CALLS];
    struct heap heap = {0};
    uint32_t random = 4711;
    assert_null(heap_first(&heap));
    for (int i = 0; i < CALLS; i++)
        calls[i].heap_index = HEAP_NONE;
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525 + 1013904223;
        struct rpc_call *call = &calls[(random >> 16) % CALLS];
        if (call->heap_index != HEAP_NONE) {
            heap_remove(&heap, call);
            heap_remove(&heap, call); /* nothing the second time */
        } else {
            call->deadline_ms = (random >> 4) % 1000;
            assert_int_equal(heap_push(&heap, call), 0);
        }
        uint64_t least = UINT64_MAX;
        size_t count = 0;
        for (int i = 0; i < CALLS; i++) {
            if (calls[i].heap_index == HEAP_NONE)
                continue;
            count++;
            assert_ptr_equal(heap.items[calls[i].heap_index], &calls[i]);
            least = calls[i].deadline_ms < least ? calls[i].deadline_ms : least;
        }
        assert_int_equal(heap.count, count);
        if (count)
            assert_true(heap_first(&heap)->deadline_ms == least);
    }
    heap_deinit(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_layout),
        cmocka_unit_test(test_truncations), cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_bad),         cmocka_unit_test(test_idmap),
        cmocka_unit_test(test_heap),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
