// SPDX-License-Identifier: GPL-2.0-only
// ---- texts that the agent reads: the runtime's HTTP, DNS messages, TLS handshakes (probe_text.c)

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
    if (line[0] == 'G' && line[24] == 'r' && line[31] == '/' && line[32] == 'n' && line[35] == 't') {
        t->edge = EDGE_SNAPSHOT;
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

// A send or receive on a connection to the runtime API. The reply to `next` is told by its headers:
// the agent finds the request id in their bytes 32 to 128 (searching here would be a third of what
// the verifier has to walk). They stand behind the status line; the headers up to
// Lambda-Runtime-Trace-Id take more than 300, so nothing of the event is among them.
int on_exit_runtime(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u8 op = t->op;
    t->op = OP_NONE;
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c || op == OP_SENDFILE)
        return 0;
    t->buffer = first_buffer(t);
    t->edge = 0;
    if (receives(t)) {
        if (!c->awaits_invocation || (s64)ctx->args[1] < REPLY_BYTES)
            return 0;
        c->awaits_invocation = 0;
        t->edge = EDGE_START;
        t->started = bpf_ktime_get_ns();
    } else {
        read_request_line(t, t->buffer);
        if (t->edge == EDGE_NEXT)
            c->awaits_invocation = 1;
    }
    if (t->edge)
        hand_on(ctx, t, AT_EDGE);
    return 0;
}

// A process has ended: its last thread goes, and its leading one, which was kept until now.
static inline void forget_process(struct thread *t)
{
    u64 leader = t->leader, task = bpf_get_current_task();
    forget_thread(task);
    if (leader != task)
        forget_thread(leader);
}

// t->edge has come, at t->started.
int on_edge(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    struct branch *b = branches.lookup(&t->branch);
    struct edge_record record;
    u8 edge = t->edge;
    if (!b) {
        count_lost_if(-1, LOST_EVENTS);
        goto forget;
    }
    clear(&record, sizeof(record));
    record.kind = KIND_EDGE;
    record.edge = edge;
    record.branch = t->branch;
    record.tgid = t->tgid;
    record.tid = (u32)bpf_get_current_pid_tgid();
    record.time = t->started;
    record.syscalls_position = bpf_ringbuf_query(SYSCALLS_MAP, BPF_RB_PROD_POS);
    advance(b, t->started);
    record.cpu = b->cpu;
    record.cpu_wall = b->cpu_wall;
    record.runqueue = b->runqueue;
    record.runqueue_wall = b->runqueue_wall;
    record.folded_exchanges = b->folded_exchanges;
    record.folded_blocked = b->folded_blocked;
    record.folded_texts = b->folded_texts;
    record.folded_pauses = b->folded_pauses;
    __builtin_memcpy(&record.idle_network, &b->idle[WAITS_NETWORK], 7 * sizeof(u64));
    record.flags = b->unseen | t->ending | t->out_of_memory;
    record.parent = t->founder ? 0 : t->parent;
    record.born = t->forked;
    record.exit_code = t->exit_code;
    // What wakes the agent: asking for the next invocation, which means that the response is out (now
    // it is the agent's turn, and not while the response is still being sent), an error that ends the
    // runtime, its end, and a snapshot that is about to be taken.
    u64 flags = BPF_RB_NO_WAKEUP;
    if ((edge == EDGE_PROCESS_EXIT && !record.parent) || edge == EDGE_NEXT
        || edge == EDGE_INIT_ERROR || edge == EDGE_SNAPSHOT)
        flags = BPF_RB_FORCE_WAKEUP;
    if (edge == EDGE_NEXT)
        b->runtime = 1;
    if (edge == EDGE_START) {
        b->exchanges = b->blocked = b->texts = b->pauses = b->turns = 0;
        u64 at = t->buffer + REPLY_TEXT_AT;
        u8 first = 0;
        bpf_probe_read_user(&first, 1, (void *)(t->buffer + REPLY_HEADERS_AT));
        if (first == 'C' || first == 'c')
            at += REPLY_CONTENT_TYPE_BYTES;
        bpf_probe_read_user(record.text, REPLY_TEXT_BYTES, (void *)at);
    } else {
        bpf_probe_read_kernel(record.text, sizeof(t->request_id), t->request_id);
    }
    emit(&record, flags);
forget:
    if (edge == EDGE_PROCESS_EXIT)
        forget_process(t);
    return 0;
}

// Where the bytes of the transfer in flight stand in the user's memory, in t->text and
// t->text_length: those of its first piece. `message` is which one of a sendmmsg or recvmmsg.
static inline void find_text(struct thread *t, s64 ret, u32 message)
{
    u64 header = t->buffer;
    if (t->traits & HAS_MANY)
        header += (u64)message * MESSAGE_SIZE;
    u64 base = header;
    u32 length = ret;
    t->text_flags = 0;
    if (t->traits & HAS_MANY)
        bpf_probe_read_user(&length, sizeof(length), (void *)(header + MESSAGE_LENGTH));
    if (t->traits & HAS_MESSAGE)
        bpf_probe_read_user(&base, sizeof(base), (void *)(header + MESSAGE_VECTOR));
    if (t->traits & HAS_VECTOR) {
        u64 iovec[4] = {};
        // Over TCP both addresses of a name are asked for in one call: length, message, twice.
        if (!(t->traits & HAS_MANY))
            base += (u64)message * sizeof(iovec);
        bpf_probe_read_user(iovec, sizeof(iovec), (void *)base);
        // Over TCP glibc writes a DNS message's length and the message as two pieces.
        int apart = iovec[1] == 2 && length > 2;
        u64 room = apart ? iovec[3] : iovec[1];
        base = apart ? iovec[2] : iovec[0];
        length = apart ? length - 2 : length;
        t->text_flags = apart ? TEXT_WITHOUT_PREFIX : 0;
        // What stands in a further piece is left out.
        length = length > room ? room : length;
    }
    t->text = base;
    t->text_length = length;
    t->fragment = 0;
}

// A message to or from port 53 goes to the agent as it is, in pieces: who asked for what, and what the
// answer was, is read there. Once for each of a sendmmsg or recvmmsg.
int on_exit_dns(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    s64 ret = ctx->args[1];
    find_text(t, ret, t->messages);
    t->messages += 1;
    t->kind = KIND_DNS;
    t->fragments = DNS_FRAGMENTS;
    s64 done = t->messages, all = t->traits & HAS_MANY ? ret : 0;
    if (t->text_flags & TEXT_WITHOUT_PREFIX) {
        t->length += 2 + t->text_length;
        done = t->length;
        all = ret;
    }
    t->next = done < all ? AT_DNS : AT_RECORD;
    hand_on(ctx, t, AT_PIECE);
    return 0;
}

// Is this a TLS handshake, and is it over? Its first messages, in which names are still in clear, go to
// the agent. And of what size is the first record behind it? Then back.
int on_exit_tls(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    t->looked = 1;
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (!c)
        return 0;
    t->next = AT_SYS_EXIT;
    t->kind = KIND_TLS;
    u64 now = bpf_ktime_get_ns();
    if (t->op == OP_SENDFILE) {
        c->tls = c->tls == LOOKING ? PLAIN : SECURE;
        c->wanted = 0;
        hand_on(ctx, t, AT_SYS_EXIT);
        return 0;
    }
    find_text(t, ctx->args[1], 0);
    u8 first[5] = {}; // a record's header: type, version, length
    bpf_probe_read_user(first, sizeof(first), (void *)t->text);
    if (c->tls == SECURE) {
        c->ticket = sizeof(first) + (first[3] << 8 | first[4]);
        c->wanted = 0;
    } else if (receives(t)) {
        c->shaken = now;
        c->looks += 1;
        t->fragments = TLS_RECEIVED_FRAGMENTS;
        if (c->looks <= MOST_TEXTS)
            hand_on(ctx, t, AT_PIECE);
    } else if (c->tls == SHAKING) {
        if (first[0] == TLS_APPLICATION_DATA) {
            c->tls = SECURE;
            c->wanted = c->tickets * WANTS_RECEIVES;
            c->record.tls_ended = c->shaken;
        } else if (first[0] == TLS_CHANGE_CIPHER && (s64)ctx->args[1] > MOST_FINISHED) {
            // The last flight of the handshake and the first request in one.
            c->tls = SECURE;
            c->wanted = c->tickets * WANTS_RECEIVES;
            c->record.tls_ended = t->started;
        } else {
            c->shaken = now;
            // A client of TLS 1.2 goes on in handshake messages, one of TLS 1.3 is encrypted by now.
            if (first[0] == TLS_HANDSHAKE)
                c->tickets = 0;
            t->fragments = TLS_RECEIVED_FRAGMENTS;
            if (first[0] == TLS_ALERT)
                hand_on(ctx, t, AT_PIECE);
        }
    } else if (first[0] == TLS_HANDSHAKE && first[1] == TLS_MAJOR) {
        c->tls = SHAKING;
        c->wanted = WANTS_SENDS | WANTS_RECEIVES;
        c->tickets = 1;
        c->looks = 0;
        c->shaken = now;
        c->record.tls_started = t->started;
        // What was said in clear before it is no exchange of its own any more.
        clear(&c->exchange, sizeof(c->exchange));
        t->fragments = TLS_SENT_FRAGMENTS;
        hand_on(ctx, t, AT_PIECE);
    } else {
        c->looks += 1;
        if (c->looks >= MOST_LOOKS) {
            c->tls = PLAIN;
            c->wanted = 0;
        }
    }
    hand_on(ctx, t, AT_SYS_EXIT);
    return 0;
}

// Hands on a piece of t->text and calls itself for the next one.
int on_exit_piece(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    struct connection *c = find_connection(t->connection, t->connection_started);
    struct config *cfg = get_config();
    struct branch *b = branches.lookup(&t->branch);
    if (!c || !cfg || !b)
        return 0;
    b->texts += 1;
    if (b->texts > cfg->most_texts) {
        lock_xadd(&b->folded_texts, 1);
        hand_on(ctx, t, t->next);
        return 0;
    }
    struct text_record record;
    clear(&record, sizeof(record));
    record.kind = t->kind;
    record.direction = receives(t) ? TEXT_RECEIVED : TEXT_SENT;
    record.family = c->record.family;
    record.connection = c->record.id;
    record.tgid = t->tgid;
    record.tid = (u32)bpf_get_current_pid_tgid();
    record.branch = t->branch;
    record.length = t->text_length;
    record.flags = t->text_flags;
    if (c->record.protocol == PROTOCOL_TCP)
        record.flags |= TEXT_STREAM;
    record.time = t->started;
    if (receives(t))
        record.time = bpf_ktime_get_ns();
    __builtin_memcpy(record.server, c->record.address, 16);
    u64 at = (u64)t->fragment * TEXT_FRAGMENT_BYTES;
    record.fragment = t->fragment;
    // Not a byte beyond the message: that would be somebody's memory.
    u64 rest = opaque(t->text_length - at);
    if (rest > TEXT_FRAGMENT_BYTES)
        rest = TEXT_FRAGMENT_BYTES;
    bpf_probe_read_user(record.text, rest, (void *)(t->text + at));
    emit(&record, when_half_full(cfg));
    t->fragment += 1;
    if (t->fragment < t->fragments && at + TEXT_FRAGMENT_BYTES < t->text_length)
        hand_on(ctx, t, AT_PIECE);
    hand_on(ctx, t, t->next);
    return 0;
}
