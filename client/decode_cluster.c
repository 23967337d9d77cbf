/* Replies about the cluster into results. */
#include "client/decoder.h"

static const struct quire_node *const *nodes_of(struct decoder *d, Quire__Node *const *in,
                                                size_t count)
{
    struct quire_node **list = LIST(d, struct quire_node, count);
    for (size_t i = 0; i < count; i++) {
        list[i]->id = text(d, in[i]->id);
        list[i]->address = text(d, in[i]->address);
        list[i]->zone = text(d, in[i]->zone);
        list[i]->alive = in[i]->alive;
        list[i]->last_seen_ms = in[i]->last_seen_ms;
        list[i]->draining = in[i]->draining;
    }
    return (const struct quire_node *const *)list;
}

static const struct quire_replica *const *replicas_of(struct decoder *d,
                                                      const Quire__RangeStatus *in)
{
    struct quire_replica **list = LIST(d, struct quire_replica, in->n_replicas);
    for (size_t i = 0; i < in->n_replicas; i++) {
        const Quire__ReplicaStatus *from = in->replicas[i];
        list[i]->node = text(d, from->node);
        list[i]->role = text(d, from->role);
        list[i]->state = text(d, from->state);
        list[i]->epoch = from->epoch;
        list[i]->last_seq = from->last_seq;
        list[i]->committed_seq = from->committed_seq;
        list[i]->durable_seq = from->durable_seq;
    }
    return (const struct quire_replica *const *)list;
}

static void range_of(struct decoder *d, const Quire__RangeStatus *in, struct quire_range *out)
{
    out->id = in->id;
    out->collection = text(d, in->collection);
    out->epoch = in->epoch;
    out->lo = text_of(d, in->has_lo, in->lo);
    out->hi = text_of(d, in->has_hi, in->hi);
    out->primary = text(d, in->primary);
    out->in_sync = texts(d, in->in_sync, in->n_in_sync);
    out->in_sync_count = in->n_in_sync;
    out->state = text(d, in->state);
    out->entries = in->entries;
    out->bytes = in->bytes;
    out->memory_bytes = in->memory_bytes;
    out->segments = in->segments;
    out->committed_seq = in->committed_seq;
    out->durable_seq = in->durable_seq;
    out->learners = texts(d, in->learners, in->n_learners);
    out->learner_count = in->n_learners;
    out->replicas = replicas_of(d, in);
    out->replica_count = in->n_replicas;
    out->replicas_wanted = in->replicas_wanted;
    out->leaving = texts(d, in->leaving, in->n_leaving);
    out->leaving_count = in->n_leaving;
    out->reshape = text(d, in->reshape);
}

static void status_init(void *result)
{
    struct quire_status_result *status = result;
    status->cluster_id = status->leader = status->software = "";
}

static int decode_status(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_status_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__StatusReply *in = UNPACK(status_reply, box, payload);
    struct quire_range **ranges;
    if (in == NULL)
        return unreadable(err);
    ranges = LIST(&d, struct quire_range, in->n_ranges);
    for (size_t i = 0; i < in->n_ranges; i++)
        range_of(&d, in->ranges[i], ranges[i]);
    result->cluster_id = text(&d, in->cluster_id);
    result->map_epoch = in->map_epoch;
    result->coordinators = nodes_of(&d, in->coordinators, in->n_coordinators);
    result->coordinator_count = in->n_coordinators;
    result->leader = text(&d, in->leader);
    result->software = text(&d, in->software);
    result->nodes = nodes_of(&d, in->nodes, in->n_nodes);
    result->node_count = in->n_nodes;
    result->ranges = (const struct quire_range *const *)ranges;
    result->range_count = in->n_ranges;
    result->placement = (enum quire_placement)in->placement;
    if (in->searches != NULL)
        result->searches = (struct quire_search_figures){
            in->searches->searches, in->searches->one_round, in->searches->outdated,
            in->searches->cache_bytes, in->searches->cache_limit};
    if (in->reads != NULL)
        result->reads = (struct quire_read_figures){in->reads->calls,    in->reads->again,
                                                    in->reads->hedges,   in->reads->hedges_won,
                                                    in->reads->given_up, in->reads->refused};
    return finish(&d, err);
}

static int decode_verify(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_verify_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__VerifyReply *in = UNPACK(verify_reply, box, payload);
    struct quire_problem **problems;
    if (in == NULL)
        return unreadable(err);
    problems = LIST(&d, struct quire_problem, in->n_problems);
    for (size_t i = 0; i < in->n_problems; i++) {
        problems[i]->range = in->problems[i]->range;
        problems[i]->text = text(&d, in->problems[i]->text);
    }
    result->ranges = in->ranges;
    result->entries = in->entries;
    result->postings = in->postings;
    result->problems = (const struct quire_problem *const *)problems;
    result->problem_count = in->n_problems;
    result->uncompared = in->uncompared;
    return finish(&d, err);
}

static int decode_recover(struct box *box, struct bytes payload, struct err *err)
{
    struct quire_recover_result *result = (void *)box->result;
    struct decoder d = {&box->arena, false};
    Quire__RecoverReply *in = UNPACK(recover_reply, box, payload);
    if (in == NULL)
        return unreadable(err);
    result->losses = texts(&d, in->losses, in->n_losses);
    result->loss_count = in->n_losses;
    return finish(&d, err);
}

const struct result_type result_status = {sizeof(struct quire_status_result), status_init,
                                          decode_status};
const struct result_type result_verify = {sizeof(struct quire_verify_result), NULL, decode_verify};
const struct result_type result_recover = {sizeof(struct quire_recover_result), NULL,
                                           decode_recover};
