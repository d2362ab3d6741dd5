// What mlock and madvise say of a mapping, and guard regions.
#include "memory.h"
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum { LOCKED, LOCKED_HIDDEN, LOCKED_ON_FAULT, HUGE, NO_HUGE, NO_FORK, NO_DUMP, WIPE, RANDOM, SEQUENTIAL, MERGEABLE, KINDS };
static const char *const flag[KINDS] = { "lo", "lo", "lf", "hg", "nh", "dc", "dd", "wf", "rr", "sr", "mg" };
static char *area[KINDS], *guarded;
static int guards, offers[KINDS];

static void advise(int kind, int advice)
{
    offers[kind] = madvise(area[kind], 4 * PAGE, advice) == 0;      // not every kernel has all of them
}

static void set_up(void)
{
    for (int i = 0; i < KINDS; i++) {
        area[i] = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
        fill(area[i], 2, 1);
    }
    offers[LOCKED] = offers[LOCKED_HIDDEN] = offers[LOCKED_ON_FAULT] = 1;
    MUST(mlock(area[LOCKED], 4 * PAGE));
    MUST(mlock(area[LOCKED_HIDDEN], 4 * PAGE));
    mprotect(area[LOCKED_HIDDEN], 4 * PAGE, PROT_NONE);
    MUST(mlock2(area[LOCKED_ON_FAULT], 4 * PAGE, MLOCK_ONFAULT));
    advise(HUGE, MADV_HUGEPAGE);
    advise(NO_HUGE, MADV_NOHUGEPAGE);
    advise(NO_FORK, MADV_DONTFORK);
    advise(NO_DUMP, MADV_DONTDUMP);
    advise(WIPE, MADV_WIPEONFORK);
    advise(RANDOM, MADV_RANDOM);
    advise(SEQUENTIAL, MADV_SEQUENTIAL);
    advise(MERGEABLE, MADV_MERGEABLE);
    guarded = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    fill(guarded, 4, 1);
    guards = madvise(guarded + PAGE, 2 * PAGE, MADV_GUARD_INSTALL) == 0;
}

// One more is locked, and one less is advised, from the first step on.
static void step(void)
{
    MUST(mlock(area[NO_DUMP], 4 * PAGE));
    MUST(madvise(area[RANDOM], 4 * PAGE, MADV_NORMAL));
    fill(area[LOCKED], 1, 1 + steps);
}

// A bad first argument is looked at after the memory (sigprocmask(2)).
static int readable(const char *at)
{
    return syscall(SYS_rt_sigprocmask, 99, at, NULL, 8) == -1 && errno == EINVAL;
}

static const char *check(void)
{
    for (int i = 0; i < KINDS; i++)
        if (offers[i] && has_flag(area[i], flag[i]) != (i != RANDOM || steps == 0))
            return wrong("kind %d: flag %s is wrong", i, flag[i]);
    SAME(has_flag(area[NO_DUMP], "lo"), steps > 0);
    SAME(has_flag(area[HUGE], "lo"), 0);
    EXPECT(filled(area[LOCKED], 1, 1 + steps));
    for (int i = 1; i < KINDS; i++)
        if (i != LOCKED_HIDDEN) EXPECT(filled(area[i], 2, 1));
    for (int i = 0; i < 4; i++) SAME(readable(guarded + i * PAGE), !guards || i == 0 || i == 3);
    EXPECT(pattern_matches(guarded, getpid(), 1, 0) && pattern_matches(guarded + 3 * PAGE, getpid(), 1, 3));
    return NULL;
}
