/* The side that follows: takes records of the primary of its own epoch, and says what is durable.
 */
#include "shard/replication_internal.h"

void secondary_begin(struct replication *replication)
{
    /* What is committed is in every primary's log; of the rest it will have to be seen. */
    replication->agreed = replication->committed;
    replication->told = replication->committed;
    replication->told_retain = 0;
}

static void answer(struct replication *replication, void *ticket, enum replication_status status)
{
    const struct replication_log *log = &replication->log;
    struct replication_ack ack = {.status = status,
                                  .epoch = replication->epoch,
                                  .last = replication->agreed < log->durable ? replication->agreed
                                                                             : log->durable,
                                  .committed = replication->committed,
                                  .durable_seq = replication->index_durable};
    replication->edge.answer(replication->edge.data, ticket, &ack);
}

void secondary_refuse(struct replication *replication, enum replication_status status)
{
    for (size_t i = 0; i < replication->ticket_count; i++)
        answer(replication, replication->ticket[i].ticket, status);
    replication->ticket_count = 0;
}

static void keep_ticket(struct replication *replication, void *ticket, uint64_t seq)
{
    if (replication->ticket_count == TICKETS_MAX)
        answer(replication, ticket, REPLICATION_OK);
    else
        replication->ticket[replication->ticket_count++] = (struct ticket){ticket, seq};
}

/* The commit point: as told, as far as this log is known to be the primary's, and durable. */
static void commit(struct replication *replication)
{
    uint64_t seq = replication->told;
    if (seq > replication->agreed)
        seq = replication->agreed;
    if (seq > replication->log.durable)
        seq = replication->log.durable;
    if (seq <= replication->committed)
        return;
    replication->committed = seq;
    replication->edge.commit(replication->edge.data, seq);
}

bool replication_may_install(const struct replication *replication, uint64_t seq)
{
    return replication->role == REPLICATION_LEARNER &&
           (replication->empty || replication->agreed < seq);
}

void secondary_advance(struct replication *replication)
{
    size_t kept = 0;
    if (replication->role != REPLICATION_SECONDARY && replication->role != REPLICATION_LEARNER)
        return;
    commit(replication);
    for (size_t i = 0; i < replication->ticket_count; i++) {
        struct ticket *ticket = &replication->ticket[i];
        if (ticket->seq <= replication->log.durable)
            answer(replication, ticket->ticket, REPLICATION_OK);
        else
            replication->ticket[kept++] = *ticket;
    }
    replication->ticket_count = kept;
}

/* Whether this message may be taken at all. */
static enum replication_status judge(const struct replication *replication,
                                     const struct replication_prepare *prepare)
{
    if (prepare->epoch < replication->epoch)
        return REPLICATION_STALE;
    if (prepare->epoch > replication->epoch)
        return REPLICATION_BEHIND;
    if (replication->empty) /* also where the map thinks that it is in sync */
        return REPLICATION_EMPTY;
    if (replication->role != REPLICATION_SECONDARY && replication->role != REPLICATION_LEARNER)
        return REPLICATION_STALE;
    if (replication->resigned && replication->role == REPLICATION_LEARNER)
        return REPLICATION_BROKEN; /* about to stop: not to be asked into the in-sync set */
    return replication->broken ? REPLICATION_BROKEN : REPLICATION_OK;
}

/* Whether the logs are equal up to the record before the message. */
static bool prev_matches(const struct replication *replication,
                         const struct replication_position *prev)
{
    if (prev->seq <= replication->committed)
        return true; /* what is committed is in the primary's log */
    return prev->seq <= replication->log.last &&
           log_epoch_at(&replication->log, prev->seq) == prev->epoch;
}

/* Whether the records follow one another, and do not come from the future. */
static bool well_formed(const struct replication_prepare *prepare)
{
    uint64_t next = prepare->prev.seq + 1, epoch = prepare->prev.epoch;
    for (size_t i = 0; i < prepare->record_count; i++) {
        const struct replication_record *record = &prepare->records[i];
        if (record->first_seq != next || record->count == 0 || record->epoch < epoch ||
            record->epoch > prepare->epoch)
            return false;
        next += record->count;
        epoch = record->epoch;
    }
    return true;
}

/* How many of the records this log has already. */
static size_t known_records(const struct replication *replication,
                            const struct replication_prepare *prepare)
{
    const struct replication_log *log = &replication->log;
    size_t i = 0;
    for (; i < prepare->record_count; i++) {
        const struct replication_record *record = &prepare->records[i];
        uint64_t end = record->first_seq + record->count - 1;
        if (end <= replication->committed)
            continue;
        if (end > log->last || log_epoch_at(log, record->first_seq) != record->epoch)
            break;
    }
    return i;
}

/* Takes what is new. A record in the place of another one: that one, and all behind it, goes, in
 * the same write; what does not stand in the way stays. */
static bool take_records(struct replication *replication, void *ticket,
                         const struct replication_prepare *prepare)
{
    struct replication_log *log = &replication->log;
    size_t known = known_records(replication, prepare);
    size_t count = prepare->record_count - known;
    if (count == 0)
        return true;
    const struct replication_record *records = prepare->records + known;
    uint64_t cut = records[0].first_seq <= log->last ? records[0].first_seq : 0;
    if (cut != 0 && cut <= replication->committed)
        return false; /* would take back what is committed: this cannot be the primary's log */
    if (cut == 0 && records[0].first_seq != log->last + 1)
        return false;
    if (cut != 0)
        log_cut(log, cut);
    for (size_t i = 0; i < count; i++)
        log_extend(log, records[i].epoch, records[i].count);
    log_wrote(log);
    replication->edge.append(replication->edge.data, ticket, count, cut);
    return true;
}

static enum replication_status take(struct replication *replication, void *ticket,
                                    const struct replication_prepare *prepare, uint64_t *end)
{
    enum replication_status status = judge(replication, prepare);
    if (replication->role == REPLICATION_LEARNER &&
        (status == REPLICATION_EMPTY ||
         (status == REPLICATION_OK && replication->committed < prepare->base)))
        replication->edge.need_checkpoint(replication->edge.data, prepare->from);
    if (status != REPLICATION_OK)
        return status;
    if (!prev_matches(replication, &prepare->prev) || !well_formed(prepare))
        return REPLICATION_MISMATCH;
    if (!take_records(replication, ticket, prepare))
        return REPLICATION_BROKEN;
    *end = prepare->prev.seq;
    for (size_t i = 0; i < prepare->record_count; i++)
        *end += prepare->records[i].count;
    if (*end > replication->agreed)
        replication->agreed = *end;
    if (prepare->committed > replication->told)
        replication->told = prepare->committed;
    if (prepare->retain > replication->told_retain)
        replication->told_retain = prepare->retain;
    return REPLICATION_OK;
}

void replication_receive(struct replication *replication, void *ticket,
                         const struct replication_prepare *prepare, uint64_t now_ms)
{
    (void)now_ms;
    uint64_t end = 0;
    enum replication_status status = take(replication, ticket, prepare, &end);
    if (status != REPLICATION_OK) {
        answer(replication, ticket, status);
        return;
    }
    keep_ticket(replication, ticket, end);
    secondary_advance(replication);
}
