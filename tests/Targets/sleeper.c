// Sleeps once in each of the ways that are named, each in a thread of its own, the last one in the main thread, and says how long it took by CLOCK_MONOTONIC.
// Usage: sleeper MILLISECONDS WAY... Says "ready", "WAY N" with milliseconds for each, or "WAY error N"; then waits for the end of stdin.
#include "target.h"
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <time.h>

static long milliseconds;

static long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

// 0, or what went wrong.
static int sleep_by(const char *way)
{
    struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 }, left, date;
    struct epoll_event event;
    int word = 0, epoll = epoll_create1(0);
    sigset_t set;
    sigemptyset(&set);
    if (!strcmp(way, "usleep")) return usleep(milliseconds * 1000);
    if (!strcmp(way, "nanosleep")) return syscall(SYS_nanosleep, &time, NULL);
    if (!strcmp(way, "nanosleep_left")) return nanosleep(&time, &left);
    if (!strcmp(way, "clock_nanosleep")) return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, NULL);
    if (!strcmp(way, "poll")) return poll(NULL, 0, milliseconds);
    if (!strcmp(way, "ppoll")) return ppoll(NULL, 0, &time, &set);
    if (!strcmp(way, "select")) return select(0, NULL, NULL, NULL, &(struct timeval) { time.tv_sec, time.tv_nsec / 1000 });
    if (!strcmp(way, "epoll_wait")) return epoll_wait(epoll, &event, 1, milliseconds);
    if (!strcmp(way, "epoll_pwait")) return epoll_pwait(epoll, &event, 1, milliseconds, &set);
    if (!strcmp(way, "epoll_pwait2")) return epoll_pwait2(epoll, &event, 1, &time, &set);
    if (!strcmp(way, "sigtimedwait")) return sigtimedwait(&set, NULL, &time) == -1 && errno == EAGAIN ? 0 : -1;
    if (!strcmp(way, "semtimedop")) {
        int semaphore = semget(IPC_PRIVATE, 1, 0600), result = semtimedop(semaphore, &(struct sembuf) { .sem_op = -1 }, 1, &time), error = errno;
        semctl(semaphore, 0, IPC_RMID);
        return result == -1 && error == EAGAIN ? 0 : -1;
    }
    if (!strcmp(way, "futex")) return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time) == -1 && errno == ETIMEDOUT ? 0 : -1;
    if (!strcmp(way, "futex_until")) {
        clock_gettime(CLOCK_MONOTONIC, &date);
        date.tv_sec += time.tv_sec;
        return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &date, NULL, FUTEX_BITSET_MATCH_ANY) == -1 && errno == ETIMEDOUT ? 0 : -1;
    }
    return -1;
}

static void *work(void *way)
{
    long began = now();
    if (sleep_by(way) != 0) printf("%s error %d\n", (char *)way, errno);
    else printf("%s %ld\n", (char *)way, now() - began);
    return NULL;
}

int main(int argc, char **argv)
{
    char line[16];
    pthread_t thread;
    target_begin();
    milliseconds = atol(argv[1]);
    puts("ready");
    for (int i = 2; i < argc - 1; i++) pthread_create(&thread, NULL, work, argv[i]);
    work(argv[argc - 1]);
    next_command(0, line, sizeof line);
}
