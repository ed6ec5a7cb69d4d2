// A TUN device of the namespace that this process runs in, as frames on standard input and output: two octets of
// length (big endian), then the packet. A stream, so nothing is lost between the device and the reader. It ends with
// its standard input.
//   tun NAME
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>
#include <net/if.h>
#include <linux/if_tun.h>

enum { BATCH = 1 << 16, LARGEST = 65535 };
static int device;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void write_all(const unsigned char *b, size_t n) {
  while (n > 0) {
    ssize_t w = write(1, b, n);
    if (w < 0 && errno == EINTR) continue;
    if (w <= 0) exit(0);
    b += w;
    n -= (size_t)w;
  }
}

// Takes what is there, up to a batch, and hands it on with one call.
static void *outwards(void *unused) {
  static unsigned char b[BATCH + LARGEST + 2];
  struct pollfd p = {.fd = device, .events = POLLIN};
  for (;;) {
    size_t n = 0;
    while (n < BATCH) {
      ssize_t r = read(device, b + n + 2, LARGEST);
      if (r <= 0) {
        if (r < 0 && errno == EINTR) continue;
        if (r < 0 && (errno == EAGAIN || errno == EIO)) break; // EIO: the device is down
        fail("read from the device");
      }
      b[n] = (unsigned char)(r >> 8);
      b[n + 1] = (unsigned char)r;
      n += (size_t)r + 2;
    }
    if (n > 0) write_all(b, n);
    else if (poll(&p, 1, -1) < 0 && errno != EINTR) fail("poll");
    else if (p.revents & POLLERR) usleep(1000);
  }
  return unused;
}

int main(int argc, char **argv) {
  static unsigned char b[1 << 18];
  size_t held = 0;
  struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  pthread_t thread;
  if (argc != 2) return 2;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) fail("/dev/net/tun");
  strncpy(r.ifr_name, argv[1], IFNAMSIZ - 1);
  if (ioctl(device, TUNSETIFF, &r) < 0) fail("TUNSETIFF");
  // An empty frame says that the device is there.
  write_all((const unsigned char *)"\0", 2);
  if (pthread_create(&thread, NULL, outwards, NULL) != 0) fail("pthread_create");
  for (;;) {
    ssize_t n = read(0, b + held, sizeof b - held);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return 0;
    held += (size_t)n;
    size_t at = 0;
    while (held - at >= 2) {
      size_t length = (size_t)b[at] << 8 | b[at + 1];
      if (held - at - 2 < length) break;
      // A packet that the kernel does not want (not IP, device down) is its business.
      if (length > 0 && write(device, b + at + 2, length) < 0 && errno == EBADFD) fail("write to the device");
      at += length + 2;
    }
    memmove(b, b + at, held - at);
    held -= at;
  }
}
