// SPDX-License-Identifier: GPL-2.0-only
// ---- the process tree (probe_tree.c)

// Its process's leading thread, for what is true of the whole process.
static inline struct thread *leading(struct thread *t)
{
    u64 task = t->leader;
    return threads.lookup(&task);
}

static inline void forget_thread(u64 task)
{
    u32 *hint = get_hint(task);
    if (!threads.delete(&task) && hint)
        lock_xadd(hint, -1);
}

// TP_PROTO(struct task_struct *task, unsigned long clone_flags), in the parent's context
int on_newtask(raw *ctx)
{
    u64 child = ctx->args[0];
    u64 is_thread = (ctx->args[1] & CLONE_THREAD_) != 0;
    struct thread *t = current_thread();
    struct config *c = get_config();
    union scratch *room = get_scratch();
    if (!c || !room)
        return 0;
    struct thread *fresh = &room->thread;
    clear(fresh, sizeof(*fresh));
    u64 now = bpf_ktime_get_ns();
    u32 tgid = bpf_get_current_pid_tgid() >> 32;
    fresh->changed = fresh->forked = now;
    fresh->place = RUNNABLE;
    fresh->alive = 1;
    fresh->leader = child;
    if (!t) {
        struct bpf_pidns_info pids = {};
        if (!c->root || is_thread || namespace_pids(c, &pids) || pids.tgid != c->root)
            return 0;
        fresh->branch = next_number();
        struct branch none = {};
        none.advanced = none.paused = now;
        branches.update(&fresh->branch, &none);
    } else {
        fresh->branch = t->branch;
        fresh->parent = tgid;
        fresh->shares = 1;
        if (is_thread) {
            fresh->tgid = tgid;
            fresh->leader = t->leader;
            fresh->parent = t->parent;
            fresh->forked = t->forked;
            fresh->shares = t->shares;
            struct thread *leader = leading(t);
            if (leader)
                lock_xadd(&leader->alive, 1);
        }
    }
    struct branch *b = branches.lookup(&fresh->branch);
    if (b) {
        advance(b, now);
        lock_xadd(&b->runnable, 1);
    }
    // One that is there already has not been seen to end.
    struct thread *known = threads.lookup(&child);
    s64 result = threads.update(&child, fresh);
    count_lost_if(result, LOST_THREADS);
    u32 *hint = get_hint(child);
    if (hint && !result && !known)
        lock_xadd(hint, 1);
    return 0;
}

// TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
int on_exec(raw *ctx)
{
    u64 task = bpf_get_current_task();
    struct thread *t = threads.lookup(&task);
    if (!t)
        return 0;
    // Sockets are closed on exec wherever a runtime opened them: nothing of the parent's is left.
    t->shares = 0;
    t->op = OP_NONE;
    t->tid = 0;
    u64 leader = t->leader;
    if (leader != task) {
        // Not the leading thread: it takes that one's place, and all others have ended.
        t->leader = task;
        t->alive = 1;
        t->exiting = t->ending = t->sent = 0;
        forget_thread(leader);
    }
    return 0;
}

static inline void come_to(struct thread *t, struct branch *b, u8 place, u64 now)
{
    advance(b, now);
    u64 leaves = -(u64)(t->place >> 1);
    lock_xadd(&b->running, (place >> 1) - (t->place >> 1));
    lock_xadd(&b->runnable, (place & 1) - (t->place & 1));
    t->place = place;
    t->changed = now;
    // The last one on a CPU has left it.
    b->paused += (now - b->paused) & leaves & ~sign(-(s64)b->running);
}

// None of the branch was on a CPU from `started` until `now`, when `t` was woken or got one. In
// memory of the ring itself: an interrupt must not use the scratch space of what it interrupts.
static inline void note_pause(struct thread *t, struct branch *b, u64 started, u64 now, u32 waits)
{
    struct config *cfg = get_config();
    if (!cfg || now - started < cfg->threshold)
        return;
    // Counted apart, or a crowded CPU would leave no room for what is waited for.
    u32 *count = waits == WAITS_RUNQUEUE ? &b->turns : &b->pauses;
    if (*count >= cfg->most_pauses) {
        lock_xadd(&b->folded_pauses, 1);
        return;
    }
    struct pause_record *record = events.ringbuf_reserve(EVENT_BYTES);
    if (!record) {
        count_lost_if(-1, LOST_EVENTS);
        return;
    }
    *count += 1;
    clear(record, EVENT_BYTES);
    record->kind = KIND_PAUSE;
    record->waits = waits;
    record->tgid = t->tgid;
    record->tid = t->tid;
    record->branch = t->branch;
    u32 number = t->number;
    record->number = number;
    record->started = started;
    record->ended = now;
    struct operation *operation = operations.lookup(&number);
    if (operation && waits < WAITS_FAULT)
        record->op = operation->op;
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (c && waits == WAITS_NETWORK)
        record->connection = c->record.id;
    events.ringbuf_submit(record, when_half_full(cfg));
}

// TP_PROTO(struct task_struct *p, …): the thread itself, on its way out
int on_exit_task(raw *ctx)
{
    u64 task = bpf_get_current_task();
    struct thread *t = threads.lookup(&task);
    if (!t)
        return 0;
    u64 now = bpf_ktime_get_ns();
    struct branch *b = branches.lookup(&t->branch);
    if (b)
        come_to(t, b, WAITING, now);
    t->tgid = bpf_get_current_pid_tgid() >> 32;
    u64 leader_task = t->leader;
    struct thread *leader = threads.lookup(&leader_task);
    if (leader) {
        lock_xadd(&leader->alive, -1);
        if (leader->alive <= 0) {
            // The process ends. Its leading thread, which may have ended before, knows how.
            t->ending = leader->ending;
            t->exit_code = leader->exit_code;
            t->out_of_memory = leader->out_of_memory;
            t->edge = EDGE_PROCESS_EXIT;
            t->started = now;
            bpf_get_current_comm(t->request_id, 16);
            hand_on(ctx, t, AT_EDGE);
        }
    }
    if (task != leader_task)
        forget_thread(task);
    return 0;
}

// `t` was asleep, and now it could run.
static inline void wake(struct thread *t, struct branch *b, u64 now)
{
    t->waited += now - t->changed;
    if (!(b->running | b->runnable)) {
        u64 asleep = b->paused, waits = opaque(t->waits) & 7;
        b->paused = now;
        lock_xadd(&b->idle[waits], now - asleep);
        note_pause(t, b, asleep, now, waits);
    }
    come_to(t, b, RUNNABLE, now);
}

// Kernels call no program for switches that some of their own tasks make (seen with those of the init
// process of a Firecracker guest). Who turns out to have been on a CPU unseen had lost it to one of
// these, for a moment: what was taken for a wait in the run queue was time on a CPU.
static inline void was_running(struct thread *t, struct branch *b, u64 now)
{
    u64 span = now - t->changed;
    u64 alone = -(is_set(b->running) ^ 1);
    come_to(t, b, RUNNING, now);
    b->runqueue -= span;
    b->cpu += span;
    b->runqueue_wall -= span & alone;
    b->cpu_wall += span & alone;
}

// A thread makes a system call, or comes out of one: it runs, and the switch to it was not seen, or
// not even that it was woken. Then back.
int on_resume(raw *ctx)
{
    struct thread *t = current_thread();
    if (!t)
        return 0;
    struct branch *b = branches.lookup(&t->branch);
    u64 now = bpf_ktime_get_ns();
    if (b && t->place == WAITING)
        wake(t, b, now);
    if (b && t->next == AT_SYS_ENTER)
        was_running(t, b, now);
    else if (b)
        come_to(t, b, RUNNING, now);
    t->place = RUNNING;
    hand_on(ctx, t, t->next);
    return 0;
}

// `leaves` leaves its CPU, and `comes` takes it. `waits` is 1 if it leaves for lack of anything to do,
// 0 if another was to have the CPU. `known`: the kernel tells which of the two it is.
static inline void take_turns(u64 leaves, u64 comes, u64 waits, u64 known)
{
    u64 now = bpf_ktime_get_ns();
    struct thread *t = find_thread(leaves);
    struct branch *b = t ? branches.lookup(&t->branch) : 0;
    if (b) {
        if (t->place == RUNNABLE)
            was_running(t, b, now);
        come_to(t, b, RUNNABLE - waits, now);
        t->sleeps += waits;
        t->slept += now * (waits & ~is_set(t->slept));
    }
    t = find_thread(comes);
    b = t ? branches.lookup(&t->branch) : 0;
    if (!b)
        return;
    if (known) {
        // That it was woken was not seen.
        if (t->place == WAITING)
            wake(t, b, now);
    } else {
        // One that nobody woke never waited.
        u64 mistaken = is_set(t->place) - 1, span = (now - t->changed) & mistaken;
        t->slept &= ~(mistaken & (is_set(t->slept ^ t->changed) - 1));
        t->sleeps += mistaken;
        b->runqueue += span;
        b->runqueue_wall += span & ~sign(-(s64)b->running);
    }
    if (!b->running)
        note_pause(t, b, b->paused, now, WAITS_RUNQUEUE);
    come_to(t, b, RUNNING, now);
}

// TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
int on_switch(raw *ctx)
{
    take_turns(ctx->args[1], ctx->args[2], is_set(ctx->args[3]) & ~ctx->args[0], 1);
    return 0;
}

// Before Linux 5.18 the last argument is not there, and attaching on_switch fails. A thread that is
// not woken before it comes back had only lost its turn.
int on_switch_before_5_18(raw *ctx)
{
    take_turns(ctx->args[1], ctx->args[2], 1 & ~ctx->args[0], 0);
    return 0;
}

// TP_PROTO(struct task_struct *p)
int on_wakeup(raw *ctx)
{
    struct thread *t = find_thread(ctx->args[0]);
    // Called while it was still going to sleep, it goes on running.
    if (!t || t->place != WAITING)
        return 0;
    struct branch *b = branches.lookup(&t->branch);
    if (b)
        wake(t, b, bpf_ktime_get_ns());
    return 0;
}

// What a process does not end by if it does nothing about it: SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP,
// SIGTTIN, SIGTTOU, SIGURG, SIGWINCH (signal(7)).
#define HARMLESS ((1ULL << 17) | (1ULL << 18) | (1ULL << 19) | (1ULL << 20) | (1ULL << 21) \
    | (1ULL << 22) | (1ULL << 23) | (1ULL << 28))

// TP_PROTO(int sig, struct kernel_siginfo *info, struct k_sigaction *ka), in the receiver's context
int on_signal(raw *ctx)
{
    u64 signal = ctx->args[0], handler = 0;
    // A k_sigaction begins as user space's struct sigaction does: with the handler.
    bpf_probe_read_kernel(&handler, sizeof(handler), (void *)ctx->args[2]);
    if (handler || (HARMLESS >> (signal & 63)) & 1)
        return 0;
    struct thread *t = current_thread();
    if (!t)
        return 0;
    struct thread *leader = leading(t);
    // What ends a process without a core is delivered as SIGKILL, to all its threads.
    if (leader && !leader->ending && !leader->exiting)
        leader->ending = signal == SIG_KILL && leader->sent ? leader->sent : signal;
    return 0;
}

// TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, …), in the sender's context
int on_send_signal(raw *ctx)
{
    u64 signal = ctx->args[0], task = ctx->args[2];
    if ((HARMLESS >> (signal & 63)) & 1)
        return 0;
    u32 key = LAST_KILLED;
    u64 *killed = numbers.lookup(&key);
    if (killed && signal == SIG_KILL && ctx->args[1] == SENT_BY_KERNEL)
        *killed = task;
    struct thread *t = find_thread(task);
    if (!t)
        return 0;
    struct thread *leader = leading(t);
    if (leader)
        leader->sent = signal;
    return 0;
}

// TP_PROTO(struct task_struct *task, uid_t uid); before Linux 6.9 TP_PROTO(int pid), of the task that
// the kernel has sent SIGKILL just before.
int on_victim(raw *ctx)
{
    u64 task = ctx->args[0];
    u32 key = LAST_KILLED;
    u64 *killed = numbers.lookup(&key);
    if (killed && !(task >> 32))
        task = *killed;
    struct thread *t = threads.lookup(&task);
    struct thread *leader = t ? leading(t) : 0;
    if (leader)
        leader->out_of_memory = ENDING_OUT_OF_MEMORY;
    return 0;
}

