#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lwip/ip.h"
#include "lwip/ip6_addr.h"
#include "lwip/pbuf.h"

uint32_t clock_ms;

/*
 * Debian's library is built for threads of its own and the system's clock. These stand before its own
 * functions of the same names: one thread, a clock that is set, and chance that can be repeated.
 */
u32_t sys_now(void) { return clock_ms; }
void sys_check_core_locking(void) {}
void sys_lock_tcpip_core(void) {}
void sys_unlock_tcpip_core(void) {}
sys_prot_t sys_arch_protect(void) { return 0; }
void sys_arch_unprotect(sys_prot_t level) { (void)level; }

void die(const char *what) {
  fprintf(stderr, "lwip-peer: %s\n", what);
  exit(1);
}

void queue_init(struct queue *q, size_t slots) {
  q->slots = slots;
  q->head = q->count = 0;
  q->lengths = calloc(slots, sizeof *q->lengths);
  q->packets = calloc(slots, sizeof *q->packets);
  if (!q->lengths || !q->packets) die("no memory");
}

uint8_t *queue_room(struct queue *q) {
  return q->count == q->slots ? NULL : q->packets[(q->head + q->count) & (q->slots - 1)];
}

void queue_added(struct queue *q, size_t length) {
  q->lengths[(q->head + q->count) & (q->slots - 1)] = (uint16_t)length;
  q->count++;
}

const uint8_t *queue_take(struct queue *q, size_t *length) {
  if (q->count == 0) return NULL;
  size_t at = q->head;
  q->head = (q->head + 1) & (q->slots - 1);
  q->count--;
  *length = q->lengths[at];
  return q->packets[at];
}

void pattern_init(struct pattern *p, uint32_t seed) {
  uint32_t x = seed;
  for (size_t i = 0; i < PERIOD; i++) {
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    p->block[i] = p->block[i + PERIOD] = (uint8_t)(x >> 8);
  }
}

const uint8_t *pattern_from(const struct pattern *p, uint64_t at) { return p->block + at % PERIOD; }

int pattern_matches(const struct pattern *p, const uint8_t *octets, size_t length, uint64_t at) {
  while (length > 0) {
    size_t n = length < PERIOD ? length : PERIOD;
    if (memcmp(pattern_from(p, at), octets, n) != 0) return 0;
    octets += n;
    length -= n;
    at += n;
  }
  return 1;
}

static err_t send_packet(struct netif *netif, struct pbuf *p) {
  struct queue *q = netif->state;
  uint8_t *room = queue_room(q);
  if (room == NULL) return ERR_MEM;
  if (p->tot_len > MTU) die("a packet above the MTU");
  pbuf_copy_partial(p, room, p->tot_len, 0);
  queue_added(q, p->tot_len);
  return ERR_OK;
}

static err_t send4(struct netif *netif, struct pbuf *p, const ip4_addr_t *to) {
  (void)to;
  return send_packet(netif, p);
}

static err_t send6(struct netif *netif, struct pbuf *p, const ip6_addr_t *to) {
  (void)to;
  return send_packet(netif, p);
}

static err_t set_up(struct netif *netif) {
  netif->name[0] = 'p';
  netif->name[1] = 'p';
  netif->mtu = netif->mtu6 = MTU;
  netif->output = send4;
  netif->output_ip6 = send6;
  return ERR_OK;
}

void add_interface(struct netif *netif, uint8_t host, struct queue *outgoing) {
  ip4_addr_t address, mask, gateway;
  IP4_ADDR(&address, 10, 0, 0, host);
  IP4_ADDR(&mask, 255, 255, 255, 0);
  IP4_ADDR(&gateway, 0, 0, 0, 0);
  if (!netif_add(netif, &address, &mask, &gateway, outgoing, set_up, ip_input)) die("no interface");
  netif_set_default(netif);
  netif_set_link_up(netif);
  netif_ip6_addr_set_parts(netif, 0, PP_HTONL(0xfd000000), 0, 0, PP_HTONL(host));
  netif_ip6_addr_set_state(netif, 0, IP6_ADDR_PREFERRED);
  netif_set_up(netif);
  /* There is no router to ask for. */
  netif->rs_count = 0;
}

void receive(struct netif *netif, const uint8_t *packet, size_t length) {
  struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)length, PBUF_RAM);
  if (p == NULL) die("no memory for a packet");
  pbuf_take(p, packet, (u16_t)length);
  if (netif->input(p, netif) != ERR_OK) pbuf_free(p);
}
