// Interval timers and POSIX timers: what is left of those that are far, and one that goes off all the time.
#include "object.h"
#include <sys/time.h>
#include <time.h>

static timer_t far, silent, often, idle;
static volatile sig_atomic_t ticks, last_value;

static void on_tick(int number, siginfo_t *info, void *context)
{
    ticks++;
    last_value = info->si_value.sival_int;
}

static timer_t make(int clock, int notify, int value)
{
    timer_t timer;
    struct sigevent event = { .sigev_notify = notify, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = value };
    MUST(timer_create(clock, &event, &timer));
    return timer;
}

static void set_far(void)
{
    MUST(timer_settime(far, 0, &(struct itimerspec) { { 7 + steps, 5 }, { 1000 * (steps + 1), 0 } }, NULL));
    MUST(setitimer(ITIMER_REAL, &(struct itimerval) { { 9, steps }, { 2000 * (steps + 1), 0 } }, NULL));
    MUST(setitimer(ITIMER_VIRTUAL, &(struct itimerval) { { 0, 0 }, { 3000, 0 } }, NULL));
}

static void set_up(void)
{
    MUST(sigaction(SIGRTMIN + 1, &(struct sigaction) { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART }, NULL));
    timer_t gone = make(CLOCK_MONOTONIC, SIGEV_NONE, 0);
    far = make(CLOCK_REALTIME, SIGEV_SIGNAL, 1);
    silent = make(CLOCK_MONOTONIC, SIGEV_NONE, 2);
    idle = make(CLOCK_BOOTTIME, SIGEV_SIGNAL, 3);
    often = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, 42);
    timer_delete(gone);
    set_far();
    MUST(timer_settime(silent, 0, &(struct itimerspec) { { 0, 0 }, { 5000, 0 } }, NULL));
    MUST(timer_settime(often, 0, &(struct itimerspec) { { 0, 2000000 }, { 0, 2000000 } }, NULL));
}

static void step(void)
{
    set_far();
}

static const char *left(timer_t timer, long seconds, long interval, long interval_ns)
{
    struct itimerspec now;
    SAME(timer_gettime(timer, &now), 0);
    EXPECT(now.it_value.tv_sec <= seconds && now.it_value.tv_sec >= seconds - 100 && (seconds == 0 || now.it_value.tv_sec > 0));
    SAME(now.it_interval.tv_sec, interval);
    SAME(now.it_interval.tv_nsec, interval_ns);
    return NULL;
}

static const char *check(void)
{
    struct itimerval now;
    TRY(left(far, 1000 * (steps + 1), 7 + steps, 5));
    TRY(left(silent, 5000, 0, 0));
    TRY(left(idle, 0, 0, 0));
    TRY(left(often, 0, 0, 2000000));
    getitimer(ITIMER_REAL, &now);
    EXPECT(now.it_value.tv_sec <= 2000 * (steps + 1) && now.it_value.tv_sec > 2000 * (steps + 1) - 100);
    SAME(now.it_interval.tv_sec, 9);
    SAME(now.it_interval.tv_usec, steps);
    getitimer(ITIMER_VIRTUAL, &now);
    EXPECT(now.it_value.tv_sec <= 3000 && now.it_value.tv_sec > 2900);
    sigset_t none;
    sigemptyset(&none);
    for (int before = ticks; ticks == before;) sigsuspend(&none);
    SAME(last_value, 42);
    return NULL;
}
