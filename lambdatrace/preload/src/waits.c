// SPDX-License-Identifier: Apache-2.0
// ---- calls that waited (waits.c)

// A call that took less has not gone to sleep, or not worth telling: a switch and back takes 5 µs and
// more. ns
#define LEAST_WAIT 20000

// A call that may wait, from its beginning to its end.
struct call {
    u64 started;
    u32 connection; // record's id, 0: none
    u8 op;
    u8 waits;
};

static inline void begin_call(struct call *call, u8 op, u8 waits, int fd, u32 connection)
{
    call->started = now_ns();
    call->connection = connection;
    call->op = op;
    call->waits = waits;
    if (UNLIKELY(me.serves) && branch) {
        branch->op = op;
        branch->waits = waits;
        branch->connection = connection;
        branch->fd = (u32)fd;
        STORE_RELEASE(&branch->since, call->started);
    }
}

// What it waits for is known only now.
static void waits_for(struct call *call, u32 connection)
{
    call->connection = connection;
    if (me.serves && branch)
        branch->connection = connection;
}

static void tell_pause(const struct call *call, u64 now)
{
    if (!map->records_cpu || !may_tell(&branch->pauses, &branch->folded_pauses, map->most_pauses))
        return;
    struct pause_record r;
    memset(&r, 0, sizeof(r));
    r.kind = KIND_PAUSE;
    r.waits = call->waits;
    r.op = call->op;
    r.connection = call->connection;
    r.tgid = own_pid;
    r.tid = this_thread();
    r.branch = own->branch;
    r.started = call->started;
    r.ended = now;
    emit(&r, sizeof(r));
}

// It took until `now`: of whoever serves an execution that is a pause.
static inline void end_wait(const struct call *call, u64 now)
{
    u64 took = now - call->started;
    if (took >= LEAST_WAIT)
        me.sleeps += 1;
    if (LIKELY(!me.serves) || !branch)
        return;
    STORE(&branch->since, 0);
    if (took < LEAST_WAIT)
        return;
    add_idle(call->waits, took);
    if (took >= map->threshold)
        tell_pause(call, now);
}

static void path_of(int fd, u8 *path, u32 room)
{
    char link[32] = "/proc/self/fd/";
    char digits[12];
    u32 count = 0, at = 14;
    for (u32 rest = (u32)fd; count < sizeof(digits); rest /= 10) {
        digits[count++] = (char)('0' + rest % 10);
        if (rest < 10)
            break;
    }
    while (count)
        link[at++] = digits[--count];
    link[at] = 0;
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, room - 1);
    // Of what is no file (a pipe, a socket) the kernel tells no path.
    if (length <= 0 || path[0] != '/')
        memset(path, 0, room);
}

// A call that is no connection's ends: a record of its own if it waited longer than the threshold.
static void end_blocked(const struct call *call, int fd, const char *path, s64 result, u64 now)
{
    end_wait(call, now);
    u64 took = now - call->started;
    if (took < map->threshold || !own || !map->records_blocked
        || !may_tell(&branch->blocked, &branch->folded_blocked, map->most_blocked))
        return;
    struct blocked_record r;
    memset(&r, 0, sizeof(r));
    r.kind = KIND_BLOCKED;
    r.op = call->op;
    r.fd = fd;
    r.tgid = own_pid;
    r.tid = this_thread();
    r.branch = own->branch;
    r.result = (s32)result;
    r.started = call->started;
    r.ended = now;
    r.waited = took;
    if (path)
        memcpy(r.path, path, strnlen(path, sizeof(r.path) - 1));
    else if (fd >= 0 && (call->waits == WAITS_FILE || call->waits == WAITS_LOCK))
        path_of(fd, r.path, sizeof(r.path));
    emit(&r, sizeof(r));
}
