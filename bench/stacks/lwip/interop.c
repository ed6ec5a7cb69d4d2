/* One connection whose link is standard input and output and whose clock is the other side's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/timeouts.h"

enum { CONNECTED = 1, ENDED = 2, FINISHED = 4, GONE = 8, CORRUPT = 16, RESET = 32 };

static struct {
  struct tcp_pcb *pcb;
  struct tcp_pcb *listener;
  struct queue outgoing;
  struct pattern ours, theirs;
  uint64_t bytes, rate, pause, sent, received;
  /* Received, but the window is not open again. */
  uint64_t opened;
  int after, closing;
  uint8_t flags;
  /* When the reader may go on, milliseconds; 0 is never. */
  uint64_t wake, now;
} peer;

static err_t on_data(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error) {
  (void)arg;
  (void)pcb;
  (void)error;
  if (p == NULL) {
    peer.flags |= ENDED;
    return ERR_OK;
  }
  for (struct pbuf *part = p; part != NULL; part = part->next) {
    if (!pattern_matches(&peer.theirs, part->payload, part->len, peer.received)) peer.flags |= CORRUPT;
    peer.received += part->len;
  }
  pbuf_free(p);
  return ERR_OK;
}

/* lwIP has done away with the connection. */
static void on_error(void *arg, err_t error) {
  (void)arg;
  peer.pcb = NULL;
  /* After LAST-ACK it says ERR_CLSD, which is as it should be. */
  if (error != ERR_CLSD) peer.flags |= RESET;
}

static void adopt(struct tcp_pcb *pcb) {
  peer.pcb = pcb;
  tcp_recv(pcb, on_data);
  tcp_err(pcb, on_error);
  tcp_nagle_disable(pcb);
}

static err_t on_connected(void *arg, struct tcp_pcb *pcb, err_t error) {
  (void)arg;
  (void)pcb;
  if (error == ERR_OK) peer.flags |= CONNECTED;
  return ERR_OK;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error) {
  (void)arg;
  if (error != ERR_OK || pcb == NULL) return ERR_VAL;
  adopt(pcb);
  peer.flags |= CONNECTED;
  return ERR_OK;
}

static void start(int listens, int six, uint16_t port) {
  struct tcp_pcb *pcb = tcp_new_ip_type(six ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4);
  if (pcb == NULL) die("no control block");
  if (listens) {
    if (tcp_bind(pcb, six ? IP6_ADDR_ANY : IP4_ADDR_ANY, port) != ERR_OK) die("the port is taken");
    peer.listener = tcp_listen(pcb);
    tcp_accept(peer.listener, on_accept);
    return;
  }
  ip_addr_t to;
  if (!ipaddr_aton(six ? "fd00::1" : "10.0.0.1", &to)) die("not an address");
  adopt(pcb);
  if (tcp_connect(pcb, &to, port, on_connected) != ERR_OK) die("connect fails");
}

static int application(void) {
  int moved = 0;
  peer.wake = 0;
  if (peer.opened < peer.received && peer.now < peer.pause) {
    peer.wake = peer.pause;
  } else if (peer.opened < peer.received) {
    uint64_t until = peer.received;
    if (peer.rate > 0 && peer.now * peer.rate < until) until = peer.now * peer.rate;
    if (until > peer.opened) {
      uint64_t n = until - peer.opened;
      if (n > 0x8000) n = 0x8000;
      peer.opened += n;
      if (peer.pcb != NULL) tcp_recved(peer.pcb, (u16_t)n);
      moved = 1;
    }
    if (peer.opened < peer.received) peer.wake = peer.now + 1;
  }
  if (peer.pcb == NULL || !(peer.flags & CONNECTED) || peer.closing) return moved;
  if (peer.after && !(peer.flags & ENDED)) return moved;
  while (peer.sent < peer.bytes) {
    uint64_t n = peer.bytes - peer.sent;
    if (n > tcp_sndbuf(peer.pcb)) n = tcp_sndbuf(peer.pcb);
    if (n > 16384) n = 16384;
    if (n == 0 || tcp_write(peer.pcb, pattern_from(&peer.ours, peer.sent), (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK)
      break;
    peer.sent += n;
    moved = 1;
  }
  if (peer.sent == peer.bytes && tcp_shutdown(peer.pcb, 0, 1) == ERR_OK) {
    peer.closing = 1;
    moved = 1;
  }
  tcp_output(peer.pcb);
  return moved;
}

/* The state that lwIP's own lists show; the callbacks do not tell of TIME-WAIT. */
static void look(void) {
  if (peer.closing && (peer.flags & ENDED) && tcp_active_pcbs == NULL) {
    peer.flags |= FINISHED;
    peer.pcb = NULL;
  }
  int begun = peer.flags & (CONNECTED | RESET);
  if (begun && tcp_active_pcbs == NULL && tcp_tw_pcbs == NULL) peer.flags |= GONE;
}

static void say(uint8_t kind, const uint8_t *body, size_t length) {
  putchar_unlocked((int)((length + 1) >> 8));
  putchar_unlocked((int)((length + 1) & 0xff));
  putchar_unlocked(kind);
  if (fwrite(body, 1, length, stdout) != length) die("cannot write");
}

static void put64(uint8_t *to, uint64_t value) {
  for (int i = 0; i < 8; i++) to[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* All that happens at this instant; packets go out. */
static void turn(void) {
  int moved = 1;
  while (moved) {
    sys_check_timeouts();
    moved = application();
    size_t n;
    for (const uint8_t *p = queue_take(&peer.outgoing, &n); p != NULL; p = queue_take(&peer.outgoing, &n)) {
      say('P', p, n);
      moved = 1;
    }
  }
  look();
  uint32_t sleep = sys_timeouts_sleeptime();
  uint64_t next = sleep == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? UINT64_MAX : (peer.now + (sleep ? sleep : 1)) * 1000;
  if (peer.wake > 0 && peer.wake * 1000 < next) next = peer.wake * 1000;
  uint8_t status[25];
  put64(status, next);
  put64(status + 8, peer.sent);
  put64(status + 16, peer.received);
  status[24] = peer.flags;
  say('S', status, sizeof status);
  fflush(stdout);
}

/* listen|connect 4|6 PORT BYTES at-once|after RATE PAUSE WINDOW SEED; the window is the library's own. */
int interop(char **args) {
  static struct netif netif;
  uint32_t seed = (uint32_t)strtoul(args[8], NULL, 10);
  peer.bytes = strtoull(args[3], NULL, 10);
  peer.after = strcmp(args[4], "after") == 0;
  peer.rate = strtoull(args[5], NULL, 10);
  peer.pause = strtoull(args[6], NULL, 10);
  srand(seed);
  pattern_init(&peer.ours, seed);
  pattern_init(&peer.theirs, seed + 1);
  queue_init(&peer.outgoing, 4096);
  add_interface(&netif, 2, &peer.outgoing);

  static uint8_t message[65536];
  int begun = 0;
  for (;;) {
    uint8_t head[2];
    if (fread(head, 1, 2, stdin) != 2) return 0;
    size_t n = (size_t)head[0] << 8 | head[1];
    if (n == 0 || fread(message, 1, n, stdin) != n) die("a message cut short");
    switch (message[0]) {
      case 'P':
        receive(&netif, message + 1, n - 1);
        break;
      case 'A':
        if (peer.pcb != NULL) tcp_abort(peer.pcb);
        break;
      case 'T': {
        uint64_t at = 0;
        for (size_t i = 1; i < 9; i++) at = at << 8 | message[i];
        peer.now = at / 1000;
        clock_ms = (uint32_t)peer.now;
        if (!begun) start(strcmp(args[0], "listen") == 0, strcmp(args[1], "6") == 0, (uint16_t)atoi(args[2]));
        begun = 1;
        turn();
        break;
      }
      default:
        die("no such message");
    }
  }
}
