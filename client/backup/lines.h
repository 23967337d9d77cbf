/* An entry as a line of a backup: the JSON object that `quire export --versions` writes and `quire
 * import` reads. Nothing of the entry is lost: attributes that an object cannot hold, since a name
 * comes twice, stand in "attribute_pairs" as [name, value].
 *
 * Any thread.
 */
#ifndef QUIRE_BACKUP_LINES_H
#define QUIRE_BACKUP_LINES_H

#include "client/quire.h"
#include "proto/base/arena.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"

/* Appends the line with its line feed. Texts are UTF-8. */
void backup_line_write(const struct quire_entry *entry, struct buf *out);
/* Reads a line (without its line feed); what *out points to is in the arena. ERR_CORRUPT. */
int backup_line_read(struct bytes line, struct arena *arena, struct quire_entry *out,
                     struct err *err);
/* Only its headword; malloc'd; NULL: it has none. */
char *backup_line_headword(struct bytes line);

#endif
