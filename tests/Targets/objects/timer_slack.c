// Timer slack (PR_SET_TIMERSLACK), of each thread its own. A real-time thread has none.
#include "object.h"
#include <sched.h>

enum { MAIN, DEFAULT, OTHER, REAL_TIME, KINDS };
static pid_t tids[KINDS];
static pthread_barrier_t started;

static long slack_of(pid_t tid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/timerslack_ns", tid);
    return atol(text_of(path));
}

static void *wait_for_ever(void *number)
{
    int kind = (long)number;
    tids[kind] = gettid();
    if (kind == OTHER) MUST(prctl(PR_SET_TIMERSLACK, 7));
    if (kind == REAL_TIME) MUST(sched_setscheduler(0, SCHED_FIFO, &(struct sched_param) { 1 }));
    pthread_barrier_wait(&started);
    for (;;) pause();
    return NULL;
}

static long of_real_time;

static void set_up(void)
{
    pthread_t thread;
    pthread_barrier_init(&started, NULL, KINDS);
    tids[MAIN] = gettid();
    for (long i = 1; i < KINDS; i++) pthread_create(&thread, NULL, wait_for_ever, (void *)i);
    pthread_barrier_wait(&started);
    of_real_time = slack_of(tids[REAL_TIME]);
    MUST(prctl(PR_SET_TIMERSLACK, 1000));
}

static void step(void)
{
    MUST(prctl(PR_SET_TIMERSLACK, 1000 + steps));
}

static const char *check(void)
{
    SAME(prctl(PR_GET_TIMERSLACK), 1000 + steps);
    SAME(slack_of(tids[MAIN]), 1000 + steps);
    SAME(slack_of(tids[DEFAULT]), 50000);
    SAME(slack_of(tids[OTHER]), 7);
    SAME(slack_of(tids[REAL_TIME]), of_real_time);
    return NULL;
}
