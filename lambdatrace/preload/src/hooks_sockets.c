// SPDX-License-Identifier: Apache-2.0
// ---- sockets: how they begin and end (hooks_sockets.c)

#define TYPE_MASK 0xf // of socket()'s type: SOCK_CLOEXEC and SOCK_NONBLOCK stand above

// A call's own record, at level `syscalls`.
static void tell_call(u8 op, int fd, u32 connection, s64 result, u64 started, u64 now)
{
    struct syscall_record r = {0};
    r.kind = KIND_SYSCALL;
    r.op = op;
    r.connection = connection;
    r.tgid = own_pid;
    r.tid = this_thread();
    r.fd = fd;
    r.result = (s32)result;
    r.started = started;
    r.duration = now - started;
    emit_call(&r);
}

static int is_ended_by_peer(const struct connection *c)
{
    return c->record.flags & (CONNECTION_PEER_CLOSED | CONNECTION_RESET);
}

// One descriptor less that leads to a connection.
static void forget_descriptor(int fd, int is_first, u64 now)
{
    struct descriptor *d = &descriptors[fd];
    struct connection *c = connection_of(d);
    u32 socket = d->socket;
    d->kind = 0;
    d->slot = 0;
    // A child closes what is still its parent's.
    for (u32 i = 0; c && c->slot.owner == own_pid && i < MOST_PEERS; i++) {
        u32 next = c->slot.next;
        if (__atomic_sub_fetch(&c->slot.descriptors, 1, __ATOMIC_ACQ_REL) == 0) {
            if (is_first && c->record.protocol == PROTOCOL_TCP) {
                note_kernel_truth(fd, c);
                if (c->record.state == IS_SYN_SENT)
                    c->record.flags |= CONNECTION_ABANDONED;
                if (c->record.state != IS_CLOSE && !is_ended_by_peer(c))
                    c->record.flags |= CONNECTION_SELF_CLOSED;
            }
            finish_connection(c, now);
        }
        if (c->record.protocol == PROTOCOL_TCP || !next || next > map->connections)
            return;
        c = connection_at(next - 1);
        if (LOAD(&c->slot.state) != SLOT_OPEN || c->slot.socket != socket)
            return;
    }
}

REAL(socket);
REAL(connect);
REAL(close);
REAL(shutdown);
REAL(getsockopt);
REAL(dup);
REAL(dup2);
REAL(dup3);
REAL(accept);
REAL(accept4);
REAL(fclose);
static int (*real_close_range)(unsigned, unsigned, int);
static int (*real_fcntl)(int, int, ...);
static int (*real_fcntl64)(int, int, ...);
static void (*real_closefrom)(int);

// Whatever was known of a descriptor that is fresh now was closed unseen.
static void is_fresh(int fd)
{
    if ((u32)fd < MOST_DESCRIPTORS && descriptors[fd].kind)
        forget_descriptor(fd, 0, now_ns());
}

HOOK int socket(int domain, int type, int protocol)
{
    int kept, fd = CALL(socket)(domain, type, protocol);
    if (fd < 0 || !enter(&kept))
        return fd;
    if (!is_other_process()) {
        is_fresh(fd);
        int kind = type & TYPE_MASK;
        if ((domain == AF_INET || domain == AF_INET6) && (kind == SOCK_STREAM || kind == SOCK_DGRAM))
            know_descriptor(fd, kind == SOCK_STREAM ? STREAM : DATAGRAM, 0, 0, ADD(&last_socket, 1) + 1);
    }
    leave(kept);
    return fd;
}

static int is_failure(int error)
{
    return error && error != EINPROGRESS && error != EALREADY && error != EISCONN && error != EINTR
        && error != EAGAIN;
}

// A stream begins to connect. It is known before the call: who waits in that may never return.
static struct connection *begin_connecting(int fd, struct descriptor *d,
                                           const struct destination *to, u64 started)
{
    u32 number = 0;
    struct connection *c = new_connection(fd, PROTOCOL_TCP, to, started, &number);
    if (!c)
        return 0;
    c->record.state = IS_SYN_SENT;
    d->id = c->record.id;
    STORE(&d->slot, number);
    return c;
}

// Of a connection there never was one.
static void take_back(struct descriptor *d, struct connection *c)
{
    STORE(&d->slot, 0);
    STORE_RELEASE(&c->slot.state, SLOT_FREE);
}

// A stream's connect() has returned; `begun` is the id of the connection that began with it, if one did.
static void on_connect(int fd, struct descriptor *d, const struct destination *to, int error,
                       u64 started, u64 now, u32 begun)
{
    struct connection *c = connection_of(d);
    int has_begun = c && c->record.id == begun;
    if (c && !has_begun && !c->record.closed && !c->record.error) {
        // A later call on a socket that is connecting.
        if (c->slot.connecting)
            look_whether_connected(fd, c, now);
    } else {
        if (error == EISCONN || error == ECONNABORTED) { // it only tells of the attempt before
            if (has_begun)
                take_back(d, c);
            return;
        }
        if (!has_begun) {
            if (c)
                finish_connection(c, now); // a socket that is tried again
            c = begin_connecting(fd, d, to, started);
            if (!c)
                return;
        }
        if (!error || error == EINPROGRESS || error == EINTR || error == EAGAIN) {
            STORE(&c->slot.connecting, 1);
            ADD(&connecting, 1);
            look_whether_connected(fd, c, now);
        } else {
            c->record.state = IS_CLOSE;
            c->record.closed = now;
        }
    }
    if (is_failure(error) && !c->record.error) {
        c->record.error = (u16)error;
        if (error == ECONNREFUSED || error == ECONNRESET)
            c->record.flags |= CONNECTION_RESET;
        if (!c->record.closed)
            c->record.closed = now;
    }
}

// A datagram socket that was connected is no longer, or to another peer.
static void dissolve(struct descriptor *d, struct connection *c, const struct destination *to,
                     u64 now)
{
    if (!to || is_to(c, to))
        return;
    STORE(&d->slot, c->slot.next);
    struct connection *next = c->slot.next ? connection_at(c->slot.next - 1) : 0;
    d->id = next ? next->record.id : 0;
    finish_connection(c, now);
}

HOOK int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int kept;
    struct descriptor *d = tracked(fd);
    struct destination to;
    if (!d || me.inside)
        return CALL(connect)(fd, address, length);
    struct call call;
    int kind = read_destination(address, length, &to), is_ours = 0;
    u32 begun = 0;
    begin_call(&call, OP_CONNECT, WAITS_NETWORK, fd, id_of(d));
    if (enter(&kept)) {
        is_ours = !is_other_process();
        struct connection *c = is_ours && kind == 0 && d->kind == STREAM && !LOAD(&d->slot)
            ? begin_connecting(fd, d, &to, call.started) : 0;
        if (c)
            waits_for(&call, begun = c->record.id);
        leave(kept);
    }
    int result = CALL(connect)(fd, address, length);
    int error = result ? errno : 0;
    if (!enter(&kept))
        return result;
    u64 now = now_ns();
    if (is_ours) {
        u32 id = 0;
        struct connection *c = connection_of(d);
        if (kind == 0 && d->kind == STREAM)
            on_connect(fd, d, &to, error, call.started, now, begun);
        else if (kind == 1 && d->kind == STREAM && c && !error && !c->record.closed)
            c->record.closed = now; // dissolved: the socket may be connected anew
        else if (kind >= 0 && c && d->kind == DATAGRAM && !error)
            dissolve(d, c, kind == 1 ? 0 : &to, now);
        if (kind == 0 && d->kind == DATAGRAM) {
            c = datagram_connection(fd, d, &to, call.started, 0);
            if (c && !error)
                c->record.established = now;
            if (c && is_failure(error) && !c->record.error)
                c->record.error = (u16)error;
        }
        c = connection_of(d);
        if (c)
            call.connection = id = c->record.id;
        // What comes behind the answer is no wait for it: this thread was not given a CPU.
        end_wait(&call, c && !error && c->record.established > call.started ? c->record.established : now);
        if (UNLIKELY(map->record_syscalls) && c && !c->slot.runtime)
            tell_call(OP_CONNECT, fd, id, result ? -error : 0, call.started, now);
    }
    leave(kept);
    return result;
}

HOOK int close(int fd)
{
    int kept;
    // Before it is closed: the number may be another's as soon as it is.
    if (tracked(fd) && enter(&kept)) {
        if (!is_other_process())
            forget_descriptor(fd, 1, now_ns());
        leave(kept);
    }
    return CALL(close)(fd);
}

HOOK int fclose(FILE *file)
{
    int kept;
    if (map && enter(&kept)) {
        int fd = fileno(file);
        if (fd >= 0 && tracked(fd) && !is_other_process())
            forget_descriptor(fd, 1, now_ns());
        leave(kept);
    }
    return CALL(fclose)(file);
}

static void forget_range(u32 first, u32 last)
{
    int kept;
    if (!enter(&kept))
        return;
    u32 highest_known = LOAD(&highest);
    if (!is_other_process()) {
        for (u32 fd = first; fd <= last && fd <= highest_known; fd++) {
            if (descriptors[fd].kind)
                forget_descriptor((int)fd, 1, now_ns());
        }
    }
    leave(kept);
}

HOOK int close_range(unsigned first, unsigned last, int flags)
{
    if (!real_close_range)
        real_close_range = (int (*)(unsigned, unsigned, int))dlsym(RTLD_NEXT, "close_range");
    if (map && !(flags & 4 /* CLOSE_RANGE_CLOEXEC */))
        forget_range(first, last);
    if (real_close_range)
        return real_close_range(first, last, flags);
    return (int)syscall(436 /* close_range */, first, last, flags);
}

HOOK void closefrom(int first)
{
    if (!real_closefrom)
        real_closefrom = (void (*)(int))dlsym(RTLD_NEXT, "closefrom");
    if (map)
        forget_range(first < 0 ? 0 : (u32)first, ~0U);
    if (real_closefrom)
        real_closefrom(first);
}

HOOK int shutdown(int fd, int how)
{
    int kept, result = CALL(shutdown)(fd, how);
    struct descriptor *d = result ? 0 : tracked(fd);
    if (!d || how == SHUT_RD || !enter(&kept))
        return result;
    struct connection *c = connection_of(d);
    if (c && d->kind == STREAM) {
        c->record.flags |= CONNECTION_HALF_CLOSED;
        note_kernel_truth(fd, c);
        if (!is_ended_by_peer(c))
            c->record.flags |= CONNECTION_SELF_CLOSED;
    }
    leave(kept);
    return result;
}

HOOK int getsockopt(int fd, int level, int option, void *value, socklen_t *length)
{
    int kept, result = CALL(getsockopt)(fd, level, option, value, length);
    struct descriptor *d;
    if (result || level != SOL_SOCKET || option != SO_ERROR || !(d = tracked(fd)) || !enter(&kept))
        return result;
    struct connection *c = connection_of(d);
    if (c && *length >= sizeof(int)) {
        u64 now = now_ns();
        if (LOAD(&c->slot.connecting))
            look_whether_connected(fd, c, now);
        int error = *(int *)value;
        if (error && !c->record.error) {
            c->record.error = (u16)error;
            if (error == ECONNREFUSED || error == ECONNRESET)
                c->record.flags |= CONNECTION_RESET;
        }
    }
    leave(kept);
    return result;
}

// ---- copies of a descriptor

static void copied(int from, int to)
{
    int kept;
    if (to < 0 || !map || from == to || !enter(&kept))
        return;
    if (!is_other_process()) {
        is_fresh(to);
        struct descriptor *d = tracked(from);
        if (d) {
            struct connection *c = connection_of(d);
            if (c && c->slot.owner == own_pid)
                ADD(&c->slot.descriptors, 1);
            know_descriptor(to, d->kind, d->slot, d->id, d->socket);
        }
    }
    leave(kept);
}

// dup2() and dup3() close what was there.
static void before_copy(int from, int to)
{
    int kept;
    if (from == to || !tracked(to) || !enter(&kept))
        return;
    if (!is_other_process())
        forget_descriptor(to, 1, now_ns());
    leave(kept);
}

HOOK int dup(int fd)
{
    int result = CALL(dup)(fd);
    copied(fd, result);
    return result;
}

HOOK int dup2(int from, int to)
{
    before_copy(from, to);
    int result = CALL(dup2)(from, to);
    copied(from, result);
    return result;
}

HOOK int dup3(int from, int to, int flags)
{
    before_copy(from, to);
    int result = CALL(dup3)(from, to, flags);
    copied(from, result);
    return result;
}

static void end_lock(const struct call *call, int fd, int result)
{
    int kept;
    if (!enter(&kept))
        return;
    end_blocked(call, fd, 0, result ? -kept : 0, now_ns());
    leave(kept);
}

static int any_fcntl(int (*real)(int, int, ...), int fd, int command, void *argument)
{
    if (UNLIKELY(command == F_SETLKW || command == 38 /* F_OFD_SETLKW */) && map && !me.inside) {
        struct call call;
        begin_call(&call, OP_FCNTL, WAITS_LOCK, fd, 0);
        int result = real(fd, command, argument);
        end_lock(&call, fd, result);
        return result;
    }
    int result = real(fd, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        copied(fd, result);
    return result;
}

HOOK int fcntl(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (!real_fcntl)
        real_fcntl = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl");
    return any_fcntl(real_fcntl, fd, command, argument);
}

HOOK int fcntl64(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (!real_fcntl64)
        real_fcntl64 = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
    if (!real_fcntl64)
        real_fcntl64 = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl");
    return any_fcntl(real_fcntl64, fd, command, argument);
}

// ---- connections from others are not the function's; their descriptors are new all the same

static int accepted(const struct call *call, int listening, int fd)
{
    int kept;
    if (!enter(&kept))
        return fd;
    u64 now = now_ns();
    end_wait(call, now);
    if (fd >= 0 && !is_other_process())
        is_fresh(fd);
    (void)listening;
    leave(kept);
    return fd;
}

HOOK int accept(int fd, struct sockaddr *address, socklen_t *length)
{
    if (!map || me.inside)
        return CALL(accept)(fd, address, length);
    struct call call;
    begin_call(&call, OP_ACCEPT, WAITS_NETWORK, fd, 0);
    return accepted(&call, fd, CALL(accept)(fd, address, length));
}

HOOK int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    if (!map || me.inside)
        return CALL(accept4)(fd, address, length, flags);
    struct call call;
    begin_call(&call, OP_ACCEPT4, WAITS_NETWORK, fd, 0);
    return accepted(&call, fd, CALL(accept4)(fd, address, length, flags));
}
