// Threads: registers held across a system call and in a loop, vector registers, rounding, thread-local memory, names, signal masks, alternate stacks, robust mutexes.
#include "object.h"
#include <fenv.h>
#include <stdatomic.h>

enum { THREADS = 4 };
struct own { int number, in, out; pid_t tid; char stack[32768]; };
static struct own own[THREADS];
static __thread int mine, rounds;
static pthread_mutex_t robust;
static atomic_int go;

// Holds r12 to r15 and ymm8 to ymm15 while the kernel reads a byte (fd >= 0), or while the program itself waits until `go` is beyond `rounds`. Whether they are the same.
static int held(int fd, unsigned seed)
{
    uint32_t in[8], out[8] = { 0 };
    uint64_t registers[4] = { 0 };
    char byte;
    for (int i = 0; i < 8; i++) in[i] = seed * 8 + i;
    long seen = rounds, number = fd >= 0 ? SYS_read : -1, first = fd;
    asm volatile(
        "vmovdqu (%[in]), %%ymm8\nvmovdqu (%[in]), %%ymm15\nmov (%[in]), %%r12\nmov 8(%[in]), %%r13\nmov 16(%[in]), %%r14\nmov 24(%[in]), %%r15\n"
        "cmp $0, %%rax\njl 1f\nsyscall\njmp 2f\n"
        "1: pause\ncmp (%[go]), %k[seen]\nje 1b\n"
        "2: vpxor %%ymm8, %%ymm15, %%ymm8\nvpaddd %%ymm15, %%ymm8, %%ymm8\nvmovdqu %%ymm8, (%[out])\n"
        "mov %%r12, (%[reg])\nmov %%r13, 8(%[reg])\nmov %%r14, 16(%[reg])\nmov %%r15, 24(%[reg])\n"
        : "+a"(number), "+D"(first) : [in] "b"(in), [out] "r"(out), [reg] "r"(registers), [go] "r"(&go), [seen] "r"(seen), "S"(&byte), "d"(1l)
        : "r12", "r13", "r14", "r15", "rcx", "r11", "memory", "cc", "xmm8", "xmm15");
    return !memcmp(in, out, sizeof in) && !memcmp(in, registers, sizeof in);
}

static const char *look(struct own *me)
{
    char name[32], actual[16];
    stack_t stack;
    sigset_t mask;
    SAME(mine, me->number);
    SAME(gettid(), me->tid);
    snprintf(name, sizeof name, "thread %d:%d", me->number, rounds);
    pthread_getname_np(pthread_self(), actual, sizeof actual);
    SAME_TEXT(actual, name);
    sigaltstack(NULL, &stack);
    SAME(stack.ss_sp, me->stack);
    SAME(stack.ss_size, sizeof me->stack - me->number * PAGE);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int signal = 1; signal < 65; signal++)
        if (signal != 32 && signal != 33) SAME(sigismember(&mask, signal), signal == SIGRTMIN + me->number);
    SAME(fegetround(), me->number % 2 ? FE_UPWARD : FE_DOWNWARD);
    return NULL;
}

// One line for every round: "" or what is wrong.
static void *work(void *argument)
{
    struct own *me = argument;
    mine = me->number;
    me->tid = gettid();
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGRTMIN + mine);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    sigaltstack(&(stack_t) { .ss_sp = me->stack, .ss_size = sizeof me->stack - mine * PAGE }, NULL);
    fesetround(mine % 2 ? FE_UPWARD : FE_DOWNWARD);
    if (mine == 1) pthread_mutex_lock(&robust);
    for (;; rounds++) {
        char name[32];
        snprintf(name, sizeof name, "thread %d:%d", mine, rounds);
        pthread_setname_np(pthread_self(), name);
        int same = held(mine == 0 ? -1 : me->in, mine + rounds);
        const char *problem = look(me);
        dprintf(me->out, "%s\n", !same ? "a register has changed" : problem ? problem : "");
    }
    return NULL;
}

static int answers[THREADS], commands[THREADS];

static void set_up(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attributes);
    for (int i = 0; i < THREADS; i++) {
        int request[2], answer[2];
        MUST(pipe(request));
        MUST(pipe(answer));
        commands[i] = request[1];
        answers[i] = answer[0];
        own[i].number = i;
        own[i].in = request[0];
        own[i].out = answer[1];
        pthread_t thread;
        pthread_create(&thread, NULL, work, &own[i]);
    }
}

static const char *round_of_all(void)
{
    static char line[600];
    go++;
    for (int i = 0; i < THREADS; i++) MUST(write(commands[i], "x", 1));
    for (int i = 0; i < THREADS; i++)
        if (next_command(answers[i], line, sizeof line)[0]) return line;
    SAME(pthread_mutex_trylock(&robust), EBUSY);
    return NULL;
}

static const char *of_step;

static void step(void)
{
    of_step = round_of_all();
}

static const char *check(void)
{
    TRY(of_step);
    return round_of_all();
}
