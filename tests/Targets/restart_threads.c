// restart_threads N: threads that each own something that a restart must bring back: thread-local memory, a name, an alternate signal
// stack, a robust mutex, AVX registers held across a long loop, a signal mask, a niceness. "ready"; every line is answered with "ok ROUNDS" or what is wrong.
#include "target.h"
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define FAIL(...) (printf("FAIL " __VA_ARGS__), printf("\n"), fflush(stdout), _exit(1))

static __thread int mine;
static __thread char own_name[16];
static atomic_ulong rounds[64];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, robust;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int generation, count, waiting;
static atomic_int signals;

static void on_signal(int signal)
{
    signals++;
}

// The AVX registers keep their values while a loop counts: nothing but the kernel's saving of them is between.
static void avx(unsigned seed)
{
    uint32_t in[8], out[8];
    for (int i = 0; i < 8; i++) in[i] = seed * 8 + i;
    asm volatile("vmovdqu (%0), %%ymm15\nvmovdqu (%0), %%ymm7\nmov $3000000, %%rcx\n1: dec %%rcx\njnz 1b\n"
        "vpxor %%ymm7, %%ymm15, %%ymm7\nvpaddd %%ymm15, %%ymm7, %%ymm7\nvmovdqu %%ymm7, (%1)\n" :: "r"(in), "r"(out) : "rcx", "memory", "xmm7", "xmm15");
    for (int i = 0; i < 8; i++)
        if (out[i] != in[i]) FAIL("ymm lane %d is %u, not %u", i, out[i], in[i]);
}

static void *work(void *argument)
{
    long n = mine = (long)argument;
    snprintf(own_name, sizeof own_name, "worker-%ld", n);
    pthread_setname_np(pthread_self(), own_name);
    stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 }, now;
    sigaltstack(&stack, NULL);
    sigset_t set, got;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + (int)n % 20);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
    if (n == 0) pthread_mutex_lock(&robust);
    if (n == 1) setpriority(PRIO_PROCESS, syscall(SYS_gettid), 5);
    pid_t tid = syscall(SYS_gettid);
    for (;;) {
        char name[16];
        if (mine != n) FAIL("thread-local memory of %ld says %d", n, mine);
        pthread_getname_np(pthread_self(), name, sizeof name);
        if (strcmp(name, own_name)) FAIL("thread %ld is called %s", n, name);
        sigaltstack(NULL, &now);
        if (now.ss_sp != stack.ss_sp || now.ss_size != stack.ss_size || now.ss_flags) FAIL("alternate stack of %ld", n);
        pthread_sigmask(SIG_SETMASK, NULL, &got);
        for (int s = 1; s < 65; s++)
            if (sigismember(&set, s) != sigismember(&got, s)) FAIL("signal mask of %ld: %d", n, s);
        if (syscall(SYS_gettid) != tid) FAIL("thread id of %ld", n);
        if (n == 1 && getpriority(PRIO_PROCESS, tid) != 5) FAIL("niceness");
        avx(n);
        rounds[n]++;
        if (n % 3 == 2) {                       // sleeps until it is told
            pthread_mutex_lock(&mutex);
            for (int before = generation; generation == before;) {
                waiting++;
                pthread_cond_wait(&condition, &mutex);
                waiting--;
            }
            pthread_mutex_unlock(&mutex);
        }
    }
}

int main(int argc, char **argv)
{
    target_begin();
    count = argument(argc, argv, 1, 6);
    signal(SIGUSR1, on_signal);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    pthread_t thread[64];
    for (long i = 0; i < count; i++) pthread_create(&thread[i], NULL, work, (void *)i);
    usleep(100000);
    printf("ready\n");
    unsigned long seen[64] = { 0 };
    char line[64];
    for (;;) {
        next_command(0, line, sizeof line);
        raise(SIGUSR1);
        if (pthread_mutex_trylock(&robust) != EBUSY) FAIL("the robust mutex is free");
        pthread_mutex_lock(&mutex);
        generation++;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
        for (int i = 0; i < count; i++)
            for (int tries = 0; rounds[i] <= seen[i] + 1; tries++, usleep(1000)) {
                if (tries > 30000) FAIL("thread %d does not go on", i);
                if (i % 3 == 2 && rounds[i] > seen[i]) break;
            }
        for (int i = 0; i < count; i++) seen[i] = rounds[i];
        printf("ok %d\n", signals);
    }
}
