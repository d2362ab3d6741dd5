// Restartable sequences: threads that are inside a critical section whenever they run (rseq(2)). Whoever was stopped there must begin it anew: its processor
// may be another one by now.
#include "object.h"
#include <stdatomic.h>
#include <sys/rseq.h>

enum { THREADS = 2 };
enum outcome { COMMITTED, ABORTED, MIGRATED };
static int go;
static volatile unsigned turns[THREADS];
static atomic_int ended[THREADS], migrated;

// Stays in the section until `go` is beyond `round`; MIGRATED if the processor changes within it.
static enum outcome section(struct rseq *area, int round, volatile unsigned *turn)
{
    enum outcome outcome;
    asm volatile(
        ".pushsection __rseq_cs, \"aw\"\n.balign 32\n3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
        "lea 3b(%%rip), %%rax\nmov %%rax, %c[cs](%[area])\n"
        "1: mov %c[start](%[area]), %%ecx\n"
        "5: incl (%[turn])\ncmp %c[now](%[area]), %%ecx\njne 6f\npause\ncmp %[round], (%[go])\nje 5b\n"
        "2: mov %[committed], %[outcome]\njmp 7f\n"
        "6: mov %[moved], %[outcome]\njmp 7f\n"
        ".byte 0x0f, 0xb9, 0x3d\n.long %c[signature]\n"         // what must be in front of an abort handler
        "4: mov %[aborted], %[outcome]\n"
        "7: movq $0, %c[cs](%[area])\n"
        : [outcome] "=&r"(outcome)
        : [area] "r"(area), [round] "r"(round), [turn] "r"(turn), [go] "r"(&go), [cs] "i"(offsetof(struct rseq, rseq_cs)), [start] "i"(offsetof(struct rseq, cpu_id_start)),
          [now] "i"(offsetof(struct rseq, cpu_id)), [signature] "i"(RSEQ_SIG), [committed] "i"(COMMITTED), [aborted] "i"(ABORTED), [moved] "i"(MIGRATED)
        : "rax", "rcx", "memory", "cc");
    return outcome;
}

static void *work(void *argument)
{
    long mine = (long)argument;
    struct rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
    for (;; ended[mine]++) {
        enum outcome outcome;
        while ((outcome = section(area, ended[mine], &turns[mine])) == ABORTED) { }
        if (outcome == MIGRATED) migrated++;
    }
    return NULL;
}

// Every thread has gone round in its section.
static void await_turns(void)
{
    for (int i = 0; i < THREADS; i++)
        for (unsigned before = turns[i]; turns[i] == before;) sched_yield();
}

static void set_up(void)
{
    pthread_t thread;
    if (__rseq_size == 0) DIE("rseq");
    for (long i = 0; i < THREADS; i++) pthread_create(&thread, NULL, work, (void *)i);
    await_turns();
}

static void step(void)
{
    go++;
    for (int i = 0; i < THREADS; i++)
        while (ended[i] < steps) sched_yield();
    await_turns();
}

static const char *check(void)
{
    await_turns();
    SAME(migrated, 0);
    for (int i = 0; i < THREADS; i++) SAME(ended[i], steps);
    return NULL;
}
