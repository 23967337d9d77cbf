/* What the files of the replication core share. Nobody else includes this. */
#ifndef QUIRE_SHARD_REPLICATION_INTERNAL_H
#define QUIRE_SHARD_REPLICATION_INTERNAL_H

#include "shard/replication.h"

/* ---- replication_log.c: what the core knows of the log: no records, only where epochs begin, and
 * which writes to it are under way ---- */

struct replication_log {
    struct replication_position base;   /* the log begins after it */
    struct replication_position *start; /* (epoch, first seq), ascending; the first is > base.seq */
    size_t start_count, start_room;
    uint64_t last;    /* seq, durable or not */
    uint64_t durable; /* seq */
    uint64_t *write;  /* a ring of the writes under way: the last seq of each */
    size_t write_head, write_count, write_room; /* room: a power of two */
};

void log_init(struct replication_log *log, const struct replication_start *start);
void log_deinit(struct replication_log *log);
/* Of the record that holds `seq`, or of base; base.seq <= seq <= last. */
uint64_t log_epoch_at(const struct replication_log *log, uint64_t seq);
/* A record at the end. The write that it belongs to is told apart, by log_wrote(). */
void log_extend(struct replication_log *log, uint64_t epoch, uint32_t count);
/* Everything from `seq` on is gone; seq > base.seq. */
void log_cut(struct replication_log *log, uint64_t seq);
/* A write is under way; when it is durable, the log is up to `last`. */
void log_wrote(struct replication_log *log);
void log_durable(struct replication_log *log, size_t writes);
/* The log begins after seq; base.seq <= seq <= last. */
void log_trim(struct replication_log *log, uint64_t seq);

/* ---- the core ---- */

struct member { /* another replica, as the primary sees it */
    char id[UUID_TEXT_SIZE];
    bool in_sync;  /* by the configuration */
    bool joining;  /* a learner without which nothing is committed any more... */
    bool asked;    /* ...and that the coordinators were asked to make in sync */
    bool stranded; /* needs a checkpoint */
    bool broken;
    bool greeted;     /* it has answered under this epoch */
    uint64_t next;    /* seq to be sent next; 0: not known yet where it stands */
    uint64_t acked;   /* seq: durable there */
    uint64_t durable; /* of its index */
    uint64_t told;    /* the commit point that was sent last */
    int in_flight;
    uint64_t sent_ms;          /* 0: to be sent something with the next tick */
    uint64_t restarted_ms;     /* when sending began anew from `acked` */
    uint64_t waiting_since_ms; /* since then something is under way and nothing got on; 0: not */
    uint64_t lost_since_ms;    /* 0: connected, as far as is known */
};

/* Beyond, a prepare is answered at once with what is durable, which is true, too. */
#define TICKETS_MAX (4 * REPLICATION_WINDOW)

struct ticket { /* a prepare that is answered when the log is durable up to `seq` */
    void *ticket;
    uint64_t seq;
};

struct replication {
    char node_id[UUID_TEXT_SIZE];
    struct replication_edge edge;
    struct replication_log log;
    enum replication_role role;
    uint64_t epoch;
    bool empty, broken, resigned;
    uint64_t committed;
    uint64_t index_durable;
    uint64_t lease_until_ms;
    uint64_t tick_ms; /* of the last one */

    /* As primary: */
    struct member member[REPLICATION_MEMBERS_MAX];
    size_t member_count;
    uint64_t inherited; /* last seq of the log at promotion */

    /* As secondary or learner: */
    uint64_t agreed;      /* equal to the primary's log up to here, durable or not */
    uint64_t told;        /* the primary's commit point */
    uint64_t told_retain; /* the primary's */
    struct ticket ticket[TICKETS_MAX];
    size_t ticket_count;
};

static inline bool leads(const struct replication *replication)
{
    return replication->role == REPLICATION_PRIMARY || replication->role == REPLICATION_RECONCILING;
}

static inline bool has_lease(const struct replication *replication, uint64_t now_ms)
{
    return now_ms < replication->lease_until_ms && !replication->broken && !replication->resigned;
}

/* replication.c: the sentence for it */
int no_lease(const struct replication *replication, struct err *err);
/* replication_primary.c */
void primary_begin(struct replication *replication, const struct replication_config *config,
                   bool was_primary, uint64_t now_ms);
void primary_advance(struct replication *replication, uint64_t now_ms);
void primary_tick(struct replication *replication, uint64_t now_ms);
/* replication_secondary.c */
void secondary_begin(struct replication *replication);
void secondary_advance(struct replication *replication);
/* Answers every open ticket with a status that says no. */
void secondary_refuse(struct replication *replication, enum replication_status status);

#endif
