/* The pages of a process, over real sockets on ports that the kernel picks: what each says, what
 * else is refused, that neither garbage nor many idle connections are in the way of a good request,
 * and that a loop which does not turn is noticed (time is the test's). */
#include "proto/http/http.h"
#include "proto/http/http_address.h"
#include "proto/http/observer.h"
#include "proto/http/process_metrics.h"
#include "proto/http/request_metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_S 30 /* only ends a test that hangs */

static _Atomic uint64_t now;

static uint64_t test_now(void)
{
    return atomic_load(&now);
}

struct fixture {
    struct metrics *metrics;
    struct metric *counter;
    struct http_server *server;
};

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct err err = {0};
    atomic_store(&now, 1000000);
    fixture->metrics = metrics_create();
    fixture->counter = metrics_counter(fixture->metrics, "quire_tests_total", "Tests.");
    const struct http_settings settings = {"127.0.0.1:0", fixture->metrics, test_now};
    assert_int_equal(http_create(&settings, &fixture->server, &err), 0);
    assert_true(http_port(fixture->server) > 0);
    *state = fixture;
    return 0;
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    http_destroy(fixture->server);
    metrics_destroy(fixture->metrics);
    free(fixture);
    return 0;
}

/* ---- a client ---- */

static int dial(struct fixture *fixture)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)http_port(fixture->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {.tv_sec = WAIT_S};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    size_t size = strlen(text);
    assert_int_equal(send(fd, text, size, MSG_NOSIGNAL), (ssize_t)size);
}

static char *receive_all(int fd)
{
    struct buf buf = {0};
    char piece[4096];
    ssize_t size;
    while ((size = recv(fd, piece, sizeof piece, 0)) > 0)
        buf_append(&buf, piece, (size_t)size);
    close(fd);
    (void)buf_text(&buf);
    return (char *)buf_steal(&buf, &(size_t){0});
}

/* The whole answer; to be freed. */
static char *ask(struct fixture *fixture, const char *method, const char *path)
{
    char request[512];
    int fd = dial(fixture);
    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
             method, path);
    send_text(fd, request);
    return receive_all(fd);
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void check(struct fixture *fixture, const char *method, const char *path, int status,
                  const char *body)
{
    char line[32], *answer = ask(fixture, method, path);
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    assert_non_null(answer);
    if (strncmp(answer, line, strlen(line)) != 0)
        fail_msg("%s %s: %.100s", method, path, answer);
    if (body != NULL)
        assert_string_equal(body_of(answer), body);
    free(answer);
}

/* ---- tests ---- */

static void test_pages(void **state)
{
    struct fixture *fixture = *state;
    check(fixture, "GET", "/healthz", 200, "ok\n");
    check(fixture, "GET", "/readyz", 503, "it is starting\n");
    http_set_ready(fixture->server, true, "");
    check(fixture, "GET", "/readyz", 200, "ready\n");
    http_set_ready(fixture->server, false, "2 of 5 ranges are being opened");
    check(fixture, "GET", "/readyz", 503, "2 of 5 ranges are being opened\n");
    check(fixture, "GET", "/readyz?verbose=1", 503, "2 of 5 ranges are being opened\n");
    metric_add(fixture->counter, 41);
    metric_add(fixture->counter, 1);
    char *answer = ask(fixture, "GET", "/metrics");
    assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_string_equal(body_of(answer), "# HELP quire_tests_total Tests.\n"
                                         "# TYPE quire_tests_total counter\n"
                                         "quire_tests_total 42\n");
    free(answer);
}

static void test_long_reason(void **state)
{
    struct fixture *fixture = *state;
    char reason[2 * HTTP_REASON_MAX], want[HTTP_REASON_MAX + 1];
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    http_set_ready(fixture->server, false, reason);
    snprintf(want, sizeof want, "%.*s\n", HTTP_REASON_MAX - 1, reason);
    check(fixture, "GET", "/readyz", 503, want);
}

static void test_head(void **state)
{
    struct fixture *fixture = *state;
    char *answer = ask(fixture, "HEAD", "/metrics");
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    assert_string_equal(body_of(answer), "");
    assert_non_null(strstr(answer, "Content-Length: "));
    assert_int_equal(atoi(strstr(answer, "Content-Length: ") + 16),
                     (int)strlen("# HELP quire_tests_total Tests.\n"
                                 "# TYPE quire_tests_total counter\nquire_tests_total 0\n"));
    free(answer);
    check(fixture, "HEAD", "/readyz", 503, "");
    check(fixture, "HEAD", "/nothing", 404, "");
}

static void test_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const paths[] = {"/",          "/metrics/", "/metric",
                                        "/healthz/x", "//metrics", "/%2e%2e/etc/passwd"};
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        check(fixture, "GET", paths[i], 404, "there are /metrics, /healthz and /readyz\n");
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char *answer = ask(fixture, methods[i], "/metrics");
        assert_int_equal(strncmp(answer, "HTTP/1.1 405 ", 13), 0);
        assert_non_null(strstr(answer, "Allow: GET, HEAD\r\n"));
        free(answer);
    }
    check(fixture, "POST", "/nothing", 404, NULL);
}

/* A body that never comes, and one that comes although nobody wants it: neither is waited for. */
static void test_bodies(void **state)
{
    struct fixture *fixture = *state;
    int fd = dial(fixture);
    send_text(fd, "POST /metrics HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n");
    char *answer = receive_all(fd);
    assert_int_equal(strncmp(answer, "HTTP/1.1 405 ", 13), 0);
    free(answer);
    fd = dial(fixture);
    send_text(fd, "GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                  "Content-Length: 5\r\n\r\nhello");
    answer = receive_all(fd);
    assert_string_equal(answer, "");
    free(answer);
    check(fixture, "GET", "/healthz", 200, "ok\n");
}

/* Two requests on one connection, as Prometheus sends them. */
static void test_kept_alive(void **state)
{
    struct fixture *fixture = *state;
    int fd = dial(fixture);
    char text[4096];
    size_t size = 0;
    send_text(fd, "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
    do {
        ssize_t got = recv(fd, text + size, sizeof text - 1 - size, 0);
        assert_true(got > 0);
        size += (size_t)got;
        text[size] = '\0';
    } while (strstr(text, "\r\n\r\nok\n") == NULL);
    send_text(fd, "GET /readyz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    char *answer = receive_all(fd);
    assert_string_equal(body_of(answer), "it is starting\n");
    free(answer);
}

/* Whatever comes, it gets an error or no answer, and the next one is served. */
static void test_garbage(void **state)
{
    struct fixture *fixture = *state;
    static const char *const garbage[] = {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                                          "hello\r\n\r\n",
                                          "GET\r\n\r\n",
                                          "GET /metrics\r\n\r\n",
                                          "GET /metrics HTTP/9.9\r\n\r\n",
                                          "GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
                                          "\r\n\r\n\r\n\r\n",
                                          "\xff\xfe\xfd\xfc\r\n\r\n"};
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        int fd = dial(fixture);
        send_text(fd, garbage[i]);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        char *answer = receive_all(fd);
        if (strstr(answer, " 200 ") != NULL && strstr(garbage[i], "/metrics") == NULL)
            fail_msg("garbage %zu was served: %s", i, answer);
        free(answer);
        check(fixture, "GET", "/healthz", 200, "ok\n");
    }
    /* A head without an end is cut off at its limit. */
    int fd = dial(fixture);
    char header[1024];
    memset(header, 'a', sizeof header - 1);
    memcpy(header, "X: ", 3);
    memcpy(header + sizeof header - 3, "\r\n", 3);
    send_text(fd, "GET /metrics HTTP/1.1\r\n");
    for (int i = 0; i < 64; i++)
        if (send(fd, header, strlen(header), MSG_NOSIGNAL) < 0)
            break;
    char *answer = receive_all(fd);
    assert_null(strstr(answer, " 200 "));
    free(answer);
    check(fixture, "GET", "/healthz", 200, "ok\n");
}

/* Five times as many as there may be, some of them in the middle of a request. */
static void test_idle_connections(void **state)
{
    enum { COUNT = 5 * HTTP_CONNECTIONS_MAX };
    struct fixture *fixture = *state;
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = dial(fixture);
        if (i % 3 == 0)
            (void)send(fds[i], "GET /metr", 9, MSG_NOSIGNAL);
        if (i % 50 == 0)
            check(fixture, "GET", "/healthz", 200, "ok\n");
    }
    for (int i = 0; i < 10; i++)
        check(fixture, "GET", "/metrics", 200, NULL);
    /* The oldest had to go; the newest are still there, and are answered. */
    char byte;
    assert_true(recv(fds[0], &byte, 1, 0) <= 0);
    int last = COUNT - 1;
    send_text(fds[last], last % 3 == 0 ? "ics HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"
                                       : "GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: "
                                         "x\r\n\r\n");
    char *answer = receive_all(fds[last]);
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    free(answer);
    for (int i = 0; i < last; i++)
        close(fds[i]);
    check(fixture, "GET", "/healthz", 200, "ok\n");
}

/* One more than there may be: the oldest is closed, and only that one. (It is not its idle time
 * that is over: then the second oldest would be gone as well.) */
static void test_oldest_goes(void **state)
{
    struct fixture *fixture = *state;
    int fds[HTTP_CONNECTIONS_MAX + 1];
    char byte;
    for (int i = 0; i <= HTTP_CONNECTIONS_MAX; i++)
        fds[i] = dial(fixture);
    assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
    send_text(fds[1], "GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n");
    char *answer = receive_all(fds[1]);
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    free(answer);
    close(fds[0]);
    for (int i = 2; i <= HTTP_CONNECTIONS_MAX; i++)
        close(fds[i]);
}

static void test_stale_beat(void **state)
{
    struct fixture *fixture = *state;
    atomic_fetch_add(&now, HTTP_SILENCE_MS - 1);
    check(fixture, "GET", "/healthz", 200, "ok\n");
    atomic_fetch_add(&now, 1);
    check(fixture, "GET", "/healthz", 503, "the event loop has not turned for 10 s\n");
    atomic_fetch_add(&now, 5000);
    check(fixture, "GET", "/healthz", 503, "the event loop has not turned for 15 s\n");
    http_beat(fixture->server);
    check(fixture, "GET", "/healthz", 200, "ok\n");
}

static void test_addresses(void **state)
{
    struct fixture *fixture = *state;
    static const char *const good[] = {"127.0.0.1:0", "localhost:9090", "0.0.0.0:65535"};
    static const char *const bad[] = {
        "",        ":80",     "127.0.0.1", "127.0.0.1:", "host:65536",    "host:123456",
        "host:-1", "host:8o", "[::1]:80",  "::1:80",     "http://host:1", "a b:1"};
    char taken[64];
    struct err err;
    int fd, port;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(http_address_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(http_address_valid(bad[i]));
        assert_int_equal(http_address_listen(bad[i], &fd, &port, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, "HOST:PORT"));
    }
    snprintf(taken, sizeof taken, "localhost:%d", http_port(fixture->server));
    struct http_server *second;
    const struct http_settings settings = {taken, fixture->metrics, NULL};
    assert_int_equal(http_create(&settings, &second, &err), ERR_IO);
    assert_null(second);
    assert_non_null(strstr(err.text, taken));
    assert_non_null(strstr(err.text, "Address already in use"));
    assert_int_equal(http_address_listen("192.0.2.1:0", &fd, &port, &err), ERR_IO); /* not ours */
    assert_int_equal(http_address_listen("no.such.name.invalid:1", &fd, &port, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "no.such.name.invalid:1"));
    http_destroy(NULL);
}

/* The value of a sample; -1: there is none. */
static double sample(const char *text, const char *name)
{
    char line[200];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    return at != NULL ? strtod(at + strlen(line), NULL) : -1;
}

static void test_process(void **state)
{
    struct fixture *fixture = *state;
    struct process_metrics *process = process_metrics_create(fixture->metrics, "test");
    struct buf buf = {0};
    struct rusage usage;
    int more[7];
    metrics_render(fixture->metrics, &buf);
    char *before = strdup(buf_text(&buf));
    buf_clear(&buf);
    for (int i = 0; i < 7; i++)
        more[i] = dup(0);
    metrics_render(fixture->metrics, &buf);
    const char *text = buf_text(&buf);
    assert_int_equal((int)(sample(text, "process_open_fds") - sample(before, "process_open_fds")),
                     7);
    getrusage(RUSAGE_SELF, &usage);
    assert_true(sample(text, "process_resident_memory_bytes") > 100e3);
    assert_true(sample(text, "process_resident_memory_bytes") <= (double)usage.ru_maxrss * 1024);
    assert_true(sample(text, "process_threads") >= 2); /* this one, and the pages' */
    double started = sample(text, "process_start_time_seconds"), today = (double)time(NULL);
    assert_true(started <= today + 1 && started > today - 3600);
    assert_true(sample(text, "process_cpu_seconds_total") > 0);
    assert_true(sample(text, "process_max_fds") >= sample(text, "process_open_fds"));
    assert_int_equal(
        (int)sample(text, "quire_build_info{program=\"test\",version=\"" QUIRE_VERSION "\"}"), 1);
    for (int i = 0; i < 7; i++)
        close(more[i]);
    /* The registry calls it until it is gone. */
    metrics_destroy(fixture->metrics);
    process_metrics_free(process);
    http_destroy(fixture->server);
    fixture->server = NULL;
    fixture->metrics = NULL;
    buf_deinit(&buf);
    free(before);
}

static void test_requests(void **state)
{
    struct fixture *fixture = *state;
    static const struct request_metrics_names names = {"quire_r_total", "R.", "quire_r_seconds",
                                                       "S."};
    static const char *const operations[] = {"read", "write"};
    struct request_metrics *requests =
        request_metrics_create(fixture->metrics, &names, operations, 2);
    struct buf buf = {0};
    for (int i = 0; i < 3; i++)
        request_metrics_ended(requests, 0, 0, 100);
    request_metrics_ended(requests, 1, ERR_NOT_FOUND, 5);
    request_metrics_ended(requests, 1, ERR_UNAVAILABLE, 5);
    request_metrics_ended(requests, 1, ERR_DEADLINE, 5);
    metrics_render(fixture->metrics, &buf);
    const char *text = buf_text(&buf);
    assert_int_equal((int)sample(text, "quire_r_total{operation=\"read\",outcome=\"ok\"}"), 3);
    assert_int_equal((int)sample(text, "quire_r_total{operation=\"read\",outcome=\"failed\"}"), 0);
    assert_int_equal((int)sample(text, "quire_r_total{operation=\"write\",outcome=\"ok\"}"), 0);
    assert_int_equal((int)sample(text, "quire_r_total{operation=\"write\",outcome=\"refused\"}"),
                     1);
    assert_int_equal((int)sample(text, "quire_r_total{operation=\"write\",outcome=\"failed\"}"), 2);
    assert_int_equal((int)sample(text, "quire_r_seconds_count{operation=\"read\"}"), 3);
    assert_int_equal((int)sample(text, "quire_r_seconds_count{operation=\"write\"}"), 3);
    request_metrics_free(requests);
    buf_deinit(&buf);
}

struct looked {
    int count;
    uv_loop_t *loop;
};

static void look(void *data, struct observer *observer)
{
    struct looked *looked = data;
    observer_set_ready(observer, looked->count > 0, "not looked at twice");
    if (++looked->count == 3)
        uv_stop(looked->loop);
}

/* What systemd would hear on the socket of a unit. */
struct supervisor {
    int fd;
    char heard[4096]; /* messages, each with a newline after it */
};

static void supervise(struct supervisor *supervisor)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *supervisor = (struct supervisor){.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)};
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "quire-test-http-%d", getpid());
    socklen_t size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1));
    assert_int_equal(bind(supervisor->fd, (struct sockaddr *)&address, size), 0);
    char name[128];
    snprintf(name, sizeof name, "@%s", address.sun_path + 1);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "5000000", 1);
}

static void hear(struct supervisor *supervisor)
{
    size_t used = strlen(supervisor->heard);
    ssize_t size;
    while ((size = recv(supervisor->fd, supervisor->heard + used,
                        sizeof supervisor->heard - used - 2, 0)) > 0) {
        used += (size_t)size;
        supervisor->heard[used++] = '\n';
        supervisor->heard[used] = '\0';
    }
}

static int times(const char *text, const char *what)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        count++;
    return count;
}

static void test_notify(void **state)
{
    (void)state;
#ifndef QUIRE_SYSTEMD
    skip();
#endif
    uv_loop_t loop;
    struct looked looked = {.loop = &loop};
    struct supervisor supervisor;
    struct observer *observer;
    struct err err;
    uv_loop_init(&loop);
    const struct observer_settings settings = {
        .loop = &loop, .program = "test", .look = look, .data = &looked};
    assert_int_equal(observer_create(&settings, &observer, &err), 0);
    assert_null(observer); /* nobody watches */
    supervise(&supervisor);
    assert_int_equal(observer_create(&settings, &observer, &err), 0);
    assert_non_null(observer);
    assert_non_null(observer_metrics(observer));
    uv_run(&loop, UV_RUN_DEFAULT); /* until it was looked at three times */
    hear(&supervisor);
    assert_int_equal(times(supervisor.heard, "STATUS=not looked at twice\n"), 1);
    assert_int_equal(times(supervisor.heard, "READY=1\nSTATUS=ready\n"), 1);
    assert_int_equal(times(supervisor.heard, "READY=1"), 1);
    assert_int_equal(times(supervisor.heard, "WATCHDOG=1\n"), 3);
    assert_true(strstr(supervisor.heard, "not looked at") < strstr(supervisor.heard, "READY=1"));
    looked.count = -100; /* not ready any more, and once more: that is no second start */
    observer_look(observer);
    looked.count = 10;
    observer_look(observer);
    observer_stopping(observer);
    hear(&supervisor);
    assert_int_equal(times(supervisor.heard, "READY=1"), 1);
    assert_int_equal(times(supervisor.heard, "STATUS=not looked at twice\n"), 2);
    assert_int_equal(times(supervisor.heard, "STATUS=ready\n"), 2);
    assert_int_equal(times(supervisor.heard, "STOPPING=1\n"), 1);
    observer_close(observer);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    close(supervisor.fd);
}

static void test_observer(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct looked looked = {.loop = &loop};
    struct observer *observer;
    struct err err;
    uv_loop_init(&loop);
    struct observer_settings settings = {
        .loop = &loop, .address = "bad", .program = "test", .look = look, .data = &looked};
    assert_int_equal(observer_create(&settings, &observer, &err), ERR_INVALID);
    assert_null(observer);
    settings.address = "127.0.0.1:0";
    assert_int_equal(observer_create(&settings, &observer, &err), 0);
    assert_int_equal(looked.count, 0);
    observer_look(observer);
    assert_int_equal(looked.count, 1);
    uv_run(&loop, UV_RUN_DEFAULT); /* at once, and OBSERVER_MS later */
    assert_int_equal(looked.count, 3);
    assert_non_null(observer_metrics(observer));
    observer_close(observer);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_null(observer_metrics(NULL));
    observer_look(NULL);
    observer_close(NULL);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pages, start, stop),
        cmocka_unit_test_setup_teardown(test_long_reason, start, stop),
        cmocka_unit_test_setup_teardown(test_head, start, stop),
        cmocka_unit_test_setup_teardown(test_refused, start, stop),
        cmocka_unit_test_setup_teardown(test_bodies, start, stop),
        cmocka_unit_test_setup_teardown(test_kept_alive, start, stop),
        cmocka_unit_test_setup_teardown(test_garbage, start, stop),
        cmocka_unit_test_setup_teardown(test_idle_connections, start, stop),
        cmocka_unit_test_setup_teardown(test_oldest_goes, start, stop),
        cmocka_unit_test_setup_teardown(test_stale_beat, start, stop),
        cmocka_unit_test_setup_teardown(test_addresses, start, stop),
        cmocka_unit_test_setup_teardown(test_process, start, stop),
        cmocka_unit_test_setup_teardown(test_requests, start, stop),
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_notify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
