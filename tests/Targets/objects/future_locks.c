// mlockall(MCL_FUTURE), with and without MCL_ONFAULT: of what is mapped afterwards, and of nothing else.
#include "memory.h"

static char *unlocked;

static void set_up(void)
{
    unlocked = map(2, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    fill(unlocked, 2, 1);
}

static void step(void)
{
    if (steps % 3) MUST(mlockall(MCL_FUTURE | (steps % 3 == 2 ? MCL_ONFAULT : 0)));
    else MUST(munlockall());
}

static const char *check(void)
{
    SAME(has_flag(unlocked, "lo"), 0);
    EXPECT(filled(unlocked, 2, 1));
    // Of its own protection, so that it does not become one with a neighbour.
    char *fresh = map(2, PROT_READ, MAP_SHARED, -1);
    int locked = has_flag(fresh, "lo"), on_fault = has_flag(fresh, "lf");
    munmap(fresh, 2 * PAGE);
    SAME(locked, steps % 3 != 0);
    SAME(on_fault, steps % 3 == 2);
    return NULL;
}
