/* What the formats share inside: the seam between importer.c and one file per format. */
#ifndef QUIRE_IMPORT_READER_H
#define QUIRE_IMPORT_READER_H

#include "client/import/import.h"
#include "client/import/input.h"
#include "client/import/seen.h"
#include "proto/limits.h"

/* Longest line read: an entry at its limit with room for names and JSON escapes. */
#define IMPORT_LINE_MAX (2 * (size_t)LIMIT_ENTRY_BYTES)
/* Largest glossary page. */
#define IMPORT_PAGE_MAX ((size_t)64 << 20)
/* Largest dictd index: about ten million words. */
#define IMPORT_INDEX_MAX ((size_t)256 << 20)

struct import_reader {
    enum import_step (*next)(struct import_reader *reader, struct import_entry *entry,
                             struct import_problem *problem);
    void (*close)(struct import_reader *reader);
    void (*progress)(const struct import_reader *reader, uint64_t *done, uint64_t *size);
    enum import_step (*skip)(struct import_reader *reader); /* NULL: next() is quick enough */
};

struct import_run {
    struct seen *glossary; /* header line -> bodies */
    char **dictionaries;   /* paths of indexes read, malloc'd */
    size_t dictionary_count;
};

/* Each takes the input over, also when it fails. */
int glossary_open(struct input *input, struct import_run *run, struct import_reader **out,
                  struct err *err);
int jsonl_open(struct input *input, struct import_reader **out, struct err *err);
int tsv_open(struct input *input, struct import_reader **out, struct err *err);
int dictd_open(struct input *index, struct input *dict, struct import_reader **out,
               struct err *err);
/* Finds and opens the two files of the dictionary that `path` belongs to. *out stays NULL with
 * status 0 when `run` has read it already. */
int dictd_open_path(const char *path, struct import_run *run, struct import_reader **out,
                    struct err *err);

/* Fills `problem` and returns IMPORT_PROBLEM. */
enum import_step import_problem_set(struct import_problem *problem, size_t line,
                                    enum import_severity severity, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* IMPORT_ENTRY when the entry passes its check, else IMPORT_PROBLEM. */
enum import_step import_checked(const struct import_entry *entry, struct import_problem *problem);

/* `line` without a UTF-8 byte order mark. */
struct bytes import_skip_bom(struct bytes line);

#endif
