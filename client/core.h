/* The inside of libquire: what a client, a request and a result are, and who may touch them.
 *
 *   any thread                     the door (locked)                 the loop's thread
 *   ----------                     -----------------                 -----------------
 *   quire_X() -- encode, check --> incoming, cancels -- async --> dispatch: waiting <-> calling
 *                                                                     |
 *   quire_X_wait() <------------ condition variable <--- deliver() <--+-- decode the reply
 *
 * A request is encoded by the thread that submits it, so that nothing of the caller's is kept; from
 * then on it belongs to the loop's thread, which sends it (dispatch.c), decodes the reply into a
 * result (decode.c) and delivers it. Only the members of struct door are shared; the door's lock is
 * never held while a callback runs.
 */
#ifndef QUIRE_CLIENT_CORE_H
#define QUIRE_CLIENT_CORE_H

#include "client/coordinators.h"
#include "client/encode.h"
#include "client/result.h"
#include "client/retry.h"
#include "client/session.h"
#include "proto/base/bytes.h"
#include "proto/base/err.h"
#include "proto/base/list.h"
#include "proto/base/sm.h"
#include "proto/base/uuid.h"
#include "proto/rpc/rpc.h"
#include "quire.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

#define CLIENT_TIMEOUT_MS 10000
#define CLIENT_WRITE_TIMEOUT_MS 60000
#define CLIENT_VERIFY_TIMEOUT_MS 3600000
#define CLIENT_OUTSTANDING_MAX 65536
#define CLIENT_DIAL_NEXT_MS                                                                        \
    250 /* without a connection for so long: one more coordinator is dialed */
#define CLIENT_RETRY_MIN_MS 50
#define CLIENT_RETRY_MAX_MS 1000
#define CLIENT_READ_ATTEMPTS 4 /* of a read that a coordinator answers with "unavailable" */
#define CLIENT_TICKET_BUCKETS 1024

/* What there is to know about a kind of request; one constant for each in calls.c. */
struct call_spec {
    uint16_t kind;
    bool repeatable;     /* sent again when the answer was lost */
    bool write;          /* carries client id and batch number */
    bool reads;          /* carries the session */
    bool optional;       /* the request may be NULL */
    uint32_t timeout_ms; /* default; 0: the client's */
    size_t request_size; /* of the public struct */
    const struct result_type *result;
    int (*encode)(const void *request, struct buf *payload, struct encoded *how, struct err *err);
};

/* A write identity: one client id, whose batches go one after the other. The servers need remember
 * no more of a client than its last batch, however many are under way: each has a lane of its own.
 */
struct lane {
    struct list link;
    char client_id[UUID_TEXT_SIZE];
    uint64_t batch;
};

/* Calls the public callback by its own type. */
typedef void (*deliver_fn)(void (*cb)(void), void *data, const void *result);

struct request {
    struct list link;   /* in the door's incoming, or the client's waiting or calling */
    struct list bucket; /* by ticket */
    struct sm sm;
    quire_ticket ticket;
    struct quire_client *client;
    const struct call_spec *spec;
    struct buf payload;
    size_t ops;          /* of a write */
    struct lane *lane;   /* of a write without client id of its own */
    struct box *refusal; /* set: never sent, this is its result */
    uint64_t trace;      /* goes with it through the cluster */
    struct box *partial; /* the last answer to a write of which some ops should be tried again */
    uint32_t timeout_ms;
    uint64_t deadline_ms;
    uint64_t waiting_since_ms;
    uint64_t retry_at_ms;
    uint32_t attempts;
    bool bulk;       /* of a writer, which has only so many under way */
    bool in_doubt;   /* an attempt went out, and nobody said what became of it */
    struct err last; /* why the last attempt failed */
    struct rpc_call call;
    struct coordinator *target; /* of the call */
    deliver_fn deliver;
    void (*cb)(void);
    void *data;
};

struct door {
    pthread_mutex_t lock;
    struct list incoming;
    struct buf cancels; /* quire_ticket each */
    struct list lanes;  /* free ones */
    quire_ticket last_ticket;
    uint32_t outstanding;
    bool closing;     /* takes no more requests */
    bool close_asked; /* the loop's thread is to close */
};

struct quire_client {
    struct door door;
    uv_async_t async;
    uv_timer_t tick;
    uint64_t tick_at_ms; /* UINT64_MAX: not armed */
    uv_loop_t own_loop;
    uv_loop_t *loop;
    bool owns_loop;
    pthread_t thread; /* that runs the loop */
    pid_t pid;
    struct rpc *rpc;
    struct coordinators coordinators;
    struct session session;
    uint64_t next_dial_ms;
    uint32_t timeout_ms, connect_timeout_ms, max_outstanding;
    bool no_retry;
    struct retry_budget budget;
    uint64_t random;     /* state; for pauses, and trace ids */
    struct list waiting; /* for a connection, or for their next attempt */
    struct list calling;
    struct list tickets[CLIENT_TICKET_BUCKETS];
    bool stopping; /* on the loop's thread: closing has begun */
    int handles;   /* still to be closed */
    void (*closed)(void *data);
    void *closed_data;
};

/* ---- calls.c ---- */

/* Submits a request that is already encoded; takes over `payload` (a write gets its identity
 * appended). With `refusal` it is not sent: the refusal is its result. 0: not taken. */
quire_ticket request_submit(struct quire_client *client, const struct call_spec *spec,
                            uint32_t timeout_ms, struct buf *payload, const struct encoded *how,
                            struct box *refusal, deliver_fn deliver, void (*cb)(void), void *data);
/* True on the thread that runs the client's callbacks, where waiting would wait for itself. */
bool client_on_loop(const struct quire_client *client);
extern const struct call_spec call_write;

/* ---- dispatch.c (loop's thread) ---- */

void dispatch_request(struct request *request);
void dispatch_cancel(struct quire_client *client, quire_ticket ticket);
/* Ends what is waiting; what is being called is ended by rpc_close(). */
void dispatch_stop(struct quire_client *client);
void dispatch_tick(uv_timer_t *timer);
void dispatch_start(struct quire_client *client);

#endif
