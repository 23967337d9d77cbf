/* Joining and leaving.
 *
 *   new coordinator                       any coordinator -> the leader
 *     opens an empty log, listens
 *     CoordinatorJoin  ------------------>  adds it as a voter (once it has caught up),
 *                                           then puts its addresses into the map
 *     log and map come through raft
 *     follows, has the map: serves  <-----  OK
 *
 * It goes on asking until its own map names it, so a leader that dies between the two steps does no
 * harm. Until then DIR/joining says whom to ask, so that a start that was broken off does not make
 * a cluster of its own of what it has. Each step may be repeated, and may come late: so the map
 * remembers who was removed, and nobody who was can be taken in again.
 *
 * Leaving:
 *   any coordinator -> the leader         (which hands over first when it is the one to go)
 *     CoordinatorLeave ----------------->  takes it out of the map: the one that goes reads so,
 *                                          and stops; then removes the voter
 *     OK  <-----------------------------
 */
#include "coordinator/join.h"

#include "coordinator/forward.h"
#include "coordinator/messages.h"
#include "coordinator/siblings.h"
#include "proto/base/clock.h"
#include "proto/base/data_dir.h"
#include "proto/base/hash.h"
#include "proto/base/log.h"
#include "proto/limits.h"
#include "proto/rpc/url.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOK_EACH_MS 1000

uint64_t join_raft_id(const char *node_id)
{
    uint64_t id = hash64(node_id, strlen(node_id));
    return id == 0 ? 1 : id;
}

/* ---- asking ---- */

bool join_took_part(const char *dir)
{
    char path[4096];
    for (int i = 1; i <= 2; i++) { /* of these raft has one as soon as it knows a term */
        if (snprintf(path, sizeof path, "%s/raft/metadata%d", dir, i) < (int)sizeof path &&
            access(path, F_OK) == 0)
            return true;
    }
    return false;
}

/* The list without `self`; whether that came first in it. */
static bool leave_out(const char *list, const char *self, char *out)
{
    bool first = false;
    char *end = out;
    *out = '\0';
    for (const char *at = list; *at != '\0';) {
        size_t length = strcspn(at, ",");
        if (strlen(self) == length && strncmp(at, self, length) == 0)
            first |= at == list;
        else if (length > 0)
            end += sprintf(end, "%s%.*s", end > out ? "," : "", (int)length, at);
        at += length + (at[length] == ',');
    }
    return first;
}

/* Waits for LOOK_EACH_MS at most. */
static bool connects(const struct addrinfo *to)
{
    int error = -1;
    socklen_t size = sizeof error;
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        error = 0;
    else if (errno == EINPROGRESS && poll(&wait, 1, LOOK_EACH_MS) == 1)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    close(fd);
    return error == 0;
}

static bool listens(const char *url)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char host[URL_MAX + 1], service[8];
    int port;
    if (!url_split(url, host, sizeof host, &port))
        return false;
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &found) != 0)
        return false;
    bool answers = false;
    for (const struct addrinfo *it = found; it != NULL && !answers; it = it->ai_next)
        answers = connects(it);
    freeaddrinfo(found);
    return answers;
}

static bool anybody_listens(const char *urls)
{
    char list[DATA_DIR_TEXT_MAX];
    const char *url[LIMIT_COORDINATORS];
    snprintf(list, sizeof list, "%s", urls);
    size_t count = urls_split(list, url, LIMIT_COORDINATORS);
    if (count == 0)
        return false;
    log_event(LOG_INFO, "looks for a cluster to join before it begins one", LOG_STR("at", urls),
              LOG_U64("for_ms", JOIN_LOOK_MS));
    for (uint64_t until = clock_ms() + JOIN_LOOK_MS;;) {
        for (size_t i = 0; i < count; i++)
            if (listens(url[i]))
                return true;
        if (clock_ms() >= until)
            return false;
        usleep(JOIN_RETRY_MS * 1000);
    }
}

int join_wanted(const char *dir, const char *join, const char *self, char *urls, struct err *err)
{
    urls[0] = '\0';
    int code = data_dir_read(dir, JOIN_FILE, urls, DATA_DIR_TEXT_MAX, err);
    if (code != 0 && code != ERR_NOT_FOUND)
        return code;
    bool begun = code == 0;
    if (join == NULL || (!begun && join_took_part(dir)))
        return 0;
    if (strlen(join) + 2 > DATA_DIR_TEXT_MAX)
        return err_set(err, ERR_TOO_LARGE, "the addresses to join have at most %d bytes",
                       DATA_DIR_TEXT_MAX - 2);
    bool first = leave_out(join, self, urls);
    if (urls[0] == '\0' && !first)
        return err_set(err, ERR_INVALID, "--join names nobody");
    if (first && !begun && !anybody_listens(urls)) {
        urls[0] = '\0';
        return 0;
    }
    return data_dir_write(dir, JOIN_FILE, urls, err);
}

struct joining { /* or only finding out whether it has joined that cluster long ago */
    struct coordinator *coordinator;
    struct rpc_peer *peers[LIMIT_COORDINATORS];
    size_t count, next; /* peers; whom it asks next */
    struct rpc_call call;
    struct later_item later;
    size_t complaints; /* logged: one of each at first */
    bool asking, stopped;
};

static void ask(struct later_item *item);

static void on_answer(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                      struct bytes payload)
{
    struct joining *joining = call->data;
    (void)kind;
    (void)payload;
    joining->asking = false;
    if (joining->stopped) {
        free(joining);
        return;
    }
    if (status == ERR_CONFLICT) { /* op_coordinator_join(): for good, nothing else is told so */
        coordinator_was_removed(joining->coordinator);
        return;
    }
    if (status != 0 && joining->complaints < joining->count) {
        log_event(LOG_WARN, "not taken in yet",
                  LOG_STR("by", rpc_peer_url(joining->peers[joining->next])),
                  LOG_STR("reason", err->text));
        joining->complaints++;
    }
    if (status != 0)
        joining->next = (joining->next + 1) % joining->count;
    later_post(&joining->coordinator->later, &joining->later, JOIN_RETRY_MS, ask);
}

static void fill_self(struct coordinator *coordinator, Quire__Coordinator *out)
{
    quire__coordinator__init(out);
    out->id = coordinator->node_id;
    out->raft_id = join_raft_id(coordinator->node_id);
    out->address = coordinator->advertise;
    out->raft_address = coordinator->raft_address;
}

static void ask(struct later_item *item)
{
    struct joining *joining = list_entry(item, struct joining, later);
    Quire__CoordinatorJoin message = QUIRE__COORDINATOR_JOIN__INIT;
    Quire__Coordinator self;
    struct buf packed;
    if (joining->coordinator->closing)
        return;
    fill_self(joining->coordinator, &self);
    message.coordinator = &self;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    joining->asking = true;
    joining->call = (struct rpc_call){.data = joining, .done = on_answer};
    rpc_call_start(&joining->call, joining->peers[joining->next],
                   QUIRE__KIND__KIND_COORDINATOR_JOIN, buf_bytes(&packed), COORDINATOR_WRITE_MS, 0);
    buf_deinit(&packed);
}

static void destroy_peers(struct joining *joining)
{
    for (size_t i = 0; i < joining->count; i++)
        rpc_peer_destroy(joining->peers[i]); /* ends the call, later */
    joining->count = 0;
}

static struct joining *create(struct coordinator *coordinator, const char *urls, struct err *err)
{
    char list[DATA_DIR_TEXT_MAX];
    const char *url[LIMIT_COORDINATORS];
    struct joining *joining = calloc(1, sizeof *joining);
    if (joining == NULL) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    joining->coordinator = coordinator;
    snprintf(list, sizeof list, "%s", urls);
    size_t count = urls_split(list, url, LIMIT_COORDINATORS);
    for (; joining->count < count; joining->count++)
        if (rpc_peer_create(coordinator->rpc, url[joining->count], &joining->peers[joining->count],
                            err) != 0)
            break;
    if (count > 0 && joining->count == count)
        return joining;
    destroy_peers(joining);
    free(joining);
    return NULL;
}

static void stop(struct joining **at)
{
    struct joining *joining = *at;
    if (joining == NULL)
        return;
    *at = NULL;
    later_cancel(&joining->later);
    joining->stopped = true;
    destroy_peers(joining);
    if (!joining->asking)
        free(joining);
}

int join_start(struct coordinator *coordinator, const char *urls, struct err *err)
{
    coordinator->joining = create(coordinator, urls, err);
    if (coordinator->joining == NULL)
        return err->code;
    later_post(&coordinator->later, &coordinator->joining->later, 0, ask);
    return 0;
}

void join_stop(struct coordinator *coordinator)
{
    stop(&coordinator->joining);
    stop(&coordinator->checking);
}

void join_ended(struct coordinator *coordinator)
{
    struct err err;
    if (coordinator->joining == NULL)
        return;
    stop(&coordinator->joining);
    if (data_dir_remove(coordinator->dir, JOIN_FILE, &err) != 0)
        log_event(LOG_WARN, "joins again when it is started again", LOG_STR("reason", err.text));
}

/* ---- one that took part already ---- */

static void on_checked(struct rpc_call *call, int status, const struct err *err, uint16_t kind,
                       struct bytes payload)
{
    struct joining *joining = call->data;
    struct coordinator *coordinator = joining->coordinator;
    struct err why = {0};
    (void)kind;
    (void)payload;
    joining->asking = false;
    if (joining->stopped) {
        free(joining);
        return;
    }
    if (status == ERR_PROTOCOL) { /* rpc compares the clusters */
        err_set(&why, ERR_CONFLICT,
                "--join: %s; start it without --join to go on in its cluster, or with an empty "
                "folder to join the other one",
                err->text);
        coordinator_fail(coordinator, ERR_CONFLICT, &why);
    } else {
        log_event(LOG_INFO, "it takes part already: --join changes nothing",
                  LOG_STR("cluster", coordinator->cluster_id));
    }
    stop(&coordinator->checking);
}

void join_check(struct coordinator *coordinator)
{
    Quire__CoordinatorInquire message = QUIRE__COORDINATOR_INQUIRE__INIT;
    struct buf packed;
    struct err err;
    char others[DATA_DIR_TEXT_MAX];
    if (coordinator->join == NULL || coordinator->join_url[0] != '\0' ||
        strlen(coordinator->join) >= sizeof others)
        return;
    leave_out(coordinator->join, coordinator->advertise, others);
    struct joining *checking = create(coordinator, others, &err);
    if (checking == NULL)
        return; /* there is nobody else; nothing depends on it any more */
    coordinator->checking = checking;
    message.id = coordinator->node_id;
    buf_init(&packed);
    message_pack(&message.base, &packed);
    checking->asking = true;
    checking->call = (struct rpc_call){.data = checking, .done = on_checked};
    rpc_call_start(&checking->call, checking->peers[0], QUIRE__KIND__KIND_COORDINATOR_INQUIRE,
                   buf_bytes(&packed), JOIN_CHECK_MS, 0);
    buf_deinit(&packed);
}

/* ---- the leader ---- */

struct membership_work {                    /* in the request's arena */
    struct consensus_membership membership; /* first */
    struct coordinator_change change;
    struct coordinator *coordinator;
    struct rpc_request *request;
    Quire__MapChange message;
};

static struct membership_work *work_of(struct coordinator *coordinator, struct rpc_request *request,
                                       const Quire__MapChange *message)
{
    struct membership_work *work = arena_calloc(&request->arena, 1, sizeof *work);
    work->coordinator = coordinator;
    work->request = request;
    work->message = *message;
    return work;
}

static void reply(struct membership_work *work, int status, const struct err *err)
{
    if (status == 0)
        request_reply_ok(work->request);
    else
        request_error(work->request, status, "%s", err->text);
}

const Quire__Coordinator *join_find(const struct coordinator *coordinator, const char *id)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    for (size_t i = 0; i < map->n_coordinators; i++)
        if (strcmp(map->coordinators[i]->id, id) == 0)
            return map->coordinators[i];
    return NULL;
}

static bool is_in_map(const struct coordinator *coordinator, const Quire__Coordinator *wanted)
{
    const Quire__Coordinator *known = join_find(coordinator, wanted->id);
    return known != NULL && strcmp(known->address, wanted->address) == 0 &&
           strcmp(known->raft_address, wanted->raft_address) == 0;
}

/* Somebody else who has one of its addresses; NULL: nobody. */
static const Quire__Coordinator *same_address(const struct coordinator *coordinator,
                                              const Quire__Coordinator *wanted)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    for (size_t i = 0; i < map->n_coordinators; i++) {
        const Quire__Coordinator *other = map->coordinators[i];
        if (strcmp(other->id, wanted->id) != 0 &&
            (strcmp(other->address, wanted->address) == 0 ||
             strcmp(other->raft_address, wanted->raft_address) == 0))
            return other;
    }
    return NULL;
}

static void on_put(struct coordinator_change *change, int status, const struct err *err)
{
    reply(change->data, status, err);
}

static void on_voter(struct consensus_membership *membership, int status, const struct err *err)
{
    struct membership_work *work = (struct membership_work *)membership;
    if (status != 0 || is_in_map(work->coordinator, work->message.coordinator_put)) {
        /* ERR_CONFLICT would say that it was removed; this is another one that joins or leaves. */
        reply(work, status == ERR_CONFLICT ? ERR_UNAVAILABLE : status, err);
        return;
    }
    work->change.data = work;
    work->change.done = on_put;
    coordinator_change(work->coordinator, &work->change, &work->message);
}

void op_coordinator_join(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__CoordinatorJoin *message = request_unpack(request, &quire__coordinator_join__descriptor);
    if (message == NULL)
        return;
    Quire__Coordinator *wanted = message->coordinator;
    if (!uuid_valid(wanted->id) || wanted->address[0] == '\0' ||
        strlen(wanted->address) > NODE_ADDRESS_MAX || wanted->raft_address[0] == '\0' ||
        strlen(wanted->raft_address) > NODE_ADDRESS_MAX) {
        request_error(request, ERR_INVALID,
                      "a coordinator that joins needs a UUID, and addresses of 1 to %d bytes",
                      NODE_ADDRESS_MAX);
        return;
    }
    if (map_coordinator_removed(coordinator->map->message, wanted->id)) {
        request_error(request, ERR_CONFLICT, "coordinator %s was removed from its cluster",
                      wanted->id);
        return;
    }
    const Quire__Coordinator *other = same_address(coordinator, wanted);
    if (other != NULL) {
        request_error(request, ERR_EXISTS,
                      "coordinator %s has the address %s or %s already: remove it first", other->id,
                      wanted->address, wanted->raft_address);
        return;
    }
    if (join_find(coordinator, wanted->id) == NULL &&
        coordinator->map->message->n_coordinators >= LIMIT_COORDINATORS) {
        request_error(request, ERR_FULL, "a cluster has at most %d coordinators",
                      LIMIT_COORDINATORS);
        return;
    }
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    wanted->raft_id = join_raft_id(wanted->id);
    change.coordinator_put = wanted;
    struct membership_work *work = work_of(coordinator, request, &change);
    work->membership.id = wanted->raft_id;
    work->membership.address = wanted->raft_address;
    work->membership.done = on_voter;
    consensus_change(coordinator->consensus, &work->membership);
}

/* ---- leaving ---- */

static void on_voter_gone(struct consensus_membership *membership, int status,
                          const struct err *err)
{
    struct membership_work *work = (struct membership_work *)membership;
    if (status != 0) /* voters.c will do it, here or where the next leader is */
        log_event(LOG_WARN, "the voter of a removed coordinator stays for now",
                  LOG_STR("reason", err->text));
    request_reply_ok(work->request);
}

static void on_dropped(struct coordinator_change *change, int status, const struct err *err)
{
    struct membership_work *work = change->data;
    if (status != 0)
        request_error(work->request, status, "%s", err->text);
    else
        consensus_change(work->coordinator->consensus, &work->membership);
}

static void on_handing_over(struct consensus_membership *membership, int status,
                            const struct err *err)
{
    struct membership_work *work = (struct membership_work *)membership;
    if (status == ERR_UNAVAILABLE)
        forward_to_next_leader(work->coordinator, work->request, op_coordinator_leave);
    else
        request_error(work->request, status, "%s", err->text);
}

/* How many there are without `gone`, and how many of them are alive. */
static size_t count_others(struct coordinator *coordinator, const Quire__Coordinator *gone,
                           size_t *alive)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    size_t count = 0;
    *alive = 0;
    for (size_t i = 0; i < map->n_coordinators; i++) {
        const Quire__Coordinator *it = map->coordinators[i];
        struct sibling *sibling = siblings_find(coordinator, it->id);
        if (it == gone)
            continue;
        count++;
        *alive +=
            sibling != NULL ? sibling_alive(sibling) : strcmp(it->id, coordinator->node_id) == 0;
    }
    return count;
}

/* By its id or its url. */
static const Quire__Coordinator *find_either(const struct coordinator *coordinator,
                                             const char *name)
{
    const Quire__ClusterMap *map = coordinator->map->message;
    for (size_t i = 0; i < map->n_coordinators; i++)
        if (strcmp(map->coordinators[i]->id, name) == 0 ||
            strcmp(map->coordinators[i]->address, name) == 0)
            return map->coordinators[i];
    return NULL;
}

void op_coordinator_leave(struct coordinator *coordinator, struct rpc_request *request)
{
    Quire__CoordinatorLeave *message =
        request_unpack(request, &quire__coordinator_leave__descriptor);
    if (message == NULL)
        return;
    const Quire__Coordinator *gone = find_either(coordinator, message->id);
    if (gone == NULL) {
        request_error(request, ERR_NOT_FOUND, "the cluster has no coordinator %s", message->id);
        return;
    }
    size_t alive;
    size_t others = count_others(coordinator, gone, &alive);
    if (others > 0 && alive < others / 2 + 1) {
        request_error(request, ERR_CONFLICT,
                      "without coordinator %s, %zu of %zu would be alive, which is no majority: "
                      "start the others first, or remove those that are gone",
                      gone->id, alive, others);
        return;
    }
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.coordinator_drop = arena_strdup(&request->arena, gone->id);
    struct membership_work *work = work_of(coordinator, request, &change);
    work->membership.id = gone->raft_id;
    if (strcmp(gone->id, coordinator->node_id) == 0) {
        work->membership.done = on_handing_over;
        consensus_change(coordinator->consensus, &work->membership);
        return;
    }
    work->membership.done = on_voter_gone;
    work->change.data = work;
    work->change.done = on_dropped;
    coordinator_change(coordinator, &work->change, &work->message);
}

/* ---- this one ---- */

static void on_kept(struct coordinator_change *change, int status, const struct err *err)
{
    struct coordinator *coordinator = change->coordinator;
    coordinator->keeping_self = false;
    if (status != 0 && !coordinator->closing)
        log_event(LOG_WARN, "this coordinator is not in the map", LOG_STR("reason", err->text));
}

void join_keep_self(struct coordinator *coordinator)
{
    Quire__Coordinator self;
    fill_self(coordinator, &self);
    if (coordinator->keeping_self || is_in_map(coordinator, &self))
        return;
    Quire__MapChange change = QUIRE__MAP_CHANGE__INIT;
    change.coordinator_put = &self;
    coordinator->keeping_self = true;
    coordinator->keep_self.done = on_kept;
    coordinator_change(coordinator, &coordinator->keep_self, &change);
}
