// SPDX-License-Identifier: GPL-2.0-only
// ---- syscalls that waited (probe_blocked.c)

// A syscall that slept comes out, or a thread that slept outside any goes into its next one. Then on
// with whatever else it is. The scheduler tells how long a thread slept (probe_tree.c), so a syscall
// that does not sleep costs nothing here.
int on_blocked(raw *ctx)
{
    struct thread *t = current_thread();
    struct config *cfg = get_config();
    union scratch *room = get_scratch();
    if (!t || !cfg || !room)
        return 0;
    u64 waited = t->waited, slept = t->slept;
    t->waited = t->slept = 0;
    u32 number = t->number;
    struct operation *operation = operations.lookup(&number);
    struct branch *b = branches.lookup(&t->branch);
    // What is asked of a connection is told by the connection and its exchanges.
    if (!b || !operation || waited < cfg->threshold || (t->op != OP_NONE && t->op != OP_OPEN)) {
        hand_on(ctx, t, t->next);
        return 0;
    }
    if (b->blocked >= cfg->most_blocked) {
        lock_xadd(&b->folded_blocked, 1);
        hand_on(ctx, t, t->next);
        return 0;
    }
    b->blocked += 1;
    clear(room->event, EVENT_BYTES);
    struct blocked_record *record = &room->blocked;
    record->kind = KIND_BLOCKED;
    u64 ids = bpf_get_current_pid_tgid();
    record->tgid = ids >> 32;
    record->tid = ids;
    record->branch = t->branch;
    record->started = slept;
    record->ended = bpf_ktime_get_ns();
    record->waited = waited;
    record->number = BLOCKED_FAULT;
    record->fd = -1;
    if (t->next == AT_SYS_EXIT) {
        record->op = operation->op;
        record->number = number;
        record->result = ctx->args[1];
        u64 first = 0;
        bpf_probe_read_kernel(&first, sizeof(first), (void *)(ctx->args[0] + cfg->first_at));
        if (operation->traits & HAS_FD)
            record->fd = first;
        struct socket_key key = {t->tgid, first};
        // Only calls whose first argument is a file's descriptor; others' would be a coincidence.
        // Where no path is known, a read from nowhere leaves none.
        if (operation->traits & IS_FILE)
            bpf_probe_read_kernel(record->path, sizeof(record->path), files.lookup(&key));
        if (t->op == OP_OPEN)
            bpf_probe_read_user_str(record->path, sizeof(record->path), (void *)t->buffer);
    }
    emit(record, when_half_full(cfg));
    hand_on(ctx, t, t->next);
    return 0;
}
