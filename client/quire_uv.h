/* libquire on a libuv loop of the caller's, for programs that have one anyway: no extra thread (but
 * nng's), and callbacks arrive between the program's own.
 *
 * Requests may be submitted from any thread, as always; callbacks run on the loop's thread. The
 * blocking calls (quire_*_wait) and writers work from other threads only: on the loop's they are
 * refused with QUIRE_INVALID.
 */
#ifndef QUIRE_UV_H
#define QUIRE_UV_H

#include "quire.h"

#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As quire_client_create(), on the thread that runs `loop` (or will run it), which must outlive the
 * client. The client keeps the loop alive until it is closed. */
QUIRE_API int quire_client_create_on_loop(const struct quire_options *options, uv_loop_t *loop,
                                          struct quire_client **client, char *error,
                                          size_t error_size);

/* Ends such a client, on the loop's thread: outstanding requests end with QUIRE_CANCELED on later
 * turns of the loop, then the client is freed and `closed` (may be NULL) is called. The client must
 * not be used after this call, except that quire_cancel() and further requests are ignored until
 * `closed`. Do not call quire_client_destroy() on it. */
QUIRE_API void quire_client_close(struct quire_client *client, void (*closed)(void *data),
                                  void *data);

#ifdef __cplusplus
}
#endif

#endif
