/* What the importer tests share: everything that an importer yields, kept. */
#ifndef TESTS_IMPORT_HELPER_H
#define TESTS_IMPORT_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/import/import.h"

#define TAKEN_MAX 256

struct taken {
    struct import_entry entries[TAKEN_MAX];
    size_t count;
    struct import_problem problems[TAKEN_MAX];
    size_t problem_count;
};

/* Reads an importer to its end and closes it. */
static inline void take_all(struct importer *importer, struct taken *taken)
{
    for (;;) {
        assert_true(taken->count < TAKEN_MAX && taken->problem_count < TAKEN_MAX);
        struct import_entry *entry = &taken->entries[taken->count];
        import_entry_init(entry);
        enum import_step step =
            importer_next(importer, entry, &taken->problems[taken->problem_count]);
        if (step == IMPORT_ENTRY) {
            taken->count++;
            continue;
        }
        import_entry_deinit(entry);
        if (step == IMPORT_END)
            break;
        taken->problem_count++;
    }
    importer_close(importer);
}

static inline void taken_clear(struct taken *taken)
{
    for (size_t i = 0; i < taken->count; i++)
        import_entry_deinit(&taken->entries[i]);
    taken->count = taken->problem_count = 0;
}

static inline void take_memory(struct bytes text, enum import_format format, struct import_run *run,
                               struct taken *taken)
{
    struct importer *importer = NULL;
    struct err err = {0};

    assert_int_equal(importer_open_memory(text, format, run, &importer, &err), 0);
    take_all(importer, taken);
}

static inline void take_text(const char *text, enum import_format format, struct taken *taken)
{
    struct import_run *run = import_run_create();

    take_memory(bytes_str(text), format, run, taken);
    import_run_destroy(run);
}

/* A corpus folder, or NULL with a message. The result is valid until the next call. */
static inline const char *corpus_path(const char *name)
{
    static char path[4096];
    const char *corpus = getenv("QUIRE_CORPUS"), *source = getenv("QUIRE_SOURCE");

    if (corpus != NULL)
        snprintf(path, sizeof path, "%s/%s", corpus, name);
    else
        snprintf(path, sizeof path, "%s/../shared/corpus/%s", source != NULL ? source : ".", name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        print_message("[  SKIPPED ] %s is not there (set QUIRE_CORPUS to the folder of corpora)\n",
                      path);
        return NULL;
    }
    fclose(file);
    return path;
}

#endif
