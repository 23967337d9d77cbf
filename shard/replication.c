#include "shard/replication_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct replication *replication_create(const struct replication_start *start,
                                       const struct replication_edge *edge)
{
    struct replication *replication = calloc(1, sizeof *replication);
    if (replication == NULL)
        abort();
    assert(start->committed >= start->base.seq && start->committed <= start->last_seq);
    snprintf(replication->node_id, sizeof replication->node_id, "%s", start->node_id);
    replication->edge = *edge;
    log_init(&replication->log, start);
    replication->committed = start->committed;
    replication->index_durable = start->committed;
    replication->empty = start->empty;
    return replication;
}

void replication_destroy(struct replication *replication)
{
    if (replication == NULL)
        return;
    secondary_refuse(replication, REPLICATION_BEHIND);
    log_deinit(&replication->log);
    free(replication);
}

/* ---- configurations ---- */

static bool named(const char *const *ids, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    return false;
}

static enum replication_role role_in(const struct replication *replication,
                                     const struct replication_config *config, bool may_lead)
{
    const char *id = replication->node_id;
    if (replication->empty)
        return named(config->learners, config->learner_count, id) ? REPLICATION_LEARNER
                                                                  : REPLICATION_NONE;
    if (strcmp(config->primary, id) == 0)
        return may_lead ? REPLICATION_RECONCILING : REPLICATION_NONE;
    if (named(config->in_sync, config->in_sync_count, id))
        return REPLICATION_SECONDARY;
    if (named(config->learners, config->learner_count, id))
        return REPLICATION_LEARNER;
    return REPLICATION_NONE;
}

void replication_configure(struct replication *replication, const struct replication_config *config,
                           bool may_lead, uint64_t now_ms)
{
    if (config->epoch <= replication->epoch)
        return;
    /* Only from one epoch to the next: in between somebody else may have been primary. */
    bool was_primary =
        replication->role == REPLICATION_PRIMARY && config->epoch == replication->epoch + 1;
    bool led = leads(replication);
    replication->epoch = config->epoch;
    replication->role = role_in(replication, config, may_lead);
    secondary_refuse(replication, REPLICATION_STALE);
    if (leads(replication)) {
        primary_begin(replication, config, was_primary, now_ms);
        return;
    }
    replication->member_count = 0;
    if (led && replication->log.last > replication->committed)
        replication->edge.abandon(replication->edge.data, replication->committed + 1);
    secondary_begin(replication);
}

void replication_lease(struct replication *replication, uint64_t until_ms)
{
    if (until_ms > replication->lease_until_ms)
        replication->lease_until_ms = until_ms;
}

/* ---- the log ---- */

void replication_appended(struct replication *replication, size_t writes, uint64_t now_ms)
{
    log_durable(&replication->log, writes);
    if (leads(replication))
        primary_advance(replication, now_ms);
    else
        secondary_advance(replication);
}

void replication_broke(struct replication *replication, uint64_t now_ms)
{
    (void)now_ms;
    replication->broken = true;
    secondary_refuse(replication, REPLICATION_BROKEN);
    if (leads(replication) && replication->log.last > replication->committed)
        replication->edge.abandon(replication->edge.data, replication->committed + 1);
}

void replication_flushed(struct replication *replication, uint64_t durable_seq)
{
    if (durable_seq > replication->index_durable)
        replication->index_durable = durable_seq;
}

void replication_truncated(struct replication *replication, uint64_t seq)
{
    assert(seq <= replication->committed);
    log_trim(&replication->log, seq);
}

void replication_tick(struct replication *replication, uint64_t now_ms)
{
    if (leads(replication))
        primary_tick(replication, now_ms);
    replication->tick_ms = now_ms;
}

/* ---- what it knows ---- */

enum replication_role replication_role(const struct replication *replication)
{
    return replication->role;
}

uint64_t replication_epoch(const struct replication *replication)
{
    return replication->epoch;
}

uint64_t replication_committed(const struct replication *replication)
{
    return replication->committed;
}

uint64_t replication_last(const struct replication *replication)
{
    return replication->log.last;
}

uint64_t replication_retain(const struct replication *replication)
{
    uint64_t seq = replication->index_durable;
    if (!leads(replication))
        return seq < replication->told_retain ? seq : replication->told_retain;
    for (size_t i = 0; i < replication->member_count; i++) {
        const struct member *member = &replication->member[i];
        /* A learner that follows the log is not made to begin anew. */
        bool follows = member->in_sync || member->joining ||
                       (member->greeted && !member->stranded && member->lost_since_ms == 0);
        if (follows && member->durable < seq)
            seq = member->durable;
    }
    return seq;
}

void replication_resign(struct replication *replication)
{
    replication->resigned = true;
}

int no_lease(const struct replication *replication, struct err *err)
{
    if (replication->broken)
        return err_set(err, ERR_IO, "the log of the primary cannot be written");
    if (replication->resigned)
        return err_set(err, ERR_UNAVAILABLE, "the primary is about to stop");
    return err_set(err, ERR_UNAVAILABLE,
                   "the primary has no lease: it hears no coordinator that leads");
}

int replication_may_read(const struct replication *replication, uint64_t epoch, bool from_primary,
                         uint64_t now_ms, struct err *err)
{
    if (epoch > replication->epoch)
        return err_set(err, ERR_STALE, "this replica has configuration %llu, the request has %llu",
                       (unsigned long long)replication->epoch, (unsigned long long)epoch);
    if (!leads(replication) && (from_primary || replication->role != REPLICATION_SECONDARY))
        return err_set(err, ERR_STALE, "this replica is not %s",
                       from_primary ? "the primary" : "in sync");
    if (!from_primary)
        return 0;
    if (replication->role == REPLICATION_RECONCILING)
        return err_set(err, ERR_UNAVAILABLE, "the primary is taking over");
    if (!has_lease(replication, now_ms))
        return no_lease(replication, err);
    return 0;
}
