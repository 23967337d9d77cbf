#include "shard/replication_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void log_init(struct replication_log *log, const struct replication_start *start)
{
    *log = (struct replication_log){.base = start->base,
                                    .last = start->last_seq,
                                    .durable = start->last_seq,
                                    .start_count = start->start_count,
                                    .start_room = start->start_count + 8,
                                    .write_room = 16};
    log->start = calloc(log->start_room, sizeof log->start[0]);
    log->write = calloc(log->write_room, sizeof log->write[0]);
    if (log->start == NULL || log->write == NULL)
        abort();
    if (start->start_count > 0)
        memcpy(log->start, start->starts, start->start_count * sizeof log->start[0]);
}

void log_deinit(struct replication_log *log)
{
    free(log->start);
    free(log->write);
}

uint64_t log_epoch_at(const struct replication_log *log, uint64_t seq)
{
    assert(seq >= log->base.seq && seq <= log->last);
    for (size_t i = log->start_count; i > 0; i--)
        if (log->start[i - 1].seq <= seq)
            return log->start[i - 1].epoch;
    return log->base.epoch;
}

void log_extend(struct replication_log *log, uint64_t epoch, uint32_t count)
{
    if (log->start_count == 0 || log->start[log->start_count - 1].epoch != epoch) {
        if (log->start_count == log->start_room) {
            log->start_room *= 2;
            log->start = realloc(log->start, log->start_room * sizeof log->start[0]);
            if (log->start == NULL)
                abort();
        }
        log->start[log->start_count++] = (struct replication_position){epoch, log->last + 1};
    }
    log->last += count;
}

static uint64_t *write_at(struct replication_log *log, size_t i)
{
    return &log->write[(log->write_head + i) & (log->write_room - 1)];
}

void log_cut(struct replication_log *log, uint64_t seq)
{
    assert(seq > log->base.seq && seq <= log->last);
    while (log->start_count > 0 && log->start[log->start_count - 1].seq >= seq)
        log->start_count--;
    log->last = seq - 1;
    if (log->durable >= seq)
        log->durable = seq - 1;
    /* What is still under way ends here, too: the cut is made durable after it. */
    for (size_t i = 0; i < log->write_count; i++)
        if (*write_at(log, i) >= seq)
            *write_at(log, i) = seq - 1;
}

void log_wrote(struct replication_log *log)
{
    if (log->write_count == log->write_room) {
        uint64_t *grown = calloc(2 * log->write_room, sizeof grown[0]);
        if (grown == NULL)
            abort();
        for (size_t i = 0; i < log->write_count; i++)
            grown[i] = *write_at(log, i);
        free(log->write);
        log->write = grown;
        log->write_head = 0;
        log->write_room *= 2;
    }
    *write_at(log, log->write_count++) = log->last;
}

void log_durable(struct replication_log *log, size_t writes)
{
    assert(writes <= log->write_count);
    for (size_t i = 0; i < writes; i++) {
        if (*write_at(log, 0) > log->durable)
            log->durable = *write_at(log, 0);
        log->write_head = (log->write_head + 1) & (log->write_room - 1);
        log->write_count--;
    }
}

void log_trim(struct replication_log *log, uint64_t seq)
{
    if (seq <= log->base.seq)
        return;
    log->base = (struct replication_position){log_epoch_at(log, seq), seq};
    size_t gone = 0; /* epochs that ended at or before seq, and the one that goes on beyond it */
    while (gone < log->start_count && log->start[gone].seq <= seq)
        gone++;
    if (gone > 0 && log->start[gone - 1].epoch == log->base.epoch && seq < log->last &&
        (gone == log->start_count || log->start[gone].seq > seq + 1)) {
        gone--;
        log->start[gone].seq = seq + 1;
    }
    log->start_count -= gone;
    memmove(log->start, log->start + gone, log->start_count * sizeof log->start[0]);
}
