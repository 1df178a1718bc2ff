// SPDX-License-Identifier: Apache-2.0
// ---- calls that wait for something else than a connection's bytes (hooks_waits.c)

REAL(poll);
REAL(ppoll);
REAL(select);
REAL(pselect);
REAL(epoll_wait);
REAL(epoll_pwait);
static int (*real_epoll_pwait2)(int, struct epoll_event *, int, const struct timespec *,
                                const sigset_t *);
REAL(nanosleep);
REAL(clock_nanosleep);
REAL(usleep);
REAL(sleep);
REAL(pause);
REAL(flock);
REAL(fsync);
REAL(fdatasync);
REAL(waitpid);
REAL(wait4);
REAL(waitid);

// `result` as the record has it: what came back, or the errno below 0.
static void end_other(const struct call *call, int fd, s64 result, int is_poll)
{
    int kept;
    if (!enter(&kept))
        return;
    u64 now = now_ns();
    end_blocked(call, fd, 0, result == -1 ? -kept : result, now);
    if (is_poll && UNLIKELY(LOAD(&connecting)))
        look_at_connecting(now);
    leave(kept);
}

#define WAIT(op, waits, fd, is_poll, type, real)          \
    do {                                                  \
        if (UNLIKELY(!map || me.inside))                  \
            return real;                                  \
        struct call call;                                 \
        begin_call(&call, op, waits, fd, 0);              \
        type result = real;                               \
        end_other(&call, fd, (s64)result, is_poll);       \
        return result;                                    \
    } while (0)

HOOK int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    WAIT(OP_POLL, WAITS_POLL, -1, 1, int, CALL(poll)(fds, count, timeout));
}

HOOK int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
    if (room / sizeof(*fds) < count)
        abort();
    return poll(fds, count, timeout);
}

HOOK int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
               const sigset_t *mask)
{
    WAIT(OP_PPOLL, WAITS_POLL, -1, 1, int, CALL(ppoll)(fds, count, timeout, mask));
}

HOOK int select(int count, fd_set *reads, fd_set *writes, fd_set *others, struct timeval *timeout)
{
    WAIT(OP_SELECT, WAITS_POLL, -1, 1, int, CALL(select)(count, reads, writes, others, timeout));
}

HOOK int pselect(int count, fd_set *reads, fd_set *writes, fd_set *others,
                 const struct timespec *timeout, const sigset_t *mask)
{
    WAIT(OP_PSELECT6, WAITS_POLL, -1, 1, int,
         CALL(pselect)(count, reads, writes, others, timeout, mask));
}

HOOK int epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
    WAIT(OP_EPOLL_WAIT, WAITS_POLL, -1, 1, int, CALL(epoll_wait)(fd, events, most, timeout));
}

HOOK int epoll_pwait(int fd, struct epoll_event *events, int most, int timeout,
                     const sigset_t *mask)
{
    WAIT(OP_EPOLL_PWAIT, WAITS_POLL, -1, 1, int,
         CALL(epoll_pwait)(fd, events, most, timeout, mask));
}

HOOK int epoll_pwait2(int fd, struct epoll_event *events, int most, const struct timespec *timeout,
                      const sigset_t *mask)
{
    if (!real_epoll_pwait2)
        real_epoll_pwait2 = (__typeof__(real_epoll_pwait2))dlsym(RTLD_NEXT, "epoll_pwait2");
    if (!real_epoll_pwait2) {
        errno = ENOSYS;
        return -1;
    }
    WAIT(OP_EPOLL_PWAIT2, WAITS_POLL, -1, 1, int,
         real_epoll_pwait2(fd, events, most, timeout, mask));
}

HOOK int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    WAIT(OP_NANOSLEEP, WAITS_SLEEP, -1, 0, int, CALL(nanosleep)(wanted, left));
}

HOOK int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted,
                         struct timespec *left)
{
    if (UNLIKELY(!map || me.inside))
        return CALL(clock_nanosleep)(clock, flags, wanted, left);
    struct call call;
    begin_call(&call, OP_CLOCK_NANOSLEEP, WAITS_SLEEP, -1, 0);
    int error = CALL(clock_nanosleep)(clock, flags, wanted, left);
    end_other(&call, -1, -error, 0); // it returns its errno, and leaves that of the thread alone
    return error;
}

HOOK int usleep(useconds_t wanted)
{
    WAIT(OP_NANOSLEEP, WAITS_SLEEP, -1, 0, int, CALL(usleep)(wanted));
}

HOOK unsigned sleep(unsigned wanted)
{
    WAIT(OP_NANOSLEEP, WAITS_SLEEP, -1, 0, unsigned, CALL(sleep)(wanted));
}

HOOK int pause(void)
{
    WAIT(OP_PAUSE, WAITS_SLEEP, -1, 0, int, CALL(pause)());
}

HOOK int flock(int fd, int operation)
{
    WAIT(OP_FLOCK, WAITS_LOCK, fd, 0, int, CALL(flock)(fd, operation));
}

HOOK int fsync(int fd)
{
    WAIT(OP_FSYNC, WAITS_FILE, fd, 0, int, CALL(fsync)(fd));
}

HOOK int fdatasync(int fd)
{
    WAIT(OP_FDATASYNC, WAITS_FILE, fd, 0, int, CALL(fdatasync)(fd));
}

HOOK pid_t waitpid(pid_t pid, int *status, int options)
{
    WAIT(OP_WAIT4, WAITS_CHILD, -1, 0, pid_t, CALL(waitpid)(pid, status, options));
}

HOOK pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    WAIT(OP_WAIT4, WAITS_CHILD, -1, 0, pid_t, CALL(wait4)(pid, status, options, usage));
}

HOOK int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    WAIT(OP_WAITID, WAITS_CHILD, -1, 0, int, CALL(waitid)(type, id, info, options));
}
