// selfcheck: threads that notice anything that is done to them: registers, flags, red zone, AVX state, restartable sequences,
// results of blocking system calls, signals. The first discrepancy is told ("FAIL what") and ends it with exit code 1.
// Says "ready". "status" answers "ok rounds R ..." with the rounds of the slowest thread since the last question.
#include "target.h"
#include <linux/futex.h>
#include <linux/rseq.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/rseq.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <time.h>

#define FAIL(...) (printf("FAIL " __VA_ARGS__), printf("\n"), fflush(stdout), _exit(1))
#define MAX_THREADS 16

static struct { const char *name; atomic_ulong rounds; unsigned long seen; } threads[MAX_THREADS];
static int thread_count;
static atomic_ulong eintr;      // spurious EINTR of calls that SIGSTOP and SIGCONT would interrupt as well (signal(7))

// check_registers(n): loads every register, the red zone and the flags with known values, counts n down without touching any of
// them ("loop" changes no flags), and compares. 0, or a number that tells what was wrong.
asm(".text\n.globl check_registers\n.type check_registers,@function\ncheck_registers:\n"
    "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rdi, %rcx\n"
    "mov $0x5a5a5a5a11223344, %rax\n"
    ".irp at,8,16,24,32,40,48,56,64,72,80,88,96,104,112,120,128\nmov %rax, -\\at(%rsp)\ninc %rax\n.endr\n"
    "movabs $0x0101010101010101, %rax\nmovabs $0x0202020202020202, %rbx\nmovabs $0x0303030303030303, %rdx\n"
    "movabs $0x0404040404040404, %rsi\nmovabs $0x0505050505050505, %rdi\nmovabs $0x0606060606060606, %rbp\n"
    "movabs $0x0808080808080808, %r8\nmovabs $0x0909090909090909, %r9\nmovabs $0x1010101010101010, %r10\n"
    "movabs $0x1111111111111111, %r11\nmovabs $0x1212121212121212, %r12\nmovabs $0x1313131313131313, %r13\n"
    "movabs $0x1414141414141414, %r14\nmovabs $0x1515151515151515, %r15\n"
    "cmp %rax, %rax\nstc\n"             // ZF, PF and CF set
    "1: loop 1b\n"
    "jnc 80f\njnz 81f\njnp 82f\n"
    "test %rcx, %rcx\njnz 70f\n"
    "movabs $0x0101010101010101, %rcx\ncmp %rcx, %rax\njne 71f\n"
    ".macro expect reg, value, code\nmovabs $\\value, %rax\ncmp %rax, \\reg\njne \\code\n.endm\n"
    "expect %rbx, 0x0202020202020202, 72f\nexpect %rdx, 0x0303030303030303, 73f\nexpect %rsi, 0x0404040404040404, 74f\n"
    "expect %rdi, 0x0505050505050505, 75f\nexpect %rbp, 0x0606060606060606, 76f\nexpect %r8, 0x0808080808080808, 77f\n"
    "expect %r9, 0x0909090909090909, 78f\nexpect %r10, 0x1010101010101010, 79f\nexpect %r11, 0x1111111111111111, 83f\n"
    "expect %r12, 0x1212121212121212, 84f\nexpect %r13, 0x1313131313131313, 85f\nexpect %r14, 0x1414141414141414, 86f\n"
    "expect %r15, 0x1515151515151515, 87f\n"
    "mov $0x5a5a5a5a11223344, %rax\n"
    ".irp at,8,16,24,32,40,48,56,64,72,80,88,96,104,112,120,128\ncmp %rax, -\\at(%rsp)\njne 88f\ninc %rax\n.endr\n"
    "xor %eax, %eax\n"
    "9: pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n"
    ".irp n,70,71,72,73,74,75,76,77,78,79,80,81,82,83,84,85,86,87,88\n\\n: mov $\\n, %eax\njmp 9b\n.endr\n"
    ".size check_registers, . - check_registers\n");
extern long check_registers(long n);

static void registers(void)
{
    long wrong = check_registers(3000);
    if (wrong)
        FAIL("register, flag or red zone (code %ld of check_registers)", wrong);
}

__attribute__((target("avx"))) static void avx(void)
{
    static const uint64_t pattern[4] = { 0x1122334455667788, 0x99aabbccddeeff00, 0xfedcba9876543210, 0x0123456789abcdef };
    uint64_t out[16][4];
    asm volatile(
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nvmovdqu %0, %%ymm\\n\n.endr\n"
        "mov $2000, %%ecx\n1: loop 1b\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\nvmovdqu %%ymm\\n, (32*\\n)(%1)\n.endr\n"
        :: "m"(*(const uint64_t(*)[4])pattern), "r"(out) : "rcx", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
           "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    for (int i = 0; i < 16; i++)
        if (memcmp(out[i], pattern, 32))
            FAIL("ymm%d", i);
}

// A restartable sequence (rseq(2)) that owns a word of its cpu for a while. Whoever finds another owner in it was not aborted when it should
// have been. Both threads run on one cpu, so that a thread that is put on hold there always meets the other.
static uint64_t volatile cpu_owner;

static void restartable(uint64_t me)
{
    struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    uint64_t found = me;
    asm volatile goto(
        ".pushsection __rseq_cs, \"aw\"\n.balign 32\n3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
        "lea 3b(%%rip), %%rax\nmov %%rax, %[cs]\n"
        "1: mov %[me], %[owner]\n"
        "mov $400, %%ecx\n5: pause\ndec %%ecx\njnz 5b\n"
        "mov %[owner], %%rax\nmov %%rax, %[found]\n"
        "2: jmp 6f\n"
        ".long %c[signature]\n4: jmp %l[aborted]\n6:\n"
        :: [cs] "m"(area->rseq_cs), [owner] "m"(cpu_owner), [me] "r"(me), [found] "m"(found), [signature] "i"(RSEQ_SIG)
        : "rax", "rcx", "memory", "cc" : aborted);
    if (found != me)
        FAIL("restartable sequence of thread %lu was not aborted", me);
aborted:;
}

static long long now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

// A wait of 3 ms that nothing ends but its timeout.
static void timed(const char *name, long (*wait)(struct timespec *), long result, int error, int may_interrupt)
{
    struct timespec time = { 0, 3000000 };
    long long start = now_us();
    errno = 0;
    long got = wait(&time);
    if (may_interrupt && got < 0 && errno == EINTR) {
        eintr++;
        return;
    }
    if (got != result || (got < 0 && errno != error))
        FAIL("%s returned %ld, errno %d", name, got, errno);
    if (now_us() - start < 2900)
        FAIL("%s ended after %lld us of 3000", name, now_us() - start);
}

static int word, empty_pipe[2], empty_epoll, empty_semaphore;
static long wait_nanosleep(struct timespec *t) { return nanosleep(t, NULL); }
static long wait_futex(struct timespec *t) { return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, t, NULL, 0); }
static long wait_poll(struct timespec *t) { return poll(&(struct pollfd){ .fd = empty_pipe[0], .events = POLLIN }, 1, 3); }
static long wait_ppoll(struct timespec *t) { sigset_t none; sigemptyset(&none); return ppoll(&(struct pollfd){ .fd = empty_pipe[0], .events = POLLIN }, 1, t, &none); }
static long wait_select(struct timespec *t) { fd_set set; FD_ZERO(&set); FD_SET(empty_pipe[0], &set); return select(empty_pipe[0] + 1, &set, NULL, NULL, &(struct timeval){ 0, 3000 }); }
static long wait_epoll(struct timespec *t) { struct epoll_event e; return epoll_wait(empty_epoll, &e, 1, 3); }
static long wait_semaphore(struct timespec *t) { struct sembuf down = { 0, -1, 0 }; return semtimedop(empty_semaphore, &down, 1, t); }
static long wait_signal(struct timespec *t) { sigset_t usr2; sigemptyset(&usr2); sigaddset(&usr2, SIGUSR2); return sigtimedwait(&usr2, NULL, t); }

static void sleeper(void) { timed("nanosleep", wait_nanosleep, 0, 0, 0); timed("futex", wait_futex, -1, ETIMEDOUT, 0); }
static void poller(void) { timed("poll", wait_poll, 0, 0, 0); timed("ppoll", wait_ppoll, 0, 0, 0); timed("select", wait_select, 0, 0, 0); }
static void interrupted(void)
{
    timed("epoll_wait", wait_epoll, 0, 0, 1);
    timed("semtimedop", wait_semaphore, -1, EAGAIN, 1);
    timed("sigtimedwait", wait_signal, -1, EAGAIN, 1);
}

// Numbers through a pipe and back, blocking on both sides.
static int there[2], back[2];
static void ping(void)
{
    static uint64_t number;
    uint64_t answer = 0;
    number++;
    if (write(there[1], &number, 8) != 8 || read(back[0], &answer, 8) != 8 || answer != mix(number))
        FAIL("pipe: sent %lu, got %lx, errno %d", number, answer, errno);
}
static void pong(void)
{
    uint64_t number = 0;
    ssize_t n = read(there[0], &number, 8);
    if (n != 8)
        FAIL("pipe: read %zd, errno %d", n, errno);
    number = mix(number);
    if (write(back[1], &number, 8) != 8)
        FAIL("pipe: write, errno %d", errno);
}

// Queued signals: each arrives once, in order, with its value; the handler runs on whatever the receiver is doing.
static pthread_t receiver;
static atomic_int last_value;
static void on_value(int signal, siginfo_t *info, void *context)
{
    if (info->si_value.sival_int != last_value + 1)
        FAIL("signal %d came after %d", info->si_value.sival_int, last_value);
    last_value++;
}
static void sender(void)
{
    static int value;
    value++;
    if (pthread_sigqueue(receiver, SIGRTMIN, (union sigval){ .sival_int = value }))
        FAIL("sigqueue %d", value);
    for (long long start = now_us(); last_value < value; sched_yield())
        if (now_us() - start > 300000000)
            FAIL("signal %d was lost", value);
    usleep(300);
}

static void system_calls(void)
{
    static pid_t pid;
    if (!pid)
        pid = getpid();
    for (int i = 0; i < 50; i++)
        if (syscall(SYS_getpid) != pid || syscall(SYS_lseek, 0, 0, 99) != -1 || (errno != EINVAL && errno != ESPIPE))
            FAIL("getpid or lseek");
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGUSR2))
        FAIL("signal mask");
    usleep(100);
}

struct job { void (*work)(void); int index, cpu; };

static void *run(void *argument)
{
    struct job job = *(struct job *)argument;
    free(argument);
    if (job.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(job.cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    for (;;) {
        if (job.work)
            job.work();
        else
            restartable(job.index);
        atomic_fetch_add_explicit(&threads[job.index].rounds, 1, memory_order_relaxed);
    }
    return NULL;
}

static pthread_t start(const char *name, void (*work)(void), int cpu)
{
    pthread_t thread;
    struct job *job = malloc(sizeof *job);
    *job = (struct job){ work, thread_count, cpu };
    threads[thread_count++].name = name;
    if (pthread_create(&thread, NULL, run, job))
        DIE("pthread_create");
    return thread;
}

static void status(void)
{
    unsigned long least = ~0ul;
    const char *slowest = "";
    for (int i = 0; i < thread_count; i++) {
        unsigned long rounds = threads[i].rounds, done = rounds - threads[i].seen;
        threads[i].seen = rounds;
        if (done < least) {
            least = done;
            slowest = threads[i].name;
        }
    }
    printf("ok rounds %lu slowest %s eintr %lu\n", least, slowest, eintr);
}

static void remove_semaphore(void) { semctl(empty_semaphore, 0, IPC_RMID); }

int main(void)
{
    char line[64];
    sigset_t usr2;
    struct sigaction action = { .sa_sigaction = on_value, .sa_flags = SA_SIGINFO | SA_RESTART };
    struct epoll_event event = { .events = EPOLLIN };
    target_begin();
    sigaction(SIGRTMIN, &action, NULL);
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &usr2, NULL);
    if (pipe(empty_pipe) || pipe(there) || pipe(back) || (empty_epoll = epoll_create1(0)) < 0
        || epoll_ctl(empty_epoll, EPOLL_CTL_ADD, empty_pipe[0], &event) || (empty_semaphore = semget(IPC_PRIVATE, 1, 0600)) < 0)
        DIE("set up");
    atexit(remove_semaphore); // end it with "quit", or the semaphore outlives it
    receiver = start("registers", registers, -1);
    start("sender", sender, -1);
    if (__builtin_cpu_supports("avx"))
        start("avx", avx, -1);
    if (__rseq_size) {
        int cpu = sched_getcpu();   // one that it may run on
        start("rseq", NULL, cpu);
        start("rseq", NULL, cpu);
    }
    start("sleeper", sleeper, -1);
    start("poller", poller, -1);
    start("interrupted", interrupted, -1);
    start("ping", ping, -1);
    start("pong", pong, -1);
    start("system calls", system_calls, -1);
    usleep(50000);
    printf("ready\n");
    for (;;)
        if (!strcmp(next_command(0, line, sizeof line), "status"))
            status();
}
