// self_dispatched: its system calls go to itself as SIGSYS while it computes (PR_SET_SYSCALL_USER_DISPATCH), as those of programs in Wine do. Says "ready", then
// computes, and says "quiet" or "disturbed" after each round: whether any was made meanwhile.
#include "target.h"
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

static volatile char selector;
static volatile sig_atomic_t caught;

static void on_call(int number)
{
    caught = 1;
    selector = 0;
}

int main(void)
{
    target_begin();
    sigaction(SIGSYS, &(struct sigaction) { .sa_handler = on_call }, NULL);
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector)) DIE("PR_SET_SYSCALL_USER_DISPATCH");
    printf("ready\n");
    for (;;) {
        selector = 1;
        for (volatile long i = 0; i < 100 * 1000 * 1000; i++) { }
        selector = 0;
        printf("%s\n", caught ? "disturbed" : "quiet");
    }
}
