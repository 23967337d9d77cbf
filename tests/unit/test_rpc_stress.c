/* Connections by the thousand are killed, closed, stalled and fed garbage under load, and nothing
 * is lost: each call completes exactly once, each reply that arrives is right to the last byte,
 * nothing hangs, nothing leaks.
 *
 *   two client threads, each a loop with SLOTS peers and WINDOW calls under way on each; they
 * cancel calls, and destroy and create peers, at random two server threads, which answer at once,
 * from a pool, or not until nobody waits any more; they go away and come back on the same port a
 * proxy between them that resets, cuts, damages and stalls connections (chaos_proxy.h) a thread of
 * strangers: raw sockets that send nonsense, half a frame, requests without reading a process that
 * forks servers on an ipc socket and kills them with SIGKILL, or stops them first; it is forked
 * itself before nng has started, since nng must not live across a fork
 *
 * When enough connections have died, chaos ends, and within QUIET_MS every peer must have had an
 * answer again. Then everything is closed, with calls under way, and has to end within CLOSE_MS.
 */
#include "chaos_proxy.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/pool.h"
#include "proto/quire.pb-c.h"
#include "proto/rpc/frame.h"
#include "proto/rpc/rpc.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cmocka.h>

#define CLIENTS 2
#define SERVERS 2
#define SLOTS 20
#define WINDOW 6
#define TICK_MS 10
#define DEATHS 1200       /* chaos goes on until so many connections have died, */
#define CHAOS_MIN_MS 7000 /* and for so long, so that stalls are noticed */
#define CHAOS_MAX_MS 25000
#define QUIET_MS 10000
#define CLOSE_MS 5000

enum kind { KIND_AT_ONCE = 1000, KIND_POOL = 1002, KIND_HELD = 1004 };

static const struct rpc_identity server_identity = {RPC_ROLE_SHARD, "server", "cluster"};
static const struct rpc_identity client_identity = {RPC_ROLE_COORDINATOR, "client", "cluster"};

static struct {
    atomic_bool calm; /* chaos has ended */
    atomic_int destroyed, strangers, restarts, kills;
    _Atomic uint64_t submitted, completed, good;
    _Atomic uint64_t status[32];
    atomic_int answered_slots; /* since calm */
    atomic_int handled, replied;
    char ipc[64];
    struct proxy proxy;
} shared;

/* Checked in every build and on every thread, where cmocka's own assertions must not be used. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- a loop on a thread, with a tick ---- */

struct runner {
    pthread_t thread;
    uv_loop_t loop;
    uv_timer_t timer;
    struct rpc *rpc;
    uint64_t random;
    atomic_bool stop, stopped;
    uint64_t closing_ms;
    void (*tick)(struct runner *runner);
};

static void runner_closed(void *data)
{
    struct runner *runner = data;
    uint64_t took = clock_ms() - runner->closing_ms;
    if (took > CLOSE_MS)
        fprintf(stderr, "rpc_close took %d ms\n", (int)took);
    MUST(took <= CLOSE_MS);
    uv_close((uv_handle_t *)&runner->timer, NULL);
}

static void runner_tick(uv_timer_t *timer)
{
    struct runner *runner = timer->data;
    if (runner->closing_ms) {
        MUST(clock_ms() - runner->closing_ms <= CLOSE_MS); /* stuck */
    } else if (atomic_load(&runner->stop)) {
        runner->closing_ms = clock_ms();
        rpc_close(runner->rpc, runner_closed, runner);
    } else {
        runner->tick(runner);
    }
}

static void *runner_main(void *data)
{
    struct runner *runner = data;
    uv_run(&runner->loop, UV_RUN_DEFAULT);
    MUST(uv_loop_close(&runner->loop) == 0);
    atomic_store(&runner->stopped, true);
    return NULL;
}

static void runner_init(struct runner *runner, const struct rpc_identity *identity, uint64_t seed,
                        void (*tick)(struct runner *))
{
    struct err err = {0};
    runner->random = seed * 2654435761u + 1;
    runner->tick = tick;
    MUST(uv_loop_init(&runner->loop) == 0);
    runner->rpc = rpc_create(&runner->loop, identity, &err);
    MUST(runner->rpc);
    uv_timer_init(&runner->loop, &runner->timer);
    runner->timer.data = runner;
    uv_timer_start(&runner->timer, runner_tick, TICK_MS, TICK_MS);
}

static void runner_start(struct runner *runner)
{
    MUST(pthread_create(&runner->thread, NULL, runner_main, runner) == 0);
}

/* ---- servers ---- */

struct server {
    struct runner runner; /* first */
    struct rpc_server *rpc_server;
    char url[64];
    int port;
    struct pool *pool;
    struct list held;
};

struct work {
    struct pool_job job;
    struct rpc_request *request;
};

static void reply(struct rpc_request *request)
{
    atomic_fetch_add(&shared.replied, 1);
    rpc_reply(request, (uint16_t)(request->kind + 1), request->payload);
}

static void run_work(struct pool_job *job)
{
    struct work *work = (struct work *)job;
    struct rpc_request *request = work->request;
    if (request->payload.size & 1)
        usleep(1000);
    reply(request); /* the work lies in the request's arena, and is gone now */
}

static void handle(void *data, struct rpc_request *request)
{
    struct server *server = data;
    atomic_fetch_add(&shared.handled, 1);
    if (request->kind == KIND_HELD) {
        list_push(&server->held, &request->link);
    } else if (request->kind == KIND_POOL && server->pool) {
        struct work *work = arena_alloc(&request->arena, sizeof *work);
        MUST(work);
        *work = (struct work){.job.run = run_work, .request = request};
        if (pool_submit(server->pool, &work->job)) {
            atomic_fetch_add(&shared.replied, 1);
            rpc_reply_error(request, ERR_FULL, "the pool is full");
        }
    } else {
        reply(request);
    }
}

static void answer_held(struct server *server, bool all)
{
    struct list *link = server->held.next;
    while (link != &server->held) {
        struct rpc_request *request = list_entry(link, struct rpc_request, link);
        link = link->next;
        if (all || rpc_request_abandoned(request)) {
            list_remove(&request->link);
            reply(request);
        }
    }
}

static void server_tick(struct runner *runner)
{
    struct server *server = (struct server *)runner;
    answer_held(server, false);
    if (!server->rpc_server) {
        struct err err; /* fails until the old listener has really gone */
        rpc_server_create(runner->rpc, server->url, handle, server, &server->rpc_server, &err);
    } else if (!atomic_load(&shared.calm) && chaos_random(&runner->random, 150) == 0) {
        atomic_fetch_add(&shared.restarts, 1);
        rpc_server_destroy(server->rpc_server);
        server->rpc_server = NULL;
    }
}

static void server_init(struct server *server, const char *url, uint64_t seed)
{
    struct err err = {0};
    list_init(&server->held);
    runner_init(&server->runner, &server_identity, seed, server_tick);
    if (rpc_server_create(server->runner.rpc, url, handle, server, &server->rpc_server, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    server->port = rpc_server_port(server->rpc_server);
    snprintf(server->url, sizeof server->url, "tcp://127.0.0.1:%d", server->port);
}

/* ---- clients ---- */

struct caller {
    struct rpc_call call;
    struct slot *slot;
    bool busy;
    uint16_t kind;
    size_t size;
    uint64_t hash;
};

struct slot {
    struct client *client;
    struct rpc_peer *peer;
    char url[96];
    bool answered; /* since calm */
    struct caller callers[WINDOW];
};

struct client {
    struct runner runner; /* first */
    struct slot slots[SLOTS];
    uint8_t bytes[1 << 20];
};

static void caller_done(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                        struct bytes payload)
{
    struct caller *caller = call->data;
    struct slot *slot = caller->slot;
    MUST(caller->busy); /* exactly once */
    caller->busy = false;
    MUST(err && err->code == status && status >= 0 && status < 32);
    atomic_fetch_add(&shared.completed, 1);
    atomic_fetch_add(&shared.status[status], 1);
    if (status)
        return;
    MUST(kind == caller->kind + 1);
    MUST(payload.size == caller->size && hash64(payload.data, payload.size) == caller->hash);
    atomic_fetch_add(&shared.good, 1);
    if (atomic_load(&shared.calm) && !slot->answered) {
        slot->answered = true;
        atomic_fetch_add(&shared.answered_slots, 1);
    }
}

static size_t random_size(uint64_t *random)
{
    switch (chaos_random(random, 256)) {
    case 0:
        return chaos_random(random, 1 << 20);
    case 1 ... 10:
        return chaos_random(random, 1 << 15);
    default:
        return chaos_random(random, 400);
    }
}

static void caller_start(struct client *client, struct caller *caller)
{
    uint64_t *random = &client->runner.random;
    size_t at = chaos_random(random, 1 << 18), size = random_size(random);
    if (at + size > sizeof client->bytes)
        at = 0;
    uint32_t dice = chaos_random(random, 32);
    caller->kind = dice == 0 ? KIND_HELD : dice < 8 ? KIND_POOL : KIND_AT_ONCE;
    uint32_t timeout = dice == 0 || dice == 9 ? 1 + chaos_random(random, 200) : 3000;
    caller->size = size;
    caller->hash = hash64(client->bytes + at, size);
    caller->busy = true;
    caller->call.data = caller;
    caller->call.done = caller_done;
    atomic_fetch_add(&shared.submitted, 1);
    rpc_call_start(&caller->call, caller->slot->peer, caller->kind,
                   bytes_of(client->bytes + at, size), timeout, at);
    MUST(caller->busy); /* never from inside the submitting call */
}

static void client_tick(struct runner *runner)
{
    struct client *client = (struct client *)runner;
    struct err err = {0};
    struct slot *slot = &client->slots[chaos_random(&runner->random, SLOTS)];
    if (!atomic_load(&shared.calm) && chaos_random(&runner->random, 3) == 0) {
        if (rpc_peer_connected(slot->peer))
            atomic_fetch_add(&shared.destroyed, 1);
        rpc_peer_destroy(slot->peer);
        MUST(!rpc_peer_create(runner->rpc, slot->url, &slot->peer, &err));
    }
    slot = &client->slots[chaos_random(&runner->random, SLOTS)];
    struct caller *caller = &slot->callers[chaos_random(&runner->random, WINDOW)];
    if (caller->busy && chaos_random(&runner->random, 4) == 0)
        rpc_call_cancel(&caller->call);
    for (int i = 0; i < SLOTS; i++)
        for (int j = 0; j < WINDOW; j++)
            if (!client->slots[i].callers[j].busy)
                caller_start(client, &client->slots[i].callers[j]);
}

static void client_init(struct client *client, uint64_t seed)
{
    runner_init(&client->runner, &client_identity, seed, client_tick);
    for (size_t i = 0; i < sizeof client->bytes; i++)
        client->bytes[i] = (uint8_t)chaos_random(&client->runner.random, 256);
    for (int i = 0; i < SLOTS; i++) {
        struct slot *slot = &client->slots[i];
        struct err err = {0};
        slot->client = client;
        if (i % 5 == 0) /* one in five talks to the process that is killed */
            snprintf(slot->url, sizeof slot->url, "ipc://%s", shared.ipc);
        else
            snprintf(slot->url, sizeof slot->url, "tcp://127.0.0.1:%d",
                     shared.proxy.port[i % SERVERS]);
        MUST(!rpc_peer_create(client->runner.rpc, slot->url, &slot->peer, &err));
        for (int j = 0; j < WINDOW; j++)
            slot->callers[j].slot = slot;
    }
}

/* ---- strangers ---- */

static void frame_of(struct buf *out, uint16_t kind, uint64_t id, struct bytes payload)
{
    frame_append(out, &(struct frame){.kind = kind, .id = id, .payload = payload});
}

static void stranger_words(struct buf *out, uint64_t *random)
{
    Quire__Hello hello = QUIRE__HELLO__INIT;
    uint8_t bytes[600];
    hello.protocol = chaos_random(random, 8) ? RPC_PROTOCOL_VERSION : 9;
    hello.role = RPC_ROLE_SHARD;
    hello.cluster_id = chaos_random(random, 8) ? NULL : (char *)"another";
    if (chaos_random(random, 4))
        frame_of(out, QUIRE__KIND__KIND_HELLO, 0,
                 bytes_of(bytes, quire__hello__pack(&hello, bytes)));
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)chaos_random(random, 256);
    uint32_t requests = chaos_random(random, 30);
    for (uint32_t i = 0; i < requests; i++)
        frame_of(out, KIND_AT_ONCE, i, bytes_of(bytes, chaos_random(random, sizeof bytes)));
    switch (chaos_random(random, 4)) {
    case 0:
        buf_append(out, bytes, 1 + chaos_random(random, sizeof bytes - 1));
        break;
    case 1: /* half a frame */
        if (out->size)
            out->size -= chaos_random(random, (uint32_t)(out->size < 300 ? out->size : 300));
        break;
    case 2: /* a damaged one */
        if (out->size)
            out->data[chaos_random(random, (uint32_t)out->size)] ^= 0x10;
        break;
    }
}

/* Each stranger connects to a server itself, speaks, reads nothing, and leaves after a while. */
static void *strangers_main(void *data)
{
    enum { AT_A_TIME = 16 };
    struct server *servers = data;
    uint64_t random = 88172645463325252u;
    int fds[AT_A_TIME];
    memset(fds, 0xff, sizeof fds);
    for (uint32_t n = 0; !atomic_load(&shared.calm); n++) {
        int *fd = &fds[n % AT_A_TIME];
        if (*fd >= 0 && chaos_random(&random, 2))
            chaos_reset(*fd);
        else if (*fd >= 0)
            close(*fd);
        *fd = chaos_connect(servers[n % SERVERS].port);
        if (*fd >= 0) {
            struct buf words = {0};
            stranger_words(&words, &random);
            if (words.size && send(*fd, words.data, words.size, MSG_NOSIGNAL) > 0)
                atomic_fetch_add(&shared.strangers, 1);
            buf_deinit(&words);
        }
        /* Some hold still for long enough to be found silent. */
        usleep(n % 64 == 63 ? 500000 : 15000);
    }
    for (int i = 0; i < AT_A_TIME; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return NULL;
}

/* ---- the process that forks servers and kills them ---- */

static _Noreturn void victim_main(void)
{
    static struct server server;
    char url[96];
    unlink(shared.ipc); /* of the one that was killed */
    snprintf(url, sizeof url, "ipc://%s", shared.ipc);
    atomic_store(&shared.calm, true); /* it is killed from outside, that will do */
    server_init(&server, url, 1);
    uv_run(&server.runner.loop, UV_RUN_DEFAULT);
    _exit(1);
}

/* Told 'c' on `orders`: calm, the present victim may live. End of file: the end. Each death is a
 * byte on `reports`. */
static _Noreturn void killer_main(int orders, int reports)
{
    uint64_t random = 0x9e3779b97f4a7c15;
    bool calm = false;
    for (;;) {
        pid_t victim = fork();
        if (victim == 0)
            victim_main();
        struct pollfd order = {.fd = orders, .events = POLLIN};
        int life = calm ? -1 : 100 + (int)chaos_random(&random, 400);
        if (poll(&order, 1, life) > 0) {
            char byte;
            if (read(orders, &byte, 1) == 1) {
                calm = true;
                poll(&order, 1, -1);
            }
            kill(victim, SIGKILL);
            if (read(orders, &byte, 1) <= 0)
                _exit(0);
        } else if (chaos_random(&random, 16) == 0) {
            kill(victim, SIGSTOP); /* silent, but its connections stand */
            poll(&order, 1, RPC_SILENCE_MS + 1000);
        }
        kill(victim, SIGKILL);
        waitpid(victim, NULL, 0);
        if (write(reports, "x", 1) != 1)
            _exit(0);
    }
}

static pid_t killer_start(int *orders, int *reports)
{
    int down[2], up[2];
    MUST(pipe(down) == 0 && pipe(up) == 0);
    pid_t killer = fork();
    if (killer == 0) {
        close(down[1]);
        close(up[0]);
        killer_main(down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    fcntl(up[0], F_SETFL, O_NONBLOCK);
    *orders = down[1];
    *reports = up[0];
    return killer;
}

/* ---- the test ---- */

static int deaths(int reports)
{
    char bytes[64];
    ssize_t count = read(reports, bytes, sizeof bytes);
    if (count > 0)
        atomic_fetch_add(&shared.kills, (int)count);
    int sum = shared.destroyed + shared.strangers + shared.kills;
    for (int fate = FATE_RESET; fate < FATES; fate++)
        sum += shared.proxy.met[fate];
    return sum;
}

static void report(uint64_t took_ms, int count)
{
    const atomic_int *met = shared.proxy.met;
    printf(
        "%d connections died in %d ms: %d by their peer, %d strangers, %d servers killed; by the "
        "proxy %d reset, %d cut, %d flipped, %d garbage, %d stalled; %d servers restarted\n",
        count, (int)took_ms, shared.destroyed, shared.strangers, shared.kills, met[FATE_RESET],
        met[FATE_CLOSE], met[FATE_FLIP], met[FATE_GARBAGE], met[FATE_STALL], shared.restarts);
}

static void wait_stopped(struct runner *runner)
{
    uint64_t until = clock_ms() + CLOSE_MS + 5000;
    while (!atomic_load(&runner->stopped)) {
        MUST(clock_ms() < until);
        usleep(5000);
    }
    pthread_join(runner->thread, NULL);
}

static struct server servers[SERVERS];
static struct client clients[CLIENTS];

static void start_all(void)
{
    for (int i = 0; i < SERVERS; i++) {
        servers[i].pool = pool_create("stress", 2, 64);
        assert_non_null(servers[i].pool);
        server_init(&servers[i], "tcp://127.0.0.1:0", (uint64_t)i + 10);
        proxy_add(&shared.proxy, servers[i].port);
    }
    proxy_start(&shared.proxy, 4242);
    for (int i = 0; i < CLIENTS; i++)
        client_init(&clients[i], (uint64_t)i + 20);
    for (int i = 0; i < SERVERS; i++)
        runner_start(&servers[i].runner);
    for (int i = 0; i < CLIENTS; i++)
        runner_start(&clients[i].runner);
}

/* The clients close with calls under way, the servers with replies owed. */
static void stop_all(void)
{
    for (int i = 0; i < CLIENTS; i++)
        atomic_store(&clients[i].runner.stop, true);
    for (int i = 0; i < CLIENTS; i++)
        wait_stopped(&clients[i].runner);
    for (int i = 0; i < SERVERS; i++)
        atomic_store(&servers[i].runner.stop, true);
    for (int i = 0; i < SERVERS; i++) {
        wait_stopped(&servers[i].runner);
        answer_held(&servers[i], true);
        pool_destroy(servers[i].pool);
    }
    proxy_stop(&shared.proxy);
}

static int open_sockets(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    MUST(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char target[64];
        ssize_t size = readlinkat(dirfd(folder), entry->d_name, target, sizeof target - 1);
        target[size > 0 ? size : 0] = 0;
        count += strncmp(target, "socket:", 7) == 0;
    }
    closedir(folder);
    return count;
}

static void test_stress(void **state)
{
    (void)state;
    pthread_t strangers;
    char folder[] = "/tmp/quire-stress-XXXXXX";
    int orders, reports, sockets = open_sockets();
    assert_non_null(mkdtemp(folder));
    snprintf(shared.ipc, sizeof shared.ipc, "%s/rpc", folder);
    pid_t killer = killer_start(&orders, &reports); /* before the first use of nng */

    uint64_t began = clock_ms();
    start_all();
    assert_int_equal(pthread_create(&strangers, NULL, strangers_main, servers), 0);

    int count = 0;
    uint64_t now;
    while ((now = clock_ms()) < began + CHAOS_MAX_MS &&
           ((count = deaths(reports)) < DEATHS || now < began + CHAOS_MIN_MS))
        usleep(20000);
    report(now - began, count);

    /* Calm: everybody must get answers again. */
    atomic_store(&shared.proxy.calm, true);
    atomic_store(&shared.calm, true);
    assert_int_equal(write(orders, "c", 1), 1);
    pthread_join(strangers, NULL);
    uint64_t calm = clock_ms();
    while (atomic_load(&shared.answered_slots) < CLIENTS * SLOTS && clock_ms() < calm + QUIET_MS)
        usleep(10000);
    printf("all peers answered %d ms after the end of chaos\n", (int)(clock_ms() - calm));
    assert_int_equal(shared.answered_slots, CLIENTS * SLOTS);

    stop_all();
    /* nng closes descriptors a little later, on a thread of its own. */
    for (int i = 0; i < 200 && open_sockets() > sockets; i++)
        usleep(10000);
    assert_int_equal(open_sockets(), sockets);
    close(orders);
    waitpid(killer, NULL, 0);
    close(reports);
    unlink(shared.ipc);
    rmdir(folder);

    printf("%llu calls, %llu answered, %llu deadline, %llu canceled, %llu unavailable; %d requests "
           "handled\n",
           (unsigned long long)shared.submitted, (unsigned long long)shared.good,
           (unsigned long long)shared.status[ERR_DEADLINE],
           (unsigned long long)shared.status[ERR_CANCELED],
           (unsigned long long)shared.status[ERR_UNAVAILABLE], shared.handled);
    assert_true(count >= DEATHS);
    assert_true(shared.submitted == shared.completed);
    assert_int_equal(shared.handled, shared.replied);
    assert_true(shared.good > 1000);
    assert_true(shared.status[ERR_UNAVAILABLE] > 0);
}

int main(void)
{
    log_configure(LOG_ERROR, false, "stress");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stress)};
    return cmocka_run_group_tests_name("rpc stress", tests, NULL, NULL);
}
