// PR_MCE_KILL, and PR_SET_IO_FLUSHER where one may: of each thread its own.
#include "object.h"
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

enum { KINDS = 3 };
static const int policy[KINDS] = { PR_MCE_KILL_LATE, PR_MCE_KILL_EARLY, PR_MCE_KILL_DEFAULT };
static int ask[KINDS][2], answer[KINDS][2], flusher_offered;

static void set_own(int number)
{
    MUST(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, policy[(number + steps) % KINDS], 0, 0));
    if (flusher_offered) MUST(prctl(PR_SET_IO_FLUSHER, (number + steps) % 2, 0, 0, 0));
}

static const char *check_own(int number)
{
    SAME(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), policy[(number + steps) % KINDS]);
    if (flusher_offered) SAME(prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0), (number + steps) % 2);
    return NULL;
}

static void *obey_main(void *which)
{
    long number = (long)which;
    for (char byte; read(ask[number][0], &byte, 1) == 1;) {
        const char *problem = NULL;
        if (byte == 's') set_own(number);
        else problem = check_own(number);
        dprintf(answer[number][1], "%s\n", problem ? problem : "");
    }
    return NULL;
}

static const char *all(char what)
{
    static char line[600];
    for (int i = 1; i < KINDS; i++) {
        MUST(write(ask[i][1], &what, 1));
        if (next_command(answer[i][0], line, sizeof line)[0]) return line;
    }
    return NULL;
}

static void set_up(void)
{
    pthread_t thread;
    flusher_offered = prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0) >= 0;
    for (long i = 1; i < KINDS; i++) {
        MUST(pipe(ask[i]));
        MUST(pipe(answer[i]));
        pthread_create(&thread, NULL, obey_main, (void *)i);
    }
    set_own(0);
    all('s');
}

static void step(void)
{
    set_own(0);
    all('s');
}

static const char *check(void)
{
    TRY(check_own(0));
    return all('c');
}
