// SPDX-License-Identifier: GPL-2.0-only
// ---- syscalls, going in (probe_calls.c)

static inline void begin(struct thread *t, u8 op, s32 fd, u64 now)
{
    t->started = now;
    t->connection = 0;
    t->fd = fd;
    t->op = op;
    t->edge = 0;
    t->uncounted = 0;
    t->peer = 0;
    t->length = 0;
    t->messages = 0;
    t->fragment = 0;
    t->opened = 0;
    t->looked = 0;
}

static inline struct socket *begin_on_socket(struct thread *t, u8 op, s32 fd, u64 now)
{
    struct socket *s = find_socket(t, fd);
    if (!s)
        return 0;
    begin(t, op, fd, now);
    t->connection = s->connection;
    t->connection_started = s->connection_started;
    return s;
}

static inline int receives(struct thread *t)
{
    return t->traits & RECEIVES;
}

// Where the bytes of the first piece stand: behind the message header, behind the first iovec. The
// eight bytes of an address are read, or none: two branches less for the verifier.
static inline u64 first_buffer(struct thread *t)
{
    u64 buffer = t->buffer;
    bpf_probe_read_user(&buffer, (t->traits & HAS_MESSAGE) / (HAS_MESSAGE / sizeof(buffer)),
                        (void *)(buffer + MESSAGE_VECTOR));
    bpf_probe_read_user(&buffer, (t->traits & HAS_VECTOR) / (HAS_VECTOR / sizeof(buffer)),
                        (void *)buffer);
    return buffer;
}

// The syscall's first five arguments, from the block of struct pt_regs that loader.py names.
static inline void read_arguments(struct thread *t, raw *ctx, struct config *cfg)
{
    u64 block[8];
    bpf_probe_read_kernel(block, sizeof(block), (void *)(ctx->args[0] + cfg->arguments_at));
    if (cfg->reversed) {
        // x86: r10, r9, r8, ax, cx, dx, si, di
        t->arguments[0] = block[7];
        t->arguments[1] = block[6];
        t->arguments[2] = block[5];
        t->arguments[3] = block[0];
        t->arguments[4] = block[2];
    } else {
        __builtin_memcpy(t->arguments, block, 40);
    }
}

// TP_PROTO(struct pt_regs *regs, long id)
int on_sys_enter(raw *ctx)
{
    struct thread *t = find_thread(bpf_get_current_task());
    if (!t)
        return 0;
    if (!t->tid) {
        u64 ids = bpf_get_current_pid_tgid();
        t->tgid = ids >> 32;
        t->tid = ids;
    }
    if (t->place != RUNNING) {
        t->next = AT_SYS_ENTER;
        hand_on(ctx, t, AT_RESUME);
    }
    // Asleep outside any syscall: a page had to be read.
    if (t->waited) {
        t->next = AT_SYS_ENTER;
        hand_on(ctx, t, AT_BLOCKED);
    }
    u32 number = ctx->args[1];
    t->number = number;
    t->waits = WAITS_OTHER;
    t->slept = t->waited = 0;
    // Kernels that can be preempted in a tracepoint leave out a program that is at work already.
    t->op = OP_NONE;
    struct operation *operation = operations.lookup(&number);
    struct config *cfg = get_config();
    if (!operation || !cfg)
        return 0;
    t->waits = operation->waits;
    if (!(operation->entry | (operation->traits & IS_TRANSFER)))
        return 0;
    read_arguments(t, ctx, cfg);
    u8 op = operation->op, traits = operation->traits;
    t->exit = operation->exit;
    t->traits = traits;
    if (!(traits & IS_TRANSFER)) {
        t->entering = op;
        hand_on(ctx, t, operation->entry);
        return 0;
    }
    // sendto, sendmsg, sendmmsg, write, writev, sendfile and their receiving twins
    struct socket *s = begin_on_socket(t, op, t->arguments[0], 0);
    if (!s)
        return 0;
    t->waits = WAITS_NETWORK;
    t->entering = op;
    t->buffer = t->arguments[1];
    if (traits & HAS_PEER)
        t->peer = t->arguments[4];
    // When a receive began is of no interest to its connection, and a clock costs as much as a look-up.
    if (!(traits & RECEIVES) || cfg->record_syscalls)
        t->started = bpf_ktime_get_ns();
    if (!(traits & RECEIVES)) {
        if (s->type != SOCK_STREAM_)
            return 0;
        struct connection *c = find_connection(t->connection, t->connection_started);
        if (!c)
            return 0;
        c->sending = t->started;
        // A request begins, and the exchange before it is complete. Now and not on the way out: another
        // thread may have the answer before this one is there.
        t->next = 0;
        if (c->exchange.first_in)
            hand_on(ctx, t, AT_EXCHANGE);
        return 0;
    }
    u64 flags = 0;
    if (op == OP_RECVFROM || op == OP_RECVMMSG)
        flags = t->arguments[3];
    else if (op == OP_RECVMSG)
        flags = t->arguments[2];
    t->uncounted = (flags & (MSG_PEEK_ | MSG_ERRQUEUE_)) != 0;
    return 0;
}

int on_connect(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    int kind = read_destination(t->arguments[1], &t->destination);
    // AF_UNSPEC dissolves an association; anything else (unix, netlink) is not a connection here.
    if (kind < 0)
        return 0;
    begin(t, OP_CONNECT, t->arguments[0], bpf_ktime_get_ns());
    t->dissolves = kind;
    find_socket(t, t->arguments[0]);
    return 0;
}

// socket, shutdown, dup, fcntl(F_DUPFD), getsockopt(SO_ERROR), close_range, open, openat,
// openat2, exit_group, io_uring_setup
int on_other(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->entering;
    u64 first = t->arguments[0], second = t->arguments[1], third = t->arguments[2];
    if (op == OP_OPEN || op == OP_OPENAT || op == OP_OPENAT2) {
        t->op = OP_OPEN;
        t->buffer = op == OP_OPEN ? first : second;
        return 0;
    }
    if (op == OP_SOCKET) {
        if (first != AF_INET_ && first != AF_INET6_)
            return 0;
        begin(t, OP_SOCKET, -1, bpf_ktime_get_ns());
        t->length = second & SOCK_TYPE_MASK_;
        return 0;
    }
    if (op == OP_CLOSE_RANGE) {
        // How a fresh child rids itself of what it inherited.
        if (first <= 3 && !(third & CLOSE_RANGE_CLOEXEC_))
            t->shares = 0;
        return 0;
    }
    if (op == OP_EXIT_GROUP) {
        struct thread *leader = leading(t);
        if (leader) {
            leader->exiting = 1;
            leader->exit_code = first & 0xff;
        }
        return 0;
    }
    if (op == OP_IO_URING_SETUP) {
        struct branch *b = branches.lookup(&t->branch);
        if (b)
            b->unseen = UNSEEN_IO_URING;
        return 0;
    }
    if (op == OP_FCNTL && second != F_DUPFD_ && second != F_DUPFD_CLOEXEC_)
        return 0;
    if (op == OP_GETSOCKOPT && (second != SOL_SOCKET_ || third != SO_ERROR_))
        return 0;
    if (begin_on_socket(t, op, first, bpf_ktime_get_ns()))
        t->buffer = t->arguments[3];
    return 0;
}

static inline void close_socket(struct thread *t, s32 fd, struct socket *s)
{
    u64 now = bpf_ktime_get_ns();
    if (t->socket.tgid != t->tgid) {
        // A child closes what is still its parent's.
        struct socket_key own = {t->tgid, fd};
        struct socket gone = *s;
        gone.closed = now;
        sockets.update(&own, &gone);
        return;
    }
    u64 key = s->connection, started = s->connection_started;
    struct connection *c = find_connection(key, started);
    s->closed = now;
    if (!c)
        return;
    if (c->record.protocol == PROTOCOL_UDP) {
        if (c->references)
            c->references -= 1;
        else
            finish_connection(key, c, now);
        return;
    }
    if (c->record.state == STATE_CLOSE || c->record.flags & CONNECTION_HALF_CLOSED) {
        finish_connection(key, c, now);
        return;
    }
    // The transition that follows, inside this very syscall, finishes it; if none does, another
    // descriptor is still open.
    begin(t, OP_CLOSE, fd, now);
    t->connection = key;
    t->connection_started = started;
}

// close, and dup2 and dup3, which close what was there before
int on_close(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->entering;
    u64 first = t->arguments[0], second = t->arguments[1];
    s32 fd = op == OP_CLOSE ? first : second;
    if (op != OP_CLOSE && first == second)
        return 0;
    struct socket *s = find_socket(t, fd);
    if (s) {
        close_socket(t, fd, s);
    } else {
        struct socket_key file = {t->tgid, fd};
        files.delete(&file);
    }
    if (op != OP_CLOSE)
        begin_on_socket(t, op, first, bpf_ktime_get_ns());
    return 0;
}

// ---- syscalls, coming out

// 1 or 0; without a branch, as what follows.
static inline u64 is_network_error(s64 error)
{
    u64 bit = error - E_FIRST;
    u64 among = (NETWORK_ERRORS >> (bit & 31)) & (is_set(bit >> 5) ^ 1);
    return (among & 1) | (is_set(error ^ E_PIPE) ^ 1);
}

static inline void note_error(struct connection *c, s64 ret)
{
    u64 is_news = is_network_error(-ret) & (is_set(c->record.error) ^ 1);
    c->record.error |= -ret & -is_news;
}

// Whether a call has sent or received a DNS message, or a part of one.
static inline int is_dns(struct thread *t, struct connection *c, s64 ret)
{
    return !opaque((c->record.port ^ DNS_PORT) | t->uncounted | sign(ret - 1));
}

// `value` if `known` is 0: what is noted the first time only.
static inline u64 if_unknown(u64 known, u64 value)
{
    return value & (is_set(known) - 1);
}

// Where another thread has got bytes since the latest send began, which has not come out, they are the
// answer to that.
static inline void account(struct connection *c, int sends, u64 bytes, u64 started, u64 now)
{
    struct connection_record *r = &c->record;
    if (sends) {
        r->first_out |= if_unknown(r->first_out, started);
        r->last_out = now;
        lock_xadd(&r->bytes_out, bytes);
        lock_xadd(&r->sends, 1);
    } else {
        r->first_in |= if_unknown(r->first_in, now);
        u64 answers = sign(r->last_in - r->last_out), follows = -is_set(r->last_in) & ~answers;
        u64 early = sign(r->last_in - c->sending) & ~answers;
        r->waited += ((now - r->last_out) & answers) + ((now - c->sending) & early);
        r->transferred += (now - r->last_in) & follows & ~early;
        r->last_in = now;
        lock_xadd(&r->bytes_in, bytes);
        lock_xadd(&r->receives, 1);
    }
}

// A new TLS 1.3 connection brings session tickets before its first answer (RFC 8446, 4.6.1; two of
// about 250 bytes from OpenSSL, in records of one size). So as long as it has got no more than this,
// all of it whole records of the first one's size, and then sleeps and gets more, that was no answer.
#define MOST_TICKETS 1024

// The same for the exchange under way, on streams.
static inline void account_exchange(
    struct thread *t, struct connection *c, int sends, u64 bytes, u64 now)
{
    struct exchange *e = &c->exchange;
    if (sends) {
        e->first_out |= if_unknown(e->first_out, t->started);
        e->last_out = now;
        lock_xadd(&e->bytes_out, bytes);
        lock_xadd(&e->sends, 1);
        return;
    }
    u32 tid = (u32)bpf_get_current_pid_tgid();
    if (e->tentative) {
        u64 slept = is_set((c->reader ^ tid) | (c->sleeps ^ t->sleeps));
        u64 in_midst = is_set(e->bytes_in % c->ticket);
        e->first_in &= (slept & ~in_midst & 1) - 1;
        e->tentative = ~(slept & in_midst) & 1;
    } else {
        e->tentative = if_unknown(e->first_in | c->record.exchanges, c->tickets);
    }
    e->tentative &= 1 + sign(MOST_TICKETS - (s64)(e->bytes_in + bytes));
    e->first_in |= if_unknown(e->first_in, now);
    c->reader = tid;
    c->sleeps = t->sleeps;
    e->last_in = now;
    lock_xadd(&e->bytes_in, bytes);
    lock_xadd(&e->receives, 1);
}

// TP_PROTO(struct pt_regs *regs, long ret)
int on_sys_exit(raw *ctx)
{
    struct thread *t = find_thread(bpf_get_current_task());
    if (!t)
        return 0;
    if (t->place != RUNNING) {
        t->next = AT_SYS_EXIT;
        hand_on(ctx, t, AT_RESUME);
    }
    t->waits = WAITS_FAULT;
    if (t->waited) {
        t->next = AT_SYS_EXIT;
        hand_on(ctx, t, AT_BLOCKED);
    }
    u8 op = t->op;
    if (op == OP_NONE)
        return 0;
    if (t->exit) {
        hand_on(ctx, t, t->exit);
        return 0;
    }
    s64 ret = ctx->args[1];
    struct config *cfg = get_config();
    // Nothing came of it, and nobody wants to know of each call: EAGAIN, mostly.
    if (!cfg || -sign(ret) & ~is_network_error(-ret) & ~cfg->record_syscalls) {
        t->op = OP_NONE;
        return 0;
    }
    // The common case: a stream, one buffer or iovec.
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c || c->record.protocol == PROTOCOL_UDP) {
        // A datagram socket may have another peer each time.
        hand_on(ctx, t, AT_DATAGRAM);
        return 0;
    }
    int sends = !receives(t);
    if (ret > 0 && !t->uncounted) {
        if ((c->wanted >> sends) & 1 & ~t->looked)
            hand_on(ctx, t, AT_TLS);
        // What came while this send was asleep, for want of room mostly, is no answer to all of it.
        if (sends && c->exchange.first_in && c->exchange.first_in < t->woken) {
            t->next = AT_SYS_EXIT;
            hand_on(ctx, t, AT_EXCHANGE);
        }
        u64 now = bpf_ktime_get_ns();
        // The answer is there already: it was sent when it began, as far as can be known.
        now -= (now - t->started) & ~sign(c->exchange.first_in - t->started) & -(u64)sends;
        account(c, sends, ret, t->started, now);
        if (c->tls != SHAKING)
            account_exchange(t, c, sends, ret, now);
        if (c->runtime)
            hand_on(ctx, t, AT_RUNTIME);
    }
    t->op = OP_NONE;
    note_error(c, ret);
    t->record_id = c->record.id;
    if (is_dns(t, c, ret))
        hand_on(ctx, t, AT_DNS);
    if (!c->runtime)
        hand_on(ctx, t, AT_RECORD);
    return 0;
}

// A request begins where an answer has come: the exchange before it is complete. Then on at t->next.
int on_exit_exchange(raw *ctx)
{
    struct thread *t = current_thread();
    struct config *cfg = get_config();
    union scratch *room = get_scratch();
    if (!t || !cfg || !room)
        return 0;
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c)
        return 0;
    // Unless that is a ClientHello: on_exit_tls deals with what was said before it.
    if (c->wanted & WANTS_SENDS && t->op != OP_SENDFILE) {
        u8 first[2] = {};
        bpf_probe_read_user(first, sizeof(first), (void *)first_buffer(t));
        if (first[0] == TLS_HANDSHAKE && first[1] == TLS_MAJOR)
            return 0;
    }
    struct exchange *e = &c->exchange;
    u64 bytes_out = e->bytes_out, bytes_in = e->bytes_in;
    u32 sends = e->sends, receives = e->receives;
    struct branch *b = branches.lookup(&t->branch);
    if (!c->runtime && b) {
        if (b->exchanges < cfg->most_exchanges) {
            clear(room->event, EVENT_BYTES);
            struct exchange_record *record = &room->exchange;
            record->kind = KIND_EXCHANGE;
            record->connection = c->record.id;
            record->tgid = t->tgid;
            record->branch = t->branch;
            record->first_out = e->first_out;
            record->last_out = e->last_out;
            record->first_in = e->first_in;
            record->last_in = e->last_in;
            record->bytes_out = bytes_out;
            record->bytes_in = bytes_in;
            record->sends = sends;
            record->receives = receives;
            record->retransmits = c->record.retransmits - e->retransmits_before;
            emit(record, when_half_full(cfg));
            b->exchanges += 1;
        } else {
            lock_xadd(&b->folded_exchanges, 1);
        }
        c->record.exchanges += 1;
    }
    // Another thread may be adding to it.
    lock_xadd(&e->bytes_out, -bytes_out);
    lock_xadd(&e->bytes_in, -bytes_in);
    lock_xadd(&e->sends, -sends);
    lock_xadd(&e->receives, -receives);
    e->first_out = e->last_out = e->first_in = e->last_in = 0;
    e->retransmits_before = c->record.retransmits;
    e->tentative = 0;
    hand_on(ctx, t, t->next);
    return 0;
}

// Level `syscalls`: the call's own record, for whoever has left a connection's id.
int on_exit_record(raw *ctx)
{
    struct thread *t = current_thread();
    struct config *cfg = get_config();
    if (!t || !cfg)
        return 0;
    struct syscall_record record = {};
    record.kind = KIND_SYSCALL;
    record.op = t->entering;
    record.connection = t->record_id;
    record.tgid = t->tgid;
    record.tid = (u32)bpf_get_current_pid_tgid();
    record.fd = t->fd;
    record.result = ctx->args[1];
    record.started = t->started;
    record.duration = bpf_ktime_get_ns() - t->started;
    u64 flags = wake_flags(bpf_ringbuf_query(SYSCALLS_MAP, BPF_RB_AVAIL_DATA), cfg->syscalls_wake,
                           sizeof(record) + RING_HEADER_BYTES);
    count_lost_if(syscalls.ringbuf_output(&record, sizeof(record), flags), LOST_SYSCALLS);
    return 0;
}

static inline int is_failure(s64 error)
{
    // Under way, done before, or interrupted and going on in the background: no failure.
    u64 bit = error - E_FIRST;
    return error > 0 && error < E_RESTART_FIRST && error != E_INTR
        && !(bit < 32 && (NO_FAILURES >> bit) & 1);
}

int on_exit_connect(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u64 now = bpf_ktime_get_ns();
    // Set by this very call if CLOSE -> SYN_SENT was seen in it.
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c) {
        struct socket *s = same_socket(t);
        if (!s || s->type != SOCK_STREAM_) {
            hand_on(ctx, t, AT_DATAGRAM_CONNECT);
            return 0;
        }
        // A later call on a socket that is connecting, or a first one that found no route.
        c = find_connection(s->connection, s->connection_started);
        if (!c || c->record.state == STATE_CLOSE) {
            hand_on(ctx, t, AT_NO_ROUTE);
            return 0;
        }
    }
    s64 ret = ctx->args[1];
    t->op = OP_NONE;
    if (ret == 0 && !c->record.established)
        c->record.established = now;
    if (is_failure(-ret) && !c->record.error)
        c->record.error = -ret;
    t->record_id = c->record.id;
    if (!c->runtime)
        hand_on(ctx, t, AT_RECORD);
    return 0;
}

// Refused before any state changed, for want of a route or of a local port: a connection that ended
// as it began.
int on_exit_no_route(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    t->op = OP_NONE;
    struct socket *s = same_socket(t);
    s64 error = -ctx->args[1];
    if (!s)
        return 0;
    t->record_id = 0;
    // ECONNABORTED only tells of the attempt before, whose error has been fetched.
    if (!is_failure(error) || error == E_CONNABORTED || t->dissolves) {
        hand_on(ctx, t, AT_RECORD);
        return 0;
    }
    u64 now = bpf_ktime_get_ns();
    u8 protocol = s->type == SOCK_STREAM_ ? PROTOCOL_TCP : PROTOCOL_UDP;
    struct connection *c = new_connection(t, t->fd, protocol, &t->destination, t->started);
    if (!c)
        return 0;
    c->record.state = STATE_CLOSE;
    c->record.error = error;
    c->record.closed = now;
    emit_connection(c);
    t->record_id = c->record.id;
    hand_on(ctx, t, AT_RECORD);
    return 0;
}

int on_exit_other(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->op;
    s64 ret = ctx->args[1];
    t->op = OP_NONE;
    if (ret < 0)
        return 0;
    struct socket_key made = {t->tgid, ret};
    struct socket fresh = {};
    if (op == OP_OPEN) {
        // By which path: for a call on it that waits.
        union scratch *room = get_scratch();
        if (!room)
            return 0;
        clear(&room->path, sizeof(room->path));
        bpf_probe_read_user_str(room->path.text, sizeof(room->path), (void *)t->buffer);
        files.update(&made, &room->path);
    } else if (op == OP_SOCKET) {
        fresh.created = t->started;
        fresh.id = next_number();
        fresh.type = t->length;
        count_lost_if(sockets.update(&made, &fresh), LOST_SOCKETS);
    } else if (op == OP_DUP || op == OP_DUP3 || op == OP_FCNTL) {
        struct socket *s = same_socket(t);
        if (!s)
            return 0;
        fresh = *s;
        fresh.created = t->started;
        struct connection *c = find_connection(s->connection, s->connection_started);
        if (c)
            lock_xadd(&c->references, 1);
        count_lost_if(sockets.update(&made, &fresh), LOST_SOCKETS);
    } else if (op == OP_GETSOCKOPT) {
        u32 error = 0;
        bpf_probe_read_user(&error, sizeof(error), (void *)t->buffer);
        struct connection *c = find_connection(t->connection, t->connection_started);
        if (c && error && !c->record.error)
            c->record.error = error;
    }
    return 0;
}
