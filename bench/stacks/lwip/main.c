/* lwIP as the other end of a link (`interop`) and as what the stack is compared with: see ../README.md. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "lwip/init.h"

static const char usage[] =
    "usage: lwip-peer interop listen|connect 4|6 PORT BYTES at-once|after RATE PAUSE WINDOW SEED\n"
    "       lwip-peer bulk WINDOW SECONDS CHECKED | small WINDOW SECONDS | connect WINDOW SECONDS\n";

int main(int argc, char **argv) {
  lwip_init();
  if (argc == 11 && strcmp(argv[1], "interop") == 0) return interop(argv + 2);
  if (argc >= 4 && strcmp(argv[1], "interop") != 0 && strtoull(argv[2], NULL, 10) != TCP_WND)
    die("the library was built for one window only, 65535");
  if (argc == 5 && strcmp(argv[1], "bulk") == 0) return bulk(atof(argv[3]), strtoull(argv[4], NULL, 10));
  if (argc == 4 && strcmp(argv[1], "small") == 0) return small_segments(atof(argv[3]));
  if (argc == 4 && strcmp(argv[1], "connect") == 0) return connections(atof(argv[3]));
  fputs(usage, stderr);
  return 2;
}
