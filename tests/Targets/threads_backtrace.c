// threads_backtrace: five threads, each held in a function of a known name, for tests of cores. Prints "ready PID" when
// all are there, then answers "check" with "ok", as long as nothing changed, until "quit".
#include "target.h"
#include <immintrin.h>

#define KEEP __attribute__((noinline, noclone))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int pipe_fds[2];
static volatile int arrived;
volatile uint64_t spins;
char modified_data[8192] = "in the data segment";
char zero_data[3 * 4096];
const char constant_data[] = "in the read-only segment";

KEEP static int pipe_reader_inner(int depth)
{
    char byte;
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    ssize_t n = read(pipe_fds[0], &byte, 1);
    return (int)n + depth;
}

KEEP static void *pipe_reader_outer(void *argument)
{
    prctl(PR_SET_NAME, "pipe) (reader");
    int local = 4711;
    return (void *)(intptr_t)(pipe_reader_inner(local) + 1);
}

KEEP static int condition_waiter_inner(int depth)
{
    pthread_mutex_lock(&mutex);
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    for (;;)
        pthread_cond_wait(&condition, &mutex);
    return depth;
}

KEEP static void *condition_waiter_outer(void *argument)
{
    return (void *)(intptr_t)(condition_waiter_inner(1) + 1);
}

KEEP static void *sleeper_outer(void *argument)
{
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    for (;;)
        sleep(1000);
    return NULL;
}

// Holds known values in vector registers, in a loop that never leaves the function.
__attribute__((noinline, noclone, target("avx"))) static void avx_spinner_inner(void)
{
    __asm__ volatile(
        "vpcmpeqd %%xmm0, %%xmm0, %%xmm0\n"
        "vinsertf128 $1, %%xmm0, %%ymm0, %%ymm0\n"
        "movabs $0x1122334455667788, %%rax\n"
        "vmovq %%rax, %%xmm1\n"
        "vinsertf128 $1, %%xmm1, %%ymm1, %%ymm1\n"
        "lock incl %0\n"
        "1: incq %1\n"
        "pause\n"
        "jmp 1b\n"
        : "+m"(arrived), "+m"(spins) : : "rax", "memory");
}

KEEP static void *avx_spinner_outer(void *argument)
{
    if (__builtin_cpu_supports("avx"))
        avx_spinner_inner();
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    for (;;)
        pause();
    return NULL;
}

KEEP static void main_conversation(void)
{
    char line[256];
    for (;;) {
        next_command(0, line, sizeof line);
        puts(!strcmp(line, "check") && zero_data[0] == 7 ? "ok" : "?");
    }
}

int main(void)
{
    target_begin();
    pthread_t threads[4];
    if (pipe(pipe_fds))
        DIE("pipe");
    zero_data[0] = 7;
    strcpy(modified_data + 4096, "modified");
    pthread_create(&threads[0], NULL, pipe_reader_outer, NULL);
    pthread_create(&threads[1], NULL, condition_waiter_outer, NULL);
    pthread_create(&threads[2], NULL, sleeper_outer, NULL);
    pthread_create(&threads[3], NULL, avx_spinner_outer, NULL);
    while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < 4)
        usleep(1000);
    usleep(100000);
    printf("ready %d %s\n", getpid(), constant_data);
    main_conversation();
}
