// SPDX-License-Identifier: GPL-2.0-only
// ---- the process tree (probe_tree.c)

int on_newtask(struct newtask_ctx *ctx)
{
    u32 child = ctx->pid;
    int is_thread = (ctx->clone_flags & CLONE_THREAD_) != 0;
    struct thread *t = current_thread();
    struct config *c = get_config();
    union scratch *room = get_scratch();
    if (!c || !room)
        return 0;
    if (!t) {
        struct bpf_pidns_info pids = {};
        if (!c->root || is_thread || namespace_pids(c, &pids) || pids.tgid != c->root)
            return 0;
    }
    struct thread *fresh = &room->thread;
    clear(fresh, sizeof(*fresh));
    u64 now = bpf_ktime_get_ns();
    fresh->changed = fresh->forked = now;
    fresh->place = RUNNABLE;
    fresh->alive = 1;
    fresh->branch = fresh->tgid = child;
    if (t) {
        fresh->branch = t->branch;
        fresh->parent = t->tgid;
        fresh->shares = 1;
        if (is_thread) {
            fresh->tgid = t->tgid;
            fresh->parent = t->parent;
            fresh->forked = t->forked;
            fresh->shares = t->shares;
            struct thread *leader = threads.lookup(&fresh->tgid);
            if (leader)
                lock_xadd(&leader->alive, 1);
        }
    }
    struct branch *b = branches.lookup(&fresh->branch);
    if (!b) {
        struct branch none = {};
        none.advanced = now;
        branches.update(&fresh->branch, &none);
        b = branches.lookup(&fresh->branch);
    }
    if (b) {
        advance(b, now);
        lock_xadd(&b->runnable, 1);
    }
    count_lost_if(threads.update(&child, fresh), LOST_THREADS);
    return 0;
}

// TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
int on_exec(raw *ctx)
{
    u32 old = ctx->args[1], now = (u32)bpf_get_current_pid_tgid();
    struct thread *t = threads.lookup(&old);
    if (!t)
        return 0;
    // Sockets are closed on exec wherever a runtime opened them: nothing of the parent's is left.
    t->shares = 0;
    t->op = OP_NONE;
    if (old != now) {
        // Not the leading thread: it takes that one's place, and all others have ended.
        t->alive = 1;
        t->exiting = t->ending = t->sent = 0;
        threads.update(&now, t);
        threads.delete(&old);
    }
    return 0;
}

static inline void come_to(struct thread *t, struct branch *b, u8 place, u64 now)
{
    advance(b, now);
    lock_xadd(&b->running, (place >> 1) - (t->place >> 1));
    lock_xadd(&b->runnable, (place & 1) - (t->place & 1));
    t->place = place;
    t->changed = now;
}

// Its time asleep is over, if it slept.
static inline void rise(struct thread *t, u64 now)
{
    t->waited += (now - t->changed) & ~-is_set(t->place);
}

// TP_PROTO(struct task_struct *p, …): the thread itself, on its way out
int on_exit_task(raw *ctx)
{
    u32 tid = (u32)bpf_get_current_pid_tgid();
    struct thread *t = threads.lookup(&tid);
    if (!t)
        return 0;
    u64 now = bpf_ktime_get_ns();
    struct branch *b = branches.lookup(&t->branch);
    if (b)
        come_to(t, b, WAITING, now);
    u32 tgid = t->tgid;
    struct thread *leader = threads.lookup(&tgid);
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
            hand_on(ctx, AT_EDGE);
        }
    }
    if (tid != tgid)
        threads.delete(&tid);
    return 0;
}

#define NO_STATE 0xff // TASK_REPORT and idle; what stands above it tells of preemption

// TP_PROTO(bool preempt, struct task_struct *prev, …): when each CPU last took another thread.
int on_switch_raw(raw *ctx)
{
    u32 zero = 0;
    struct turn *turn = turns.lookup(&zero);
    if (!turn)
        return 0;
    turn->before = turn->last;
    turn->last = bpf_ktime_get_ns();
    turn->left = (u32)bpf_get_current_pid_tgid();
    return 0;
}

// The kernel leaves a plain tracepoint's program out where a bpf(2) call on that CPU is interrupted
// by the switch: then a thread was not seen to come to the CPU that it leaves now. It came with the
// switch before.
static inline void catch_up(struct thread *t, struct branch *b, u64 now)
{
    u32 zero = 0;
    struct turn *turn = turns.lookup(&zero);
    if (!turn)
        return;
    // The raw program may have been called for this very switch already.
    u64 came = turn->last;
    if (turn->left == (u32)bpf_get_current_pid_tgid())
        came = turn->before;
    if (came < t->changed)
        return;
    // advance(), which follows, counts this span as the place it was believed to be in.
    s64 running = b->running;
    u64 span = now - came, alone = span & ~sign(-running), ran = -(u64)(t->place & RUNNABLE);
    b->cpu += span;
    b->cpu_wall += alone;
    b->runqueue -= span & ran;
    b->runqueue_wall -= alone & ran;
    t->waited += (came - t->changed) & ~ran;
}

int on_switch(struct switch_ctx *ctx)
{
    u32 leaves = ctx->old_pid, comes = ctx->new_pid;
    u64 now = bpf_ktime_get_ns();
    struct thread *t = threads.lookup(&leaves);
    struct branch *b = t ? branches.lookup(&t->branch) : 0;
    if (b) {
        u64 waits = is_set(ctx->old_state & NO_STATE);
        if (t->place != RUNNING)
            catch_up(t, b, now);
        come_to(t, b, RUNNABLE - waits, now);
        t->sleeps += waits;
        t->slept += now * (waits & ~is_set(t->slept));
    }
    t = threads.lookup(&comes);
    b = t ? branches.lookup(&t->branch) : 0;
    if (b) {
        rise(t, now);
        come_to(t, b, RUNNING, now);
    }
    return 0;
}

int on_wakeup(struct wakeup_ctx *ctx)
{
    u32 tid = ctx->pid;
    struct thread *t = threads.lookup(&tid);
    // Called while it was still going to sleep, it goes on running.
    if (!t || t->place != WAITING)
        return 0;
    struct branch *b = branches.lookup(&t->branch);
    if (!b)
        return 0;
    u64 now = bpf_ktime_get_ns();
    rise(t, now);
    come_to(t, b, RUNNABLE, now);
    return 0;
}

// What a process does not end by if it does nothing about it: SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP,
// SIGTTIN, SIGTTOU, SIGURG, SIGWINCH (signal(7)).
#define HARMLESS ((1ULL << 17) | (1ULL << 18) | (1ULL << 19) | (1ULL << 20) | (1ULL << 21) \
    | (1ULL << 22) | (1ULL << 23) | (1ULL << 28))

int on_signal(struct signal_ctx *ctx)
{
    if (ctx->handler || (HARMLESS >> (ctx->signal & 63)) & 1)
        return 0;
    struct thread *t = current_thread();
    if (!t)
        return 0;
    u32 tgid = t->tgid;
    struct thread *leader = threads.lookup(&tgid);
    // What ends a process without a core is delivered as SIGKILL, to all its threads.
    if (leader && !leader->ending && !leader->exiting)
        leader->ending = ctx->signal == SIG_KILL && leader->sent ? leader->sent : ctx->signal;
    return 0;
}

int on_send_signal(struct send_signal_ctx *ctx)
{
    u32 pid = ctx->pid;
    struct thread *t = threads.lookup(&pid);
    if (!t || (HARMLESS >> (ctx->signal & 63)) & 1)
        return 0;
    u32 tgid = t->tgid;
    struct thread *leader = threads.lookup(&tgid);
    if (leader)
        leader->sent = ctx->signal;
    return 0;
}

int on_victim(struct victim_ctx *ctx)
{
    u32 pid = ctx->pid;
    struct thread *t = threads.lookup(&pid);
    if (t)
        t->out_of_memory = ENDING_OUT_OF_MEMORY;
    return 0;
}

