/* A whole shard in this process, spoken to as a coordinator does. */
#include "proto/base/clock.h"
#include "proto/base/data_dir.h"
#include "proto/base/log.h"
#include "proto/base/uuid.h"
#include "proto/quire.pb-c.h"
#include "proto/rpc/rpc.h"
#include "shard/disk_room.h"
#include "shard/score.h"
#include "shard/server_internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 10000

static char folder[64];
static char node[UUID_TEXT_SIZE];
static uint64_t reserve;               /* for the next start */
static Quire__Collection__Order order; /* of the collection that is assigned */
static uv_loop_t loop;
static struct server *server;
static struct rpc *client;
static struct rpc_peer *peer;
static struct rpc_server *leader; /* that grants leases */
static char leader_url[64], cluster_of_leader[UUID_TEXT_SIZE];
static const struct rpc_identity coordinator = {RPC_ROLE_COORDINATOR, "", ""};

/* ---- the fixture ---- */

static void mark(void *data)
{
    *(bool *)data = true;
}

static void run_until(const bool *flag)
{
    uint64_t end = clock_ms() + 2 * TIMEOUT_MS;
    while (!*flag && clock_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(*flag);
}

/* A coordinator that leads, as far as this shard is concerned: it grants leases. */
static void on_lease_wanted(void *data, struct rpc_request *request)
{
    Quire__RegisterReply reply = QUIRE__REGISTER_REPLY__INIT;
    struct buf packed = {0};
    reply.cluster_id = data;
    reply.map_epoch = 1;
    reply.has_lease_ms = true;
    reply.lease_ms = TIMEOUT_MS;
    quire__register_reply__pack(
        &reply, buf_extend(&packed, quire__register_reply__get_packed_size(&reply)));
    rpc_reply(request, QUIRE__KIND__KIND_REGISTER + 1, buf_bytes(&packed));
    buf_deinit(&packed);
}

static void start_server(const char *const *coordinators, size_t count)
{
    struct err err = {0};
    struct server_settings settings = {.loop = &loop,
                                       .dir = folder,
                                       .node_id = node,
                                       .listen = "tcp://127.0.0.1:0",
                                       .coordinators = coordinators,
                                       .coordinator_count = count,
                                       .threads = 2,
                                       .cache_bytes = 8 << 20,
                                       .memory_bytes = 16 << 20,
                                       .disk_reserve = reserve};
    if (server_create(&settings, &server, &err) != 0)
        fail_msg("%s", err.text);
    char url[64];
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", server_port(server));
    assert_int_equal(rpc_peer_create(client, url, &peer, &err), 0);
}

/* With a lease, as soon as it has registered. */
static void start_alone(void)
{
    start_server((const char *const[]){leader_url}, 1);
    uint64_t end = clock_ms() + TIMEOUT_MS;
    while (server->cluster_id[0] == 0 && clock_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
}

static void stop_server(void)
{
    bool stopped = false;
    rpc_peer_destroy(peer);
    server_stop(server, mark, &stopped);
    run_until(&stopped);
}

static int setup_silent(void **state)
{
    struct err err = {0};
    snprintf(folder, sizeof folder, "/tmp/quire-shard-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    uuid_generate_text(node);
    log_configure(LOG_ERROR, false, "test");
    uv_loop_init(&loop);
    client = rpc_create(&loop, &coordinator, &err);
    uuid_generate_text(cluster_of_leader);
    if (client == NULL || rpc_server_create(client, "tcp://127.0.0.1:0", on_lease_wanted,
                                            cluster_of_leader, &leader, &err) != 0)
        return -1;
    snprintf(leader_url, sizeof leader_url, "tcp://127.0.0.1:%d", rpc_server_port(leader));
    return 0;
}

static int setup(void **state)
{
    if (setup_silent(state) != 0)
        return -1;
    start_alone();
    return 0;
}

static int teardown_silent(void **state)
{
    bool closed = false;
    char command[96];
    rpc_close(client, mark, &closed);
    run_until(&closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static int teardown(void **state)
{
    stop_server();
    return teardown_silent(state);
}

struct answer {
    bool done;
    int status;
    uint16_t kind;
    struct err err;
    struct buf payload;
    struct rpc_call call;
};

static void on_answer(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                      struct bytes payload)
{
    struct answer *answer = call->data;
    answer->status = status;
    answer->kind = kind;
    answer->err = *err;
    buf_append_bytes(&answer->payload, payload);
    answer->done = true;
}

static void start_call(struct answer *answer, struct rpc_peer *to, uint16_t kind,
                       const ProtobufCMessage *message)
{
    struct buf packed = {0};
    size_t size = protobuf_c_message_get_packed_size(message);
    protobuf_c_message_pack(message, buf_extend(&packed, size));
    *answer = (struct answer){.call = {.data = answer, .done = on_answer}};
    rpc_call_start(&answer->call, to, kind, buf_bytes(&packed), TIMEOUT_MS, 0);
    buf_deinit(&packed);
}

/* The unpacked reply; NULL for KIND_OK. Fails on an error. Leaks nothing: replies live in `arena`.
 */
static struct arena arena;

static void *ask(uint16_t kind, const ProtobufCMessage *message,
                 const ProtobufCMessageDescriptor *reply)
{
    struct answer answer;
    start_call(&answer, peer, kind, message);
    run_until(&answer.done);
    if (answer.status != 0)
        fail_msg("kind %d: %s: %s", kind, err_name(answer.status), answer.err.text);
    assert_int_equal(answer.kind, reply != NULL ? kind + 1 : QUIRE__KIND__KIND_OK);
    void *unpacked = NULL;
    if (reply != NULL) {
        unpacked = protobuf_c_message_unpack(reply, arena_protobuf(&arena), answer.payload.size,
                                             answer.payload.data);
        assert_non_null(unpacked);
    }
    buf_deinit(&answer.payload);
    return unpacked;
}

static int ask_badly(uint16_t kind, const ProtobufCMessage *message, char *text)
{
    struct answer answer;
    start_call(&answer, peer, kind, message);
    run_until(&answer.done);
    buf_deinit(&answer.payload);
    if (text != NULL)
        strcpy(text, answer.err.text);
    return answer.status;
}

/* ERR_OK, or what the shard said. */
static int try_assign(uint64_t map_epoch, const uint64_t *ids, size_t count, uint64_t epoch,
                      char *text)
{
    Quire__ShardAssign message = QUIRE__SHARD_ASSIGN__INIT;
    Quire__Collection collection = QUIRE__COLLECTION__INIT;
    Quire__Collection *collections[] = {&collection};
    Quire__Range ranges[8], *list[8];
    char *members[] = {node};
    message.has_incarnation = true;
    message.incarnation = server->incarnation;
    collection.name = (char *)"test";
    collection.language = (char *)"en";
    collection.has_id = 1;
    collection.id = 1;
    collection.has_order = true;
    collection.order = order;
    for (size_t i = 0; i < count; i++) {
        quire__range__init(&ranges[i]);
        ranges[i].id = ids[i];
        ranges[i].collection = 1;
        ranges[i].epoch = epoch;
        ranges[i].primary = node;
        ranges[i].n_in_sync = 1;
        ranges[i].in_sync = members;
        ranges[i].has_fresh = ranges[i].fresh = true;
        list[i] = &ranges[i];
    }
    message.map_epoch = map_epoch;
    message.n_collections = 1;
    message.collections = collections;
    message.n_ranges = count;
    message.ranges = list;
    return ask_badly(QUIRE__KIND__KIND_SHARD_ASSIGN, &message.base, text);
}

static void assign(uint64_t map_epoch, const uint64_t *ids, size_t count, uint64_t epoch)
{
    char text[ERR_TEXT_MAX];
    if (try_assign(map_epoch, ids, count, epoch, text) != 0)
        fail_msg("%s", text);
}

static Quire__RangeRef ref_of(uint64_t id, uint64_t epoch)
{
    Quire__RangeRef ref = QUIRE__RANGE_REF__INIT;
    ref.id = id;
    ref.epoch = epoch;
    return ref;
}

static Quire__WriteOp *put_op(const char *headword, const char *body)
{
    Quire__WriteOp *op = arena_alloc(&arena, sizeof *op);
    Quire__Entry *entry = arena_alloc(&arena, sizeof *entry);
    quire__write_op__init(op);
    quire__entry__init(entry);
    entry->headword = arena_strdup(&arena, headword);
    entry->body = arena_strdup(&arena, body);
    entry->n_categories = 1;
    entry->categories = arena_calloc(&arena, 1, sizeof(char *));
    entry->categories[0] = (char *)"Test";
    op->put = entry;
    return op;
}

static Quire__ShardWriteReply *write_one(uint64_t range, const char *headword, const char *body,
                                         const char *client_id, uint64_t batch)
{
    Quire__ShardWrite message = QUIRE__SHARD_WRITE__INIT;
    Quire__RangeRef ref = ref_of(range, 1);
    Quire__WriteOp *ops[] = {put_op(headword, body)};
    message.range = &ref;
    message.client_id = (char *)client_id;
    message.has_batch = client_id != NULL;
    message.batch = batch;
    message.n_ops = 1;
    message.ops = ops;
    return ask(QUIRE__KIND__KIND_SHARD_WRITE, &message.base, &quire__shard_write_reply__descriptor);
}

static Quire__ShardEntries *get(uint64_t range, const char *key)
{
    Quire__ShardGet message = QUIRE__SHARD_GET__INIT;
    Quire__RangeRef ref = ref_of(range, 1);
    message.range = &ref;
    message.key.data = (uint8_t *)key;
    message.key.len = strlen(key);
    return ask(QUIRE__KIND__KIND_SHARD_GET, &message.base, &quire__shard_entries__descriptor);
}

static uint64_t problems(uint64_t range, uint64_t entries)
{
    Quire__ShardVerify message = QUIRE__SHARD_VERIFY__INIT;
    Quire__RangeRef ref = ref_of(range, 1), *refs[] = {&ref};
    message.n_ranges = 1;
    message.ranges = refs;
    Quire__ShardVerifyReply *reply =
        ask(QUIRE__KIND__KIND_SHARD_VERIFY, &message.base, &quire__shard_verify_reply__descriptor);
    assert_int_equal(reply->n_covered, 1);
    assert_int_equal(reply->entries, entries);
    return reply->n_problems;
}

/* ---- tests ---- */

static const uint64_t ONE[] = {1}, TWO[] = {1, 2};

static void what_is_written_is_found_in_every_way(void **state)
{
    arena_init(&arena, 0);
    assign(1, TWO, 2, 1);
    assert_int_equal(
        write_one(1, "Apple", "A round fruit of a tree.", NULL, 0)->results[0]->outcome,
        QUIRE__WRITE_RESULT__OUTCOME__NEW);
    write_one(1, "Apricot", "Another fruit.", NULL, 0);
    write_one(2, "Pear", "A fruit that is not round; trees bear it.", NULL, 0);
    Quire__RangeRef one = ref_of(1, 1), two = ref_of(2, 1), *refs[] = {&one, &two};

    Quire__ShardEntries *entries = get(1, "apple");
    assert_int_equal(entries->n_entries, 1);
    assert_string_equal(entries->entries[0]->headword, "Apple");
    assert_int_equal(entries->entries[0]->version, 1);
    assert_int_equal(get(1, "pear")->n_entries, 0);

    Quire__ShardLookup lookup = QUIRE__SHARD_LOOKUP__INIT;
    lookup.n_ranges = 2;
    lookup.ranges = refs;
    lookup.key.data = (uint8_t *)"pear";
    lookup.key.len = 4;
    entries = ask(QUIRE__KIND__KIND_SHARD_LOOKUP, &lookup.base, &quire__shard_entries__descriptor);
    assert_int_equal(entries->n_entries, 1);
    assert_int_equal(entries->n_covered, 2);

    Quire__ShardBrowse browse = QUIRE__SHARD_BROWSE__INIT;
    browse.range = &one;
    browse.has_limit = browse.has_heads_only = 1;
    browse.limit = 1;
    browse.heads_only = 1;
    entries = ask(QUIRE__KIND__KIND_SHARD_BROWSE, &browse.base, &quire__shard_entries__descriptor);
    assert_int_equal(entries->n_heads, 1);
    assert_string_equal(entries->heads[0]->headword, "Apple");
    assert_true(entries->has_next);
    browse.has_from = 1;
    browse.from = entries->next;
    entries = ask(QUIRE__KIND__KIND_SHARD_BROWSE, &browse.base, &quire__shard_entries__descriptor);
    assert_string_equal(entries->heads[0]->headword, "Apricot");
    assert_false(entries->has_next);

    Quire__ShardLetters letters = QUIRE__SHARD_LETTERS__INIT;
    letters.n_ranges = 2;
    letters.ranges = refs;
    letters.has_before = 1;
    letters.before.data = (uint8_t *)"apr";
    letters.before.len = 3;
    Quire__ShardLettersReply *counts = ask(QUIRE__KIND__KIND_SHARD_LETTERS, &letters.base,
                                           &quire__shard_letters_reply__descriptor);
    assert_int_equal(counts->n_letters, 2);
    assert_string_equal(counts->letters[0]->letter, "A");
    assert_int_equal(counts->letters[0]->count, 2);
    assert_int_equal(counts->total, 3);
    assert_int_equal(counts->before, 1);

    Quire__ShardMatch match = QUIRE__SHARD_MATCH__INIT;
    Quire__MatchRequest what = QUIRE__MATCH_REQUEST__INIT;
    what.collection = (char *)"test";
    what.strategy = QUIRE__MATCH_REQUEST__STRATEGY__PREFIX;
    what.word = (char *)"ap";
    match.n_ranges = 2;
    match.ranges = refs;
    match.match = &what;
    match.key.data = (uint8_t *)"ap";
    match.key.len = 2;
    Quire__ShardMatchReply *names =
        ask(QUIRE__KIND__KIND_SHARD_MATCH, &match.base, &quire__shard_match_reply__descriptor);
    assert_int_equal(names->n_names, 2);
    assert_int_equal(problems(1, 2), 0);
    arena_deinit(&arena);
}

static Quire__ShardSearchReply *ask_for_hits(const Quire__ShardSearch *search)
{
    return ask(QUIRE__KIND__KIND_SHARD_SEARCH, &search->base,
               &quire__shard_search_reply__descriptor);
}

/* Statistics that a search brings along hold as long as no range has been written to. */
static void check_presumed(Quire__ShardSearch *search, Quire__ShardStats *ask,
                           const Quire__ShardStatsReply *counted)
{
    uint64_t seqs[2] = {counted->ranges[0]->seq, counted->ranges[1]->seq};
    search->ask = ask;
    search->n_seqs = 1;
    search->seqs = seqs;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_SEARCH, &search->base, NULL), ERR_INVALID);
    search->n_seqs = 2;
    Quire__ShardSearchReply *found = ask_for_hits(search);
    assert_int_equal(found->n_moved_on, 0);
    assert_int_equal(found->n_hits, 2);
    write_one(2, "Plum", "Of a tree as well.", NULL, 0);
    found = ask_for_hits(search);
    assert_int_equal(found->n_hits + found->total, 0);
    assert_int_equal(found->n_covered, 2);
    assert_int_equal(found->n_moved_on, 2);
    assert_int_equal(found->moved_on[0]->seq, seqs[0]);
    assert_int_equal(found->moved_on[1]->range, 2);
    assert_int_equal(found->moved_on[1]->seq, seqs[1] + 1);
    assert_int_equal(found->moved_on[1]->documents, 2);
    assert_int_equal(found->moved_on[1]->frequencies[0], 2);
    /* A write that changes nothing is a write, too. */
    seqs[1]++;
    write_one(2, "Plum", "Of a tree as well.", NULL, 0);
    assert_int_equal(ask_for_hits(search)->moved_on[1]->documents, 2);
    search->n_seqs = 0;
    assert_int_equal(ask_for_hits(search)->n_hits, 3);
    search->ask = NULL;
}

static void search_takes_two_rounds(void **state)
{
    arena_init(&arena, 0);
    assign(1, TWO, 2, 1);
    write_one(1, "Apple", "A round fruit of a tree.", NULL, 0);
    write_one(1, "Stone", "Round, but no fruit.", NULL, 0);
    write_one(2, "Pear", "A fruit that is not round; trees bear it.", NULL, 0);
    Quire__RangeRef one = ref_of(1, 1), two = ref_of(2, 1), gone = ref_of(3, 1);
    Quire__RangeRef *refs[] = {&one, &two, &gone};
    Quire__TokenStat token = QUIRE__TOKEN_STAT__INIT, *tokens[] = {&token};
    token.token.data = (uint8_t *)"tree";
    token.token.len = 4;

    Quire__ShardStats stats = QUIRE__SHARD_STATS__INIT;
    stats.n_ranges = 3;
    stats.ranges = refs;
    stats.n_tokens = 1;
    stats.tokens = tokens;
    Quire__ShardStatsReply *counted =
        ask(QUIRE__KIND__KIND_SHARD_STATS, &stats.base, &quire__shard_stats_reply__descriptor);
    assert_int_equal(counted->n_ranges, 2);
    assert_int_equal(counted->ranges[0]->documents + counted->ranges[1]->documents, 3);
    assert_int_equal(counted->ranges[0]->frequencies[0] + counted->ranges[1]->frequencies[0], 2);
    assert_int_equal(counted->n_covered, 2);
    assert_int_equal(counted->n_failed, 1);
    assert_int_equal(counted->failed[0]->id, 3);
    assert_int_equal(counted->failed[0]->code, ERR_STALE);

    Quire__ShardSearch search = QUIRE__SHARD_SEARCH__INIT;
    Quire__Query query = QUIRE__QUERY__INIT;
    Quire__QueryNode term = QUIRE__QUERY_NODE__INIT, *nodes[] = {&term};
    ProtobufCBinaryData word = token.token;
    term.op = QUIRE__QUERY_NODE__OP__TERM;
    term.n_tokens = 1;
    term.tokens = &word;
    query.n_nodes = 1;
    query.nodes = nodes;
    search.n_ranges = 2;
    search.ranges = refs;
    search.query = &query;
    search.documents = 3;
    search.total_length = counted->ranges[0]->total_length + counted->ranges[1]->total_length;
    search.n_tokens = 1;
    search.tokens = tokens;
    token.document_frequency = 2;
    search.limit = 10;
    search.has_facets = search.has_snippets = 1;
    search.facets = search.snippets = 1;
    search.k1 = 0.9;
    search.b = 0.4;
    Quire__ShardSearchReply *found = ask_for_hits(&search);
    assert_int_equal(found->n_hits, 2);
    assert_int_equal(found->total, 2);
    assert_string_equal(found->hits[0]->headword, "Apple");
    assert_true(found->hits[0]->score >= found->hits[1]->score);
    assert_non_null(strstr(found->hits[0]->snippet, "tree"));
    assert_int_equal(found->hits[0]->n_highlights, 1);
    assert_int_equal(found->n_categories, 1);
    assert_int_equal(found->categories[0]->count, 2);

    Quire__ShardExplain explain = QUIRE__SHARD_EXPLAIN__INIT;
    search.n_ranges = 1;
    explain.search = &search;
    explain.key.data = (uint8_t *)"apple";
    explain.key.len = 5;
    Quire__ExplainReply *why =
        ask(QUIRE__KIND__KIND_SHARD_EXPLAIN, &explain.base, &quire__explain_reply__descriptor);
    assert_true(why->matched);
    assert_int_equal(why->score, found->hits[0]->score);
    search.n_ranges = 2;
    check_presumed(&search, &stats, counted);
    term.has_arity = 1;
    term.arity = 3;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_SEARCH, &search.base, NULL), ERR_INVALID);
    arena_deinit(&arena);
}

static void a_retry_is_recognised(void **state)
{
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    Quire__ShardWriteReply *first = write_one(1, "Apple", "A fruit.", "client", 1);
    assert_int_equal(first->results[0]->outcome, QUIRE__WRITE_RESULT__OUTCOME__NEW);
    Quire__ShardWriteReply *again = write_one(1, "Apple", "A fruit.", "client", 1);
    assert_int_equal(again->results[0]->outcome, QUIRE__WRITE_RESULT__OUTCOME__NEW);
    assert_int_equal(again->results[0]->version, first->results[0]->version);
    Quire__ShardWriteReply *next = write_one(1, "Apple", "A fruit.", "client", 2);
    assert_int_equal(next->results[0]->outcome, QUIRE__WRITE_RESULT__OUTCOME__UNCHANGED);
    arena_deinit(&arena);
}

static void what_was_acknowledged_outlives_a_restart(void **state)
{
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    write_one(1, "Apple", "A fruit.", "client", 1);
    for (int i = 0; i < 2; i++) {
        stop_server();
        start_alone();
        Quire__ShardGet early = QUIRE__SHARD_GET__INIT;
        Quire__RangeRef ref = ref_of(1, 1);
        early.range = &ref;
        assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_GET, &early.base, NULL), ERR_STALE);
        assign(1, ONE, 1, 1);
        assert_int_equal(get(1, "apple")->n_entries, 1);
        assert_int_equal(write_one(1, "Apple", "A fruit.", "client", 1)->results[0]->outcome,
                         QUIRE__WRITE_RESULT__OUTCOME__NEW); /* still known */
        assert_int_equal(problems(1, 1), 0);
    }
    arena_deinit(&arena);
}

static bool folder_exists(const char *id)
{
    char path[128];
    struct stat status;
    snprintf(path, sizeof path, "%s/ranges/%s", folder, id);
    return stat(path, &status) == 0;
}

/* Its last user takes the folder of a dropped range away: a background job may go on for a moment.
 */
static void await_dropped(const char *id)
{
    for (int i = 0; i < 1000 && folder_exists(id); i++)
        usleep(10000);
    assert_false(folder_exists(id));
}

static void assignments_open_and_drop(void **state)
{
    arena_init(&arena, 0);
    char text[ERR_TEXT_MAX];
    assign(1, TWO, 2, 1);
    write_one(1, "Apple", "A fruit.", NULL, 0);
    write_one(2, "Pear", "A fruit.", NULL, 0);
    assert_true(folder_exists("1") && folder_exists("2"));
    assign(3, ONE, 1, 1);
    await_dropped("2");
    assert_true(folder_exists("1"));
    Quire__ShardAssign old = QUIRE__SHARD_ASSIGN__INIT; /* names nothing, but is older */
    old.map_epoch = 2;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_ASSIGN, &old.base, text), ERR_STALE);
    assert_true(folder_exists("1"));
    stop_server();
    start_alone();
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_ASSIGN, &old.base, text), ERR_STALE);
    assign(4, TWO, 2, 1);
    assert_int_equal(get(1, "apple")->n_entries, 1);
    assert_int_equal(get(2, "pear")->n_entries, 0); /* a new one */
    stop_server();
    start_alone();
    assign(5, ONE + 0, 0, 1); /* dropped while it was not even open */
    assert_false(folder_exists("1") || folder_exists("2"));
    arena_deinit(&arena);
}

/* The categories of the documents of the range's oldest segment, a letter each. */
static void letters_of(struct range *range, char *out)
{
    struct view *view = range_view(range);
    const struct view_segment *first = &view->segments[0];
    for (uint32_t doc = 0; doc < first->doc_limit; doc++) {
        uint32_t count;
        const uint32_t *ordinals = first->segment->ops->categories(first->segment, doc, &count);
        assert_int_equal(count, 1);
        *out++ = (char)first->segment->ops->category_name(first->segment, ordinals[0]).data[0];
    }
    *out = 0;
    view_release(view);
}

static void write_of_category(const char *headword, const char *category)
{
    Quire__ShardWrite message = QUIRE__SHARD_WRITE__INIT;
    Quire__RangeRef ref = ref_of(1, 1);
    Quire__WriteOp *ops[] = {put_op(headword, "a body")};
    ops[0]->put->categories[0] = (char *)category;
    message.range = &ref;
    message.n_ops = 1;
    message.ops = ops;
    (void)ask(QUIRE__KIND__KIND_SHARD_WRITE, &message.base, &quire__shard_write_reply__descriptor);
}

static void merge_in_order(Quire__Collection__Order given, const char *expected)
{
    struct replica *replica;
    struct err err = {0};
    bool merged;
    char letters[8];
    arena_init(&arena, 0);
    order = given;
    assign(1, ONE, 1, 1);
    order = QUIRE__COLLECTION__ORDER__ARRIVAL;
    assert_int_equal(replicas_acquire_open(server->replicas, 1, &replica, &err), 0);
    write_of_category("one", "B");
    write_of_category("two", "A");
    assert_int_equal(range_flush(replica->range, &err), 0);
    write_of_category("three", "B");
    write_of_category("four", "A");
    assert_int_equal(range_flush(replica->range, &err), 0);
    assert_int_equal(range_merge(replica->range, true, &merged, &err), 0);
    assert_true(merged);
    letters_of(replica->range, letters);
    assert_string_equal(letters, expected);
    replica_unref(replica);
    arena_deinit(&arena);
}

static void ranges_merge_by_arrival(void **state)
{
    merge_in_order(QUIRE__COLLECTION__ORDER__ARRIVAL, "BABA");
}

static void ranges_merge_in_the_order_of_their_collection(void **state)
{
    merge_in_order(QUIRE__COLLECTION__ORDER__CATEGORY, "AABB");
}

/* The bounds of a range never change: what was planned with an older configuration is served. */
static void a_newer_epoch_is_stale(void **state)
{
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    write_one(1, "Apple", "A fruit.", NULL, 0);
    assign(2, ONE, 1, 7);
    Quire__ShardGet message = QUIRE__SHARD_GET__INIT;
    Quire__RangeRef ref = ref_of(1, 8);
    message.range = &ref;
    message.key.data = (uint8_t *)"apple";
    message.key.len = 5;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_GET, &message.base, NULL), ERR_STALE);
    for (ref.epoch = 1; ref.epoch <= 7; ref.epoch += 6) {
        Quire__ShardEntries *entries =
            ask(QUIRE__KIND__KIND_SHARD_GET, &message.base, &quire__shard_entries__descriptor);
        assert_int_equal(entries->n_entries, 1);
    }
    arena_deinit(&arena);
}

static void a_sealed_range_takes_no_writes(void **state)
{
    arena_init(&arena, 0);
    assign(1, TWO, 2, 1);
    write_one(2, "Pear", "A fruit.", NULL, 0);
    Quire__ShardSeal seal = QUIRE__SHARD_SEAL__INIT;
    Quire__RangeRef one = ref_of(1, 1), two = ref_of(2, 1), *refs[] = {&one, &two};
    seal.n_ranges = 2;
    seal.ranges = refs;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_SEAL, &seal.base, NULL), ERR_CONFLICT);
    write_one(1, "Apple", "Neither is sealed then.", NULL, 0);
    Quire__ShardWrite remove = QUIRE__SHARD_WRITE__INIT;
    Quire__WriteOp op = QUIRE__WRITE_OP__INIT, *ops[] = {&op};
    op.delete_headword = (char *)"Apple";
    remove.range = &one;
    remove.n_ops = 1;
    remove.ops = ops;
    ask(QUIRE__KIND__KIND_SHARD_WRITE, &remove.base, &quire__shard_write_reply__descriptor);
    seal.n_ranges = 1;
    ask(QUIRE__KIND__KIND_SHARD_SEAL, &seal.base, NULL);
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_WRITE, &remove.base, NULL), ERR_STALE);
    assign(2, TWO, 2, 1); /* the same again is no reason to take writes */
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_WRITE, &remove.base, NULL), ERR_STALE);
    assign(3, TWO, 2, 2);
    one.epoch = 2;
    ask(QUIRE__KIND__KIND_SHARD_WRITE, &remove.base, &quire__shard_write_reply__descriptor);
    arena_deinit(&arena);
}

static void nonsense_is_answered_with_a_sentence(void **state)
{
    arena_init(&arena, 0);
    char text[ERR_TEXT_MAX];
    Quire__MissingRange odd = QUIRE__MISSING_RANGE__INIT; /* as good as any other bytes */
    odd.reason = (char *)"\x01\x02\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    static const uint16_t kinds[] = {
        QUIRE__KIND__KIND_SHARD_ASSIGN, QUIRE__KIND__KIND_SHARD_SEAL,
        QUIRE__KIND__KIND_SHARD_WRITE,  QUIRE__KIND__KIND_SHARD_GET,
        QUIRE__KIND__KIND_SHARD_LOOKUP, QUIRE__KIND__KIND_SHARD_BROWSE,
        QUIRE__KIND__KIND_SHARD_MATCH,  QUIRE__KIND__KIND_SHARD_STATS,
        QUIRE__KIND__KIND_SHARD_SEARCH, QUIRE__KIND__KIND_SHARD_EXPLAIN,
        QUIRE__KIND__KIND_SHARD_VERIFY};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        int status = ask_badly(kinds[i], &odd.base, text);
        if (status != 0) /* some take it for an empty message with unknown fields */
            assert_true(text[0] != 0);
    }
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_WRITE, &odd.base, text), ERR_PROTOCOL);
    assert_int_equal(ask_badly(999, &odd.base, text), ERR_UNSUPPORTED);
    assign(1, ONE, 1, 1);
    Quire__ShardWrite empty = QUIRE__SHARD_WRITE__INIT;
    Quire__RangeRef one = ref_of(1, 1);
    empty.range = &one;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_WRITE, &empty.base, text), ERR_INVALID);
    Quire__WriteOp bad = QUIRE__WRITE_OP__INIT, *ops[] = {&bad, put_op("Apple", "Fine.")};
    empty.n_ops = 2;
    empty.ops = ops;
    Quire__ShardWriteReply *reply =
        ask(QUIRE__KIND__KIND_SHARD_WRITE, &empty.base, &quire__shard_write_reply__descriptor);
    assert_int_equal(reply->results[0]->outcome, QUIRE__WRITE_RESULT__OUTCOME__FAILED);
    assert_int_equal(reply->results[1]->outcome, QUIRE__WRITE_RESULT__OUTCOME__NEW);
    arena_deinit(&arena);
}

static void clients_are_sent_to_coordinators(void **state)
{
    const struct rpc_identity identity = {RPC_ROLE_CLIENT, "", ""};
    struct err err = {0};
    struct rpc *stranger = rpc_create(&loop, &identity, &err);
    struct rpc_peer *its_peer;
    struct answer answer;
    Quire__ShardGet message = QUIRE__SHARD_GET__INIT;
    Quire__RangeRef ref = ref_of(1, 1);
    bool closed = false;
    message.range = &ref;
    assert_int_equal(rpc_peer_create(stranger, rpc_peer_url(peer), &its_peer, &err), 0);
    start_call(&answer, its_peer, QUIRE__KIND__KIND_SHARD_GET, &message.base);
    run_until(&answer.done);
    assert_int_equal(answer.status, ERR_UNSUPPORTED);
    buf_deinit(&answer.payload);
    rpc_close(stranger, mark, &closed);
    run_until(&closed);
}

/* Many writers at once, to two ranges, each with its batches in order and several under way. */
static void writes_in_flight_keep_their_order(void **state)
{
    enum { CLIENTS = 8, BATCHES = 25 };
    static struct answer answers[CLIENTS][BATCHES];
    arena_init(&arena, 0);
    assign(1, TWO, 2, 1);
    for (int batch = 0; batch < BATCHES; batch++) {
        for (int who = 0; who < CLIENTS; who++) {
            char headword[32], id[16];
            snprintf(headword, sizeof headword, "entry of %d", who);
            snprintf(id, sizeof id, "client %d", who);
            Quire__ShardWrite message = QUIRE__SHARD_WRITE__INIT;
            Quire__RangeRef ref = ref_of(1 + (uint64_t)who % 2, 1);
            char *body = arena_printf(&arena, "Number %d.", batch);
            Quire__WriteOp *ops[] = {put_op(headword, body), put_op(body, headword)};
            message.range = &ref;
            message.client_id = id;
            message.has_batch = 1;
            message.batch = 1 + (uint64_t)batch;
            message.n_ops = 2;
            message.ops = ops;
            start_call(&answers[who][batch], peer, QUIRE__KIND__KIND_SHARD_WRITE, &message.base);
        }
    }
    for (int who = 0; who < CLIENTS; who++) {
        for (int batch = 0; batch < BATCHES; batch++) {
            struct answer *answer = &answers[who][batch];
            run_until(&answer->done);
            if (answer->status != 0)
                fail_msg("client %d, batch %d: %s", who, batch, answer->err.text);
            Quire__ShardWriteReply *reply = quire__shard_write_reply__unpack(
                arena_protobuf(&arena), answer->payload.size, answer->payload.data);
            assert_int_equal(reply->n_results, 2);
            assert_int_equal(reply->results[0]->outcome,
                             batch == 0 ? QUIRE__WRITE_RESULT__OUTCOME__NEW
                                        : QUIRE__WRITE_RESULT__OUTCOME__CHANGED);
            buf_deinit(&answer->payload);
        }
    }
    for (int who = 0; who < CLIENTS; who++) {
        char key[32], last[32];
        snprintf(key, sizeof key, "entry of %d", who);
        snprintf(last, sizeof last, "Number %d.", BATCHES - 1);
        Quire__ShardEntries *entries = get(1 + (uint64_t)who % 2, key);
        assert_int_equal(entries->n_entries, 1);
        assert_string_equal(entries->entries[0]->body, last);
    }
    assert_int_equal(problems(1, CLIENTS / 2 + BATCHES), 0);
    arena_deinit(&arena);
}

/* Both query threads wait for a write that does not come. What comes meanwhile waits, and what is
 * given up while it waits is never worked on. */
static void what_is_given_up_is_not_worked_on(void **state)
{
    static struct answer held[2], given_up, wanted;
    Quire__ShardGet message = QUIRE__SHARD_GET__INIT;
    Quire__RangeRef ref = ref_of(1, 1);
    struct admission before, now;
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    write_one(1, "Apple", "A fruit.", NULL, 0);
    get(1, "apple");
    admit_look(server->admit, &before);
    message.range = &ref;
    message.key.data = (uint8_t *)(uintptr_t) "apple";
    message.key.len = 5;
    ref.has_min_seq = true;
    ref.min_seq = 1000000;
    for (int i = 0; i < 2; i++)
        start_call(&held[i], peer, QUIRE__KIND__KIND_SHARD_GET, &message.base);
    ref.has_min_seq = false;
    start_call(&given_up, peer, QUIRE__KIND__KIND_SHARD_GET, &message.base);
    start_call(&wanted, peer, QUIRE__KIND__KIND_SHARD_GET, &message.base);
    uint64_t end = clock_ms() + TIMEOUT_MS;
    do {
        uv_run(&loop, UV_RUN_ONCE);
        admit_look(server->admit, &now);
    } while (now.classes[ADMISSION_CHEAP].waiting < 2 && clock_ms() < end);
    assert_int_equal(now.classes[ADMISSION_CHEAP].at_work, 2);
    rpc_call_cancel(&given_up.call);
    run_until(&wanted.done);
    assert_int_equal(wanted.status, 0);
    for (int i = 0; i < 2; i++)
        run_until(&held[i].done);
    run_until(&given_up.done);
    admit_look(server->admit, &now);
    assert_int_equal(now.classes[ADMISSION_CHEAP].refused[ADMISSION_EXPIRED], 1);
    assert_int_equal(
        now.classes[ADMISSION_CHEAP].admitted - before.classes[ADMISSION_CHEAP].admitted, 3);
    for (int i = 0; i < 2; i++)
        buf_deinit(&held[i].payload);
    buf_deinit(&wanted.payload);
    arena_deinit(&arena);
}

/* A merge needs room for its segment beside those it reads, and beside another one's. */
static void merges_are_put_off_before_writes_are_refused(void **state)
{
    (void)state;
    struct disk_room room = {.unused = 1000, .reserve = 64, .largest = 800};
    assert_true(disk_takes_writes(&room));
    assert_true(disk_takes_merge(&room, 800));
    room.unused = 64 + 400 + 400 - 1;
    assert_false(disk_takes_merge(&room, 800));
    assert_true(disk_takes_merge(&room, 700));
    assert_true(disk_takes_writes(&room));
    room.unused = 64 + 400 - 1;
    assert_false(disk_takes_merge(&room, 0));
    assert_true(disk_takes_writes(&room));
    room.unused = 63;
    assert_false(disk_takes_writes(&room));
}

/* Writes are refused while there is still room to flush, and go on when space is back. */
static void a_disk_nearly_full_takes_no_writes(void **state)
{
    static const uint64_t MARGIN = (uint64_t)2 << 30;
    struct statvfs fs;
    char text[ERR_TEXT_MAX], path[128];
    arena_init(&arena, 0);
    assert_int_equal(statvfs(folder, &fs), 0);
    uint64_t unused = (uint64_t)fs.f_bavail * fs.f_frsize;
    snprintf(path, sizeof path, "%s/ballast", folder);
    int ballast = open(path, O_CREAT | O_RDWR, 0600);
    if (unused < 3 * MARGIN || posix_fallocate(ballast, 0, (off_t)(2 * MARGIN)) != 0) {
        print_message("skipped: less than 6 GiB are free in /tmp\n");
        close(ballast);
        start_alone();
        stop_server();
        return;
    }
    assert_int_equal(ftruncate(ballast, 0), 0);
    reserve = unused - MARGIN;
    start_alone();
    assign(1, ONE, 1, 1);
    write_one(1, "Apple", "A round fruit.", NULL, 0);
    assert_int_equal(posix_fallocate(ballast, 0, (off_t)(2 * MARGIN)), 0);
    usleep(300000);
    Quire__ShardWrite message = QUIRE__SHARD_WRITE__INIT;
    Quire__RangeRef ref = ref_of(1, 1);
    Quire__WriteOp *ops[] = {put_op("Pear", "Another.")};
    message.range = &ref;
    message.n_ops = 1;
    message.ops = ops;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_WRITE, &message.base, text), ERR_FULL);
    assert_non_null(strstr(text, "nearly full"));
    assert_int_equal(get(1, "apple")->n_entries, 1);
    assert_int_equal(ftruncate(ballast, 0), 0);
    usleep(300000);
    write_one(1, "Pear", "Another.", NULL, 0);
    stop_server();
    close(ballast);
    reserve = 0;
    arena_deinit(&arena);
}

/* ---- what was lost is not passed over ---- */

static void lose(const char *what)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'/%s", folder, what);
    assert_int_equal(system(command), 0);
}

static void expect_refusal(uint64_t range, const char *words)
{
    Quire__ShardGet message = QUIRE__SHARD_GET__INIT;
    Quire__RangeRef ref = ref_of(range, 1);
    char text[ERR_TEXT_MAX];
    message.range = &ref;
    message.key.data = (uint8_t *)"apple";
    message.key.len = 5;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_GET, &message.base, text), ERR_CORRUPT);
    assert_non_null(strstr(text, words));
}

static void a_lost_index_is_not_an_empty_one(void **state)
{
    char text[ERR_TEXT_MAX];
    arena_init(&arena, 0);
    assign(1, TWO, 2, 1);
    write_one(1, "Apple", "A round fruit.", NULL, 0);
    stop_server(); /* flushes: the log forgets */
    lose("ranges/1");
    start_alone();
    assert_int_equal(try_assign(2, TWO, 2, 1, text), ERR_CORRUPT);
    assert_non_null(strstr(text, "index is lost"));
    expect_refusal(1, "index is lost");
    assert_int_equal(get(2, "apple")->n_entries, 0); /* which never held anything */
    arena_deinit(&arena);
}

static void an_old_index_is_not_taken_for_the_newest(void **state)
{
    char text[ERR_TEXT_MAX];
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    write_one(1, "Apple", "A round fruit.", NULL, 0);
    stop_server();
    char command[160];
    snprintf(command, sizeof command, "cp -r '%s'/ranges '%s'/old", folder, folder);
    assert_int_equal(system(command), 0);
    start_alone();
    assign(2, ONE, 1, 1);
    write_one(1, "Apple", "A fruit, newly described.", NULL, 0);
    stop_server();
    lose("ranges");
    snprintf(command, sizeof command, "mv '%s'/old '%s'/ranges", folder, folder);
    assert_int_equal(system(command), 0);
    start_alone();
    assert_int_equal(try_assign(3, ONE, 1, 1, text), ERR_CORRUPT);
    assert_non_null(strstr(text, "index is an old one"));
    arena_deinit(&arena);
}

static void an_index_that_was_never_written_comes_back_from_the_log(void **state)
{
    arena_init(&arena, 0);
    assign(1, TWO, 2, 1);
    stop_server(); /* with nothing to flush */
    lose("ranges/1");
    start_alone();
    assign(2, TWO, 2, 1);
    write_one(1, "Apple", "A round fruit.", NULL, 0);
    assert_int_equal(get(1, "apple")->n_entries, 1);
    arena_deinit(&arena);
}

static void a_lost_log_is_not_an_empty_one(void **state)
{
    char text[ERR_TEXT_MAX];
    struct err err = {0};
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    write_one(1, "Apple", "A round fruit.", NULL, 0);
    stop_server();
    lose("log");
    lose("cluster-id");
    start_alone();
    assert_int_equal(try_assign(2, ONE, 1, 1, text), ERR_CORRUPT);
    assert_non_null(strstr(text, "log is lost"));
    stop_server();
    /* As one that has joined a cluster, it does not even start. */
    lose("log");
    struct server_settings settings = {.loop = &loop,
                                       .dir = folder,
                                       .node_id = node,
                                       .listen = "tcp://127.0.0.1:0",
                                       .threads = 1,
                                       .cache_bytes = 8 << 20,
                                       .memory_bytes = 16 << 20};
    assert_int_equal(server_create(&settings, &server, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "is lost"));
    lose("cluster-id");
    start_alone();
    arena_deinit(&arena);
}

/* A cluster never gives an id to a second range; here it is done to see that nothing of the first
 * is left. Its last user takes the folder away, which may be a background job that goes on for a
 * moment. */
static void a_dropped_range_leaves_no_log(void **state)
{
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    write_one(1, "Apple", "A round fruit.", NULL, 0);
    assign(2, NULL, 0, 1);
    await_dropped("1");
    assign(3, ONE, 1, 1);
    assert_int_equal(get(1, "apple")->n_entries, 0);
    arena_deinit(&arena);
}

/* ---- registration ---- */

struct fake {
    int calls;
    bool twice;
    char address[64];
    const char *cluster;
};

static void on_register(void *data, struct rpc_request *request)
{
    struct fake *fake = data;
    Quire__Register *message =
        quire__register__unpack(NULL, request->payload.size, request->payload.data);
    assert_int_equal(request->kind, QUIRE__KIND__KIND_REGISTER);
    assert_non_null(message);
    assert_string_equal(message->node->id, node);
    snprintf(fake->address, sizeof fake->address, "%s", message->node->address);
    quire__register__free_unpacked(message, NULL);
    fake->calls++;
    fake->twice = fake->calls >= 3;
    if (fake->calls == 2) {
        rpc_reply_error(request, ERR_UNAVAILABLE, "not now");
        return;
    }
    Quire__RegisterReply reply = QUIRE__REGISTER_REPLY__INIT;
    struct buf packed = {0};
    reply.cluster_id = (char *)fake->cluster;
    reply.map_epoch = 1;
    quire__register_reply__pack(
        &reply, buf_extend(&packed, quire__register_reply__get_packed_size(&reply)));
    rpc_reply(request, QUIRE__KIND__KIND_REGISTER + 1, buf_bytes(&packed));
    buf_deinit(&packed);
}

static void it_registers_again_and_again(void **state)
{
    char cluster[UUID_TEXT_SIZE], url[64], path[128], kept[64] = "";
    struct fake fake = {.cluster = cluster};
    struct rpc_server *door;
    struct err err = {0};
    uuid_generate_text(cluster);
    assert_int_equal(
        rpc_server_create(client, "tcp://127.0.0.1:0", on_register, &fake, &door, &err), 0);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", rpc_server_port(door));
    start_server((const char *const[]){url}, 1);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", server_port(server));
    run_until(&fake.twice);
    assert_string_equal(fake.address, url);
    snprintf(path, sizeof path, "%s/cluster-id", folder);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%63s", kept), 1);
    fclose(file);
    assert_string_equal(kept, cluster);
    stop_server();
    rpc_server_destroy(door);
}

/* ---- snapshots ---- */

static const Quire__Snapshot *take_snapshot(uint64_t range)
{
    Quire__ShardSnapshot message = QUIRE__SHARD_SNAPSHOT__INIT;
    Quire__RangeRef ref = ref_of(range, 1), *refs[] = {&ref};
    message.n_ranges = 1;
    message.ranges = refs;
    Quire__ShardSnapshotReply *reply = ask(QUIRE__KIND__KIND_SHARD_SNAPSHOT, &message.base,
                                           &quire__shard_snapshot_reply__descriptor);
    assert_int_equal(reply->n_covered, 1);
    assert_int_equal(reply->n_snapshots, 1);
    assert_string_equal(reply->snapshots[0]->node, node);
    return reply->snapshots[0];
}

static Quire__SnapshotRead read_of(const Quire__Snapshot *snapshot)
{
    Quire__SnapshotRead message = QUIRE__SNAPSHOT_READ__INIT;
    message.node = node;
    message.id = snapshot->id;
    return message;
}

static const Quire__SnapshotPage *read_snapshot(const Quire__SnapshotRead *message)
{
    return ask(QUIRE__KIND__KIND_SHARD_SNAPSHOT_READ, &message->base,
               &quire__snapshot_page__descriptor);
}

/* All of it, an entry a page, as "headword=body ". */
static const char *whole(const Quire__Snapshot *snapshot, const char *from, const char *to)
{
    Quire__SnapshotRead message = read_of(snapshot);
    struct buf text = {0};
    message.has_limit_bytes = true;
    message.limit_bytes = 1;
    message.has_from = from[0] != 0;
    message.from = (ProtobufCBinaryData){strlen(from), (uint8_t *)from};
    message.has_to = to[0] != 0;
    message.to = (ProtobufCBinaryData){strlen(to), (uint8_t *)to};
    for (;;) {
        const Quire__SnapshotPage *page = read_snapshot(&message), *again = read_snapshot(&message);
        assert_int_equal(page->n_entries, again->n_entries); /* a request may be repeated */
        if (page->n_entries == 0)
            break;
        assert_int_equal(page->n_entries, 1);
        assert_string_equal(page->entries[0]->headword, again->entries[0]->headword);
        buf_printf(&text, "%s=%s ", page->entries[0]->headword, page->entries[0]->body);
        if (!page->has_next)
            break;
        message.has_from = true;
        message.from = page->next;
    }
    const char *copy = arena_strdup(&arena, buf_text(&text));
    buf_deinit(&text);
    return copy;
}

static void a_snapshot_shows_one_moment(void **state)
{
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    const Quire__Snapshot *empty = take_snapshot(1);
    write_one(1, "b", "1", NULL, 0);
    write_one(1, "d", "1", NULL, 0);
    write_one(1, "f", "1", NULL, 0);
    const Quire__Snapshot *first = take_snapshot(1);
    assert_int_equal(first->seq, 3);
    assert_int_equal(first->entries, 3);
    assert_int_equal(empty->seq, 0);
    for (int i = 0; i < 300; i++) { /* what is written meanwhile: changed, new, before, behind */
        char headword[16];
        snprintf(headword, sizeof headword, "%c%d", "aceg"[i % 4], i);
        write_one(1, headword, "later", NULL, 0);
    }
    write_one(1, "d", "2", NULL, 0);
    struct replica *replica = replicas_find(server->replicas, 1);
    struct err err = {0};
    assert_int_equal(replica_flush(replica, &err), 0);
    replica_unref(replica);
    assert_string_equal(whole(first, "", ""), "b=1 d=1 f=1 ");
    assert_string_equal(whole(first, "c", "f"), "d=1 ");
    assert_string_equal(whole(first, "", "b"), "");
    assert_string_equal(whole(empty, "", ""), "");
    assert_int_equal(take_snapshot(1)->entries, 303);

    Quire__SnapshotRead message = read_of(first);
    message.has_what = true;
    message.what = QUIRE__SNAPSHOT_READ__WHAT__KEEP;
    assert_int_equal(read_snapshot(&message)->n_entries, 0);
    message.what = QUIRE__SNAPSHOT_READ__WHAT__RELEASE;
    assert_int_equal(read_snapshot(&message)->n_entries, 0);
    assert_int_equal(read_snapshot(&message)->n_entries, 0); /* twice is no error */
    message.has_what = false;
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_SNAPSHOT_READ, &message.base, NULL),
                     ERR_NOT_FOUND);
    assert_string_equal(whole(empty, "", ""), "");
    arena_deinit(&arena);
}

static void a_snapshot_that_nobody_reads_goes(void **state)
{
    arena_init(&arena, 0);
    assign(1, TWO, 2, 1);
    uint64_t now = clock_ms();
    (void)take_snapshot(1);
    (void)take_snapshot(2);
    snapshots_expire(server->snapshots, server->replicas, now + SNAPSHOT_KEPT_MS - 1000);
    assert_int_equal(snapshots_count(server->snapshots), 2);
    snapshots_expire(server->snapshots, server->replicas, clock_ms() + SNAPSHOT_KEPT_MS);
    assert_int_equal(snapshots_count(server->snapshots), 0);
    /* One of a range that is dropped does not keep its files. */
    write_one(2, "kept", "by nobody", NULL, 0);
    const Quire__Snapshot *last = take_snapshot(2);
    char path[128];
    snprintf(path, sizeof path, "%s/ranges/2", folder);
    assert_int_equal(access(path, F_OK), 0);
    assign(2, ONE, 1, 1);
    uint64_t end = clock_ms() + TIMEOUT_MS;
    while (access(path, F_OK) == 0 && clock_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(access(path, F_OK), -1);
    Quire__SnapshotRead message = read_of(last);
    assert_int_equal(ask_badly(QUIRE__KIND__KIND_SHARD_SNAPSHOT_READ, &message.base, NULL),
                     ERR_NOT_FOUND);
    arena_deinit(&arena);
}

static void a_snapshot_that_is_kept_stays(void **state)
{
    struct err err = {0};
    Quire__Snapshot snapshot = QUIRE__SNAPSHOT__INIT;
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    struct replica *replica = replicas_find(server->replicas, 1);
    /* Taken long ago: without another word it would go in 10 s. */
    uint64_t then = clock_ms() - SNAPSHOT_KEPT_MS + 10000;
    assert_int_equal(snapshots_take(server->snapshots, replica, then, &snapshot, &err), 0);
    replica_unref(replica);
    Quire__SnapshotRead message = read_of(&snapshot);
    message.has_what = true;
    message.what = QUIRE__SNAPSHOT_READ__WHAT__KEEP;
    assert_int_equal(read_snapshot(&message)->n_entries, 0);
    snapshots_expire(server->snapshots, server->replicas, clock_ms() + 20000);
    assert_int_equal(snapshots_count(server->snapshots), 1);
    snapshots_expire(server->snapshots, server->replicas, clock_ms() + SNAPSHOT_KEPT_MS);
    assert_int_equal(snapshots_count(server->snapshots), 0);
    arena_deinit(&arena);
}

static void snapshots_have_a_limit(void **state)
{
    arena_init(&arena, 0);
    assign(1, ONE, 1, 1);
    for (int i = 0; i < SNAPSHOTS_MAX; i++)
        (void)take_snapshot(1);
    Quire__ShardSnapshot message = QUIRE__SHARD_SNAPSHOT__INIT;
    Quire__RangeRef ref = ref_of(1, 1), *refs[] = {&ref};
    message.n_ranges = 1;
    message.ranges = refs;
    Quire__ShardSnapshotReply *reply = ask(QUIRE__KIND__KIND_SHARD_SNAPSHOT, &message.base,
                                           &quire__shard_snapshot_reply__descriptor);
    assert_int_equal(reply->n_covered, 0);
    assert_int_equal(reply->failed[0]->code, ERR_FULL);
    arena_deinit(&arena); /* the shard stops with all of them there */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_found_in_every_way, setup, teardown),
        cmocka_unit_test_setup_teardown(search_takes_two_rounds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_retry_is_recognised, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_acknowledged_outlives_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(assignments_open_and_drop, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_merge_by_arrival, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_merge_in_the_order_of_their_collection, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_newer_epoch_is_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sealed_range_takes_no_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_is_answered_with_a_sentence, setup, teardown),
        cmocka_unit_test_setup_teardown(clients_are_sent_to_coordinators, setup, teardown),
        cmocka_unit_test_setup_teardown(writes_in_flight_keep_their_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_shows_one_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_that_nobody_reads_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_that_is_kept_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshots_have_a_limit, setup, teardown),
        cmocka_unit_test(merges_are_put_off_before_writes_are_refused),
        cmocka_unit_test_setup_teardown(what_is_given_up_is_not_worked_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_nearly_full_takes_no_writes, setup_silent,
                                        teardown_silent),
        cmocka_unit_test_setup_teardown(a_lost_index_is_not_an_empty_one, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_index_is_not_taken_for_the_newest, setup, teardown),
        cmocka_unit_test_setup_teardown(an_index_that_was_never_written_comes_back_from_the_log,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_log_is_not_an_empty_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dropped_range_leaves_no_log, setup, teardown),
        cmocka_unit_test_setup_teardown(it_registers_again_and_again, setup_silent,
                                        teardown_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
