// sandboxed strict|kill: under seccomp, either the strict mode or a filter that kills on memfd_create and getpid. Says "ready" before;
// computes for ever; answers every line of stdin with "alive" (filter) or nothing.
#include "target.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

int main(int argc, char **argv)
{
    char byte;
    target_begin();
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = { sizeof rules / sizeof *rules, rules };
    int strict = argc > 1 && !strcmp(argv[1], "strict");
    printf("ready\n");
    if (strict ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) : prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        DIE("seccomp");
    while (read(0, &byte, 1) == 1)
        if (byte == '\n' && write(1, "alive\n", 6) != 6)
            break;
    syscall(SYS_exit, 0);
}
