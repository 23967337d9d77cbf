/* The side that leads: sends its log, counts acknowledgements, commits, and says which replicas do
 * not keep up or have caught up. */
#include "shard/replication_internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- taking over ---- */

static void add_member(struct replication *replication, const char *id, bool in_sync)
{
    if (strcmp(id, replication->node_id) == 0)
        return;
    for (size_t i = 0; i < replication->member_count; i++)
        if (strcmp(replication->member[i].id, id) == 0)
            return;
    assert(replication->member_count < REPLICATION_MEMBERS_MAX);
    struct member *member = &replication->member[replication->member_count++];
    *member = (struct member){.in_sync = in_sync};
    snprintf(member->id, sizeof member->id, "%s", id);
}

void primary_begin(struct replication *replication, const struct replication_config *config,
                   bool was_primary, uint64_t now_ms)
{
    replication->member_count = 0;
    for (size_t i = 0; i < config->in_sync_count; i++)
        add_member(replication, config->in_sync[i], true);
    for (size_t i = 0; i < config->learner_count; i++)
        add_member(replication, config->learners[i], false);
    replication->inherited = was_primary ? replication->committed : replication->log.last;
    if (was_primary)
        replication->role = REPLICATION_PRIMARY;
    replication->tick_ms = now_ms;
    primary_advance(replication, now_ms);
    primary_tick(replication, now_ms);
}

/* ---- sending ---- */

/* first = 0: no records, only the question where the replica stands (or, when that is known, that
 * it still does), the commit point, and that the primary lives. */
static void send(struct replication *replication, struct member *member, uint64_t first,
                 uint64_t now_ms)
{
    struct replication_log *log = &replication->log;
    struct replication_prepare prepare = {.epoch = replication->epoch,
                                          .from = replication->node_id,
                                          .committed = replication->committed,
                                          .retain = replication_retain(replication),
                                          .base = log->base.seq};
    uint64_t prev = first != 0 ? first - 1 : member->acked;
    if (prev >= log->base.seq)
        prepare.prev = (struct replication_position){log_epoch_at(log, prev), prev};
    uint64_t last = replication->edge.send(replication->edge.data, member->id, &prepare, first);
    if (first != 0) {
        assert(last >= first && last <= log->last);
        member->next = last + 1;
    }
    member->told = replication->committed;
    member->in_flight++;
    member->sent_ms = now_ms;
    if (member->waiting_since_ms == 0)
        member->waiting_since_ms = now_ms;
}

static void pump(struct replication *replication, struct member *member, uint64_t now_ms)
{
    if (member->next == 0 || member->stranded || member->broken || member->lost_since_ms != 0)
        return; /* heartbeats tell when there is something to be sent again */
    if (member->next <= replication->log.base.seq) {
        member->stranded = true; /* what it needs was cut off */
        return;
    }
    while (member->next <= replication->log.last && member->in_flight < REPLICATION_WINDOW)
        send(replication, member, member->next, now_ms);
}

void replication_pump(struct replication *replication, uint64_t now_ms)
{
    if (!leads(replication))
        return;
    for (size_t i = 0; i < replication->member_count; i++)
        pump(replication, &replication->member[i], now_ms);
}

/* From where the replica is known to stand. What is under way still counts for the window: else
 * each of many messages that fail would set off a window of new ones. */
static void restart(struct member *member, uint64_t now_ms)
{
    member->next = member->greeted ? member->acked + 1 : 0;
    member->restarted_ms = now_ms;
}

/* ---- committing ---- */

int replication_propose(struct replication *replication, uint32_t count, uint64_t now_ms,
                        uint64_t *first_seq, struct err *err)
{
    struct replication_log *log = &replication->log;
    if (!leads(replication))
        return err_set(err, ERR_STALE, "this replica is not the primary");
    if (replication->role == REPLICATION_RECONCILING)
        return err_set(err, ERR_UNAVAILABLE, "the primary is taking over");
    if (!has_lease(replication, now_ms))
        return no_lease(replication, err);
    if (log->last - replication->committed + count > REPLICATION_PENDING_MAX)
        return err_set(err, ERR_FULL, "too many writes of this range are waiting for its replicas");
    *first_seq = log->last + 1;
    log_extend(log, replication->epoch, count);
    log_wrote(log);
    return 0;
}

/* Up to where every replica that counts has the log. */
static uint64_t agreed_by_all(const struct replication *replication)
{
    uint64_t seq = replication->log.durable;
    for (size_t i = 0; i < replication->member_count; i++) {
        const struct member *member = &replication->member[i];
        if ((member->in_sync || member->joining) && member->acked < seq)
            seq = member->acked;
    }
    return seq;
}

void primary_advance(struct replication *replication, uint64_t now_ms)
{
    uint64_t seq = agreed_by_all(replication);
    if (!has_lease(replication, now_ms))
        return;
    if (seq > replication->committed) {
        replication->committed = seq;
        replication->edge.commit(replication->edge.data, seq);
    }
    if (replication->committed >= replication->inherited)
        replication->role = REPLICATION_PRIMARY;
    for (size_t i = 0; i < replication->member_count; i++) {
        struct member *member = &replication->member[i];
        if (member->greeted && member->in_flight == 0 && member->told < replication->committed)
            send(replication, member, 0, now_ms);
    }
}

/* ---- answers ---- */

static struct member *find(struct replication *replication, const char *id)
{
    for (size_t i = 0; i < replication->member_count; i++)
        if (strcmp(replication->member[i].id, id) == 0)
            return &replication->member[i];
    return NULL;
}

/* Answers alone do not count: a replica that says over and over that it has not got a record yet
 * holds up every write as one that says nothing. */
static void got_on(struct member *member, uint64_t now_ms)
{
    member->waiting_since_ms = member->in_flight > 0 ? now_ms : 0;
}

static void take_ack(struct replication *replication, struct member *member,
                     const struct replication_ack *ack, uint64_t now_ms)
{
    const struct replication_log *log = &replication->log;
    uint64_t before = member->acked;
    bool anew = !member->greeted || member->stranded || ack->status == REPLICATION_MISMATCH;
    member->greeted = true;
    member->broken = false;
    member->durable = ack->durable_seq;
    if (ack->status == REPLICATION_OK && ack->last > member->acked)
        member->acked = ack->last < log->last ? ack->last : log->last;
    if (ack->status == REPLICATION_MISMATCH && ack->committed > member->acked)
        member->acked = ack->committed < log->last ? ack->committed : log->last;
    member->stranded = member->acked < log->base.seq;
    if (member->acked > before || (ack->status == REPLICATION_OK && member->acked == log->last))
        got_on(member, now_ms);
    if (anew)
        restart(member, now_ms);
}

void replication_acked(struct replication *replication, const char *from,
                       const struct replication_ack *ack, uint64_t now_ms)
{
    struct member *member = find(replication, from);
    if (member == NULL || !leads(replication))
        return;
    bool of_now = ack->epoch == replication->epoch;
    if (!of_now && ack->status != REPLICATION_BEHIND)
        return; /* to a message of another epoch */
    if (member->in_flight > 0)
        member->in_flight--;
    member->lost_since_ms = 0;
    switch (ack->status) {
    case REPLICATION_OK:
    case REPLICATION_MISMATCH:
        take_ack(replication, member, ack, now_ms);
        break;
    case REPLICATION_EMPTY:
        member->stranded = true;
        member->acked = 0; /* what it had is gone */
        break;
    case REPLICATION_BROKEN:
        member->broken = true;
        break;
    case REPLICATION_BEHIND: /* it will have the configuration in a moment */
        restart(member, now_ms);
        member->sent_ms = 0;
        return;
    case REPLICATION_STALE:
        break;
    }
    pump(replication, member, now_ms);
    primary_advance(replication, now_ms);
}

void replication_lost(struct replication *replication, const char *to, bool disconnected,
                      uint64_t now_ms)
{
    struct member *member = find(replication, to);
    if (member == NULL)
        return;
    if (member->in_flight > 0)
        member->in_flight--;
    restart(member, now_ms);
    if (disconnected && member->lost_since_ms == 0)
        member->lost_since_ms = now_ms;
}

/* ---- time ---- */

static bool keeps_up(const struct member *member, uint64_t now_ms)
{
    if (member->broken || member->stranded)
        return false;
    if (member->lost_since_ms != 0 && now_ms - member->lost_since_ms >= REPLICATION_LOST_MS)
        return false;
    return member->waiting_since_ms == 0 ||
           now_ms - member->waiting_since_ms < REPLICATION_SILENT_MS;
}

static bool near(const struct replication *replication, const struct member *member)
{
    return replication->role == REPLICATION_PRIMARY && member->greeted &&
           member->acked + REPLICATION_CAUGHT_UP >= replication->log.last;
}

static void ask(struct replication *replication, struct member *member, uint64_t now_ms)
{
    struct replication_edge *edge = &replication->edge;
    bool good = keeps_up(member, now_ms);
    if (member->in_sync) {
        if (!good)
            edge->request(edge->data, replication->epoch, member->id, false);
        return;
    }
    /* From now on nothing is committed without it; what was, it has to have before it is asked for.
     * Once it was asked for, the map may name it, known here or not: there is no way back but
     * another epoch. */
    if (!member->asked)
        member->joining = good && near(replication, member);
    member->asked |= member->joining && member->acked >= replication->committed;
    if (member->asked)
        edge->request(edge->data, replication->epoch, member->id, good);
}

static void tick_member(struct replication *replication, struct member *member, uint64_t now_ms)
{
    if (member->waiting_since_ms != 0 &&
        now_ms - member->waiting_since_ms >= REPLICATION_RESEND_MS &&
        now_ms - member->restarted_ms >= REPLICATION_RESEND_MS) {
        member->in_flight = 0; /* nobody will say what became of it */
        restart(member, now_ms);
    }
    if (member->sent_ms == 0 || now_ms - member->sent_ms >= REPLICATION_HEARTBEAT_MS)
        send(replication, member, 0, now_ms);
    pump(replication, member, now_ms);
    ask(replication, member, now_ms);
}

/* A process that stood still takes the silence of the others for its own. */
static void forgive(struct replication *replication, uint64_t now_ms)
{
    for (size_t i = 0; i < replication->member_count; i++) {
        struct member *member = &replication->member[i];
        if (member->waiting_since_ms != 0)
            member->waiting_since_ms = now_ms;
        if (member->lost_since_ms != 0)
            member->lost_since_ms = now_ms;
    }
}

void primary_tick(struct replication *replication, uint64_t now_ms)
{
    if (now_ms - replication->tick_ms >= REPLICATION_HEARTBEAT_MS * 2)
        forgive(replication, now_ms);
    for (size_t i = 0; i < replication->member_count; i++)
        tick_member(replication, &replication->member[i], now_ms);
    primary_advance(replication, now_ms);
}
