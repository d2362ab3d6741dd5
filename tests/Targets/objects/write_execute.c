// PR_SET_MDWE: no mapping may be made executable that is or was writable. Those from before stay as they are.
#include "memory.h"
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

enum { INHERITED = PR_MDWE_REFUSE_EXEC_GAIN, OWN = PR_MDWE_REFUSE_EXEC_GAIN | 2 /* PR_MDWE_NO_INHERIT */ };
static char *before, *plain;
static int offered;

static void set_up(void)
{
    before = map(1, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, -1);
    plain = map(1, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    fill(before, 1, 1);
    fill(plain, 1, 1);
    offered = prctl(PR_GET_MDWE, 0, 0, 0, 0) == 0;
}

static int wanted(void)
{
    return steps == 0 || !offered ? 0 : getpid() % 2 ? OWN : INHERITED;
}

// Once set it can't be changed.
static void step(void)
{
    if (offered && steps == 1) MUST(prctl(PR_SET_MDWE, wanted(), 0, 0, 0));
    fill(before, 1, 1 + steps);
}

static const char *check(void)
{
    if (offered) SAME(prctl(PR_GET_MDWE, 0, 0, 0, 0), wanted());
    EXPECT(filled(before, 1, 1 + steps));
    EXPECT(filled(plain, 1, 1));
    EXPECT(!strncmp(mapping_at(before), "rwxp", 4));
    char *both = mmap(NULL, PAGE, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SAME(both == MAP_FAILED, wanted() != 0);
    if (both != MAP_FAILED) munmap(both, PAGE);
    if (wanted()) SAME(mprotect(plain, PAGE, PROT_READ | PROT_EXEC), -1);
    return NULL;
}
