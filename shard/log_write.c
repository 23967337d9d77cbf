#include "shard/log_write.h"

#include <stdlib.h>

int log_write_unpack(uint64_t first_seq, uint32_t count, struct bytes packed, struct arena *arena,
                     struct log_write *out, struct err *err)
{
    Quire__ShardWrite *write =
        quire__shard_write__unpack(arena_protobuf(arena), packed.size, packed.data);
    if (write == NULL || write->n_ops != count)
        return err_set(err, ERR_CORRUPT, "log record %llu: malformed",
                       (unsigned long long)first_seq);
    out->ops = arena_calloc(arena, count, sizeof *out->ops);
    if (out->ops == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        out->ops[i] = (struct range_op){first_seq + i, write->ops[i], NULL};
    out->count = count;
    out->session = (struct range_session){write->client_id, write->batch};
    out->has_session = write->client_id != NULL && write->client_id[0] != 0 && write->has_batch;
    return 0;
}
