#include "client/load/journal.h"

#include <assert.h>

static bool deletes(const struct journal_key *key, uint64_t number)
{
    return number == 0 || (key->deletions >> number % JOURNAL_HISTORY & 1) != 0;
}

uint64_t journal_begin(struct journal_key *key, bool is_deletion)
{
    assert(!key->under_way && !key->retired);
    key->under_way = true;
    key->sent++;
    uint64_t bit = (uint64_t)1 << key->sent % JOURNAL_HISTORY;
    key->deletions = is_deletion ? key->deletions | bit : key->deletions & ~bit;
    return key->sent;
}

void journal_acknowledged(struct journal_key *key)
{
    key->under_way = false;
    key->acknowledged = key->sent;
}

void journal_refused(struct journal_key *key)
{
    key->under_way = false;
    key->retired = true; /* its number must not be given twice */
}

void journal_unknown(struct journal_key *key)
{
    key->under_way = false;
    key->retired = true;
}

enum journal_verdict journal_judge(const struct journal_key *key, uint64_t floor, size_t count,
                                   uint64_t number)
{
    if (count > 1)
        return JOURNAL_DUPLICATE;
    if (count == 1 && (number > key->sent || number == 0 ||
                       (number + JOURNAL_HISTORY > key->sent && deletes(key, number))))
        return JOURNAL_WRONG;
    if (count == 1)
        return number < floor ? JOURNAL_STALE : JOURNAL_RIGHT;
    for (uint64_t i = floor; i <= key->sent; i++)
        if (i == 0 || i + JOURNAL_HISTORY <= key->sent || deletes(key, i))
            return JOURNAL_RIGHT;
    return JOURNAL_LOST;
}
