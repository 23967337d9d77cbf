/* Folders of plain files: what the places that move whole indexes about need of the file system.
 * Any thread. */
#ifndef QUIRE_SHARD_FOLDER_H
#define QUIRE_SHARD_FOLDER_H

#include "proto/base/err.h"

#include <stdint.h>

/* Calls `visit` for each name but "." and ".."; stops at the first code that is not 0 and returns
 * it. A folder that is not there has no names. ERR_IO. */
int folder_each(const char *path, int (*visit)(void *data, const char *name, struct err *err),
                void *data, struct err *err);
/* Removes the folder and all in it, folders included; 0 when it is not there. Not durable. ERR_IO.
 */
int folder_remove(const char *path, struct err *err);
/* Whether its file system has room for so many bytes, and `left` beside them. ERR_FULL, ERR_IO. */
int folder_check_room(const char *path, uint64_t bytes, uint64_t left, struct err *err);
/* Makes the names in it durable. ERR_IO. */
int folder_sync(const char *path, struct err *err);

#endif
