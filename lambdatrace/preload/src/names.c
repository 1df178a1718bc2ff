// SPDX-License-Identifier: Apache-2.0
// ---- namelookups by libc's own resolver, told as if they were DNS messages (names.c)
//
// What libc asks of whom inside is not seen: the question is the program's, and its answer is what
// libc made of it. The type is A or AAAA where the program asked for one kind of address, else ANY.
// Until then this thread counts as inside: a resolver in a library of its own (before glibc 2.34) would
// be told twice.

#define TYPE_A 1
#define TYPE_AAAA 28
#define TYPE_ANY 255
#define RCODE_SERVER_FAILED 2
#define RCODE_NO_NAME 3
#define MOST_NAME 255
#define MOST_ADDRESSES 24 // as many as fit into DNS_FRAGMENTS, AAAA ones
#define MESSAGE_BYTES 800

struct message { u8 bytes[MESSAGE_BYTES]; u32 length; u32 answers; };

static void put(struct message *m, u32 number, u32 bytes)
{
    while (bytes--)
        m->bytes[m->length++] = (u8)(number >> 8 * bytes);
}

// The header and the question; 0 if `name` is no name that could be asked for.
static int begin_message(struct message *m, const char *name, u16 type, u16 id)
{
    u64 length = strnlen(name, MOST_NAME + 1);
    memset(m, 0, sizeof(*m));
    if (length && name[length - 1] == '.')
        length -= 1;
    if (!length || length > MOST_NAME - 2)
        return 0;
    put(m, id, 2);
    put(m, 0, 2);
    put(m, 1, 2);
    put(m, 0, 2);
    put(m, 0, 4);
    for (u64 at = 0; at < length;) {
        u64 end = at;
        while (end < length && name[end] != '.')
            end += 1;
        if (end == at || end - at > 63)
            return 0;
        put(m, (u32)(end - at), 1);
        memcpy(m->bytes + m->length, name + at, end - at);
        m->length += (u32)(end - at);
        at = end + 1;
    }
    put(m, 0, 1);
    put(m, type, 2);
    put(m, 1, 2);
    return 1;
}

static void add_address(struct message *m, int family, const void *address)
{
    u32 size = family == AF_INET ? 4 : 16;
    if (m->answers >= MOST_ADDRESSES || m->length + 12 + size > MESSAGE_BYTES)
        return;
    put(m, 0xc00c, 2); // a pointer to the question's name (RFC 1035, 4.1.4)
    put(m, family == AF_INET ? TYPE_A : TYPE_AAAA, 2);
    put(m, 1, 2);
    put(m, 0, 4);
    put(m, size, 2);
    memcpy(m->bytes + m->length, address, size);
    m->length += size;
    m->answers += 1;
}

static u16 type_of(int family)
{
    return family == AF_INET ? TYPE_A : family == AF_INET6 ? TYPE_AAAA : TYPE_ANY;
}

static int is_address(const char *name)
{
    u8 parsed[16];
    return inet_pton(AF_INET, name, parsed) == 1 || strchr(name, ':') != 0;
}

static u16 next_question(void)
{
    static u32 latest;
    return (u16)ADD(&latest, 1);
}

static void tell_message(struct message *m, u8 direction, u64 time)
{
    static const u8 nobody[16];
    struct text text = {m->bytes, m->length};
    tell_text(KIND_DNS, direction, text, 0, DNS_FRAGMENTS, time, 4, nobody, 0);
}

static int is_lookup(const char *name)
{
    return own && map->records_dns && name && !is_address(name);
}

static void tell_answer(struct message *m, u32 rcode, u64 now)
{
    m->bytes[2] = 0x80; // an answer
    m->bytes[3] = (u8)rcode;
    m->bytes[7] = (u8)m->answers;
    tell_message(m, TEXT_RECEIVED, now);
}

REAL(getaddrinfo);

HOOK int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                     struct addrinfo **result)
{
    int kept;
    struct message m;
    struct call call;
    if (!enter(&kept))
        return CALL(getaddrinfo)(name, service, hints, result);
    int is_told = is_lookup(name) && !(hints && hints->ai_flags & AI_NUMERICHOST)
        && begin_message(&m, name, type_of(hints ? hints->ai_family : AF_UNSPEC), next_question());
    begin_call(&call, OP_NONE, WAITS_POLL, -1, 0);
    if (is_told)
        tell_message(&m, TEXT_SENT, call.started);
    errno = kept;
    int found = CALL(getaddrinfo)(name, service, hints, result);
    kept = errno;
    u64 now = now_ns();
    end_wait(&call, now);
    if (is_told) {
        const struct addrinfo *each = found ? 0 : *result;
        const struct addrinfo *before = 0;
        for (; each; before = each, each = each->ai_next) {
            // One for each kind of socket; they stand behind one another.
            if (before && before->ai_family == each->ai_family
                && before->ai_addrlen == each->ai_addrlen
                && !memcmp(before->ai_addr, each->ai_addr, each->ai_addrlen))
                continue;
            if (each->ai_family == AF_INET)
                add_address(&m, AF_INET, &((struct sockaddr_in *)each->ai_addr)->sin_addr);
            else if (each->ai_family == AF_INET6)
                add_address(&m, AF_INET6, &((struct sockaddr_in6 *)each->ai_addr)->sin6_addr);
        }
        int is_unknown = found == EAI_NONAME || found == -5 /* EAI_NODATA */;
        tell_answer(&m, !found ? 0 : is_unknown ? RCODE_NO_NAME : RCODE_SERVER_FAILED, now);
    }
    leave(kept);
    return found;
}

// gethostbyname and its kin: `found` is what they gave, `failed` their h_errno.
static void tell_host(struct message *m, const struct call *call, const struct hostent *found,
                      int failed, int is_told)
{
    u64 now = now_ns();
    end_wait(call, now);
    if (!is_told)
        return;
    for (u32 i = 0; found && found->h_addr_list[i]; i++)
        add_address(m, found->h_addrtype, found->h_addr_list[i]);
    int is_unknown = failed == HOST_NOT_FOUND || failed == NO_DATA;
    tell_answer(m, found ? 0 : is_unknown ? RCODE_NO_NAME : RCODE_SERVER_FAILED, now);
}

static int begin_host(struct message *m, struct call *call, const char *name, int family)
{
    int is_told = is_lookup(name) && begin_message(m, name, type_of(family), next_question());
    begin_call(call, OP_NONE, WAITS_POLL, -1, 0);
    if (is_told)
        tell_message(m, TEXT_SENT, call->started);
    return is_told;
}

REAL(gethostbyname);
REAL(gethostbyname2);
REAL(gethostbyname_r);
REAL(gethostbyname2_r);

HOOK struct hostent *gethostbyname(const char *name)
{
    int kept;
    struct message m;
    struct call call;
    if (!enter(&kept))
        return CALL(gethostbyname)(name);
    int is_told = begin_host(&m, &call, name, AF_INET);
    errno = kept;
    struct hostent *found = CALL(gethostbyname)(name);
    kept = errno;
    tell_host(&m, &call, found, h_errno, is_told);
    leave(kept);
    return found;
}

HOOK struct hostent *gethostbyname2(const char *name, int family)
{
    int kept;
    struct message m;
    struct call call;
    if (!enter(&kept))
        return CALL(gethostbyname2)(name, family);
    int is_told = begin_host(&m, &call, name, family);
    errno = kept;
    struct hostent *found = CALL(gethostbyname2)(name, family);
    kept = errno;
    tell_host(&m, &call, found, h_errno, is_told);
    leave(kept);
    return found;
}

HOOK int gethostbyname_r(const char *name, struct hostent *room, char *buffer, size_t size,
                         struct hostent **result, int *failed)
{
    int kept;
    struct message m;
    struct call call;
    if (!enter(&kept))
        return CALL(gethostbyname_r)(name, room, buffer, size, result, failed);
    int is_told = begin_host(&m, &call, name, AF_INET);
    errno = kept;
    int error = CALL(gethostbyname_r)(name, room, buffer, size, result, failed);
    kept = errno; // with too small a buffer it is going to be asked again
    tell_host(&m, &call, error ? 0 : *result, failed ? *failed : 0, is_told);
    leave(kept);
    return error;
}

HOOK int gethostbyname2_r(const char *name, int family, struct hostent *room, char *buffer,
                          size_t size, struct hostent **result, int *failed)
{
    int kept;
    struct message m;
    struct call call;
    if (!enter(&kept))
        return CALL(gethostbyname2_r)(name, family, room, buffer, size, result, failed);
    int is_told = begin_host(&m, &call, name, family);
    errno = kept;
    int error = CALL(gethostbyname2_r)(name, family, room, buffer, size, result, failed);
    kept = errno;
    tell_host(&m, &call, error ? 0 : *result, failed ? *failed : 0, is_told);
    leave(kept);
    return error;
}
