// Lets User Mode Linux 6.1 run on CPUs with AMX; lab.ts preloads it into linux.uml there.
//
// That kernel keeps 2.7 kB of floating point state for each of its processes, and the host wants all of
// its own xstate back from PTRACE_SETREGSET (11 kB with AMX) or says EFAULT, upon which the guest panics.
// What comes behind those 2.7 kB is AMX alone, which no guest process may use (xstate_bv keeps its bits
// clear), so zeros stand in for it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static long (*next)(int, ...);
static char full[65536]; // static: a kernel stack of the guest has 16 kB, and it has one CPU
static size_t size;      // of the host's xstate, once known

__attribute__((constructor)) static void find(void) { next = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace"); }

long ptrace(enum __ptrace_request request, ...) {
  va_list ap;
  va_start(ap, request);
  int pid = va_arg(ap, int);
  void *addr = va_arg(ap, void *);
  void *data = va_arg(ap, void *);
  va_end(ap);
  const struct iovec *given = data;
  if (request != PTRACE_SETREGSET || (long)addr != NT_X86_XSTATE || given->iov_len >= sizeof full)
    return next(request, pid, addr, data);
  if (size == 0) {
    struct iovec all = {full, sizeof full};
    if (next(PTRACE_GETREGSET, pid, addr, &all) == 0) size = all.iov_len;
    memset(full, 0, sizeof full);
  }
  if (given->iov_len >= size) return next(request, pid, addr, data);
  memcpy(full, given->iov_base, given->iov_len);
  struct iovec padded = {full, size};
  return next(request, pid, addr, &padded);
}
