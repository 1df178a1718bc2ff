// SPDX-License-Identifier: Apache-2.0
// ---- what goes over sockets, and files (hooks_transfers.c)

#define IS_SEND 1
#define IS_UNCOUNTED 2 // a peek, or the error queue: bytes that will be read again, or none

// A transfer on a socket that is followed has returned `result`; `first` is where its bytes stand, and
// `peer` where a datagram went to or came from.
static void end_transfer(const struct call *call, int fd, int how, s64 result, s64 bytes,
                         struct text first, const struct sockaddr *peer, socklen_t peer_length)
{
    int kept;
    if (!enter(&kept))
        return;
    int sends = how & IS_SEND;
    struct descriptor *d = &descriptors[fd];
    u64 now = now_ns();
    struct connection *c = connection_of(d);
    end_wait(call, now);
    if (result < 0) {
        if (c)
            note_error(c, kept, now);
    } else if (!(how & IS_UNCOUNTED)) {
        if (d->kind == STREAM && c) {
            if (bytes > 0)
                on_stream(fd, c, sends, (u64)bytes, first, call->started, now);
            else if (!sends)
                on_end(c, now);
        } else if (d->kind == DATAGRAM) {
            struct destination to;
            if (peer && !read_destination(peer, peer_length, &to) && to.port)
                c = datagram_connection(fd, d, &to, sends ? call->started : now, !sends);
            if (c)
                on_datagram(c, sends, (u64)bytes, first, call->started, now);
        }
    }
    if (UNLIKELY(map->record_syscalls) && c && !c->slot.runtime)
        tell_call(call->op, fd, c->record.id, result < 0 ? -kept : result, call->started, now);
    leave(kept);
}

// The first send of a TCP fast open is a connect() as well.
static void begin_by_send(const struct call *call, int fd, const struct msghdr *message, s64 result,
                          int flags)
{
    int kept;
    struct destination to;
    struct descriptor *d = &descriptors[fd];
    if (LIKELY(!(flags & MSG_FASTOPEN)) || d->kind != STREAM || !enter(&kept))
        return;
    if (!read_destination(message->msg_name, message->msg_namelen, &to))
        on_connect(fd, d, &to, result < 0 ? kept : 0, call->started, now_ns(), 0);
    leave(kept);
}

static struct text one(const void *bytes, s64 length, size_t room)
{
    struct text text = {bytes, length < 0 ? 0 : (u64)length};
    if (text.length > room)
        text.length = room;
    return text;
}

// The first piece; where only the length of a DNS message over TCP stands in it, the second.
static struct text first_of(const struct iovec *vector, u64 count, s64 length)
{
    struct text none = {0, 0};
    if (!vector || !count || length <= 0)
        return none;
    if (count > 1 && vector[0].iov_len == 2 && length > 2)
        return one(vector[1].iov_base, length - 2, vector[1].iov_len);
    return one(vector[0].iov_base, length, vector[0].iov_len);
}

// sendmmsg and recvmmsg return messages; all of them count as one call, to where the first one went.
static void end_many(const struct call *call, int fd, int how, s64 result,
                     const struct mmsghdr *messages)
{
    if (result <= 0) {
        end_transfer(call, fd, how, result, 0, (struct text){0, 0}, 0, 0);
        return;
    }
    s64 bytes = 0;
    for (s64 i = 0; i < result; i++)
        bytes += messages[i].msg_len;
    const struct msghdr *m = &messages[0].msg_hdr;
    end_transfer(call, fd, how, result, bytes,
                 first_of(m->msg_iov, m->msg_iovlen, messages[0].msg_len), m->msg_name,
                 m->msg_namelen);
    // The first one has been looked at.
    for (s64 i = 1; i < result; i++) {
        int kept;
        m = &messages[i].msg_hdr;
        if (!enter(&kept))
            return;
        struct connection *c = connection_of(&descriptors[fd]);
        if (c && c->record.port == DNS_PORT && !(how & IS_UNCOUNTED))
            tell_dns(c, how & IS_SEND, first_of(m->msg_iov, m->msg_iovlen, messages[i].msg_len),
                     how & IS_SEND ? call->started : now_ns());
        leave(kept);
    }
}

#define ON_SOCKET(fd) struct descriptor *d = me.inside ? 0 : tracked(fd)
#define BEGIN(op) struct call call; begin_call(&call, op, WAITS_NETWORK, fd, id_of(d))

REAL(send);
REAL(sendto);
REAL(sendmsg);
REAL(sendmmsg);
REAL(recv);
REAL(recvfrom);
REAL(recvmsg);
REAL(recvmmsg);
REAL(sendfile);
REAL(sendfile64);

HOOK ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(send)(fd, bytes, size, flags);
    BEGIN(OP_SENDTO);
    before_send(fd, d, one(bytes, (s64)size, size));
    ssize_t result = CALL(send)(fd, bytes, size, flags);
    end_transfer(&call, fd, IS_SEND, result, result, one(bytes, result, size), 0, 0);
    return result;
}

HOOK ssize_t sendto(int fd, const void *bytes, size_t size, int flags, const struct sockaddr *to,
                    socklen_t length)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(sendto)(fd, bytes, size, flags, to, length);
    BEGIN(OP_SENDTO);
    before_send(fd, d, one(bytes, (s64)size, size));
    ssize_t result = CALL(sendto)(fd, bytes, size, flags, to, length);
    struct msghdr where = {.msg_name = (void *)(uintptr_t)to, .msg_namelen = length};
    begin_by_send(&call, fd, &where, result, flags);
    end_transfer(&call, fd, IS_SEND, result, result, one(bytes, result, size), to, length);
    return result;
}

HOOK ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(sendmsg)(fd, message, flags);
    BEGIN(OP_SENDMSG);
    before_send(fd, d, first_of(message->msg_iov, message->msg_iovlen, 1));
    ssize_t result = CALL(sendmsg)(fd, message, flags);
    begin_by_send(&call, fd, message, result, flags);
    if (result >= 0)
        end_transfer(&call, fd, IS_SEND, result, result,
                     first_of(message->msg_iov, message->msg_iovlen, result), message->msg_name,
                     message->msg_namelen);
    else
        end_transfer(&call, fd, IS_SEND, result, 0, (struct text){0, 0}, 0, 0);
    return result;
}

HOOK int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(sendmmsg)(fd, messages, count, flags);
    BEGIN(OP_SENDMMSG);
    int result = CALL(sendmmsg)(fd, messages, count, flags);
    end_many(&call, fd, IS_SEND, result, messages);
    return result;
}

static int received_how(int flags)
{
    return flags & (MSG_PEEK | MSG_ERRQUEUE) ? IS_UNCOUNTED : 0;
}

HOOK ssize_t recv(int fd, void *bytes, size_t size, int flags)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(recv)(fd, bytes, size, flags);
    BEGIN(OP_RECVFROM);
    ssize_t result = CALL(recv)(fd, bytes, size, flags);
    end_transfer(&call, fd, received_how(flags), result, result, one(bytes, result, size), 0, 0);
    return result;
}

HOOK ssize_t __recv_chk(int fd, void *bytes, size_t size, size_t room, int flags)
{
    if (size > room)
        abort();
    return recv(fd, bytes, size, flags);
}

HOOK ssize_t recvfrom(int fd, void *bytes, size_t size, int flags, struct sockaddr *from,
                      socklen_t *length)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(recvfrom)(fd, bytes, size, flags, from, length);
    BEGIN(OP_RECVFROM);
    ssize_t result = CALL(recvfrom)(fd, bytes, size, flags, from, length);
    end_transfer(&call, fd, received_how(flags), result, result, one(bytes, result, size),
                 result >= 0 ? from : 0, from && length ? *length : 0);
    return result;
}

HOOK ssize_t __recvfrom_chk(int fd, void *bytes, size_t size, size_t room, int flags,
                            struct sockaddr *from, socklen_t *length)
{
    if (size > room)
        abort();
    return recvfrom(fd, bytes, size, flags, from, length);
}

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(recvmsg)(fd, message, flags);
    BEGIN(OP_RECVMSG);
    ssize_t result = CALL(recvmsg)(fd, message, flags);
    if (result >= 0)
        end_transfer(&call, fd, received_how(flags), result, result,
                     first_of(message->msg_iov, message->msg_iovlen, result), message->msg_name,
                     message->msg_namelen);
    else
        end_transfer(&call, fd, received_how(flags), result, 0, (struct text){0, 0}, 0, 0);
    return result;
}

HOOK int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                  struct timespec *timeout)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(recvmmsg)(fd, messages, count, flags, timeout);
    BEGIN(OP_RECVMMSG);
    int result = CALL(recvmmsg)(fd, messages, count, flags, timeout);
    end_many(&call, fd, received_how(flags), result, messages);
    return result;
}

HOOK ssize_t sendfile(int fd, int from, off_t *offset, size_t size)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(sendfile)(fd, from, offset, size);
    BEGIN(OP_SENDFILE);
    ssize_t result = CALL(sendfile)(fd, from, offset, size);
    end_transfer(&call, fd, IS_SEND, result, result, (struct text){0, 0}, 0, 0);
    return result;
}

HOOK ssize_t sendfile64(int fd, int from, off64_t *offset, size_t size)
{
    ON_SOCKET(fd);
    if (!d)
        return CALL(sendfile64)(fd, from, offset, size);
    BEGIN(OP_SENDFILE);
    ssize_t result = CALL(sendfile64)(fd, from, offset, size);
    end_transfer(&call, fd, IS_SEND, result, result, (struct text){0, 0}, 0, 0);
    return result;
}

// ---- read and write: sockets as well as files and pipes, where only what waits is told

REAL(read);
REAL(write);
REAL(readv);
REAL(writev);

static void end_file(const struct call *call, int fd, s64 result)
{
    u64 now = now_ns();
    int kept;
    // The usual case: it did not wait.
    if (LIKELY(now - call->started < LEAST_WAIT) && !me.serves)
        return;
    if (!enter(&kept))
        return;
    end_blocked(call, fd, 0, result < 0 ? -kept : result, now);
    leave(kept);
}

#define ON_FILE(op) struct call call; begin_call(&call, op, WAITS_FILE, fd, 0)

HOOK ssize_t read(int fd, void *bytes, size_t size)
{
    if (UNLIKELY(!map || me.inside))
        return CALL(read)(fd, bytes, size);
    ON_SOCKET(fd);
    if (!d) {
        ON_FILE(OP_READ);
        ssize_t result = CALL(read)(fd, bytes, size);
        end_file(&call, fd, result);
        return result;
    }
    BEGIN(OP_READ);
    ssize_t result = CALL(read)(fd, bytes, size);
    end_transfer(&call, fd, 0, result, result, one(bytes, result, size), 0, 0);
    return result;
}

HOOK ssize_t __read_chk(int fd, void *bytes, size_t size, size_t room)
{
    if (size > room)
        abort();
    return read(fd, bytes, size);
}

HOOK ssize_t write(int fd, const void *bytes, size_t size)
{
    if (UNLIKELY(!map || me.inside))
        return CALL(write)(fd, bytes, size);
    ON_SOCKET(fd);
    if (!d) {
        ON_FILE(OP_WRITE);
        ssize_t result = CALL(write)(fd, bytes, size);
        end_file(&call, fd, result);
        return result;
    }
    BEGIN(OP_WRITE);
    before_send(fd, d, one(bytes, (s64)size, size));
    ssize_t result = CALL(write)(fd, bytes, size);
    end_transfer(&call, fd, IS_SEND, result, result, one(bytes, result, size), 0, 0);
    return result;
}

HOOK ssize_t readv(int fd, const struct iovec *vector, int count)
{
    if (UNLIKELY(!map || me.inside))
        return CALL(readv)(fd, vector, count);
    ON_SOCKET(fd);
    if (!d) {
        ON_FILE(OP_READV);
        ssize_t result = CALL(readv)(fd, vector, count);
        end_file(&call, fd, result);
        return result;
    }
    BEGIN(OP_READV);
    ssize_t result = CALL(readv)(fd, vector, count);
    end_transfer(&call, fd, 0, result, result,
                 first_of(vector, result > 0 ? (u64)count : 0, result), 0, 0);
    return result;
}

HOOK ssize_t writev(int fd, const struct iovec *vector, int count)
{
    if (UNLIKELY(!map || me.inside))
        return CALL(writev)(fd, vector, count);
    ON_SOCKET(fd);
    if (!d) {
        ON_FILE(OP_WRITEV);
        ssize_t result = CALL(writev)(fd, vector, count);
        end_file(&call, fd, result);
        return result;
    }
    BEGIN(OP_WRITEV);
    before_send(fd, d, first_of(vector, count > 0 ? (u64)count : 0, 1));
    ssize_t result = CALL(writev)(fd, vector, count);
    end_transfer(&call, fd, IS_SEND, result, result,
                 first_of(vector, result > 0 ? (u64)count : 0, result), 0, 0);
    return result;
}
