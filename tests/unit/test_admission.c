/* Admission: rule by rule, and a small queueing system in virtual time. */
#include "proto/base/admission.h"
#include "proto/base/memory_pressure.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FAR UINT64_MAX
#define TARGET 20000u

static struct admission_settings plain(uint32_t slots)
{
    struct admission_settings settings = {.slots = slots};
    for (int i = 0; i < ADMISSION_CLASSES; i++)
        settings.classes[i] = (struct admission_class_settings){
            .slots = slots, .queue = 100, .weight = 1, .target_us = TARGET};
    settings.classes[ADMISSION_WRITE].external = true;
    settings.classes[ADMISSION_WRITE].target_us = 0;
    settings.classes[ADMISSION_WRITE].slots = 1;
    return settings;
}

static void as_many_as_slots_work_and_the_rest_waits(void **state)
{
    (void)state;
    struct admission_settings settings = plain(2);
    struct admission a;
    struct admission_refusal why;
    settings.classes[ADMISSION_SEARCH].queue = 3;
    admission_init(&a, &settings);
    assert_int_equal(admission_next(&a), ADMISSION_NONE);
    for (int i = 0; i < 2; i++)
        assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, 0, 0, FAR, &why), ADMISSION_START);
    for (int i = 0; i < 3; i++)
        assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, 0, 0, FAR, &why), ADMISSION_WAIT);
    assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, 0, 0, FAR, &why), ADMISSION_REFUSE);
    assert_int_equal(why.reason, ADMISSION_FULL);
    assert_true(why.retry_after_ms >= ADMISSION_RETRY_MIN_MS);
    assert_int_equal(admission_next(&a), ADMISSION_NONE); /* no slot */
    admission_end(&a, ADMISSION_SEARCH, 1000, 1000);
    assert_int_equal(admission_next(&a), ADMISSION_SEARCH);
    assert_true(admission_take(&a, ADMISSION_SEARCH, 1000, 0, FAR, true, &why));
    assert_int_equal(admission_next(&a), ADMISSION_NONE);
    assert_int_equal(a.classes[ADMISSION_SEARCH].refused[ADMISSION_FULL], 1);
    assert_int_equal(a.classes[ADMISSION_SEARCH].admitted, 3);
}

static void what_nobody_waits_for_is_dropped(void **state)
{
    (void)state;
    struct admission_settings settings = plain(1);
    struct admission a;
    struct admission_refusal why;
    struct err err = {0};
    admission_init(&a, &settings);
    assert_int_equal(admission_arrive(&a, ADMISSION_CHEAP, 0, 0, FAR, &why), ADMISSION_START);
    assert_int_equal(admission_arrive(&a, ADMISSION_CHEAP, 0, 0, 5000, &why), ADMISSION_WAIT);
    assert_int_equal(admission_arrive(&a, ADMISSION_CHEAP, 0, 0, FAR, &why), ADMISSION_WAIT);
    assert_int_equal(admission_arrive(&a, ADMISSION_CHEAP, 0, 0, FAR, &why), ADMISSION_WAIT);
    admission_end(&a, ADMISSION_CHEAP, 5000, 5000);
    assert_false(admission_take(&a, ADMISSION_CHEAP, 5000, 0, 5000, true, &why)); /* its deadline */
    assert_int_equal(why.reason, ADMISSION_EXPIRED);
    assert_int_equal(admission_error(ADMISSION_CHEAP, &why, "the shard", &err), ERR_DEADLINE);
    assert_false(admission_take(&a, ADMISSION_CHEAP, 5000, 0, FAR, false, &why)); /* cancelled */
    assert_int_equal(a.classes[ADMISSION_CHEAP].refused[ADMISSION_EXPIRED], 2);
    assert_true(admission_take(&a, ADMISSION_CHEAP, 5000, 0, FAR, true, &why));
}

/* One that takes 10 ms has 5 before it: 50 ms to wait, and 10 to work. */
static void who_would_be_too_late_is_refused_at_once(void **state)
{
    (void)state;
    struct admission_settings settings = plain(1);
    struct admission a;
    struct admission_refusal why;
    struct err err = {0};
    settings.classes[ADMISSION_SEARCH].target_us = 0;
    admission_init(&a, &settings);
    assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, 0, 0, FAR, &why), ADMISSION_START);
    admission_end(&a, ADMISSION_SEARCH, 10000, 10000);
    assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, 10000, 10000, FAR, &why),
                     ADMISSION_START);
    for (int i = 0; i < 5; i++)
        assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, 10000, 10000, FAR, &why),
                         ADMISSION_WAIT);
    assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, 10000, 10000, 10000 + 59000, &why),
                     ADMISSION_REFUSE);
    assert_int_equal(why.reason, ADMISSION_DEADLINE);
    assert_in_range(why.wait_ms, 50, 51);
    assert_in_range(why.retry_after_ms, 150, 151);
    assert_int_equal(admission_error(ADMISSION_SEARCH, &why, "the shard", &err), ERR_OVERLOADED);
    assert_int_equal(err.retry_after_ms, why.retry_after_ms);
    assert_non_null(strstr(err.text, "try again in 15"));
    assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, 10000, 10000, 10000 + 61000, &why),
                     ADMISSION_WAIT);
}

/* A burst waits as long as it must; a queue that stands for an interval does not. */
static void a_burst_may_wait_a_standing_queue_may_not(void **state)
{
    (void)state;
    struct admission_settings settings = plain(1);
    struct admission a;
    struct admission_refusal why;
    uint64_t now = 0;
    admission_init(&a, &settings);
    /* 9 at once, 10 ms each: the last one waits for 80 ms. */
    for (int i = 0; i < 9; i++)
        assert_int_not_equal(admission_arrive(&a, ADMISSION_SEARCH, now, now, FAR, &why),
                             ADMISSION_REFUSE);
    for (int i = 0; i < 8; i++) {
        now += 10000;
        admission_end(&a, ADMISSION_SEARCH, now, 10000);
        assert_true(admission_take(&a, ADMISSION_SEARCH, now, 0, FAR, true, &why));
    }
    now += 10000;
    admission_end(&a, ADMISSION_SEARCH, now, 10000);

    /* Two come whenever one is done: soon none waits for less than the target. */
    uint64_t came[400];
    size_t first = 0, last = 0, refused = 0, taken = 0;
    now += 1000000;
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 2; k++) {
            enum admission_verdict verdict =
                admission_arrive(&a, ADMISSION_SEARCH, now, now, FAR, &why);
            if (verdict == ADMISSION_WAIT)
                came[last++] = now;
            refused += verdict == ADMISSION_REFUSE;
        }
        now += 10000;
        admission_end(&a, ADMISSION_SEARCH, now, 10000);
        while (first < last && admission_next(&a) != ADMISSION_NONE) {
            bool taken_now =
                admission_take(&a, ADMISSION_SEARCH, now, came[first++], FAR, true, &why);
            if (taken_now && i > 50)
                assert_true(now - came[first - 1] <= TARGET);
            taken += taken_now;
            refused += !taken_now;
        }
        if (a.classes[ADMISSION_SEARCH].at_work == 0)
            assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, now, now, FAR, &why),
                             ADMISSION_START);
    }
    assert_true(taken >= 90);
    assert_true(refused >= 80);
    assert_true(a.classes[ADMISSION_SEARCH].overloaded);
    /* When it is over, nothing is held against the next. */
    now += 10 * ADMISSION_INTERVAL_US;
    while (first < last) {
        if (admission_next(&a) == ADMISSION_NONE)
            admission_end(&a, ADMISSION_SEARCH, now, 10000);
        admission_take(&a, ADMISSION_SEARCH, now, now, FAR, true, &why);
        first++;
    }
    admission_end(&a, ADMISSION_SEARCH, now, 10000);
    now += 10 * ADMISSION_INTERVAL_US;
    assert_int_equal(admission_arrive(&a, ADMISSION_SEARCH, now, now, FAR, &why), ADMISSION_START);
    assert_false(a.classes[ADMISSION_SEARCH].overloaded);
}

/* Heavy ones that fill their queue leave a slot, and their weight's share of the others. */
static void the_heavy_do_not_starve_the_cheap(void **state)
{
    (void)state;
    struct admission_settings settings = plain(4);
    struct admission a;
    struct admission_refusal why;
    settings.classes[ADMISSION_HEAVY].slots = 3;
    admission_init(&a, &settings);
    for (int i = 0; i < 50; i++)
        admission_arrive(&a, ADMISSION_HEAVY, 0, 0, FAR, &why);
    assert_int_equal(a.classes[ADMISSION_HEAVY].at_work, 3);
    assert_int_equal(admission_arrive(&a, ADMISSION_CHEAP, 0, 0, FAR, &why), ADMISSION_START);

    /* One slot, both wait for ever, weights 4 and 1, heavy ones take ten times as long: they get a
     * fifth of the time, which is a fortieth of the requests... */
    settings = plain(1);
    settings.classes[ADMISSION_CHEAP].weight = 4;
    for (int i = 0; i < ADMISSION_CLASSES; i++)
        settings.classes[i].target_us = 0;
    admission_init(&a, &settings);
    uint64_t now = 0, spent[2] = {0, 0};
    static const enum admission_class classes[2] = {ADMISSION_CHEAP, ADMISSION_HEAVY};
    static const uint64_t work[2] = {1000, 10000};
    assert_int_equal(admission_arrive(&a, ADMISSION_HEAVY, 0, 0, FAR, &why), ADMISSION_START);
    int running = 1;
    while (now < 10000000) {
        for (int i = 0; i < 2; i++)
            while (a.classes[classes[i]].waiting < 10)
                admission_arrive(&a, classes[i], now, now, FAR, &why);
        now += work[running];
        spent[running] += work[running];
        admission_end(&a, classes[running], now, work[running]);
        running = admission_next(&a) == ADMISSION_HEAVY;
        assert_true(admission_take(&a, classes[running], now, now, FAR, true, &why));
    }
    assert_in_range(spent[1] * 100 / now, 15, 25);
}

static void writes_go_by_their_own_queue(void **state)
{
    (void)state;
    struct admission_settings settings = plain(1);
    struct admission a;
    struct admission_refusal why;
    uint64_t now = 0;
    settings.classes[ADMISSION_WRITE].queue = 40;
    admission_init(&a, &settings);
    for (int i = 0; i < 40; i++)
        assert_int_equal(admission_arrive(&a, ADMISSION_WRITE, now, now, FAR, &why),
                         ADMISSION_START);
    assert_int_equal(admission_arrive(&a, ADMISSION_WRITE, now, now, FAR, &why), ADMISSION_REFUSE);
    assert_int_equal(why.reason, ADMISSION_FULL);
    for (int i = 0; i < 20; i++) /* ten at a time, 100 ms each group: 10 ms a write */
        admission_end(&a, ADMISSION_WRITE, now += i % 10 == 0 ? 100000 : 0, 1);
    assert_int_equal(a.classes[ADMISSION_WRITE].at_work, 20);
    assert_int_equal(admission_arrive(&a, ADMISSION_WRITE, now, now, now + 2000000, &why),
                     ADMISSION_START);
    assert_int_equal(admission_arrive(&a, ADMISSION_WRITE, now, now, now + 20000, &why),
                     ADMISSION_REFUSE);
    assert_int_equal(why.reason, ADMISSION_DEADLINE);
    /* They take no slot of the others. */
    assert_int_equal(admission_arrive(&a, ADMISSION_CHEAP, now, now, FAR, &why), ADMISSION_START);
}

/* Nothing moved for two seconds, then everything: nobody is refused for what that looked like. */
static void what_stands_is_not_slow(void **state)
{
    (void)state;
    struct admission_settings settings = plain(1);
    struct admission a;
    struct admission_refusal why;
    uint64_t now = 0;
    settings.classes[ADMISSION_WRITE].queue = 1000;
    admission_init(&a, &settings);
    for (int i = 0; i < 200; i++)
        assert_int_equal(admission_arrive(&a, ADMISSION_WRITE, now, now, FAR, &why),
                         ADMISSION_START);
    for (int i = 0; i < 50; i++)
        admission_end(&a, ADMISSION_WRITE, now += 5000, 1);
    for (uint64_t end = now + 2000000; now < end; now += 20000)
        assert_int_equal(admission_arrive(&a, ADMISSION_WRITE, now, now, now + 5000000, &why),
                         ADMISSION_START);
    for (int i = 0; i < 50; i++) {
        admission_end(&a, ADMISSION_WRITE, now += 5000, 1);
        assert_int_equal(admission_arrive(&a, ADMISSION_WRITE, now, now, now + 5000000, &why),
                         ADMISSION_START);
    }
}

static void memory_is_asked_back_of_writes_first(void **state)
{
    (void)state;
    static const bool taken[3][ADMISSION_CLASSES] = {
        {true, true, true, true}, {true, true, true, false}, {true, true, false, false}};
    struct admission_settings settings = plain(4);
    struct admission a;
    struct admission_refusal why;
    for (int pressure = ADMISSION_EASE; pressure <= ADMISSION_NO_HEAVY; pressure++) {
        admission_init(&a, &settings);
        a.pressure = (enum admission_pressure)pressure;
        for (int i = 0; i < ADMISSION_CLASSES; i++) {
            bool start =
                admission_arrive(&a, (enum admission_class)i, 0, 0, FAR, &why) == ADMISSION_START;
            assert_int_equal(start, taken[pressure][i]);
            if (!start)
                assert_int_equal(why.reason, ADMISSION_MEMORY);
        }
    }
}

static void pressure_has_two_marks_for_each_way(void **state)
{
    (void)state;
    static const struct {
        unsigned used;
        enum admission_pressure then;
    } steps[] = {{84, ADMISSION_EASE},      {85, ADMISSION_NO_WRITES}, {81, ADMISSION_NO_WRITES},
                 {79, ADMISSION_EASE},      {91, ADMISSION_NO_WRITES}, {92, ADMISSION_NO_HEAVY},
                 {88, ADMISSION_NO_HEAVY},  {86, ADMISSION_NO_WRITES}, {200, ADMISSION_NO_HEAVY},
                 {80, ADMISSION_NO_WRITES}, {0, ADMISSION_EASE}};
    enum admission_pressure pressure = ADMISSION_EASE;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        pressure = memory_pressure(pressure, steps[i].used * 1000, 100000);
        assert_int_equal(pressure, steps[i].then);
    }
    assert_int_equal(memory_pressure(ADMISSION_EASE, UINT64_MAX, 0), ADMISSION_EASE);
    assert_true(memory_own() > 100000 && memory_own() < (uint64_t)1 << 40);
    struct memory_watch watch = {.limit = 1};
    assert_true(memory_watch_look(&watch, 1000));
    assert_int_equal(watch.pressure, ADMISSION_NO_HEAVY);
    watch.limit = UINT64_MAX;
    assert_false(memory_watch_look(&watch, 1000 + MEMORY_CHECK_MS - 1)); /* too early to look */
    assert_true(memory_watch_look(&watch, 1000 + MEMORY_CHECK_MS));
    assert_int_equal(watch.pressure, ADMISSION_EASE);
}

static void slots_are_found_by_what_those_elsewhere_say(void **state)
{
    (void)state;
    struct admission_settings settings = plain(1000);
    struct admission a;
    struct admission_refusal why;
    settings.classes[ADMISSION_SEARCH].slots_least = 4;
    admission_init(&a, &settings);
    double first = a.classes[ADMISSION_SEARCH].limit;
    uint64_t now = ADMISSION_INTERVAL_US;
    admission_feedback(&a, ADMISSION_SEARCH, now, true);
    admission_feedback(&a, ADMISSION_SEARCH, now + 1, true); /* one cut an interval */
    double cut = a.classes[ADMISSION_SEARCH].limit;
    assert_true(cut < first && cut > first / 2);
    for (int i = 0; i < 100; i++)
        admission_feedback(&a, ADMISSION_SEARCH, now, false); /* not in use: says nothing */
    assert_true(a.classes[ADMISSION_SEARCH].limit == cut);
    while (admission_arrive(&a, ADMISSION_SEARCH, now, now, FAR, &why) == ADMISSION_START)
        ;
    for (int i = 0; i < 100; i++)
        admission_feedback(&a, ADMISSION_SEARCH, now, false);
    assert_true(a.classes[ADMISSION_SEARCH].limit > cut + 1);
    for (int i = 0; i < 100; i++)
        admission_feedback(&a, ADMISSION_SEARCH, now += ADMISSION_INTERVAL_US, true);
    assert_true(a.classes[ADMISSION_SEARCH].limit == 4);
}

/* ---- a queueing system in virtual time ---- */

static double uniform(uint64_t *random)
{
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    return (double)((*random * 0x2545f4914f6cdd1dull) >> 11) / 9007199254740992.0;
}

static double exponential(uint64_t *random, double mean)
{
    return -mean * log(1 - uniform(random));
}

struct outcome {
    double p99_ms, refused; /* of those accepted, from arrival to end; share of all */
    double done;            /* a second */
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

#define SERVERS 2
#define MEAN_US 5000.0 /* of the work: 400 requests a second are all that two can do */
#define ARRIVALS 40000
#define SETTLED_US 1000000 /* what came before is not in p99: the first interval is a burst */

/* Poisson arrivals at `rate` times what the servers can do, exponential work, both seeded. */
static struct outcome simulate(double rate, uint64_t seed)
{
    static double took[ARRIVALS];
    static uint64_t queue[ARRIVALS];
    struct admission_settings settings = plain(SERVERS);
    struct admission a;
    struct admission_refusal why;
    uint64_t random = seed * 0x9e3779b97f4a7c15ull | 1;
    size_t arrivals = 0, done = 0, measured = 0, refused = 0, head = 0, tail = 0;
    struct {
        bool busy;
        uint64_t end, began, came;
    } servers[SERVERS] = {0};
    uint64_t next = 0, now = 0;
    settings.classes[ADMISSION_SEARCH].queue = 1000;
    admission_init(&a, &settings);
    while (arrivals < ARRIVALS || a.classes[ADMISSION_SEARCH].at_work > 0) {
        int first = -1;
        for (int i = 0; i < SERVERS; i++)
            if (servers[i].busy && (first < 0 || servers[i].end < servers[first].end))
                first = i;
        uint64_t begin[SERVERS];
        int starts = 0;
        if (arrivals < ARRIVALS && (first < 0 || next <= servers[first].end)) {
            now = next;
            next += 1 + (uint64_t)exponential(&random, MEAN_US / SERVERS / rate);
            arrivals++;
            enum admission_verdict verdict =
                admission_arrive(&a, ADMISSION_SEARCH, now, now, now + 10000000, &why);
            if (verdict == ADMISSION_START)
                begin[starts++] = now;
            else if (verdict == ADMISSION_WAIT)
                queue[tail++] = now;
            else
                refused++;
        } else {
            now = servers[first].end;
            servers[first].busy = false;
            if (servers[first].came > SETTLED_US)
                took[measured++] = (double)(now - servers[first].came) / 1000;
            done++;
            admission_end(&a, ADMISSION_SEARCH, now, now - servers[first].began);
            while (admission_next(&a) != ADMISSION_NONE) {
                uint64_t came = queue[head++];
                if (admission_take(&a, ADMISSION_SEARCH, now, came, came + 10000000, true, &why))
                    begin[starts++] = came;
                else
                    refused++;
            }
        }
        for (int i = 0, k = 0; k < starts; i++) {
            if (servers[i].busy)
                continue;
            servers[i].busy = true;
            servers[i].began = now;
            servers[i].came = begin[k++];
            servers[i].end = now + 1 + (uint64_t)exponential(&random, MEAN_US);
        }
    }
    assert_int_equal(done + refused, ARRIVALS);
    qsort(took, measured, sizeof took[0], by_value);
    return (struct outcome){took[measured * 99 / 100], (double)refused / ARRIVALS,
                            (double)done * 1e6 / (double)now};
}

/* The knee: the highest of the rates at which no more than one in a hundred is refused. At three
 * times what the servers can do, and at ten times, those that are accepted take at most twice as
 * long at p99, the servers do as much as they can, and everything else was refused. */
static void three_times_too_much_is_refused_and_the_rest_is_quick(void **state)
{
    (void)state;
    const double capacity = SERVERS * 1e6 / MEAN_US;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct outcome knee = {0};
        for (double rate = 0.5; rate < 1.2; rate += 0.05) {
            struct outcome it = simulate(rate, seed);
            if (it.refused > 0.01)
                break;
            knee = it;
        }
        assert_true(knee.done > 0.6 * capacity);
        for (double rate = 3; rate <= 10; rate += 7) {
            struct outcome it = simulate(rate, seed);
            print_message("seed %d: at the knee %.0f/s, p99 %.1f ms; at %.0f/s %.0f/s, p99 %.1f "
                          "ms, %.1f %% refused\n",
                          (int)seed, knee.done, knee.p99_ms, rate * capacity, it.done, it.p99_ms,
                          100 * it.refused);
            assert_true(it.p99_ms <= 2 * knee.p99_ms);
            assert_true(it.done > 0.9 * capacity);
            assert_true(it.refused > 1 - 1 / rate - 0.05);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_as_slots_work_and_the_rest_waits),
        cmocka_unit_test(what_nobody_waits_for_is_dropped),
        cmocka_unit_test(who_would_be_too_late_is_refused_at_once),
        cmocka_unit_test(a_burst_may_wait_a_standing_queue_may_not),
        cmocka_unit_test(the_heavy_do_not_starve_the_cheap),
        cmocka_unit_test(writes_go_by_their_own_queue),
        cmocka_unit_test(what_stands_is_not_slow),
        cmocka_unit_test(memory_is_asked_back_of_writes_first),
        cmocka_unit_test(pressure_has_two_marks_for_each_way),
        cmocka_unit_test(slots_are_found_by_what_those_elsewhere_say),
        cmocka_unit_test(three_times_too_much_is_refused_and_the_rest_is_quick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
