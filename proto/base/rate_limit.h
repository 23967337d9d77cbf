/* Rate limit: work that comes in portions is spread over time so that it stays below so many bytes
 * a second. Pure: the time comes from the caller.
 *
 * Of the two ways to write a token bucket this is the one that keeps a time rather than a number
 * of tokens (the "virtual scheduling" of ITU-T I.371): `paid_ns` is when everything that was taken
 * so far will have been paid for at the given rate. Who takes a portion does its work and then
 * waits until that time. Nothing is saved up: after a rest the first portion is paid for like any
 * other. So in t seconds at most rate * t bytes are taken, and one portion for each of those that
 * take; and they get their turns in the order in which they took.
 *
 * Not thread-safe: the owner locks.
 */
#ifndef QUIRE_BASE_RATE_LIMIT_H
#define QUIRE_BASE_RATE_LIMIT_H

#include <stdint.h>

struct rate_limit {
    uint64_t bytes_per_second; /* at least 1 */
    uint64_t paid_ns;          /* on the caller's clock; 0 to begin with */
};

/* Takes `bytes` at the time `now_ns`; returns until when to wait: now_ns or later. A time that does
 * not fit is UINT64_MAX. */
uint64_t rate_limit_take(struct rate_limit *limit, uint64_t bytes, uint64_t now_ns);

#endif
