/* Logs, and the disks on which they become durable: one write after the other, each after a while;
 * what was under way at a crash is there up to some point. */
#include "tests/simulation/simulation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

uint64_t record_end(const struct record *record)
{
    return record->at.first_seq + record->at.count - 1;
}

void log_add(struct log *log, const struct record *record)
{
    if (log->count == log->room) {
        log->room = log->room == 0 ? 64 : 2 * log->room;
        log->record = realloc(log->record, log->room * sizeof log->record[0]);
        if (log->record == NULL)
            abort();
    }
    log->record[log->count++] = *record;
}

void log_drop_from(struct log *log, uint64_t seq)
{
    while (log->count > 0 && log->record[log->count - 1].at.first_seq >= seq)
        log->count--;
}

void log_drop_until(struct log *log, uint64_t seq)
{
    size_t gone = 0;
    while (gone < log->count && record_end(&log->record[gone]) <= seq)
        gone++;
    log->count -= gone;
    if (gone > 0)
        memmove(log->record, log->record + gone, log->count * sizeof log->record[0]);
}

size_t log_at(const struct log *log, uint64_t first)
{
    size_t low = 0, high = log->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->record[middle].at.first_seq < first)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct write *disk_begin(struct replica *replica)
{
    struct world *world = replica->shard->process.world;
    assert(replica->write_begun - replica->write_done < WRITES_MAX);
    struct write *write = &replica->write[replica->write_begun++ % WRITES_MAX];
    write->cut = 0;
    write->records.count = 0;
    uint64_t took = 100 + below(world, replica->shard->disk_slow ? 200 * MS : 2 * MS);
    if (replica->disk_free_at < world->now)
        replica->disk_free_at = world->now;
    replica->disk_free_at += took;
    struct event *event =
        post_own(&replica->shard->process, replica->disk_free_at - world->now, EVENT_WRITTEN);
    event->other = replica->range;
    event->number = replica->generation;
    return write;
}

bool disk_finish(struct replica *replica)
{
    struct write *write = &replica->write[replica->write_done++ % WRITES_MAX];
    if (replica->shard->disk_full || replica->broken)
        return false;
    if (write->cut != 0)
        log_drop_from(&replica->durable, write->cut);
    for (size_t i = 0; i < write->records.count; i++) {
        log_add(&replica->durable, &write->records.record[i]);
        check_durable_record(replica, &write->records.record[i]);
    }
    return true;
}

void disk_crash(struct replica *replica)
{
    struct world *world = replica->shard->process.world;
    uint64_t reached = below(world, replica->write_begun - replica->write_done + 1);
    while (reached-- > 0 && disk_finish(replica))
        ;
}

bool disk_has(const struct replica *replica, uint64_t seq)
{
    if (!replica->has_data)
        return false;
    if (seq <= replica->base.seq)
        return true;
    const struct log *log = &replica->durable;
    return log->count > 0 && record_end(&log->record[log->count - 1]) >= seq;
}
