// SPDX-License-Identifier: Apache-2.0
// ---- how processes begin and end (hooks_processes.c)

REAL(fork);
static void (*real__exit)(int);
static void (*real__Exit)(int);

// What is known of this process's own connections ends with it.
static void finish_own(u64 now)
{
    for (u32 number = 0; number < map->connections; number++) {
        struct connection *c = connection_at(number);
        if (LOAD(&c->slot.state) == SLOT_OPEN && c->slot.owner == own_pid)
            finish_connection(c, now);
    }
}

// The process ends in an orderly way.
static void end_process(int code)
{
    int kept;
    if (!own || !enter(&kept))
        return;
    if (!is_other_process() && !(own->flags & PROCESS_ENDED)) {
        u64 now = now_ns();
        own->exit_code = (u32)code & 0xff;
        sum_up(now);
        own->flags |= PROCESS_ENDED;
        tell_edge(EDGE_PROCESS_EXIT, now, own->name, sizeof(own->name));
        finish_own(now);
        // A branch's figures outlive its first process: the agent lets go of those.
        if (!(own->flags & PROCESS_ROOT))
            STORE_RELEASE(&own->pid, 0);
        own = 0;
    }
    leave(kept);
    map = 0;
}

static void at_exit(int code, void *nothing)
{
    (void)nothing;
    end_process(code);
}

HOOK void _exit(int code)
{
    if (!real__exit)
        real__exit = (void (*)(int))dlsym(RTLD_NEXT, "_exit");
    if (map && !is_other_process())
        end_process(code);
    real__exit(code);
    __builtin_unreachable();
}

HOOK void _Exit(int code)
{
    if (!real__Exit)
        real__Exit = (void (*)(int))dlsym(RTLD_NEXT, "_Exit");
    if (map && !is_other_process())
        end_process(code);
    real__Exit(code);
    __builtin_unreachable();
}

HOOK pid_t fork(void)
{
    u32 parent = own_pid;
    pid_t pid = CALL(fork)();
    int kept;
    if (pid == 0 && map) {
        me.inside = 0;
        if (enter(&kept)) {
            become_child(parent);
            leave(kept);
        }
    }
    return pid;
}

// Descriptors that exec() has left open belong to this program; the others are closed.
static void take_over(void)
{
    u64 now = now_ns();
    for (u32 number = 0; number < map->connections; number++) {
        struct connection *c = connection_at(number);
        if (LOAD(&c->slot.state) != SLOT_OPEN || c->slot.owner != own_pid)
            continue;
        if (syscall(SYS_fcntl, c->record.fd, F_GETFD) < 0) {
            finish_connection(c, now);
            continue;
        }
        if (c->slot.connecting)
            ADD(&connecting, 1);
        c->slot.descriptors = 1;
        u8 kind = c->record.protocol == PROTOCOL_TCP ? STREAM : DATAGRAM;
        know_descriptor(c->record.fd, kind, number + 1, c->record.id, c->slot.socket);
    }
}

__attribute__((constructor)) static void begin(void)
{
    int kept = errno;
    FIND(send), FIND(sendto), FIND(sendmsg), FIND(sendmmsg), FIND(recv), FIND(recvfrom);
    FIND(recvmsg), FIND(recvmmsg), FIND(sendfile), FIND(sendfile64), FIND(read), FIND(write);
    FIND(readv), FIND(writev), FIND(socket), FIND(connect), FIND(close), FIND(shutdown);
    FIND(getsockopt), FIND(dup), FIND(dup2), FIND(dup3), FIND(accept), FIND(accept4), FIND(fclose);
    FIND(poll), FIND(ppoll), FIND(select), FIND(pselect), FIND(epoll_wait), FIND(epoll_pwait);
    FIND(nanosleep), FIND(clock_nanosleep), FIND(usleep), FIND(sleep), FIND(pause), FIND(flock);
    FIND(fsync), FIND(fdatasync), FIND(waitpid), FIND(wait4), FIND(waitid), FIND(fork);
    FIND(getaddrinfo), FIND(gethostbyname), FIND(gethostbyname2), FIND(gethostbyname_r);
    FIND(gethostbyname2_r);
    real__exit = (void (*)(int))dlsym(RTLD_NEXT, "_exit");
    real__Exit = (void (*)(int))dlsym(RTLD_NEXT, "_Exit");
    attach();
    if (map) {
        me.inside = 1;
        mark_memory();
        if (enter_process((u32)getppid(), 0)) {
            take_over();
            on_exit(at_exit, 0);
        }
        me.inside = 0;
        if (!own)
            map = 0; // no room: nothing of this process can be told
    }
    errno = kept;
}
