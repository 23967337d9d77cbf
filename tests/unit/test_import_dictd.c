/* dictd databases: names and bodies out of the shapes that Debian's packages have, damage, and the
 * packages themselves where they are installed. */
#include "import_helper.h"

#include "proto/text/key.h"

static struct taken taken;

static int clear(void **state)
{
    taken_clear(&taken);
    return 0;
}

static void put_number(struct buf *out, uint64_t value)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char digits[16];
    size_t count = 0;

    do {
        digits[count++] = alphabet[value & 63];
        value >>= 6;
    } while (value > 0);
    while (count > 0)
        buf_append_u8(out, (uint8_t)digits[--count]);
}

struct database {
    struct buf index, dict;
};

/* Adds an article and an index line for each word of a list that ends with NULL. */
static void add_article(struct database *database, const char *article, const char *const *words)
{
    for (; *words != NULL; words++) {
        buf_append_str(&database->index, *words);
        buf_append_u8(&database->index, '\t');
        put_number(&database->index, database->dict.size);
        buf_append_u8(&database->index, '\t');
        put_number(&database->index, strlen(article));
        buf_append_u8(&database->index, '\n');
    }
    buf_append_str(&database->dict, article);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void take_database(struct database *database)
{
    struct import_run *run = import_run_create();
    struct importer *importer = NULL;
    struct err err = {0};

    assert_int_equal(importer_open_dictd_memory(buf_bytes(&database->index),
                                                buf_bytes(&database->dict), run, &importer, &err),
                     0);
    take_all(importer, &taken);
    import_run_destroy(run);
    buf_deinit(&database->index);
    buf_deinit(&database->dict);
}

static void test_shapes(void **state)
{
    struct database database = {0};

    add_article(&database, "00-database-short\n  A name\n", WORDS("00-database-short"));
    add_article(&database, "'s Gravenhage\n    n 1: the site of\n         the seat\n",
                WORDS("'s gravenhage"));
    add_article(&database, "Abandon \\A*ban\"don\\, v. t.\n   To give up.\n   [1913 Webster]\n",
                WORDS("abandon", "Abandoned"));
    add_article(&database, "Atari ST%%%Atari\nSTE%%%ST\n\n   <computer> A computer.\n\n",
                WORDS("atari st", "st", "ste"));
    add_article(&database, "abandon\n   another one\n", WORDS("Abandon"));
    add_article(&database, "caf\xe9\n   coffee \xe0 la carte\n", WORDS("cafe"));
    take_database(&database);
    assert_int_equal(taken.problem_count, 0);
    assert_int_equal(taken.count, 5);

    assert_string_equal(taken.entries[0].headword, "'s Gravenhage");
    assert_string_equal(taken.entries[0].body, "n 1: the site of\n     the seat");
    assert_string_equal(taken.entries[1].headword, "Abandon");
    assert_int_equal(taken.entries[1].term_count, 1);
    assert_string_equal(taken.entries[1].terms[0], "Abandoned");
    assert_string_equal(taken.entries[1].body,
                        "Abandon \\A*ban\"don\\, v. t.\nTo give up.\n[1913 Webster]");
    assert_string_equal(taken.entries[2].headword, "Atari ST");
    assert_int_equal(taken.entries[2].term_count, 3);
    assert_string_equal(taken.entries[2].terms[0], "Atari STE");
    assert_string_equal(taken.entries[2].body, "<computer> A computer.");
    assert_string_equal(taken.entries[3].headword, "abandon");
    assert_string_equal(taken.entries[3].sense, "2"); /* a homograph */
    assert_string_equal(taken.entries[4].headword, "caf\xc3\xa9");
    assert_non_null(strstr(taken.entries[4].body, "coffee \xc3\xa0 la carte"));
}

static void test_original_words(void **state)
{
    struct database database = {0};

    buf_append_str(&database.dict, "something else\n  body\n");
    buf_append_str(&database.index, "shape\tA\tW\tSh\xc3\xa5pe\n");
    take_database(&database);
    assert_int_equal(taken.count, 1);
    assert_string_equal(taken.entries[0].headword, "Sh\xc3\xa5pe");
}

static void test_damage(void **state)
{
    struct database database = {0};

    add_article(&database, "good\n  body\n", WORDS("good"));
    buf_append_str(&database.index,
                   "no columns\nbad number\t!\tB\nbeyond\t////\tB\nhuge\tA\t/////\n"
                   "\tA\tB\nlong number\tAAAAAAAAA\tB\n");
    take_database(&database);
    assert_int_equal(taken.count, 1);
    assert_int_equal(taken.problem_count, 6);
    for (size_t i = 0; i < taken.problem_count; i++)
        assert_true(taken.problems[i].line >= 2);
}

/* Articles may overlap, and be named in any order. */
static void test_overlap(void **state)
{
    struct database database = {0};

    buf_append_str(&database.dict, "aa\n  one\nbb\n  two\n");
    buf_append_str(&database.index, "bb\tJ\tJ\naa\tA\tS\nab\tA\tJ\n");
    take_database(&database);
    assert_int_equal(taken.problem_count, 0);
    assert_int_equal(taken.count, 3);
}

/* ---- the packages ---- */

static void read_package(const char *name, size_t expect)
{
    struct import_run *run = import_run_create();
    struct importer *importer = NULL, *again = NULL;
    struct import_entry entry;
    struct import_problem problem;
    enum import_step step;
    struct err err = {0};
    char path[128];
    size_t count = 0;

    snprintf(path, sizeof path, "/usr/share/dictd/%s.dict.dz", name);
    if (importer_open(path, IMPORT_AUTO, run, &importer, &err) != 0) {
        assert_int_equal(err.code, ERR_NOT_FOUND);
        print_message("[  SKIPPED ] package dict-%s is not installed\n", name);
        import_run_destroy(run);
        skip();
    }
    import_entry_init(&entry);
    while ((step = importer_next(importer, &entry, &problem)) != IMPORT_END) {
        if (step == IMPORT_PROBLEM)
            fail_msg("%s:%zu: %s", name, problem.line, problem.text);
        count++;
    }
    import_entry_deinit(&entry);
    importer_close(importer);
    if (expect != 0)
        assert_int_equal(count, expect);
    assert_true(count > 10000);
    /* The other file of the same database: nothing is left to read. */
    snprintf(path, sizeof path, "/usr/share/dictd/%s.index", name);
    assert_int_equal(importer_open(path, IMPORT_AUTO, run, &again, &err), 0);
    assert_int_equal(importer_next(again, &entry, &problem), IMPORT_END);
    importer_close(again);
    import_run_destroy(run);
}

static void test_wordnet(void **state)
{
    read_package("wn", 147306);
}

static void test_gcide(void **state)
{
    read_package("gcide", 126236);
}

static void test_foldoc(void **state)
{
    read_package("foldoc", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_shapes, clear),
        cmocka_unit_test_teardown(test_original_words, clear),
        cmocka_unit_test_teardown(test_damage, clear),
        cmocka_unit_test_teardown(test_overlap, clear),
        cmocka_unit_test(test_wordnet),
        cmocka_unit_test(test_gcide),
        cmocka_unit_test(test_foldoc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
