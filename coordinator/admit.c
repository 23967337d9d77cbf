#include "coordinator/admit.h"

#include "coordinator/coordinator.h"
#include "coordinator/messages.h"
#include "proto/base/clock.h"

#include <string.h>

#define WHO "the coordinator"

void admit_init(struct coordinator *coordinator, const struct admit_options *options)
{
    struct admit *admit = &coordinator->admit;
    uint32_t target = options->target_ms == 0                 ? ADMISSION_TARGET_MS
                      : options->target_ms == ADMIT_NO_TARGET ? 0
                                                              : options->target_ms;
    uint32_t most = options->searches != 0 ? options->searches : ADMIT_SEARCHES;
    struct admission_settings rules = {0};
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        rules.classes[i] = (struct admission_class_settings){
            .slots = ADMIT_CHEAP,
            .queue = options->queue != 0 ? options->queue : ADMIT_QUEUE,
            .weight = 1,
            .target_us = target * 1000};
        list_init(&admit->queues[i]);
    }
    rules.classes[ADMISSION_SEARCH].slots = most;
    rules.classes[ADMISSION_SEARCH].slots_least =
        most < ADMIT_SEARCHES_LEAST ? most : ADMIT_SEARCHES_LEAST;
    rules.classes[ADMISSION_HEAVY].slots = ADMIT_HEAVY;
    rules.classes[ADMISSION_HEAVY].target_us *= 10; /* what takes long anyway may wait longer */
    rules.classes[ADMISSION_WRITE] = (struct admission_class_settings){
        .slots = 1, .queue = ADMIT_WRITES, .weight = 1, .external = true};
    admission_init(&admit->policy, &rules);
    admit->memory.limit = options->memory_limit;
}

static void look(struct later_item *item)
{
    struct coordinator *coordinator = list_entry(item, struct coordinator, admit.look);
    struct admit *admit = &coordinator->admit;
    if (coordinator->closing)
        return;
    if (memory_watch_look(&admit->memory, clock_ms()))
        admit->policy.pressure = admit->memory.pressure;
    later_post(&coordinator->later, item, MEMORY_CHECK_MS, look);
}

void admit_start(struct coordinator *coordinator)
{
    if (coordinator->admit.memory.limit > 0)
        later_post(&coordinator->later, &coordinator->admit.look, MEMORY_CHECK_MS, look);
}

static uint64_t deadline_us(const struct rpc_request *request)
{
    return request->deadline_ms * 1000;
}

static void refuse(struct rpc_request *request, const struct admission_refusal *why)
{
    struct err err = {0};
    admission_error(request->class, why, WHO, &err);
    request_err(request, &err);
}

static void begin(struct coordinator *coordinator, struct rpc_request *request)
{
    request->began_us = clock_us();
    coordinator->admit.enter(coordinator, request);
}

void admit_request(struct coordinator *coordinator, struct rpc_request *request,
                   enum admission_class class)
{
    struct admit *admit = &coordinator->admit;
    struct admission_refusal why;
    request->class = (uint8_t) class;
    if (class == ADMISSION_NONE) {
        admit->enter(coordinator, request);
        return;
    }
    switch (admission_arrive(&admit->policy, class, clock_us(), request->read_us,
                             deadline_us(request), &why)) {
    case ADMISSION_START:
        begin(coordinator, request);
        break;
    case ADMISSION_WAIT:
        list_push(&admit->queues[class], &request->link);
        break;
    case ADMISSION_REFUSE:
        refuse(request, &why);
        break;
    }
}

/* Not from inside an answer, so that no operation begins inside another one. */
static void pump(struct later_item *item)
{
    struct coordinator *coordinator = list_entry(item, struct coordinator, admit.pump);
    struct admit *admit = &coordinator->admit;
    enum admission_class class;
    struct admission_refusal why;
    while ((class = admission_next(&admit->policy)) != ADMISSION_NONE) {
        struct rpc_request *request =
            list_entry(list_shift(&admit->queues[class]), struct rpc_request, link);
        if (admission_take(&admit->policy, class, clock_us(), request->read_us,
                           deadline_us(request), !rpc_request_abandoned(request), &why))
            begin(coordinator, request);
        else
            refuse(request, &why);
    }
}

void admit_ended(struct coordinator *coordinator, struct rpc_request *request, int code)
{
    struct admit *admit = &coordinator->admit;
    if (request->class == ADMISSION_NONE || request->began_us == 0)
        return;
    uint64_t now = clock_us();
    enum admission_class class = request->class;
    if (code == ERR_OVERLOADED)
        admission_count(&admit->policy, class, ADMISSION_ELSEWHERE);
    admission_feedback(&admit->policy, class, now, request->congested || code == ERR_OVERLOADED);
    admission_end(&admit->policy, class, now, now - request->began_us);
    request->began_us = 0;
    if (!admit->pump.queued && admission_next(&admit->policy) != ADMISSION_NONE)
        later_post(&coordinator->later, &admit->pump, 0, pump);
}

void admit_shard_waited(struct coordinator *coordinator, struct rpc_request *request,
                        uint64_t waited_us)
{
    const struct admission_state *search = &coordinator->admit.policy.classes[ADMISSION_SEARCH];
    request->congested |= search->settings.target_us != 0 && waited_us > search->settings.target_us;
}

void admit_stop(struct coordinator *coordinator)
{
    struct admit *admit = &coordinator->admit;
    struct list *link;
    later_cancel(&admit->pump);
    later_cancel(&admit->look);
    for (int i = 0; i < ADMISSION_CLASSES; i++) {
        admit->policy.classes[i].waiting = 0;
        while ((link = list_shift(&admit->queues[i])) != NULL)
            request_error(list_entry(link, struct rpc_request, link), ERR_UNAVAILABLE,
                          "the coordinator is stopping");
    }
}

uint64_t admit_refused(const struct coordinator *coordinator)
{
    uint64_t sum = 0;
    for (int i = 0; i < ADMISSION_CLASSES; i++)
        for (int k = 0; k < ADMISSION_REASONS; k++)
            if (k != ADMISSION_EXPIRED)
                sum += coordinator->admit.policy.classes[i].refused[k];
    return sum;
}
