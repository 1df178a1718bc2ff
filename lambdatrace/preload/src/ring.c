// SPDX-License-Identifier: Apache-2.0
// ---- records to the agent (ring.c)
//
// Slots of one size. Whoever has one to fill reserves it by moving the head on; the slot's header has
// been marked as busy by the agent, which marks it again when it has taken the record out. So a slot
// that was reserved and is not written yet can never be taken for an older record.

static void *reserve(u64 *head, u64 *tail, u32 at, u32 bytes, u32 stride)
{
    u64 position = LOAD(head);
    do {
        if (position + stride - LOAD_ACQUIRE(tail) > bytes)
            return 0;
    } while (!__atomic_compare_exchange_n(head, &position, position + stride, 1,
                                          __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    u32 *header = (u32 *)(map_base + at + position % bytes);
    // Whose it is, should it never be finished.
    STORE(header, MAP_BUSY | own_pid);
    return header;
}

#define NEXT_LINES 192 // bytes behind a slot: two cache lines, wherever in one it ends

// The agent's CPU has had the next slots' cache lines since it has emptied them. They are asked back now,
// not when the next record is written: a write that waits would be waited for in the kernel's next lock.
static inline void publish(u32 *header, u32 length)
{
    STORE_RELEASE(header, length);
    u8 *end = (u8 *)header + MAP_RING_HEADER_BYTES + length;
    for (u32 at = 0; at < NEXT_LINES; at += 64)
        __builtin_prefetch(end + at, 1);
}

// Writes a byte into the agent's pipe. The descriptor lives for a moment only: no program can close it.
static int knock(void)
{
    long fd = syscall(SYS_openat, AT_FDCWD, wake_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno;
    syscall(SYS_write, fd, "", 1);
    syscall(SYS_close, fd);
    return 0;
}

// A program that has no descriptor left has to be let go on all the same: the agent would hold it up
// until its deadline. A child has a table of its own, and room in it once it closes one. It makes
// system calls only, and ends without a signal to anybody who waits for children.
static void knock_from_a_child(void)
{
    long child = syscall(SYS_clone, CLONE_VFORK, 0, 0, 0, 0);
    if (!child) {
        syscall(SYS_close, 0);
        knock();
        syscall(SYS_exit_group, 0);
    }
    if (child > 0)
        syscall(SYS_wait4, child, 0, __WALL, 0);
}

static void wake(void)
{
    if (UNLIKELY(knock() == EMFILE))
        knock_from_a_child();
}

// Once when the waiting bytes pass `most`, and at each further half of it.
static int passes(u64 waiting, u32 most, u32 stride)
{
    return most && waiting >= most && waiting % (most / 2) < stride;
}

static void emit(const void *record, u32 size)
{
    u32 stride = MAP_RING_HEADER_BYTES + EVENT_BYTES;
    u32 *header = reserve(&map->events_head, &map->events_tail, map->events_at, map->events_bytes,
                          stride);
    if (!header) {
        ADD(&map->lost_events, 1);
        return;
    }
    u8 *into = (u8 *)header + MAP_RING_HEADER_BYTES;
    memcpy(into, record, size);
    memset(into + size, 0, EVENT_BYTES - size);
    publish(header, EVENT_BYTES);
    u64 waiting = LOAD(&map->events_head) - LOAD(&map->events_tail);
    if (UNLIKELY(passes(waiting, map->events_wake, stride)))
        wake();
}

static void emit_call(const struct syscall_record *record)
{
    u32 stride = MAP_RING_HEADER_BYTES + sizeof(*record);
    u32 *header = reserve(&map->syscalls_head, &map->syscalls_tail, map->syscalls_at,
                          map->syscalls_bytes, stride);
    if (!header) {
        ADD(&map->lost_syscalls, 1);
        return;
    }
    memcpy((u8 *)header + MAP_RING_HEADER_BYTES, record, sizeof(*record));
    publish(header, sizeof(*record));
    u64 waiting = LOAD(&map->syscalls_head) - LOAD(&map->syscalls_tail);
    if (UNLIKELY(passes(waiting, map->syscalls_wake, stride)))
        wake();
}
