#include "client/retry.h"

static void pay_in(struct retry_budget *budget, double tokens)
{
    budget->tokens += tokens;
    if (budget->tokens > RETRY_BURST)
        budget->tokens = RETRY_BURST;
}

void retry_init(struct retry_budget *budget, uint64_t now_ms)
{
    *budget = (struct retry_budget){RETRY_BURST, now_ms};
}

void retry_request(struct retry_budget *budget)
{
    pay_in(budget, RETRY_SHARE);
}

bool retry_take(struct retry_budget *budget, uint64_t now_ms)
{
    if (now_ms > budget->at_ms) {
        pay_in(budget, (double)(now_ms - budget->at_ms) * RETRY_A_SECOND / 1000);
        budget->at_ms = now_ms;
    }
    if (budget->tokens < 1)
        return false;
    budget->tokens -= 1;
    return true;
}

uint64_t retry_pause_ms(uint32_t retry_after_ms, uint32_t attempt, uint64_t random)
{
    uint64_t pause = retry_after_ms < RETRY_PAUSE_MIN_MS ? RETRY_PAUSE_MIN_MS : retry_after_ms;
    for (uint32_t i = 1; i < attempt && pause < RETRY_PAUSE_MAX_MS; i++)
        pause *= 2;
    if (pause > RETRY_PAUSE_MAX_MS)
        pause = RETRY_PAUSE_MAX_MS;
    return pause + random % (pause / 2 + 1);
}
