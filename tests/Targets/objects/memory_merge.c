// PR_SET_MEMORY_MERGE: the kernel may merge equal pages (KSM), of what is mapped afterwards too.
#include "memory.h"
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

static int offered;

static void set_up(void)
{
    offered = prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) == 0 && prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0) == 0;
}

static void step(void)
{
    if (offered) MUST(prctl(PR_SET_MEMORY_MERGE, steps % 2, 0, 0, 0));
}

static const char *check(void)
{
    if (!offered) return NULL;
    SAME(prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0), steps % 2);
    char *fresh = map(1, PROT_READ, MAP_PRIVATE, -1);
    int mergeable = has_flag(fresh, "mg");
    munmap(fresh, PAGE);
    SAME(mergeable, steps % 2);
    return NULL;
}
