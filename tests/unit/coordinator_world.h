/* A coordinator, some fake shards and a client on one loop, speaking real rpc over ipc sockets.
 *
 * The fake shards share one sorted list of headwords; a shard answers for a range with those that
 * lie between its bounds. Its `mode` says how it misbehaves.
 */
#ifndef QUIRE_TESTS_COORDINATOR_WORLD_H
#define QUIRE_TESTS_COORDINATOR_WORLD_H

#include "coordinator/coordinator.h"
#include "coordinator/messages.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/text/key.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORLD_SHARDS 3
#define WORLD_WORDS 26

enum shard_mode {
    SHARD_GOOD,
    SHARD_SILENT,  /* takes requests and never answers (assignments it does) */
    SHARD_STALE,   /* ERR_STALE `times` times, then good */
    SHARD_LIAR,    /* covers a range it was not asked for */
    SHARD_PARTLY,  /* fails the first range of each request */
    SHARD_GARBAGE, /* a reply that does not parse */
    SHARD_FULL,    /* ERR_OVERLOADED `times` times, with 300 ms to wait, then good */
};

struct world;

struct fake_shard {
    struct world *world;
    char id[UUID_TEXT_SIZE];
    char url[128];
    struct rpc_identity identity;
    struct rpc *rpc;
    struct rpc_server *server;
    struct rpc_peer *coordinator;
    struct rpc_call call;
    bool calling;
    bool silent_heart; /* does not register */
    uv_timer_t heart;
    enum shard_mode mode;
    int times;
    struct arena arena; /* of the assignment */
    Quire__ShardAssign *assign;
    uint64_t assigned_epoch;
    unsigned assigns, seals, writes, ops;
    uint64_t seq;                        /* of all its ranges */
    unsigned counts, searches, moved_on; /* questions for statistics; searches; refused ones */
    uint64_t documents, frequency; /* that the last search was to score with; of its first token */
    uint64_t more_hits;            /* that it counts beside the words that it has */
    uint64_t told_limit;           /* of hits to count, by the last search; UINT64_MAX: exact */
    uint64_t told_min_seq;         /* by the last request for entries */
    uint64_t digest;               /* of the content of all its ranges, that it finds in them */
    bool wrong_stats;              /* speaks of another range than it was asked for */
    bool refuse_seal;
    uint64_t sealed;  /* the range that it says is sealed, while it has epoch 1 */
    struct list held; /* requests that are never answered */
    bool delays;      /* statistics are as of the question, and sent with fake_send_delayed() */
    struct rpc_request *delayed;
    struct buf delayed_reply;
    bool closed;
};

struct world {
    uv_loop_t loop;
    char dir[64];
    char url[128];
    struct coordinator *coordinator;
    bool ready, stopped;
    struct fake_shard shards[WORLD_SHARDS];
    size_t shard_count;
    struct rpc_identity identity;
    struct rpc *client;
    struct rpc_peer *peer;
    bool client_closed;
    size_t stats_cache_bytes;
    uv_timer_t pulse;            /* every 10 ms, when the loop gets to it */
    uint64_t pulse_ms, stall_ms; /* the last time; the longest that it was late */
    char words[WORLD_WORDS][24]; /* sorted keys: headwords are their own keys */
};

/* ---- the fake shard's answers ---- */

static inline const Quire__Range *fake_range(struct fake_shard *shard, uint64_t id)
{
    for (size_t i = 0; shard->assign != NULL && i < shard->assign->n_ranges; i++)
        if (shard->assign->ranges[i]->id == id)
            return shard->assign->ranges[i];
    return NULL;
}

static inline bool fake_holds(const Quire__Range *range, const char *word)
{
    struct bytes key = bytes_str(word);
    struct bytes hi = map_range_hi(range);
    return bytes_compare(map_range_lo(range), key) <= 0 &&
           (hi.size == 0 || bytes_compare(key, hi) < 0);
}

/* `covered` and `failed` of a reply, by the shard's mode. */
static inline void fake_cover(struct fake_shard *shard, struct rpc_request *request,
                              Quire__RangeRef **ranges, size_t count, uint64_t **covered,
                              size_t *covered_count, Quire__RangeFailure ***failed,
                              size_t *failed_count)
{
    *covered = arena_calloc(&request->arena, count + 1, sizeof **covered);
    *failed = arena_calloc(&request->arena, count + 1, sizeof **failed);
    *covered_count = *failed_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool known = fake_range(shard, ranges[i]->id) != NULL;
        if (known && !(shard->mode == SHARD_PARTLY && i == 0)) {
            (*covered)[(*covered_count)++] = ranges[i]->id;
            continue;
        }
        Quire__RangeFailure *failure = arena_alloc(&request->arena, sizeof *failure);
        quire__range_failure__init(failure);
        failure->id = ranges[i]->id;
        failure->code = known ? ERR_CORRUPT : ERR_STALE;
        failure->text = (char *)(known ? "checksum mismatch" : "not here");
        (*failed)[(*failed_count)++] = failure;
    }
    if (shard->mode == SHARD_LIAR)
        (*covered)[(*covered_count)++] = 4711;
}

static inline void fake_reply(struct rpc_request *request, const ProtobufCMessage *message)
{
    struct buf packed;
    buf_init(&packed);
    message_pack(message, &packed);
    rpc_reply(request, (uint16_t)(request->kind + 1), buf_bytes(&packed));
    buf_deinit(&packed);
}

static inline bool fake_covered(const uint64_t *covered, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++)
        if (covered[i] == id)
            return true;
    return false;
}

/* Frequencies that tell apart what was read when: 1 a document, 1,000 a write. */
static inline uint64_t fake_frequency(const struct fake_shard *shard, uint64_t documents)
{
    return documents + shard->seq * 1000;
}

/* A prefix or near spelling stands for itself with an x. */
static inline Quire__Expansion *fake_expansion(struct fake_shard *shard, struct arena *arena,
                                               const Quire__QueryNode *node, uint64_t documents)
{
    Quire__Expansion *expansion = arena_alloc(arena, sizeof *expansion);
    Quire__TokenStat *stat = arena_alloc(arena, sizeof *stat);
    quire__expansion__init(expansion);
    quire__token_stat__init(stat);
    size_t size = node->tokens[0].len;
    stat->token.data = arena_alloc(arena, size + 1);
    memcpy(stat->token.data, node->tokens[0].data, size);
    stat->token.data[size] = 'x';
    stat->token.len = size + 1;
    stat->document_frequency = fake_frequency(shard, documents);
    expansion->n_tokens = expansion->n_distances = 1;
    expansion->tokens = arena_calloc(arena, 1, sizeof *expansion->tokens);
    expansion->tokens[0] = stat;
    expansion->distances = arena_calloc(arena, 1, sizeof *expansion->distances);
    return expansion;
}

static inline Quire__RangeStats *fake_range_stats(struct fake_shard *shard, struct arena *arena,
                                                  const Quire__ShardStats *ask, uint64_t range)
{
    Quire__RangeStats *stats = arena_alloc(arena, sizeof *stats);
    quire__range_stats__init(stats);
    stats->range = shard->wrong_stats ? 4711 : range;
    stats->seq = shard->seq;
    for (size_t w = 0; w < WORLD_WORDS; w++)
        stats->documents += fake_holds(fake_range(shard, range), shard->world->words[w]);
    stats->total_length = stats->documents * 10;
    stats->frequencies = arena_calloc(arena, ask->n_tokens + 1, sizeof *stats->frequencies);
    stats->expansions = arena_calloc(arena, ask->n_expand + 1, sizeof *stats->expansions);
    for (size_t i = 0; i < ask->n_tokens; i++)
        stats->frequencies[stats->n_frequencies++] = fake_frequency(shard, stats->documents);
    for (size_t i = 0; i < ask->n_expand; i++) {
        stats->expansions[i] = fake_expansion(shard, arena, ask->expand[i], stats->documents);
        stats->expansions[i]->node = (uint32_t)i;
        stats->n_expansions++;
    }
    return stats;
}

static inline Quire__RangeStats **fake_all_stats(struct fake_shard *shard, struct arena *arena,
                                                 const Quire__ShardStats *ask,
                                                 const uint64_t *covered, size_t count)
{
    Quire__RangeStats **ranges = arena_calloc(arena, count + 1, sizeof *ranges);
    for (size_t i = 0; i < count && fake_range(shard, covered[i]) != NULL; i++)
        ranges[i] = fake_range_stats(shard, arena, ask, covered[i]);
    return ranges;
}

static inline void fake_stats(struct fake_shard *shard, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    Quire__ShardStats *ask = quire__shard_stats__unpack(
        arena_protobuf(arena), request->payload.size, request->payload.data);
    Quire__ShardStatsReply reply = QUIRE__SHARD_STATS_REPLY__INIT;
    shard->counts++;
    fake_cover(shard, request, ask->ranges, ask->n_ranges, &reply.covered, &reply.n_covered,
               &reply.failed, &reply.n_failed);
    reply.n_ranges = reply.n_covered - (shard->mode == SHARD_LIAR);
    reply.ranges = fake_all_stats(shard, arena, ask, reply.covered, reply.n_covered);
    if (shard->delays && shard->delayed == NULL) {
        shard->delayed = request;
        message_pack(&reply.base, &shard->delayed_reply);
        return;
    }
    fake_reply(request, &reply.base);
}

static inline void fake_send_delayed(struct fake_shard *shard)
{
    struct rpc_request *request = shard->delayed;
    shard->delays = false;
    shard->delayed = NULL;
    rpc_reply(request, (uint16_t)(request->kind + 1), buf_bytes(&shard->delayed_reply));
    buf_deinit(&shard->delayed_reply);
}

/* Whether the statistics of a search are from another time. */
static inline bool fake_overtaken(struct fake_shard *shard, const Quire__ShardSearch *ask)
{
    for (size_t i = 0; i < ask->n_seqs; i++)
        if (fake_range(shard, ask->ranges[i]->id) != NULL && ask->seqs[i] != shard->seq)
            return true;
    return false;
}

/* Every word matches everything; the score of a word is its place in the alphabet modulo 7. */
static inline void fake_search(struct fake_shard *shard, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    Quire__ShardSearch *ask = quire__shard_search__unpack(
        arena_protobuf(arena), request->payload.size, request->payload.data);
    Quire__ShardSearchReply reply = QUIRE__SHARD_SEARCH_REPLY__INIT;
    fake_cover(shard, request, ask->ranges, ask->n_ranges, &reply.covered, &reply.n_covered,
               &reply.failed, &reply.n_failed);
    if (fake_overtaken(shard, ask)) {
        shard->moved_on++;
        reply.n_moved_on = reply.n_covered;
        reply.moved_on = fake_all_stats(shard, arena, ask->ask, reply.covered, reply.n_covered);
        fake_reply(request, &reply.base);
        return;
    }
    shard->searches++;
    shard->documents = ask->documents;
    shard->frequency = ask->n_tokens > 0 ? ask->tokens[0]->document_frequency : 0;
    reply.hits = arena_calloc(arena, WORLD_WORDS, sizeof *reply.hits);
    for (int score = 6; score >= 0; score--) {
        for (size_t w = 0; w < WORLD_WORDS; w++) {
            const char *word = shard->world->words[w];
            bool here = false;
            for (size_t i = 0; i < ask->n_ranges && !here; i++)
                here = fake_covered(reply.covered, reply.n_covered, ask->ranges[i]->id) &&
                       fake_holds(fake_range(shard, ask->ranges[i]->id), word);
            if (!here || (int)(w % 7) != score)
                continue;
            reply.total++;
            if (ask->after != NULL &&
                (ask->after->score < (uint64_t)score ||
                 (ask->after->score == (uint64_t)score &&
                  bytes_compare(bytes_of(ask->after->key.data, ask->after->key.len),
                                bytes_str(word)) >= 0)))
                continue;
            if (reply.n_hits == ask->limit)
                continue;
            Quire__Hit *hit = arena_alloc(arena, sizeof *hit);
            quire__hit__init(hit);
            hit->headword = (char *)word;
            hit->score = (uint64_t)score;
            hit->has_key = true;
            hit->key = (ProtobufCBinaryData){strlen(word), (uint8_t *)word};
            reply.hits[reply.n_hits++] = hit;
        }
    }
    reply.total += shard->more_hits;
    shard->told_limit = ask->has_total_limit ? ask->total_limit : UINT64_MAX;
    if (reply.total > shard->told_limit) { /* it stops somewhere beyond */
        reply.total = shard->told_limit + (uint64_t)(shard->id[0] - '0');
        reply.has_total_is_lower_bound = reply.total_is_lower_bound = true;
    }
    Quire__FacetCount *facet = arena_alloc(arena, sizeof *facet);
    quire__facet_count__init(facet);
    facet->value = (char *)(shard->id[0] == '0' ? "Vision" : "vision");
    facet->count = reply.total;
    reply.n_categories = reply.total > 0;
    reply.categories = arena_calloc(arena, 1, sizeof *reply.categories);
    reply.categories[0] = facet;
    fake_reply(request, &reply.base);
}

static inline void fake_letters(struct fake_shard *shard, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    Quire__ShardLetters *ask = quire__shard_letters__unpack(
        arena_protobuf(arena), request->payload.size, request->payload.data);
    Quire__ShardLettersReply reply = QUIRE__SHARD_LETTERS_REPLY__INIT;
    fake_cover(shard, request, ask->ranges, ask->n_ranges, &reply.covered, &reply.n_covered,
               &reply.failed, &reply.n_failed);
    reply.has_total = reply.has_before = true;
    reply.letters = arena_calloc(arena, WORLD_WORDS, sizeof *reply.letters);
    for (size_t w = 0; w < WORLD_WORDS && reply.n_covered == 1; w++) {
        const char *word = shard->world->words[w];
        if (!fake_holds(fake_range(shard, ask->ranges[0]->id), word))
            continue;
        reply.total++;
        if (ask->has_before &&
            bytes_compare(bytes_str(word), bytes_of(ask->before.data, ask->before.len)) < 0)
            reply.before++;
        char letter[2] = {(char)(word[0] - 'a' + 'A'), 0};
        Quire__LetterCount *last = reply.n_letters > 0 ? reply.letters[reply.n_letters - 1] : NULL;
        if (last == NULL || last->letter[0] != letter[0]) {
            last = arena_alloc(arena, sizeof *last);
            quire__letter_count__init(last);
            last->letter = arena_strdup(arena, letter);
            reply.letters[reply.n_letters++] = last;
        }
        last->count++;
    }
    fake_reply(request, &reply.base);
}

static inline void fake_browse(struct fake_shard *shard, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    Quire__ShardBrowse *ask = quire__shard_browse__unpack(
        arena_protobuf(arena), request->payload.size, request->payload.data);
    Quire__ShardEntries reply = QUIRE__SHARD_ENTRIES__INIT;
    const Quire__Range *range = fake_range(shard, ask->range->id);
    if (range == NULL) {
        rpc_reply_error(request, ERR_STALE, "not here");
        return;
    }
    reply.heads = arena_calloc(arena, WORLD_WORDS, sizeof *reply.heads);
    reply.entries = arena_calloc(arena, WORLD_WORDS, sizeof *reply.entries);
    uint64_t skip = ask->skip;
    uint32_t limit = ask->limit_bytes != 0 ? 3 : ask->limit; /* an export gets three at a time */
    for (size_t w = 0; w < WORLD_WORDS; w++) {
        char *word = shard->world->words[w];
        struct bytes key = bytes_str(word);
        if (!fake_holds(range, word) ||
            bytes_compare(key, bytes_of(ask->from.data, ask->from.len)) < 0 ||
            (ask->has_to && ask->to.len > 0 &&
             bytes_compare(key, bytes_of(ask->to.data, ask->to.len)) >= 0))
            continue;
        if (skip > 0) {
            skip--;
            continue;
        }
        if (reply.n_heads + reply.n_entries == limit) {
            reply.has_next = true;
            reply.next = (ProtobufCBinaryData){key.size, (uint8_t *)key.data};
            break;
        }
        if (ask->heads_only) {
            Quire__EntryHead *head = arena_alloc(arena, sizeof *head);
            quire__entry_head__init(head);
            head->headword = word;
            reply.heads[reply.n_heads++] = head;
        } else {
            Quire__Entry *entry = arena_alloc(arena, sizeof *entry);
            quire__entry__init(entry);
            entry->headword = word;
            reply.entries[reply.n_entries++] = entry;
        }
    }
    fake_reply(request, &reply.base);
}

/* get and define: the word itself, from the range that holds it. */
static inline void fake_entries(struct fake_shard *shard, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    Quire__ShardEntries reply = QUIRE__SHARD_ENTRIES__INIT;
    Quire__RangeRef **ranges;
    size_t count;
    struct bytes key;
    if (request->kind == QUIRE__KIND__KIND_SHARD_GET) {
        Quire__ShardGet *get = quire__shard_get__unpack(
            arena_protobuf(arena), request->payload.size, request->payload.data);
        ranges = &get->range;
        count = 1;
        key = bytes_of(get->key.data, get->key.len);
    } else {
        Quire__ShardLookup *lookup = quire__shard_lookup__unpack(
            arena_protobuf(arena), request->payload.size, request->payload.data);
        ranges = lookup->ranges;
        count = lookup->n_ranges;
        key = bytes_of(lookup->key.data, lookup->key.len);
    }
    shard->told_min_seq = ranges[0]->min_seq;
    fake_cover(shard, request, ranges, count, &reply.covered, &reply.n_covered, &reply.failed,
               &reply.n_failed);
    reply.entries = arena_calloc(arena, WORLD_WORDS, sizeof *reply.entries);
    for (size_t w = 0; w < WORLD_WORDS; w++) {
        char *word = shard->world->words[w];
        for (size_t i = 0; i < count; i++) {
            if (!bytes_equal(key, bytes_str(word)) ||
                !fake_covered(reply.covered, reply.n_covered, ranges[i]->id) ||
                !fake_holds(fake_range(shard, ranges[i]->id), word))
                continue;
            Quire__Entry *entry = arena_alloc(arena, sizeof *entry);
            quire__entry__init(entry);
            entry->headword = word;
            entry->sense = (char *)(w == 0 ? "card" : NULL); /* the first word has two senses */
            reply.entries[reply.n_entries++] = entry;
            if (w > 0)
                continue;
            Quire__Entry *second = arena_alloc(arena, sizeof *second);
            *second = *entry;
            second->sense = (char *)"documentation";
            reply.entries[reply.n_entries++] = second;
        }
    }
    fake_reply(request, &reply.base);
}

/* Every range has a name "shared" besides its own words. */
static inline void fake_match(struct fake_shard *shard, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    Quire__ShardMatch *ask = quire__shard_match__unpack(
        arena_protobuf(arena), request->payload.size, request->payload.data);
    Quire__ShardMatchReply reply = QUIRE__SHARD_MATCH_REPLY__INIT;
    fake_cover(shard, request, ask->ranges, ask->n_ranges, &reply.covered, &reply.n_covered,
               &reply.failed, &reply.n_failed);
    reply.names = arena_calloc(arena, 1, sizeof *reply.names);
    reply.names[0] = arena_alloc(arena, sizeof **reply.names);
    quire__matched_name__init(reply.names[0]);
    reply.names[0]->name =
        arena_printf(arena, "Shared of %llu", (unsigned long long)ask->ranges[0]->id);
    reply.names[0]->key = (ProtobufCBinaryData){6, (uint8_t *)"shared"};
    reply.names[0]->has_entries = true;
    reply.names[0]->entries = 2;
    reply.n_names = 1;
    fake_reply(request, &reply.base);
}

static inline void fake_write(struct fake_shard *shard, struct rpc_request *request)
{
    struct arena *arena = &request->arena;
    Quire__ShardWrite *ask = quire__shard_write__unpack(
        arena_protobuf(arena), request->payload.size, request->payload.data);
    const Quire__Range *range = fake_range(shard, ask->range->id);
    if (range == NULL || range->epoch != ask->range->epoch) {
        rpc_reply_error(request, ERR_STALE, "not here");
        return;
    }
    shard->writes++;
    shard->ops += (unsigned)ask->n_ops;
    shard->seq += ask->n_ops;
    Quire__ShardWriteReply reply = QUIRE__SHARD_WRITE_REPLY__INIT;
    reply.has_seq = true;
    reply.seq = shard->seq;
    reply.results = arena_calloc(arena, ask->n_ops + 1, sizeof *reply.results);
    for (size_t i = 0; i < ask->n_ops; i++) {
        const char *word =
            ask->ops[i]->put != NULL ? ask->ops[i]->put->headword : ask->ops[i]->delete_headword;
        Quire__WriteResult *result = arena_alloc(arena, sizeof *result);
        quire__write_result__init(result);
        result->outcome = fake_holds(range, word) ? QUIRE__WRITE_RESULT__OUTCOME__NEW
                                                  : QUIRE__WRITE_RESULT__OUTCOME__FAILED;
        result->has_version = true;
        result->version = (uint64_t)strlen(word); /* tells the results apart */
        reply.results[reply.n_results++] = result;
    }
    fake_reply(request, &reply.base);
}

static inline void fake_verify(struct fake_shard *shard, struct rpc_request *request)
{
    Quire__ShardVerify *ask = quire__shard_verify__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    Quire__ShardVerifyReply reply = QUIRE__SHARD_VERIFY_REPLY__INIT;
    fake_cover(shard, request, ask->ranges, ask->n_ranges, &reply.covered, &reply.n_covered,
               &reply.failed, &reply.n_failed);
    reply.entries = reply.n_covered;
    reply.postings = reply.n_covered * 10;
    reply.digests = arena_calloc(&request->arena, reply.n_covered + 1, sizeof *reply.digests);
    for (size_t i = 0; i < reply.n_covered; i++) {
        Quire__RangeDigest *digest = arena_alloc(&request->arena, sizeof *digest);
        quire__range_digest__init(digest);
        digest->range = reply.covered[i];
        digest->seq = shard->seq;
        digest->digest = shard->digest;
        reply.digests[reply.n_digests++] = digest;
    }
    fake_reply(request, &reply.base);
}

static inline void fake_snapshot(struct fake_shard *shard, struct rpc_request *request)
{
    Quire__ShardSnapshot *ask = quire__shard_snapshot__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    Quire__ShardSnapshotReply reply = QUIRE__SHARD_SNAPSHOT_REPLY__INIT;
    fake_cover(shard, request, ask->ranges, ask->n_ranges, &reply.covered, &reply.n_covered,
               &reply.failed, &reply.n_failed);
    reply.snapshots = arena_calloc(&request->arena, reply.n_covered + 1, sizeof *reply.snapshots);
    for (size_t i = 0; i < reply.n_covered; i++) {
        Quire__Snapshot *snapshot = arena_alloc(&request->arena, sizeof *snapshot);
        quire__snapshot__init(snapshot);
        snapshot->node = shard->id;
        snapshot->id = 1000 + reply.covered[i];
        snapshot->range = reply.covered[i];
        snapshot->seq = ask->ranges[0]->from_primary ? shard->seq : 0;
        reply.snapshots[reply.n_snapshots++] = snapshot;
    }
    fake_reply(request, &reply.base);
}

/* One entry, which says who answers. */
static inline void fake_snapshot_page(struct fake_shard *shard, struct rpc_request *request)
{
    Quire__SnapshotPage reply = QUIRE__SNAPSHOT_PAGE__INIT;
    Quire__Entry entry = QUIRE__ENTRY__INIT, *entries[] = {&entry};
    entry.headword = shard->id;
    reply.n_entries = 1;
    reply.entries = entries;
    fake_reply(request, &reply.base);
}

/* The score is the length of the sense. */
static inline void fake_explain(struct rpc_request *request)
{
    Quire__ShardExplain *ask = quire__shard_explain__unpack(
        arena_protobuf(&request->arena), request->payload.size, request->payload.data);
    Quire__ExplainReply reply = QUIRE__EXPLAIN_REPLY__INIT;
    reply.matched = true;
    reply.score = strlen(ask->sense);
    reply.sense = ask->sense;
    fake_reply(request, &reply.base);
}

static inline void fake_assign(struct fake_shard *shard, struct rpc_request *request)
{
    arena_deinit(&shard->arena);
    shard->assign = quire__shard_assign__unpack(arena_protobuf(&shard->arena),
                                                request->payload.size, request->payload.data);
    shard->assigned_epoch = shard->assign->map_epoch;
    shard->assigns++;
    rpc_reply(request, QUIRE__KIND__KIND_OK, bytes_of(NULL, 0));
}

static inline void fake_handle(void *data, struct rpc_request *request)
{
    struct fake_shard *shard = data;
    if (request->kind == QUIRE__KIND__KIND_SHARD_ASSIGN) {
        fake_assign(shard, request);
        return;
    }
    if (shard->mode == SHARD_SILENT) {
        list_push(&shard->held, &request->link);
        return;
    }
    if (shard->mode == SHARD_STALE && shard->times-- > 0) {
        rpc_reply_error(request, ERR_STALE, "not yet");
        return;
    }
    if (shard->mode == SHARD_FULL && shard->times-- > 0) {
        struct err err;
        err_set(&err, ERR_OVERLOADED, "the shard has too much to do");
        err.retry_after_ms = 300;
        rpc_reply_err(request, &err);
        return;
    }
    if (shard->mode == SHARD_GARBAGE) {
        rpc_reply(request, (uint16_t)(request->kind + 1), bytes_of("\xff\xff\xff", 3));
        return;
    }
    switch (request->kind) {
    case QUIRE__KIND__KIND_SHARD_SEAL:
        shard->seals++;
        if (shard->refuse_seal)
            rpc_reply_error(request, ERR_CONFLICT, "not empty");
        else
            rpc_reply(request, QUIRE__KIND__KIND_OK, bytes_of(NULL, 0));
        break;
    case QUIRE__KIND__KIND_SHARD_WRITE:
        fake_write(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_GET:
    case QUIRE__KIND__KIND_SHARD_LOOKUP:
        fake_entries(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_BROWSE:
        fake_browse(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_LETTERS:
        fake_letters(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_MATCH:
        fake_match(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_STATS:
        fake_stats(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_SEARCH:
        fake_search(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_EXPLAIN:
        fake_explain(request);
        break;
    case QUIRE__KIND__KIND_SHARD_VERIFY:
        fake_verify(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_SNAPSHOT:
        fake_snapshot(shard, request);
        break;
    case QUIRE__KIND__KIND_SHARD_SNAPSHOT_READ:
        fake_snapshot_page(shard, request);
        break;
    default:
        rpc_reply_error(request, ERR_UNSUPPORTED, "kind %u", request->kind);
    }
}

/* ---- the fake shard's life ---- */

static inline void fake_registered(struct rpc_call *call, int status, const struct err *err,
                                   uint16_t kind, struct bytes payload)
{
    (void)status;
    (void)err;
    (void)kind;
    (void)payload;
    ((struct fake_shard *)call->data)->calling = false;
}

static inline void fake_heartbeat(uv_timer_t *timer)
{
    struct fake_shard *shard = timer->data;
    if (shard->calling || shard->silent_heart)
        return;
    Quire__Node node = QUIRE__NODE__INIT;
    Quire__Register message = QUIRE__REGISTER__INIT;
    node.id = shard->id;
    node.address = shard->url;
    message.node = &node;
    message.has_map_epoch = true;
    message.map_epoch = shard->assigned_epoch;
    Quire__RangeReport report = QUIRE__RANGE_REPORT__INIT, *reports[1] = {&report};
    const Quire__Range *sealed = fake_range(shard, shard->sealed);
    if (sealed != NULL && sealed->epoch == 1) {
        report.id = sealed->id;
        report.epoch = sealed->epoch;
        report.state = (char *)"sealed";
        message.n_ranges = 1;
        message.ranges = reports;
    }
    struct buf packed;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    shard->calling = true;
    shard->call = (struct rpc_call){.data = shard, .done = fake_registered};
    rpc_call_start(&shard->call, shard->coordinator, QUIRE__KIND__KIND_REGISTER, buf_bytes(&packed),
                   2000, 0);
    buf_deinit(&packed);
}

static inline void fake_start(struct world *world, struct fake_shard *shard, int number)
{
    struct err err = {0};
    *shard = (struct fake_shard){.world = world};
    snprintf(shard->id, sizeof shard->id, "%d1111111-1111-4111-8111-111111111111", number);
    snprintf(shard->url, sizeof shard->url, "ipc://%s/shard%d", world->dir, number);
    shard->identity = (struct rpc_identity){RPC_ROLE_SHARD, shard->id, ""};
    list_init(&shard->held);
    arena_init(&shard->arena, 0);
    shard->rpc = rpc_create(&world->loop, &shard->identity, &err);
    assert_non_null(shard->rpc);
    assert_int_equal(
        rpc_server_create(shard->rpc, shard->url, fake_handle, shard, &shard->server, &err), 0);
    assert_int_equal(rpc_peer_create(shard->rpc, world->url, &shard->coordinator, &err), 0);
    uv_timer_init(&world->loop, &shard->heart);
    shard->heart.data = shard;
    uv_timer_start(&shard->heart, fake_heartbeat, 0, 100);
}

static inline void fake_closed(void *data)
{
    ((struct fake_shard *)data)->closed = true;
}

static inline void fake_stop(struct fake_shard *shard)
{
    if (shard->rpc == NULL)
        return;
    for (struct list *link; (link = list_shift(&shard->held)) != NULL;)
        rpc_reply_error(list_entry(link, struct rpc_request, link), ERR_CANCELED, "stopping");
    uv_close((uv_handle_t *)&shard->heart, NULL);
    rpc_close(shard->rpc, fake_closed, shard);
    while (!shard->closed)
        uv_run(&shard->world->loop, UV_RUN_ONCE);
    arena_deinit(&shard->arena);
    shard->rpc = NULL;
}

/* ---- the world ---- */

static inline void world_ready(void *data, int status, const struct err *err)
{
    struct world *world = data;
    if (status != 0)
        fail_msg("the coordinator does not start: %s", err->text);
    world->ready = true;
}

static inline void world_start_coordinator(struct world *world)
{
    struct err err = {0};
    struct coordinator_options options = {
        .dir = world->dir,
        .node_id = "cccccccc-cccc-4ccc-8ccc-cccccccccccc",
        .listen = world->url,
        .advertise = world->url,
        .raft_listen = "127.0.0.1:0",
        .stats_cache_bytes = world->stats_cache_bytes,
        .ready = world_ready,
        .data = world,
    };
    world->ready = false;
    if (coordinator_start(&world->loop, &options, &world->coordinator, &err) != 0)
        fail_msg("the coordinator does not start: %s", err.text);
    while (!world->ready)
        uv_run(&world->loop, UV_RUN_ONCE);
}

static inline void world_stopped(void *data)
{
    ((struct world *)data)->stopped = true;
}

static inline void world_stop_coordinator(struct world *world)
{
    world->stopped = false;
    coordinator_stop(world->coordinator, world_stopped, world);
    while (!world->stopped)
        uv_run(&world->loop, UV_RUN_ONCE);
    world->coordinator = NULL;
}

static inline void world_run(struct world *world, uint64_t ms)
{
    uint64_t end = clock_ms() + ms;
    while (clock_ms() < end) {
        uv_run(&world->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

/* Waits until so many shards are up; at most ten seconds. */
static inline void world_await(struct world *world, size_t up)
{
    uint64_t end = clock_ms() + 10000;
    while (nodes_up_count(&world->coordinator->nodes) != up && clock_ms() < end) {
        uv_run(&world->loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(nodes_up_count(&world->coordinator->nodes), up);
}

static inline void world_pulse(uv_timer_t *timer)
{
    struct world *world = timer->data;
    uint64_t now = clock_ms();
    uint64_t late = now - world->pulse_ms > 10 ? now - world->pulse_ms - 10 : 0;
    world->stall_ms = late > world->stall_ms ? late : world->stall_ms;
    world->pulse_ms = now;
}

static inline struct world *world_create(size_t shards)
{
    struct err err = {0};
    struct world *world = calloc(1, sizeof *world);
    world->stats_cache_bytes = 1 << 20;
    log_configure(LOG_ERROR, false, "test");
    uv_loop_init(&world->loop);
    uv_timer_init(&world->loop, &world->pulse);
    world->pulse.data = world;
    uv_timer_start(&world->pulse, world_pulse, 10, 10);
    strcpy(world->dir, "/tmp/quire-test-coordinator-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    snprintf(world->url, sizeof world->url, "ipc://%s/coordinator", world->dir);
    for (int i = 0; i < WORLD_WORDS; i++)
        snprintf(world->words[i], sizeof *world->words, "%c%c word", 'a' + i / 2,
                 i % 2 == 0 ? 'b' : 'q');
    world_start_coordinator(world);
    world->shard_count = shards;
    for (size_t i = 0; i < shards; i++)
        fake_start(world, &world->shards[i], (int)i);
    world->identity = (struct rpc_identity){RPC_ROLE_CLIENT, "", ""};
    world->client = rpc_create(&world->loop, &world->identity, &err);
    assert_int_equal(rpc_peer_create(world->client, world->url, &world->peer, &err), 0);
    world_await(world, shards);
    return world;
}

static inline int world_remove(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline void world_client_closed(void *data)
{
    ((struct world *)data)->client_closed = true;
}

static inline void world_destroy(struct world *world)
{
    if (world->coordinator != NULL)
        world_stop_coordinator(world);
    rpc_close(world->client, world_client_closed, world);
    while (!world->client_closed)
        uv_run(&world->loop, UV_RUN_ONCE);
    for (size_t i = 0; i < world->shard_count; i++)
        fake_stop(&world->shards[i]);
    uv_close((uv_handle_t *)&world->pulse, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    nftw(world->dir, world_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(world);
}

/* ---- the client ---- */

struct answer {
    bool done;
    int status;
    struct err err;
    uint16_t kind;
    struct buf payload;
    struct arena arena;
    uint64_t took_ms;
};

static inline void answer_done(struct rpc_call *call, int status, const struct err *err,
                               uint16_t kind, struct bytes payload)
{
    struct answer *answer = call->data;
    answer->done = true;
    answer->status = status;
    if (err != NULL)
        answer->err = *err;
    answer->kind = kind;
    buf_append_bytes(&answer->payload, payload);
}

static inline void answer_deinit(struct answer *answer)
{
    buf_deinit(&answer->payload);
    arena_deinit(&answer->arena);
}

static inline void ask_once(struct world *world, struct answer *answer, uint16_t kind,
                            struct bytes payload, uint32_t timeout_ms)
{
    struct rpc_call call = {.data = answer, .done = answer_done};
    *answer = (struct answer){0};
    arena_init(&answer->arena, 0);
    uint64_t begin = clock_ms();
    world->pulse_ms = begin;
    world->stall_ms = 0;
    rpc_call_start(&call, world->peer, kind, payload, timeout_ms, 0);
    while (!answer->done)
        uv_run(&world->loop, UV_RUN_ONCE);
    world_pulse(&world->pulse);
    answer->took_ms = clock_ms() - begin;
}

/* Sends bytes as they are; `answer` is to be released with answer_deinit. The coordinator answers
 * an eighth of the time, 250 ms at most, ahead of the client's deadline. When the loop itself stood
 * still for so long, on a machine that has other things to do, that the deadline came first,
 * nothing is proved, and it is asked again. */
static inline int ask_raw(struct world *world, struct answer *answer, uint16_t kind,
                          struct bytes payload, uint32_t timeout_ms)
{
    ask_once(world, answer, kind, payload, timeout_ms);
    for (int again = 0;
         again < 50 && answer->status == ERR_DEADLINE && world->stall_ms > timeout_ms / 64;
         again++) {
        answer_deinit(answer);
        ask_once(world, answer, kind, payload, timeout_ms);
    }
    return answer->status;
}

static inline int ask(struct world *world, struct answer *answer, uint16_t kind,
                      const void *message, uint32_t timeout_ms)
{
    struct buf packed;
    buf_init(&packed);
    if (message != NULL)
        message_pack(message, &packed);
    int rc = ask_raw(world, answer, kind, buf_bytes(&packed), timeout_ms);
    buf_deinit(&packed);
    return rc;
}

static inline void *answer_message(struct answer *answer,
                                   const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(
        descriptor, arena_protobuf(&answer->arena), answer->payload.size, answer->payload.data);
    assert_non_null(message);
    return message;
}

/* ImportPrepare with every word as the sample; returns the number of ranges. */
static inline uint32_t world_prepare(struct world *world, const char *name)
{
    Quire__ImportPrepare message = QUIRE__IMPORT_PREPARE__INIT;
    ProtobufCBinaryData sample[WORLD_WORDS];
    struct answer answer;
    for (size_t i = 0; i < WORLD_WORDS; i++)
        sample[i] = (ProtobufCBinaryData){strlen(world->words[i]), (uint8_t *)world->words[i]};
    message.collection = (char *)name;
    message.n_sample = WORLD_WORDS;
    message.sample = sample;
    if (ask(world, &answer, QUIRE__KIND__KIND_IMPORT_PREPARE, &message, 5000) != 0)
        fail_msg("prepare: %s", answer.err.text);
    Quire__Collection *collection = answer_message(&answer, &quire__collection__descriptor);
    uint32_t ranges = collection->ranges;
    answer_deinit(&answer);
    return ranges;
}

#endif
