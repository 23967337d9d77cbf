/* Importers: from files to entries, one at a time.
 *
 * Pure reading: nothing here knows a cluster. An importer never stops at a bad entry: each becomes
 * a problem with its line and reason, and the next one follows. Only what makes the rest unreadable
 * (damaged compression, a read error) ends a file early, also as a problem. Memory is bounded: by
 * one line (jsonl, tsv), one page of at most 64 MiB (glossary), or the index and one body (dictd).
 * One thread at a time.
 *
 *   struct import_run *run = import_run_create();
 *   int status = importer_open("page-000.txt", IMPORT_AUTO, run, &importer, &err);
 *   while ((step = importer_next(importer, &entry, &problem)) != IMPORT_END) ...
 */
#ifndef QUIRE_IMPORT_H
#define QUIRE_IMPORT_H

#include "client/import/entry.h"

#include <stdbool.h>
#include <stdint.h>

enum import_format { IMPORT_AUTO, IMPORT_GLOSSARY, IMPORT_JSONL, IMPORT_DICTD, IMPORT_TSV };

/* "auto", "glossary", "jsonl", "dictd", "tsv"; false for anything else. */
bool import_format_parse(const char *text, enum import_format *format);
const char *import_format_name(enum import_format format);

/* What the files of one import have in common: which glossary entries were seen, so that pages
 * which overlap agree on the running numbers of repeated header lines; which dictionaries were
 * read, so that NAME.index and NAME.dict.dz together are read once. */
struct import_run;

struct import_run *import_run_create(void); /* NULL when memory is out */
void import_run_destroy(struct import_run *run);

enum import_severity {
    IMPORT_BAD_ENTRY, /* one entry is lost */
    IMPORT_BAD_FILE,  /* the file, or the rest of it, is lost */
    IMPORT_WARNING,   /* nothing was lost, but somebody should know */
};

struct import_problem {
    size_t line; /* from 1; 0 when it concerns the file as a whole */
    enum import_severity severity;
    char text[ERR_TEXT_MAX];
};

enum import_step {
    IMPORT_ENTRY,   /* `entry` is filled; it has passed import_entry_check() */
    IMPORT_PROBLEM, /* `problem` is filled */
    IMPORT_END,
};

struct importer;

/* Opens `path` ("-": standard input). With IMPORT_AUTO the format is found by the name and then by
 * the content. `run` must outlive the importer. Errors with a sentence that does not repeat the
 * path: ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT, ERR_INVALID (binary, UTF-16, a directory, format
 * unknown), ERR_TOO_LARGE. */
int importer_open(const char *path, enum import_format format, struct import_run *run,
                  struct importer **out, struct err *err);

/* The same from memory that outlives the importer; `format` is not dictd. */
int importer_open_memory(struct bytes memory, enum import_format format, struct import_run *run,
                         struct importer **out, struct err *err);
/* A dictd database from memory. */
int importer_open_dictd_memory(struct bytes index, struct bytes dict, struct import_run *run,
                               struct importer **out, struct err *err);

void importer_close(struct importer *importer);

/* `entry` was initialised by the caller and is reset first; its contents stay until it is used
 * again. */
enum import_step importer_next(struct importer *importer, struct import_entry *entry,
                               struct import_problem *problem);

/* Passes over the next entry, without reading what is in it where that is costly. IMPORT_ENTRY does
 * not promise that the entry is good. */
enum import_step importer_skip(struct importer *importer);

enum import_format importer_format(const struct importer *importer);

/* Bytes of the file consumed and its size (0 when not known). */
void importer_progress(const struct importer *importer, uint64_t *done, uint64_t *size);

#endif
