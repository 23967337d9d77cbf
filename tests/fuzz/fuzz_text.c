/* Text on any bytes: the key is idempotent, bounded and valid; tokens lie in their text, in order,
 * and are valid; plain text and snippets keep their sizes; highlights lie in the snippet and hold a
 * token that was asked for. */
#include "fuzz.h"

#include "proto/text/analysis.h"
#include "proto/text/key.h"
#include "proto/text/snippet.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_KEPT 8

struct seen {
    struct bytes text;
    bool valid;
    uint32_t count;
    uint32_t last_offset;
    size_t total;
    struct bytes kept[TOKENS_KEPT]; /* the first distinct tokens, sorted, in own memory */
    size_t kept_count;
};

static int compare(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static bool on_token(void *data, const struct token *token)
{
    struct seen *seen = data;
    assert(token->position == seen->count++);
    assert(token->text.size > 0 && token->text.size <= TEXT_TOKEN_BYTES);
    assert(token->length > 0 && token->offset <= seen->text.size);
    assert(token->length <= seen->text.size - token->offset);
    assert(token->offset >= seen->last_offset);
    if (seen->valid)
        assert(text_valid(token->text, NULL));
    seen->last_offset = token->offset;
    seen->total += token->text.size;
    for (size_t i = 0; i < seen->kept_count; i++)
        if (bytes_equal(seen->kept[i], token->text))
            return true;
    if (seen->kept_count < TOKENS_KEPT && token->position % 3 == 0) {
        uint8_t *copy = malloc(token->text.size);
        assert(copy);
        memcpy(copy, token->text.data, token->text.size);
        seen->kept[seen->kept_count++] = bytes_of(copy, token->text.size);
    }
    return true;
}

static void check_key(struct bytes text, bool valid)
{
    struct buf key = {0}, again = {0}, letter = {0};
    text_key(text, &key);
    assert(key.size <= 11 * text.size);
    assert((key.size == 0) == (text.size == 0));
    if (valid) {
        assert(text_valid(buf_bytes(&key), NULL));
        text_key(buf_bytes(&key), &again);
        assert(bytes_equal(buf_bytes(&key), buf_bytes(&again)));
        text_letter(buf_bytes(&key), &letter);
        assert((letter.size == 0) == (key.size == 0) && text_valid(buf_bytes(&letter), NULL));
    }
    buf_deinit(&key);
    buf_deinit(&again);
    buf_deinit(&letter);
}

static void check_separator(struct bytes text)
{
    size_t half = text.size / 2;
    while (half < text.size && (text.data[half] & 0xC0) == 0x80)
        half++;
    struct bytes a = bytes_of(text.data, half), b = bytes_of(text.data + half, text.size - half);
    int order = bytes_compare(a, b);
    if (order == 0)
        return;
    if (order > 0) {
        struct bytes swap = a;
        a = b;
        b = swap;
    }
    struct buf out = {0};
    text_separator(a, b, &out);
    assert(bytes_compare(a, buf_bytes(&out)) < 0 && bytes_has_prefix(b, buf_bytes(&out)));
    assert(text_valid(buf_bytes(&out), NULL));
    buf_deinit(&out);
}

static void check_snippet(struct analyzer *analyzer, struct bytes text, const struct seen *seen,
                          size_t size, bool valid)
{
    struct buf out = {0};
    struct highlight highlights[SNIPPET_HIGHLIGHTS_MAX];
    size_t count = text_snippet(analyzer, text, seen->kept, seen->kept_count, size, &out,
                                highlights, SNIPPET_HIGHLIGHTS_MAX);
    assert(out.size <= size && count <= SNIPPET_HIGHLIGHTS_MAX);
    assert(!valid || text_valid(buf_bytes(&out), NULL));
    uint32_t end = 0;
    for (size_t i = 0; i < count; i++) {
        assert(highlights[i].length > 0 && highlights[i].offset >= end);
        end = highlights[i].offset + highlights[i].length;
        assert(end <= out.size);
        if (valid)
            assert(
                text_valid(bytes_of(out.data + highlights[i].offset, highlights[i].length), NULL));
    }
    /* With room for all of a match and no token broken by a cut, something is lit. */
    if (valid && size >= 1000 && seen->kept_count > 0)
        assert(count > 0 || text.size > 300);
    buf_deinit(&out);
}

static struct analyzer *analyzers[3];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *languages[] = {"en", "fr", "none"};
    if (size < 1)
        return 0;
    size_t which = data[0] % 3, room = data[0];
    if (!analyzers[which] && analyzer_create(languages[which], &analyzers[which], NULL))
        abort();
    struct analyzer *analyzer = analyzers[which];
    struct bytes text = bytes_of(data + 1, size - 1);
    size_t offset = 0;
    bool valid = text_valid(text, &offset);
    assert(valid || offset < text.size);
    check_key(text, valid);
    if (valid)
        check_separator(text);
    for (int i = 0; i < 4; i++) {
        struct seen seen = {.text = text, .valid = valid};
        analyzer_run(analyzer, text, i & 1 ? ANALYSIS_UNSTEMMED : ANALYSIS_STEMMED, i & 2, on_token,
                     &seen);
        if (i == 2) {
            qsort(seen.kept, seen.kept_count, sizeof *seen.kept, compare);
            check_snippet(analyzer, text, &seen, room, valid);
            check_snippet(analyzer, text, &seen, 1000, valid);
        }
        for (size_t k = 0; k < seen.kept_count; k++)
            free((void *)seen.kept[k].data);
    }
    struct buf plain = {0};
    text_plain(text, &plain);
    assert(plain.size <= text.size && (!valid || text_valid(buf_bytes(&plain), NULL)));
    buf_deinit(&plain);
    return 0;
}

const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    static const struct fuzz_seed seeds[] = {
        FUZZ_SEED(
            "\140Cram\303\251r\342\200\223Rao  bound, C++17 and c# at 3.5 of O'Neil's 1990's"),
        FUZZ_SEED("\141# Head *line* of **bold** snake_case __init__ [link `x*y`](http://a.b/c_(d) "
                  "\"t\")\n> quote\n"
                  "- item `code` ``dou`ble`` <https://example.org/foo_bar> https://x.y/z?a=b.\n"),
        FUZZ_SEED("\142```python\ndef f(x): # comment\n    return \"a*b\" | x\n```\n| A | B "
                  "|\n|:--|--:|\n| 1 | 2 |\n"),
        FUZZ_SEED("\240$\\frac{\\alpha_1}{b_2} = \\text{gate oxide}$ costs $10M\342\200\223$100M+ "
                  "and $$\\sum_i x_i$$ "
                  "\\(a+b\\) \\[ \\begin{aligned} x \\end{aligned} \\]"),
        FUZZ_SEED("\240p(x | y) &amp; caf&eacute; &#x41;&#0;&lt;b&gt; <br>br<sup "
                  "class=\"x\">2</sup> <!-- c --> x<y"),
        FUZZ_SEED("\077Flat | Benefit | Text | |---------|--------| | A | B | ## Two ```markdown # "
                  "Card ## D ``` end"),
        FUZZ_SEED(
            "\050\346\274\242\345\255\227\343\201\213\343\201\252\343\202\231 "
            "AI\343\203\242\343\203\207\343\203\253 "
            "\355\225\234\352\270\200 "
            "\340\270\240\340\270\262\340\270\251\340\270\262\340\271\204\340\270\227\340\270\242 "
            "\340\244\225\340\245\215\340\244\267\340\244\277 \357\275\266\357\276\236"),
        FUZZ_SEED("\022Stra\303\237e \304\260stanbul \357\254\201n e\314\201\314\202 \302\275 "
                  "\302\240 \342\200\215 \357\267\272 \342\204\242"),
        FUZZ_SEED(
            "\001[[[[[[((((]]]](((( ***** _____ ``` `` ` $$ $ \\ \\( \\[ <a <!-- &# &x | |- |:"),
    };
    *count = sizeof seeds / sizeof *seeds;
    return seeds;
}
