/* JSON lines and TSV, the checks that every entry passes, compression, and what is no text. */
#include "import_helper.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static struct taken taken;

static int clear(void **state)
{
    taken_clear(&taken);
    return 0;
}

static void test_export_shape(void **state)
{
    take_text(
        "{\"headword\":\"Cram\xc3\xa9r\\u2013Rao\",\"sense\":\"s\",\"terms\":[\"a\",\"b\"],"
        "\"categories\":[\"c\"],\"body\":\"x\\ny\",\"source\":\"there\","
        "\"attributes\":{\"k\":\"v\"},\"version\":7,\"collection\":\"z\",\"unknown\":[1]}\n\n",
        IMPORT_AUTO, &taken);
    assert_int_equal(taken.problem_count, 0);
    assert_int_equal(taken.count, 1);
    const struct import_entry *entry = &taken.entries[0];
    assert_string_equal(entry->headword, "Cram\xc3\xa9r\xe2\x80\x93Rao");
    assert_string_equal(entry->sense, "s");
    assert_int_equal(entry->term_count, 2);
    assert_string_equal(entry->terms[1], "b");
    assert_string_equal(entry->categories[0], "c");
    assert_string_equal(entry->body, "x\ny");
    assert_string_equal(entry->source, "there");
    assert_string_equal(entry->attributes[0].value, "v");
}

static void test_corpus_shape(void **state)
{
    take_text(
        "{\"id\":\"7\",\"terms\":[\"Title\",\"other\"],\"category\":[\"single\"],\"body\":\"b\"}\n"
        "{\"id\":\"8\",\"terms\":[\"\"],\"category\":[],\"body\":\"b\"}\n"
        "{\"id\":\"9\",\"terms\":[],\"body\":\"b\"}",
        IMPORT_JSONL, &taken);
    assert_int_equal(taken.count, 3);
    assert_string_equal(taken.entries[0].headword, "Title");
    assert_string_equal(taken.entries[0].sense, "7");
    assert_int_equal(taken.entries[0].term_count, 1);
    assert_string_equal(taken.entries[0].categories[0], "single");
    assert_string_equal(taken.entries[1].headword, "8");
    assert_string_equal(taken.entries[2].headword, "9");
}

static void test_bad_lines_fail_alone(void **state)
{
    static const char good[] = "{\"headword\":\"x\"}\n";
    char text[8192] = "";
    size_t bad = 0;
    static const char *const lines[] = {"{\"headword\": \"cut off\n",
                                        "{\"headword\":5}\n",
                                        "[1,2]\n",
                                        "{\"headword\":\"bad \xff\"}\n",
                                        "{\"headword\":\"nul \\u0000\"}\n",
                                        "{\"body\":\"no headword\"}\n",
                                        "{\"headword\":\" \"}\n",
                                        "{\"headword\":\"x\",\"terms\":{}}\n",
                                        "{\"headword\":\"x\",\"terms\":[1]}\n",
                                        "{\"headword\":\"x\",\"terms\":\"y\"}\n",
                                        "{\"headword\":\"x\",\"attributes\":{\"a\":1}}\n",
                                        "{\"headword\":\"x\",\"body\":1}\n",
                                        "{\"headword\":\"x\"} {\"headword\":\"y\"}\n",
                                        "null\n"};

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        strcat(text, lines[i]);
        strcat(text, good);
        bad++;
    }
    take_text(text, IMPORT_JSONL, &taken);
    assert_int_equal(taken.count, bad);
    assert_int_equal(taken.problem_count, bad);
    for (size_t i = 0; i < bad; i++) {
        assert_int_equal(taken.problems[i].line, 2 * i + 1);
        assert_int_equal(taken.problems[i].severity, IMPORT_BAD_ENTRY);
        assert_true(strlen(taken.problems[i].text) > 5);
    }
}

static void test_limits(void **state)
{
    struct import_entry entry;
    struct err err = {0};
    char *long_text = malloc((8u << 20) + 1);

    memset(long_text, 'x', 8u << 20);
    long_text[8u << 20] = '\0';
    import_entry_init(&entry);
    assert_int_equal(import_entry_check(&entry, &err), ERR_INVALID);
    entry.headword = "x";
    assert_int_equal(import_entry_check(&entry, &err), 0);
    entry.body = long_text;
    entry.body_size = 8u << 20;
    assert_int_equal(import_entry_check(&entry, &err), ERR_TOO_LARGE);
    assert_non_null(strstr(err.text, "8 MiB"));
    entry.body_size--;
    assert_int_equal(import_entry_check(&entry, &err), 0);
    entry.headword = long_text + (8u << 20) - 1025;
    assert_int_equal(import_entry_check(&entry, &err), ERR_TOO_LARGE);
    entry.headword = "x";
    entry.term_count = 257;
    assert_int_equal(import_entry_check(&entry, &err), ERR_TOO_LARGE);
    entry.term_count = 0;
    entry.sense = long_text + (8u << 20) - 4097;
    assert_int_equal(import_entry_check(&entry, &err), ERR_TOO_LARGE);
    free(long_text);
    import_entry_deinit(&entry);
}

/* A line of 20 MB is skipped with a sentence, the next one is read. */
static void test_huge_line(void **state)
{
    struct import_run *run = import_run_create();
    struct buf text = {0};

    buf_append_str(&text, "{\"headword\":\"huge\",\"body\":\"");
    memset(buf_extend(&text, 20u << 20), 'x', 20u << 20);
    buf_append_str(&text, "\"}\n{\"headword\":\"next\"}\n");
    take_memory(buf_bytes(&text), IMPORT_JSONL, run, &taken);
    assert_int_equal(taken.count, 1);
    assert_string_equal(taken.entries[0].headword, "next");
    assert_int_equal(taken.problem_count, 1);
    assert_int_equal(taken.problems[0].line, 1);
    buf_deinit(&text);
    import_run_destroy(run);
}

static void test_tsv(void **state)
{
    take_text("one\tbody one\ntwo\ta|b| \tc\tbody \\n two\nthree\tx\ty\n\nbad\xff\ty\n",
              IMPORT_AUTO, &taken);
    assert_int_equal(taken.count, 2);
    assert_int_equal(taken.problem_count, 2);
    assert_string_equal(taken.entries[0].body, "body one");
    assert_int_equal(taken.entries[1].term_count, 2);
    assert_string_equal(taken.entries[1].categories[0], "c");
    assert_string_equal(taken.entries[1].body, "body \\n two");
    assert_int_equal(taken.problems[0].line, 3);
    assert_int_equal(taken.problems[1].line, 5);
    taken_clear(&taken);
    take_text("Body\tSense\theadword\nthe body\tthe sense\tword\nb\t\n", IMPORT_TSV, &taken);
    assert_int_equal(taken.count, 1);
    assert_string_equal(taken.entries[0].headword, "word");
    assert_string_equal(taken.entries[0].sense, "the sense");
    assert_string_equal(taken.entries[0].body, "the body");
    assert_int_equal(taken.problem_count, 1); /* no headword */
}

/* ---- compression ---- */

static const char line[] = "{\"headword\":\"word\",\"body\":\"some text that repeats, repeats\"}\n";

static struct buf many_lines(size_t count)
{
    struct buf text = {0};

    for (size_t i = 0; i < count; i++)
        buf_append_str(&text, line);
    return text;
}

static struct buf gzipped(struct bytes text)
{
    z_stream stream = {0};
    struct buf out = {0};

    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&stream, text.size) + 64;
    stream.next_in = (Bytef *)(uintptr_t)text.data;
    stream.avail_in = (uInt)text.size;
    stream.next_out = buf_extend(&out, room);
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.size -= stream.avail_out;
    deflateEnd(&stream);
    return out;
}

static struct buf zstded(struct bytes text)
{
    struct buf out = {0};
    size_t room = ZSTD_compressBound(text.size);
    size_t size = ZSTD_compress(buf_extend(&out, room), room, text.data, text.size, 3);

    assert_false(ZSTD_isError(size));
    out.size = size;
    return out;
}

static void check_packed(struct buf packed)
{
    struct import_run *run = import_run_create();

    take_memory(buf_bytes(&packed), IMPORT_AUTO, run, &taken);
    assert_int_equal(taken.count, 200);
    assert_int_equal(taken.problem_count, 0);
    taken_clear(&taken);
    /* Cut anywhere behind the first lines: what was there is read, then one sentence. */
    for (size_t cut = 8; cut < packed.size; cut++) {
        struct importer *importer = NULL;
        struct err err = {0};
        if (importer_open_memory(bytes_of(packed.data, cut), IMPORT_JSONL, run, &importer, &err) !=
            0) {
            assert_int_equal(err.code, ERR_CORRUPT);
            continue;
        }
        take_all(importer, &taken);
        assert_true(taken.problem_count >= 1);
        assert_int_equal(taken.problems[taken.problem_count - 1].severity, IMPORT_BAD_FILE);
        taken_clear(&taken);
    }
    import_run_destroy(run);
    buf_deinit(&packed);
}

static void test_gzip(void **state)
{
    struct buf text = many_lines(100), packed, second;

    packed = gzipped(buf_bytes(&text)); /* two members in one file */
    second = gzipped(buf_bytes(&text));
    buf_append_bytes(&packed, buf_bytes(&second));
    buf_deinit(&second);
    buf_deinit(&text);
    struct import_run *run = import_run_create();
    take_memory(buf_bytes(&packed), IMPORT_AUTO, run, &taken);
    assert_int_equal(taken.count, 200);
    import_run_destroy(run);
    buf_deinit(&packed);
    taken_clear(&taken);
    text = many_lines(200);
    check_packed(gzipped(buf_bytes(&text)));
    buf_deinit(&text);
}

static void test_zstd(void **state)
{
    struct buf text = many_lines(200);

    check_packed(zstded(buf_bytes(&text)));
    buf_deinit(&text);
}

static void test_no_text(void **state)
{
    struct import_run *run = import_run_create();
    struct importer *importer = NULL;
    struct err err = {0};

    assert_int_equal(importer_open_memory(bytes_of("\x7f"
                                                   "ELF\0\0\1",
                                                   8),
                                          IMPORT_AUTO, run, &importer, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.text, "binary"));
    assert_int_equal(
        importer_open_memory(bytes_of("\xff\xfe{\0", 4), IMPORT_JSONL, run, &importer, &err),
        ERR_INVALID);
    assert_non_null(strstr(err.text, "UTF-16"));
    assert_int_equal(importer_open("/nonexistent/file", IMPORT_AUTO, run, &importer, &err),
                     ERR_NOT_FOUND);
    assert_int_equal(importer_open("/", IMPORT_AUTO, run, &importer, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "directory"));
    take_memory(bytes_of(NULL, 0), IMPORT_JSONL, run, &taken);
    assert_int_equal(taken.count + taken.problem_count, 0);
    import_run_destroy(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_export_shape, clear),
        cmocka_unit_test_teardown(test_corpus_shape, clear),
        cmocka_unit_test_teardown(test_bad_lines_fail_alone, clear),
        cmocka_unit_test_teardown(test_limits, clear),
        cmocka_unit_test_teardown(test_huge_line, clear),
        cmocka_unit_test_teardown(test_tsv, clear),
        cmocka_unit_test_teardown(test_gzip, clear),
        cmocka_unit_test_teardown(test_zstd, clear),
        cmocka_unit_test_teardown(test_no_text, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
