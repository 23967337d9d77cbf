#include "coordinator/later.h"

#include "proto/base/clock.h"

static void on_timer(uv_timer_t *timer);

static void arm(struct later *later)
{
    if (list_empty(&later->items)) {
        uv_timer_stop(&later->timer);
        return;
    }
    struct later_item *first = list_entry(later->items.next, struct later_item, link);
    uint64_t now = clock_ms();
    uv_update_time(later->timer.loop);
    uv_timer_start(&later->timer, on_timer,
                   later->closing || first->due_ms <= now ? 0 : first->due_ms - now, 0);
}

/* What is posted while this runs waits for the next turn: `ready` is taken off first. */
static void run_due(struct later *later)
{
    struct list ready;
    list_init(&ready);
    uint64_t now = clock_ms();
    while (!list_empty(&later->items)) {
        struct later_item *item = list_entry(later->items.next, struct later_item, link);
        if (!later->closing && item->due_ms > now)
            break;
        list_remove(&item->link);
        list_push(&ready, &item->link);
    }
    for (struct list *link; (link = list_shift(&ready)) != NULL;) {
        struct later_item *item = list_entry(link, struct later_item, link);
        item->queued = false;
        item->run(item);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct later *later = timer->data;
    run_due(later);
    if (!uv_is_closing((uv_handle_t *)timer))
        arm(later);
}

void later_init(struct later *later, uv_loop_t *loop)
{
    *later = (struct later){0};
    uv_timer_init(loop, &later->timer);
    later->timer.data = later;
    list_init(&later->items);
}

void later_post(struct later *later, struct later_item *item, uint64_t delay_ms,
                void (*run)(struct later_item *item))
{
    item->due_ms = clock_ms() + delay_ms;
    item->run = run;
    item->queued = true;
    struct list *before = later->items.prev; /* most are due after all others */
    while (before != &later->items &&
           list_entry(before, struct later_item, link)->due_ms > item->due_ms)
        before = before->prev;
    item->link.prev = before;
    item->link.next = before->next;
    before->next->prev = &item->link;
    before->next = &item->link;
    if (!uv_is_closing((uv_handle_t *)&later->timer))
        arm(later);
}

void later_cancel(struct later_item *item)
{
    if (!item->queued)
        return;
    list_remove(&item->link);
    item->queued = false;
}

void later_hurry(struct later *later)
{
    later->closing = true;
    arm(later);
}

static void on_closed(uv_handle_t *handle)
{
    struct later *later = handle->data;
    if (later->closed != NULL)
        later->closed(later->closed_data);
}

void later_close(struct later *later, void (*closed)(void *data), void *data)
{
    later->closing = true;
    later->closed = closed;
    later->closed_data = data;
    while (!list_empty(&later->items))
        run_due(later);
    uv_timer_stop(&later->timer);
    uv_close((uv_handle_t *)&later->timer, on_closed);
}
