// SPDX-License-Identifier: GPL-2.0-only
// ---- the TCP state machine

// CLOSE -> SYN_SENT happens inside the connecting thread's syscall: the one moment at which socket,
// descriptor and thread meet. (Their peers on loopback change state in the same thread, but never
// through this transition.)
int on_state(struct state_ctx *ctx)
{
    u64 key = ctx->socket;
    if (ctx->protocol != PROTOCOL_TCP)
        return 0;
    if (!(ctx->old_state == STATE_CLOSE && ctx->new_state == STATE_SYN_SENT)) {
        // The kernel chooses the local port after SYN_SENT.
        struct connection *known = connections.lookup(&key);
        if (known && !known->record.local_port)
            known->record.local_port = ctx->local_port;
        return 0;
    }
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u64 now = bpf_ktime_get_ns();
    // In map memory, not on the stack: behind each branch the verifier's states are the same again.
    struct destination *d = &t->destination;
    __builtin_memset(d, 0, sizeof(*d));
    d->port = ctx->port;
    if (ctx->family == AF_INET_) {
        d->family = 4;
        __builtin_memcpy(d->address, ctx->address4, 4);
    } else {
        d->family = 6;
        __builtin_memcpy(d->address, ctx->address6, 16);
        normalise(d);
    }
    struct connection *c = new_connection(t, t->fd, PROTOCOL_TCP, d, now);
    struct config *cfg = get_config();
    if (!c || !cfg)
        return 0;
    c->record.state = STATE_SYN_SENT;
    // Opened by no syscall that is known here (io_uring): no descriptor.
    if (t->op == OP_NONE)
        c->record.fd = -1;
    c->runtime = is_runtime(d, cfg);
    t->connection = key;
    t->connection_started = now;
    u8 runtime = c->runtime;
    // A socket can be tried again after a failure, and its memory can be another's.
    struct connection *previous = connections.lookup(&key);
    if (previous)
        emit_connection(previous);
    count_lost_if(connections.update(&key, c), LOST_CONNECTIONS);
    if (t->op == OP_NONE)
        return 0;
    struct socket *s = find_socket(t, t->fd);
    if (!s || t->socket.tgid != t->tgid) {
        // Opened before the probe was there, or by the parent: from now on it is this process's.
        struct socket_key owner = {t->tgid, t->fd};
        struct socket fresh = {};
        fresh.created = now;
        count_lost_if(sockets.update(&owner, &fresh), LOST_SOCKETS);
        s = sockets.lookup(&owner);
        if (!s)
            return 0;
    }
    s->type = SOCK_STREAM_;
    s->connection = key;
    s->connection_started = now;
    s->runtime = runtime;
    return 0;
}

// Later transitions come in any context, often in a soft interrupt. A plain tracepoint program is
// skipped there when the interrupt hit another BPF program on that CPU; a raw one is not.
int on_state_raw(raw *ctx)
{
    u64 key = ctx->args[0];
    struct connection *c = connections.lookup(&key);
    if (!c)
        return 0;
    u32 old = (u32)ctx->args[1], new = (u32)ctx->args[2];
    u64 now = bpf_ktime_get_ns();
    struct connection_record *r = &c->record;
    r->state = new;
    if (new == STATE_ESTABLISHED) {
        if (!r->established)
            r->established = now;
        return 0;
    }
    if (new == STATE_CLOSE_WAIT) {
        r->flags |= CONNECTION_PEER_CLOSED;
        return 0;
    }
    struct thread *t = current_thread();
    int ours = t && t->connection == key;
    if (new == STATE_FIN_WAIT1 && !(r->flags & CONNECTION_PEER_CLOSED))
        r->flags |= CONNECTION_SELF_CLOSED;
    if (new == STATE_FIN_WAIT1 || new == STATE_LAST_ACK) {
        // Both are the local end's doing: the last descriptor has gone, through close(), exec or
        // exit, unless a shutdown() is under way.
        if (ours && t->op == OP_SHUTDOWN)
            r->flags |= CONNECTION_HALF_CLOSED;
        else
            finish_connection(key, c, now);
        return 0;
    }
    if (new != STATE_CLOSE)
        return 0;
    int closing = ours && t->op == OP_CLOSE;
    if (old == STATE_SYN_SENT && closing)
        r->flags |= CONNECTION_ABANDONED;
    // With unread bytes, or SO_LINGER 0, the local end resets.
    if (closing && !(r->flags & (CONNECTION_PEER_CLOSED | CONNECTION_RESET)))
        r->flags |= CONNECTION_SELF_CLOSED;
    if (!r->closed)
        r->closed = now;
    if (closing)
        finish_connection(key, c, now);
    // Otherwise the descriptor is still there, and with it unread bytes or the errno.
    return 0;
}

int on_retransmit_raw(raw *ctx)
{
    u64 key = ctx->args[0];
    struct connection *c = connections.lookup(&key);
    if (c)
        lock_xadd(&c->record.retransmits, 1);
    return 0;
}

int on_reset_raw(raw *ctx)
{
    u64 key = ctx->args[0];
    struct connection *c = connections.lookup(&key);
    if (!c)
        return 0;
    c->record.flags |= CONNECTION_RESET;
    if (!c->record.error)
        c->record.error = c->record.state == STATE_SYN_SENT ? E_CONNREFUSED : E_CONNRESET;
    return 0;
}

