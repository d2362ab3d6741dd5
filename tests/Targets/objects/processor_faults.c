// Instructions that prctl(2) and arch_prctl(2) make faults: rdtsc, and cpuid where the processor can. The thread was there before, and has none of it.
#include "object.h"
#include <setjmp.h>
#include <cpuid.h>
#include <x86intrin.h>

enum { ARCH_GET_CPUID_ = 0x1011, ARCH_SET_CPUID_ = 0x1012 };
static int ask[2], answer[2], cpuid_offered;
static sigjmp_buf faulted;

static void jump(int signal)
{
    siglongjmp(faulted, 1);
}

static int faults(void (*instruction)(void))
{
    if (sigsetjmp(faulted, 1)) return 1;
    instruction();
    return 0;
}

static void read_time_stamp(void)
{
    (void)__rdtsc();
}

static void read_cpuid(void)
{
    unsigned a, b, c, d;
    __cpuid(0, a, b, c, d);
}

static int time_stamp_setting(void)
{
    int setting = 0;
    prctl(PR_GET_TSC, &setting);
    return setting;
}

static void *tell(void *nothing)
{
    for (char byte; read(ask[0], &byte, 1) == 1;) {
        int told[2] = { time_stamp_setting(), syscall(SYS_arch_prctl, ARCH_GET_CPUID_, 0) };
        MUST(write(answer[1], told, sizeof told));
    }
    return NULL;
}

static void set_up(void)
{
    pthread_t thread;
    MUST(pipe(ask));
    MUST(pipe(answer));
    pthread_create(&thread, NULL, tell, NULL);
    signal(SIGSEGV, jump);
    cpuid_offered = syscall(SYS_arch_prctl, ARCH_SET_CPUID_, 1) == 0;
}

static void step(void)
{
    MUST(prctl(PR_SET_TSC, steps % 2 ? PR_TSC_SIGSEGV : PR_TSC_ENABLE));
    if (cpuid_offered) MUST(syscall(SYS_arch_prctl, ARCH_SET_CPUID_, (steps / 2) % 2 == 0));
}

static const char *check(void)
{
    int told[2];
    SAME(time_stamp_setting(), steps % 2 ? PR_TSC_SIGSEGV : PR_TSC_ENABLE);
    SAME(faults(read_time_stamp), steps % 2);
    if (cpuid_offered) SAME(faults(read_cpuid), (steps / 2) % 2);
    MUST(write(ask[1], "x", 1));
    MUST(read(answer[0], told, sizeof told));
    SAME(told[0], PR_TSC_ENABLE);
    SAME(told[1], 1);
    return NULL;
}
