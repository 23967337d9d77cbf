/* Control: lets the controller (controller.h) act; see control.c. */
#ifndef QUIRE_COORDINATOR_CONTROL_H
#define QUIRE_COORDINATOR_CONTROL_H

#include "coordinator/coordinator.h"

#define CONTROL_TICK_MS 50

/* Once the coordinator serves. */
void control_start(struct coordinator *coordinator);
void control_stop(struct coordinator *coordinator);
/* Something happened that the controller may want to answer with a change of the map. */
void control_run(struct coordinator *coordinator);

#endif
