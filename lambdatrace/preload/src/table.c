// SPDX-License-Identifier: Apache-2.0
// ---- descriptors and connections (table.c)

#define MOST_DESCRIPTORS 65536
#define STREAM 1
#define DATAGRAM 2
#define LOOKED_AT 64 // connection slots, for a free one
#define MOST_PEERS 8 // of one datagram socket that are told apart

// This process's own. Pages that nobody touches take no memory.
struct descriptor {
    u8 kind;   // 0: not a socket that is followed
    u8 pad[3];
    u32 slot;  // number + 1, 0: none
    u32 id;    // of the connection in it, which may be another's by now
    u32 socket; // datagrams: a number of its own
};
static struct descriptor descriptors[MOST_DESCRIPTORS];
static u32 highest;      // descriptor ever used for a socket
static u32 last_socket;

struct connection {
    struct connection_slot slot;
    struct connection_record record;
    struct exchange exchange;
};

struct destination { u8 address[16]; u16 port; u16 family; };

#define LOOKING 0   // for a ClientHello among the first sends
#define SHAKING 1   // hands
#define PLAIN 2     // none came
#define SECURE 3    // the handshake is done
#define WANTS_RECEIVES 1
#define WANTS_SENDS 2

static inline struct connection *connection_at(u32 number)
{
    return (struct connection *)(map_base + map->connections_at) + number;
}

static inline struct descriptor *tracked(int fd)
{
    if (UNLIKELY((u32)fd >= MOST_DESCRIPTORS) || !descriptors[fd].kind)
        return 0;
    return map ? &descriptors[fd] : 0;
}

static inline struct connection *connection_of(struct descriptor *d)
{
    u32 slot = LOAD(&d->slot);
    if (!slot || slot > map->connections)
        return 0;
    struct connection *c = connection_at(slot - 1);
    return c->record.id == d->id && LOAD(&c->slot.state) == SLOT_OPEN ? c : 0;
}

// Of the connection that a descriptor leads to, for whoever waits for it; 0: none.
static inline u32 id_of(struct descriptor *d)
{
    return LOAD(&d->slot) ? d->id : 0;
}

// 0 for an internet address, 1 for AF_UNSPEC, -1 for others.
static int read_destination(const struct sockaddr *from, socklen_t length, struct destination *d)
{
    memset(d, 0, sizeof(*d));
    if (!from || length < sizeof(sa_family_t))
        return -1;
    if (from->sa_family == AF_UNSPEC)
        return 1;
    if (from->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *four = (const void *)from;
        d->family = 4;
        d->port = ntohs(four->sin_port);
        memcpy(d->address, &four->sin_addr, 4);
        return 0;
    }
    if (from->sa_family == AF_INET6 && length >= offsetof(struct sockaddr_in6, sin6_scope_id)) {
        const struct sockaddr_in6 *six = (const void *)from;
        d->port = ntohs(six->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) { // IPv4 spoken through an IPv6 socket
            d->family = 4;
            memcpy(d->address, (const u8 *)&six->sin6_addr + 12, 4);
        } else {
            d->family = 6;
            memcpy(d->address, &six->sin6_addr, 16);
        }
        return 0;
    }
    return -1;
}

static int is_runtime(const struct destination *d)
{
    return map->runtime_port && d->port == map->runtime_port
        && !memcmp(d->address, map->runtime_address, 16);
}

static u32 next_number(void)
{
    u32 number = ADD(&map->numbers, 1) + 1;
    return number ? number : ADD(&map->numbers, 1) + 1;
}

static struct connection *new_connection(
    int fd, u8 protocol, const struct destination *d, u64 started, u32 *number)
{
    static u32 hint;
    u32 first = LOAD(&hint);
    for (u32 i = 0; i < LOOKED_AT && own; i++) {
        u32 at = (first + i) % map->connections, none = SLOT_FREE;
        struct connection *c = connection_at(at);
        if (LOAD(&c->slot.state) != SLOT_FREE
            || !__atomic_compare_exchange_n(&c->slot.state, &none, SLOT_FILLING, 0, __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED))
            continue;
        STORE(&hint, at + 1);
        c->slot.owner = own_pid;
        memset((u8 *)c + offsetof(struct connection_slot, descriptors), 0,
               sizeof(*c) - offsetof(struct connection_slot, descriptors));
        c->slot.descriptors = 1;
        c->slot.owner_branch = own->branch;
        c->slot.wanted = WANTS_SENDS;
        c->slot.runtime = (u8)is_runtime(d);
        struct connection_record *r = &c->record;
        r->kind = KIND_CONNECTION;
        r->family = (u8)d->family;
        r->protocol = protocol;
        r->id = next_number();
        r->tgid = own_pid;
        r->tid = this_thread();
        r->branch = own->branch;
        r->fd = fd;
        r->port = d->port;
        memcpy(r->address, d->address, 16);
        r->started = started;
        read_name(r->comm);
        *number = at + 1;
        STORE_RELEASE(&c->slot.state, SLOT_OPEN);
        return c;
    }
    ADD(&map->lost_connections, 1);
    return 0;
}

static void tell_connection(struct connection *c)
{
    if (c->slot.runtime)
        return;
    u8 both[sizeof(c->record) + sizeof(c->exchange)];
    memcpy(both, &c->record, sizeof(both));
    // What is of no use to whoever reads exchanges (wire.Exchange: kernel only).
    emit(both, sizeof(both));
}

static void finish_connection(struct connection *c, u64 now)
{
    u32 open = SLOT_OPEN;
    if (!__atomic_compare_exchange_n(&c->slot.state, &open, SLOT_FILLING, 0, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return; // another thread has
    if (c->slot.connecting)
        ADD(&connecting, -1);
    if (!c->record.closed)
        c->record.closed = now;
    tell_connection(c);
    STORE_RELEASE(&c->slot.state, SLOT_FREE);
}

static void know_descriptor(int fd, u8 kind, u32 slot, u32 id, u32 socket)
{
    if ((u32)fd >= MOST_DESCRIPTORS) {
        ADD(&map->lost_sockets, 1);
        return;
    }
    struct descriptor *d = &descriptors[fd];
    d->slot = slot;
    d->id = id;
    d->socket = socket;
    if ((u32)fd > LOAD(&highest))
        STORE(&highest, (u32)fd);
    STORE_RELEASE(&d->kind, kind);
}

// ---- what only the kernel knows: struct tcp_info, linux/tcp.h, as far as it has ever been

struct tcp_facts {
    u8 state, ca_state, retransmits, probes, backoff, options, wscale, more;
    u32 rto, ato, snd_mss, rcv_mss, unacked, sacked, lost, retrans, fackets;
    u32 last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
    u32 pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering;
    u32 rcv_rtt, rcv_space, total_retrans;
};

static int ask_kernel(int fd, struct tcp_facts *facts)
{
    socklen_t length = sizeof(*facts);
    return !syscall(SYS_getsockopt, fd, IPPROTO_TCP, 11 /* TCP_INFO */, facts, &length)
        && length == sizeof(*facts);
}

#define IS_ESTABLISHED 1 // linux/tcp_states.h
#define IS_SYN_SENT 2
#define IS_CLOSE 7
#define IS_CLOSE_WAIT 8

static u16 local_port(int fd)
{
    struct sockaddr_in6 name; // a sockaddr_in has its port at the same place
    socklen_t length = sizeof(name);
    if (syscall(SYS_getsockname, fd, &name, &length))
        return 0;
    return ntohs(name.sin6_port);
}

// Has its SYN been answered? When is told by the round trip that the kernel has measured of it, if it
// was sent once: who waits may be told much later.
static void look_whether_connected(int fd, struct connection *c, u64 now)
{
    struct tcp_facts facts;
    if (!ask_kernel(fd, &facts) || facts.state == IS_SYN_SENT)
        return;
    u32 was = 1;
    if (!__atomic_compare_exchange_n(&c->slot.connecting, &was, 0, 0, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return;
    ADD(&connecting, -1);
    c->record.state = facts.state;
    c->record.retransmits = facts.total_retrans;
    if (facts.state == IS_CLOSE) {
        // Its errno is the program's to fetch.
        if (!c->record.closed)
            c->record.closed = now;
        return;
    }
    u64 measured = c->record.started + (u64)facts.rtt * 1000;
    c->record.established = facts.rtt && !facts.total_retrans && measured < now ? measured : now;
    c->record.local_port = local_port(fd);
}

// After a wait for descriptors: some of this process's connections may have come about.
static void look_at_connecting(u64 now)
{
    u32 last = LOAD(&highest), left = LOAD(&connecting);
    for (u32 fd = 0; fd <= last && left; fd++) {
        struct descriptor *d = &descriptors[fd];
        struct connection *c = d->kind == STREAM ? connection_of(d) : 0;
        if (!c || !LOAD(&c->slot.connecting))
            continue;
        left -= 1;
        look_whether_connected((int)fd, c, now);
    }
}

static void note_kernel_truth(int fd, struct connection *c)
{
    struct tcp_facts facts;
    if (!ask_kernel(fd, &facts))
        return;
    c->record.state = facts.state;
    c->record.retransmits = facts.total_retrans;
    if (facts.state == IS_CLOSE_WAIT && !(c->record.flags & CONNECTION_SELF_CLOSED))
        c->record.flags |= CONNECTION_PEER_CLOSED;
}
