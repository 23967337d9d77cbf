/* Settings from a command line and from files; addresses of processes. */
#include "proto/base/log.h"
#include "proto/base/settings.h"
#include "proto/rpc/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct values {
    const char *name, *url;
    uint32_t count;
    size_t size, some;
    enum log_level level;
    bool flag, act;
};

#define TABLE(values)                                                                              \
    {                                                                                              \
        SETTING_TEXT("name", &(values)->name),                                                     \
            SETTING_VALID("url", &(values)->url, url_valid, URL_MEANING),                          \
            SETTING_COUNT("count", &(values)->count, 2, 70),                                       \
            SETTING_SIZE("size", &(values)->size, 0), SETTING_SIZE("some", &(values)->some, 1),    \
            SETTING_LEVEL("level", &(values)->level), SETTING_FLAG("flag", &(values)->flag),       \
            SETTING_ACT("act", &(values)->act)                                                     \
    }

static int read_text(const char *text, struct values *values, struct err *err)
{
    static char kept[8][4096]; /* what the values point to */
    static int turn;
    const struct setting table[] = TABLE(values);
    char *copy = kept[turn++ % 8];
    snprintf(copy, sizeof kept[0], "%s", text);
    return settings_read_text(table, sizeof table / sizeof *table, "a.conf", copy, strlen(copy),
                              err);
}

static void test_file(void **state)
{
    struct values values = {.level = LOG_INFO, .flag = true};
    struct err err = {0};
    (void)state;
    assert_int_equal(read_text("# said of it\r\n\n  name =  a name = with blanks # no comment \n"
                               "\turl=tcp://host:1\ncount = 70\nsize = 0\nsome = 3K\n"
                               "level = debug\nflag = no\r\n   #end",
                               &values, &err),
                     0);
    assert_string_equal(values.name, "a name = with blanks # no comment");
    assert_string_equal(values.url, "tcp://host:1");
    assert_int_equal(values.count, 70);
    assert_int_equal(values.size, 0);
    assert_int_equal(values.some, 3072);
    assert_int_equal(values.level, LOG_DEBUG);
    assert_false(values.flag);
    assert_int_equal(read_text("", &values, &err), 0);
}

static void test_bad_lines(void **state)
{
    static const struct {
        const char *text, *sentence;
    } bad[] = {
        {"name", "a.conf:1: \"name\" is no line of the form name = value"},
        {"\n\nnmae = x", "a.conf:3: there is no setting \"nmae\""},
        {"= x", "a.conf:1: there is no setting \"\""},
        {"--name = x", "a.conf:1: there is no setting \"--name\""},
        {"name =", "a.conf:1: name is not empty"},
        {"name = x\nflag = yes\nname = x", "a.conf:3: name is set in line 1 already"},
        {"act = yes", "a.conf:1: act is for the command line only"},
        {"count = 1", "a.conf:1: count is a number from 2 to 70"},
        {"count = 71", "a.conf:1: count is a number from 2 to 70"},
        {"count = 5x", "a.conf:1: count is a number from 2 to 70"},
        {"count = -5", "a.conf:1: count is a number from 2 to 70"},
        {"count = 4294967301", "a.conf:1: count is a number from 2 to 70"},
        {"count = 99999999999999999999", "a.conf:1: count is a number from 2 to 70"},
        {"size = 5Q", "a.conf:1: size is a size like 512M, or 0"},
        {"some = 0", "a.conf:1: some is a size like 512M"},
        {"level = loud", "a.conf:1: level is debug, info, warn or error"},
        {"flag = true", "a.conf:1: flag is yes or no"},
        {"url = host:1", "a.conf:1: url is an address of the form tcp://HOST:PORT"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct values values = {.count = 7};
        struct err err = {0};
        assert_int_equal(read_text(bad[i].text, &values, &err), ERR_INVALID);
        assert_string_equal(err.text, bad[i].sentence);
        assert_int_equal(values.count, 7);
    }
    struct values values;
    const struct setting table[] = TABLE(&values);
    struct err err;
    char zero[] = "name = a\0b";
    assert_int_equal(settings_read_text(table, 1, "z", zero, sizeof zero - 1, &err), ERR_INVALID);
}

/* ---- the command line ---- */

static void write_file(char *path, const char *text)
{
    strcpy(path, "/tmp/quire-settings-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static int read_command(struct values *values, struct settings *settings, const char *const *words,
                        enum settings_verdict *verdict, struct err *err)
{
    const struct setting table[] = TABLE(values);
    char *argv[32] = {(char *)"program"};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++)
        argv[argc] = (char *)words[argc - 1];
    return settings_read(settings, table, sizeof table / sizeof *table, argc, argv, verdict, err);
}

static void test_what_wins(void **state)
{
    char one[64], two[64];
    struct values values = {.count = 3, .level = LOG_INFO};
    struct settings settings;
    enum settings_verdict verdict;
    struct err err = {0};
    (void)state;
    write_file(one, "count = 10\nname = of one\nlevel = warn\nflag = yes\n");
    write_file(two, "count = 20\nname = of two\n");
    const char *const words[] = {"--count=30", "--config", one, "--config", two, "--act", NULL};
    assert_int_equal(read_command(&values, &settings, words, &verdict, &err), 0);
    assert_int_equal(verdict, SETTINGS_START);
    assert_int_equal(values.count, 30);         /* the command line, wherever it stands */
    assert_string_equal(values.name, "of two"); /* the later file */
    assert_int_equal(values.level, LOG_WARN);   /* only one says it */
    assert_true(values.flag && values.act);
    settings_free(&settings);
    const char *const check[] = {"--check-config", "--config", one, NULL};
    assert_int_equal(read_command(&values, &settings, check, &verdict, &err), 0);
    assert_int_equal(verdict, SETTINGS_CHECK);
    settings_free(&settings);
    const char *const help[] = {"--help", "--count", "1", NULL};
    assert_int_equal(read_command(&values, &settings, help, &verdict, &err), 0);
    assert_int_equal(verdict, SETTINGS_HELP);
    settings_free(&settings);
    unlink(one);
    unlink(two);
}

static void refuses(const char *const *words, int code, const char *sentence)
{
    struct values values = {0};
    struct settings settings;
    enum settings_verdict verdict;
    struct err err = {0};
    assert_int_equal(read_command(&values, &settings, words, &verdict, &err), code);
    assert_string_equal(err.text, sentence);
    settings_free(&settings);
}

static void test_bad_commands(void **state)
{
    char path[64], sentence[128], *big = malloc(SETTINGS_FILE_MAX + 2);
    (void)state;
    refuses((const char *const[]){"--count", "1", NULL}, ERR_INVALID,
            "--count is a number from 2 to 70");
    refuses((const char *const[]){"--name", "", NULL}, ERR_INVALID, "--name is not empty");
    refuses((const char *const[]){"word", NULL}, ERR_INVALID,
            "there is an argument too many: word");
    refuses((const char *const[]){"--wrong", NULL}, ERR_INVALID, ""); /* getopt has said it */
    refuses((const char *const[]){"--config", "/nowhere/a.conf", NULL}, ERR_IO,
            "/nowhere/a.conf: No such file or directory");
    refuses((const char *const[]){"--config", "/", NULL}, ERR_IO, "/: Is a directory");
    memset(big, '\n', SETTINGS_FILE_MAX + 1);
    big[SETTINGS_FILE_MAX + 1] = '\0';
    write_file(path, big);
    snprintf(sentence, sizeof sentence, "%s: a configuration file has at most 65536 bytes", path);
    refuses((const char *const[]){"--config", path, NULL}, ERR_TOO_LARGE, sentence);
    big[SETTINGS_FILE_MAX] = '\0';
    unlink(path);
    write_file(path, big);
    const char *const many[] = {
        "--config", path, "--config", path, "--config", path, "--config", path, "--config", path,
        "--config", path, "--config", path, "--config", path, NULL,       NULL, NULL};
    struct values values = {0};
    struct settings settings;
    enum settings_verdict verdict;
    struct err err = {0};
    assert_int_equal(read_command(&values, &settings, many, &verdict, &err), 0);
    settings_free(&settings);
    const char *words[20];
    memcpy(words, many, sizeof many);
    words[16] = "--config";
    words[17] = path;
    words[18] = NULL;
    refuses(words, ERR_INVALID, "--config stands 8 times at most");
    unlink(path);
    free(big);
}

/* ---- addresses ---- */

static void test_urls(void **state)
{
    static const char *const good[] = {"tcp://127.0.0.1:7400", "tcp://*:0",
                                       "tcp://a-b.c.d:65535",  "tcp4://name:1",
                                       "ipc:///tmp/x",         "tcp://[::1]:7400"};
    static const char *const bad[] = {"",
                                      "tcp://",
                                      "tcp://a",
                                      "tcp://a:",
                                      "tcp://:1",
                                      "tcp://a:65536",
                                      "tcp://a:1x",
                                      "tcp://a:1:2",
                                      "tcp://a/b:1",
                                      "tcp://a b:1",
                                      "udp://a:1",
                                      "a:1",
                                      "tcp://[::1]",
                                      "tcp://[::1:7400",
                                      "ipc://",
                                      "tcp://u@a:1"};
    char host[16], list[64] = "tcp://a:1,,tcp://b:2";
    const char *pieces[2];
    int port;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!url_valid(good[i]))
            fail_msg("%s is good", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (url_valid(bad[i]))
            fail_msg("%s is bad", bad[i]);
    assert_true(urls_valid("tcp://a:1") && urls_valid("tcp://a:1,tcp://b:2"));
    assert_false(urls_valid("") || urls_valid("tcp://a:1,") || urls_valid("tcp://a:1,b"));
    assert_true(url_split("tcp://[::1]:7400", host, sizeof host, &port));
    assert_string_equal(host, "::1");
    assert_int_equal(port, 7400);
    assert_false(url_split("tcp://sixteen-letters-:1", host, sizeof host, &port));
    assert_int_equal(urls_split(list, pieces, 2), 2);
    assert_string_equal(pieces[0], "tcp://a:1");
    assert_string_equal(pieces[1], "tcp://b:2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),      cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_what_wins), cmocka_unit_test(test_bad_commands),
        cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
