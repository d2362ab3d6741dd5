// Private anonymous memory: written, read only, hidden behind PROT_NONE, between guard pages, never touched, a sparse reservation, the heap, a stack that grows.
#include "memory.h"

enum { PAGES = 16 };
static char *plain, *read_only, *hidden, *guarded, *untouched, *zeros, *sparse, *grows, *heap;

static void set_up(void)
{
    plain = map(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    fill(plain, PAGES, 1);
    read_only = map(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    fill(read_only, PAGES, 1);
    mprotect(read_only, PAGES * PAGE, PROT_READ);
    hidden = map(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    fill(hidden, PAGES, 1);
    mprotect(hidden, PAGES * PAGE, PROT_NONE);
    guarded = map(3, PROT_NONE, MAP_PRIVATE, -1);
    mprotect(guarded + PAGE, PAGE, PROT_READ | PROT_WRITE);
    fill(guarded + PAGE, 1, 1);
    untouched = map(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    zeros = map(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
    for (int i = 0; i < PAGES; i++) (void)*(volatile char *)(zeros + i * PAGE);
    sparse = map(1ul << 28, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, -1);
    fill(sparse, 1, 1);
    grows = mmap((void *)0x10000000000, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
    if (grows == MAP_FAILED) DIE("MAP_GROWSDOWN");
    fill(grows, 1, 1);
    mapping_at(plain);                      // malloc takes its part of the heap before ours
    heap = MUST(sbrk(PAGE));
    fill(heap, 1, 1);
}

static void step(void)
{
    fill(plain, PAGES / 2, 1 + steps);
    mprotect(hidden, PAGES * PAGE, PROT_READ | PROT_WRITE);
    fill(hidden, PAGES, 1 + steps);
    mprotect(hidden, PAGES * PAGE, PROT_NONE);
    fill(sparse + ((size_t)steps << 36), 1, 1);
    fill(grows - steps * PAGE, 1, 1);
    MUST(sbrk(PAGE));
    fill(heap + steps * PAGE, 1, 1);
}

static int in_memory(char *area)
{
    unsigned char there[PAGES];
    mincore(area, PAGES * PAGE, there);
    int sum = 0;
    for (int i = 0; i < PAGES; i++) sum += there[i] & 1;
    return sum;
}

static const char *check(void)
{
    SAME(in_memory(untouched), 0);
    EXPECT(filled(plain, PAGES / 2, 1 + steps));
    for (int i = PAGES / 2; i < PAGES; i++) EXPECT(pattern_matches(plain + i * PAGE, getpid(), 1, i));
    EXPECT(filled(read_only, PAGES, 1));
    SAME_TEXT(mapping_at(read_only), "r--p");
    SAME_TEXT(mapping_at(hidden), "---p");
    mprotect(hidden, PAGES * PAGE, PROT_READ);
    EXPECT(filled(hidden, PAGES, 1 + steps));
    mprotect(hidden, PAGES * PAGE, PROT_NONE);
    SAME_TEXT(mapping_at(guarded), "---p");
    SAME_TEXT(mapping_at(guarded + PAGE), "rw-p");
    SAME_TEXT(mapping_at(guarded + 2 * PAGE), "---p");
    EXPECT(filled(guarded + PAGE, 1, 1));
    EXPECT(filled(zeros, PAGES, 0));
    EXPECT(has_flag(sparse, "nr"));
    EXPECT(has_flag(grows, "gd"));
    SAME(sbrk(0), heap + (steps + 1) * PAGE);
    for (int i = 0; i <= steps; i++) {
        EXPECT(filled(sparse + ((size_t)i << 36), 1, 1));
        EXPECT(filled(grows - i * PAGE, 1, 1));
        EXPECT(filled(heap + i * PAGE, 1, 1));
    }
    return NULL;
}
