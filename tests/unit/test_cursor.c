/* Cursors: what goes in comes out; nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/cursor.h"

#include <string.h>

static const uint8_t secret[16] = "0123456789abcdef";
static const uint8_t other_secret[16] = "0123456789abcdeF";

static void write_one(struct buf *text)
{
    struct cursor cursor = {
        .fingerprint = 42,
        .statistics = UINT64_MAX,
        .seen = 300,
        .score = UINT64_C(1) << 40,
        .key = bytes_str("model card"),
        .sense = bytes_str("documentation,transparency"),
    };
    buf_init(text);
    cursor_write(&cursor, secret, text);
}

static int read_text(const char *text, const uint8_t *key, uint64_t fingerprint, struct cursor *out,
                     struct buf *memory)
{
    struct err err = {0};
    buf_clear(memory);
    int rc = cursor_read(text, key, fingerprint, memory, out, &err);
    if (rc != 0) {
        assert_int_equal(rc, ERR_INVALID);
        assert_true(strlen(err.text) > 20);
    }
    return rc;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct buf text, memory;
    struct cursor cursor;
    buf_init(&memory);
    write_one(&text);
    assert_int_equal(strspn(buf_text(&text), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                             "0123456789-_"),
                     text.size);
    assert_int_equal(read_text(buf_text(&text), secret, 42, &cursor, &memory), 0);
    assert_true(cursor.statistics == UINT64_MAX);
    assert_int_equal(cursor.seen, 300);
    assert_true(cursor.score == UINT64_C(1) << 40);
    assert_true(bytes_equal(cursor.key, bytes_str("model card")));
    assert_true(bytes_equal(cursor.sense, bytes_str("documentation,transparency")));
    buf_deinit(&text);
    buf_deinit(&memory);
}

static void test_refused(void **state)
{
    (void)state;
    struct buf text, memory;
    struct cursor cursor;
    buf_init(&memory);
    write_one(&text);
    char *good = buf_text(&text);
    assert_int_equal(read_text(good, secret, 43, &cursor, &memory), ERR_INVALID);
    assert_int_equal(read_text(good, other_secret, 42, &cursor, &memory), ERR_INVALID);
    assert_int_equal(read_text("", secret, 42, &cursor, &memory), ERR_INVALID);
    assert_int_equal(read_text("not a cursor!", secret, 42, &cursor, &memory), ERR_INVALID);
    /* Every other character in every place, every truncation, and anything behind it. */
    static const char others[] = "Aa0-_=\x80";
    for (size_t i = 0; i < text.size; i++) {
        for (const char *c = others; *c != '\0'; c++) {
            char kept = good[i];
            if (kept == *c)
                continue;
            good[i] = *c;
            assert_int_equal(read_text(good, secret, 42, &cursor, &memory), ERR_INVALID);
            good[i] = kept;
        }
        char kept = good[i];
        good[i] = '\0';
        assert_int_equal(read_text(good, secret, 42, &cursor, &memory), ERR_INVALID);
        good[i] = kept;
    }
    buf_append_str(&text, "A");
    assert_int_equal(read_text(buf_text(&text), secret, 42, &cursor, &memory), ERR_INVALID);
    while (text.size <= CURSOR_TEXT_MAX)
        buf_append_str(&text, "AAAA");
    assert_int_equal(read_text(buf_text(&text), secret, 42, &cursor, &memory), ERR_INVALID);
    buf_deinit(&text);
    buf_deinit(&memory);
}

static void test_fingerprint(void **state)
{
    (void)state;
    struct bytes a[2] = {bytes_str("ab"), bytes_str("c")};
    struct bytes b[2] = {bytes_str("a"), bytes_str("bc")};
    assert_true(cursor_fingerprint(a, 2) != cursor_fingerprint(b, 2));
    assert_true(cursor_fingerprint(a, 2) != cursor_fingerprint(a, 1));
    assert_true(cursor_fingerprint(a, 2) == cursor_fingerprint(a, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fingerprint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
