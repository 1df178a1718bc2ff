// SPDX-License-Identifier: Apache-2.0
// ---- the mapping, real functions, the thread at hand (shared.c)

#define MAP_VARIABLE "LAMBDATRACE_PRELOAD_MAP"
#define WAKE_SUFFIX ".wake"
#define MOST_PATH 200
#define MOST_MAP_BYTES (64U << 20)

static struct map_header *map; // 0: nothing is recorded
static u8 *map_base;
static char wake_path[MOST_PATH];

// What is known of the thread at hand. Initial-exec: no function call, and no allocation when it is
// first touched.
struct thread {
    u32 tid;
    u32 sleeps;    // how often it may have slept
    u8 inside;     // it is at work in here: a signal's handler may have come in between
    u8 serves;     // it was given the execution that is under way
};
static __thread struct thread me __attribute__((tls_model("initial-exec")));

#define LOAD(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define STORE_RELEASE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define ADD(p, v) __atomic_fetch_add(p, v, __ATOMIC_RELAXED)

// The real function behind a hook. dlsym() is called when the library is loaded, or at the first
// call where somebody's constructor is earlier.
#define REAL(name) static __typeof__(&name) real_##name
#define FIND(name) (real_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(name) (LIKELY(real_##name) ? real_##name : FIND(name))

static inline u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000ULL + (u64)t.tv_nsec;
}

static inline u64 clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t))
        return 0;
    return (u64)t.tv_sec * 1000000000ULL + (u64)t.tv_nsec;
}

static inline u32 this_thread(void)
{
    if (!me.tid)
        me.tid = (u32)syscall(SYS_gettid);
    return me.tid;
}

// Between these two nothing of what this thread calls is recorded, and errno is as it was.
static inline int enter(int *kept_errno)
{
    if (!map || me.inside)
        return 0;
    *kept_errno = errno;
    me.inside = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return 1;
}

static inline void leave(int kept_errno)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    me.inside = 0;
    errno = kept_errno;
}

// The agent made the file, as this very user, for this user alone, and it is one of this version's.
static int is_trusted(int fd, struct stat *found)
{
    return !fstat(fd, found) && S_ISREG(found->st_mode) && found->st_uid == geteuid()
        && !(found->st_mode & 077) && found->st_size >= MAP_HEADER_BYTES
        && found->st_size <= MOST_MAP_BYTES;
}

static int fits(const struct map_header *h, u64 size)
{
    u64 processes_end = (u64)h->processes_at + (u64)h->processes * sizeof(struct process_slot);
    u64 stride = sizeof(struct connection_slot) + EVENT_BYTES;
    u64 connections_end = (u64)h->connections_at + (u64)h->connections * stride;
    u64 event = MAP_RING_HEADER_BYTES + EVENT_BYTES;
    u64 call = MAP_RING_HEADER_BYTES + sizeof(struct syscall_record);
    return h->magic == MAP_MAGIC && h->version == MAP_VERSION && h->bytes == size
        && h->processes_at >= sizeof(*h) && processes_end <= size
        && h->connections_at >= sizeof(*h) && connections_end <= size
        && h->processes && h->connections && h->events_bytes >= event && h->syscalls_bytes >= call
        && !(h->events_bytes % event) && !(h->syscalls_bytes % call)
        && h->events_at >= sizeof(*h) && (u64)h->events_at + h->events_bytes <= size
        && h->syscalls_at >= sizeof(*h) && (u64)h->syscalls_at + h->syscalls_bytes <= size;
}

// Maps the file that the environment names. On anything unexpected nothing is recorded.
static void attach(void)
{
    const char *path = secure_getenv(MAP_VARIABLE);
    size_t length = path ? strnlen(path, MOST_PATH) : 0;
    if (!length || length + sizeof(WAKE_SUFFIX) > MOST_PATH)
        return;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    struct stat found;
    void *mapped = MAP_FAILED;
    if (is_trusted((int)fd, &found))
        mapped = mmap(0, (size_t)found.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
    syscall(SYS_close, fd);
    if (mapped == MAP_FAILED)
        return;
    if (!fits(mapped, (u64)found.st_size)) {
        munmap(mapped, (size_t)found.st_size);
        return;
    }
    memcpy(wake_path, path, length);
    memcpy(wake_path + length, WAKE_SUFFIX, sizeof(WAKE_SUFFIX));
    map_base = mapped;
    map = mapped;
}

static u32 own_pid;
