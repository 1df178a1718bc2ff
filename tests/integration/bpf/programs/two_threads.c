// Requests and answers, COUNT of them on one socket, by a thread that writes and one that reads. The n-th
// request (from 0) has 20 + n % 50 bytes, its answer 30 + n % 70.
//
//   two_threads serve CPU                              prints its port; then, when the client has gone, its books
//   two_threads ask PORT COUNT DELAY_US CPU CPU WAY    of the writer, of the reader; -1: wherever
//
// The next request is sent when the answer before it has come. WAY is how the reader waits: `blocks` in
// recv(), `polls` for it, `spins` without sleeping, or `within`: it spins and is the server, too, so
// that an answer is there as early as it can be. Where it is `urgent`, it blocks and takes the writer's
// CPU as soon as it is woken. Or it `streams`: it blocks, and no request waits for any answer.
// Prints a line for each request: the writer's times before and behind send(), the reader's behind
// recv(); the server those when a request had come and before it answers. Monotonic ns.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 100000
typedef unsigned long long u64;

static u64 first[MOST], second[MOST], third[MOST];
static int count, delay_us, reader_cpu, s, server = -1, listener = -1;
static const char *way;
static sem_t answered;

static u64 now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int request_bytes(int n) { return 20 + n % 50; }
static int answer_bytes(int n) { return 30 + n % 70; }

static void must(int right, const char *what)
{
    if (right)
        return;
    perror(what);
    exit(1);
}

static void stay_on(int cpu)
{
    cpu_set_t set;
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    must(!sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

static void at_once(int socket)
{
    int yes = 1;
    must(!setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)), "TCP_NODELAY");
}

static int listening(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int made = socket(AF_INET, SOCK_STREAM, 0);
    must(!bind(made, (struct sockaddr *)&here, sizeof(here)) && !listen(made, 1), "listen");
    return made;
}

static int port_of(int socket)
{
    struct sockaddr_in here;
    socklen_t size = sizeof(here);
    must(!getsockname(socket, (struct sockaddr *)&here, &size), "getsockname");
    return ntohs(here.sin_port);
}

// One receive of what is still missing of `want` bytes; 1 if nothing is, -1 at the end.
static int receive(int socket, int *have, int want, int flags)
{
    char bytes[256];
    ssize_t got = recv(socket, bytes, want - *have, flags);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        return -1;
    // The first byte of a request says after how many quarters of a millisecond it is to be answered.
    if (!*have)
        delay_us = (unsigned char)bytes[0] * 250;
    *have += got;
    return *have == want;
}

static void answer(int socket, int n)
{
    static const char bytes[256];
    must(send(socket, bytes, answer_bytes(n), 0) == answer_bytes(n), "answer");
}

static int serve(int cpu)
{
    stay_on(cpu);
    listener = listening();
    printf("%d\n", port_of(listener));
    fflush(stdout);
    int other = accept(listener, 0, 0), n = 0, have = 0, got;
    at_once(other);
    while ((got = receive(other, &have, request_bytes(n), 0)) >= 0) {
        if (!got)
            continue;
        first[n] = now();
        if (delay_us)
            usleep(delay_us);
        second[n] = now();
        answer(other, n++);
        have = 0;
    }
    for (int i = 0; i < n; i++)
        printf("%llu %llu\n", first[i], second[i]);
    return 0;
}

static void *reads(void *nothing)
{
    int spins = !strcmp(way, "spins"), within = !strcmp(way, "within"), polls = !strcmp(way, "polls");
    int asked = 0, had = 0;
    stay_on(reader_cpu);
    if (!strcmp(way, "urgent")) {
        struct sched_param first_of_all = {.sched_priority = 1};
        must(!sched_setscheduler(0, SCHED_FIFO, &first_of_all), "SCHED_FIFO");
    }
    for (int n = 0; n < count; n++) {
        int have = 0, got;
        do {
            struct pollfd is_there = {.fd = s, .events = POLLIN};
            if (within && receive(server, &had, request_bytes(asked), MSG_DONTWAIT) == 1) {
                answer(server, asked++);
                had = 0;
            }
            if (polls)
                poll(&is_there, 1, -1);
            got = receive(s, &have, answer_bytes(n), spins || within || polls ? MSG_DONTWAIT : 0);
            must(got >= 0, "recv");
        } while (!got);
        third[n] = now();
        sem_post(&answered);
    }
    return nothing;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "serve"))
        return serve(atoi(argv[2]));
    if (argc != 8)
        return 2;
    count = atoi(argv[3]);
    int delay = atoi(argv[4]), port = atoi(argv[2]);
    reader_cpu = atoi(argv[6]);
    way = argv[7];
    if (!strcmp(way, "within")) {
        listener = listening();
        port = port_of(listener);
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s = socket(AF_INET, SOCK_STREAM, 0);
    must(!connect(s, (struct sockaddr *)&to, sizeof(to)), "connect");
    at_once(s);
    if (listener >= 0) {
        server = accept(listener, 0, 0);
        at_once(server);
    }
    pthread_t reader;
    sem_init(&answered, 0, 0);
    must(!pthread_create(&reader, 0, reads, 0), "pthread_create");
    stay_on(atoi(argv[5]));
    must(!prctl(PR_SET_NAME, "writes"), "PR_SET_NAME");
    for (int n = 0; n < count; n++) {
        char request[256] = {delay / 250};
        first[n] = now();
        must(send(s, request, request_bytes(n), 0) == request_bytes(n), "send");
        second[n] = now();
        while (strcmp(way, "streams") && sem_wait(&answered))
            ;
    }
    pthread_join(reader, 0);
    for (int n = 0; n < count; n++)
        printf("%llu %llu %llu\n", first[n], second[n], third[n]);
    return 0;
}
