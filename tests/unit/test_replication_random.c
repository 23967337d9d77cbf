/* Groups of replication cores in random schedules: messages are lost, delayed, reordered and
 * doubled, nodes crash and lose what was not synced, disks stall, and a toy coordinator changes the
 * configuration whenever that is allowed. After each step of it
 *
 *   - every node's committed records are the same ones, and its commit point never goes back;
 *   - what a primary commits is durable on every replica that the map calls in sync at that moment;
 *   - one node at most may answer as primary, it has everything that was ever committed, and each
 *     epoch has one node that took writes under it.
 *
 * In the end the faults stop: all must become in sync and equal, and a last write must come
 * through. A failing seed is printed; QUIRE_REPLICATION_SEED replays it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "shard/replication.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 5
#define LOG_MAX 1024    /* records of a run */
#define WRITES_MAX 1024 /* to one log, under way */
#define MESSAGE_MAX 8   /* records in one */
#define MAIL_MAX 4096
#define SEEDS 250
#define STEP_MS 5
#define STEPS 2400 /* with faults */
#define QUIET 4000 /* and without, at most */
#define LEASE_MS 1000

struct entry {
    struct replication_record record;
    uint64_t value; /* what was written: different for each */
};

struct disk {
    struct replication_position base;
    struct entry entry[LOG_MAX];
    size_t count;
};

struct write {
    struct entry entry[MESSAGE_MAX];
    size_t count;
    uint64_t cut;
};

struct node {
    struct world *world;
    char id[2];
    struct replication *core; /* NULL: it is down */
    uint64_t incarnation, lease_ms, stalled_ms, tick_ms;
    struct disk log, durable; /* as the process sees it; as a crash leaves it */
    struct write write[WRITES_MAX];
    size_t write_head, write_count;
    uint64_t committed, flushed;
    bool empty, wants;
};

struct mail {
    bool used, is_ack, bounced, disconnected;
    uint64_t due_ms;
    int from, to;
    struct replication_prepare prepare;
    struct replication_record record[MESSAGE_MAX];
    struct entry entry[MESSAGE_MAX];
    struct replication_ack ack;
};

struct world {
    uint64_t first_seed, seed, now, last_value;
    int nodes;
    bool quiet;
    struct node node[NODES_MAX];
    struct mail mail[MAIL_MAX];
    bool cut_link[NODES_MAX][NODES_MAX];
    /* The map. */
    uint64_t epoch, incarnation[NODES_MAX];
    int primary;
    bool in_sync[NODES_MAX];
    uint64_t requested_epoch;
    bool request[NODES_MAX], request_in_sync[NODES_MAX];
    /* What was committed, ever. */
    struct entry truth[LOG_MAX];
    size_t truths;
    uint64_t committed;
    int writer_of[LOG_MAX]; /* by epoch */
    uint64_t writes_done;
};

#define CHECK(world, condition, ...)                                                               \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("seed %llu at %llu ms: ", (unsigned long long)(world)->first_seed,         \
                        (unsigned long long)(world)->now);                                         \
            fail_msg(__VA_ARGS__);                                                                 \
        }                                                                                          \
    } while (0)

static uint64_t draw(struct world *w, uint64_t below)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return (w->seed * UINT64_C(0x2545F4914F6CDD1D) >> 33) % below;
}

/* Happens once in so many times while there are faults. */
static bool fault(struct world *w, uint64_t once_in)
{
    return !w->quiet && draw(w, once_in) == 0;
}

/* ---- disks ---- */

static uint64_t end_of(const struct entry *entry)
{
    return entry->record.first_seq + entry->record.count - 1;
}

static struct replication_position disk_last(const struct disk *disk)
{
    if (disk->count == 0)
        return disk->base;
    const struct entry *entry = &disk->entry[disk->count - 1];
    return (struct replication_position){entry->record.epoch, end_of(entry)};
}

static const struct entry *disk_find(const struct disk *disk, uint64_t seq)
{
    for (size_t i = 0; i < disk->count; i++)
        if (disk->entry[i].record.first_seq <= seq && seq <= end_of(&disk->entry[i]))
            return &disk->entry[i];
    return NULL;
}

static void disk_apply(struct disk *disk, const struct write *write)
{
    while (write->cut != 0 && disk_last(disk).seq >= write->cut)
        disk->count--;
    for (size_t i = 0; i < write->count; i++) {
        assert_int_equal(write->entry[i].record.first_seq, disk_last(disk).seq + 1);
        assert_true(disk->count < LOG_MAX);
        disk->entry[disk->count++] = write->entry[i];
    }
}

static void disk_truncate(struct disk *disk, struct replication_position base)
{
    size_t gone = 0;
    while (gone < disk->count && end_of(&disk->entry[gone]) <= base.seq)
        gone++;
    disk->count -= gone;
    memmove(disk->entry, disk->entry + gone, disk->count * sizeof disk->entry[0]);
    if (base.seq > disk->base.seq)
        disk->base = base;
}

static struct replication_position position_of(const struct disk *disk, uint64_t seq)
{
    const struct entry *entry = disk_find(disk, seq);
    return entry ? (struct replication_position){entry->record.epoch, seq} : disk->base;
}

static void node_write(struct node *node, const struct write *write)
{
    assert_true(node->write_count < WRITES_MAX);
    node->write[(node->write_head + node->write_count++) % WRITES_MAX] = *write;
    disk_apply(&node->log, write);
}

static void node_sync(struct node *node, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        disk_apply(&node->durable, &node->write[node->write_head]);
        node->write_head = (node->write_head + 1) % WRITES_MAX;
        node->write_count--;
    }
}

/* ---- mail ---- */

static int number(const char *id)
{
    return id[0] - 'a';
}

static void post(struct world *w, const struct mail *mail)
{
    bool cut = w->cut_link[mail->from][mail->to];
    for (int copies = fault(w, 20) ? 2 : 1; copies > 0; copies--) {
        bool lost = fault(w, 12);
        if ((lost && draw(w, 2) == 0) || (cut && mail->is_ack))
            continue; /* and nobody says so */
        size_t i = 0;
        while (i < MAIL_MAX && w->mail[i].used)
            i++;
        assert_true(i < MAIL_MAX);
        w->mail[i] = *mail;
        w->mail[i].used = true;
        w->mail[i].bounced = cut || lost;
        w->mail[i].disconnected = cut;
        w->mail[i].due_ms = w->now + 1 + draw(w, w->quiet ? 5 : fault(w, 30) ? 1500 : 20);
    }
}

static uint64_t edge_send(void *data, const char *to, const struct replication_prepare *prepare,
                          uint64_t first)
{
    struct node *node = data;
    struct world *w = node->world;
    struct mail mail = {.from = number(node->id), .to = number(to), .prepare = *prepare};
    uint64_t last = 0;
    if (first != 0) {
        const struct entry *entry = disk_find(&node->log, first);
        CHECK(w, entry && entry->record.first_seq == first, "%s has no record that begins at %llu",
              node->id, (unsigned long long)first);
        size_t count = 1 + draw(w, MESSAGE_MAX);
        for (; count > 0 && entry < node->log.entry + node->log.count; count--, entry++) {
            mail.entry[mail.prepare.record_count++] = *entry;
            last = end_of(entry);
        }
    }
    post(w, &mail);
    return last;
}

static void edge_answer(void *data, void *ticket, const struct replication_ack *ack)
{
    struct node *node = data;
    struct mail *mail = ticket;
    const struct mail answer = {.is_ack = true, .from = mail->to, .to = mail->from, .ack = *ack};
    post(node->world, &answer);
    free(mail);
}

static void edge_append(void *data, void *ticket, size_t count, uint64_t cut)
{
    const struct mail *mail = ticket;
    struct write write = {.cut = cut, .count = count};
    memcpy(write.entry, mail->entry + mail->prepare.record_count - count,
           count * sizeof write.entry[0]);
    node_write(data, &write);
}

/* What the map says is in sync has it, when somebody that leads says that it is committed. */
static void check_in_sync(struct world *w, uint64_t seq, const struct entry *entry)
{
    for (int i = 0; i < w->nodes; i++) {
        const struct entry *other = disk_find(&w->node[i].durable, seq);
        if (w->in_sync[i] && seq > w->node[i].durable.base.seq)
            CHECK(w, other && other->value == entry->value,
                  "%llu was committed, but %s, which is in sync, has it not",
                  (unsigned long long)seq, w->node[i].id);
    }
}

static void edge_commit(void *data, uint64_t seq)
{
    struct node *node = data;
    struct world *w = node->world;
    CHECK(w, seq > node->committed, "the commit point of %s went back", node->id);
    while (node->committed < seq) {
        const struct entry *entry = disk_find(&node->log, node->committed + 1);
        CHECK(w, entry && end_of(entry) <= seq, "%s commits what it has not", node->id);
        node->committed = end_of(entry);
        if (node->committed > w->committed) {
            CHECK(w, entry->record.first_seq == w->committed + 1, "a gap");
            check_in_sync(w, node->committed, entry);
            w->truth[w->truths++] = *entry;
            w->committed = node->committed;
            continue;
        }
        size_t i = 0;
        while (end_of(&w->truth[i]) < node->committed)
            i++;
        CHECK(w,
              w->truth[i].value == entry->value && w->truth[i].record.epoch == entry->record.epoch,
              "%s has another record at %llu", node->id, (unsigned long long)node->committed);
    }
}

static void edge_abandon(void *data, uint64_t seq)
{
    struct node *node = data;
    CHECK(node->world, seq > node->committed, "%s abandons what is committed", node->id);
}

static void edge_request(void *data, uint64_t epoch, const char *id, bool in_sync)
{
    struct world *w = ((struct node *)data)->world;
    if (epoch != w->epoch)
        return;
    w->requested_epoch = epoch;
    w->request[number(id)] = true;
    w->request_in_sync[number(id)] = in_sync;
}

static void edge_need_checkpoint(void *data, const char *primary)
{
    (void)primary;
    ((struct node *)data)->wants = true;
}

/* ---- nodes ---- */

static void node_configure(struct node *node)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct world *w = node->world;
    const char *in[NODES_MAX], *out[NODES_MAX];
    struct replication_config config = {
        .epoch = w->epoch, .primary = names[w->primary], .in_sync = in, .learners = out};
    for (int i = 0; i < w->nodes; i++)
        if (w->in_sync[i])
            in[config.in_sync_count++] = names[i];
        else
            out[config.learner_count++] = names[i];
    replication_configure(node->core, &config,
                          node->incarnation == w->incarnation[number(node->id)], w->now);
}

static void node_start(struct node *node)
{
    struct replication_position starts[LOG_MAX];
    size_t count = 0;
    const struct disk *disk = &node->durable;
    for (size_t i = 0; i < disk->count; i++)
        if (count == 0 || starts[count - 1].epoch != disk->entry[i].record.epoch)
            starts[count++] = (struct replication_position){disk->entry[i].record.epoch,
                                                            disk->entry[i].record.first_seq};
    const struct replication_edge edge = {.data = node,
                                          .send = edge_send,
                                          .answer = edge_answer,
                                          .append = edge_append,
                                          .commit = edge_commit,
                                          .abandon = edge_abandon,
                                          .request = edge_request,
                                          .need_checkpoint = edge_need_checkpoint};
    const struct replication_start start = {.node_id = node->id,
                                            .base = disk->base,
                                            .starts = starts,
                                            .start_count = count,
                                            .last_seq = disk_last(disk).seq,
                                            .committed = node->flushed,
                                            .empty = node->empty};
    node->log = *disk;
    node->committed = node->flushed;
    node->lease_ms = 0;
    node->wants = false;
    node->core = replication_create(&start, &edge);
}

/* A crash: of what was not synced a part may be on the disk all the same. */
static void node_crash(struct node *node)
{
    replication_destroy(node->core);
    node->core = NULL;
    node_sync(node, draw(node->world, node->write_count + 1));
    node->write_count = 0;
    node->incarnation++;
}

static void node_propose(struct node *node)
{
    struct world *w = node->world;
    uint32_t count = 1 + (uint32_t)draw(w, 3);
    uint64_t first;
    if (w->last_value >= LOG_MAX - 8 || node->write_count > 100 ||
        replication_propose(node->core, count, w->now, &first, NULL) != 0)
        return;
    uint64_t epoch = replication_epoch(node->core);
    CHECK(w, w->writer_of[epoch] == 0 || w->writer_of[epoch] == number(node->id) + 1,
          "two nodes take writes under epoch %llu", (unsigned long long)epoch);
    w->writer_of[epoch] = number(node->id) + 1;
    const struct write write = {.entry[0] = {{epoch, first, count}, ++w->last_value}, .count = 1};
    node_write(node, &write);
    replication_pump(node->core, w->now);
}

static void node_checkpoint(struct node *node)
{
    struct world *w = node->world;
    struct node *from = &w->node[w->primary];
    node->wants = false;
    if (from == node || from->core == NULL || replication_epoch(from->core) != w->epoch ||
        !replication_may_install(node->core, from->flushed))
        return;
    struct replication_position base = position_of(&from->log, from->flushed);
    CHECK(w, base.seq == from->flushed, "the log of %s does not go with its index", from->id);
    replication_destroy(node->core);
    node->durable.base = base;
    node->durable.count = node->write_count = 0;
    node->flushed = base.seq;
    node->empty = false;
    node_start(node);
}

static void node_step(struct node *node)
{
    struct world *w = node->world;
    if (fault(w, 1500))
        node->stalled_ms = w->now + draw(w, 2500);
    if (node->write_count > 0 && node->stalled_ms <= w->now && draw(w, 3) == 0) {
        size_t count = 1 + draw(w, node->write_count);
        node_sync(node, count);
        replication_appended(node->core, count, w->now);
    }
    if (draw(w, 200) == 0) {
        node->flushed = node->committed;
        replication_flushed(node->core, node->flushed);
    }
    if (draw(w, 200) == 0) {
        uint64_t retain = replication_retain(node->core);
        CHECK(w, retain <= node->flushed, "%s would forget what it needs", node->id);
        disk_truncate(&node->durable, position_of(&node->log, retain));
        disk_truncate(&node->log, position_of(&node->log, retain));
        replication_truncated(node->core, node->log.base.seq);
    }
    if (draw(w, 10) == 0)
        node_configure(node);
    if (node->wants && draw(w, 50) == 0)
        node_checkpoint(node);
    if (draw(w, 12) == 0 && replication_role(node->core) == REPLICATION_PRIMARY)
        node_propose(node);
    if (w->now >= node->tick_ms) {
        node->tick_ms = w->now + 50;
        replication_tick(node->core, w->now);
    }
}

/* ---- the coordinator ---- */

static void change(struct world *w, int primary)
{
    w->primary = primary;
    w->in_sync[primary] = true;
    w->epoch++;
    memset(w->request, 0, sizeof w->request);
}

/* Another primary, when the one there is was given up and its lease is over. */
static void fail_over(struct world *w)
{
    int chosen = -1;
    for (int tries = 0; tries < 10 && chosen < 0; tries++) {
        int i = (int)draw(w, (uint64_t)w->nodes);
        if (w->in_sync[i] && i != w->primary && w->node[i].core != NULL)
            chosen = i;
    }
    if (chosen < 0)
        return;
    w->in_sync[w->primary] = false;
    change(w, chosen);
}

static void coordinate(struct world *w)
{
    struct node *primary = &w->node[w->primary];
    for (int i = 0; i < w->nodes; i++) {
        struct node *node = &w->node[i];
        if (node->core == NULL)
            continue;
        if (w->incarnation[i] != node->incarnation) { /* a new life: the old one is over */
            w->incarnation[i] = node->incarnation;
            if (i == w->primary && draw(w, 2) == 0)
                fail_over(w);
            if (i == w->primary)
                change(w, i);
        }
        /* Only to who has taken the map: it might not know yet that it leads no more. */
        if (!fault(w, 3) && draw(w, 20) == 0 && replication_epoch(node->core) == w->epoch) {
            node->lease_ms = w->now + LEASE_MS;
            replication_lease(node->core, node->lease_ms);
        }
    }
    if ((fault(w, 400) || primary->core == NULL) && primary->lease_ms <= w->now)
        fail_over(w);
    for (int i = 0; i < w->nodes; i++) {
        if (!w->request[i] || w->requested_epoch != w->epoch || i == w->primary ||
            draw(w, 10) != 0 || (w->request_in_sync[i] && w->node[i].core == NULL))
            continue;
        w->in_sync[i] = w->request_in_sync[i];
        change(w, w->primary);
    }
}

/* ---- running ---- */

static void deliver(struct world *w, struct mail *mail)
{
    struct node *node = &w->node[mail->to];
    mail->used = false;
    if (mail->bounced || (node->core == NULL && !mail->is_ack)) { /* its sender hears of it */
        struct node *asker = mail->is_ack ? node : &w->node[mail->from];
        struct node *other = mail->is_ack ? &w->node[mail->from] : node;
        if (asker->core)
            replication_lost(asker->core, other->id, mail->disconnected || other->core == NULL,
                             w->now);
        return;
    }
    if (mail->is_ack) {
        if (node->core)
            replication_acked(node->core, w->node[mail->from].id, &mail->ack, w->now);
        return;
    }
    struct mail *ticket = malloc(sizeof *ticket);
    assert_non_null(ticket);
    *ticket = *mail;
    for (size_t i = 0; i < ticket->prepare.record_count; i++)
        ticket->record[i] = ticket->entry[i].record;
    ticket->prepare.records = ticket->record;
    ticket->prepare.from = w->node[mail->from].id;
    struct replication_prepare prepare = ticket->prepare;
    struct replication_record records[MESSAGE_MAX];
    memcpy(records, ticket->record, sizeof records);
    prepare.records = records;
    replication_receive(node->core, ticket, &prepare, w->now);
}

static void check(struct world *w)
{
    int readable = 0;
    for (int i = 0; i < w->nodes; i++) {
        struct replication *core = w->node[i].core;
        if (core == NULL || replication_may_read(core, 0, true, w->now, NULL) != 0)
            continue;
        readable++;
        CHECK(w, replication_committed(core) == w->committed,
              "%s answers as primary, and has not all that was committed", w->node[i].id);
    }
    CHECK(w, readable <= 1, "two nodes answer as primary");
}

static void step(struct world *w)
{
    w->now += STEP_MS;
    for (size_t i = 0; i < MAIL_MAX; i++)
        if (w->mail[i].used && w->mail[i].due_ms <= w->now)
            deliver(w, &w->mail[i]);
    for (int i = 0; i < w->nodes; i++) {
        struct node *node = &w->node[i];
        if (node->core == NULL) {
            if (w->quiet || draw(w, 200) == 0)
                node_start(node);
        } else if (fault(w, 1200)) {
            node_crash(node);
        } else {
            node_step(node);
        }
        if (fault(w, 600))
            w->cut_link[i][draw(w, (uint64_t)w->nodes)] ^= true;
    }
    coordinate(w);
    check(w);
}

/* `tails`: but for what some have beyond, which goes when something comes for its place. */
static bool all_equal(const struct world *w, bool tails)
{
    for (int i = 0; i < w->nodes; i++)
        if (!w->in_sync[i] || w->node[i].core == NULL || w->node[i].committed != w->committed ||
            (!tails && replication_last(w->node[i].core) != w->committed))
            return false;
    return true;
}

static void world_begin(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->first_seed = seed;
    w->seed = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    w->nodes = 3 + (int)draw(w, 3);
    w->epoch = 1;
    w->now = 1000;
    for (int i = 0; i < w->nodes; i++) {
        struct node *node = &w->node[i];
        *node = (struct node){.world = w, .id = {(char)('a' + i), 0}, .incarnation = 1};
        w->incarnation[i] = 1;
        w->in_sync[i] = i < 2 || draw(w, 2) == 0;
        node->empty = !w->in_sync[i];
        node_start(node);
    }
}

static void run(struct world *w, uint64_t seed)
{
    world_begin(w, seed);
    for (int i = 0; i < STEPS; i++)
        step(w);
    w->quiet = true;
    memset(w->cut_link, 0, sizeof w->cut_link);
    uint64_t value = w->last_value;
    w->last_value = LOG_MAX; /* no more writes, until all is equal... */
    int left = QUIET;
    for (; left > 0 && !all_equal(w, true); left--)
        step(w);
    CHECK(w, left > 0, "the replicas do not become equal: epoch %llu, committed %llu",
          (unsigned long long)w->epoch, (unsigned long long)w->committed);
    w->last_value = LOG_MAX - 9; /* ...and one more */
    uint64_t before = w->committed;
    for (; left > 0 && (w->committed == before || !all_equal(w, false)); left--)
        step(w);
    CHECK(w, left > 0, "no write comes through any more");
    w->writes_done = value;
    for (int i = 0; i < w->nodes; i++)
        replication_destroy(w->node[i].core);
}

static void test_random(void **state)
{
    (void)state;
    struct world *w = malloc(sizeof *w);
    assert_non_null(w);
    const char *only = getenv("QUIRE_REPLICATION_SEED");
    const char *many = getenv("QUIRE_REPLICATION_SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, committed = 0, written = 0, epochs = 0;
    uint64_t seeds = only ? 1 : many ? strtoull(many, NULL, 10) : SEEDS;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        run(w, seed);
        committed += w->truths;
        written += w->writes_done;
        epochs += w->epoch;
    }
    print_message("%llu of %llu writes committed, %llu epochs\n", (unsigned long long)committed,
                  (unsigned long long)written, (unsigned long long)epochs);
    assert_true(only || (committed > 20 * seeds && epochs > 5 * seeds)); /* it did test something */
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
