#include "shard/undo.h"

#define ABSENT 0x80
#define BATCH_BYTES (4 << 20)

void undo_absent(struct buf *undo, enum store_family family, struct bytes key)
{
    buf_append_u8(undo, (uint8_t)(family | ABSENT));
    buf_append_varint(undo, key.size);
    buf_append_bytes(undo, key);
}

void undo_value(struct buf *undo, enum store_family family, struct bytes key, struct bytes value)
{
    buf_append_u8(undo, (uint8_t)family);
    buf_append_varint(undo, key.size);
    buf_append_bytes(undo, key);
    buf_append_varint(undo, value.size);
    buf_append_bytes(undo, value);
}

static void undo_key(uint64_t seq, struct buf *out)
{
    buf_append_u8(out, 'u');
    buf_append_be64(out, seq);
}

void undo_put(struct buf *undo, uint64_t seq, struct store *store, struct store_batch *batch)
{
    if (undo->size == 0)
        return;
    struct buf key = {0};
    undo_key(seq, &key);
    buf_append_le32(undo, checksum32(undo->data, undo->size));
    store_batch_put(batch, store, STORE_META, buf_bytes(&key), buf_bytes(undo));
    buf_deinit(&key);
    buf_clear(undo);
}

static void forget(uint64_t from, uint64_t to, struct store *store, struct store_batch *batch)
{
    struct buf first = {0}, last = {0};
    undo_key(from, &first);
    undo_key(to, &last);
    buf_append_u8(&last, 0); /* inclusive */
    store_batch_delete_range(batch, store, STORE_META, buf_bytes(&first), buf_bytes(&last));
    buf_deinit(&first);
    buf_deinit(&last);
}

void undo_forget(uint64_t seq, struct store *store, struct store_batch *batch)
{
    forget(0, seq, store, batch);
}

static bool take_back_row(struct reader *reader, struct store *store, struct store_batch *batch,
                          void (*touched)(void *data, struct bytes key), void *data)
{
    uint8_t tag;
    uint64_t size;
    struct bytes key, value;
    if (!reader_u8(reader, &tag) || (tag & ~ABSENT) >= STORE_FAMILIES ||
        !reader_varint(reader, &size) || !reader_bytes(reader, size, &key))
        return false;
    enum store_family family = (enum store_family)(tag & ~ABSENT);
    if (tag & ABSENT) {
        store_batch_delete(batch, store, family, key);
    } else {
        if (!reader_varint(reader, &size) || !reader_bytes(reader, size, &value))
            return false;
        store_batch_put(batch, store, family, key, value);
    }
    if (family == STORE_ENTRY)
        touched(data, key);
    return true;
}

static int take_back(struct bytes image, struct store *store, struct store_batch *batch,
                     void (*touched)(void *data, struct bytes key), void *data, struct err *err)
{
    struct reader reader;
    uint32_t checksum;
    if (image.size < 4)
        return err_set(err, ERR_CORRUPT, "undo row: %zu bytes", image.size);
    reader_init(&reader, bytes_of(image.data + image.size - 4, 4));
    reader_le32(&reader, &checksum);
    if (checksum != checksum32(image.data, image.size - 4))
        return err_set(err, ERR_CORRUPT, "undo row: checksum mismatch");
    reader_init(&reader, bytes_of(image.data, image.size - 4));
    while (reader_left(&reader) > 0)
        if (!take_back_row(&reader, store, batch, touched, data))
            return err_set(err, ERR_CORRUPT, "undo row: malformed");
    return 0;
}

int undo_roll_back(struct store *store, uint64_t seq, void (*touched)(void *data, struct bytes key),
                   void *data, struct err *err)
{
    struct buf from = {0};
    undo_key(seq + 1, &from);
    struct store_iterator *it = store_iterate(store, STORE_META, buf_bytes(&from), bytes_str("v"));
    struct store_batch *batch = store_batch_create();
    int code = 0;
    for (store_iterator_last(it); code == 0 && store_iterator_valid(it); store_iterator_prev(it)) {
        code = take_back(store_iterator_value(it), store, batch, touched, data, err);
        if (code == 0 && store_batch_bytes(batch) > BATCH_BYTES)
            code = store_write(store, batch, err);
    }
    if (code == 0)
        code = store_iterator_status(it, err);
    if (code == 0)
        code = store_write(store, batch, err);
    store_iterator_close(it);
    store_batch_destroy(batch);
    buf_deinit(&from);
    return code;
}

void undo_forget_above(uint64_t seq, struct store *store, struct store_batch *batch)
{
    forget(seq + 1, UINT64_MAX, store, batch);
}
