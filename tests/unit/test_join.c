/* By whom a coordinator is taken in on a first start, and which of several begins the cluster. */
#include "coordinator/join.h"
#include "proto/base/data_dir.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SELF "tcp://127.0.0.1:9"
#define OTHER "tcp://192.0.2.1:7400" /* nobody is asked whether it listens */

static int setup(void **state)
{
    char *dir = strdup("/tmp/quire-join-XXXXXX");
    *state = mkdtemp(dir);
    return *state == NULL;
}

static int teardown(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    int code = system(command);
    free(*state);
    return code;
}

static void wants(const char *dir, const char *join, const char *wanted)
{
    char urls[DATA_DIR_TEXT_MAX];
    struct err err;
    assert_int_equal(join_wanted(dir, join, SELF, urls, &err), 0);
    assert_string_equal(urls, wanted);
}

static void test_no_list(void **state)
{
    wants(*state, NULL, "");
    wants(*state, SELF, ""); /* the first, and the only one */
    wants(*state, NULL, "");
}

/* What it was told once counts until it has joined, whatever it is told then. */
static void test_others_first(void **state)
{
    wants(*state, OTHER "," SELF, OTHER);
    wants(*state, NULL, OTHER);
    wants(*state, SELF "," OTHER, OTHER); /* it has begun to join: it begins no cluster */
}

static void test_took_part(void **state)
{
    char path[256];
    snprintf(path, sizeof path, "%s/raft", (char *)*state);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/raft/metadata1", (char *)*state);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    wants(*state, OTHER, "");
    wants(*state, SELF "," OTHER, "");
}

/* One that comes first and has an empty folder finds the others, who serve already. */
static void test_first_finds_others(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char list[128];
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 4), 0);
    getsockname(fd, (struct sockaddr *)&address, &size);
    snprintf(list, sizeof list, SELF ",tcp://127.0.0.1:1,tcp://localhost:%d",
             ntohs(address.sin_port));
    wants(*state, list, list + strlen(SELF ","));
    close(fd);
}

static void test_too_long(void **state)
{
    char list[DATA_DIR_TEXT_MAX + 64] = "", urls[DATA_DIR_TEXT_MAX];
    struct err err;
    while (strlen(list) < DATA_DIR_TEXT_MAX)
        strcat(list, OTHER ",");
    assert_int_equal(join_wanted(*state, list, SELF, urls, &err), ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_took_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_finds_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
