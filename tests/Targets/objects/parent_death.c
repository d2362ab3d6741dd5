// Parent-death signals: of a process's first thread, and of another one of its own (PR_SET_PDEATHSIG). Of a child: the restarted root has another parent.
#include "helper.h"

static int ask_thread[2], answer_thread[2], changes;

static int signal_now(void)
{
    int signal = -1;
    prctl(PR_GET_PDEATHSIG, &signal);
    return signal;
}

// 's' sets it, all else is answered with the signal.
static void *obey_child(void *nothing)
{
    for (char letter; read(ask_thread[0], &letter, 1) == 1;) {
        if (letter == 's') MUST(prctl(PR_SET_PDEATHSIG, SIGRTMIN + ++changes));
        letter = signal_now();
        MUST(write(answer_thread[1], &letter, 1));
    }
    return NULL;
}

static char in_child(char letter)
{
    if (ask_thread[1] == 0) {
        pthread_t thread;
        MUST(pipe(ask_thread));
        MUST(pipe(answer_thread));
        pthread_create(&thread, NULL, obey_child, NULL);
    }
    if (letter == 'm') return signal_now();
    MUST(write(ask_thread[1], &letter, 1));
    MUST(read(answer_thread[0], &letter, 1));
    return letter;
}

static struct helper child;

static void set_up(void)
{
    child = start_helper(in_child);
    ask(child, 'c');
}

static void step(void)
{
    ask(child, 's');
}

static const char *check(void)
{
    SAME(ask(child, 'm'), SIGKILL);
    SAME(ask(child, 'c'), steps ? SIGRTMIN + steps : 0);
    return NULL;
}
