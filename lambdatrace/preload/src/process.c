// SPDX-License-Identifier: Apache-2.0
// ---- processes, branches, and figures of the thread that serves an execution (process.c)

static struct process_slot *own;   // of this process; 0: it is not traced
static struct process_slot *branch; // of its branch's first process

static u32 connecting;   // connections of this process that wait for an answer to their SYN
static volatile u8 *memory_mark; // 1, but 0 in a copy of this memory; 0: this kernel makes none

static void mark_memory(void)
{
    void *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    if (madvise(page, 4096, 18 /* MADV_WIPEONFORK, Linux 4.14 */)) {
        munmap(page, 4096);
        return;
    }
    memory_mark = page;
    *memory_mark = 1;
}

static inline struct process_slot *process_at(u32 number)
{
    return (struct process_slot *)(map_base + map->processes_at) + number;
}

static void read_name(u8 *name)
{
    memset(name, 0, 16);
    syscall(SYS_prctl, 16 /* PR_GET_NAME */, name, 0, 0, 0);
}

static u32 find_process(u32 pid)
{
    for (u32 number = 0; number < map->processes; number++) {
        struct process_slot *p = process_at(number);
        if (LOAD(&p->pid) == pid && !(p->flags & PROCESS_ENDED))
            return number;
    }
    return map->processes;
}

static u32 take_process_slot(u32 pid)
{
    for (u32 number = 0; number < map->processes; number++) {
        u32 none = 0;
        if (!LOAD(&process_at(number)->pid)
            && __atomic_compare_exchange_n(&process_at(number)->pid, &none, pid, 0, __ATOMIC_ACQ_REL,
                                           __ATOMIC_RELAXED))
            return number;
    }
    return map->processes;
}

// Enters this process, which `parent` has started; a branch begins with who has no known parent.
static int enter_process(u32 parent, int splits)
{
    own_pid = (u32)syscall(SYS_getpid);
    u32 number = find_process(own_pid);
    if (number < map->processes) { // it has called exec()
        own = process_at(number);
        branch = process_at(own->root < map->processes ? own->root : number);
        read_name(own->name);
        return 1;
    }
    u32 known = find_process(parent);
    number = take_process_slot(own_pid);
    if (number == map->processes) {
        own = branch = 0;
        ADD(&map->lost_threads, 1);
        return 0;
    }
    own = process_at(number);
    memset((u8 *)own + sizeof(own->pid), 0, sizeof(*own) - sizeof(own->pid));
    own->parent = parent;
    own->born = now_ns();
    read_name(own->name);
    int begins = known == map->processes || splits;
    if (begins) {
        own->root = number;
        own->flags = PROCESS_ROOT;
        own->parent = 0;
        own->branch = ADD(&map->branches, 1) + 1;
    } else {
        own->root = process_at(known)->root;
        own->branch = process_at(known)->branch;
    }
    branch = process_at(own->root < map->processes ? own->root : number);
    if (begins)
        wake(); // the agent wants to hear of its end
    return 1;
}

// This process has been forked by `parent`: it has its descriptors, and none of its threads but this.
static void become_child(u32 parent)
{
    int splits = map->splits && branch && !(branch->flags & PROCESS_RUNTIME);
    me.tid = 0;
    me.serves = 0;
    connecting = 0;
    if (memory_mark)
        *memory_mark = 1;
    enter_process(parent, splits);
}

// Who forked without libc's fork() has another pid. With a copy of its parent's memory it is a process
// of its own, which nobody has told of it yet; sharing that memory (vfork) it is none of ours.
static int is_other_process(void)
{
    if (LIKELY((u32)syscall(SYS_getpid) == own_pid))
        return 0;
    if (!memory_mark || *memory_mark)
        return 1;
    become_child(own_pid);
    return 0;
}

static u64 idle_sum(void)
{
    u64 sum = 0;
    for (u64 *each = &branch->idle_other; each <= &branch->idle_fault; each++)
        sum += LOAD(each);
    return sum;
}

// The serving thread has waited for `ns`.
static inline void add_idle(u32 waits, u64 ns)
{
    ADD(&branch->idle_other + (waits & 7), ns);
}

// From here on the next sums are taken.
static void begin_sums(u64 now)
{
    branch->started = now;
    branch->process_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    branch->thread_cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    branch->idle = idle_sum();
}

static void begin_serving(u64 now)
{
    begin_sums(now);
    branch->exchanges = branch->blocked = branch->texts = branch->pauses = 0;
    branch->serving = this_thread();
    branch->serves = own_pid;
    me.serves = 1;
}

// What the execution has had of the CPU until now goes into the sums. On a CPU was at least the
// serving thread, for its own CPU time; and others, as far as that thread was in no call that waited.
static void sum_up(u64 now)
{
    if (branch->serves != own_pid)
        return;
    u64 process_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - branch->process_cpu;
    u64 thread_cpu = me.serves ? clock_ns(CLOCK_THREAD_CPUTIME_ID) - branch->thread_cpu : 0;
    u64 span = now - branch->started, idle = idle_sum() - branch->idle;
    u64 awake = span > idle ? span - idle : 0;
    u64 wall = thread_cpu > awake ? thread_cpu : awake;
    branch->cpu += process_cpu;
    branch->cpu_wall += wall < process_cpu ? wall : process_cpu;
}

static void end_serving(u64 now)
{
    sum_up(now);
    branch->serves = 0;
    me.serves = 0;
}

// The answer begins. It may be streamed, and whoever was given the execution goes on with it.
static void begin_answer(u64 now)
{
    if (branch->serves != own_pid || !me.serves) {
        end_serving(now);
        return;
    }
    sum_up(now);
    begin_sums(now);
}
