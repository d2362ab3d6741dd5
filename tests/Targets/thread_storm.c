// thread_storm WORKERS [STORM]: WORKERS threads that compute and check themselves, and STORM threads that keep starting and joining
// short-lived ones. Says "ready". "count" answers "rounds R started S", "verify" answers "ok" or "bad N" (results that came out wrong).
#include "target.h"

static volatile uint64_t rounds, started, bad, there;

// A result that depends on every step; integers and doubles in registers, memory on the stack.
static uint64_t compute(uint64_t start)
{
    volatile uint64_t stack[64];
    uint64_t x = start;
    double sum = 0;
    for (int i = 0; i < 2000; i++) {
        x = mix(x);
        stack[i % 64] = x;
        sum = sum * 0.5 + (double)(x & 0xffff);
    }
    for (int i = 0; i < 64; i++)
        x ^= stack[i];
    return x ^ (uint64_t)(sum * 1000);
}

static void *work(void *argument)
{
    uint64_t number = (uintptr_t)argument, expected = compute(number);
    __atomic_add_fetch(&there, 1, __ATOMIC_RELAXED);
    for (;;) {
        if (compute(number) != expected)
            __atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&rounds, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static __thread uint64_t own;

static void *live_shortly(void *argument)
{
    own = (uintptr_t)argument;
    uint64_t result = compute(own);
    return (void *)(uintptr_t)(own == (uintptr_t)argument ? result : 0);
}

static void *storm(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    __atomic_add_fetch(&there, 1, __ATOMIC_RELAXED);
    for (;;) {
        pthread_t threads[4];
        uint64_t numbers[4];
        int n = 1 + next_random(&random) % 4;
        for (int i = 0; i < n; i++)
            if (pthread_create(&threads[i], NULL, live_shortly, (void *)(uintptr_t)(numbers[i] = next_random(&random))))
                DIE("pthread_create");
        for (int i = 0; i < n; i++) {
            void *result;
            pthread_join(threads[i], &result);
            if ((uintptr_t)result != compute(numbers[i]))
                __atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
            __atomic_add_fetch(&started, 1, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    char line[256];
    pthread_t thread;
    uint64_t workers = argument(argc, argv, 1, 4), storms = argument(argc, argv, 2, 2);
    target_begin();
    for (uint64_t i = 0; i < workers; i++)
        if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)(i + 1)))
            DIE("pthread_create");
    for (uint64_t i = 0; i < storms; i++)
        if (pthread_create(&thread, NULL, storm, (void *)(uintptr_t)(i + 1000)))
            DIE("pthread_create");
    while (there < workers + storms) // glibc starts a thread with all signals blocked, until it has run for the first time
        usleep(1000);
    printf("ready\n");
    for (;;) {
        next_command(0, line, sizeof line);
        if (!strcmp(line, "count"))
            printf("rounds %lu started %lu\n", rounds, started);
        else if (!strcmp(line, "verify"))
            bad ? printf("bad %lu\n", bad) : printf("ok\n");
        else
            printf("what? %s\n", line);
    }
}
