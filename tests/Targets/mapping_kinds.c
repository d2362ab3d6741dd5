// mapping_kinds: one mapping of each kind whose flags a restart must bring back. "ready [guards]"; "smaps" tells their VmFlags and protections, which must be the
// same ever after; "touch" touches what must fault and what must not, and grows the stack mapping: "ok" or what is wrong.
#include "target.h"
#include <setjmp.h>

static sigjmp_buf back;
static void on_fault(int signal) { siglongjmp(back, 1); }

static int faults(volatile char *at)
{
    if (sigsetjmp(back, 1)) return 1;
    (void)*at;
    return 0;
}

static char *map(size_t pages, int protection, int flags)
{
    char *at = mmap(NULL, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (at == MAP_FAILED) DIE("mmap");
    return at;
}

int main(void)
{
    target_begin();
    char line[64], *area[8];
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    area[0] = map(8, PROT_READ | PROT_WRITE, 0);
    memset(area[0], 'a', 8 * PAGE);
    int guards = madvise(area[0] + 2 * PAGE, 3 * PAGE, 102 /* MADV_GUARD_INSTALL */) == 0;
    area[1] = map(16, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    area[2] = map(4, PROT_READ | PROT_WRITE, 0);
    if (mlock(area[2], 4 * PAGE)) DIE("mlock");
    area[3] = map(600, PROT_READ | PROT_WRITE, 0);
    madvise(area[3], 600 * PAGE, MADV_HUGEPAGE);
    area[4] = map(600, PROT_READ | PROT_WRITE, 0);
    madvise(area[4], 600 * PAGE, MADV_NOHUGEPAGE);
    madvise(area[4], 600 * PAGE, MADV_DONTFORK);
    area[5] = map(4, PROT_READ | PROT_WRITE, 0);
    madvise(area[5], 4 * PAGE, MADV_DONTDUMP);
    madvise(area[5], 4 * PAGE, MADV_WIPEONFORK);
    area[6] = map(64, PROT_NONE, 0);
    munmap(area[6], 64 * PAGE);
    area[6] = mmap(area[6] + 60 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    memset(area[6], 'g', 4 * PAGE);
    area[7] = map(4, PROT_READ | PROT_WRITE, 0);
    memset(area[7], 'n', 4 * PAGE);
    mprotect(area[7], 4 * PAGE, PROT_NONE);
    printf("ready %d\n", guards);
    for (;;) {
        next_command(0, line, sizeof line);
        if (!strcmp(line, "smaps")) {
            char text[256], flags[4096] = "";
            FILE *smaps = fopen("/proc/self/smaps", "r");
            int ours = 0;
            while (fgets(text, sizeof text, smaps)) {
                unsigned long start, end;
                char protection[8];
                if (sscanf(text, "%lx-%lx %7s", &start, &end, protection) == 3) {
                    ours = 0;
                    for (int i = 0; i < 8; i++) ours |= (unsigned long)area[i] >= start && (unsigned long)area[i] < end;
                    if (ours) strcat(flags, protection);
                } else if (ours && !strncmp(text, "VmFlags:", 8)) {
                    for (char *flag = strtok(text + 8, " \n"); flag; flag = strtok(NULL, " \n"))
                        if (!strstr("sd uw um gu", flag)) strcat(strcat(flags, ","), flag); // soft-dirty, crstore's own tracking; "gu" clings to neighbours
                    strcat(flags, ";");
                }
            }
            fclose(smaps);
            printf("%s\n", flags);
            continue;
        }
        const char *wrong = NULL;
        for (int i = 0; i < 8; i++)
            if (faults(area[0] + i * PAGE) != (guards && i >= 2 && i < 5)) wrong = "guard region";
        if (!faults(area[7])) wrong = "PROT_NONE";
        mprotect(area[7], 4 * PAGE, PROT_READ);
        for (size_t i = 0; i < 4 * PAGE; i++)
            if (area[7][i] != 'n') wrong = "what PROT_NONE hid";
        mprotect(area[7], 4 * PAGE, PROT_NONE);
        printf("%s\n", wrong ? wrong : "ok");
    }
}
