/* From an entry as a file holds it to an entry as libquire takes it. */
#ifndef QUIRE_CLI_CONVERT_H
#define QUIRE_CLI_CONVERT_H

#include "client/import/entry.h"
#include "client/quire.h"

/* `to` borrows everything from `from`, whose texts and attributes must outlive it. The attributes
 * are laid out in the arena of `from`. */
void cli_convert(struct import_entry *from, struct quire_entry *to);

#endif
