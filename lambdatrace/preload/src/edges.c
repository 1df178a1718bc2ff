// SPDX-License-Identifier: Apache-2.0
// ---- the edges of executions: the runtime's own HTTP, and the ends of processes (edges.c)

#define ROOT_PATH "/2018-06-01/runtime/"
#define EDGE_TEXT_BYTES sizeof(((struct edge_record *)0)->text)
#define ID_BYTES 36        // a UUID
#define HEADERS_BYTES 2048 // of a reply, in which the request id is looked for
#define ID_HEADER "lambda-runtime-aws-request-id: "
#define DEADLINE_HEADER "deadline-ms: " // its end tells it from others
#define DEADLINE_DIGITS 13 // ms since the epoch, until 2286

static void tell_edge(u8 edge, u64 time, const u8 *text, u32 length)
{
    if (!own)
        return;
    struct edge_record r;
    memset(&r, 0, sizeof(r));
    r.kind = KIND_EDGE;
    r.edge = edge;
    r.branch = own->branch;
    r.tgid = own_pid;
    r.tid = this_thread();
    r.time = time;
    r.syscalls_position = LOAD(&map->syscalls_head);
    r.cpu = branch->cpu;
    r.cpu_wall = branch->cpu_wall;
    r.folded_exchanges = branch->folded_exchanges;
    r.folded_blocked = branch->folded_blocked;
    r.folded_texts = branch->folded_texts;
    r.folded_pauses = branch->folded_pauses;
    memcpy(&r.idle_network, &branch->idle_network, 7 * sizeof(u64));
    if (length)
        memcpy(r.text, text, length);
    if (edge == EDGE_PROCESS_EXIT) {
        r.parent = own->parent;
        r.born = own->born;
        r.exit_code = own->exit_code;
    }
    emit(&r, sizeof(r));
    // The response is out when the next execution is asked for. That is the agent's turn, and so are
    // an error that ends the runtime, its end, and a snapshot that is about to be taken.
    if (edge == EDGE_NEXT || edge == EDGE_INIT_ERROR || edge == EDGE_SNAPSHOT
        || (edge == EDGE_PROCESS_EXIT && own->flags & PROCESS_ROOT))
        wake();
}

static int begins_with(struct text text, const char *words)
{
    u64 length = strlen(words);
    return text.length >= length && !memcmp(text.bytes, words, length);
}

// Lambda's Runtime API (2018-06-01) has fixed paths.
static void runtime_sends(struct connection *c, struct text text, u64 started)
{
    if (begins_with(text, "GET " ROOT_PATH "invocation/next")) {
        if (branch && !(branch->flags & PROCESS_RUNTIME))
            branch->flags |= PROCESS_RUNTIME;
        if (branch)
            end_serving(started);
        c->slot.awaits_invocation = 1;
        tell_edge(EDGE_NEXT, started, 0, 0);
    } else if (begins_with(text, "GET " ROOT_PATH "restore/next")) {
        tell_edge(EDGE_SNAPSHOT, started, 0, 0);
    } else if (begins_with(text, "POST " ROOT_PATH "init/")) {
        tell_edge(EDGE_INIT_ERROR, started, 0, 0);
    } else if (begins_with(text, "POST " ROOT_PATH "invocation/")) {
        u64 at = strlen("POST " ROOT_PATH "invocation/");
        if (text.length < at + ID_BYTES + 2 || text.bytes[at + ID_BYTES] != '/')
            return;
        u8 what = text.bytes[at + ID_BYTES + 1];
        if (what != 'r' && what != 'e')
            return;
        if (branch)
            begin_answer(started);
        tell_edge(what == 'r' ? EDGE_RESPONSE : EDGE_ERROR, started, text.bytes + at, ID_BYTES);
    }
}

// Copies a header's line, as far as `value` bytes behind its name, to `into`; returns how long that is,
// 0 if it is not there. `name` is in lower case.
static u32 copy_header(struct text text, const char *name, u32 value, u8 *into)
{
    u64 length = strlen(name), last = text.length < HEADERS_BYTES ? text.length : HEADERS_BYTES;
    for (u64 at = 0; at + length + value <= last; at++) {
        u64 same = 0;
        while (same < length && (text.bytes[at + same] | 0x20) == (name[same] | 0x20))
            same += 1;
        if (same == length) {
            memcpy(into, text.bytes + at, length + value);
            return (u32)(length + value);
        }
    }
    return 0;
}

// Of the reply to `next` nothing but the request id and the deadline is handed on.
static void runtime_receives(struct connection *c, struct text text, u64 now)
{
    if (!c->slot.awaits_invocation || !text.bytes)
        return;
    c->slot.awaits_invocation = 0;
    u8 found[EDGE_TEXT_BYTES] = {0};
    _Static_assert(sizeof(ID_HEADER) + ID_BYTES + sizeof(DEADLINE_HEADER) + DEADLINE_DIGITS
                   <= EDGE_TEXT_BYTES + 2, "both fit");
    u32 length = copy_header(text, ID_HEADER, ID_BYTES, found);
    copy_header(text, DEADLINE_HEADER, DEADLINE_DIGITS, found + length);
    if (branch)
        begin_serving(now);
    tell_edge(EDGE_START, now, found, sizeof(found));
}
