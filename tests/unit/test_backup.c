/* The files of a backup: where blocks are cut, lines, the manifest, the folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "client/backup/chunker.h"
#include "client/backup/lines.h"
#include "client/backup/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the chunker ---- */

#define ENTRIES 20000

/* The entries of a made-up collection: number i has so many bytes. `without` is left out. */
static size_t bytes_of_entry(size_t i)
{
    return 200 + i * 7919 % 1800;
}

/* Where blocks end, as a list of entry numbers. */
static size_t cut(size_t without, size_t grown, size_t *ends)
{
    struct chunker chunker = {0};
    size_t count = 0;
    for (size_t i = 0; i < ENTRIES; i++) {
        char headword[32];
        if (i == without)
            continue;
        snprintf(headword, sizeof headword, "entry %06zu", i);
        if (chunker_take(&chunker, headword, "", bytes_of_entry(i) + (i == grown ? 100 : 0)))
            ends[count++] = i;
    }
    return count;
}

static size_t count_other(const size_t *a, size_t a_count, const size_t *b, size_t b_count)
{
    size_t other = 0;
    for (size_t i = 0, j = 0; i < a_count; i++) {
        while (j < b_count && b[j] < a[i])
            j++;
        other += j == b_count || b[j] != a[i];
    }
    return other;
}

static void test_cuts(void **state)
{
    (void)state;
    static size_t ends[ENTRIES], others[ENTRIES];
    size_t count = cut(SIZE_MAX, SIZE_MAX, ends), total = 0, largest = 0, block = 0, at = 0;
    for (size_t i = 0; i < ENTRIES; i++) {
        total += bytes_of_entry(i);
        block += bytes_of_entry(i);
        largest = block > largest ? block : largest;
        if (at < count && ends[at] == i) {
            assert_true(block >= CHUNK_MIN);
            block = 0;
            at++;
        }
    }
    assert_true(largest < CHUNK_MAX + 4000);
    assert_in_range(total / (count + 1), CHUNK_TARGET / 2, 2 * CHUNK_TARGET);
    /* One entry less, or one that is longer, moves the cuts next to it and no others. */
    size_t worst = 0;
    for (size_t i = 0; i < ENTRIES; i += 397) {
        size_t less = cut(i, SIZE_MAX, others);
        size_t moved = count_other(ends, count, others, less);
        worst = moved > worst ? moved : worst;
        size_t longer = cut(SIZE_MAX, i, others);
        moved = count_other(ends, count, others, longer);
        worst = moved > worst ? moved : worst;
    }
    assert_true(worst <= 3);
}

/* Few large entries make blocks of the same size as many small ones do. */
static void test_large_entries(void **state)
{
    (void)state;
    struct chunker chunker = {0};
    size_t count = 0;
    for (size_t i = 0; i < 1000; i++) {
        char headword[32];
        snprintf(headword, sizeof headword, "large %zu", i);
        count += chunker_take(&chunker, headword, "", 40000);
    }
    assert_in_range(count, 1000 * 40000 / (2 * CHUNK_TARGET), 1000 * 40000 / (CHUNK_TARGET / 2));
    assert_true(chunker_take(&chunker, "one", "", 8u << 20));
}

/* ---- lines ---- */

static void assert_same(const struct quire_entry *a, const struct quire_entry *b)
{
    assert_string_equal(a->headword, b->headword);
    assert_string_equal(a->sense, b->sense);
    assert_string_equal(a->body, b->body);
    assert_string_equal(a->source, b->source);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->term_count, b->term_count);
    for (size_t i = 0; i < a->term_count; i++)
        assert_string_equal(a->terms[i], b->terms[i]);
    assert_int_equal(a->category_count, b->category_count);
    for (size_t i = 0; i < a->category_count; i++)
        assert_string_equal(a->categories[i], b->categories[i]);
    assert_int_equal(a->attribute_count, b->attribute_count);
    for (size_t i = 0; i < a->attribute_count; i++) {
        assert_string_equal(a->attributes[i].name, b->attributes[i].name);
        assert_string_equal(a->attributes[i].value, b->attributes[i].value);
    }
}

static void there_and_back(const struct quire_entry *entry)
{
    struct quire_entry out;
    struct arena arena;
    struct buf line = {0};
    struct err err = {0};
    arena_init(&arena, 0);
    backup_line_write(entry, &line);
    assert_int_equal(line.data[line.size - 1], '\n');
    assert_null(memchr(line.data, '\n', line.size - 1));
    assert_int_equal(backup_line_read(bytes_of(line.data, line.size - 1), &arena, &out, &err), 0);
    assert_same(entry, &out);
    assert_int_equal(out.body_size, strlen(entry->body));
    char *headword = backup_line_headword(bytes_of(line.data, line.size - 1));
    assert_string_equal(headword, entry->headword);
    free(headword);
    /* Each truncation is refused, or, where JSON happens to be whole, is no other entry. */
    for (size_t size = 0; size + 1 < line.size; size++)
        assert_int_equal(backup_line_read(bytes_of(line.data, size), &arena, &out, &err),
                         ERR_CORRUPT);
    arena_deinit(&arena);
    buf_deinit(&line);
}

static void test_lines(void **state)
{
    (void)state;
    const char *terms[] = {"\xc3\xa4", "b", "b", ""}, *categories[] = {"c \"d\"", "\\"};
    struct quire_attribute attributes[] = {{"z", "1"}, {"a", "line\nfeed"}, {"\xe2\x80\xa8", ""}};
    struct quire_entry entry = QUIRE_ENTRY_INIT;
    entry.headword = "  \t x\x01y\x7f ";
    entry.sense = entry.source = entry.body = "";
    there_and_back(&entry);
    entry.sense = "of \xf0\x9f\x8d\x8b";
    entry.body = "a\nb\r\n\tc \xef\xbf\xbf </script> \x1b[31m";
    entry.source = "page 1";
    entry.version = UINT64_C(1) << 62;
    entry.terms = terms;
    entry.term_count = 4;
    entry.categories = categories;
    entry.category_count = 2;
    entry.attributes = attributes;
    entry.attribute_count = 3;
    there_and_back(&entry);
    attributes[2].name = "z"; /* a name that comes twice, which an object cannot hold */
    there_and_back(&entry);
}

/* ---- the manifest ---- */

static struct backup_block blocks[3];
static struct backup_part parts[2];
static struct backup_collection collections[2];

static struct backup_manifest example(void)
{
    for (int i = 0; i < 3; i++) {
        backup_checksum(bytes_of(&i, sizeof i), blocks[i].name);
        blocks[i].size = 100 + (uint64_t)i;
        blocks[i].bytes = 1000;
        blocks[i].entries = 10 + (uint64_t)i;
    }
    parts[0] = (struct backup_part){.lo = "",
                                    .hi = "mod\xc3\xa9",
                                    .range = 7,
                                    .epoch = 3,
                                    .seq = UINT64_C(1) << 50,
                                    .entries = 21,
                                    .recovered = 1,
                                    .blocks = blocks,
                                    .block_count = 2};
    parts[1] = (struct backup_part){.lo = "mod\xc3\xa9",
                                    .hi = "",
                                    .range = 8,
                                    .epoch = 4,
                                    .seq = 9,
                                    .entries = 12,
                                    .blocks = blocks + 2,
                                    .block_count = 1};
    collections[0] = (struct backup_collection){.name = "words",
                                                .language = "de",
                                                .weight_headword = 4,
                                                .weight_terms = 3,
                                                .weight_categories = 2,
                                                .weight_body = 1,
                                                .k1 = 1.0 / 3,
                                                .b = 0.7,
                                                .by_category = true,
                                                .replicas = 2,
                                                .entries = 33,
                                                .parts = parts,
                                                .part_count = 2};
    static struct backup_part empty = {.lo = "", .hi = "", .range = 9};
    collections[1] = (struct backup_collection){
        .name = "hollow", .language = "none", .replicas = 1, .parts = &empty, .part_count = 1};
    return (struct backup_manifest){.number = 5,
                                    .cluster = "c1",
                                    .software = "quire 0",
                                    .began = 1700000000,
                                    .ended = 1700000005,
                                    .collections = collections,
                                    .collection_count = 2};
}

static void test_manifest(void **state)
{
    (void)state;
    struct backup_manifest manifest = example(), out;
    struct buf text = {0}, again = {0};
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    backup_manifest_write(&manifest, &text);
    assert_int_equal(backup_manifest_read(buf_bytes(&text), &arena, &out, &err), 0);
    backup_manifest_write(&out, &again);
    assert_true(bytes_equal(buf_bytes(&text), buf_bytes(&again)));
    assert_int_equal(out.collections[0].parts[0].blocks[1].entries, 11);
    assert_true(out.collections[0].k1 == 1.0 / 3);
    assert_true(out.collections[0].by_category && !out.collections[1].by_category);
    for (size_t size = 0; size < text.size; size++)
        assert_int_equal(backup_manifest_read(bytes_of(text.data, size), &arena, &out, &err),
                         ERR_CORRUPT);
    for (size_t bit = 0; bit < 8 * text.size; bit++) {
        text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int code = backup_manifest_read(buf_bytes(&text), &arena, &out, &err);
        assert_true(code == ERR_CORRUPT || code == ERR_UNSUPPORTED);
        assert_true(strlen(err.text) > 20);
        text.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    arena_deinit(&arena);
    buf_deinit(&text);
    buf_deinit(&again);
}

/* With a sound checksum, and a content that cannot be. */
static void refuse(const struct backup_manifest *manifest)
{
    struct backup_manifest out;
    struct buf text = {0};
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    backup_manifest_write(manifest, &text);
    assert_int_equal(backup_manifest_read(buf_bytes(&text), &arena, &out, &err), ERR_CORRUPT);
    arena_deinit(&arena);
    buf_deinit(&text);
}

static void test_manifest_gaps(void **state)
{
    (void)state;
    struct backup_manifest manifest = example();
    parts[1].lo = "modf"; /* a gap */
    refuse(&manifest);
    manifest = example();
    parts[1].hi = "x"; /* no end */
    refuse(&manifest);
    manifest = example();
    parts[0].lo = "a"; /* no beginning */
    refuse(&manifest);
    manifest = example();
    collections[0].entries = 34;
    refuse(&manifest);
    manifest = example();
    blocks[2].entries++;
    refuse(&manifest);
    manifest = example();
    blocks[0].name[3] = '/';
    refuse(&manifest);
    manifest = example();
    collections[1].part_count = 0;
    refuse(&manifest);
}

/* ---- the folder ---- */

struct place {
    char top[64], dir[96];
};

static int set_up(void **state)
{
    static struct place place;
    snprintf(place.top, sizeof place.top, "/tmp/quire-backup.XXXXXX");
    assert_non_null(mkdtemp(place.top));
    snprintf(place.dir, sizeof place.dir, "%s/b", place.top);
    *state = &place;
    return 0;
}

static int tear_down(void **state)
{
    const struct place *place = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", place->top);
    return system(command);
}

/* A backup of one collection whose blocks hold these texts. */
static void make_backup(struct backup_store *store, uint64_t number, const char *const *texts,
                        size_t count)
{
    struct backup_manifest manifest = example();
    struct err err = {0};
    bool fresh;
    parts[0].block_count = parts[1].block_count = 0;
    parts[0].entries = collections[0].entries = count;
    parts[1].entries = 0;
    static struct backup_block own[8];
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(backup_store_put(store, bytes_str(texts[i]), 1, &own[i], &fresh, &err), 0);
    }
    parts[0].blocks = own;
    parts[0].block_count = count;
    manifest.number = number;
    manifest.collection_count = 1;
    assert_int_equal(backup_store_publish(store, &manifest, &err), 0);
}

static size_t count_sound(struct backup_store *store, uint64_t number)
{
    struct backup_manifest manifest;
    struct arena arena;
    struct buf lines = {0};
    struct err err = {0};
    size_t sound = 0;
    arena_init(&arena, 0);
    if (backup_store_manifest(store, number, &arena, &manifest, &err) == 0)
        for (size_t i = 0; i < manifest.collections[0].parts[0].block_count; i++)
            sound += backup_store_get(store, &manifest.collections[0].parts[0].blocks[i], &lines,
                                      &err) == 0;
    buf_deinit(&lines);
    arena_deinit(&arena);
    return sound;
}

static void test_store(void **state)
{
    const struct place *place = *state;
    static const char *const first[] = {"{\"a\":1}\n", "{\"b\":1}\n", "{\"c\":1}\n"};
    static const char *const second[] = {"{\"a\":1}\n", "{\"b\":2}\n"};
    struct backup_store store, other;
    struct backup_pruned pruned;
    struct err err = {0};
    uint64_t *numbers;
    size_t count;
    bool fresh;
    struct backup_block block;

    assert_int_equal(backup_store_open(place->dir, &store, &err), ERR_NOT_FOUND);
    assert_int_equal(backup_store_create(place->dir, &store, &err), 0);
    assert_int_equal(backup_store_create(place->dir, &other, &err), ERR_CONFLICT);
    assert_int_equal(backup_store_open(place->dir, &other, &err), ERR_CONFLICT);
    make_backup(&store, 1, first, 3);
    make_backup(&store, 2, second, 2);
    assert_int_equal(backup_store_put(&store, bytes_str(first[2]), 1, &block, &fresh, &err), 0);
    assert_false(fresh);
    assert_int_equal(backup_store_put(&store, bytes_str("{\"lost\":1}\n"), 1, &block, &fresh, &err),
                     0);
    assert_true(fresh); /* of a backup that was interrupted */
    assert_int_equal(count_sound(&store, 1), 3);
    assert_int_equal(count_sound(&store, 2), 2);
    backup_store_close(&store);

    assert_int_equal(backup_store_open(place->dir, &store, &err), 0);
    assert_int_equal(backup_store_open(place->dir, &other, &err), 0); /* two may read */
    backup_store_close(&other);
    assert_int_equal(backup_store_list(&store, &numbers, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_int_equal(numbers[0], 1);
    assert_int_equal(numbers[1], 2);
    free(numbers);
    backup_store_close(&store);

    assert_int_equal(backup_store_create(place->dir, &store, &err), 0);
    assert_int_equal(backup_store_prune(&store, 1, &pruned, &err), 0);
    assert_int_equal(pruned.backups, 1);
    assert_int_equal(pruned.files, 3); /* b1, c1, lost */
    assert_int_equal(count_sound(&store, 1), 0);
    assert_int_equal(count_sound(&store, 2), 2);
    backup_store_close(&store);
}

/* A backup that cannot be read keeps all blocks: nobody knows which are its own. */
static void test_prune_with_damage(void **state)
{
    const struct place *place = *state;
    static const char *const texts[] = {"{\"a\":1}\n"};
    struct backup_store store;
    struct backup_pruned pruned;
    struct err err = {0};
    char path[160];
    assert_int_equal(backup_store_create(place->dir, &store, &err), 0);
    make_backup(&store, 1, texts, 1);
    make_backup(&store, 2, texts, 1);
    make_backup(&store, 3, texts, 1);
    snprintf(path, sizeof path, "%s/backups/2", place->dir);
    assert_int_equal(truncate(path, 30), 0);
    assert_int_equal(backup_store_prune(&store, 2, &pruned, &err), ERR_CORRUPT);
    assert_int_equal(pruned.backups + pruned.files, 0);
    assert_int_equal(count_sound(&store, 1), 1);
    assert_int_equal(backup_store_prune(&store, 1, &pruned, &err), 0); /* it goes itself */
    assert_int_equal(pruned.backups, 2);
    assert_int_equal(count_sound(&store, 3), 1);
    backup_store_close(&store);
}

/* Every bit of a block, and every length that is too short. */
static void test_block_damage(void **state)
{
    const struct place *place = *state;
    static const char lines[] =
        "{\"headword\":\"x\",\"body\":\"some text\"}\n{\"headword\":\"y\"}\n";
    struct backup_store store;
    struct backup_block block;
    struct buf out = {0};
    struct err err = {0};
    bool fresh;
    char path[256];
    uint8_t file[256];
    assert_int_equal(backup_store_create(place->dir, &store, &err), 0);
    assert_int_equal(backup_store_put(&store, bytes_str(lines), 2, &block, &fresh, &err), 0);
    snprintf(path, sizeof path, "%s/files/%.2s/%s", place->dir, block.name, block.name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    ssize_t size = read(fd, file, sizeof file);
    assert_int_equal(size, block.size);
    for (ssize_t bit = 0; bit < 8 * size; bit++) {
        uint8_t flipped = file[bit / 8] ^ (uint8_t)(1u << bit % 8);
        assert_int_equal(pwrite(fd, &flipped, 1, bit / 8), 1);
        assert_int_equal(backup_store_get(&store, &block, &out, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.text, block.name));
        assert_int_equal(pwrite(fd, &file[bit / 8], 1, bit / 8), 1);
    }
    assert_int_equal(backup_store_get(&store, &block, &out, &err), 0);
    assert_true(bytes_equal(buf_bytes(&out), bytes_str(lines)));
    /* Sound, and not what the manifest says. */
    block.entries++;
    assert_int_equal(backup_store_get(&store, &block, &out, &err), ERR_CORRUPT);
    block.entries--;
    block.bytes++;
    assert_int_equal(backup_store_get(&store, &block, &out, &err), ERR_CORRUPT);
    block.bytes--;
    for (ssize_t length = size - 1; length >= 0; length--) {
        assert_int_equal(ftruncate(fd, length), 0);
        assert_int_equal(backup_store_get(&store, &block, &out, &err), ERR_CORRUPT);
    }
    close(fd);
    /* Written once more, it is whole again. */
    assert_int_equal(backup_store_put(&store, bytes_str(lines), 2, &block, &fresh, &err), 0);
    assert_true(fresh);
    assert_int_equal(backup_store_get(&store, &block, &out, &err), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(backup_store_get(&store, &block, &out, &err), ERR_CORRUPT);
    buf_deinit(&out);
    backup_store_close(&store);
}

static void test_foreign_folder(void **state)
{
    const struct place *place = *state;
    struct backup_store store;
    struct err err = {0};
    char path[160];
    assert_int_equal(mkdir(place->dir, 0777), 0);
    snprintf(path, sizeof path, "%s/letter", place->dir);
    close(open(path, O_CREAT | O_WRONLY, 0666));
    assert_int_equal(backup_store_create(place->dir, &store, &err), ERR_EXISTS);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(backup_store_create(place->dir, &store, &err), 0); /* empty: it may */
    backup_store_close(&store);
    snprintf(path, sizeof path, "%s/no/such", place->dir);
    assert_int_equal(backup_store_create(path, &store, &err), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_large_entries),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_manifest_gaps),
        cmocka_unit_test_setup_teardown(test_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_prune_with_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_block_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign_folder, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
