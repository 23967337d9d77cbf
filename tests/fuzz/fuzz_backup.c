/* The files of a backup on any bytes. The first byte chooses: a manifest (with a first line that
 * fits, so that the checksum does not keep everything out), a manifest as it is, or a line.
 *
 * What must hold: it is read or refused with a sentence; a manifest that was read covers the key
 * space, and writes to the same bytes whenever it is written; a line that was read is the same
 * entry when it was written and read again. */
#include "client/backup/lines.h"
#include "client/backup/manifest.h"
#include "fuzz.h"

#include <assert.h>
#include <string.h>

const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    static const struct fuzz_seed seeds[] = {
        FUZZ_SEED(
            "\0{\"number\":5,\"cluster\":\"c\",\"software\":\"s\",\"began\":1,\"ended\":2,"
            "\"collections\":[{\"name\":\"w\",\"language\":\"de\",\"weights\":{\"headword\":4,"
            "\"terms\":3,\"categories\":2,\"body\":1},\"k1\":1.2,\"b\":0.7,\"order\":\"category\","
            "\"replicas\":2,\"entries\":3,\"parts\":[{\"lo\":\"\",\"hi\":\"m\",\"range\":7,"
            "\"epoch\":3,\"recovered\":0,\"seq\":9,\"entries\":3,\"blocks\":[["
            "\"00112233445566778899aabbccddeeff\",10,20,3]]},{\"lo\":\"m\",\"hi\":\"\","
            "\"range\":8,\"epoch\":1,\"recovered\":1,\"seq\":0,\"entries\":0,\"blocks\":[]}]}]}"),
        FUZZ_SEED("\1quire-backup 1 00112233445566778899aabbccddeeff 3\n{}\n"),
        FUZZ_SEED(
            "\2{\"headword\":\"a\",\"sense\":\"s\",\"terms\":[\"b\"],\"categories\":[\"c\"],"
            "\"body\":\"d\\n\",\"source\":\"e\",\"attributes\":{\"f\":\"g\"},\"version\":12}"),
        FUZZ_SEED("\2{\"headword\":\"a\",\"attribute_pairs\":[[\"f\",\"g\"],[\"f\",\"h\"]]}"),
    };
    *count = sizeof seeds / sizeof *seeds;
    return seeds;
}

static void try_manifest(struct bytes text)
{
    struct backup_manifest manifest, again;
    struct buf first = {0}, second = {0};
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    if (backup_manifest_read(text, &arena, &manifest, &err) == 0) {
        for (size_t i = 0; i < manifest.collection_count; i++) {
            const struct backup_collection *it = &manifest.collections[i];
            assert(it->part_count > 0 && it->parts[0].lo[0] == '\0' &&
                   it->parts[it->part_count - 1].hi[0] == '\0');
            for (size_t j = 0; j < it->part_count; j++)
                for (size_t k = 0; k < it->parts[j].block_count; k++)
                    assert(backup_name_valid(it->parts[j].blocks[k].name));
        }
        backup_manifest_write(&manifest, &first);
        assert(backup_manifest_read(buf_bytes(&first), &arena, &again, &err) == 0);
        backup_manifest_write(&again, &second);
        assert(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    } else {
        assert((err.code == ERR_CORRUPT || err.code == ERR_UNSUPPORTED) && err.text[0] != '\0');
    }
    buf_deinit(&first);
    buf_deinit(&second);
    arena_deinit(&arena);
}

static void try_with_first_line(struct bytes rest)
{
    struct buf text = {0};
    char checksum[BACKUP_NAME_SIZE];
    backup_checksum(rest, checksum);
    buf_printf(&text, "quire-backup %d %s %zu\n", BACKUP_VERSION, checksum, rest.size);
    buf_append_bytes(&text, rest);
    try_manifest(buf_bytes(&text));
    buf_deinit(&text);
}

static void try_line(struct bytes line)
{
    struct quire_entry entry, again;
    struct buf first = {0}, second = {0};
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, 0);
    if (backup_line_read(line, &arena, &entry, &err) == 0) {
        backup_line_write(&entry, &first);
        assert(backup_line_read(bytes_of(first.data, first.size - 1), &arena, &again, &err) == 0);
        backup_line_write(&again, &second);
        assert(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    } else {
        assert(err.code == ERR_CORRUPT && err.text[0] != '\0');
    }
    buf_deinit(&first);
    buf_deinit(&second);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct bytes rest = bytes_of(data + 1, size - 1);
    if (data[0] % 3 == 0)
        try_with_first_line(rest);
    else if (data[0] % 3 == 1)
        try_manifest(rest);
    else
        try_line(rest);
    return 0;
}
