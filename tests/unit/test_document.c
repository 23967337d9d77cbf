#include "proto/limits.h"
#include "proto/text/key.h"
#include "shard/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Messages have texts that may be written to. */
static char *text(const char *literal)
{
    return (char *)literal;
}

static const struct document_settings weights = {5, 3, 2, 1};

struct analyzed {
    struct arena arena;
    struct document document;
};

static void analyze(struct analyzed *a, const struct document_settings *settings,
                    const Quire__Entry *entry)
{
    struct analyzer *analyzer;
    struct err err;

    arena_init(&a->arena, 0);
    assert_int_equal(analyzer_create("en", &analyzer, &err), 0);
    assert_int_equal(document_analyze(analyzer, settings, entry, &a->arena, &a->document, &err), 0);
    analyzer_destroy(analyzer);
}

static const struct document_term *find(const struct document *d, uint8_t field, const char *word)
{
    for (uint32_t i = 0; i < d->term_count; i++)
        if (d->terms[i].token.field == field &&
            bytes_equal(d->terms[i].token.text, bytes_str(word)))
            return &d->terms[i];
    return NULL;
}

static void check_term(const struct document *d, uint8_t field, const char *word, uint32_t freq,
                       uint32_t positions)
{
    const struct document_term *term = find(d, field, word);

    if (term == NULL)
        fail_msg("no term %s", word);
    assert_int_equal(term->freq, freq);
    assert_int_equal(term->position_count, positions);
}

static void check_terms(const struct document *d)
{
    for (uint32_t i = 0; i < d->term_count; i++) {
        const struct document_term *term = &d->terms[i];

        assert_true(term->freq >= 1);
        assert_int_equal(term->position_count > 0, term->token.field == TEXT_FIELD_ALL);
        assert_true(term->position_count <= term->freq);
        for (uint32_t j = 1; j < term->position_count; j++)
            assert_true(term->positions[j] > term->positions[j - 1]);
        for (uint32_t j = 0; j < i && d->term_count < 100; j++)
            assert_false(d->terms[j].token.field == term->token.field &&
                         bytes_equal(d->terms[j].token.text, term->token.text));
    }
}

static void test_fields(void **state)
{
    char *terms[] = {text("Gradient step"), text("Descent")},
         *categories[] = {text("Optimization"), text("OPTIMIZATION"), text("Learning")};
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    struct analyzed a;
    const struct document *d = &a.document;

    entry.headword = text("Gradient Descent");
    entry.sense = text("s");
    entry.terms = terms;
    entry.n_terms = 2;
    entry.categories = categories;
    entry.n_categories = 3;
    entry.body = text("The gradient points uphill; gradients are followed downhill.");
    analyze(&a, &weights, &entry);
    check_terms(d);
    assert_true(bytes_equal(d->key, bytes_of("gradient descent\0s", 18)));
    assert_int_equal(d->body_length, 8);
    /* Twice in the body, once in the headword, once in an other name: 2 * 1 + 5 + 3. */
    check_term(d, TEXT_FIELD_ALL, "gradient", 10, 4);
    check_term(d, TEXT_FIELD_ALL, "descent", 8, 2);
    check_term(d, TEXT_FIELD_HEADWORD, "gradient", 1, 0);
    check_term(d, TEXT_FIELD_TERMS, "descent", 1, 0);
    check_term(d, TEXT_FIELD_CATEGORY, "optimization", 2, 0);
    assert_null(find(d, TEXT_FIELD_HEADWORD, "step"));
    check_term(d, TEXT_FIELD_CATEGORY_KEY, "optimization", 1, 0); /* both spellings */
    check_term(d, TEXT_FIELD_CATEGORY_KEY, "learning", 1, 0);
    /* 8 words of the body, 2 of the headword, 3 of other names, 3 of categories. */
    assert_int_equal(d->norm, norm_encode(8 * 1 + 2 * 5 + 3 * 3 + 3 * 2));
    {
        const uint32_t *p = find(d, TEXT_FIELD_ALL, "gradient")->positions;

        assert_int_equal(p[0], 1);
        assert_int_equal(p[1], 4);
        assert_int_equal(p[2], 8 + DOCUMENT_POSITION_GAP);
        assert_int_equal(p[3], 8 + DOCUMENT_POSITION_GAP + 2 + DOCUMENT_POSITION_GAP);
    }
    assert_int_equal(d->category_count, 2);
    assert_true(bytes_equal(d->categories[0], bytes_str("Optimization")));
    assert_true(bytes_equal(d->categories[1], bytes_str("Learning")));
    assert_int_equal(d->name_count, 3);
    assert_true(bytes_equal(d->names[0], bytes_str("descent")));
    assert_true(bytes_equal(d->names[1], bytes_str("gradient descent")));
    assert_true(bytes_equal(d->names[2], bytes_str("gradient step")));
    arena_deinit(&a.arena);
}

/* The tokens of whole categories; every one of frequency 1. */
static uint32_t category_tokens(const struct document *d, const struct document_term *out[4])
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < d->term_count; i++) {
        if (d->terms[i].token.field != TEXT_FIELD_CATEGORY_KEY)
            continue;
        assert_int_equal(d->terms[i].freq, 1);
        assert_in_range(d->terms[i].token.text.size, 1, DOCUMENT_CATEGORY_TOKEN_BYTES);
        assert_true(count < 4);
        out[count++] = &d->terms[i];
    }
    return count;
}

/* Whole categories are tokens: words in their order, whatever the weight; and those that are longer
 * than a token can be stay apart, also where they differ in the last byte only. */
static void test_category_keys(void **state)
{
    const struct document_settings none = {1, 0, 0, 0};
    char fits[256], longer[3][400], *categories[4] = {text("Computer  Vision!"), text("vision")};
    const struct document_term *found[4];
    uint8_t space[DOCUMENT_CATEGORY_TOKEN_BYTES];
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    struct analyzed a;

    memset(fits, 'a', sizeof(fits) - 1);
    fits[sizeof(fits) - 1] = '\0';
    for (int i = 0; i < 3; i++) {
        memset(longer[i], 'a', sizeof(longer[i]) - 1);
        longer[i][sizeof(longer[i]) - 2] = "xyx"[i];
        longer[i][sizeof(longer[i]) - 1] = '\0';
    }
    entry.headword = text("word");
    entry.categories = categories;
    entry.n_categories = 2;
    analyze(&a, &none, &entry);
    check_terms(&a.document);
    assert_int_equal(category_tokens(&a.document, found), 2);
    check_term(&a.document, TEXT_FIELD_CATEGORY_KEY, "computer vision", 1, 0);
    check_term(&a.document, TEXT_FIELD_CATEGORY_KEY, "vision", 1, 0);
    arena_deinit(&a.arena);

    categories[0] = fits;
    for (int i = 0; i < 3; i++)
        categories[1 + i] = longer[i];
    entry.n_categories = 4;
    analyze(&a, &none, &entry);
    check_terms(&a.document);
    assert_int_equal(a.document.category_count, 3);
    assert_int_equal(category_tokens(&a.document, found), 3);
    check_term(&a.document, TEXT_FIELD_CATEGORY_KEY, fits, 1, 0);
    for (int i = 0; i < 2; i++) {
        struct bytes token = document_category_token(bytes_str(longer[i]), space);
        uint32_t same = 0;

        for (int j = 0; j < 3; j++)
            same += bytes_equal(found[j]->token.text, token);
        assert_int_equal(same, 1);
    }
    arena_deinit(&a.arena);
}

static void test_weights_of_nothing(void **state)
{
    const struct document_settings none = {1, 0, 0, 0};
    char *terms[] = {text("other")}, *categories[] = {text("things")};
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    struct analyzed a;

    entry.headword = text("word");
    entry.terms = terms;
    entry.n_terms = 1;
    entry.categories = categories;
    entry.n_categories = 1;
    entry.body = text("a body of words");
    analyze(&a, &none, &entry);
    check_terms(&a.document);
    assert_int_equal(a.document.body_length, 0);
    assert_int_equal(a.document.norm, 1);
    check_term(&a.document, TEXT_FIELD_ALL, "word", 1, 1);
    assert_null(find(&a.document, TEXT_FIELD_ALL, "bodi"));
    assert_null(find(&a.document, TEXT_FIELD_ALL, "other"));
    check_term(&a.document, TEXT_FIELD_TERMS, "other", 1, 0);
    check_term(&a.document, TEXT_FIELD_CATEGORY, "things", 1, 0);
    arena_deinit(&a.arena);
}

/* Against counting one by one, on a body of many distinct words, which makes every table grow. */
static void test_many_words(void **state)
{
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    uint32_t counts[3000] = {0}, total = 0;
    struct buf body = {0};
    struct analyzed a;
    uint64_t random = 5;

    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t word;

        random = random * 6364136223846793005u + 1442695040888963407u;
        word = (uint32_t)(random >> 33) % (1 + (uint32_t)(random >> 40) % 3000);
        counts[word]++;
        total++;
        buf_printf(&body, "w%ux ", word);
    }
    entry.headword = text("many");
    entry.body = buf_text(&body);
    analyze(&a, &weights, &entry);
    check_terms(&a.document);
    assert_int_equal(a.document.body_length, total);
    for (uint32_t i = 0; i < 3000; i++) {
        char word[16];

        snprintf(word, sizeof(word), "w%ux", i);
        if (counts[i] > 0)
            check_term(&a.document, TEXT_FIELD_ALL, word, counts[i], counts[i]);
        else
            assert_null(find(&a.document, TEXT_FIELD_ALL, word));
    }
    arena_deinit(&a.arena);
    buf_deinit(&body);
}

/* Each allocation fails in turn: an error, and no crash. */
static void test_memory_runs_out(void **state)
{
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    struct analyzer *analyzer;
    struct buf body = {0};
    struct err err;
    int code = ERR_NOMEM;

    for (uint32_t i = 0; i < 2000; i++)
        buf_printf(&body, "w%ux ", i);
    entry.headword = text("limit");
    entry.body = buf_text(&body);
    assert_int_equal(analyzer_create("none", &analyzer, &err), 0);
    for (size_t limit = 4096; code != 0 && limit < (8u << 20); limit += limit / 8) {
        struct arena arena;
        struct document document;

        arena_init(&arena, limit);
        code = document_analyze(analyzer, &weights, &entry, &arena, &document, &err);
        assert_true(code == 0 || code == ERR_NOMEM);
        arena_deinit(&arena);
    }
    assert_int_equal(code, 0);
    analyzer_destroy(analyzer);
    buf_deinit(&body);
}

static char *text_of(size_t size)
{
    char *made = malloc(size + 1);

    assert_non_null(made);
    memset(made, 'x', size);
    made[size] = '\0';
    return made;
}

static void test_validate(void **state)
{
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    char *long_word = text_of(LIMIT_HEADWORD_BYTES + 1), *huge = text_of(LIMIT_ENTRY_BYTES + 1);
    char *many[LIMIT_TERMS + 1], *bad[] = {text("fine"), text("\xff\xfe")}, *empty[] = {text("")};
    struct err err;

    for (size_t i = 0; i < LIMIT_TERMS + 1; i++)
        many[i] = text("name");
    entry.headword = text("");
    assert_int_equal(entry_validate(&entry, &err), ERR_INVALID);
    entry.headword = long_word;
    assert_int_equal(entry_validate(&entry, &err), ERR_TOO_LARGE);
    assert_non_null(strstr(err.text, "headword"));
    entry.headword = text("bro\xc3ken");
    assert_int_equal(entry_validate(&entry, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "byte 3"));
    entry.headword = text("word");
    assert_int_equal(entry_validate(&entry, &err), 0);
    entry.terms = many;
    entry.n_terms = LIMIT_TERMS + 1;
    assert_int_equal(entry_validate(&entry, &err), ERR_TOO_LARGE);
    entry.n_terms = LIMIT_TERMS;
    assert_int_equal(entry_validate(&entry, &err), 0);
    entry.terms = bad;
    entry.n_terms = 2;
    assert_int_equal(entry_validate(&entry, &err), ERR_INVALID);
    entry.terms = empty;
    entry.n_terms = 1;
    assert_int_equal(entry_validate(&entry, &err), ERR_INVALID);
    entry.n_terms = 0;
    entry.body = huge;
    assert_int_equal(entry_validate(&entry, &err), ERR_TOO_LARGE);
    huge[LIMIT_ENTRY_BYTES] = '\0';
    assert_int_equal(entry_validate(&entry, &err), ERR_TOO_LARGE); /* together with the headword */
    assert_non_null(strstr(err.text, "entry"));
    huge[LIMIT_ENTRY_BYTES - 4] = '\0';
    assert_int_equal(entry_validate(&entry, &err), 0);
    free(long_word);
    free(huge);
}

static void test_equal(void **state)
{
    char *terms[] = {text("a"), text("b")}, *others[] = {text("b"), text("a")};
    Quire__Entry x = QUIRE__ENTRY__INIT, y = QUIRE__ENTRY__INIT;

    x.headword = y.headword = text("word");
    x.version = 5;
    x.has_version = 1;
    x.sense = text("");
    assert_true(
        entry_equal(&x, &y)); /* the version is not content; an absent text is an empty one */
    x.terms = y.terms = terms;
    x.n_terms = y.n_terms = 2;
    assert_true(entry_equal(&x, &y));
    y.terms = others;
    assert_false(entry_equal(&x, &y));
    y.terms = terms;
    y.body = text("more");
    assert_false(entry_equal(&x, &y));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_category_keys),
        cmocka_unit_test(test_weights_of_nothing),
        cmocka_unit_test(test_many_words),
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_validate),
        cmocka_unit_test(test_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
