#include "shard/range_derive.h"

#include "shard/range_apply.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_ROWS 512
#define PIECE_BYTES (1 << 20) /* of rows; analysed they take some eight times that */

static int may_go_on(struct range *range, struct err *err)
{
    if (atomic_load(&range->stopping))
        return err_set(err, ERR_CANCELED, "range %llu is being closed",
                       (unsigned long long)range->settings.id);
    return range_broken(range, err);
}

static int make_room(struct range *range, struct err *err)
{
    return range_wants_flush(range) ? range_flush_wanted(range, err) : 0;
}

/* Whoever writes is alone, so `now` may be read. */
static uint64_t later_seq(struct range *range, uint64_t seq)
{
    return seq > range->now.seq ? seq : range->now.seq;
}

/* ---- pieces of rows ---- */

struct piece {
    struct arena arena;
    struct bytes keys[PIECE_ROWS], rows[PIECE_ROWS];
    size_t count;
};

static struct bytes keep(struct arena *arena, struct bytes bytes)
{
    uint8_t *copy = arena_copy(arena, bytes.data, bytes.size);
    if (copy == NULL)
        abort();
    return bytes_of(copy, bytes.size);
}

static int read_piece(struct piece *piece, struct store_iterator *it, struct err *err)
{
    size_t bytes = 0;
    piece->count = 0;
    for (; store_iterator_valid(it) && piece->count < PIECE_ROWS && bytes < PIECE_BYTES;
         store_iterator_next(it)) {
        piece->keys[piece->count] = keep(&piece->arena, store_iterator_key(it));
        piece->rows[piece->count] = keep(&piece->arena, store_iterator_value(it));
        bytes += piece->rows[piece->count].size;
        piece->count++;
    }
    return store_iterator_status(it, err);
}

static int change_piece(struct range *range, const struct piece *piece, bool adopt, struct err *err)
{
    struct err failure = {0};
    struct apply a;
    int code = 0;
    apply_begin(&a, range, true);
    for (size_t i = 0; i < piece->count && code == 0; i++)
        code = (adopt ? apply_adopt : apply_prune)(&a, piece->keys[i], piece->rows[i], &failure);
    code = apply_end(&a, code, range->now.seq, &failure, err);
    return code != 0 ? code : make_room(range, err);
}

/* ---- prune ---- */

/* An entry key (term key, 0, sense) compares with a bound, which has no NUL, as its term key does.
 */
static int prune_between(struct range *range, struct bytes from, struct bytes to, struct err *err)
{
    struct piece *piece = malloc(sizeof *piece);
    struct buf next = {0};
    int code = 0;
    if (piece == NULL)
        return err_set(err, ERR_NOMEM, "prune: out of memory");
    buf_append_bytes(&next, from);
    do {
        arena_init(&piece->arena, 0);
        struct store_iterator *it = store_iterate(range->store, STORE_ENTRY, buf_bytes(&next), to);
        code = may_go_on(range, err);
        if (code == 0)
            code = read_piece(piece, it, err);
        store_iterator_close(it);
        if (code == 0 && piece->count > 0) {
            buf_clear(&next);
            buf_append_bytes(&next, piece->keys[piece->count - 1]);
            buf_append_u8(&next, 0);
            code = change_piece(range, piece, false, err);
        }
        arena_deinit(&piece->arena);
    } while (code == 0 && piece->count > 0);
    buf_deinit(&next);
    free(piece);
    return code;
}

int range_prune(struct range *range, struct bytes lo, struct bytes hi, struct err *err)
{
    static const struct bytes none = {0};
    int code = lo.size > 0 ? prune_between(range, none, lo, err) : 0;
    if (code == 0 && hi.size > 0)
        code = prune_between(range, hi, none, err);
    return code;
}

/* ---- adopt ---- */

static int adopt_sessions(struct range *range, struct range *from, struct err *err)
{
    struct err failure = {0};
    struct apply a;
    uint64_t seq = later_seq(range, range_applied_seq(from));
    apply_begin(&a, range, true);
    int code = sessions_adopt(&range->sessions, range->store, from->store, a.batch, &failure);
    return apply_end(&a, code, seq, &failure, err);
}

int range_adopt(struct range *range, struct range *from, struct err *err)
{
    static const struct bytes none = {0};
    struct piece *piece = malloc(sizeof *piece);
    if (piece == NULL)
        return err_set(err, ERR_NOMEM, "adopt: out of memory");
    struct store_iterator *it = store_iterate(from->store, STORE_ENTRY, none, none);
    int code = 0;
    do {
        arena_init(&piece->arena, 0);
        code = may_go_on(range, err);
        if (code == 0)
            code = may_go_on(from, err);
        if (code == 0)
            code = read_piece(piece, it, err);
        if (code == 0 && piece->count > 0)
            code = change_piece(range, piece, true, err);
        arena_deinit(&piece->arena);
    } while (code == 0 && piece->count > 0);
    store_iterator_close(it);
    free(piece);
    return code != 0 ? code : adopt_sessions(range, from, err);
}

/* ---- follow ---- */

static bool lies_within(const Quire__WriteOp *op, struct bytes lo, struct bytes hi, struct buf *key)
{
    buf_clear(key);
    range_op_key(op, key);
    return bytes_compare(buf_bytes(key), lo) >= 0 &&
           (hi.size == 0 || bytes_compare(buf_bytes(key), hi) < 0);
}

int range_follow(struct range *range, struct bytes lo, struct bytes hi,
                 const struct range_session *session, const struct range_op *ops, size_t count,
                 struct err *err)
{
    uint64_t last = ops[count - 1].seq;
    int code = may_go_on(range, err);
    if (code != 0)
        return code;
    struct err failure = {0};
    struct apply a;
    struct buf key = {0};
    size_t within = 0;
    apply_begin(&a, range, true);
    struct range_op *own = arena_calloc(&a.arena, count, sizeof own[0]);
    struct range_result *results = arena_calloc(&a.arena, count, sizeof results[0]);
    if (own == NULL || results == NULL)
        code = err_set(&failure, ERR_NOMEM, "follow: out of memory");
    for (size_t i = 0; i < count && code == 0; i++)
        if (lies_within(ops[i].op, lo, hi, &key))
            own[within++] = ops[i];
    if (code == 0 && within > 0)
        code = apply_ops(&a, session, last, own, within, results, &failure);
    code = apply_end(&a, code, later_seq(range, last), &failure, err);
    buf_deinit(&key);
    return code != 0 ? code : make_room(range, err);
}

int range_advance(struct range *range, uint64_t seq, struct err *err)
{
    int code = may_go_on(range, err);
    if (code != 0)
        return code;
    struct err failure = {0};
    struct apply a;
    apply_begin(&a, range, true);
    return apply_end(&a, 0, later_seq(range, seq), &failure, err);
}
