/* What the benchmarks have traced: syscalls in tight loops, and at a given rate.
 *
 *   calls cost                   ns a call, one "name ns" a line
 *   calls pace RATE SECONDS      RATE syscalls a second on connections: a quarter sends, a
 *                                quarter receives, half receives of nothing (0: these alone, as
 *                                many as it can make);
 *                                prints "calls N", "seconds S" and "ended" with the monotonic
 *                                clock's time in seconds
 *
 * Both ends of the connection are here, in one thread: nobody is woken, so a call costs the same
 * every time. Calls on the other end, which fill and empty it, are not timed and not counted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BATCH 50            /* bytes that are under way at most: no buffer comes near its end */
#define SLICES 15           /* the median of them is told: a slice in which others ran is left out */
#define SLICE_NS 10000000

static int listener, client, server, null_fd;
static struct sockaddr_in address;
static char buffer[4096];

static void check(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void open_both(void)
{
    client = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(client, (void *)&address, sizeof(address)) == 0, "connect");
    server = accept(listener, 0, 0);
    check(server >= 0, "accept");
}

static void start_listening(void)
{
    socklen_t length = sizeof(address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, (void *)&address, length) == 0, "bind");
    check(listen(listener, 1) == 0, "listen");
    getsockname(listener, (void *)&address, &length);
}

static void connect_both(void)
{
    int one = 1;
    open_both();
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Each does BATCH calls and returns the ns they took. */

static long long batch_send(void)
{
    long long begin = now();
    for (int i = 0; i < BATCH; i++)
        send(client, buffer, 1, 0);
    long long took = now() - begin;
    check(recv(server, buffer, BATCH, MSG_WAITALL) == BATCH, "recv");
    return took;
}

static long long batch_receive(void)
{
    check(send(server, buffer, BATCH, 0) == BATCH, "send");
    long long begin = now();
    for (int i = 0; i < BATCH; i++)
        recv(client, buffer, 1, 0);
    return now() - begin;
}

static long long batch_again(void)
{
    long long begin = now();
    for (int i = 0; i < BATCH; i++)
        recv(client, buffer, 1, MSG_DONTWAIT);
    return now() - begin;
}

static long long batch_write(void)
{
    long long begin = now();
    for (int i = 0; i < BATCH; i++)
        if (write(null_fd, buffer, 1) != 1)
            exit(1);
    return now() - begin;
}

static long long batch_other(void)
{
    long long begin = now();
    for (int i = 0; i < BATCH; i++)
        syscall(SYS_getpid);
    return now() - begin;
}

/* A connection from socket() to close(); the other end is accepted within the time and closed outside it. The
   reset that comes of bytes never read leaves no port in TIME_WAIT. */
static long long batch_connection(void)
{
    long long took = 0;
    for (int i = 0; i < BATCH; i++) {
        int kept_client = client, kept_server = server;
        long long begin = now();
        open_both();
        took += now() - begin;
        check(send(server, buffer, 1, 0) == 1, "send");
        begin = now();
        close(client);
        took += now() - begin;
        close(server);
        client = kept_client;
        server = kept_server;
    }
    return took;
}

/* Two threads on one CPU: each round trip is two switches, and two calls on each side. */

static int there[2], back[2];

static void *answer(void *unused)
{
    char byte;
    while (read(there[0], &byte, 1) == 1)
        if (write(back[1], &byte, 1) != 1)
            break;
    return unused;
}

static long long batch_switch(void)
{
    char byte = 0;
    long long begin = now();
    for (int i = 0; i < BATCH; i += 2)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            exit(1);
    return now() - begin;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name, long long (*batch)(void))
{
    double slices[SLICES];
    batch();
    for (int i = 0; i < SLICES; i++) {
        long long took = 0, calls = 0;
        for (; took < SLICE_NS; calls += BATCH)
            took += batch();
        slices[i] = (double)took / calls;
    }
    qsort(slices, SLICES, sizeof(*slices), ascending);
    printf("%s %.1f\n", name, slices[SLICES / 2]);
}

static void cost(void)
{
    pthread_t thread;
    null_fd = open("/dev/null", O_WRONLY);
    connect_both();
    check(pipe(there) == 0 && pipe(back) == 0, "pipe");
    measure("connection", batch_connection);
    measure("send", batch_send);
    measure("recv", batch_receive);
    measure("eagain", batch_again);
    measure("write", batch_write);
    measure("getpid", batch_other);
    check(pthread_create(&thread, 0, answer, 0) == 0, "pthread_create");
    measure("switch", batch_switch);
    close(there[1]);
    pthread_join(thread, 0);
}

/* Bursts of calls that differ as those of a program do, on PEERS connections and with sizes up to
   LARGEST: what is recorded packs no better than usual. */

#define PEERS 8
#define LARGEST 64

static int clients[PEERS], servers[PEERS];
static struct { int peer, size; } plan[BATCH];

/* xorshift32 */
static unsigned next_random(void)
{
    static unsigned state = 1;
    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

/* Another plan; leaves in `totals` how many bytes each connection has in it. */
static void draw(int *totals)
{
    memset(totals, 0, PEERS * sizeof(*totals));
    for (int i = 0; i < BATCH; i++) {
        plan[i].peer = next_random() % PEERS;
        plan[i].size = 1 + next_random() % LARGEST;
        totals[plan[i].peer] += plan[i].size;
    }
}

static void send_varied(void)
{
    int totals[PEERS];
    draw(totals);
    for (int i = 0; i < BATCH; i++)
        send(clients[plan[i].peer], buffer, plan[i].size, 0);
    for (int i = 0; i < PEERS; i++)
        if (totals[i]) /* a recv of nothing waits for something */
            check(recv(servers[i], buffer, totals[i], MSG_WAITALL) == totals[i], "recv");
}

static void receive_varied(void)
{
    int totals[PEERS];
    draw(totals);
    for (int i = 0; i < PEERS; i++)
        check(send(servers[i], buffer, totals[i], 0) == totals[i], "send");
    for (int i = 0; i < BATCH; i++)
        recv(clients[plan[i].peer], buffer, plan[i].size, MSG_WAITALL);
}

static void again_varied(void)
{
    int totals[PEERS];
    draw(totals);
    for (int i = 0; i < BATCH; i++)
        recv(clients[plan[i].peer], buffer, plan[i].size, MSG_DONTWAIT);
}

/* One burst a millisecond. */
static void pace(long rate, double seconds)
{
    for (int i = 0; i < PEERS; i++) {
        connect_both();
        clients[i] = client;
        servers[i] = server;
    }
    long long begin = now(), end = begin + (long long)(seconds * 1e9), next = begin, calls = PEERS;
    while (now() < end) {
        if (!rate) {
            again_varied();
            calls += BATCH;
            continue;
        }
        for (long done = 0; done < rate / 1000; done += 4 * BATCH) {
            send_varied();
            receive_varied();
            again_varied();
            again_varied();
            calls += 4 * BATCH;
        }
        next += 1000000;
        struct timespec until = {next / 1000000000, next % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
    }
    end = now();
    printf("calls %lld\nseconds %.3f\nended %.3f\n", calls, (end - begin) / 1e9, end / 1e9);
}

int main(int count, char **words)
{
    start_listening();
    if (count == 2 && !strcmp(words[1], "cost"))
        cost();
    else if (count == 4 && !strcmp(words[1], "pace"))
        pace(atol(words[2]), atof(words[3]));
    else
        return 2;
    return 0;
}
