// Shared anonymous memory of a process and its child, and what each has for itself beside it.
#include "helper.h"
#include "memory.h"

enum { PAGES = 16 };
static char *shared, *half, *private;
static struct helper child;

// The child writes its own half when told; its private page stays its own.
static char act(char letter)
{
    if (letter == 'w') pattern_fill(half, 1, ++steps, 0), pattern_fill(private, 1, steps, 1);
    return letter == 'w' || (pattern_matches(half, 1, steps, 0) && pattern_matches(private, 1, steps, 1) && pattern_matches(shared, 2, steps, 0)) ? 'y' : 'n';
}

static void set_up(void)
{
    shared = map(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, -1);
    half = shared + PAGES / 2 * PAGE;
    private = map(1, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    pattern_fill(private, 2, 1, 1);
    child = start_helper(act);
}

static void step(void)
{
    pattern_fill(shared, 2, steps, 0);
    ask(child, 'w');
}

static const char *check(void)
{
    EXPECT(pattern_matches(shared, 2, steps, 0));
    EXPECT(pattern_matches(half, 1, steps, 0));
    EXPECT(pattern_matches(private, 2, 1, 1));
    EXPECT(ask(child, 'c') == 'y');
    // It is one memory, not two of the same content.
    pattern_fill(shared, 2, steps + 1, 0);
    EXPECT(ask(child, 'c') == 'n');
    pattern_fill(shared, 2, steps, 0);
    EXPECT(ask(child, 'c') == 'y' || steps == 0);
    return NULL;
}
