/* Time. Monotonic for intervals and deadlines, wall clock for people. Any thread. */
#ifndef QUIRE_BASE_CLOCK_H
#define QUIRE_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_ns(void);      /* monotonic */
uint64_t clock_us(void);      /* monotonic */
uint64_t clock_ms(void);      /* monotonic */
uint64_t clock_wall_ms(void); /* since 1970 */

#endif
