#include "proto/text/fold.h"
#include "proto/text/key.h"
#include "proto/text/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_key(const char *text, const char *key)
{
    struct buf out = {0};
    text_key(bytes_str(text), &out);
    assert_string_equal(buf_text(&out), key);
    buf_deinit(&out);
}

static void test_examples(void **unused)
{
    expect_key("Cramér–Rao  bound", "cramer rao bound");
    expect_key("  Model   Quantization ", "model quantization");
    expect_key("O'Neil", "o neil");
    expect_key("K-means", "k means");
    expect_key("k_means", "k means");
    expect_key("Straße", "strasse");
    expect_key("İstanbul", "istanbul");
    expect_key("ﬁn ３．５", "fin 3 5");
    expect_key("ΟΔΥΣΣΕΎΣ", "οδυσσευσ");
    expect_key("Ёлка й", "елка и");
    expect_key("naïve cafe\u0301", "naive cafe");
    expect_key("soft\u00ADhyphen", "softhyphen");
    expect_key("tab\tnew\nline\u00A0space", "tab new line space");
    expect_key("", "");
}

static void test_signs(void **unused)
{
    expect_key("C++", "c++");
    expect_key("C#", "c#");
    expect_key("c++ & f#", "c++ f#");
    expect_key("é+", "e+");
    expect_key("e\u0301+", "e+");
    expect_key("3+4", "3 4");
    expect_key("+1", "1");
    expect_key("#hash tag", "hash tag");
    expect_key("c ++", "c");
    expect_key("+", "+");
}

static void test_fallback(void **unused)
{
    expect_key(".", ".");
    expect_key("#", "#");
    expect_key(" . . ", ". .");
    expect_key("…", "...");
    expect_key("！", "!");
    expect_key(" ", " ");
    expect_key("\u0301", "\u0301");
    expect_key("\u00AD", "\u00AD");
}

static void test_scripts(void **unused)
{
    expect_key("がぎ", "がぎ"); /* voiced stays apart from かき */
    expect_key("か\u3099", "が");
    expect_key("ｶﾞ", "ガ");
    expect_key("한글", "한글");
    expect_key("\u1112\u1161\u11AB", "한");
    expect_key("हिन्दी", "हिन्दी");
    expect_key("ภาษาไทย", "ภาษาไทย");
    expect_key("שָׁלוֹם", "שלום"); /* points are decoration */
    expect_key("مُحَمَّد", "محمد");
}

static bool key_holds(struct bytes text, struct buf *key, struct buf *again)
{
    buf_clear(key);
    buf_clear(again);
    text_key(text, key);
    text_key(buf_bytes(key), again);
    return bytes_equal(buf_bytes(key), buf_bytes(again)) && text_valid(buf_bytes(key), NULL) &&
           key->size > 0 && key->size <= 11 * text.size;
}

static bool scalar(int32_t point)
{
    return point > 0 && !(point >= 0xD800 && point <= 0xDFFF);
}

/* Idempotent for each code point: alone, behind a letter, between letters, and before a sign. */
static void test_every_code_point(void **unused)
{
    struct buf text = {0}, key = {0}, again = {0};
    for (int32_t point = 1; point <= 0x10FFFF; point++) {
        if (!scalar(point) || (point > 0x32000 && point < 0xE0000 && point % 97))
            continue; /* the unassigned planes by sample */
        for (int shape = 0; shape < 4; shape++) {
            buf_clear(&text);
            if (shape > 0)
                buf_append_str(&text, "a");
            utf8_append(&text, point);
            if (shape > 1)
                buf_append_str(&text, shape == 2 ? "b" : "+");
            if (!key_holds(buf_bytes(&text), &key, &again))
                fail_msg("U+%04X in shape %d: \"%s\", then \"%s\"", (unsigned)point, shape,
                         buf_text(&key), buf_text(&again));
        }
    }
    buf_deinit(&text);
    buf_deinit(&key);
    buf_deinit(&again);
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Characters whose decompositions, folds, marks and compositions meet in unlucky ways. */
static int32_t unlucky(uint64_t *state)
{
    static const int32_t points[] = {
        'a',    'I',    'i',    '+',    '#',    '\'',   ' ',    '.',    0x130,  0x131,   0x307,
        0x301,  0x308,  0x345,  0x3B9,  0x390,  0x1FB3, 0x1F80, 0x149,  0x2BC,  0xDF,    0x1E9E,
        0xAD,   0x200D, 0x1F0,  0x30C,  0x338,  '=',    '<',    0x3099, 0x309A, 0x304B,  0xFF9E,
        0xFF76, 0x1100, 0x1161, 0x11A8, 0xAC00, 0x3131, 0x93C,  0x915,  0x958,  0x9BE,   0x9C7,
        0xB3C,  0x1026, 0x102E, 0x1025, 0xFDFA, 0xBD,   0x2044, 0x212B, 0x2126, 0x1D160, 0x5D0,
        0x5BC,  0xFB2A, 0x654,  0x627,  0x622,  0xE33,  0xE40,  0x1B05, 0x1B35, 0x110A5, 0x110BA,
        0xF73,  0xF71,  0x344,  0x340,  0x3000, 0x2126,
    };
    if (next_random(state) % 8 == 0) {
        int32_t point = (int32_t)(next_random(state) % 0x30000);
        return scalar(point) ? point : 'x';
    }
    return points[next_random(state) % (sizeof points / sizeof *points)];
}

static void test_random_strings(void **unused)
{
    struct buf text = {0}, key = {0}, again = {0};
    uint64_t state = 42;
    for (int i = 0; i < 200000; i++) {
        buf_clear(&text);
        for (size_t k = 1 + next_random(&state) % 8; k > 0; k--)
            utf8_append(&text, unlucky(&state));
        if (!key_holds(buf_bytes(&text), &key, &again)) {
            for (size_t k = 0; k < text.size; k++)
                print_message("%02X ", text.data[k]);
            fail_msg("not idempotent: \"%s\", then \"%s\"", buf_text(&key), buf_text(&again));
        }
    }
    buf_deinit(&text);
    buf_deinit(&key);
    buf_deinit(&again);
}

/* Canonically equal texts have equal keys, whatever their case. */
static void test_equivalence(void **unused)
{
    static const char *pairs[][2] = {{"Å", "A\u030A"},
                                     {"Å", "\u212B"},
                                     {"ǅ", "dž"},
                                     {"ﬃ", "FFI"},
                                     {"ẛ̣", "\u1E69"},
                                     {"Ⅻ", "xii"},
                                     {"ＡＢＣ", "abc"},
                                     {"x²", "X2"},
                                     {"ΣΊΣΥΦΟΣ", "σίσυφος"},
                                     {"한", "\u1112\u1161\u11AB"},
                                     {"№ 5", "No 5"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct buf a = {0}, b = {0};
        text_key(bytes_str(pairs[i][0]), &a);
        text_key(bytes_str(pairs[i][1]), &b);
        assert_string_equal(buf_text(&a), buf_text(&b));
        buf_deinit(&a);
        buf_deinit(&b);
    }
}

static void test_valid(void **unused)
{
    static const struct {
        const char *text;
        size_t size, offset;
    } bad[] = {
        {"a\0b", 3, 1},
        {"\x80", 1, 0},
        {"ab\xC3", 3, 2},
        {"\xC0\x80", 2, 0},
        {"\xC1\xBF", 2, 0},
        {"\xE0\x80\x80", 3, 0},
        {"\xED\xA0\x80", 3, 0},
        {"\xF0\x80\x80\x80", 4, 0},
        {"\xF4\x90\x80\x80", 4, 0},
        {"\xF5\x80\x80\x80", 4, 0},
        {"\xFF", 1, 0},
        {"\xE2\x82", 2, 0},
        {"ok \xE2\x28\xA1", 6, 3},
        {"\xF0\x9F\x98", 3, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t offset = 99;
        assert_false(text_valid(bytes_of(bad[i].text, bad[i].size), &offset));
        assert_int_equal(offset, bad[i].offset);
        assert_false(text_valid(bytes_of(bad[i].text, bad[i].size), NULL));
    }
    assert_true(text_valid(bytes_of(NULL, 0), NULL));
    assert_true(text_valid(
        bytes_str("plain \u00E9 \u20AC \U0001F600 \uD7FF \uE000 \U0010FFFF \x7F"), NULL));
}

/* Against a decoder written from the definition: every sequence of two bytes, and those of three
 * and four that start with an interesting one. */
static bool slow_valid(const uint8_t *p, size_t size)
{
    while (size > 0) {
        size_t need = p[0] < 0x80       ? 1
                      : p[0] >> 5 == 6  ? 2
                      : p[0] >> 4 == 14 ? 3
                      : p[0] >> 3 == 30 ? 4
                                        : 0;
        if (need == 0 || need > size || p[0] == 0)
            return false;
        uint32_t point = need == 1 ? p[0] : p[0] & (0xFFu >> (need + 1));
        for (size_t i = 1; i < need; i++) {
            if (p[i] >> 6 != 2)
                return false;
            point = point << 6 | (p[i] & 0x3F);
        }
        static const uint32_t least[] = {0, 1, 0x80, 0x800, 0x10000};
        if (point < least[need] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
            return false;
        p += need;
        size -= need;
    }
    return true;
}

static void test_valid_exhaustive(void **unused)
{
    uint8_t text[4];
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            text[0] = (uint8_t)a;
            text[1] = (uint8_t)b;
            assert_int_equal(text_valid(bytes_of(text, 2), NULL), slow_valid(text, 2));
            for (unsigned c = 0x7E; c < 0xC2; c += 3)
                for (unsigned d = 0x7F; d < 0xC2; d += 13) {
                    text[2] = (uint8_t)c;
                    text[3] = (uint8_t)d;
                    for (size_t size = 3; size <= 4; size++)
                        assert_int_equal(text_valid(bytes_of(text, size), NULL),
                                         slow_valid(text, size));
                }
        }
}

static void expect_letter(const char *key, const char *letter)
{
    struct buf out = {0};
    text_letter(bytes_str(key), &out);
    assert_string_equal(buf_text(&out), letter);
    buf_deinit(&out);
}

static void test_letter(void **unused)
{
    expect_letter("model", "M");
    expect_letter("3d", "3");
    expect_letter("élan", "É");
    expect_letter("ωmega", "Ω");
    expect_letter("漢字", "漢");
    expect_letter(".", ".");
    expect_letter("", "");
}

static void expect_separator(const char *a, const char *b, const char *separator)
{
    struct buf out = {0};
    text_separator(bytes_str(a), bytes_str(b), &out);
    assert_string_equal(buf_text(&out), separator);
    buf_deinit(&out);
}

static void test_separator(void **unused)
{
    expect_separator("ml", "model quantization", "mo");
    expect_separator("mobile", "model quantization", "mod");
    expect_separator("", "a", "a");
    expect_separator("model", "model card", "model ");
    expect_separator("è", "é", "é"); /* the common first byte is no prefix */
    expect_separator("a", "漢字", "漢");
    expect_separator("x\U0001F600", "x\U0001F601y", "x\U0001F601");
}

static void test_separator_random(void **unused)
{
    struct buf a = {0}, b = {0}, out = {0};
    uint64_t state = 7;
    for (int i = 0; i < 100000; i++) {
        buf_clear(&a);
        buf_clear(&b);
        buf_clear(&out);
        for (size_t k = next_random(&state) % 4; k > 0; k--)
            utf8_append(&a, unlucky(&state));
        buf_append_bytes(&b, bytes_of(a.data, utf8_cut(buf_bytes(&a), next_random(&state) % 8)));
        for (size_t k = next_random(&state) % 4; k > 0; k--)
            utf8_append(&b, unlucky(&state));
        int order = bytes_compare(buf_bytes(&a), buf_bytes(&b));
        if (order == 0)
            continue;
        struct bytes low = buf_bytes(order < 0 ? &a : &b), high = buf_bytes(order < 0 ? &b : &a);
        text_separator(low, high, &out);
        assert_true(bytes_compare(low, buf_bytes(&out)) < 0);
        assert_true(bytes_has_prefix(high, buf_bytes(&out)));
        assert_true(text_valid(buf_bytes(&out), NULL));
        /* Shortest: one character less would not sort after the lower one. */
        size_t shorter = utf8_cut(buf_bytes(&out), out.size - 1);
        assert_true(bytes_compare(low, bytes_of(out.data, shorter)) >= 0);
    }
    buf_deinit(&a);
    buf_deinit(&b);
    buf_deinit(&out);
}

static void test_appends(void **unused)
{
    struct buf out = {0};
    buf_append_str(&out, "x:");
    text_key(bytes_str("Ünder"), &out);
    text_key(bytes_str("."), &out);
    text_key(bytes_str("A B"), &out);
    assert_string_equal(buf_text(&out), "x:under.a b");
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),         cmocka_unit_test(test_signs),
        cmocka_unit_test(test_fallback),         cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_every_code_point), cmocka_unit_test(test_random_strings),
        cmocka_unit_test(test_equivalence),      cmocka_unit_test(test_valid),
        cmocka_unit_test(test_valid_exhaustive), cmocka_unit_test(test_letter),
        cmocka_unit_test(test_separator),        cmocka_unit_test(test_separator_random),
        cmocka_unit_test(test_appends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
