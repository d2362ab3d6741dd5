// Scheduling policies, priorities, niceness and processors of threads.
#include "object.h"
#include <sched.h>
#include <sys/resource.h>

enum { NORMAL, BATCH, IDLE, FIFO, ROUND_ROBIN, KINDS };
static const int policy[KINDS] = { SCHED_OTHER, SCHED_BATCH | SCHED_RESET_ON_FORK, SCHED_IDLE, SCHED_FIFO, SCHED_RR | SCHED_RESET_ON_FORK };
static pid_t tids[KINDS];
static pthread_barrier_t started;
static cpu_set_t allowed;

// Number i of the processors that this process may run on, from the start again behind the last.
static int processor(int i)
{
    int number = -1;
    for (i %= CPU_COUNT(&allowed); i >= 0; i--)
        do number++;
        while (!CPU_ISSET(number, &allowed));
    return number;
}

static void *wait_for_ever(void *tid)
{
    *(pid_t *)tid = gettid();
    pthread_barrier_wait(&started);
    for (;;) pause();
    return NULL;
}

static void set_policies(void)
{
    for (int i = 0; i < KINDS; i++) {
        cpu_set_t processors;
        CPU_ZERO(&processors);
        CPU_SET(processor(steps + i), &processors);
        MUST(sched_setscheduler(tids[i], policy[i], &(struct sched_param) { i >= FIFO ? 1 + i + steps : 0 }));
        MUST(setpriority(PRIO_PROCESS, tids[i], 2 * i + steps));
        MUST(sched_setaffinity(tids[i], sizeof processors, &processors));
    }
}

static void set_up(void)
{
    pthread_t thread;
    pthread_barrier_init(&started, NULL, KINDS);
    MUST(sched_getaffinity(0, sizeof allowed, &allowed));
    tids[NORMAL] = gettid();
    for (int i = 1; i < KINDS; i++) pthread_create(&thread, NULL, wait_for_ever, &tids[i]);
    pthread_barrier_wait(&started);
    set_policies();
}

static void step(void)
{
    set_policies();
}

static const char *check(void)
{
    for (int i = 0; i < KINDS; i++) {
        cpu_set_t processors;
        struct sched_param parameters;
        SAME(sched_getscheduler(tids[i]), policy[i]);
        SAME(sched_getparam(tids[i], &parameters), 0);
        SAME(parameters.sched_priority, i >= FIFO ? 1 + i + steps : 0);
        errno = 0;
        SAME(getpriority(PRIO_PROCESS, tids[i]), 2 * i + steps);
        SAME(sched_getaffinity(tids[i], sizeof processors, &processors), 0);
        SAME(CPU_COUNT(&processors), 1);
        EXPECT(CPU_ISSET(processor(steps + i), &processors));
    }
    return NULL;
}
