/* Calls on a connection, with pauses as a program makes them: ns a call, one "name ns" a line.
 *
 * With empty.c in libc's place they do nothing: what remains is a preloaded library's own time.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 50
#define BATCHES 4000
#define PAUSE_NS 30000 /* after a batch */

static int client;
static char buffer[64];

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void sends(void)
{
    send(client, buffer, 1, 0);
}

static void receives(void)
{
    recv(client, buffer, 1, 0);
}

static void finds_nothing(void)
{
    recv(client, buffer, 1, MSG_DONTWAIT);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *name, void (*call)(void))
{
    static double took[BATCHES];
    for (int i = 0; i < BATCHES; i++) {
        long long begin = now();
        for (int j = 0; j < BATCH; j++)
            call();
        long long end = now();
        took[i] = (double)(end - begin) / BATCH;
        while (now() < end + PAUSE_NS)
            ;
    }
    qsort(took, BATCHES, sizeof(*took), ascending);
    printf("%s %.1f\n", name, took[BATCHES / 2]);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (void *)&address, length) || listen(listener, 1)
        || getsockname(listener, (void *)&address, &length)
        || connect(client, (void *)&address, length)) {
        perror("connection");
        return 1;
    }
    measure("send", sends);
    measure("recv", receives);
    measure("eagain", finds_nothing);
    return 0;
}
