/* The glossary importer: header lines told from what looks like them, both layouts, running
 * numbers; and the four real pages, where they are present. */
#include "import_helper.h"

#define BOLD_BODY(word)                                                                            \
    "**" word "** is a thing of which it is said, at some length, that it does what it does "      \
    "well.\n"

static struct taken taken;

static int clear(void **state)
{
    taken_clear(&taken);
    return 0;
}

static const char flat[] = "alpha beta,gamma\n" BOLD_BODY(
    "Alpha beta") "1. Design the thing (uniform random, adaptive "
                  "sampling, natural inputs)\n"
                  "- one, two, three\n"
                  "```python\n"
                  "def alpha(x, y):\n"
                  "\n"
                  "for x, y in data:\n"
                  "import os, sys\n"
                  "```\n"
                  "| a, b | c |\n|---|---|\n| 1, 2 | 3 |\n"
                  "$$\nV_{a,b} = x, y\n$$\n"
                  "It ends here, as all things do.\n"
                  "beta,NMOS PMOS,Short Name,\xce\xb8 angle\n"
                  "Beta is one of the letters, and there is no bold type in this line which is "
                  "long enough.\n"
                  "gamma, delta\n" BOLD_BODY("Gamma") "Trailing spaces stay  \nThe end.\n\n";

static void test_flat_layout(void **state)
{
    take_text(flat, IMPORT_GLOSSARY, &taken);
    assert_int_equal(taken.problem_count, 0);
    assert_int_equal(taken.count, 3);

    const struct import_entry *entry = &taken.entries[0];
    assert_string_equal(entry->headword, "alpha beta");
    assert_string_equal(entry->sense, "gamma");
    assert_int_equal(entry->category_count, 1);
    assert_string_equal(entry->categories[0], "gamma");
    assert_int_equal(entry->term_count, 0);
    assert_int_equal(entry->line, 1);
    /* The body is the lines between, byte for byte. */
    const char *start = strchr(flat, '\n') + 1, *end = strstr(flat, "\nbeta,");
    assert_int_equal(entry->body_size, (size_t)(end - start));
    assert_memory_equal(entry->body, start, entry->body_size);

    entry = &taken.entries[1];
    assert_string_equal(entry->headword, "beta");
    assert_string_equal(entry->sense, "NMOS PMOS,Short Name,\xce\xb8 angle");
    assert_int_equal(entry->term_count, 3);
    assert_string_equal(entry->terms[2], "\xce\xb8 angle");
    assert_int_equal(entry->category_count, 0);

    entry = &taken.entries[2];
    assert_string_equal(entry->sense, "delta");
    assert_true(strstr(entry->body, "Trailing spaces stay  \nThe end.") != NULL);
    assert_int_equal(entry->body[entry->body_size - 1], '.');
}

static void test_page_layout(void **state)
{
    take_text(
        "\xe2\x86\x90 Back to Chat\n\nSome Glossary\n\n982 terms, and definitions\n\nA B C All\n"
        "Showing page 12 of 20 (982 entries)\n\n"
        "alpha, first\n\n" BOLD_BODY(
            "Alpha") "\n"
                     "beta,one,two\n\n" BOLD_BODY(
                         "Beta") "\nA second paragraph, of a body that has two.\n\n"
                                 "gamma\n\n" BOLD_BODY("Gamma"),
        IMPORT_AUTO, &taken);
    assert_int_equal(taken.problem_count, 0);
    assert_int_equal(taken.count, 3);
    assert_string_equal(taken.entries[0].headword, "alpha");
    assert_string_equal(taken.entries[0].categories[0], "first");
    assert_true(strstr(taken.entries[1].body, "\n\nA second paragraph") != NULL);
    assert_string_equal(taken.entries[2].headword, "gamma");
    assert_string_equal(taken.entries[2].sense, "");
}

static void test_running_numbers(void **state)
{
    struct import_run *run = import_run_create();
    static const char page[] = "card,doc,see\n" BOLD_BODY("Card one") "card,doc,see\n" BOLD_BODY(
        "Card two") "card, doc, see\n" BOLD_BODY("Card one");
    static const char later[] =
        "card,doc,see\n" BOLD_BODY("Card two") "dust,doc\n" BOLD_BODY("Dust");

    take_memory(bytes_str(page), IMPORT_GLOSSARY, run, &taken);
    assert_int_equal(taken.count, 3);
    assert_string_equal(taken.entries[0].sense, "doc,see");
    assert_string_equal(taken.entries[1].sense, "doc,see (2)");
    /* another way to write the sense, so another identity */
    assert_string_equal(taken.entries[2].sense, "doc, see");
    taken_clear(&taken);
    /* A page that overlaps begins with the second of them: it is the same entry. */
    take_memory(bytes_str(later), IMPORT_GLOSSARY, run, &taken);
    assert_int_equal(taken.count, 2);
    assert_string_equal(taken.entries[0].sense, "doc,see (2)");
    import_run_destroy(run);
}

/* A fence that was never closed must not hide the entries behind it. */
static void test_unclosed_fence(void **state)
{
    take_text("alpha,one\n" BOLD_BODY("Alpha") "```\ncode, of some kind\n"
                                               "beta,two\n" BOLD_BODY(
                                                   "Beta") "gamma,three\n" BOLD_BODY("Gamma"),
              IMPORT_GLOSSARY, &taken);
    assert_int_equal(taken.count, 3);
}

/* An out-of-order line that looks like a header line is none when all the others are sorted. */
static void test_order_decides(void **state)
{
    take_text(
        "ma,one\n" BOLD_BODY("Ma") "mb,one\n" BOLD_BODY(
            "Mb") "query, key, value\n"
                  "**Query** is what is asked.\n"
                  "mc,one\n" BOLD_BODY("Mc") "md,one\n" BOLD_BODY("Md") "me,one\n" BOLD_BODY("Me") "mf,one\n" BOLD_BODY("Mf") "mg,one\n" BOLD_BODY(
                      "Mg") "mh,one\n" BOLD_BODY("Mh") "mi,one\n" BOLD_BODY("Mi") "mj,"
                                                                                  "one\n" BOLD_BODY(
                                                                                      "Mj") "mk,"
                                                                                            "one"
                                                                                            "\n" BOLD_BODY(
                                                                                                "M"
                                                                                                "k"),
        IMPORT_GLOSSARY, &taken);
    assert_int_equal(taken.count, 11);
    assert_true(strstr(taken.entries[1].body, "query, key, value\n**Query**") != NULL);
}

static void test_windows_lines_and_bom(void **state)
{
    take_text("\xef\xbb\xbf"
              "alpha,one\r\n**Alpha** is it.\r\n- a\r\nbeta,two\r\n**Beta** is that.\r\n",
              IMPORT_GLOSSARY, &taken);
    assert_int_equal(taken.count, 2);
    assert_string_equal(taken.entries[0].headword, "alpha");
    assert_string_equal(taken.entries[0].body, "**Alpha** is it.\n- a");
}

static void test_not_a_glossary(void **state)
{
    take_text("Dear reader,\nthis is a letter. It has no entries.\n", IMPORT_GLOSSARY, &taken);
    assert_int_equal(taken.count, 0);
    assert_int_equal(taken.problem_count, 1);
    assert_int_equal(taken.problems[0].severity, IMPORT_BAD_FILE);
    taken_clear(&taken);
    take_text(" \n\n", IMPORT_GLOSSARY, &taken);
    assert_int_equal(taken.problem_count, 0);
}

static void test_bad_bytes_fail_alone(void **state)
{
    take_text("alpha,one\n" BOLD_BODY("Alpha") "beta,two\n" BOLD_BODY(
                  "Beta \xff\xfe") "gamma,three\n" BOLD_BODY("Gamma"),
              IMPORT_GLOSSARY, &taken);
    assert_int_equal(taken.count, 2);
    assert_int_equal(taken.problem_count, 1);
    assert_int_equal(taken.problems[0].line, 3);
    assert_int_equal(taken.problems[0].severity, IMPORT_BAD_ENTRY);
}

/* ---- the real pages ---- */

static size_t count_headword(const char *headword)
{
    size_t count = 0;

    for (size_t i = 0; i < taken.count; i++)
        count += strcmp(taken.entries[i].headword, headword) == 0;
    return count;
}

static void test_real_pages(void **state)
{
    struct import_run *run = import_run_create();
    size_t read = 0, distinct = 0, headwords = 0;
    char name[64];

    for (int page = 0; page < 4; page++) {
        struct importer *importer = NULL;
        struct err err = {0};
        snprintf(name, sizeof name, "ai-glossary/page-%03d.txt", page);
        const char *path = corpus_path(name);
        if (path == NULL) {
            import_run_destroy(run);
            skip();
        }
        assert_int_equal(importer_open(path, IMPORT_AUTO, run, &importer, &err), 0);
        assert_int_equal(importer_format(importer), IMPORT_GLOSSARY);
        take_all(importer, &taken);
        assert_int_equal(taken.count - read, 50);
        read = taken.count;
    }
    import_run_destroy(run);
    assert_int_equal(taken.problem_count, 0);
    for (size_t i = 0; i < taken.count; i++) {
        const struct import_entry *entry = &taken.entries[i];
        bool same = false, headword = false;
        for (size_t j = 0; j < i; j++) {
            bool equal = strcmp(taken.entries[j].headword, entry->headword) == 0;
            headword = headword || equal;
            if (equal && strcmp(taken.entries[j].sense, entry->sense) == 0) {
                assert_string_equal(taken.entries[j].body, entry->body);
                same = true;
            }
        }
        distinct += !same;
        headwords += !headword;
    }
    assert_int_equal(distinct, 138);
    assert_int_equal(headwords, 116);
    assert_int_equal(count_headword("model merging"), 5);
    assert_int_equal(count_headword("mosfet equations"), 1);
    assert_int_equal(count_headword("1. Design query distribution (uniform random"), 0);
}

/* Any cut of a real page gives entries and problems, never a crash. */
static void test_every_cut(void **state)
{
    struct import_run *run = import_run_create();
    const char *path = corpus_path("ai-glossary/page-000.txt");

    if (path == NULL) {
        import_run_destroy(run);
        skip();
    }
    static char text[200000];
    FILE *file = fopen(path, "re");
    size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    for (size_t cut = 0; cut < size; cut += 1 + cut % 997) {
        take_memory(bytes_of(text, cut), IMPORT_GLOSSARY, run, &taken);
        assert_true(taken.count <= 50);
        taken_clear(&taken);
    }
    import_run_destroy(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_flat_layout, clear),
        cmocka_unit_test_teardown(test_page_layout, clear),
        cmocka_unit_test_teardown(test_running_numbers, clear),
        cmocka_unit_test_teardown(test_unclosed_fence, clear),
        cmocka_unit_test_teardown(test_order_decides, clear),
        cmocka_unit_test_teardown(test_windows_lines_and_bom, clear),
        cmocka_unit_test_teardown(test_not_a_glossary, clear),
        cmocka_unit_test_teardown(test_bad_bytes_fail_alone, clear),
        cmocka_unit_test_teardown(test_real_pages, clear),
        cmocka_unit_test_teardown(test_every_cut, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
