// SPDX-License-Identifier: Apache-2.0
// The preloaded library: stands before libc's functions in the processes of one Lambda function and
// writes down, in a mapping that it shares with the agent, what goes over their sockets.
//
// One translation unit, so that all but the hooks themselves is invisible and can be inlined:
//   shared.c    the mapping, and what it is to be trusted for
//   ring.c      records, from any thread, to the agent
//   process.c   processes, branches, and the figures of who serves an execution
//   table.c     descriptor -> connection
//   text.c      what the agent reads: DNS, TLS handshakes
//   edges.c     the runtime's own HTTP
//   stream.c    what a transfer means for its connection
//   waits.c     calls that waited
//   names.c     getaddrinfo and its kin
//   hooks_*.c   libc's functions, by family
//
// Rules. A hook calls the real function once, with what it was given, and returns what that
// returned, errno included. It takes no lock, allocates nothing and waits for nothing. What does not
// fit is counted in the mapping and left alone. Without the mapping there is nothing here but a
// jump to the real function.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "layout.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64; // as __u64 is
typedef int32_t s32;
typedef long long s64;

#define HOOK __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#include "shared.c"
#include "ring.c"
#include "process.c"
#include "table.c"
#include "text.c"
#include "edges.c"
#include "stream.c"
#include "waits.c"
#include "names.c"
#include "hooks_sockets.c"
#include "hooks_transfers.c"
#include "hooks_waits.c"
#include "hooks_processes.c"
