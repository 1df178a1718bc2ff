// THREADS threads, spread over the CPUs, each send COUNT datagrams to 127.0.0.1:PORT as fast as they
// can; the n-th (from 0) has n % 1000 + 1 bytes. With a fourth argument all use one socket.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int port, count, shared = -1;

static int connected(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(s, (struct sockaddr *)&to, sizeof(to)))
        exit(1);
    return s;
}

static void *work(void *number)
{
    static const char data[1000];
    cpu_set_t cpu;
    int s = shared < 0 ? connected() : shared;

    CPU_ZERO(&cpu);
    CPU_SET((long)number % sysconf(_SC_NPROCESSORS_ONLN), &cpu);
    pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
    for (int i = 0; i < count; i++)
        if (send(s, data, i % 1000 + 1, 0) != i % 1000 + 1)
            exit(2);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[64];
    int number = argc > 3 ? atoi(argv[3]) : 0;

    if (number < 1 || number > 64)
        return 3;
    port = atoi(argv[1]);
    count = atoi(argv[2]);
    if (argc > 4)
        shared = connected();
    for (long i = 0; i < number; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < number; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
