#include "shard/tail.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void tail_record_ref(struct tail_record *record)
{
    atomic_fetch_add(&record->refs, 1);
}

void tail_record_release(struct tail_record *record)
{
    if (atomic_fetch_sub(&record->refs, 1) == 1)
        free(record);
}

static struct tail_record **at(const struct tail *tail, size_t index)
{
    return &tail->ring[(tail->head + index) & (tail->room - 1)];
}

static void drop_first(struct tail *tail)
{
    struct tail_record *record = *at(tail, 0);
    tail->head++;
    tail->count--;
    tail->bytes -= record->size;
    tail_record_release(record);
}

static void drop_last(struct tail *tail)
{
    struct tail_record *record = *at(tail, tail->count - 1);
    tail->count--;
    tail->bytes -= record->size;
    tail_record_release(record);
}

void tail_deinit(struct tail *tail)
{
    while (tail->count > 0)
        drop_first(tail);
    free(tail->ring);
}

static void grow(struct tail *tail)
{
    struct tail grown = *tail;
    grown.room = tail->room == 0 ? 16 : 2 * tail->room;
    grown.head = 0;
    grown.ring = calloc(grown.room, sizeof *grown.ring);
    if (grown.ring == NULL)
        abort();
    for (size_t i = 0; i < tail->count; i++)
        grown.ring[i] = *at(tail, i);
    free(tail->ring);
    *tail = grown;
}

struct tail_record *tail_add(struct tail *tail, uint64_t epoch, uint64_t first_seq, uint32_t count,
                             struct bytes write)
{
    assert(tail->count == 0 || first_seq == tail_record_end(*at(tail, tail->count - 1)) + 1);
    struct tail_record *record = malloc(sizeof *record + write.size);
    if (record == NULL)
        abort();
    atomic_init(&record->refs, 1);
    record->epoch = epoch;
    record->first_seq = first_seq;
    record->count = count;
    record->size = write.size;
    memcpy(record->write, write.data, write.size);
    if (tail->count == tail->room)
        grow(tail);
    tail->count++;
    *at(tail, tail->count - 1) = record;
    tail->bytes += record->size;
    return record;
}

void tail_cut(struct tail *tail, uint64_t seq)
{
    while (tail->count > 0 && (*at(tail, tail->count - 1))->first_seq >= seq)
        drop_last(tail);
}

void tail_trim(struct tail *tail)
{
    while (tail->count > 0 && tail->bytes > TAIL_BYTES)
        drop_first(tail);
}

struct tail_record *tail_find(const struct tail *tail, uint64_t seq)
{
    size_t low = 0, high = tail->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((*at(tail, middle))->first_seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == tail->count || (*at(tail, low))->first_seq != seq)
        return NULL;
    tail_record_ref(*at(tail, low));
    return *at(tail, low);
}
