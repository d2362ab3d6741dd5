// state_teller: sets up process state that only the process can ask for, and prints what the kernel told it, one fact a
// line ("key value…"), then "ready". The tests compare that with what was read from outside.
#include "target.h"
#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

struct kernel_sigaction { uint64_t handler, flags, restorer, mask; };

static void on_signal(int number) { (void)number; }

static void on_signal_info(int number, siginfo_t *info, void *context) { (void)number; (void)info; (void)context; }

static pthread_barrier_t barrier;

static void tell_thread(void)
{
    uint64_t address = 0;
    stack_t stack = { 0 };
    prctl(40 /* PR_GET_TID_ADDRESS */, &address);
    sigaltstack(NULL, &stack);
    flockfile(stdout);
    printf("tid_address %d %lu\n", gettid(), address);
    printf("altstack %d %lu %u %lu\n", gettid(), (uint64_t)stack.ss_sp, stack.ss_flags, stack.ss_size);
    funlockfile(stdout);
}

static void *thread(void *argument)
{
    static char stacks[4][65536];
    stack_t stack = { .ss_sp = stacks[(intptr_t)argument], .ss_size = 65536 - 4096 * (uintptr_t)argument };
    if (argument)
        sigaltstack(&stack, NULL);
    char name[16];
    snprintf(name, sizeof name, "teller %ld\n)", (long)(intptr_t)argument);
    prctl(PR_SET_NAME, name);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1 + (int)(intptr_t)argument);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    tell_thread();
    pthread_barrier_wait(&barrier);
    for (;;)
        pause();
    return NULL;
}

static void tell_actions(void)
{
    for (int number = 1; number <= 64; number++) {
        struct kernel_sigaction action;
        if (syscall(SYS_rt_sigaction, number, NULL, &action, 8) == 0 && (action.handler || action.flags || number == SIGCHLD))
            printf("action %d %lu %lu %lu %lu\n", number, action.handler, action.flags, action.restorer, action.mask);
    }
}

static void set_up(void)
{
    struct sigaction plain = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigaddset(&plain.sa_mask, SIGHUP);
    sigaction(SIGUSR1, &plain, NULL);
    struct sigaction info = { .sa_sigaction = on_signal_info, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigaction(SIGRTMIN + 3, &info, NULL);
    sigaction(SIGTERM, &info, NULL);
    struct sigaction children = { .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT };
    sigaction(SIGCHLD, &children, NULL);
    signal(SIGWINCH, SIG_IGN);
    struct rlimit limit = { 777, 1024 };
    setrlimit(RLIMIT_NOFILE, &limit);
    umask(0137);
    struct itimerval timer = { { 5, 250 }, { 100000, 0 } };
    setitimer(ITIMER_REAL, &timer, NULL);
    timer_t posix;
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3 };
    timer_create(CLOCK_MONOTONIC, &event, &posix);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    kill(getpid(), SIGUSR2);            // stays pending, shared
    tgkill(getpid(), gettid(), SIGUSR2);   // stays pending, the thread's own
}

static void tell_fds(void)
{
    int fd = open("/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC | O_APPEND, 0600);
    if (fd < 0 || write(fd, "0123456789", 10) != 10)
        DIE("O_TMPFILE");
    int pipes[2];
    if (pipe(pipes))
        DIE("pipe");
    struct stat status;
    fstat(fd, &status);
    printf("file %d 10 %lu\n", fd, (uint64_t)status.st_ino);
    printf("pipe %d %d\n", pipes[0], pipes[1]);
}

// Until every other thread is in pause(2), number 34: proc_pid_syscall(5).
static void await_pause(void)
{
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; (task = readdir(tasks));) {
        int number = 0;
        while (task->d_name[0] != '.' && atoi(task->d_name) != getpid() && number != 34) {
            char path[300];
            snprintf(path, sizeof path, "/proc/self/task/%s/syscall", task->d_name);
            FILE *file = fopen(path, "r");
            if (!file)
                DIE(path);
            if (fscanf(file, "%d", &number) != 1)
                number = 0;         // it is running
            fclose(file);
        }
    }
    closedir(tasks);
}

int main(void)
{
    target_begin();
    set_up();
    tell_fds();
    pthread_t threads[3];
    pthread_barrier_init(&barrier, NULL, 4);
    tell_thread();
    for (intptr_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, thread, (void *)i);
    pthread_barrier_wait(&barrier);
    tell_actions();
    await_pause();
    printf("brk %lu\n", (uint64_t)syscall(SYS_brk, 0));
    puts("ready");
    char line[256];
    for (;;)
        next_command(0, line, sizeof line);
}
