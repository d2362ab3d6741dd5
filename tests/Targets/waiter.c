// Waits by epoll_wait, in a thread for 2 s without anything happening, and in some others for random short times, woken at random: says "waited N" with the
// milliseconds of the long one, then, when asked by any line, "timeouts N early N worst N": waits that timed out, too early among them, by how many ns at most.
#include "target.h"
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

enum { THREADS = 3, LONG_MS = 2000 };
static int events[THREADS];
static atomic_long timeouts, early, worst;

static long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

static void *wait_shortly(void *which)
{
    int fd = events[(long)which], epoll = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN };
    unsigned seed = getpid() + (long)which;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    for (;;) {
        int ms = 1 + rand_r(&seed) % 60;
        long began = now();
        eventfd_t count;
        if (epoll_wait(epoll, &event, 1, ms) == 1) {
            eventfd_read(fd, &count);
            continue;
        }
        long missing = began + ms * 1000000L - now();
        timeouts++;
        if (missing <= 0) continue;
        early++;
        if (missing > worst) worst = missing;
    }
    return NULL;
}

static void *wake(void *unused)
{
    for (unsigned seed = getpid();;) {
        usleep(rand_r(&seed) % 8 ? rand_r(&seed) % 3000 : rand_r(&seed) % 60000);
        eventfd_write(events[rand_r(&seed) % THREADS], 1);
    }
    return NULL;
}

static void *wait_long(void *unused)
{
    struct epoll_event event;
    int epoll = epoll_create1(0);
    long began = now();
    if (epoll_wait(epoll, &event, 1, LONG_MS) != 0) printf("error %d\n", errno);
    else printf("waited %ld\n", (now() - began) / 1000000);
    return NULL;
}

int main(void)
{
    char line[16];
    pthread_t thread;
    target_begin();
    for (long i = 0; i < THREADS; i++) {
        events[i] = eventfd(0, 0);
        pthread_create(&thread, NULL, wait_shortly, (void *)i);
    }
    pthread_create(&thread, NULL, wake, NULL);
    pthread_create(&thread, NULL, wait_long, NULL);
    puts("ready");
    next_command(0, line, sizeof line);
    printf("timeouts %ld early %ld worst %ld\n", timeouts, early, worst);
}
