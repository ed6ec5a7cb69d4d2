// A TCP connection of the kernel's, for tests and measurements.
//   peer [-6] [-b ADDRESS] [-g CONTROL] [-t MS] l|c ADDRESS PORT send|recv|pipe
// l waits for one connection ("listening" on standard error says when it does), c makes one, from ADDRESS if given.
// CONTROL is the congestion control (cubic). send writes until the other side resets or MS have passed; recv counts
// for MS from the start of the connection, then resets it; pipe joins standard input and output to the connection,
// ends its direction when standard input ends, and resets it on SIGUSR1. At the end a line of JSON on standard error.
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <sys/socket.h>

enum { PIECE = 1 << 18 };
static char buffer[PIECE];
static volatile sig_atomic_t reset_wanted;
static int64_t sent, received;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void fail(const char *what) {
  fprintf(stderr, "{\"failed\":\"%s: %s\"}\n", what, strerror(errno));
  exit(1);
}

static void on_signal(int unused) {
  (void)unused;
  reset_wanted = 1;
}

static socklen_t address(struct sockaddr_storage *a, int six, const char *host, int port) {
  memset(a, 0, sizeof *a);
  if (six) {
    struct sockaddr_in6 *s = (void *)a;
    s->sin6_family = AF_INET6;
    s->sin6_port = htons((uint16_t)port);
    if (inet_pton(AF_INET6, host, &s->sin6_addr) != 1) fail(host);
    return sizeof *s;
  }
  struct sockaddr_in *s = (void *)a;
  s->sin_family = AF_INET;
  s->sin_port = htons((uint16_t)port);
  if (inet_pton(AF_INET, host, &s->sin_addr) != 1) fail(host);
  return sizeof *s;
}

static int set(int s, int level, int name, int value) { return setsockopt(s, level, name, &value, sizeof value); }

static void abort_connection(int s) {
  struct linger l = {1, 0};
  setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof l);
}

static void report(int s, double ms, const char *end) {
  struct tcp_info i = {0};
  socklen_t n = sizeof i;
  getsockopt(s, IPPROTO_TCP, TCP_INFO, &i, &n);
  fprintf(stderr,
          "{\"end\":\"%s\",\"sent\":%lld,\"received\":%lld,\"ms\":%.1f,\"sack\":%s,\"timestamps\":%s,\"ecn\":%s,"
          "\"sendScale\":%d,\"receiveScale\":%d,\"retransmissions\":%u,\"dsacks\":%u,\"reordered\":%u,\"rtt\":%.1f,"
          "\"mss\":%u,\"pmtu\":%u,\"cwnd\":%u,\"ssthresh\":%u}\n",
          end, (long long)sent, (long long)received, ms, i.tcpi_options & TCPI_OPT_SACK ? "true" : "false",
          i.tcpi_options & TCPI_OPT_TIMESTAMPS ? "true" : "false", i.tcpi_options & TCPI_OPT_ECN ? "true" : "false",
          i.tcpi_options & TCPI_OPT_WSCALE ? i.tcpi_snd_wscale : -1,
          i.tcpi_options & TCPI_OPT_WSCALE ? i.tcpi_rcv_wscale : -1, i.tcpi_total_retrans, i.tcpi_dsack_dups,
          i.tcpi_reord_seen, i.tcpi_rtt / 1e3, i.tcpi_snd_mss, i.tcpi_pmtu, i.tcpi_snd_cwnd, i.tcpi_snd_ssthresh);
}

static const char *send_for(int s, double until) {
  for (size_t i = 0; i < PIECE; i++) buffer[i] = (char)(i * 31 + (i >> 8));
  while (now() < until) {
    ssize_t w = send(s, buffer, PIECE, MSG_NOSIGNAL);
    if (w < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (w < 0) return errno == ECONNRESET || errno == EPIPE ? "reset" : strerror(errno);
    sent += w;
  }
  return "time";
}

static const char *receive_for(int s, double until) {
  for (;;) {
    double left = until - now();
    struct pollfd p = {.fd = s, .events = POLLIN};
    if (left <= 0) return "time";
    if (poll(&p, 1, (int)left + 1) <= 0) continue;
    if (now() >= until) return "time";
    ssize_t r = recv(s, buffer, PIECE, 0);
    if (r < 0 && errno != EINTR) return errno == ECONNRESET ? "reset" : strerror(errno);
    if (r == 0) return "end";
    if (r > 0) received += r;
  }
}

// Both directions in one loop; what is read from one side is written whole before the next is read.
static const char *join(int s) {
  static char out[PIECE];
  size_t held = 0, at = 0;
  int in_open = 1, net_open = 1;
  while (in_open || net_open || held > at) {
    struct pollfd p[2] = {{.fd = in_open && held == at ? 0 : -1, .events = POLLIN},
                          {.fd = s, .events = (short)((net_open ? POLLIN : 0) | (held > at ? POLLOUT : 0))}};
    if (reset_wanted) return "told";
    if (poll(p, 2, 100) < 0 && errno != EINTR) fail("poll");
    if (p[0].revents) {
      ssize_t r = read(0, out, PIECE);
      if (r > 0) {
        held = (size_t)r;
        at = 0;
      } else if (r == 0) {
        in_open = 0;
        shutdown(s, SHUT_WR);
      }
    }
    if (p[1].revents & (POLLOUT | POLLERR | POLLHUP) && held > at) {
      ssize_t w = send(s, out + at, held - at, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (w > 0) at += (size_t)w, sent += w;
      else if (w < 0 && errno != EAGAIN && errno != EINTR) return errno == ECONNRESET || errno == EPIPE ? "reset" : strerror(errno);
    }
    if (p[1].revents & (POLLIN | POLLERR | POLLHUP) && net_open) {
      ssize_t r = recv(s, buffer, PIECE, MSG_DONTWAIT);
      if (r < 0 && errno != EAGAIN && errno != EINTR) return errno == ECONNRESET ? "reset" : strerror(errno);
      if (r == 0) {
        net_open = 0;
        close(1);
      }
      for (ssize_t done = 0; done < r;) {
        ssize_t w = write(1, buffer + done, (size_t)(r - done));
        if (w < 0 && errno == EINTR) {
          if (reset_wanted) return "told";
          continue;
        }
        if (w < 0) return "reader gone";
        done += w;
      }
      if (r > 0) received += r;
    }
  }
  return "end";
}

int main(int argc, char **argv) {
  struct sockaddr_storage a, from;
  const char *bound = NULL, *control = "cubic", *end;
  int six = 0, ms = 60000, o, s;
  while ((o = getopt(argc, argv, "6b:g:t:")) > 0) {
    if (o == '6') six = 1;
    else if (o == 'b') bound = optarg;
    else if (o == 'g') control = optarg;
    else if (o == 't') ms = atoi(optarg);
    else return 2;
  }
  if (argc - optind != 4) return 2;
  char **v = argv + optind;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sigaction act = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &act, NULL);
  signal(SIGPIPE, SIG_IGN);
  socklen_t length = address(&a, six, v[1], atoi(v[2]));
  s = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  if (s < 0) fail("socket");
  if (setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, control, (socklen_t)strlen(control)) < 0) fail(control);
  set(s, IPPROTO_TCP, TCP_NODELAY, 1);
  set(s, SOL_SOCKET, SO_REUSEADDR, 1);
  if (v[0][0] == 'l') {
    int l = s;
    if (bind(l, (void *)&a, length) < 0) fail("bind");
    if (listen(l, 1) < 0) fail("listen");
    fprintf(stderr, "listening\n");
    while ((s = accept(l, NULL, NULL)) < 0)
      if (errno != EINTR) fail("accept");
    close(l);
  } else {
    if (bound != NULL) {
      socklen_t n = address(&from, six, bound, 0);
      if (bind(s, (void *)&from, n) < 0) fail(bound);
    }
    if (connect(s, (void *)&a, length) < 0) fail("connect");
  }
  double start = now();
  // A sender that nobody listens to any more must not wait for ever in send().
  struct timeval patience = {1, 0};
  setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (strcmp(v[3], "send") == 0) end = send_for(s, start + ms);
  else if (strcmp(v[3], "recv") == 0) end = receive_for(s, start + ms);
  else end = join(s);
  report(s, now() - start, end);
  if (strcmp(end, "end") != 0) abort_connection(s);
  close(s);
  return 0;
}
