/* Threads that compute for a while, and what the kernel itself says of them.
 *
 * Arguments: how many threads, ms of CPU each, the CPU to stay on (-1: any), ms to sleep before.
 * Prints the sums over all threads of what /proc/self/task/TID/schedstat holds: time on a CPU and
 * time in a run queue (ns), then the process's own CPU clock (ns).
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long ms_each, sleep_ms, on_cpu, in_queue;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static long long now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void add_own_schedstat(void)
{
    char path[64];
    long long cpu, queue;
    snprintf(path, sizeof(path), "/proc/self/task/%ld/schedstat", syscall(SYS_gettid));
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%lld %lld", &cpu, &queue) != 2)
        exit(1);
    fclose(file);
    pthread_mutex_lock(&lock);
    on_cpu += cpu;
    in_queue += queue;
    pthread_mutex_unlock(&lock);
}

static void *compute(void *unused)
{
    volatile unsigned long long number = 0;
    struct timespec time = {sleep_ms / 1000, sleep_ms % 1000 * 1000000};
    nanosleep(&time, NULL);
    while (now(CLOCK_THREAD_CPUTIME_ID) < ms_each * 1000000)
        for (int i = 0; i < 10000; i++)
            number += i;
    add_own_schedstat();
    return unused;
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    int threads = atoi(arguments[1]), cpu = atoi(arguments[3]);
    ms_each = atoll(arguments[2]);
    sleep_ms = atoll(arguments[4]);
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set))
            return 3;
    }
    pthread_t started[64];
    for (int i = 0; i < threads; i++)
        if (pthread_create(&started[i], NULL, compute, NULL))
            return 4;
    for (int i = 0; i < threads; i++)
        pthread_join(started[i], NULL);
    add_own_schedstat();
    printf("%lld %lld %lld\n", on_cpu, in_queue, now(CLOCK_PROCESS_CPUTIME_ID));
    return 0;
}
