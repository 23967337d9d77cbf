/* Every importer on any bytes: entries that pass their check, problems, an end; nothing else. The
 * first byte chooses the format; for dictd the rest is cut in two at the first NUL: the index and
 * the articles. */
#include "client/import/import.h"
#include "fuzz.h"

#include <assert.h>
#include <string.h>

const struct fuzz_seed *fuzz_seeds(size_t *count)
{
    static const struct fuzz_seed seeds[] = {
        FUZZ_SEED("\1alpha,one,two\n**Alpha** is this, that.\n1. a, b\n```c\nint a, "
                  "b;\n```\n$$\nx, y\n$$\n"
                  "alpha,one,two\nAnother alpha is that.\nbeta, gamma\n**Beta** is a letter.\n"),
        FUZZ_SEED("\1Some Glossary\n\nShowing page 1 of 2 (100 entries)\n\nalpha, one\n\n**Alpha** "
                  "is.\n\n"
                  "beta,two\n\n**Beta** is.\n"),
        FUZZ_SEED("\2{\"headword\":\"a\",\"sense\":\"s\",\"terms\":[\"b\"],\"categories\":[\"c\"],"
                  "\"body\":\"d\\n\",\"source\":\"e\",\"attributes\":{\"f\":\"g\"}}\n"
                  "{\"id\":\"1\",\"terms\":[\"t\",\"u\"],\"category\":[],\"body\":\"b\"}\n"),
        FUZZ_SEED("\3headword\tterms\tbody\na\tb|c\td\n"),
        FUZZ_SEED("\3a\tb\nc\td|e\tf\tg\n"),
        FUZZ_SEED("\4a\tA\tI\nb\tA\tI\nc\tI\tM\tC\n00-database-x\tA\tB\n\0a b\n  one\nC%%%D\nE\n\n "
                  " two\n"),
        FUZZ_SEED("\0\x1f\x8b\x08\0\0\0\0\0\0\x03\xabV\xcaHML)\xcf/JQ\xb2RJT\xaa\xe5\x02\0"),
        FUZZ_SEED("\0\x28\xb5\x2f\xfd\x04\x58\x81\0\0{\"headword\":\"a\"}\n"),
    };
    *count = sizeof seeds / sizeof *seeds;
    return seeds;
}

static int open_any(const uint8_t *data, size_t size, struct import_run *run,
                    struct importer **importer)
{
    static const enum import_format formats[] = {IMPORT_AUTO, IMPORT_GLOSSARY, IMPORT_JSONL,
                                                 IMPORT_TSV, IMPORT_DICTD};
    enum import_format format = formats[data[0] % 5];
    const uint8_t *rest = data + 1, *cut;

    size--;
    if (format != IMPORT_DICTD)
        return importer_open_memory(bytes_of(rest, size), format, run, importer, NULL);
    cut = memchr(rest, 0, size);
    if (cut == NULL)
        cut = rest + size;
    return importer_open_dictd_memory(
        bytes_of(rest, (size_t)(cut - rest)),
        bytes_of(cut < rest + size ? cut + 1 : cut,
                 cut < rest + size ? (size_t)(rest + size - cut - 1) : 0),
        run, importer, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct import_run *run;
    struct importer *importer = NULL;
    struct import_entry entry;
    struct import_problem problem;
    enum import_step step;

    if (size == 0)
        return 0;
    run = import_run_create();
    import_entry_init(&entry);
    if (open_any(data, size, run, &importer) == 0) {
        while ((step = importer_next(importer, &entry, &problem)) != IMPORT_END) {
            assert(step == IMPORT_ENTRY || problem.text[0] != '\0');
            if (step == IMPORT_ENTRY)
                assert(import_entry_check(&entry, NULL) == 0);
        }
        assert(importer_next(importer, &entry, &problem) == IMPORT_END);
    }
    importer_close(importer);
    import_entry_deinit(&entry);
    import_run_destroy(run);
    return 0;
}
