// A second process of an object: a child that does one thing per letter it is asked, and answers with a letter.
#ifndef HELPER_H
#define HELPER_H
#include "object.h"

struct helper { pid_t pid; int in, out; };

static inline struct helper start_helper(char (*act)(char))
{
    int requests[2], answers[2];
    MUST(pipe(requests));
    MUST(pipe(answers));
    pid_t pid = MUST(fork());
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(requests[1]);
        close(answers[0]);
        for (char letter; read(requests[0], &letter, 1) == 1;) {
            letter = act(letter);
            MUST(write(answers[1], &letter, 1));
        }
        _exit(0);
    }
    close(requests[0]);
    close(answers[1]);
    return (struct helper) { pid, requests[1], answers[0] };
}

static inline char ask(struct helper helper, char letter)
{
    MUST(write(helper.in, &letter, 1));
    if (MUST(read(helper.out, &letter, 1)) != 1) DIE("helper %d has ended", helper.pid);
    return letter;
}
#endif
