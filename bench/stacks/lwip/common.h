/* What both uses need: the clock, the link's queue, the pattern of the octets. See ../README.md. */
#ifndef PEER_COMMON_H
#define PEER_COMMON_H

#include <stddef.h>
#include <stdint.h>

#include "lwip/netif.h"
#include "lwip/tcp.h"

#define MTU 1400
/* A prime, so that no segment size divides it. */
#define PERIOD 65521

struct queue {
  size_t slots; /* a power of two */
  size_t head, count;
  uint16_t *lengths;
  uint8_t (*packets)[MTU];
};

struct pattern {
  /* Twice, so that PERIOD octets from anywhere lie in one piece. */
  uint8_t block[2 * PERIOD];
};

/* Milliseconds; lwIP reads it through sys_now. */
extern uint32_t clock_ms;

void die(const char *what);

void queue_init(struct queue *q, size_t slots);
/* A free slot at the end, or NULL; `queue_added` fills it. */
uint8_t *queue_room(struct queue *q);
void queue_added(struct queue *q, size_t length);
/* The oldest packet, or NULL; it is taken away, and good until the next one is added. */
const uint8_t *queue_take(struct queue *q, size_t *length);

void pattern_init(struct pattern *p, uint32_t seed);
const uint8_t *pattern_from(const struct pattern *p, uint64_t at);
int pattern_matches(const struct pattern *p, const uint8_t *octets, size_t length, uint64_t at);

/* An interface with 10.0.0.`host` and fd00::`host` that sends into `outgoing`. */
void add_interface(struct netif *netif, uint8_t host, struct queue *outgoing);
/* Hands a packet to lwIP. */
void receive(struct netif *netif, const uint8_t *packet, size_t length);

int interop(char **args);
int bulk(double seconds, uint64_t checked);
int small_segments(double seconds);
int connections(double seconds);

#endif
