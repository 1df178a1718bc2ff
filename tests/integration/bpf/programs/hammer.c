// THREADS threads, spread over the CPUs, each send COUNT datagrams to 127.0.0.1:PORT as fast as they
// can; the n-th (from 0) has n % 1000 + 1 bytes.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int port, count;

static void *work(void *number)
{
    static const char data[1000];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    cpu_set_t cpu;
    int s = socket(AF_INET, SOCK_DGRAM, 0);

    CPU_ZERO(&cpu);
    CPU_SET((long)number % sysconf(_SC_NPROCESSORS_ONLN), &cpu);
    pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(s, (struct sockaddr *)&to, sizeof(to)))
        exit(1);
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
    for (long i = 0; i < number; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < number; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
