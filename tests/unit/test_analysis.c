#include "proto/text/analysis.h"
#include "proto/text/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The tokens of a text as one string, separated by spaces, after checks that hold for all. */
struct seen {
    struct bytes text;
    struct buf words;
    uint32_t count;
    uint32_t offset;
    bool where; /* print the stretch of the text behind each token */
};

static bool on_token(void *data, const struct token *token)
{
    struct seen *seen = data;
    assert_int_equal(token->position, seen->count++);
    assert_true(token->text.size > 0 && token->text.size <= TEXT_TOKEN_BYTES);
    assert_true(text_valid(token->text, NULL));
    assert_true(token->length > 0 && token->offset >= seen->offset);
    assert_true(token->offset + (size_t)token->length <= seen->text.size);
    seen->offset = token->offset;
    if (seen->words.size > 0)
        buf_append_str(&seen->words, " ");
    buf_append_bytes(&seen->words, token->text);
    if (seen->where) {
        buf_append_str(&seen->words, "=");
        buf_append(&seen->words, seen->text.data + token->offset, token->length);
    }
    return true;
}

static void expect(const char *language, enum analysis_mode mode, bool markdown, bool where,
                   const char *text, const char *words)
{
    struct analyzer *analyzer;
    assert_int_equal(analyzer_create(language, &analyzer, NULL), 0);
    struct seen seen = {.text = bytes_str(text), .where = where};
    assert_true(text_valid(seen.text, NULL));
    analyzer_run(analyzer, seen.text, mode, markdown, on_token, &seen);
    assert_string_equal(buf_text(&seen.words), words);
    buf_deinit(&seen.words);
    analyzer_destroy(analyzer);
}

static void plain(const char *text, const char *words)
{
    expect("none", ANALYSIS_STEMMED, false, false, text, words);
    expect("en", ANALYSIS_UNSTEMMED, false, false, text, words);
}

static void markdown(const char *text, const char *words)
{
    expect("none", ANALYSIS_STEMMED, true, false, text, words);
}

static void where(const char *text, const char *words)
{
    expect("none", ANALYSIS_STEMMED, true, true, text, words);
}

static void stemmed(const char *language, const char *text, const char *words)
{
    expect(language, ANALYSIS_STEMMED, false, false, text, words);
}

static void test_words(void **unused)
{
    plain("", "");
    plain(" ,;- ", "");
    plain("The Quick, brown fox.", "the quick brown fox");
    plain("snake_case kebab-case a/b x@y R&D", "snake case kebab case a b x y r d");
    plain("int8 H100 GPT-4 2x", "int8 h100 gpt 4 2x");
    plain("3.5 v1.2.3 b1.58 1.x x.1 .5 5. 1..2 1,000", "3.5 v1.2.3 b1.58 1 x x 1 5 5 1 2 1 000");
    plain("Größe naïve cafe\u0301 ﬁn ＡＢＣ", "grosse naive cafe fin abc");
    plain("soft\u00ADhyphen zero\u200Bwidth", "softhyphen zerowidth");
    plain("2¹⁰ ½ Ⅻ", "210 12 xii");
    plain("…\u0301x", "x"); /* a mark without a letter */
    plain("привет ΜΕΓΑ שָׁלוֹם हिन्दी", "привет μεγα שלום हिन्दी");
}

static void test_signs(void **unused)
{
    plain("C++ c# F#, G++.", "c++ c# f# g++");
    plain("C++17 c#7", "c++ 17 c 7");
    plain("a+b i++j x#y", "a b i++ j x y");
    plain("100+ 100M+ 2# #tag +1 c++++ c+++", "100 100m 2 tag 1 c c+++");
    plain("Na+ A+", "na+ a+");
}

static void test_apostrophes(void **unused)
{
    plain("O'Neil O’Neil don't", "oneil oneil dont");
    plain("Gauss's Gauss’s GAUSS'S 1990's models' 'quoted'",
          "gauss gauss gauss 1990 models quoted");
    plain("rock'n'roll it''s x' 's", "rocknroll it s x s");
    plain("it's. it's-a its'2", "it it a its 2");
    stemmed("en", "Einstein's theories", "einstein theori");
    stemmed("fr", "l'homme d’été", "l homm d ete");
}

static void test_pairs(void **unused)
{
    plain("漢字かな", "漢字 字か かな");
    plain("検", "検");
    plain("AIモデル3つ", "ai モデ デル 3 つ");
    plain("한국어 검색", "한국 국어 검색");
    plain("ภาษาไทย", "ภา าษ ษา าไ ไท ทย");
    plain("が か\u3099き ｶﾞｷ", "が がき ガキ");
    plain("漢字、漢。", "漢字 漢");
    where("漢**字**か", "漢字=漢**字 字か=字**か");
}

static void test_stems(void **unused)
{
    stemmed("en", "running quantization models generously resumes résumés",
            "run quantiz model generous resum resum");
    stemmed("en", "int8s C++ 3.5", "int8s c++ 3.5");
    stemmed("de", "Häuser haus Bücher", "haus haus buch");
    stemmed("fr", "mangées manger", "mang mang");
    stemmed("ru", "хороший хорошая", "хорош хорош");
    stemmed("es", "canciones canción", "cancion cancion");
    stemmed("none", "running", "running");
}

static void test_languages(void **unused)
{
    char names[512];
    snprintf(names, sizeof names, "%s", analyzer_languages());
    int count = 0;
    for (char *rest, *name = strtok_r(names, ", ", &rest); name;
         name = strtok_r(NULL, ", ", &rest)) {
        struct analyzer *analyzer;
        assert_true(analyzer_language_known(name));
        assert_int_equal(analyzer_create(name, &analyzer, NULL), 0);
        analyzer_destroy(analyzer);
        count++;
    }
    assert_int_equal(count, 29);
    struct analyzer *analyzer = (struct analyzer *)&count;
    struct err err;
    assert_int_equal(analyzer_create("tlh", &analyzer, &err), ERR_UNSUPPORTED);
    assert_null(analyzer);
    assert_non_null(strstr(err.text, "en, es"));
    assert_false(analyzer_language_known(""));
    assert_false(analyzer_language_known("EN"));
}

/* ---- Markdown ---- */

static void test_inline(void **unused)
{
    markdown("**Bold** and *it*, __x__ ~~gone~~ `code_x`", "bold and it x gone code x");
    markdown("un**believ**able **bold**text", "unbelievable boldtext");
    markdown("[link text](http://target.example/path) after", "link text after");
    markdown("![alt text](image.png \"title\") [![in](a)](b)", "alt text in");
    markdown("[not a link] [x] (y) [a](b c\nd)", "not a link x y a b c d");
    markdown("see https://github.com/x_y and <http://a.b/c>", "see github com x y and a b c");
    markdown("a<br>b<sup>2</sup> <div class=\"x\">in</div> <!-- no --> x<y y>z", "a b2 in x y y z");
    markdown("caf&eacute; &lt;b&gt; &#65;&#x42; AT&T &bogus; &amp;", "cafe b ab at t bogus");
    markdown("\\*star\\* \\_x\\_", "star x");
}

static void test_blocks(void **unused)
{
    markdown("# Head\n## Two ##\ntext\n- item\n* item\n+ item\n1. one\n> quote",
             "head two text item item item 1 one quote");
    markdown("Title\n=====\n---\n***\n_ _ _\ntext", "title text");
    markdown("| A | B |\n|---|:-:|\n| c | d |", "a b c d");
    markdown("x\n```python\nimport torch # *c*\n```\nend", "x import torch c end");
    markdown("~~~ c\nint x;\n~~~\nend", "int x end");
    markdown("```\ncode\n", "code");
    markdown("````md\n```x\ny\n```\n````\nend", "x y end");
}

/* Bodies that were flattened to one line when they were dumped. */
static void test_flattened(void **unused)
{
    markdown("Why? ```python import torch ``` then **x**", "why import torch then x");
    markdown("``` [Data] → [Model] ``` end", "data model end");
    markdown("| A | B | |---|---| | c | d | ## Next", "a b c d next");
    markdown("p(x | y) and |z|", "p x y and z");
}

static void test_formulas(void **unused)
{
    markdown("$\\frac{\\alpha_1}{b}$", "1 b");
    markdown("$$E = m c^2$$ \\(a\\cdot b\\) \\[ x_i \\]", "e m c 2 a b x i");
    markdown("\\text{gate oxide} \\begin{aligned} x \\end{aligned}", "gate oxide x");
    markdown("costs $10M–$100M+ of $5", "costs 10m 100m of 5");
    markdown("2\\times 3", "2 3");
    markdown("$n$th $k$ of $N$", "nth k of n");
    markdown("open C:\\Program\\Files now", "open c program files now");
}

static void test_offsets(void **unused)
{
    where("Un**able** caf&eacute;s [a link](http://x) b",
          "unable=Un**able cafes=caf&eacute;s a=a link=link b=b");
    where("  two   words ", "two=two words=words");
    where("$\\alpha x$ Gauss's", "x=x gauss=Gauss's");
    expect("none", ANALYSIS_STEMMED, false, true, "C++ O'Neil 3.5", "c++=C++ oneil=O'Neil 3.5=3.5");
}

/* ---- promises about all texts ---- */

/* Plain lower-case ASCII letters and digits: exactly the alphanumeric runs, with and without
 * Markdown. */
static void test_ascii_oracle(void **unused)
{
    uint64_t state = 3;
    for (int i = 0; i < 2000; i++) {
        char text[200], words[400] = "";
        size_t size = 0, out = 0;
        bool inside = false;
        while (size < sizeof text - 1) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789     ,\n";
            text[size++] = alphabet[(state >> 33) % (sizeof alphabet - 1)];
        }
        text[size] = 0;
        for (size_t k = 0; k < size; k++) {
            bool word = isalnum((unsigned char)text[k]);
            if (word && !inside && out > 0)
                words[out++] = ' ';
            if (word)
                words[out++] = text[k];
            inside = word;
        }
        words[out] = 0;
        plain(text, words);
        markdown(text, words);
    }
}

static void test_long_words(void **unused)
{
    char text[300], words[300];
    memset(text, 'A', 200);
    strcpy(text + 200, " b");
    memset(words, 'a', TEXT_TOKEN_BYTES);
    strcpy(words + TEXT_TOKEN_BYTES, " b");
    plain(text, words);
    strcpy(text + 63, "дом");
    memset(words, 'a', 63); /* the letter of two bytes does not fit */
    words[63] = 0;
    plain(text, words);
}

static bool stop_third(void *data, const struct token *token)
{
    return ++*(int *)data < 3;
}

static void test_stops(void **unused)
{
    struct analyzer *analyzer;
    assert_int_equal(analyzer_create("en", &analyzer, NULL), 0);
    for (int m = 0; m < 2; m++) {
        int count = 0;
        analyzer_run(analyzer, bytes_str("a b $\\x$ c++ d 漢字か"), ANALYSIS_STEMMED, m, stop_third,
                     &count);
        assert_int_equal(count, 3);
    }
    analyzer_destroy(analyzer);
}

struct kept {
    struct bytes text[8192];
    size_t count;
};

static bool keep(void *data, const struct token *token)
{
    struct kept *kept = data;
    if (kept->count < sizeof kept->text / sizeof *kept->text)
        kept->text[kept->count++] = token->text;
    return true;
}

/* Tokens stay until the analyzer is used again, through collisions in the cache of stems. */
static void test_token_lifetime(void **unused)
{
    struct analyzer *analyzer;
    struct buf text = {0};
    static struct kept kept;
    assert_int_equal(analyzer_create("en", &analyzer, NULL), 0);
    for (int i = 0; i < 8192; i++) {
        for (int n = i + 8192; n > 0; n /= 26)
            buf_append_u8(&text, (uint8_t)('a' + n % 26));
        buf_append_str(&text, "ation ");
    }
    analyzer_run(analyzer, buf_bytes(&text), ANALYSIS_STEMMED, true, keep, &kept);
    assert_int_equal(kept.count, 8192);
    for (int i = 0; i < 8192; i++) {
        char word[16];
        size_t size = 0;
        for (int n = i + 8192; n > 0; n /= 26)
            word[size++] = (char)('a' + n % 26);
        assert_true(bytes_has_prefix(kept.text[i], bytes_of(word, size - 1)));
    }
    buf_deinit(&text);
    analyzer_destroy(analyzer);
}

static bool ignore(void *data, const struct token *token)
{
    return true;
}

/* Linear time on what makes other readers of Markdown quadratic. The pieces are repeated to 8 MiB;
 * a quadratic reader would need hours. */
static void test_hostile(void **unused)
{
    static const char *pieces[] = {"[",
                                   "![",
                                   "](",
                                   "[a](",
                                   "[x](y",
                                   "*",
                                   "**a ",
                                   "_a",
                                   "`",
                                   "` `` ",
                                   "``` ",
                                   "$",
                                   "$a ",
                                   "$$ ",
                                   "\\(",
                                   "\\[a ",
                                   "<",
                                   "<a ",
                                   "<a b=\"",
                                   "<!--",
                                   "<a href=",
                                   "&",
                                   "&#",
                                   "|",
                                   "|-",
                                   "| ",
                                   "- ",
                                   "> ",
                                   "> - ",
                                   "#",
                                   "# ",
                                   "~",
                                   "~~~\n",
                                   "http://",
                                   ":/",
                                   "\\",
                                   "\\begin{",
                                   "a'",
                                   "a+",
                                   "1.",
                                   "e\u0301\u0323",
                                   "\u0301\u0323",
                                   "か\u3099\u0323",
                                   "[[]",
                                   "]",
                                   "[](",
                                   "\n\n",
                                   " \n",
                                   "```a\n",
                                   "&amp",
                                   "\u00AD",
                                   "'s"};
    struct analyzer *analyzer;
    struct buf text = {0};
    assert_int_equal(analyzer_create("en", &analyzer, NULL), 0);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        buf_clear(&text);
        buf_append_u8(&text, (uint8_t) "a\n"[i % 2]);
        /* Quadratic time would take hours on the large ones: the test's time limit is what fails
         * then. */
        size_t size = i % 8 ? 1 << 18 : 2 << 20;
        while (text.size < size)
            buf_append_str(&text, pieces[i]);
        analyzer_run(analyzer, buf_bytes(&text), ANALYSIS_STEMMED, true, ignore, NULL);
        analyzer_run(analyzer, buf_bytes(&text), ANALYSIS_STEMMED, false, ignore, NULL);
    }
    buf_deinit(&text);
    analyzer_destroy(analyzer);
}

/* Every truncation of a text with all there is, with and without Markdown. */
static void test_truncations(void **unused)
{
    static const char text[] = "# H *a* **b** `c` ``d`` [e](f (g)) ![h](i) <j@k> <http://l> <br> "
                               "<a href=\"m\">n</a> &amp; "
                               "&#x41; $o_1$ $$p$$ \\(q\\) \\[r\\] \\frac{s} \\begin{t} | u "
                               "|\n|---|:-:|\n```v\nw\n```\n~~x~~ "
                               "漢字か\u3099 O'Neil's c++ 3.5 e\u0301 \u00A0\u2003 <!-- y --> z";
    struct analyzer *analyzer;
    assert_int_equal(analyzer_create("en", &analyzer, NULL), 0);
    for (size_t size = 0; size < sizeof text; size++) {
        char *copy = malloc(size + 1);
        memcpy(copy, text, size);
        struct seen seen = {.text = bytes_of(copy, size)};
        if (text_valid(seen.text, NULL))
            for (int m = 0; m < 2; m++) {
                seen.count = seen.offset = 0;
                analyzer_run(analyzer, seen.text, ANALYSIS_STEMMED, m, on_token, &seen);
            }
        buf_deinit(&seen.words);
        free(copy);
    }
    analyzer_destroy(analyzer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),          cmocka_unit_test(test_signs),
        cmocka_unit_test(test_apostrophes),    cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_stems),          cmocka_unit_test(test_languages),
        cmocka_unit_test(test_inline),         cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_flattened),      cmocka_unit_test(test_formulas),
        cmocka_unit_test(test_offsets),        cmocka_unit_test(test_ascii_oracle),
        cmocka_unit_test(test_long_words),     cmocka_unit_test(test_stops),
        cmocka_unit_test(test_token_lifetime), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_truncations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
