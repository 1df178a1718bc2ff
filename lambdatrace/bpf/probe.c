// SPDX-License-Identifier: GPL-2.0-only
// The probe: follows the client connections of one process tree, what its threads wait for, and the
// edges of its executions. This part: contexts, maps, and what the other parts share.
//
// bcc C, compiled once at build time by compile.py, which puts the structs and constants of
// lambdatrace/wire.py and the places of plan.py in front of these parts and joins them in order:
//   probe.c          this one
//   probe_tree.c     processes and threads, and the time they had a CPU
//   probe_tcp.c      the TCP state machine
//   probe_calls.c    syscalls going in, and streams coming out
//   probe_udp.c      datagrams
//   probe_text.c     what is handed to the agent to be read: the runtime's HTTP, DNS, TLS handshakes
//   probe_blocked.c  syscalls that waited
// Tracepoints only, with every context struct written out here: the bytecode depends on no kernel
// header, no BTF and no kernel struct. loader.py checks the fields used against the running
// kernel's format files before it attaches anything. Raw tracepoints wherever the arguments
// themselves are enough: they cost a third of a plain one, at run time and to attach, and are not
// skipped when an interrupt hits another program. Syscall arguments then come from struct pt_regs,
// whose layout is part of the kernel's interface (ptrace); loader.py says where they stand.
//
// Every syscall of a traced thread passes on_sys_enter and on_sys_exit. Transfers on streams are
// dealt with right there; the rest that matters is handed on by tail call: two attachments instead
// of forty keep loading short, and detaching (an RCU grace period each) below a second. A program
// that is not loaded, because its group of the capture is off, is a tail call that falls through.
//
// How it hangs together:
//   threads      a thread of the traced tree, and its syscall in flight (one look-up is the filter)
//   branches     figures of a runtime or extension and all it started
//   sockets      (process, descriptor) -> connection
//   connections  the connection being followed. Keyed by socket address for TCP, because the state
//                machine knows nothing else; by a running number for UDP, which has no state machine
//   peers        (UDP socket, peer) -> connection, for sockets that talk to several
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
#define SIG_KILL 9
#define SENT_BY_KERNEL 1 // SEND_SIG_PRIV, include/linux/sched/signal.h
#define CLOSE_RANGE_CLOEXEC_ 4

#define STATE_ESTABLISHED 1
#define STATE_SYN_SENT 2
#define STATE_FIN_WAIT1 4
#define STATE_CLOSE 7
#define STATE_CLOSE_WAIT 8
#define STATE_LAST_ACK 9

#define DNS_PORT 53
#define TLS_CHANGE_CIPHER 0x14
#define TLS_ALERT 0x15
#define TLS_HANDSHAKE 0x16 // record types, RFC 8446, 5.1
#define TLS_APPLICATION_DATA 0x17
#define TLS_MAJOR 3
// Bytes of a client's ChangeCipherSpec and Finished at most, without a certificate of its own: 6, and
// 5 + 4 + 48 + 1 + 16 (RFC 8446, 4.4.4 and 5.2); more with the ciphers of TLS 1.2 that pad.
#define MOST_FINISHED 100
// A TLS handshake may follow a few lines in clear (STARTTLS, PostgreSQL's SSLRequest): so many
// sends are looked at.
#define MOST_LOOKS 8
// And so many receives of a handshake are handed on.
#define MOST_TEXTS 6
#define RING_HEADER_BYTES 8
// The reply to `next`, as Lambda's own server orders its headers: a status line of 17 bytes, perhaps
// "Content-Type: application/json" in 32, and then "Lambda-Runtime-Aws-Request-Id: " and the
// deadline, of which no more than "request-id: " and what follows is read.
#define REPLY_HEADERS_AT 17
#define REPLY_CONTENT_TYPE_BYTES 32
#define REPLY_TEXT_AT 36
#define REPLY_TEXT_BYTES 96
#define REPLY_BYTES (REPLY_TEXT_AT + REPLY_CONTENT_TYPE_BYTES + REPLY_TEXT_BYTES)

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

// struct msghdr and mmsghdr on 64-bit: iovecs at 16, a msghdr of 56 bytes, msg_len behind it
#define MESSAGE_VECTOR 16
#define MESSAGE_LENGTH 56
#define MESSAGE_SIZE 64

#define E_FIRST 96 // errno sets are 32 bits from here on
#define E_BIT(error) (1ULL << ((error) - E_FIRST))
#define NETWORK_ERRORS (E_BIT(E_CONNRESET) | E_BIT(E_TIMEDOUT) | E_BIT(E_CONNREFUSED) \
    | E_BIT(E_HOSTUNREACH) | E_BIT(E_NETUNREACH))
#define NO_FAILURES (E_BIT(E_INPROGRESS) | E_BIT(E_ALREADY) | E_BIT(E_ISCONN))

// ---- contexts: the plain tracepoint's format file, fields checked by loading.py

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
// Everything else is a raw tracepoint: its arguments as the kernel's TP_PROTO has them.
typedef struct bpf_raw_tracepoint_args raw;

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

// Syscall number -> what it is and the places it is handed on to; filled by loader.py, because the
// numbers differ between architectures.
struct operation { u8 op; u8 entry; u8 exit; u8 traits; u8 waits; u8 pad[3]; };
BPF_TABLE("array", u32, struct operation, operations, 512);
// AT_* -> program
BPF_PROG_ARRAY(places, 64);
struct destination { u8 address[16]; u16 port; u16 family; };
struct socket_key { u32 tgid; s32 fd; };

// Where a thread is. come_to() counts with these very bits.
#define WAITING 0
#define RUNNABLE 1
#define RUNNING 2

struct thread {
    u32 tgid;               // 0 until it runs: nothing tells a new process's pid before
    u32 branch;
    u64 leader;             // task of its process's leading thread
    u64 started;            // of the syscall in flight
    u64 connection;         // key of the connection it works on
    u64 connection_started;
    u64 buffer;             // user pointers of the syscall in flight
    u64 peer;
    u64 forked;             // when its process left its parent, whose sockets it shares
    u64 changed;            // when `place` last changed
    u64 slept;              // when it first went to sleep in the syscall in flight, 0: it did not
    u64 waited;             // how long it slept in it
    u32 parent;             // tgid; 0 of the process that its branch began with
    s32 fd;
    struct socket_key socket; // where the socket of the syscall in flight was found
    u32 number;             // of the syscall in flight
    u32 tid;                // 0 until its first syscall
    u32 length;
    u8 op;                  // OP_NONE: no syscall of interest in flight
    u8 traits;              // of the syscall in flight
    u8 exit;                // AT_* of where it goes on when it comes out, 0: right there
    u8 edge;
    u8 uncounted;           // a peek: bytes that will be read again
    u8 entering;            // OP_* on its way from on_sys_enter to its program
    u8 fragment;            // of a text, the next one to hand on
    u8 fragments;           // at most so many
    u8 kind;                // KIND_* of that text
    u8 next;                // AT_* to go on at when it has been handed on
    u8 dissolves;           // a connect() to AF_UNSPEC
    u8 opened;              // a datagram's connection has been made in this very exit
    u8 looked;              // at this send or receive for TLS
    u8 shares;              // its process has not called exec() yet: the parent's sockets are its own
    u8 place;               // WAITING, RUNNABLE, RUNNING
    u8 waits;               // WAITS_*: what for if it goes to sleep now
    u8 ending;              // the signal that ends its process, of the leading thread
    u8 sent;                // the signal that was sent to it last, of the leading thread
    u8 exiting;             // exit() has been called: signals that follow are the kernel's
    u8 founder;             // its branch began with its process, which was split off another
    u32 exit_code;
    u32 text_length;        // the text at hand
    u64 text;
    u32 text_flags;
    u32 out_of_memory;      // ENDING_OUT_OF_MEMORY if it was a victim
    u64 arguments[6];
    u8 request_id[40];      // of a response; a thread's name when it ends
    struct destination destination; // of a datagram, between the programs of its exit
    u64 woken;              // when it was last
    u64 paused;             // since when its branch had paused when it ended that, 0: nothing to tell
    u32 paused_by;          // WAITS_*
    u32 messages;           // of a sendmmsg or recvmmsg, already counted
    u32 record_id;          // of the connection, for on_exit_record
    u32 sleeps;             // how often it slept, ever
    s32 alive;              // threads of its process that have not ended, of the leading thread
    u32 nought;             // always 0, for hand_on()
};
BPF_TABLE("hash", u64, struct thread, threads, 1280);
// How many of the traced threads a task may be: by a hash of it. Most threads of a machine are none,
// and hear of it here for a tenth of what a look-up in `threads` takes.
#define HINTS 4096
BPF_TABLE("array", u32, u32, hints, HINTS);
static inline u32 *get_hint(u64 task)
{
    u32 key = ((u32)(task >> 6) * 2654435769U) >> 20; // Knuth's multiplicative hash, to 12 bits
    return hints.lookup(&key);
}

// Goes on in another program, and returns only if there is none. A place that the verifier knows is
// patched into the code, while all CPUs wait; so it is added to what the verifier does not know.
static inline void hand_on(raw *ctx, struct thread *t, u32 place)
{
    places.call(ctx, place + t->nought);
}

// Figures are advanced whenever one of the branch's threads changes its place. Two CPUs that do so
// in the same few nanoseconds can count that one span twice: a lock would cost more than it is worth.
struct branch {
    u64 advanced;
    u64 cpu;
    u64 cpu_wall;
    u64 runqueue;
    u64 runqueue_wall;
    u64 paused;             // while none is on a CPU: since when, or when the first was woken
    u64 idle[8];            // while all were asleep, by WAITS_*
    s32 running;
    s32 runnable;
    u32 exchanges;          // records since the execution began
    u32 blocked;
    u32 folded_exchanges;   // above what may be written, ever
    u32 folded_blocked;
    u32 texts;
    u32 folded_texts;
    u32 unseen;
    u32 pauses;             // records since the execution began
    u32 turns;              // of those in which one waited for a CPU
    u32 folded_pauses;
    u32 origin;             // the branch it was split off, 0: none
    u32 runtime;            // it has asked for an execution
};
BPF_TABLE("lru_hash", u32, struct branch, branches, 256);

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

#define LOOKING 0   // for a ClientHello among the first sends
#define SHAKING 1   // hands
#define PLAIN 2     // none came
#define SECURE 3    // the handshake is done

#define WANTS_RECEIVES 1
#define WANTS_SENDS 2

struct connection {
    struct connection_record record;
    struct exchange exchange;
    u64 leader;             // task: its process has ended when that is no thread any more
    u64 socket_id;
    u64 shaken;             // end of the handshake's latest send or receive
    u64 sending;            // when the latest send began
    u32 references;         // UDP: descriptors beyond the first
    u8 runtime;
    u8 awaits_invocation;   // the runtime asked for one and has no answer yet
    u8 tls;                 // LOOKING, SHAKING, PLAIN, SECURE
    u8 looks;               // sends looked at, then receives handed on
    u32 reader;             // the thread that received last, and how often it had slept by then
    u32 sleeps;
    u16 ticket;             // bytes of the record that may be a session ticket
    u8 tickets;             // TLS 1.3, as far as can be seen: session tickets may come
    u8 wanted;              // by on_exit_tls: WANTS_*
    u8 pad[4];
};
BPF_TABLE("hash", u64, struct connection, connections, 2048);

struct peer_key { u64 socket_id; u8 address[16]; u16 port; u16 family; u32 pad; };
BPF_TABLE("lru_hash", struct peer_key, u64, peers, 1024);

// (process, descriptor) -> the path it was opened by, for the group `blocked`
struct path { char text[96]; };
BPF_TABLE("lru_hash", struct socket_key, struct path, files, 512);

BPF_TABLE("percpu_array", u32, u64, lost, LOST_COUNT);
#define LAST_NUMBER 0
#define LAST_PAUSED 2 // task whose pause is to be told, if a scheduler's event ended it
#define LAST_KILLED 1 // task that the kernel itself sent SIGKILL last
BPF_TABLE("percpu_array", u32, u64, numbers, 3);
// Room for what is too large for the stack, or would have to be cleared there.
union scratch {
    struct connection connection;
    struct thread thread;
    struct exchange_record exchange;
    struct blocked_record blocked;
    struct path path;
    u8 event[EVENT_BYTES];
};
BPF_TABLE("percpu_array", u32, union scratch, scratch, 1);

BPF_RINGBUF_OUTPUT(events, 256);
BPF_RINGBUF_OUTPUT(syscalls, 1024);
// bcc 0.26 has no method for bpf_ringbuf_query. It numbers maps -1, -2, … in order of declaration
// and resolves those numbers itself; compile.py fails if these two do not name the two rings.
#define EVENTS_MAP ((void *)bpf_pseudo_fd(1, -14))
#define SYSCALLS_MAP ((void *)bpf_pseudo_fd(1, -15))

// Process that began before the probe did, by its pid in the agent's namespace -> what is known of it
// since it was seen; filled by loader.py where other extensions are to be followed.
struct adopted { u64 leader; u32 branch; u32 pad; };
BPF_TABLE("hash", u32, struct adopted, adopted, 16);

// ---- small helpers

// -1 below 0, else 0. Here and below arithmetic stands where one would write a branch: each branch in
// an inlined function doubles what the verifier has to walk, and loading time is the verifier's.
// Opaque before and after, or the compiler makes the branch again; the verifier does, where -1 or 0 is
// combined with a number it knows.
static inline s64 sign(s64 value)
{
    return opaque((s64)opaque(value) >> 63);
}

// 1 for anything but 0.
static inline u64 is_set(u64 value)
{
    return -sign(value | -value);
}

// Counts a loss if `result`, a helper's, is negative.
static inline void count_lost_if(s64 result, u32 what)
{
    u64 *counter = lost.lookup(&what);
    if (counter)
        *counter -= sign(result);
}

// Zeros: a read from nowhere fails, and clears its target. As stores it would be a tenth of what the
// verifier has to walk.
static inline void clear(void *target, u32 size)
{
    bpf_probe_read_kernel(target, size, 0);
}

static inline struct config *get_config(void)
{
    u32 zero = 0;
    return config.lookup(&zero);
}

static inline u32 next_number(void)
{
    u32 key = LAST_NUMBER;
    u64 *number = numbers.lookup(&key);
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
    u64 late = -sign((wake - 1) - waiting);
    u64 passes = -sign((waiting & (wake / 2 - 1)) - slot);
    return BPF_RB_NO_WAKEUP + (late & passes);
}

// The thread of a task if it belongs to the traced tree.
static inline struct thread *find_thread(u64 task)
{
    u32 *hint = get_hint(task);
    if (!hint || !*hint)
        return 0;
    return threads.lookup(&task);
}

// The current one. Where it is known to be a traced one there is no need for a hint.
static inline struct thread *current_thread(void)
{
    u64 task = bpf_get_current_task();
    return threads.lookup(&task);
}

static inline union scratch *get_scratch(void)
{
    u32 zero = 0;
    return scratch.lookup(&zero);
}

// The socket behind a descriptor; leaves in t->socket where it was found.
static inline struct socket *find_socket(struct thread *t, s32 fd)
{
    t->socket.tgid = t->tgid;
    t->socket.fd = fd;
    struct socket *s = sockets.lookup(&t->socket);
    if (!s && t->shares) {
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

// Into the events ring; wakes the agent if that has become half full.
static inline void emit(void *event, u64 flags)
{
    count_lost_if(events.ringbuf_output(event, EVENT_BYTES, flags), LOST_EVENTS);
}

static inline u64 when_half_full(struct config *cfg)
{
    return wake_flags(bpf_ringbuf_query(EVENTS_MAP, BPF_RB_AVAIL_DATA), cfg->events_wake,
                      EVENT_BYTES + RING_HEADER_BYTES);
}

static inline void emit_connection(struct connection *c)
{
    struct config *cfg = get_config();
    if (!cfg || c->runtime)
        return;
    // The latest exchange stands right behind the record.
    emit(&c->record, when_half_full(cfg));
}

static inline void finish_connection(u64 key, struct connection *c, u64 now)
{
    if (!c->record.closed)
        c->record.closed = now;
    emit_connection(c);
    connections.delete(&key);
}

// ---- figures of a branch

static inline void advance(struct branch *b, u64 now)
{
    // Another CPU may have been a little further.
    s64 span = now - b->advanced;
    span &= ~sign(span);
    b->advanced += span;
    s64 running = b->running, runnable = b->runnable;
    s64 any_running = sign(-running), any_runnable = sign(-runnable);
    b->cpu += running * span;
    b->cpu_wall += any_running & span;
    b->runqueue += runnable * span;
    b->runqueue_wall += any_runnable & ~any_running & span;
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
    return !opaque((r->port ^ d->port) | (a[0] ^ b[0]) | (a[1] ^ b[1]));
}

// 1 if the destination is the Lambda runtime API, 0 if not.
static inline u8 is_runtime(struct destination *d, struct config *c)
{
    u64 *a = (u64 *)d->address, *b = (u64 *)c->runtime_address;
    u64 differs = (d->port ^ c->runtime_port) | (a[0] ^ b[0]) | (a[1] ^ b[1]);
    return is_set(differs) ^ 1;
}

// A zeroed connection with all that is known of it at its start. Lives in per-CPU scratch space.
static inline struct connection *new_connection(
    struct thread *t, s32 fd, u8 protocol, struct destination *d, u64 started)
{
    union scratch *room = get_scratch();
    if (!room)
        return 0;
    struct connection *c = &room->connection;
    clear(c, sizeof(*c));
    c->leader = t->leader;
    c->wanted = WANTS_SENDS;
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

