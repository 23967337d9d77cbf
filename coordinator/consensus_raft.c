/* Consensus over libraft 0.15.
 *
 * Happy path: propose() queues the proposal and wakes the loop; on_wake() hands it to raft_apply(),
 * one entry each; raft writes it with direct I/O and fsync, commits it, calls fsm_apply() and then
 * on_applied(), which puts the proposal on the finished list; the next wake delivers it. So no
 * callback of ours ever runs inside a callback of raft's, and raft_apply() is never called from
 * one.
 *
 * What raft is known to do wrong, and what is done about it:
 *   - an entry whose length is not a multiple of 8 is acknowledged and gone after a restart:
 * entries (and, to be safe, snapshots) are framed as le64 length | bytes | zeros up to the next
 * multiple of 8
 *   - raft_apply() from inside a failing apply callback crashes: fsm_apply() never fails towards
 * raft (a refusal is remembered for the proposer), and proposals are handed over from the wake
 * only;
 *   - a full disk crashes the process: free space is looked at before each proposal, with enough in
 * reserve for a few segments of 8 MiB;
 *   - auto recovery is on by default and quietly drops damaged segments: switched off, so that the
 * start fails with a message instead;
 *   - the install-snapshot timeout is 30 s: 2 s;
 *   - its connections wait as long as TCP likes, minutes after the network was cut: raft_dial.h;
 *   - raft_close() with entries still being written crashes (it frees the leader's state, then
 * fails the writes, which look for it): a close first waits for what raft has in hand. A leader
 * that cannot reach a majority steps down and fails its entries, so that wait has an end.
 *
 * Who leads is looked at by a timer, since raft does not tell; a term that was lost and won again
 * between two looks is told by its number, and gets a barrier of its own. A coordinator with one
 * voter leads as soon as it starts. Whether everything committed has been applied is found out with
 * a barrier; then it leads as far as others are concerned (`leads`). A leader that is closed hands
 * over first.
 */
#include "coordinator/consensus_raft.h"

#include "coordinator/raft_dial.h"
#include "proto/base/log.h"

#include <assert.h>
#include <errno.h>
#include <raft.h>
#include <raft/uv.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define PAD 8
#define LEADER_POLL_MS 20
#define INSTALL_SNAPSHOT_TIMEOUT_MS 2000
#define IN_FLIGHT_MAX 64

struct consensus_raft {
    struct consensus base;
    uv_loop_t *loop;
    struct raft raft;
    struct raft_io io;
    struct raft_fsm raft_fsm;
    struct raft_dialer dialer;
    struct consensus_fsm fsm;
    char *dir;
    char *listen; /* as in the options */
    uint64_t disk_reserve;
    struct list waiting;  /* proposals not yet handed to raft */
    struct list finished; /* proposals to be delivered */
    int in_flight;        /* handed to raft and not finished, the barrier included */
    int refusal;          /* what the last fsm_apply() said */
    struct err refusal_err;
    struct raft_barrier barrier;
    bool barrier_sent;
    raft_term barrier_term; /* in which it was sent */
    bool leads;             /* and has applied all that was committed before, in this term: */
    raft_term leads_term;
    bool ready;
    struct raft_change change;
    struct consensus_membership *membership; /* under way */
    struct raft_transfer transfer;
    bool closing;
    bool raft_closing;
    int handles; /* not yet closed, plus one for raft itself */
    uv_async_t wake;
    uv_timer_t leader_poll;
    void (*on_ready)(void *data, int status, const struct err *err);
    void (*on_leads)(void *data, bool leads);
    void *user_data;
    void (*closed)(void *data);
    void *closed_data;
};

/* A proposal inside raft. */
struct log_entry {
    struct raft_apply request;
    struct consensus_raft *self;
    struct consensus_proposal *proposal;
};

static int translate(int status)
{
    switch (status) {
    case 0:
        return 0;
    case RAFT_NOMEM:
        return ERR_NOMEM;
    case RAFT_NOTLEADER:
    case RAFT_LEADERSHIPLOST:
        return ERR_UNAVAILABLE;
    case RAFT_SHUTDOWN:
    case RAFT_CANCELED:
        return ERR_CANCELED;
    case RAFT_NOSPACE:
        return ERR_FULL;
    case RAFT_CORRUPT:
    case RAFT_MALFORMED:
        return ERR_CORRUPT;
    default:
        return ERR_IO;
    }
}

/* ---- the frame around entries and snapshots ---- */

static size_t framed_size(size_t size)
{
    return 8 + (size + PAD - 1) / PAD * PAD;
}

static int frame(struct bytes bytes, struct raft_buffer *out)
{
    out->len = framed_size(bytes.size);
    out->base = raft_malloc(out->len);
    if (out->base == NULL)
        return RAFT_NOMEM;
    uint8_t *to = out->base;
    memset(to, 0, out->len);
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)((uint64_t)bytes.size >> (8 * i));
    if (bytes.size > 0)
        memcpy(to + 8, bytes.data, bytes.size);
    return 0;
}

static bool unframe(const struct raft_buffer *buffer, struct bytes *out)
{
    struct reader reader;
    uint64_t size = 0;
    reader_init(&reader, bytes_of(buffer->base, buffer->len));
    return reader_le64(&reader, &size) && size <= reader_left(&reader) &&
           reader_bytes(&reader, size, out);
}

/* ---- the state machine as raft sees it ---- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct consensus_raft *self = fsm->data;
    struct bytes change;
    *result = NULL;
    self->refusal_err = (struct err){0};
    if (unframe(buf, &change))
        self->refusal = self->fsm.apply(self->fsm.data, change, &self->refusal_err);
    else
        self->refusal = err_set(&self->refusal_err, ERR_CORRUPT, "a change that is not framed");
    if (self->refusal != 0)
        log_event(LOG_WARN, "change refused", LOG_STR("reason", self->refusal_err.text));
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct consensus_raft *self = fsm->data;
    struct buf state;
    buf_init(&state);
    self->fsm.snapshot(self->fsm.data, &state);
    int rc = RAFT_NOMEM;
    *n_bufs = 1;
    *bufs = raft_malloc(sizeof **bufs);
    if (*bufs != NULL) {
        rc = frame(buf_bytes(&state), *bufs);
        if (rc != 0)
            raft_free(*bufs);
    }
    buf_deinit(&state);
    return rc;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct consensus_raft *self = fsm->data;
    struct bytes state;
    struct err err = {0};
    int rc = 0;
    if (!unframe(buf, &state))
        rc = err_set(&err, ERR_CORRUPT, "a snapshot that is not framed");
    else
        rc = self->fsm.restore(self->fsm.data, state, &err);
    if (rc != 0) {
        log_event(LOG_ERROR, "snapshot refused", LOG_STR("reason", err.text));
        return RAFT_CORRUPT;
    }
    raft_free(buf->base); /* ours once it was taken */
    return 0;
}

/* ---- proposals ---- */

static void finish(struct consensus_raft *self, struct consensus_proposal *proposal, int status)
{
    proposal->status = status;
    buf_deinit(&proposal->change);
    list_push(&self->finished, &proposal->link);
    if (!uv_is_closing((uv_handle_t *)&self->wake))
        uv_async_send(&self->wake);
}

static void on_applied(struct raft_apply *request, int status, void *result)
{
    (void)result;
    struct log_entry *entry = request->data;
    struct consensus_raft *self = entry->self;
    struct consensus_proposal *proposal = entry->proposal;
    int code = translate(status);
    if (status != 0) {
        err_set(&proposal->err, code, "the change was not agreed on: %s", raft_strerror(status));
    } else if (self->refusal != 0) {
        code = self->refusal;
        proposal->err = self->refusal_err;
    }
    free(entry);
    self->in_flight--;
    finish(self, proposal, code);
}

static int check_disk(struct consensus_raft *self, uint64_t needed, struct err *err)
{
    struct statvfs fs;
    if (statvfs(self->dir, &fs) != 0)
        return err_set(err, ERR_IO, "%s: %s", self->dir, strerror(errno));
    uint64_t unused = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (unused < needed)
        return err_set(err, ERR_FULL,
                       "the coordinator's disk is full: %llu MiB free, %llu MiB are needed for the "
                       "log of the cluster map",
                       (unsigned long long)(unused >> 20), (unsigned long long)(needed >> 20));
    return 0;
}

static int op_check(struct consensus *base, struct err *err)
{
    struct consensus_raft *self = (struct consensus_raft *)base;
    if (self->closing)
        return err_set(err, ERR_CANCELED, "the coordinator is stopping");
    if (raft_state(&self->raft) != RAFT_LEADER)
        return err_set(err, ERR_UNAVAILABLE, "this coordinator does not lead the cluster");
    return check_disk(self, self->disk_reserve, err);
}

static int submit(struct consensus_raft *self, struct consensus_proposal *proposal)
{
    struct err *err = &proposal->err;
    int rc = op_check(&self->base, err);
    if (rc != 0)
        return rc;
    if (proposal->change.size > CONSENSUS_CHANGE_MAX)
        return err_set(err, ERR_TOO_LARGE, "a change of the cluster map has at most %u bytes",
                       CONSENSUS_CHANGE_MAX);
    struct log_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    struct raft_buffer buffer;
    rc = frame(buf_bytes(&proposal->change), &buffer);
    if (rc != 0) {
        free(entry);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    entry->self = self;
    entry->proposal = proposal;
    entry->request.data = entry;
    self->in_flight++;
    rc = raft_apply(&self->raft, &entry->request, &buffer, 1, on_applied);
    if (rc != 0) {
        self->in_flight--;
        raft_free(buffer.base);
        free(entry);
        return err_set(err, translate(rc), "the change was not taken: %s", raft_strerror(rc));
    }
    return 0;
}

static void close_when_idle(struct consensus_raft *self);

static void on_wake(uv_async_t *wake)
{
    struct consensus_raft *self = wake->data;
    struct list finished;
    list_init(&finished);
    while ((self->in_flight < IN_FLIGHT_MAX || self->closing) && !list_empty(&self->waiting)) {
        struct consensus_proposal *proposal =
            list_entry(list_shift(&self->waiting), struct consensus_proposal, link);
        int rc = submit(self, proposal);
        if (rc != 0)
            finish(self, proposal, rc);
    }
    list_splice(&finished, &self->finished);
    for (struct list *link; (link = list_shift(&finished)) != NULL;) {
        struct consensus_proposal *proposal = list_entry(link, struct consensus_proposal, link);
        proposal->done(proposal, proposal->status, &proposal->err);
    }
    close_when_idle(self);
}

static void op_propose(struct consensus *base, struct consensus_proposal *proposal)
{
    struct consensus_raft *self = (struct consensus_raft *)base;
    proposal->status = 0;
    proposal->err = (struct err){0};
    list_push(&self->waiting, &proposal->link);
    if (!uv_is_closing((uv_handle_t *)&self->wake))
        uv_async_send(&self->wake);
}

static bool op_is_leader(const struct consensus *base)
{
    const struct consensus_raft *self = (const struct consensus_raft *)base;
    return self->leads && !self->closing && raft_state((struct raft *)&self->raft) == RAFT_LEADER &&
           self->raft.current_term == self->leads_term;
}

/* ---- who leads ---- */

static void say_ready(struct consensus_raft *self, int status, const struct err *err)
{
    if (self->ready)
        return;
    self->ready = true;
    if (self->on_ready != NULL)
        self->on_ready(self->user_data, status, err);
}

static void say_leads(struct consensus_raft *self, bool leads)
{
    if (self->leads == leads)
        return;
    self->leads = leads;
    if (self->on_leads != NULL)
        self->on_leads(self->user_data, leads);
}

static void on_barrier(struct raft_barrier *barrier, int status)
{
    struct consensus_raft *self = barrier->data;
    self->in_flight--;
    self->barrier_sent = false;
    if (self->closing) {
        uv_async_send(&self->wake);
        return;
    }
    if (status != 0 || raft_state(&self->raft) != RAFT_LEADER ||
        self->raft.current_term != self->barrier_term)
        return; /* leadership was lost at once: the timer goes on looking */
    self->leads_term = self->barrier_term;
    say_leads(self, true);
    say_ready(self, 0, NULL);
}

static void send_barrier(struct consensus_raft *self)
{
    if (self->leads && self->leads_term != self->raft.current_term)
        say_leads(self, false); /* lost and won again since the timer last looked */
    if (self->leads || self->barrier_sent)
        return;
    self->barrier.data = self;
    self->barrier_term = self->raft.current_term;
    self->in_flight++;
    self->barrier_sent = raft_barrier(&self->raft, &self->barrier, on_barrier) == 0;
    if (!self->barrier_sent)
        self->in_flight--;
}

/* Whether it follows, and has what its leader has told it to be committed. */
static bool follows(struct consensus_raft *self)
{
    raft_id id;
    const char *address;
    raft_leader(&self->raft, &id, &address);
    return raft_state(&self->raft) == RAFT_FOLLOWER && id != 0 && self->raft.commit_index > 0 &&
           raft_last_applied(&self->raft) == self->raft.commit_index;
}

/* raft has no callback for it. */
static void on_leader_poll(uv_timer_t *timer)
{
    struct consensus_raft *self = timer->data;
    if (self->closing)
        return;
    int state = raft_state(&self->raft);
    if (state == RAFT_UNAVAILABLE) {
        struct err err = {0};
        err_set(&err, ERR_IO, "the log of the cluster map: %s", raft_errmsg(&self->raft));
        uv_timer_stop(timer);
        say_leads(self, false);
        if (self->ready) /* what it knows, it goes on telling */
            log_event(LOG_ERROR, "takes part in consensus no more until it is started again",
                      LOG_STR("reason", err.text));
        say_ready(self, ERR_IO, &err);
    } else if (state == RAFT_LEADER) {
        send_barrier(self);
    } else {
        say_leads(self, false);
        if (follows(self))
            say_ready(self, 0, NULL);
    }
}

static void op_leader(struct consensus *base, uint64_t *id, const char **address)
{
    struct consensus_raft *self = (struct consensus_raft *)base;
    raft_id leader = 0;
    *address = NULL;
    raft_leader(&self->raft, &leader, address);
    *id = leader;
}

/* ---- who takes part ---- */

static void membership_end(struct consensus_raft *self, int status, const char *why)
{
    struct consensus_membership *membership = self->membership;
    struct err err = {0};
    self->membership = NULL;
    if (status != 0)
        err_set(&err, status, "%s", why);
    membership->done(membership, status, &err);
}

static int translate_change(int status)
{
    switch (status) {
    case RAFT_CANTCHANGE:
        return ERR_CONFLICT;
    case RAFT_NOCONNECTION:
        return ERR_DEADLINE;
    default:
        return translate(status);
    }
}

static void membership_step(struct consensus_raft *self, int status)
{
    const char *why = raft_strerror(status);
    if (self->closing && status != 0)
        membership_end(self, ERR_CANCELED, "the coordinator is stopping");
    else
        membership_end(self, translate_change(status), why);
    if (self->closing)
        uv_async_send(&self->wake);
}

static void on_changed(struct raft_change *change, int status)
{
    struct consensus_raft *self = change->data;
    self->in_flight--;
    membership_step(self, status);
}

static void start_voting(struct consensus_raft *self)
{
    self->in_flight++;
    int rc = raft_assign(&self->raft, &self->change, self->membership->id, RAFT_VOTER, on_changed);
    if (rc == 0)
        return;
    self->in_flight--;
    membership_step(self, rc == RAFT_BADROLE ? 0 : rc); /* BADROLE: it is a voter already */
}

static void on_added(struct raft_change *change, int status)
{
    struct consensus_raft *self = change->data;
    self->in_flight--;
    if (status != 0 || self->closing)
        membership_step(self, status != 0 ? status : RAFT_CANCELED);
    else
        start_voting(self);
}

static void add_voter(struct consensus_raft *self, const struct consensus_membership *membership)
{
    self->in_flight++;
    int rc = raft_add(&self->raft, &self->change, membership->id, membership->address, on_added);
    if (rc == 0)
        return;
    self->in_flight--;
    if (rc == RAFT_DUPLICATEID)
        start_voting(self);
    else
        membership_step(self, rc);
}

static void on_handed_over(struct raft_transfer *transfer)
{
    struct consensus_raft *self = transfer->data;
    self->in_flight--;
    if (self->closing)
        uv_async_send(&self->wake);
}

/* To whoever is the furthest. Nothing happens when this one does not lead, or hands over already,
 * or there is nobody. */
static void hand_over(struct consensus_raft *self)
{
    if (raft_state(&self->raft) != RAFT_LEADER || self->raft.transfer != NULL)
        return;
    self->transfer.data = self;
    self->in_flight++;
    if (raft_transfer(&self->raft, &self->transfer, 0, on_handed_over) != 0)
        self->in_flight--;
}

static bool is_last_voter(const struct consensus_raft *self)
{
    const struct raft_configuration *all = &self->raft.configuration;
    for (unsigned i = 0; i < all->n; i++)
        if (all->servers[i].role == RAFT_VOTER && all->servers[i].id != self->raft.id)
            return false;
    return true;
}

static void remove_voter(struct consensus_raft *self, const struct consensus_membership *membership)
{
    if (membership->id == self->raft.id) {
        bool last = is_last_voter(self);
        hand_over(self);
        membership_end(self, last ? ERR_CONFLICT : ERR_UNAVAILABLE,
                       last ? "the last coordinator cannot be removed"
                            : "this coordinator led; another one is about to: try again");
        return;
    }
    self->in_flight++;
    int rc = raft_remove(&self->raft, &self->change, membership->id, on_changed);
    if (rc == 0)
        return;
    self->in_flight--;
    membership_step(self, rc == RAFT_BADID ? 0 : rc);
}

static size_t op_members(const struct consensus *base, uint64_t *ids, size_t room)
{
    const struct consensus_raft *self = (const struct consensus_raft *)base;
    const struct raft_configuration *all = &self->raft.configuration;
    for (unsigned i = 0; i < all->n && i < room; i++)
        ids[i] = all->servers[i].id;
    return all->n < room ? all->n : room;
}

static void op_change(struct consensus *base, struct consensus_membership *membership)
{
    struct consensus_raft *self = (struct consensus_raft *)base;
    struct err err = {0};
    if (self->membership != NULL) {
        err_set(&err, ERR_CONFLICT, "another change of the coordinators is under way");
        membership->done(membership, ERR_CONFLICT, &err);
        return;
    }
    self->membership = membership;
    self->change.data = self;
    int rc = op_check(base, &err);
    if (rc != 0)
        membership_end(self, rc, err.text);
    else if (membership->address != NULL)
        add_voter(self, membership);
    else
        remove_voter(self, membership);
}

/* ---- start ---- */

/* The configuration of a first start: this voter alone. */
static int bootstrap(struct consensus_raft *self, const struct consensus_raft_options *options)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    int rc = raft_configuration_add(&configuration, options->id, options->address, RAFT_VOTER);
    if (rc == 0)
        rc = raft_bootstrap(&self->raft, &configuration);
    raft_configuration_close(&configuration);
    return rc == RAFT_CANTBOOTSTRAP ? 0 : rc;
}

/* ---- close ---- */

static void release(struct consensus_raft *self)
{
    assert(self->handles > 0);
    if (--self->handles > 0)
        return;
    raft_uv_close(&self->io);
    raft_dial_deinit(&self->dialer);
    /* on_applied() of what raft gave up came before this; the wake may be gone by now. */
    self->closing = true;
    while (!list_empty(&self->waiting) || !list_empty(&self->finished))
        on_wake(&self->wake);
    void (*closed)(void *) = self->closed;
    void *data = self->closed_data;
    free(self->dir);
    free(self->listen);
    free(self);
    if (closed != NULL)
        closed(data);
}

static void on_handle_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_raft_closed(struct raft *raft)
{
    release(raft->data);
}

static void close_when_idle(struct consensus_raft *self)
{
    if (!self->closing || self->raft_closing || self->in_flight > 0 || !list_empty(&self->finished))
        return;
    self->raft_closing = true;
    uv_close((uv_handle_t *)&self->wake, on_handle_closed);
    raft_close(&self->raft, on_raft_closed);
}

static void op_close(struct consensus *base, void (*closed)(void *data), void *data)
{
    struct consensus_raft *self = (struct consensus_raft *)base;
    assert(!self->closing);
    self->closing = true;
    self->closed = closed;
    self->closed_data = data;
    uv_timer_stop(&self->leader_poll);
    uv_close((uv_handle_t *)&self->leader_poll, on_handle_closed);
    hand_over(self);
    uv_async_send(&self->wake); /* fails what waits, and goes on with the close */
}

static const struct consensus_ops raft_ops = {
    .change = op_change,
    .members = op_members,
    .leader = op_leader,
    .propose = op_propose,
    .check = op_check,
    .is_leader = op_is_leader,
    .close = op_close,
};

static void init_fsm(struct consensus_raft *self)
{
    self->raft_fsm = (struct raft_fsm){
        .version = 1,
        .data = self,
        .apply = fsm_apply,
        .snapshot = fsm_snapshot,
        .restore = fsm_restore,
    };
}

static void set_options(struct consensus_raft *self)
{
    raft_uv_set_auto_recovery(&self->io, false);
    raft_uv_set_connect_retry_delay(&self->io, RAFT_DIAL_RETRY_MS);
    raft_set_install_snapshot_timeout(&self->raft, INSTALL_SNAPSHOT_TIMEOUT_MS);
    raft_set_snapshot_threshold(&self->raft, CONSENSUS_SNAPSHOT_THRESHOLD);
    raft_set_pre_vote(&self->raft, true);
    raft_set_election_timeout(&self->raft, CONSENSUS_ELECTION_MS);
    raft_set_heartbeat_timeout(&self->raft, CONSENSUS_HEARTBEAT_MS);
}

/* The others dial what the configuration says, which a start does not change. */
static int check_same_address(const struct consensus_raft *self, const char *address,
                              struct err *err)
{
    const struct raft_configuration *all = &self->raft.configuration;
    const char *option = self->listen != NULL ? "--raft-advertise" : "--raft-listen";
    const char *known = NULL;
    for (unsigned i = 0; i < all->n; i++)
        if (all->servers[i].id == self->raft.id)
            known = all->servers[i].address;
    if (known == NULL || strcmp(known, address) == 0)
        return 0;
    if (all->n == 1)
        return err_set(err, ERR_INVALID,
                       "this coordinator takes part as %s: start it with %s %s; to give it the "
                       "address %s for good, run it once with --recover-alone --force %s %s",
                       known, option, known, address, option, address);
    return err_set(err, ERR_INVALID,
                   "the other coordinators know this one as %s: start it with %s %s; to give it "
                   "the address %s, remove it ('quire coordinator remove') and let it join with an "
                   "empty folder",
                   known, option, known, address);
}

static int check_address(const char *address, struct err *err)
{
    char host[256];
    int port;
    if (raft_address_split(address, host, sizeof host, &port))
        return 0;
    return err_set(err, ERR_INVALID, "the raft address %s is not HOST:PORT", address);
}

/* To listen, raft wants numbers: a name is refused here with a sentence. */
static int check_listen(const char *listen, struct err *err)
{
    struct sockaddr_in parsed;
    char host[256];
    int port;
    if (!raft_address_split(listen, host, sizeof host, &port) ||
        uv_ip4_addr(host, port, &parsed) != 0)
        return err_set(err, ERR_INVALID,
                       "the raft address %s is not an IPv4 address and a port (127.0.0.1:17400)",
                       listen);
    return 0;
}

int consensus_raft_open(uv_loop_t *loop, const struct consensus_raft_options *options,
                        const struct consensus_fsm *fsm, struct consensus **out, struct err *err)
{
    *out = NULL;
    const char *listen = options->listen != NULL ? options->listen : options->address;
    int rc = check_address(options->address, err);
    if (rc == 0)
        rc = check_listen(listen, err);
    if (rc != 0)
        return rc;
    if (mkdir(options->dir, 0700) != 0 && errno != EEXIST)
        return err_set(err, ERR_IO, "%s: %s", options->dir, strerror(errno));
    struct consensus_raft *self = calloc(1, sizeof *self);
    if (self == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    self->base.ops = &raft_ops;
    self->loop = loop;
    self->fsm = *fsm;
    self->dir = strdup(options->dir);
    self->listen = options->listen != NULL ? strdup(options->listen) : NULL;
    self->disk_reserve =
        options->disk_reserve != 0 ? options->disk_reserve : CONSENSUS_DISK_RESERVE;
    self->on_ready = options->ready;
    self->on_leads = options->leads;
    self->user_data = options->data;
    list_init(&self->waiting);
    list_init(&self->finished);
    init_fsm(self);
    rc = check_disk(self, self->disk_reserve / 2, err); /* raft preallocates as it starts */
    if (rc != 0)
        goto err_after_alloc;
    rc = raft_dial_init(&self->dialer, loop, self->listen);
    if (rc != 0) {
        rc = err_set(err, translate(rc), "%s", raft_strerror(rc));
        goto err_after_alloc;
    }
    rc = raft_uv_init(&self->io, loop, options->dir, &self->dialer.transport);
    if (rc != 0) {
        rc = err_set(err, translate(rc), "%s: %s", options->dir, raft_strerror(rc));
        goto err_after_transport;
    }
    rc = raft_init(&self->raft, &self->io, &self->raft_fsm, options->id, options->address);
    if (rc != 0) {
        rc = err_set(err, translate(rc), "%s: %s", options->dir, raft_errmsg(&self->raft));
        goto err_after_io;
    }
    self->raft.data = self;
    set_options(self);
    uv_async_init(loop, &self->wake, on_wake);
    uv_timer_init(loop, &self->leader_poll);
    self->wake.data = self->leader_poll.data = self;
    self->handles = 3;
    rc = options->join ? 0 : bootstrap(self, options);
    if (rc == 0)
        rc = raft_start(&self->raft);
    if (rc != 0) {
        const char *why = raft_errmsg(&self->raft);
        if (why[0] != '\0')
            rc = err_set(err, translate(rc), "open the log of the cluster map in %s: %s",
                         options->dir, why);
        else /* what it says nothing about is the socket */
            rc = err_set(err, ERR_IO, "listen on the raft address %s: %s (is it taken?)", listen,
                         raft_strerror(rc));
        op_close(&self->base, NULL, NULL); /* frees itself as the loop runs */
        return rc;
    }
    rc = check_same_address(self, options->address, err);
    if (rc != 0) {
        op_close(&self->base, NULL, NULL);
        return rc;
    }
    uv_timer_start(&self->leader_poll, on_leader_poll, 0, LEADER_POLL_MS);
    *out = &self->base;
    return 0;

err_after_io:
    raft_uv_close(&self->io);
err_after_transport:
    raft_dial_deinit(&self->dialer);
err_after_alloc:
    free(self->dir);
    free(self->listen);
    free(self);
    return rc;
}

/* ---- recovery ---- */

static int recover_alone(struct raft *raft, const struct consensus_raft_options *options)
{
    struct raft_configuration alone;
    raft_configuration_init(&alone);
    int rc = raft_configuration_add(&alone, options->id, options->address, RAFT_VOTER);
    if (rc == 0)
        rc = raft_recover(raft, &alone);
    raft_configuration_close(&alone);
    return rc;
}

int consensus_raft_recover(const struct consensus_raft_options *options, struct err *err)
{
    struct raft_uv_transport transport = {0};
    struct raft_fsm fsm = {.version = 1};
    struct raft_io io = {0};
    struct raft raft = {0};
    uv_loop_t loop;
    int rc = check_address(options->address, err);
    if (rc != 0)
        return rc;
    if (uv_loop_init(&loop) != 0)
        return err_set(err, ERR_NOMEM, "no loop");
    rc = raft_uv_tcp_init(&transport, &loop);
    if (rc != 0)
        goto err_after_loop;
    rc = raft_uv_init(&io, &loop, options->dir, &transport);
    if (rc != 0)
        goto err_after_transport;
    rc = raft_init(&raft, &io, &fsm, options->id, options->address);
    if (rc != 0)
        goto err_after_io;
    raft_uv_set_auto_recovery(&io, false);
    rc = recover_alone(&raft, options);
    if (rc != 0)
        err_set(err, translate(rc), "%s: %s", options->dir, raft_errmsg(&raft));
    raft_close(&raft, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);

err_after_io:
    raft_uv_close(&io);
err_after_transport:
    raft_uv_tcp_close(&transport);
err_after_loop:
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (rc != 0 && err->code == 0)
        err_set(err, translate(rc), "%s: %s", options->dir, raft_strerror(rc));
    return rc == 0 ? 0 : err->code;
}
