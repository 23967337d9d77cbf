#include "proto/text/key.h"
#include "proto/text/snippet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_plain(const char *body, const char *plain)
{
    struct buf out = {0};
    text_plain(bytes_str(body), &out);
    assert_string_equal(buf_text(&out), plain);
    assert_true(out.size <= strlen(body));
    buf_deinit(&out);
}

static void test_plain_inline(void **unused)
{
    expect_plain("", "");
    expect_plain("  two \t words \n\n and\u00A0more\u2003 ", "two words and more");
    expect_plain("**Bold**, *it* and ***both*** __x__ _y_ ~~gone~~", "Bold, it and both x y gone");
    expect_plain("2 * 3 = 6, a*b, snake_case, footnote*, x ** y, _ , ~35 GB, ****",
                 "2 * 3 = 6, a*b, snake_case, "
                 "footnote*, x ** y, _ , ~35 GB, ****");
    expect_plain("[a *link*](http://x/(y) \"t\") ![image](p.png) [no] [1](",
                 "a link image [no] [1](");
    expect_plain("[![badge](i.svg)](http://x) <https://a.b/c_d> http://e.f/g_h_i",
                 "badge https://a.b/c_d http://e.f/g_h_i");
    expect_plain("`a*b` ``c`d`` `open", "a*b c`d `open");
    expect_plain("a<br/>b <span class='k'>c</span> x < y <b and c> List<int> <!-- n --> d",
                 "a b c x < y <b and c> List<int> d");
    expect_plain("&lt;b&gt; &amp;amp; &nbsp; &#8212; &nope; &", "<b> &amp; — &nope; &");
    expect_plain("\\*not\\* \\_this\\_ C:\\dir\\*", "*not* _this_ C:\\dir\\*");
    expect_plain("bell\a and \x1b[31mred\xC2\x9B"
                 "1m",
                 "bell and [31mred 1m");
}

static void test_plain_blocks(void **unused)
{
    expect_plain("# Title #1\n\nText\n## Two\n", "Title #1 Text Two");
    expect_plain("- one\n  * two\n+ three\n1. four\n> five\n> > six",
                 "one two three 1. four five six");
    expect_plain("Head\n====\na\n---\nb\n* * *\nc", "Head a b c");
    expect_plain("| A | B |\n|:--|--:|\n| `c` | d |", "A B c d");
    expect_plain("A | B\n--- | ---\nc | d", "A | B c | d");
    expect_plain("```c\nint  x = *y; /* z */\n```\nend", "int x = *y; /* z */ end");
    expect_plain("code ```python import x ``` then ```y``` done", "code import x then y done");
    expect_plain("**W** | A | B | |---|---| | c | d |", "W A B c d");
    expect_plain("-1 is a number\n+2 too\n#tag\n*emph* line",
                 "-1 is a number +2 too #tag emph line");
}

static void test_plain_formulas(void **unused)
{
    expect_plain("$E = m c^2$ and $$\\frac{a_1}{b*c}$$", "E = m c^2 and \\frac{a_1}{b*c}");
    expect_plain("\\(x_i\\) \\[ y \\] \\alpha", "x_i y \\alpha");
    expect_plain("from $10M to $20M, or $5", "from $10M to $20M, or $5");
}

/* ---- snippets ---- */

struct shot {
    struct buf text;
    struct highlight highlights[SNIPPET_HIGHLIGHTS_MAX];
    size_t count;
};

static int compare(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* `words`: stems, separated by single spaces. The snippet with its highlights in «». */
static void shoot(const char *body, const char *words, size_t size, struct buf *marked)
{
    static const char open[] = "«", close[] = "»";
    struct bytes tokens[16];
    char copy[256];
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", words);
    for (char *rest, *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        tokens[count++] = bytes_str(word);
    qsort(tokens, count, sizeof *tokens, compare);

    struct analyzer *analyzer;
    struct shot shot = {0};
    assert_int_equal(analyzer_create("en", &analyzer, NULL), 0);
    shot.count = text_snippet(analyzer, bytes_str(body), tokens, count, size, &shot.text,
                              shot.highlights, SNIPPET_HIGHLIGHTS_MAX);
    assert_true(shot.text.size <= size);
    assert_true(text_valid(buf_bytes(&shot.text), NULL));
    size_t at = 0;
    for (size_t i = 0; i < shot.count; i++) {
        struct highlight *h = &shot.highlights[i];
        assert_true(h->offset >= at && h->length > 0 && h->offset + h->length <= shot.text.size);
        buf_append(marked, shot.text.data + at, h->offset - at);
        buf_append_str(marked, open);
        buf_append(marked, shot.text.data + h->offset, h->length);
        buf_append_str(marked, close);
        at = h->offset + h->length;
    }
    if (shot.text.size > at)
        buf_append(marked, shot.text.data + at, shot.text.size - at);
    buf_deinit(&shot.text);
    analyzer_destroy(analyzer);
}

static void expect_snippet(const char *body, const char *words, size_t size, const char *snippet)
{
    struct buf marked = {0};
    shoot(body, words, size, &marked);
    assert_string_equal(buf_text(&marked), snippet);
    buf_deinit(&marked);
}

static void test_short_bodies(void **unused)
{
    expect_snippet("A **Model** of models.", "model", 100, "A «Model» of «models».");
    expect_snippet("A **Model** of models.", "", 100, "A Model of models.");
    expect_snippet("Gauss's `C++` un**believ**able", "c++ gauss unbeliev", 100,
                   "«Gauss's» «C++» «unbelievable»");
    expect_snippet("", "model", 100, "");
    expect_snippet("漢字かな", "漢字 字か", 100, "«漢字か»な");
    expect_snippet("$\\model$ \\frac model", "frac model", 100, "\\model \\frac «model»");
}

static const char *filler =
    "Alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho. ";

static void test_chooses(void **unused)
{
    char body[1024];
    snprintf(body, sizeof body,
             "%sfirst quantization here. %s%sThen quantization of a network model. %s", filler,
             filler, filler, filler);
    expect_snippet(body, "quantiz network", 80,
                   "…pi rho. Then «quantization» of a «network» model. Alpha beta gamma delta…");
    expect_snippet(body, "quantiz", 60, "…pi rho. first «quantization» here. Alpha beta gamma…");
    expect_snippet(body, "alpha", 40, "«Alpha» beta gamma delta epsilon zeta…");
    expect_snippet(body, "nosuchword", 40, "Alpha beta gamma delta epsilon zeta…");
    expect_snippet(body, "", 40, "Alpha beta gamma delta epsilon zeta…");
    snprintf(body, sizeof body, "%s%sthe end", filler, filler);
    expect_snippet(body, "end", 40, "…mu nu xi omicron pi rho. the «end»");
}

static void test_sizes(void **unused)
{
    char body[1024];
    snprintf(body, sizeof body, "%s**quantization** é漢字 %s", filler, filler);
    for (size_t size = 0; size < 300; size++) {
        struct buf marked = {0};
        shoot(body, "quantiz 漢字", size, &marked);
        if (size >= 24)
            assert_non_null(strstr(buf_text(&marked), "«quantization»"));
        buf_deinit(&marked);
    }
}

static void test_unbroken(void **unused)
{
    struct buf body = {0}, marked = {0};
    for (int i = 0; i < 500; i++)
        buf_append_str(&body, "x");
    shoot(buf_text(&body), "y", 40, &marked);
    assert_string_equal(buf_text(&marked), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…");
    buf_clear(&body);
    buf_clear(&marked);
    for (int i = 0; i < 100; i++)
        buf_append_str(&body, i == 50 ? "漢字" : "かな");
    shoot(buf_text(&body), "漢字", 60, &marked);
    assert_non_null(strstr(buf_text(&marked), "«漢字»"));
    assert_true(marked.size >
                50); /* there is context on both sides though there is no space to cut at */
    buf_deinit(&body);
    buf_deinit(&marked);
}

static void test_many_highlights(void **unused)
{
    struct buf body = {0}, marked = {0};
    for (int i = 0; i < 200; i++)
        buf_append_str(&body, "model ");
    shoot(buf_text(&body), "model", 1000, &marked);
    size_t count = 0;
    for (const char *at = buf_text(&marked); (at = strstr(at, "«")); at++)
        count++;
    assert_int_equal(count, SNIPPET_HIGHLIGHTS_MAX);
    buf_deinit(&body);
    buf_deinit(&marked);
}

/* The chosen passage against all passages of a random text of few words. */
static void test_best_passage(void **unused)
{
    static const char *words[] = {"aa", "bb", "cc", "dd", "xx", "yy", "zz", "ww"};
    uint64_t state = 11;
    for (int round = 0; round < 2000; round++) {
        char body[1024] = "";
        size_t token[200], count = 150;
        for (size_t i = 0; i < count; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            token[i] = (state >> 33) % 40 < 4 ? (state >> 33) % 4 : 4 + (state >> 40) % 4;
            strcat(strcat(body, words[token[i]]), " ");
        }
        struct buf marked = {0};
        size_t size = 66; /* 60 bytes of text: words i .. i + 19 */
        shoot(body, "aa bb cc dd", size, &marked);
        size_t best = 0, got = 0;
        for (size_t i = 0; i < count; i++) {
            bool have[8] = {0};
            for (size_t k = i; k < i + 20 && k < count; k++)
                have[token[k]] = true;
            size_t distinct = (size_t)have[0] + have[1] + have[2] + have[3];
            best = distinct > best ? distinct : best;
        }
        for (size_t k = 0; k < 4; k++) {
            char wanted[16];
            snprintf(wanted, sizeof wanted, "«%s»", words[k]);
            got += strstr(buf_text(&marked), wanted) != NULL;
        }
        if (got < best)
            fail_msg("%zu distinct words rather than %zu in \"%s\" of \"%s\"", got, best,
                     buf_text(&marked), body);
        buf_deinit(&marked);
    }
}

/* ---- real bodies ---- */

static char *corpus_file(const char *name)
{
    char path[4096];
    const char *corpus = getenv("QUIRE_CORPUS"), *source = getenv("QUIRE_SOURCE");
    if (corpus)
        snprintf(path, sizeof path, "%s/%s", corpus, name);
    else
        snprintf(path, sizeof path, "%s/../shared/corpus/%s", source ? source : ".", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    struct buf text = {0};
    size_t got;
    do {
        got = fread(buf_extend(&text, 1 << 16), 1, 1 << 16, file);
        text.size -= (1 << 16) - got;
    } while (got > 0);
    fclose(file);
    buf_text(&text);
    return (char *)text.data;
}

/* What a reader must not see in the plain text of the real glossary. */
static void test_real_glossary(void **unused)
{
    static const char *gone[] = {"**", "```", "|--", "| |", "](", "  "};
    size_t pages = 0;
    for (int i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof name, "ai-glossary/page-%03d.txt", i);
        char *page = corpus_file(name);
        if (!page)
            continue;
        pages++;
        for (char *rest, *line = strtok_r(page, "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest)) {
            struct buf plain = {0}, marked = {0};
            text_plain(bytes_str(line), &plain);
            assert_true(plain.size <= strlen(line));
            assert_true(text_valid(buf_bytes(&plain), NULL));
            for (size_t k = 0; k < sizeof gone / sizeof *gone; k++)
                if (!strstr(line, "```") && strstr(buf_text(&plain), gone[k]))
                    fail_msg("%s line holds \"%s\": %s", name, gone[k], buf_text(&plain));
            shoot(line, "model data quantiz network", 240, &marked);
            buf_deinit(&plain);
            buf_deinit(&marked);
        }
        free(page);
    }
    if (pages == 0) {
        print_message("skipped: no ai-glossary under QUIRE_CORPUS or beside QUIRE_SOURCE\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_inline),   cmocka_unit_test(test_plain_blocks),
        cmocka_unit_test(test_plain_formulas), cmocka_unit_test(test_short_bodies),
        cmocka_unit_test(test_chooses),        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_unbroken),       cmocka_unit_test(test_many_highlights),
        cmocka_unit_test(test_best_passage),   cmocka_unit_test(test_real_glossary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
