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

// Where one environment runs several runtimes (Lambda Managed Instances), Python's are forks of one
// process that asks for no execution itself. So whoever is forked by somebody who has asked for none is
// a branch of its own, until it calls exec(): then it is a program that its parent has started.
static inline void split_off(struct thread *fresh, u64 now)
{
    struct branch *b = branches.lookup(&fresh->branch);
    if (!b || b->runtime)
        return;
    struct branch none = {};
    none.advanced = none.paused = now;
    none.origin = fresh->branch;
    fresh->branch = next_number();
    fresh->founder = 1;
    branches.update(&fresh->branch, &none);
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
            fresh->founder = t->founder;
            struct thread *leader = leading(t);
            if (leader)
                lock_xadd(&leader->alive, 1);
        } else if (c->splits) {
            split_off(fresh, now);
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

static inline void come_to(struct thread *t, struct branch *b, u8 place, u64 now)
{
    advance(b, now);
    u64 was_awake = -is_set(t->place);
    lock_xadd(&b->running, (place >> 1) - (t->place >> 1));
    lock_xadd(&b->runnable, (place & 1) - (t->place & 1));
    t->place = place;
    t->changed = now;
    // The last one on a CPU has left it.
    b->paused += (now - b->paused) & was_awake & ~sign(-(s64)b->running);
}

// Back to the branch it was split off (split_off), unless it has proved to be a runtime.
static inline void return_home(struct thread *t)
{
    struct branch *b = branches.lookup(&t->branch);
    if (!b || b->runtime)
        return;
    u32 origin = b->origin;
    struct branch *home = branches.lookup(&origin);
    if (!home)
        return;
    u64 now = bpf_ktime_get_ns();
    come_to(t, b, WAITING, now);
    t->branch = origin;
    t->founder = 0;
    come_to(t, home, RUNNING, now);
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
    if (t->founder)
        return_home(t);
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

// None of the branch was on a CPU from t->paused until t->changed, when `t` was woken or got one. In
// memory of the ring itself: an interrupt must not use the scratch space of what it interrupts.
static inline void tell_pause(struct thread *t)
{
    u64 started = t->paused;
    t->paused = 0;
    struct config *cfg = get_config();
    struct branch *b = branches.lookup(&t->branch);
    if (!cfg || !b)
        return;
    u32 waits = t->paused_by, number = t->number;
    u64 turn = is_set(waits ^ WAITS_RUNQUEUE) ^ 1;
    // Counted apart, or a crowded CPU would leave no room for what is waited for.
    u32 *count = &b->pauses + (opaque(turn) & 1);
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
    // At a switch this is still the one who leaves, and process 0 is nobody: the idle task.
    record->idle = turn & (is_set((u32)bpf_get_current_pid_tgid()) ^ 1);
    record->tgid = t->tgid;
    record->tid = t->tid;
    record->branch = t->branch;
    record->number = number;
    record->started = started;
    record->ended = t->changed;
    struct operation *operation = operations.lookup(&number);
    if (operation)
        record->op = operation->op & sign((s64)waits - WAITS_FAULT);
    struct connection *c = find_connection(t->connection, t->connection_started);
    if (c)
        record->connection = c->record.id & (is_set(waits ^ WAITS_NETWORK) - 1);
    events.ringbuf_submit(record, when_half_full(cfg));
}

// Of the thread that a scheduler's event was about, which then is done; or of the current one, which goes
// on with its system call.
int on_pause(raw *ctx)
{
    u32 key = LAST_PAUSED;
    u64 *last = numbers.lookup(&key);
    if (!last)
        return 0;
    u64 task = *last, own = bpf_get_current_task() & (is_set(task) - 1);
    *last = 0;
    task |= own;
    struct thread *t = threads.lookup(&task);
    if (!t)
        return 0;
    tell_pause(t);
    if (own)
        hand_on(ctx, t, t->next);
    return 0;
}

// The branch's pause is over if `alone` is all ones and not 0; it is told if it was long enough.
static inline void end_pause(
    struct thread *t, struct branch *b, struct config *cfg, u64 now, u64 alone, u32 waits)
{
    t->paused = b->paused & alone & ~sign(now - b->paused - cfg->threshold);
    t->paused_by = waits;
}

// At the end of a scheduler's event, where interrupts are off: nobody comes between.
static inline void hand_on_pause(raw *ctx, struct thread *t, u64 task)
{
    u32 key = LAST_PAUSED;
    u64 *last = numbers.lookup(&key);
    if (!t->paused || !last)
        return;
    *last = task;
    hand_on(ctx, t, AT_PAUSE);
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

// TP_PROTO(struct pt_regs *regs, long id). Takes in, one after the other, the threads of processes that
// were there before the probe: the first one to come stands for its process.
int on_adopt(raw *ctx)
{
    u64 task = bpf_get_current_task();
    struct config *c = get_config();
    struct bpf_pidns_info pids = {};
    if (find_thread(task) || !c || namespace_pids(c, &pids))
        return 0;
    struct adopted *known = adopted.lookup(&pids.tgid);
    union scratch *room = get_scratch();
    if (!known || !room)
        return 0;
    u64 now = bpf_ktime_get_ns();
    if (!known->branch) {
        struct branch none = {};
        none.advanced = none.paused = now;
        known->leader = task;
        known->branch = next_number();
        branches.update(&known->branch, &none);
    }
    struct thread *fresh = &room->thread;
    clear(fresh, sizeof(*fresh));
    fresh->tgid = bpf_get_current_pid_tgid() >> 32;
    fresh->branch = known->branch;
    fresh->leader = known->leader;
    fresh->changed = fresh->forked = now;
    fresh->place = RUNNING;
    struct thread *leader = leading(fresh);
    if (leader)
        lock_xadd(&leader->alive, 1);
    else
        fresh->alive = 1;
    struct branch *b = branches.lookup(&fresh->branch);
    if (b) {
        advance(b, now);
        lock_xadd(&b->running, 1);
    }
    s64 result = threads.update(&task, fresh);
    count_lost_if(result, LOST_THREADS);
    u32 *hint = get_hint(task);
    if (hint && !result)
        lock_xadd(hint, 1);
    return 0;
}

// `t` was asleep, and now it could run.
static inline void wake(struct thread *t, struct branch *b, struct config *cfg, u64 now)
{
    u64 waits = opaque(t->waits) & 7, alone = is_set(b->running | b->runnable) - 1;
    t->waited += now - t->changed;
    t->woken = now;
    end_pause(t, b, cfg, now, alone, waits);
    u64 span = (now - b->paused) & alone;
    lock_xadd(&b->idle[waits], span);
    b->paused += span;
    come_to(t, b, RUNNABLE, now);
}

// `t` has waited for its CPU, and gets it.
static inline void get_cpu(struct thread *t, struct branch *b, struct config *cfg, u64 now)
{
    end_pause(t, b, cfg, now, is_set(b->running) - 1, WAITS_RUNQUEUE);
    come_to(t, b, RUNNING, now);
}

// Kernels call no program for switches that some of their own tasks make (seen with those of the init
// process of a Firecracker guest). Who turns out to be on a CPU unseen had lost it to one of these, for
// a moment: what was taken for a wait in the run queue was time on a CPU. If `applies`, all ones or 0.
static inline void correct(struct thread *t, struct branch *b, u64 now, u64 applies)
{
    advance(b, now);
    u64 unseen = (is_set(t->place ^ RUNNABLE) - 1) & applies, alone = is_set(b->running) - 1;
    u64 span = (now - t->changed) & unseen;
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
    struct config *cfg = get_config();
    if (!t || !cfg)
        return 0;
    struct branch *b = branches.lookup(&t->branch);
    if (b) {
        u64 now = bpf_ktime_get_ns();
        if (t->place == WAITING)
            wake(t, b, cfg, now);
        // After wake() there is nothing to correct: it has just changed.
        correct(t, b, now, is_set(t->next ^ AT_SYS_ENTER) - 1);
        come_to(t, b, RUNNING, now);
    }
    t->place = RUNNING;
    hand_on(ctx, t, t->paused ? AT_PAUSE : t->next);
    return 0;
}

// A thread that nobody was seen to wake gets a CPU.
int on_come(raw *ctx)
{
    u64 task = ctx->args[2];
    struct thread *t = threads.lookup(&task);
    struct config *cfg = get_config();
    struct branch *b = t ? branches.lookup(&t->branch) : 0;
    if (!b || !cfg)
        return 0;
    u64 now = bpf_ktime_get_ns();
    wake(t, b, cfg, now);
    come_to(t, b, RUNNING, now);
    hand_on_pause(ctx, t, task);
    return 0;
}

// One leaves its CPU, and another takes it. `waits` is 1 if it leaves for lack of anything to do, 0 if
// the other was to have the CPU. `known`: the kernel tells which of the two it is.
static inline void take_turns(raw *ctx, u64 waits, u64 known)
{
    u64 now = bpf_ktime_get_ns();
    struct config *cfg = get_config();
    struct thread *t = find_thread(ctx->args[1]);
    struct branch *b = t ? branches.lookup(&t->branch) : 0;
    if (b) {
        correct(t, b, now, ~0ULL);
        come_to(t, b, RUNNABLE - waits, now);
        t->sleeps += waits;
        t->slept += now * (waits & ~is_set(t->slept));
    }
    u64 task = ctx->args[2];
    t = find_thread(task);
    b = t ? branches.lookup(&t->branch) : 0;
    if (!b || !cfg)
        return;
    if (known) {
        if (t->place == WAITING) {
            hand_on(ctx, t, AT_COME);
            return;
        }
    } else {
        // One that nobody woke never waited.
        u64 mistaken = is_set(t->place) - 1, span = (now - t->changed) & mistaken;
        t->slept &= ~(mistaken & (is_set(t->slept ^ t->changed) - 1));
        t->sleeps += mistaken;
        b->runqueue += span;
        b->runqueue_wall += span & ~sign(-(s64)b->running);
    }
    get_cpu(t, b, cfg, now);
    hand_on_pause(ctx, t, task);
}

// TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state)
int on_switch(raw *ctx)
{
    take_turns(ctx, is_set(ctx->args[3]) & ~ctx->args[0], 1);
    return 0;
}

// Before Linux 5.18 the last argument is not there, and attaching on_switch fails. A thread that is
// not woken before it comes back had only lost its turn.
int on_switch_before_5_18(raw *ctx)
{
    take_turns(ctx, 1 & ~ctx->args[0], 0);
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
    struct config *cfg = get_config();
    if (!b || !cfg)
        return 0;
    wake(t, b, cfg, bpf_ktime_get_ns());
    hand_on_pause(ctx, t, ctx->args[0]);
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

