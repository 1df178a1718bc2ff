// SPDX-License-Identifier: Apache-2.0
// ---- texts that the agent reads: DNS messages, TLS handshakes (text.c)

#define DNS_PORT 53
#define RECORD_HANDSHAKE 0x16 // types of TLS records, RFC 8446, 5.1
#define RECORD_ALERT 0x15
#define RECORD_CHANGE_CIPHER 0x14
#define RECORD_APPLICATION_DATA 0x17
#define TLS_MAJOR_VERSION 3
// Bytes of a client's ChangeCipherSpec and Finished at most, without a certificate of its own (RFC
// 8446, 4.4.4 and 5.2); more with the ciphers of TLS 1.2 that pad.
#define MOST_FINISHED 100
#define MOST_LOOKS 8         // sends looked at for a ClientHello (STARTTLS, PostgreSQL's SSLRequest)
#define MOST_HANDED_ON 6     // receives of a handshake

// A piece of memory that the program has sent or received.
struct text { const u8 *bytes; u64 length; };

// Not more than `most` records of a kind in one execution; the rest is counted.
static int may_tell(u32 *told, u32 *folded, u32 most)
{
    if (!branch)
        return 0;
    if (ADD(told, 1) < most)
        return 1;
    ADD(folded, 1);
    return 0;
}

static void tell_text(u8 kind, u8 direction, struct text text, u16 flags, u32 fragments, u64 time,
                      u8 family, const u8 *server, u32 connection)
{
    struct text_record record;
    for (u32 fragment = 0; fragment < fragments; fragment++) {
        u64 at = (u64)fragment * TEXT_FRAGMENT_BYTES;
        if (fragment && at >= text.length)
            return;
        if (!may_tell(&branch->texts, &branch->folded_texts, map->most_texts))
            return;
        memset(&record, 0, sizeof(record));
        record.kind = kind;
        record.direction = direction;
        record.fragment = (u8)fragment;
        record.family = family;
        record.connection = connection;
        record.tgid = own_pid;
        record.tid = this_thread();
        record.branch = own->branch;
        record.length = (u16)text.length;
        record.flags = flags;
        record.time = time;
        memcpy(record.server, server, 16);
        u64 rest = text.length - at;
        memcpy(record.text, text.bytes + at, rest > TEXT_FRAGMENT_BYTES ? TEXT_FRAGMENT_BYTES : rest);
        emit(&record, sizeof(record));
    }
}

static void tell_of(struct connection *c, u8 kind, int sends, struct text text, u32 fragments,
                    u64 time)
{
    if (!own || !text.bytes)
        return;
    u16 flags = c->record.protocol == PROTOCOL_TCP ? TEXT_STREAM : 0;
    tell_text(kind, sends ? TEXT_SENT : TEXT_RECEIVED, text, flags, fragments, time,
              c->record.family, c->record.address, c->record.id);
}

static void tell_dns(struct connection *c, int sends, struct text text, u64 time)
{
    if (map->records_dns)
        tell_of(c, KIND_DNS, sends, text, DNS_FRAGMENTS, time);
}

// Is this a TLS handshake, and is it over? Its first messages, with names still in clear, go to the
// agent.
static void look_for_tls(struct connection *c, int sends, struct text text, u64 started, u64 now)
{
    struct connection_slot *s = &c->slot;
    u8 first[5] = {0}; // a record's header: type, version, length
    if (!text.bytes)
        return;
    memcpy(first, text.bytes, text.length < sizeof(first) ? text.length : sizeof(first));
    if (s->tls == SECURE) {
        s->ticket = (u16)(sizeof(first) + (first[3] << 8 | first[4]));
        s->wanted = 0;
        return;
    }
    if (!sends) {
        s->shaken = now;
        s->looks += 1;
        if (s->looks <= MOST_HANDED_ON && map->records_tls)
            tell_of(c, KIND_TLS, sends, text, TLS_RECEIVED_FRAGMENTS, now);
        return;
    }
    if (s->tls == SHAKING) {
        int is_last = first[0] == RECORD_CHANGE_CIPHER && text.length > MOST_FINISHED;
        if (first[0] == RECORD_APPLICATION_DATA || is_last) {
            s->tls = SECURE;
            s->wanted = s->tickets * WANTS_RECEIVES;
            c->record.tls_ended = is_last ? started : s->shaken;
            return;
        }
        s->shaken = now;
        // A client of TLS 1.2 goes on in handshake messages, one of TLS 1.3 is encrypted by now.
        if (first[0] == RECORD_HANDSHAKE)
            s->tickets = 0;
        if (first[0] == RECORD_ALERT && map->records_tls)
            tell_of(c, KIND_TLS, sends, text, TLS_RECEIVED_FRAGMENTS, started);
        return;
    }
    if (first[0] == RECORD_HANDSHAKE && first[1] == TLS_MAJOR_VERSION) {
        s->tls = SHAKING;
        s->wanted = WANTS_SENDS | WANTS_RECEIVES;
        s->tickets = 1;
        s->looks = 0;
        s->shaken = now;
        c->record.tls_started = started;
        // What was said in clear before it is no exchange of its own any more.
        memset(&c->exchange, 0, sizeof(c->exchange));
        if (map->records_tls)
            tell_of(c, KIND_TLS, sends, text, TLS_SENT_FRAGMENTS, started);
        return;
    }
    s->looks += 1;
    if (s->looks >= MOST_LOOKS) {
        s->tls = PLAIN;
        s->wanted = 0;
    }
}
