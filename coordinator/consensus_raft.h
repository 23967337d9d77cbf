/* Consensus over libraft, the C Raft behind dqlite, on the caller's loop. */
#ifndef QUIRE_COORDINATOR_CONSENSUS_RAFT_H
#define QUIRE_COORDINATOR_CONSENSUS_RAFT_H

#include "coordinator/consensus.h"

#include <stdint.h>
#include <uv.h>

struct consensus_raft_options {
    const char *dir;       /* created when missing */
    const char *address;   /* HOST:PORT that the others dial: an IPv4 address or a name */
    const char *listen;    /* HOST:PORT, where raft listens: an IPv4 address; NULL: the address */
    uint64_t id;           /* of this voter; not 0; the same for the life of the directory */
    uint64_t disk_reserve; /* bytes that have to be free before a proposal is taken (half of
                                   it to start); 0: the default */
    bool join;             /* a first start begins with nothing and waits to be added by the leader
                            * of others; else it is the beginning of a cluster of one */
    /* Called once, on the loop, when this coordinator leads, or follows one that does, and
     * everything that was committed has been applied; or with an error when that will never come.
     */
    void (*ready)(void *data, int status, const struct err *err);
    /* Called on the loop when this coordinator begins to lead and has applied everything that was
     * committed before, and when it ceases to. May be NULL. */
    void (*leads)(void *data, bool leads);
    void *data;
};

#define CONSENSUS_DISK_RESERVE (64u << 20)
#define CONSENSUS_ELECTION_MS                                                                      \
    300 /* without a word of the leader for so long to twice as long: election */
#define CONSENSUS_HEARTBEAT_MS 60
/* Changes between two snapshots. */
#define CONSENSUS_SNAPSHOT_THRESHOLD 256
#define CONSENSUS_CHANGE_MAX (4u << 20) /* bytes of one change; beyond: ERR_TOO_LARGE */

/* Restores the last snapshot (fsm->restore, before this returns) and starts; what the log holds
 * beyond it is applied on the loop. ERR_IO, ERR_CORRUPT, ERR_INVALID. On an error nothing is left
 * to close, but the loop has to be run once more (uv_run) to let its handles go. The process must
 * ignore SIGPIPE. */
int consensus_raft_open(uv_loop_t *loop, const struct consensus_raft_options *options,
                        const struct consensus_fsm *fsm, struct consensus **out, struct err *err);

/* Makes the voter of a folder, which nobody has open, the only one, with the address of the
 * options; what its log holds then counts as agreed on. For when the majority is gone for good.
 * ERR_IO, ERR_CORRUPT, ERR_INVALID. */
int consensus_raft_recover(const struct consensus_raft_options *options, struct err *err);

#endif
