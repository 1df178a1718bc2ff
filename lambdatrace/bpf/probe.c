// SPDX-License-Identifier: GPL-2.0-only
// The probe: follows the client connections of one process tree and the edges of its executions.
//
// bcc C, compiled once at build time by compile.py, which puts the structs and constants of
// lambdatrace/wire.py in front of this text. Tracepoints only, with every context struct written
// out here: the bytecode depends on no kernel header, no BTF and no struct offset. loader.py
// checks the fields used against the running kernel's format files before it attaches anything.
//
// Every syscall of a traced thread passes on_sys_enter and on_sys_exit, which hand the few that
// matter on by tail call: two attachments instead of forty, which keeps loading below 10 ms and
// detaching (one RCU grace period each) below a second.
//
// How it hangs together:
//   threads   a thread of the traced tree, and its syscall in flight (one look-up is the filter)
//   sockets   (process, descriptor) -> connection
//   connections  the connection being followed. Keyed by socket address for TCP, because the state
//             machine knows nothing else; by a running number for UDP, which has no state machine
//   peers     (UDP socket, peer) -> connection, for sockets that talk to several
// A connection's record goes into the ring when its last descriptor goes; what is still open when
// an execution ends is read from the map by the agent.

#define AF_UNSPEC_ 0
#define AF_INET_ 2
#define AF_INET6_ 10
#define SOCK_STREAM_ 1
#define SOCK_DGRAM_ 2
#define SOCK_TYPE_MASK_ 0xf
#define SOL_SOCKET_ 1
#define SO_ERROR_ 4
#define F_DUPFD_ 0
#define F_DUPFD_CLOEXEC_ 1030
#define MSG_PEEK_ 2
#define MSG_ERRQUEUE_ 0x2000
#define CLONE_THREAD_ 0x00010000
#define CLOSE_RANGE_CLOEXEC_ 4
#define PROTO_TCP 6
#define PROTO_UDP 17

#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT 2
#define STATE_FIN_WAIT1 4
#define STATE_CLOSE 7
#define STATE_CLOSE_WAIT 8
#define STATE_LAST_ACK 9

#define DNS_PORT 53
#define RING_HEADER_BYTES 8
#define REPLY_TEXT_AT 32
#define REPLY_TEXT_BYTES 96

#define E_PIPE 32
#define E_NETUNREACH 101
#define E_CONNABORTED 103
#define E_CONNRESET 104
#define E_ISCONN 106
#define E_TIMEDOUT 110
#define E_CONNREFUSED 111
#define E_HOSTUNREACH 113
#define E_ALREADY 114
#define E_INPROGRESS 115
// include/linux/errno.h: a syscall that a signal interrupted shows these at its exit tracepoint
#define E_INTR 4
#define E_RESTART_FIRST 512

#define E_FIRST 96 // errno sets are 32 bits from here on
#define E_BIT(error) (1ULL << ((error) - E_FIRST))
#define NETWORK_ERRORS (E_BIT(E_CONNRESET) | E_BIT(E_TIMEDOUT) | E_BIT(E_CONNREFUSED) \
    | E_BIT(E_HOSTUNREACH) | E_BIT(E_NETUNREACH))
#define NO_FAILURES (E_BIT(E_INPROGRESS) | E_BIT(E_ALREADY) | E_BIT(E_ISCONN))

// ---- contexts: the tracepoints' format files, fields checked by loader.py

struct enter_ctx { u64 common; u64 nr; u64 args[6]; };
struct exit_ctx { u64 common; u64 nr; s64 ret; };
struct newtask_ctx { u64 common; s32 pid; char comm[16]; u32 pad; u64 clone_flags; };
struct exec_ctx { u64 common; u32 filename; s32 pid; s32 old_pid; };
struct exit_task_ctx { u64 common; char comm[16]; s32 pid; };
struct state_ctx {
    u64 common;
    u64 socket;
    s32 old_state;
    s32 new_state;
    u16 local_port;
    u16 port;
    u16 family;
    u16 protocol;
    u8 local4[4];
    u8 address4[4];
    u8 local6[16];
    u8 address6[16];
};

// Keeps the compiler from looking through a value: from turning a choice between two arguments into
// one between two addresses (the verifier takes only constant offsets into a context), and from
// using another register than the one whose bound was checked.
static inline u64 opaque(u64 value)
{
    asm volatile("" : "+r"(value));
    return value;
}

// ---- maps. Their entries fit a Lambda environment, which has 1,024 descriptors and 1,024 threads at
// most; loader.py multiplies them for bigger machines, and chooses the size of the rings. What does
// not fit is counted in `lost`. (Clearing their memory is a good part of loading.)

BPF_TABLE("array", u32, struct config, config, 1);

// Syscall number -> OP_*; filled by loader.py, because the numbers differ between architectures.
BPF_TABLE("array", u32, u8, operations, 512);
// OP_* -> program
BPF_PROG_ARRAY(entries, 64);
BPF_PROG_ARRAY(exits, 64);
// Goes on in another program, and returns only if there is none. A place known to the compiler would
// be patched into the code when it is filled, while all CPUs wait.
static inline void hand_on(struct exit_ctx *ctx, u64 place)
{
    exits.call(ctx, opaque(place));
}

struct destination { u8 address[16]; u16 port; u16 family; };
struct socket_key { u32 tgid; s32 fd; };

struct thread {
    u64 started;            // of the syscall in flight
    u64 connection;         // key of the connection it works on
    u64 connection_started;
    u64 buffer;             // user pointers of the syscall in flight
    u64 peer;
    u64 forked;             // when its process left its parent, whose sockets it shares
    u32 tgid;
    u32 branch;
    u32 parent;             // tgid, 0 once it execs
    s32 fd;
    struct socket_key socket; // where the socket of the syscall in flight was found
    u32 length;
    u8 op;                  // OP_NONE: no syscall of interest in flight
    u8 edge;
    u8 uncounted;           // a peek: bytes that will be read again
    u8 entering;            // OP_* on its way from on_sys_enter to its program
    u8 fragment;            // of a DNS message, the next one to hand on
    u8 dissolves;           // a connect() to AF_UNSPEC
    u8 opened;              // a datagram's connection has been made in this very exit
    u8 pad;
    u32 text_length;        // the DNS message at hand
    u64 text;
    u32 text_flags;
    u32 pad2;
    u8 request_id[40];
    struct destination destination; // of a datagram, between the programs of its exit
    u32 messages;           // of a sendmmsg or recvmmsg, already counted
    u32 record_id;          // of the connection, for on_exit_record
};
BPF_TABLE("hash", u32, struct thread, threads, 2048);

struct socket {
    u64 connection;
    u64 connection_started; // tells a connection from a later one at the same kernel address
    u64 created;
    u64 id;
    u64 closed;             // by this process, 0: open. What it forked before may go on using it
    u8 type;
    u8 runtime;             // speaks to the runtime API
    u8 pad[6];
};
BPF_TABLE("lru_hash", struct socket_key, struct socket, sockets, 2048);

struct connection {
    struct connection_record record;
    u64 socket_id;
    u32 references;         // UDP: descriptors beyond the first
    u8 runtime;
    u8 awaits_invocation;   // the runtime asked for one and has no answer yet
    u8 pad[2];
};
BPF_TABLE("hash", u64, struct connection, connections, 2048);

struct peer_key { u64 socket_id; u8 address[16]; u16 port; u16 family; u32 pad; };
BPF_TABLE("lru_hash", struct peer_key, u64, peers, 1024);

BPF_TABLE("percpu_array", u32, u64, lost, LOST_COUNT);
BPF_TABLE("percpu_array", u32, u64, numbers, 1);
struct scratch { struct connection fresh; };
BPF_TABLE("percpu_array", u32, struct scratch, scratch, 1);

BPF_RINGBUF_OUTPUT(events, 256);
BPF_RINGBUF_OUTPUT(syscalls, 1024);
// bcc 0.26 has no method for bpf_ringbuf_query. It numbers maps -1, -2, … in order of declaration
// and resolves those numbers itself; compile.py fails if these two do not name the two rings.
#define EVENTS_MAP ((void *)bpf_pseudo_fd(1, -12))
#define SYSCALLS_MAP ((void *)bpf_pseudo_fd(1, -13))

// ---- small helpers

// Counts a loss if `result`, a helper's, is negative. Here and below arithmetic stands where one would
// write a branch: each branch in an inlined function doubles what the verifier has to walk, and
// loading time is the verifier's.
static inline void count_lost_if(s64 result, u32 what)
{
    u64 *counter = lost.lookup(&what);
    if (counter)
        *counter += (u64)result >> 63;
}

static inline struct config *get_config(void)
{
    u32 zero = 0;
    return config.lookup(&zero);
}

static inline u32 next_number(void)
{
    u32 zero = 0;
    u64 *number = numbers.lookup(&zero);
    if (!number)
        return 0;
    *number += 1;
    // Unique without an atomic fetch-and-add, which kernels before 5.12 do not have.
    return (u32)(*number << 8) | (bpf_get_smp_processor_id() & 0xff);
}

static inline int namespace_pids(struct config *c, struct bpf_pidns_info *pids)
{
    return bpf_get_ns_current_pid_tgid(c->namespace_device, c->namespace_inode, pids, sizeof(*pids));
}

// BPF_RB_FORCE_WAKEUP (2) for the record that takes the waiting bytes past `wake`, and past every
// half of that from there on; BPF_RB_NO_WAKEUP (1) for all others: a wake-up costs the function 2 µs,
// and a reader that has not come yet is no quicker for being called again. `wake` is a power of two.
static inline u64 wake_flags(u64 waiting, u64 wake, u64 slot)
{
    u64 late = ((wake - 1) - waiting) >> 63;
    u64 passes = ((waiting & (wake / 2 - 1)) - slot) >> 63;
    return BPF_RB_NO_WAKEUP + (late & passes);
}

// The current thread if it belongs to the traced tree.
static inline struct thread *current_thread(void)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    return threads.lookup(&tid);
}

// The socket behind a descriptor; leaves in t->socket where it was found.
static inline struct socket *find_socket(struct thread *t, s32 fd)
{
    t->socket.tgid = t->tgid;
    t->socket.fd = fd;
    struct socket *s = sockets.lookup(&t->socket);
    if (!s && t->parent) {
        t->socket.tgid = t->parent;
        s = sockets.lookup(&t->socket);
        // What the parent opened after the fork is not the child's; what it has closed since
        // then still is.
        if (s && (s->created >= t->forked || s->closed - 1 < t->forked))
            return 0;
        return s;
    }
    if (s && s->closed)
        return 0;
    return s;
}

// On the way out: the socket that was found on the way in.
static inline struct socket *same_socket(struct thread *t)
{
    return sockets.lookup(&t->socket);
}

static inline struct connection *find_connection(u64 key, u64 started)
{
    struct connection *c = connections.lookup(&key);
    if (c && c->record.started == started)
        return c;
    return 0;
}

static inline void emit_connection(struct connection *c)
{
    struct config *cfg = get_config();
    if (!cfg || c->runtime)
        return;
    u64 flags = wake_flags(bpf_ringbuf_query(EVENTS_MAP, BPF_RB_AVAIL_DATA), cfg->events_wake,
                           sizeof(c->record) + RING_HEADER_BYTES);
    count_lost_if(events.ringbuf_output(&c->record, sizeof(c->record), flags), LOST_EVENTS);
}

static inline void finish_connection(u64 key, struct connection *c, u64 now)
{
    if (!c->record.closed)
        c->record.closed = now;
    emit_connection(c);
    connections.delete(&key);
}

static inline void fill_edge(struct edge_record *record, struct thread *t, u8 edge, u64 time)
{
    __builtin_memset(record, 0, sizeof(*record));
    record->kind = KIND_EDGE;
    record->edge = edge;
    record->branch = t->branch;
    record->tgid = t->tgid;
    record->tid = (u32)bpf_get_current_pid_tgid();
    record->time = time;
    record->syscalls_position = bpf_ringbuf_query(SYSCALLS_MAP, BPF_RB_PROD_POS);
}

static inline void emit_edge(struct thread *t, u8 edge, u64 time, u64 flags)
{
    struct edge_record record;
    fill_edge(&record, t, edge, time);
    if (edge == EDGE_RESPONSE || edge == EDGE_ERROR)
        __builtin_memcpy(record.request_id, t->request_id, sizeof(record.request_id));
    count_lost_if(events.ringbuf_output(&record, sizeof(record), flags), LOST_EVENTS);
}

// ---- addresses

static inline void normalise(struct destination *d)
{
    u64 *half = (u64 *)d->address;
    u32 *word = (u32 *)d->address;
    // ::ffff:a.b.c.d is IPv4 spoken through an IPv6 socket
    if (d->family == 6 && half[0] == 0 && word[2] == bpf_htonl(0xffff)) {
        word[0] = word[3];
        word[1] = 0;
        half[1] = 0;
        d->family = 4;
    }
}

// Reads a user's sockaddr. Returns 0 for an internet address, 1 for AF_UNSPEC, -1 for others.
static inline int read_destination(u64 pointer, struct destination *d)
{
    u16 family = 0;
    if (!pointer || bpf_probe_read_user(&family, sizeof(family), (void *)pointer))
        return -1;
    __builtin_memset(d, 0, sizeof(*d));
    if (family == AF_UNSPEC_)
        return 1;
    u16 port = 0;
    if (bpf_probe_read_user(&port, sizeof(port), (void *)(pointer + 2)))
        return -1;
    d->port = bpf_ntohs(port);
    if (family == AF_INET_) {
        d->family = 4;
        if (bpf_probe_read_user(d->address, 4, (void *)(pointer + 4)))
            return -1;
        return 0;
    }
    if (family == AF_INET6_) {
        d->family = 6;
        if (bpf_probe_read_user(d->address, 16, (void *)(pointer + 8)))
            return -1;
        normalise(d);
        return 0;
    }
    return -1;
}

static inline int same_destination(struct connection_record *r, struct destination *d)
{
    u64 *a = (u64 *)r->address, *b = (u64 *)d->address;
    return r->port == d->port && a[0] == b[0] && a[1] == b[1];
}

// 1 if the destination is the Lambda runtime API, 0 if not.
static inline u8 is_runtime(struct destination *d, struct config *c)
{
    u64 *a = (u64 *)d->address, *b = (u64 *)c->runtime_address;
    u64 differs = (d->port ^ c->runtime_port) | (a[0] ^ b[0]) | (a[1] ^ b[1]);
    return ((differs | -differs) >> 63) ^ 1;
}

// A zeroed connection with all that is known of it at its start. Lives in per-CPU scratch space.
static inline struct connection *new_connection(
    struct thread *t, s32 fd, u8 protocol, struct destination *d, u64 started)
{
    u32 zero = 0;
    struct scratch *room = scratch.lookup(&zero);
    if (!room)
        return 0;
    struct connection *c = &room->fresh;
    __builtin_memset(c, 0, sizeof(*c));
    struct connection_record *r = &c->record;
    r->kind = KIND_CONNECTION;
    r->family = d->family;
    r->protocol = protocol;
    r->id = next_number();
    r->tgid = t->tgid;
    r->tid = (u32)bpf_get_current_pid_tgid();
    r->branch = t->branch;
    r->fd = fd;
    r->port = d->port;
    __builtin_memcpy(r->address, d->address, 16);
    r->started = started;
    bpf_get_current_comm(r->comm, sizeof(r->comm));
    return c;
}

// ---- the process tree

int on_newtask(struct newtask_ctx *ctx)
{
    struct thread fresh = {};
    struct thread *t = current_thread();
    u32 child = ctx->pid;
    int thread = (ctx->clone_flags & CLONE_THREAD_) != 0;
    if (t) {
        fresh.branch = t->branch;
        fresh.tgid = thread ? t->tgid : child;
        fresh.parent = thread ? t->parent : t->tgid;
        fresh.forked = thread ? t->forked : bpf_ktime_get_ns();
    } else {
        struct config *c = get_config();
        struct bpf_pidns_info pids = {};
        if (!c || !c->root || thread || namespace_pids(c, &pids) || pids.tgid != c->root)
            return 0;
        fresh.branch = fresh.tgid = child;
    }
    count_lost_if(threads.update(&child, &fresh), LOST_THREADS);
    return 0;
}

int on_exec(struct exec_ctx *ctx)
{
    u32 old = ctx->old_pid, now = ctx->pid;
    struct thread *t = threads.lookup(&old);
    if (!t)
        return 0;
    struct thread copy = {};
    copy.tgid = t->tgid;
    copy.branch = t->branch;
    // Sockets are closed on exec wherever a runtime opened them: nothing of the parent's is left.
    threads.update(&now, &copy);
    if (old != now)
        threads.delete(&old);
    return 0;
}

int on_exit_task(struct exit_task_ctx *ctx)
{
    u32 tid = ctx->pid;
    struct thread *t = threads.lookup(&tid);
    if (!t)
        return 0;
    if (tid == t->tgid) {
        // Only the end of a whole branch (the runtime itself) is worth waking the agent for.
        emit_edge(t, EDGE_PROCESS_EXIT, bpf_ktime_get_ns(),
                  tid == t->branch ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
    }
    threads.delete(&tid);
    return 0;
}

// ---- the TCP state machine

// CLOSE -> SYN_SENT happens inside the connecting thread's syscall: the one moment at which socket,
// descriptor and thread meet. (Their peers on loopback change state in the same thread, but never
// through this transition.)
int on_state(struct state_ctx *ctx)
{
    u64 key = ctx->socket;
    if (ctx->protocol != PROTO_TCP)
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
    struct connection *c = new_connection(t, t->fd, PROTO_TCP, d, now);
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
        finish_connection(key, previous, now);
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
int on_state_raw(struct bpf_raw_tracepoint_args *ctx)
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
    if (!r->closed)
        r->closed = now;
    if (closing)
        finish_connection(key, c, now);
    // Otherwise the descriptor is still there, and with it unread bytes or the errno.
    return 0;
}

int on_retransmit_raw(struct bpf_raw_tracepoint_args *ctx)
{
    u64 key = ctx->args[0];
    struct connection *c = connections.lookup(&key);
    if (c)
        lock_xadd(&c->record.retransmits, 1);
    return 0;
}

int on_reset_raw(struct bpf_raw_tracepoint_args *ctx)
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

// ---- syscalls, going in

static inline void begin(struct thread *t, u8 op, s32 fd)
{
    t->started = bpf_ktime_get_ns();
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
}

// The runtime's HTTP: which request line is this? The paths are fixed by the Runtime API
// (2018-06-01), so the words stand at fixed places.
static inline void read_request_line(struct thread *t, u64 buffer)
{
    char line[40] = {};
    if (bpf_probe_read_user(line, 40, (void *)buffer))
        return;
    if (line[0] == 'G' && line[24] == 'i' && line[34] == '/' && line[35] == 'n' && line[38] == 't') {
        t->edge = EDGE_NEXT;
        return;
    }
    if (line[0] != 'P' || line[1] != 'O' || line[17] != 'r' || line[24] != '/')
        return;
    if (line[25] == 'i' && line[26] == 'n' && line[27] == 'i' && line[28] == 't') {
        t->edge = EDGE_INIT_ERROR;
        return;
    }
    if (line[25] != 'i' || line[35] != '/')
        return;
    char end[2] = {};
    bpf_probe_read_user(end, 2, (void *)(buffer + 72));
    __builtin_memset(t->request_id, 0, sizeof(t->request_id));
    bpf_probe_read_user(t->request_id, 36, (void *)(buffer + 36));
    if (end[0] == '/' && end[1] == 'r')
        t->edge = EDGE_RESPONSE;
    else if (end[0] == '/' && end[1] == 'e')
        t->edge = EDGE_ERROR;
}

static inline struct socket *begin_on_socket(struct thread *t, u8 op, s32 fd)
{
    struct socket *s = find_socket(t, fd);
    if (!s)
        return 0;
    begin(t, op, fd);
    t->connection = s->connection;
    t->connection_started = s->connection_started;
    return s;
}

int on_sys_enter(struct enter_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u32 number = ctx->nr;
    u8 *op = operations.lookup(&number);
    if (!op || *op == OP_NONE)
        return 0;
    t->entering = *op;
    entries.call(ctx, *op);
    return 0;
}

static inline int receives(u8 op)
{
    return op >= OP_RECVFROM && op <= OP_READV;
}

// sendto, sendmsg, sendmmsg, write, writev, sendfile and their receiving twins
int on_transfer(struct enter_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->entering;
    struct socket *s = begin_on_socket(t, op, ctx->args[0]);
    if (!s)
        return 0;
    u64 buffer = ctx->args[1], third = opaque(ctx->args[2]), fourth = opaque(ctx->args[3]);
    u64 flags = 0;
    t->buffer = buffer;
    if (op == OP_SENDTO || op == OP_RECVFROM)
        t->peer = ctx->args[4];
    if (op == OP_RECVFROM || op == OP_RECVMMSG)
        flags = fourth;
    else if (op == OP_RECVMSG)
        flags = third;
    t->uncounted = (flags & (MSG_PEEK_ | MSG_ERRQUEUE_)) != 0;
    if (!s->runtime || op == OP_SENDFILE)
        return 0;
    // Where the text itself stands: behind the message header, behind the first iovec.
    if (op == OP_SENDMSG || op == OP_RECVMSG)
        bpf_probe_read_user(&buffer, sizeof(buffer), (void *)(buffer + 16));
    if (op == OP_SENDMSG || op == OP_RECVMSG || op == OP_WRITEV || op == OP_READV)
        bpf_probe_read_user(&buffer, sizeof(buffer), (void *)buffer);
    t->buffer = buffer;
    if (!receives(op))
        read_request_line(t, buffer);
    return 0;
}

int on_connect(struct enter_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    int kind = read_destination(ctx->args[1], &t->destination);
    // AF_UNSPEC dissolves an association; anything else (unix, netlink) is not a connection here.
    if (kind < 0)
        return 0;
    begin(t, OP_CONNECT, ctx->args[0]);
    t->dissolves = kind;
    find_socket(t, ctx->args[0]);
    return 0;
}

int on_socket(struct enter_ctx *ctx)
{
    if (ctx->args[0] != AF_INET_ && ctx->args[0] != AF_INET6_)
        return 0;
    struct thread *t = current_thread();
    if (!t)
        return 0;
    begin(t, OP_SOCKET, -1);
    t->length = ctx->args[1] & SOCK_TYPE_MASK_;
    return 0;
}

// shutdown, dup, fcntl(F_DUPFD), getsockopt(SO_ERROR)
int on_other(struct enter_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->entering;
    if (op == OP_FCNTL && ctx->args[1] != F_DUPFD_ && ctx->args[1] != F_DUPFD_CLOEXEC_)
        return 0;
    if (op == OP_GETSOCKOPT && (ctx->args[1] != SOL_SOCKET_ || ctx->args[2] != SO_ERROR_))
        return 0;
    if (begin_on_socket(t, op, ctx->args[0]))
        t->buffer = ctx->args[3];
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
    if (c->record.protocol == PROTO_UDP) {
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
    begin(t, OP_CLOSE, fd);
    t->connection = key;
    t->connection_started = started;
}

// close, and dup2 and dup3, which close what was there before
int on_close(struct enter_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->entering;
    u64 first = opaque(ctx->args[0]), second = opaque(ctx->args[1]);
    s32 fd = op == OP_CLOSE ? first : second;
    if (op != OP_CLOSE && first == second)
        return 0;
    struct socket *s = find_socket(t, fd);
    if (s)
        close_socket(t, fd, s);
    if (op != OP_CLOSE)
        begin_on_socket(t, op, first);
    return 0;
}

int on_close_range(struct enter_ctx *ctx)
{
    struct thread *t = current_thread();
    // How a fresh child rids itself of what it inherited.
    if (t && ctx->args[0] <= 3 && !(ctx->args[2] & CLOSE_RANGE_CLOEXEC_))
        t->parent = 0;
    return 0;
}

// ---- syscalls, coming out

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

static inline void account(struct connection *c, int sends, u64 bytes, u64 started, u64 now)
{
    struct connection_record *r = &c->record;
    if (sends) {
        if (!r->first_out)
            r->first_out = started;
        r->last_out = now;
        lock_xadd(&r->bytes_out, bytes);
        lock_xadd(&r->sends, 1);
    } else {
        if (!r->first_in)
            r->first_in = now;
        if (r->last_out > r->last_in)
            r->waited += now - r->last_out;
        else if (r->last_in)
            r->transferred += now - r->last_in;
        r->last_in = now;
        lock_xadd(&r->bytes_in, bytes);
        lock_xadd(&r->receives, 1);
    }
}

static inline int is_network_error(s64 error)
{
    u64 bit = error - E_FIRST;
    return error == E_PIPE || (bit < 32 && (NETWORK_ERRORS >> bit) & 1);
}

#define MESSAGE_SIZE 64   // struct mmsghdr on 64-bit: a msghdr of 56 bytes, msg_len behind it
#define MESSAGE_LENGTH 56
// glibc's resolver sends two messages a call, a QUIC library up to 64. The limit of tail calls, 33 in
// a row, lets 132 be counted; the kernel takes 1,024 (UIO_MAXIOV).
#define MESSAGES_A_TURN 4

int on_sys_exit(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (t && t->op != OP_NONE)
        exits.call(ctx, t->op);
    return 0;
}

// Level `syscalls`: the call's own record, for whoever has left a connection's id. At level `flows`
// nothing is loaded in this program's place and the tail calls to it fall through.
int on_exit_record(struct exit_ctx *ctx)
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
    record.result = ctx->ret;
    record.started = t->started;
    record.duration = bpf_ktime_get_ns() - t->started;
    u64 flags = wake_flags(bpf_ringbuf_query(SYSCALLS_MAP, BPF_RB_AVAIL_DATA), cfg->syscalls_wake,
                           sizeof(record) + RING_HEADER_BYTES);
    count_lost_if(syscalls.ringbuf_output(&record, sizeof(record), flags), LOST_SYSCALLS);
    return 0;
}

static inline void note_error(struct connection *c, s64 ret)
{
    if (ret < 0 && !c->record.error && is_network_error(-ret))
        c->record.error = -ret;
}

// The common case: a stream, one buffer or iovec.
int on_exit_transfer(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->op;
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c || c->record.protocol == PROTO_UDP) {
        // A datagram socket may have another peer each time.
        hand_on(ctx, OP_EXIT_DATAGRAM);
        return 0;
    }
    u64 now = bpf_ktime_get_ns();
    s64 ret = ctx->ret;
    if (ret > 0 && !t->uncounted) {
        account(c, !receives(op), ret, t->started, now);
        if (c->runtime) {
            if (t->edge)
                hand_on(ctx, OP_EXIT_RUNTIME);
            if (c->awaits_invocation && receives(op))
                hand_on(ctx, OP_EXIT_INVOCATION);
        }
    }
    t->op = OP_NONE;
    note_error(c, ret);
    t->record_id = c->record.id;
    if (c->record.port == DNS_PORT && ret > 0 && !t->uncounted)
        hand_on(ctx, OP_EXIT_DNS);
    if (!c->runtime)
        hand_on(ctx, OP_EXIT_RECORD);
    return 0;
}

// sendmmsg and recvmmsg return messages: the bytes stand in each message's header. Counts a few and
// calls itself for the rest, because the verifier walks every turn of a loop.
int on_exit_messages(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    s64 left = ctx->ret - t->messages;
    u64 header = t->buffer + MESSAGE_LENGTH + (u64)t->messages * MESSAGE_SIZE;
    t->messages += MESSAGES_A_TURN;
    u64 bytes = 0;
#pragma unroll
    for (s64 i = 0; i < MESSAGES_A_TURN; i++) {
        u32 length = 0;
        bpf_probe_read_user(&length, sizeof(length), (void *)(header + i * MESSAGE_SIZE));
        if (i < left)
            bytes += length;
    }
    t->length += bytes;
    if (left > MESSAGES_A_TURN)
        hand_on(ctx, OP_EXIT_MESSAGES);
    hand_on(ctx, OP_EXIT_DATAGRAM);
    return 0;
}

// UDP, and the first send of a TCP fast open: where did it go?
int on_exit_datagram(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->op;
    u64 peer = t->peer;
    if (op == OP_SENDMSG || op == OP_RECVMSG || op == OP_SENDMMSG || op == OP_RECVMMSG)
        bpf_probe_read_user(&peer, sizeof(peer), (void *)t->buffer);
    t->destination.port = 0;
    // A refused datagram still was one to its destination.
    if (peer && (!receives(op) || ctx->ret > 0))
        read_destination(peer, &t->destination);
    hand_on(ctx, OP_EXIT_UDP);
    return 0;
}

// Accounts a datagram, or a connect() on a datagram socket, to its connection.
int on_exit_udp(struct exit_ctx *ctx)
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
            hand_on(ctx, OP_EXIT_UDP_OPEN);
        }
    } else {
        c = find_connection(s->connection, s->connection_started);
    }
    if (!c)
        return 0;
    t->connection = s->connection;
    t->connection_started = s->connection_started;
    s64 ret = ctx->ret;
    if (ret > 0 && !t->uncounted) {
        u64 bytes = op == OP_SENDMMSG || op == OP_RECVMMSG ? t->length : ret;
        account(c, !receives(op), bytes, t->started, now);
    }
    note_error(c, ret);
    t->record_id = c->record.id;
    t->messages = 0;
    t->fragment = 0;
    if (c->record.port == DNS_PORT && ret > 0 && !t->uncounted)
        hand_on(ctx, OP_EXIT_DNS);
    hand_on(ctx, OP_EXIT_RECORD);
    return 0;
}

// The first datagram to or from a peer, or a connect(): a connection begins. Then back.
int on_exit_udp_open(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    struct socket *s = same_socket(t);
    struct connection *c = new_connection(t, t->fd, PROTO_UDP, &t->destination, t->started);
    if (!s || !c)
        return 0;
    c->record.state = STATE_ESTABLISHED;
    if (t->op == OP_CONNECT)
        c->record.established = bpf_ktime_get_ns();
    if (receives(t->op))
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
    hand_on(ctx, OP_EXIT_UDP);
    return 0;
}

// A message to or from port 53 goes to the agent as it is, in pieces: who asked for what, and what the
// answer was, is read there. This finds where the message stands; once for each of a sendmmsg or
// recvmmsg.
int on_exit_dns(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->entering;
    u64 header = t->buffer, base = header;
    u32 length = ctx->ret;
    t->text_flags = 0;
    int many = op == OP_SENDMMSG || op == OP_RECVMMSG;
    if (many) {
        header += (u64)t->messages * MESSAGE_SIZE;
        bpf_probe_read_user(&length, sizeof(length), (void *)(header + MESSAGE_LENGTH));
    }
    if (many || op == OP_SENDMSG || op == OP_RECVMSG)
        bpf_probe_read_user(&base, sizeof(base), (void *)(header + 16));
    if (many || op == OP_SENDMSG || op == OP_RECVMSG || op == OP_WRITEV || op == OP_READV) {
        u64 iovec[4] = {};
        bpf_probe_read_user(iovec, sizeof(iovec), (void *)base);
        // Over TCP glibc writes the length and the message as two pieces.
        int apart = iovec[1] == 2 && length > 2;
        u64 room = apart ? iovec[3] : iovec[1];
        base = apart ? iovec[2] : iovec[0];
        length = apart ? length - 2 : length;
        t->text_flags = apart ? DNS_WITHOUT_PREFIX : 0;
        // What stands in a further piece is left out.
        length = length > room ? room : length;
    }
    t->text = base;
    t->text_length = length;
    t->fragment = 0;
    t->messages += 1;
    hand_on(ctx, OP_EXIT_DNS_PIECE);
    return 0;
}

// Hands on a piece of t->text and calls itself for the next one.
int on_exit_dns_piece(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c)
        return 0;
    u8 op = t->entering;
    struct dns_record record = {};
    record.kind = KIND_DNS;
    record.direction = DNS_QUERY + receives(op);
    record.family = c->record.family;
    record.connection = c->record.id;
    record.tgid = t->tgid;
    record.tid = (u32)bpf_get_current_pid_tgid();
    record.branch = t->branch;
    record.length = t->text_length;
    record.flags = t->text_flags;
    if (c->record.protocol == PROTO_TCP)
        record.flags |= DNS_STREAM;
    record.time = t->started;
    if (receives(op))
        record.time = bpf_ktime_get_ns();
    __builtin_memcpy(record.server, c->record.address, 16);
    u64 at = (u64)t->fragment * DNS_FRAGMENT_BYTES;
    record.fragment = t->fragment;
    // Not a byte beyond the message: that would be somebody's memory.
    u64 rest = opaque(t->text_length - at);
    if (rest > DNS_FRAGMENT_BYTES)
        rest = DNS_FRAGMENT_BYTES;
    bpf_probe_read_user(record.text, rest, (void *)(t->text + at));
    count_lost_if(events.ringbuf_output(&record, sizeof(record), BPF_RB_NO_WAKEUP), LOST_EVENTS);
    t->fragment += 1;
    if (t->fragment < DNS_FRAGMENTS && at + DNS_FRAGMENT_BYTES < t->text_length)
        hand_on(ctx, OP_EXIT_DNS_PIECE);
    if ((op == OP_SENDMMSG || op == OP_RECVMMSG) && t->messages < ctx->ret)
        hand_on(ctx, OP_EXIT_DNS);
    hand_on(ctx, OP_EXIT_RECORD);
    return 0;
}

// The runtime has sent a request to its API.
int on_exit_runtime(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    t->op = OP_NONE;
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c)
        return 0;
    u8 edge = t->edge;
    t->edge = 0;
    if (edge == EDGE_NEXT)
        c->awaits_invocation = 1;
    // Asking for the next invocation means that the response is out: now the agent has its turn,
    // and not while the response is still being sent.
    emit_edge(t, edge, t->started,
              edge == EDGE_NEXT || edge == EDGE_INIT_ERROR ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
    return 0;
}

// The reply to `next`: the agent finds the request id in 96 bytes of its headers (searching them here
// would be a third of what the verifier has to walk). They are the reply's bytes 32 to 128: behind
// the status line; the headers up to Lambda-Runtime-Trace-Id take more than 300, so nothing of the
// event is among them.
int on_exit_invocation(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    t->op = OP_NONE;
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c || ctx->ret < REPLY_TEXT_AT + REPLY_TEXT_BYTES)
        return 0;
    c->awaits_invocation = 0;
    struct edge_record record;
    fill_edge(&record, t, EDGE_START, bpf_ktime_get_ns());
    bpf_probe_read_user(record.text, REPLY_TEXT_BYTES, (void *)(t->buffer + REPLY_TEXT_AT));
    count_lost_if(events.ringbuf_output(&record, sizeof(record), BPF_RB_NO_WAKEUP), LOST_EVENTS);
    return 0;
}

static inline int is_failure(s64 error)
{
    // Under way, done before, or interrupted and going on in the background: no failure.
    u64 bit = error - E_FIRST;
    return error > 0 && error < E_RESTART_FIRST && error != E_INTR
        && !(bit < 32 && (NO_FAILURES >> bit) & 1);
}

int on_exit_connect(struct exit_ctx *ctx)
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
            hand_on(ctx, OP_EXIT_DATAGRAM_CONNECT);
            return 0;
        }
        // A later call on a socket that is connecting, or a first one that found no route.
        c = find_connection(s->connection, s->connection_started);
        if (!c || c->record.state == STATE_CLOSE) {
            hand_on(ctx, OP_EXIT_NO_ROUTE);
            return 0;
        }
    }
    s64 ret = ctx->ret;
    t->op = OP_NONE;
    if (ret == 0 && !c->record.established)
        c->record.established = now;
    if (is_failure(-ret) && !c->record.error)
        c->record.error = -ret;
    t->record_id = c->record.id;
    if (!c->runtime)
        hand_on(ctx, OP_EXIT_RECORD);
    return 0;
}

int on_exit_datagram_connect(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    if (ctx->ret < 0) {
        hand_on(ctx, OP_EXIT_NO_ROUTE);
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
        hand_on(ctx, OP_EXIT_UDP);
    // AF_UNSPEC has only dissolved what was there.
    t->op = OP_NONE;
    t->record_id = 0;
    if (s)
        hand_on(ctx, OP_EXIT_RECORD);
    return 0;
}

// Refused before any state changed, for want of a route or of a local port: a connection that ended
// as it began.
int on_exit_no_route(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    t->op = OP_NONE;
    struct socket *s = same_socket(t);
    s64 error = -ctx->ret;
    if (!s)
        return 0;
    t->record_id = 0;
    // ECONNABORTED only tells of the attempt before, whose error has been fetched.
    if (!is_failure(error) || error == E_CONNABORTED || t->dissolves) {
        hand_on(ctx, OP_EXIT_RECORD);
        return 0;
    }
    u64 now = bpf_ktime_get_ns();
    u8 protocol = s->type == SOCK_STREAM_ ? PROTO_TCP : PROTO_UDP;
    struct connection *c = new_connection(t, t->fd, protocol, &t->destination, t->started);
    if (!c)
        return 0;
    c->record.state = STATE_CLOSE;
    c->record.error = error;
    c->record.closed = now;
    emit_connection(c);
    t->record_id = c->record.id;
    hand_on(ctx, OP_EXIT_RECORD);
    return 0;
}

int on_exit_other(struct exit_ctx *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->op;
    s64 ret = ctx->ret;
    t->op = OP_NONE;
    if (ret < 0)
        return 0;
    struct socket_key made = {t->tgid, ret};
    struct socket fresh = {};
    if (op == OP_SOCKET) {
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
