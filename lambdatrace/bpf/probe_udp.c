// SPDX-License-Identifier: GPL-2.0-only
// ---- datagrams (probe_udp.c)

static inline void peer_of(struct socket *s, struct destination *d, struct peer_key *peer)
{
    peer->socket_id = s->id;
    peer->port = d->port;
    peer->family = d->family;
    __builtin_memcpy(peer->address, d->address, 16);
}

// The connection of a datagram to or from t->destination, if it has one already.
static inline struct connection *udp_connection(struct thread *t, struct socket *s)
{
    struct connection *c = find_connection(s->connection, s->connection_started);
    if (c && same_destination(&c->record, &t->destination))
        return c;
    struct peer_key peer = {};
    peer_of(s, &t->destination, &peer);
    u64 *known = peers.lookup(&peer);
    if (!known)
        return 0;
    u64 key = *known;
    c = connections.lookup(&key);
    if (!c || c->socket_id != s->id)
        return 0;
    s->connection = key;
    s->connection_started = c->record.started;
    return c;
}

// glibc's resolver sends two messages a call, a QUIC library up to 64. The limit of tail calls, 33 in
// a row, lets 132 be counted; the kernel takes 1,024 (UIO_MAXIOV).
#define MESSAGES_A_TURN 4

// UDP, and the first send of a TCP fast open: where did it go? sendmmsg and recvmmsg return messages:
// the bytes stand in each message's header. Counts a few and calls itself for the rest, because the
// verifier walks every turn of a loop.
int on_exit_datagram(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    if (t->traits & HAS_MANY) {
        s64 left = (s64)ctx->args[1] - t->messages;
        u64 header = t->buffer + MESSAGE_LENGTH + (u64)t->messages * MESSAGE_SIZE;
        t->messages += MESSAGES_A_TURN;
#pragma unroll
        for (s64 i = 0; i < MESSAGES_A_TURN; i++) {
            u32 length = 0;
            bpf_probe_read_user(&length, sizeof(length), (void *)(header + i * MESSAGE_SIZE));
            // Nothing of what stands behind the last one.
            t->length += length & ~(u32)((left - i - 1) >> 63);
        }
        if (left > MESSAGES_A_TURN)
            hand_on(ctx, t, AT_DATAGRAM);
    }
    u64 peer = t->peer;
    if (t->traits & HAS_MESSAGE)
        bpf_probe_read_user(&peer, sizeof(peer), (void *)t->buffer);
    t->destination.port = 0;
    // A refused datagram still was one to its destination.
    if (peer && (!receives(t) || (s64)ctx->args[1] > 0))
        read_destination(peer, &t->destination);
    hand_on(ctx, t, AT_UDP);
    return 0;
}

// Accounts a datagram, or a connect() on a datagram socket, to its connection.
int on_exit_udp(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->op;
    t->op = OP_NONE;
    struct socket *s = same_socket(t);
    if (!s)
        return 0;
    u64 now = bpf_ktime_get_ns();
    struct connection *c;
    if (s->type == SOCK_DGRAM_ && t->destination.port) {
        c = udp_connection(t, s);
        if (!c && !t->opened) {
            t->op = op;
            hand_on(ctx, t, AT_UDP_OPEN);
        }
    } else {
        c = find_connection(s->connection, s->connection_started);
    }
    if (!c)
        return 0;
    t->connection = s->connection;
    t->connection_started = s->connection_started;
    s64 ret = ctx->args[1];
    // An empty datagram is one; a connect() is none.
    if (ret >= 0 && t->traits & IS_TRANSFER && !t->uncounted) {
        u64 bytes = t->traits & HAS_MANY ? t->length : ret;
        account(c, !receives(t), bytes, t->started, now);
    }
    note_error(c, ret);
    t->record_id = c->record.id;
    t->messages = 0;
    if (is_dns(t, c, ret))
        hand_on(ctx, t, AT_DNS);
    hand_on(ctx, t, AT_RECORD);
    return 0;
}

// The first datagram to or from a peer, or a connect(): a connection begins. Then back.
int on_exit_udp_open(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    struct socket *s = same_socket(t);
    u64 now = bpf_ktime_get_ns();
    u64 started = receives(t) ? now : t->started;
    struct connection *c = new_connection(t, t->fd, PROTOCOL_UDP, &t->destination, started);
    if (!s || !c)
        return 0;
    c->record.state = STATE_ESTABLISHED;
    if (t->op == OP_CONNECT)
        c->record.established = now;
    if (receives(t))
        c->record.flags = CONNECTION_INBOUND;
    c->socket_id = s->id;
    u64 key = c->record.id;
    s->connection = key;
    s->connection_started = c->record.started;
    struct peer_key peer = {};
    peer_of(s, &t->destination, &peer);
    count_lost_if(connections.update(&key, c), LOST_CONNECTIONS);
    peers.update(&peer, &key);
    t->opened = 1;
    hand_on(ctx, t, AT_UDP);
    return 0;
}

int on_exit_datagram_connect(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    if ((s64)ctx->args[1] < 0) {
        hand_on(ctx, t, AT_NO_ROUTE);
        return 0;
    }
    u64 now = bpf_ktime_get_ns();
    struct socket *s = same_socket(t);
    if (!s && !t->dissolves) {
        // Opened before the probe was there; a stream would have changed its state.
        struct socket_key own = {t->tgid, t->fd};
        struct socket fresh = {};
        fresh.created = now;
        fresh.id = next_number();
        fresh.type = SOCK_DGRAM_;
        count_lost_if(sockets.update(&own, &fresh), LOST_SOCKETS);
        t->socket = own;
    } else if (s && s->type == SOCK_DGRAM_) {
        struct connection *c = find_connection(s->connection, s->connection_started);
        if (c && !same_destination(&c->record, &t->destination))
            finish_connection(s->connection, c, now);
    }
    if (!t->dissolves)
        hand_on(ctx, t, AT_UDP);
    // AF_UNSPEC has only dissolved what was there.
    t->op = OP_NONE;
    t->record_id = 0;
    if (s)
        hand_on(ctx, t, AT_RECORD);
    return 0;
}
