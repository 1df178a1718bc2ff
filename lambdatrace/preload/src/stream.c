// SPDX-License-Identifier: Apache-2.0
// ---- what a transfer means for its connection (stream.c)

// As long as a new TLS 1.3 connection has got no more than this, all of it whole records of the first
// one's size, and then waits and gets more, that was no answer: session tickets come first.
#define MOST_TICKETS 1024

static int is_network_error(int error)
{
    return error == ECONNRESET || error == ETIMEDOUT || error == ECONNREFUSED
        || error == EHOSTUNREACH || error == ENETUNREACH || error == EPIPE;
}

static void note_error(struct connection *c, int error, u64 now)
{
    if (!is_network_error(error) || c->record.error)
        return;
    c->record.error = (u16)error;
    if (c->record.protocol == PROTOCOL_TCP && error != EPIPE && !c->record.closed)
        c->record.closed = now;
    if (error == ECONNRESET)
        c->record.flags |= CONNECTION_RESET;
}

// Who sends may be kept from a CPU before it gets here, and another thread be quicker with the answer.
static inline u64 end_of_send(u64 answered, u64 started, u64 now)
{
    return answered >= started && answered < now ? answered : now;
}

static void account(struct connection *c, int sends, u64 bytes, u64 started, u64 now)
{
    struct connection_record *r = &c->record;
    if (sends) {
        if (!r->first_out)
            r->first_out = started;
        r->last_out = end_of_send(r->last_in, started, now);
        ADD(&r->bytes_out, bytes);
        ADD(&r->sends, 1);
        return;
    }
    if (!r->first_in)
        r->first_in = now;
    if (r->last_in < r->last_out)
        r->waited += now - r->last_out;
    else if (r->last_in)
        r->transferred += now - r->last_in;
    r->last_in = now;
    ADD(&r->bytes_in, bytes);
    ADD(&r->receives, 1);
}

static void account_exchange(struct connection *c, int sends, u64 bytes, u64 started, u64 now)
{
    struct exchange *e = &c->exchange;
    if (sends) {
        if (!e->first_out)
            e->first_out = started;
        e->last_out = end_of_send(e->first_in, started, now);
        e->bytes_out += bytes;
        e->sends += 1;
        return;
    }
    u32 tid = this_thread();
    if (e->tentative) {
        int has_waited = c->slot.reader != tid || c->slot.sleeps != me.sleeps;
        int in_midst = !c->slot.ticket || e->bytes_in % c->slot.ticket;
        if (has_waited && !in_midst)
            e->first_in = 0;
        e->tentative = !(has_waited && in_midst);
    } else if (!e->first_in && !c->record.exchanges) {
        e->tentative = c->slot.tickets;
    }
    if (e->bytes_in + bytes > MOST_TICKETS)
        e->tentative = 0;
    if (!e->first_in)
        e->first_in = now;
    c->slot.reader = tid;
    c->slot.sleeps = me.sleeps;
    e->last_in = now;
    e->bytes_in += bytes;
    e->receives += 1;
}

// A request begins where an answer has come: the exchange before it is complete.
static void complete_exchange(int fd, struct connection *c)
{
    struct exchange *e = &c->exchange;
    note_kernel_truth(fd, c);
    if (!c->slot.runtime && branch) {
        if (may_tell(&branch->exchanges, &branch->folded_exchanges, map->most_exchanges)) {
            struct exchange_record r;
            memset(&r, 0, sizeof(r));
            r.kind = KIND_EXCHANGE;
            r.connection = c->record.id;
            r.tgid = own_pid;
            r.branch = own->branch;
            r.first_out = e->first_out;
            r.last_out = e->last_out;
            r.first_in = e->first_in;
            r.last_in = e->last_in;
            r.bytes_out = e->bytes_out;
            r.bytes_in = e->bytes_in;
            r.sends = e->sends;
            r.receives = e->receives;
            r.retransmits = c->record.retransmits - e->retransmits_before;
            emit(&r, sizeof(r));
        }
        c->record.exchanges += 1;
    }
    memset(e, 0, sizeof(*e));
    e->retransmits_before = c->record.retransmits;
}

// A send begins. Where it is a new request, the exchange before it ends now: the answer may be there
// before this thread is back.
static inline void before_send(int fd, struct descriptor *d, struct text text)
{
    int kept;
    struct connection *c = d->kind == STREAM ? connection_of(d) : 0;
    if (!c || LIKELY(!c->exchange.first_in) || !text.length || !enter(&kept))
        return;
    // Of a TLS handshake nothing is an exchange, nor is what was said before it.
    if (!(c->slot.wanted & WANTS_SENDS) || text.bytes[0] != RECORD_HANDSHAKE)
        complete_exchange(fd, c);
    leave(kept);
}

// `bytes` have gone over a stream's connection; `text` is the first piece of them.
static void on_stream(int fd, struct connection *c, int sends, u64 bytes, struct text text,
                      u64 started, u64 now)
{
    if (UNLIKELY(LOAD(&c->slot.connecting)))
        look_whether_connected(fd, c, now);
    if ((c->slot.wanted >> sends) & 1)
        look_for_tls(c, sends, text, started, now);
    if (sends && c->exchange.first_in && c->exchange.first_in < started)
        complete_exchange(fd, c);
    account(c, sends, bytes, started, now);
    if (c->slot.tls != SHAKING)
        account_exchange(c, sends, bytes, started, now);
    if (UNLIKELY(c->slot.runtime)) {
        if (sends && text.bytes)
            runtime_sends(c, text, started);
        else if (!sends)
            runtime_receives(c, text, now);
    }
    if (UNLIKELY(c->record.port == DNS_PORT))
        tell_dns(c, sends, text, sends ? started : now);
}

// The peer has no more to say.
static void on_end(struct connection *c, u64 now)
{
    if (!(c->record.flags & CONNECTION_SELF_CLOSED))
        c->record.flags |= CONNECTION_PEER_CLOSED;
    else if (c->record.flags & CONNECTION_HALF_CLOSED && !c->record.closed)
        c->record.closed = now; // now both have
}

// ---- datagrams

static int is_to(struct connection *c, const struct destination *d)
{
    return c->record.port == d->port && !memcmp(c->record.address, d->address, 16);
}

// The connection of a datagram to or from `d`: one of its socket's, else a new one.
static struct connection *datagram_connection(
    int fd, struct descriptor *d, const struct destination *peer, u64 started, int inbound)
{
    struct connection *c = connection_of(d);
    for (u32 i = 0; c && i < MOST_PEERS; i++) {
        if (is_to(c, peer))
            return c;
        u32 next = c->slot.next;
        if (!next || next > map->connections)
            break;
        c = connection_at(next - 1);
        if (LOAD(&c->slot.state) != SLOT_OPEN || c->slot.socket != d->socket)
            break;
    }
    u32 number = 0, before = d->slot;
    struct connection *fresh = new_connection(fd, PROTOCOL_UDP, peer, started, &number);
    if (!fresh)
        return 0;
    fresh->record.state = IS_ESTABLISHED;
    fresh->record.flags = inbound ? CONNECTION_INBOUND : 0;
    fresh->slot.socket = d->socket;
    fresh->slot.next = connection_of(d) ? before : 0;
    d->id = fresh->record.id;
    STORE(&d->slot, number);
    return fresh;
}

static void on_datagram(struct connection *c, int sends, u64 bytes, struct text text, u64 started,
                        u64 now)
{
    account(c, sends, bytes, started, now);
    if (c->record.port == DNS_PORT)
        tell_dns(c, sends, text, sends ? started : now);
}
