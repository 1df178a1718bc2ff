// What programs do that a library in front of libc must survive: `safety WHAT PORT`, where a server
// takes what is sent and says nothing. Exit code 0: all was as it is without the library.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what) do { if (!(what)) { fprintf(stderr, "%s: %m\n", #what); exit(1); } } while (0)

static int port;

static int connected(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    CHECK(!connect(fd, (struct sockaddr *)&to, sizeof(to)));
    return fd;
}

static void keeps_errno(void)
{
    int fd = connected(), file = open("/dev/null", O_RDWR);
    errno = 4242;
    CHECK(send(fd, "12345", 5, 0) == 5 && errno == 4242);
    CHECK(write(fd, "12345", 5) == 5 && errno == 4242);
    CHECK(write(file, "1", 1) == 1 && errno == 4242);
    char byte;
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    CHECK(read(-1, &byte, 1) == -1 && errno == EBADF);
    CHECK(send(-1, &byte, 1, 0) == -1 && errno == EBADF);
    CHECK(send(1 << 30, &byte, 1, 0) == -1 && errno == EBADF);
    CHECK(close(-1) == -1 && errno == EBADF);
    CHECK(connect(file, 0, 0) == -1 && errno == ENOTSOCK);
    void *volatile nowhere = (void *)8;
    CHECK(write(fd, nowhere, 1) == -1 && errno == EFAULT);
    errno = 4242;
    CHECK(close(fd) == 0 && errno == 4242);
}

// A child that shares all memory closes its own copy of a descriptor.
static void vforks(void)
{
    int fd = connected();
    for (int i = 0; i < 20; i++) {
        pid_t pid = vfork();
        if (!pid) {
            close(fd);
            execl("/bin/true", "true", (char *)0);
            _exit(1);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && !status);
        CHECK(send(fd, "12345", 5, 0) == 5);
    }
    close(fd);
}

static void clones(void)
{
    int fd = connected();
    pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (!pid) {
        close(fd);
        fd = connected();
        CHECK(send(fd, "1", 1, 0) == 1);
        close(fd);
        syscall(SYS_exit_group, 0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && !status);
    CHECK(send(fd, "12345", 5, 0) == 5);
    close(fd);
}

static int spoken;

static void speak(int number)
{
    (void)number;
    CHECK(send(spoken, "s", 1, 0) == 1);
}

// Handlers send in the midst of anything.
static void signals(void)
{
    spoken = connected();
    struct sigaction action = {.sa_handler = speak, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    struct itimerval often = {{0, 200}, {0, 200}};
    CHECK(!setitimer(ITIMER_REAL, &often, 0));
    int fd = connected();
    for (int i = 0; i < 20000; i++)
        CHECK(send(fd, "1", 1, 0) == 1);
    memset(&often, 0, sizeof(often));
    setitimer(ITIMER_REAL, &often, 0);
    close(fd);
    close(spoken);
}

static void closes_all(void)
{
    CHECK(send(connected(), "123", 3, 0) == 3);
    CHECK(!syscall(SYS_close_range, 100, ~0U, 0));
    CHECK(!close_range(3, ~0U, 0));
    CHECK(send(connected(), "1234", 4, 0) == 4);
}

static void *talks(void *nothing)
{
    for (int i = 0; i < 50; i++) {
        int fd = connected();
        CHECK(send(fd, "12345", 5, 0) == 5);
        close(fd);
    }
    return nothing;
}

static void threads(void)
{
    pthread_t made[8];
    for (int i = 0; i < 8; i++)
        CHECK(!pthread_create(&made[i], 0, talks, 0));
    for (int i = 0; i < 8; i++)
        pthread_join(made[i], 0);
}

static void *forks_and_talks(void *nothing)
{
    for (int i = 0; i < 10; i++) {
        pid_t pid = fork();
        if (!pid) {
            int fd = connected();
            CHECK(send(fd, "12345", 5, 0) == 5);
            _exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && !status);
    }
    return nothing;
}

static void forks(void)
{
    pthread_t made[4];
    for (int i = 0; i < 4; i++)
        CHECK(!pthread_create(&made[i], 0, forks_and_talks, 0));
    for (int i = 0; i < 4; i++)
        pthread_join(made[i], 0);
}

static void is_killed(void)
{
    CHECK(send(connected(), "123", 3, 0) == 3);
    kill(getpid(), SIGKILL);
}

// A new program goes on with the descriptors of the old one.
static void execs(char *self, char *number)
{
    char fd[16];
    int kept = connected();
    CHECK(fcntl(connected(), F_SETFD, FD_CLOEXEC) == 0);
    CHECK(send(kept, "123", 3, 0) == 3);
    snprintf(fd, sizeof(fd), "%d", kept);
    execl(self, self, "goes_on", number, fd, (char *)0);
}

static void many(void)
{
    for (int i = 0; i < 4000; i++) {
        int fd = connected();
        CHECK(send(fd, "1", 1, 0) == 1);
        struct linger hard = {1, 0}; // no TIME_WAIT: ports are few
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        close(fd);
    }
}

static void answered(void)
{
    char back[5];
    int fd = connected();
    CHECK(send(fd, "12345", 5, 0) == 5);
    for (ssize_t got = 0, more; got < 5; got += more)
        CHECK((more = recv(fd, back + got, 5 - got, 0)) > 0);
    CHECK(!memcmp(back, "12345", 5));
    CHECK(!close(fd));
}

int main(int count, char **words)
{
    CHECK(count >= 3);
    port = atoi(words[2]);
    signal(SIGPIPE, SIG_IGN);
#define IS(name) !strcmp(words[1], name)
    if (IS("errno"))
        keeps_errno();
    else if (IS("vfork"))
        vforks();
    else if (IS("clone"))
        clones();
    else if (IS("signals"))
        signals();
    else if (IS("closes_all"))
        closes_all();
    else if (IS("threads"))
        threads();
    else if (IS("forks"))
        forks();
    else if (IS("killed"))
        is_killed();
    else if (IS("exec"))
        execs(words[0], words[2]);
    else if (IS("goes_on"))
        CHECK(send(atoi(words[3]), "45678", 5, 0) == 5);
    else if (IS("many"))
        many();
    else if (IS("answered"))
        answered();
    else if (IS("one"))
        CHECK(send(connected(), "123", 3, 0) == 3);
    else
        return 2;
    return 0;
}
