/* Two interfaces of lwIP in one process, joined by two queues in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/timeouts.h"

#define BATCH 32
#define SMALL 64

static struct netif a, b;
static struct queue ab, ba;
static struct pattern pattern;
static struct tcp_pcb *client, *server;
static uint64_t received, sent, checked, packets, micros;
static int connected, client_ended, server_ended, server_read, client_read;
static double cpu_began, wall_began;

static double cpu(void) { return (double)clock() / CLOCKS_PER_SEC; }

static double wall(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void begin(void) {
  packets = 0;
  cpu_began = cpu();
  wall_began = wall();
}

static int over(uint64_t turns, double seconds) { return turns % 256 == 0 && cpu() - cpu_began >= seconds; }

static void print(uint64_t count) {
  printf("{\"count\":%llu,\"packets\":%llu,\"cpu\":%f,\"wall\":%f}\n", (unsigned long long)count,
         (unsigned long long)packets, cpu() - cpu_began, wall() - wall_began);
}

static size_t hand_over(struct queue *from, struct netif *to) {
  size_t n, count = 0;
  for (const uint8_t *p = queue_take(from, &n); p != NULL; p = queue_take(from, &n)) {
    receive(to, p, n);
    count++;
  }
  return count;
}

/* Both ways once; time passes, and where nothing moved it jumps to the next time-out. */
static void turn(void) {
  micros += 100;
  clock_ms = (uint32_t)(micros / 1000);
  sys_check_timeouts();
  if (client != NULL) tcp_output(client);
  size_t moved = hand_over(&ab, &b);
  if (server != NULL) tcp_output(server);
  moved += hand_over(&ba, &a);
  packets += moved;
  if (moved == 0) {
    u32_t sleep = sys_timeouts_sleeptime();
    if (sleep != SYS_TIMEOUTS_SLEEPTIME_INFINITE) micros += (uint64_t)sleep * 1000;
  }
}

static err_t server_data(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error) {
  (void)arg;
  (void)error;
  if (p == NULL) {
    server_ended = 1;
    return ERR_OK;
  }
  if (received < checked) {
    uint64_t at = received;
    for (struct pbuf *part = p; part != NULL; part = part->next) {
      if (!pattern_matches(&pattern, part->payload, part->len, at)) die("wrong octets");
      at += part->len;
    }
  }
  received += p->tot_len;
  server_read += p->tot_len;
  tcp_recved(pcb, p->tot_len);
  pbuf_free(p);
  return ERR_OK;
}

static err_t client_data(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error) {
  (void)arg;
  (void)error;
  if (p == NULL) {
    client_ended = 1;
    return ERR_OK;
  }
  client_read += p->tot_len;
  tcp_recved(pcb, p->tot_len);
  pbuf_free(p);
  return ERR_OK;
}

static void on_error(void *arg, err_t error) {
  if (error != ERR_CLSD) die("a connection was lost");
  *(struct tcp_pcb **)arg = NULL;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error) {
  (void)arg;
  if (error != ERR_OK) return error;
  server = pcb;
  tcp_arg(pcb, &server);
  tcp_err(pcb, on_error);
  tcp_recv(pcb, server_data);
  tcp_nagle_disable(pcb);
  return ERR_OK;
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t error) {
  (void)arg;
  (void)pcb;
  connected = error == ERR_OK;
  return ERR_OK;
}

static void set_up(void) {
  pattern_init(&pattern, 7);
  queue_init(&ab, BATCH);
  queue_init(&ba, BATCH);
  add_interface(&a, 1, &ab);
  add_interface(&b, 2, &ba);
  struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_V4);
  if (pcb == NULL || tcp_bind(pcb, IP4_ADDR_ANY, 80) != ERR_OK) die("no listener");
  tcp_bind_netif(pcb, &b);
  tcp_accept(tcp_listen(pcb), on_accept);
}

static void open_connection(void) {
  ip_addr_t to;
  client = tcp_new_ip_type(IPADDR_TYPE_V4);
  if (client == NULL || !ipaddr_aton("10.0.0.2", &to)) die("no control block");
  connected = client_ended = server_ended = client_read = server_read = 0;
  tcp_bind_netif(client, &a);
  tcp_arg(client, &client);
  tcp_err(client, on_error);
  tcp_recv(client, client_data);
  tcp_nagle_disable(client);
  if (tcp_connect(client, &to, 80, on_connected) != ERR_OK) die("connect fails");
  while (!connected || server == NULL) turn();
}

int bulk(double seconds, uint64_t check) {
  set_up();
  checked = check;
  open_connection();
  begin();
  for (uint64_t turns = 1;; turns++) {
    for (;;) {
      size_t n = tcp_sndbuf(client);
      if (n > 16384) n = 16384;
      if (n == 0 || tcp_write(client, pattern_from(&pattern, sent), (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK) break;
      sent += n;
    }
    turn();
    if (over(turns, seconds) && received >= checked) break;
  }
  print(received);
  return 0;
}

int small_segments(double seconds) {
  set_up();
  open_connection();
  begin();
  uint64_t segments = 0;
  for (uint64_t turns = 1;; turns++) {
    for (;;) {
      size_t before = ab.count;
      if (before == BATCH || tcp_write(client, pattern.block, SMALL, TCP_WRITE_FLAG_COPY) != ERR_OK) break;
      sent += SMALL;
      tcp_output(client);
      if (ab.count == before) break;
    }
    segments += ab.count;
    turn();
    if (over(turns, seconds)) break;
  }
  if (received + BATCH * SMALL < segments * SMALL) die("the segments did not carry the octets");
  print(segments);
  return 0;
}

int connections(double seconds) {
  set_up();
  begin();
  uint64_t count = 0;
  do {
    open_connection();
    struct tcp_pcb *waiting = client;
    if (tcp_write(client, "x", 1, TCP_WRITE_FLAG_COPY) != ERR_OK) die("no room");
    while (server_read == 0) turn();
    if (tcp_write(server, "y", 1, TCP_WRITE_FLAG_COPY) != ERR_OK) die("no room");
    while (client_read == 0) turn();
    tcp_shutdown(client, 0, 1);
    while (!server_ended) turn();
    tcp_shutdown(server, 0, 1);
    while (server != NULL || tcp_tw_pcbs != waiting) turn();
    /* Out of TIME-WAIT, as with the others. */
    client = NULL;
    tcp_abort(waiting);
    count++;
  } while (!over(count, seconds));
  print(count);
  return 0;
}
