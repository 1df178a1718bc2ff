// One request over an ordinary connection, and one whose connect, send, receive and close go through
// io_uring: HOST PORT. Raw syscalls, no liburing. With --try alone: is there any? 77 means no.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *submissions, *completions;
static struct io_uring_sqe *entries;
static struct io_uring_params parameters;
static int ring;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void *map(size_t size, off_t where)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, where);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

static void set_up(void)
{
    ring = syscall(SYS_io_uring_setup, 4, &parameters);
    if (ring < 0) {
        perror("io_uring_setup");
        exit(errno == ENOSYS || errno == EPERM ? 77 : 1);
    }
    submissions = map(parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned),
                      IORING_OFF_SQ_RING);
    completions = map(parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe),
                      IORING_OFF_CQ_RING);
    entries = map(parameters.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
}

// One operation, from submission to completion.
static int perform(int op, int fd, const void *buffer, unsigned length, unsigned long long offset)
{
    unsigned *tail = submissions + parameters.sq_off.tail;
    unsigned *mask = submissions + parameters.sq_off.ring_mask;
    unsigned *array = submissions + parameters.sq_off.array;
    unsigned index = *tail & *mask;
    struct io_uring_sqe *entry = &entries[index];
    memset(entry, 0, sizeof(*entry));
    entry->opcode = op;
    entry->fd = fd;
    entry->addr = (unsigned long)buffer;
    entry->len = length;
    entry->off = offset;
    array[index] = index;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        fail("io_uring_enter");
    unsigned *head = completions + parameters.cq_off.head;
    unsigned *ring_mask = completions + parameters.cq_off.ring_mask;
    struct io_uring_cqe *done = completions + parameters.cq_off.cqes;
    int result = done[*head & *ring_mask].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    if (result < 0) {
        errno = -result;
        fail("completion");
    }
    return result;
}

int main(int count, char **arguments)
{
    if (count == 2 && !strcmp(arguments[1], "--try")) {
        set_up();
        return 0;
    }
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    if (count != 3 || getaddrinfo(arguments[1], arguments[2], &hints, &found))
        return 1;
    char request[] = "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", answer[1000];
    int size = sizeof(request) - 1;

    int ordinary = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(ordinary, found->ai_addr, found->ai_addrlen))
        fail("connect");
    if (send(ordinary, request, size, 0) != size || recv(ordinary, answer, sizeof(answer), 0) <= 0)
        fail("ordinary");
    close(ordinary);

    set_up();
    int unseen = socket(AF_INET, SOCK_STREAM, 0);
    perform(IORING_OP_CONNECT, unseen, found->ai_addr, 0, found->ai_addrlen);
    perform(IORING_OP_SEND, unseen, request, size, 0);
    perform(IORING_OP_RECV, unseen, answer, sizeof(answer), 0);
    perform(IORING_OP_CLOSE, unseen, NULL, 0, 0);
    return 0;
}
