/* What a coordinator does with bytes from strangers before it trusts them. The first byte chooses:
 * a request (message_check, then unpacked: every text in it must be UTF-8 without NUL), a batch
 * (its elements are as many as it unpacks to), a cursor, or a packed cluster map (which has to
 * survive packing again, and to find a range for every key). */
#include "fuzz.h"

#include "coordinator/cursor.h"
#include "coordinator/map.h"
#include "coordinator/messages.h"
#include "proto/text/key.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const ProtobufCMessageDescriptor *const requests[] = {
    &quire__collection__descriptor,       &quire__import_prepare__descriptor,
    &quire__write_request__descriptor,    &quire__get_request__descriptor,
    &quire__define_request__descriptor,   &quire__browse_request__descriptor,
    &quire__match_request__descriptor,    &quire__search_request__descriptor,
    &quire__explain_request__descriptor,  &quire__export_request__descriptor,
    &quire__verify_request__descriptor,   &quire__register__descriptor,
    &quire__node_setting__descriptor,     &quire__range_move__descriptor,
    &quire__range_split__descriptor,      &quire__range_merge__descriptor,
    &quire__snapshot_request__descriptor, &quire__snapshot_read__descriptor,
};

#define REQUESTS (sizeof requests / sizeof *requests)
#define WRITE_REQUEST 2
#define CURSOR REQUESTS
#define MAP (REQUESTS + 1)
#define CHOICES (REQUESTS + 2)

static const uint8_t secret[16] = "0123456789abcdef";

/* Every text of a message, however deep. */
static void check_texts(const ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const char *at = (const char *)message + field->offset;
        size_t count = 1;
        void *const *values = (void *const *)at;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            count = *(const size_t *)((const char *)message + field->quantifier_offset);
            values = *(void *const *const *)at;
        }
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        for (size_t j = 0; j < count; j++) {
            if (values[j] == NULL)
                continue;
            if (field->type == PROTOBUF_C_TYPE_STRING)
                assert(text_valid(bytes_str(values[j]), NULL));
            else
                check_texts(values[j]);
        }
    }
}

/* What was taken can be passed on, unknown fields included. */
static void try_again(const ProtobufCMessage *message, struct arena *arena)
{
    struct buf packed;
    buf_init(&packed);
    message_pack(message, &packed);
    assert(message_check(message->descriptor, buf_bytes(&packed), NULL, NULL) == 0);
    assert(protobuf_c_message_unpack(message->descriptor, arena_protobuf(arena), packed.size,
                                     packed.data) != NULL);
    buf_deinit(&packed);
}

static void try_request(size_t which, struct bytes packed)
{
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    int rc = message_check(requests[which], packed, NULL, &err);
    assert(rc == 0 || ((rc == ERR_INVALID || rc == ERR_PROTOCOL) && err.text[0] != '\0'));
    ProtobufCMessage *message = protobuf_c_message_unpack(requests[which], arena_protobuf(&arena),
                                                          packed.size, packed.data);
    if (message != NULL && rc == 0) {
        check_texts(message);
        try_again(message, &arena);
    }
    if (message != NULL && which == WRITE_REQUEST &&
        message_check(requests[which], packed, "ops", NULL) == 0) {
        struct bytes *elements;
        size_t count = message_elements(requests[which], packed, "ops", &arena, &elements);
        assert(count == ((Quire__WriteRequest *)message)->n_ops);
        for (size_t i = 0; i < count; i++)
            message_check(&quire__write_op__descriptor, elements[i], NULL, &err);
    }
    arena_deinit(&arena);
}

static void try_cursor(struct bytes text)
{
    struct buf memory, again;
    struct cursor cursor;
    struct err err = {0};
    char *copy = malloc(text.size + 1);
    assert(copy != NULL);
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    buf_init(&memory);
    buf_init(&again);
    if (cursor_read(copy, secret, 42, &memory, &cursor, &err) == 0) {
        cursor_write(&cursor, secret, &again);
        assert(strcmp(buf_text(&again), copy) == 0);
    } else {
        assert(err.code == ERR_INVALID && err.text[0] != '\0');
    }
    buf_deinit(&again);
    buf_deinit(&memory);
    free(copy);
}

static void try_map(struct bytes packed)
{
    struct map *map, *copy;
    struct err err = {0};
    if (map_unpack(packed, &map, &err) != 0) {
        assert(err.code == ERR_CORRUPT || err.code == ERR_NOMEM);
        return;
    }
    struct buf again;
    buf_init(&again);
    map_pack(map, &again);
    int rc = map_unpack(buf_bytes(&again), &copy, &err);
    assert(rc == 0);
    for (size_t i = 0; map_epoch(map) > 0 && i < map->message->n_collections; i++) {
        uint64_t id = map->message->collections[i]->id;
        assert(map_range_of(copy, id, bytes_str("")) != NULL);
        assert(map_range_of(copy, id, packed) != NULL);
    }
    map_unref(copy);
    map_unref(map);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t which = data[0] % CHOICES;
    struct bytes rest = bytes_of(data + 1, size - 1);
    if (which < REQUESTS)
        try_request(which, rest);
    else if (which == CURSOR)
        try_cursor(rest);
    else
        try_map(rest);
    return 0;
}

/* ---- seeds ---- */

static struct fuzz_seed seed_of(size_t which, const ProtobufCMessage *message)
{
    struct buf packed;
    size_t size;
    buf_init(&packed);
    buf_append_u8(&packed, (uint8_t)which);
    message_pack(message, &packed);
    void *data = buf_steal(&packed, &size); /* lives as long as the process */
    return (struct fuzz_seed){data, size};
}

static struct fuzz_seed seed_write(void)
{
    Quire__WriteRequest message = QUIRE__WRITE_REQUEST__INIT;
    Quire__WriteOp put = QUIRE__WRITE_OP__INIT, delete = QUIRE__WRITE_OP__INIT;
    Quire__WriteOp *ops[] = {&put, &delete};
    Quire__Entry entry = QUIRE__ENTRY__INIT;
    char *terms[] = {(char *)"int8", (char *)"int4"};
    entry.headword = (char *)"quantization";
    entry.terms = terms;
    entry.n_terms = 2;
    entry.body = (char *)"fewer *bits*";
    put.put = &entry;
    delete.delete_headword = (char *)"Cramér";
    message.collection = (char *)"words";
    message.n_ops = 2;
    message.ops = ops;
    return seed_of(WRITE_REQUEST, &message.base);
}

static struct fuzz_seed seed_search(void)
{
    Quire__SearchRequest message = QUIRE__SEARCH_REQUEST__INIT;
    char *categories[] = {(char *)"computer vision"};
    message.collection = (char *)"words";
    message.query = (char *)"model +card";
    message.categories = categories;
    message.n_categories = 1;
    return seed_of(7, &message.base);
}

static struct fuzz_seed seed_cursor(void)
{
    struct cursor cursor = {42, 7, 10, 1000, bytes_str("model card"), bytes_str("x")};
    struct buf text;
    size_t size;
    buf_init(&text);
    buf_append_u8(&text, CURSOR);
    cursor_write(&cursor, secret, &text);
    void *data = buf_steal(&text, &size);
    return (struct fuzz_seed){data, size};
}

static struct fuzz_seed seed_map(void)
{
    Quire__ClusterMap map = QUIRE__CLUSTER_MAP__INIT;
    Quire__Node node = QUIRE__NODE__INIT, *nodes[] = {&node};
    Quire__Collection collection = QUIRE__COLLECTION__INIT, *collections[] = {&collection};
    Quire__Range low = QUIRE__RANGE__INIT, high = QUIRE__RANGE__INIT, *ranges[] = {&low, &high};
    char *in_sync[] = {(char *)"n"};
    node.id = (char *)"n";
    node.address = (char *)"tcp://127.0.0.1:1";
    collection.name = (char *)"words";
    collection.has_id = true;
    collection.id = 1;
    for (size_t i = 0; i < 2; i++) {
        ranges[i]->id = 2 + i;
        ranges[i]->collection = 1;
        ranges[i]->epoch = 1;
        ranges[i]->primary = in_sync[0];
        ranges[i]->in_sync = in_sync;
        ranges[i]->n_in_sync = 1;
    }
    low.has_hi = high.has_lo = true;
    low.hi = high.lo = (ProtobufCBinaryData){1, (uint8_t *)"m"};
    map.epoch = 3;
    map.cluster_id = (char *)"c";
    map.secret = (ProtobufCBinaryData){16, (uint8_t *)secret};
    map.next_id = 4;
    map.n_nodes = map.n_collections = 1;
    map.nodes = nodes;
    map.collections = collections;
    map.n_ranges = 2;
    map.ranges = ranges;
    return seed_of(MAP, &map.base);
}

const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    static struct fuzz_seed seeds[4];
    seeds[0] = seed_write();
    seeds[1] = seed_search();
    seeds[2] = seed_cursor();
    seeds[3] = seed_map();
    *count = 4;
    return seeds;
}
