// Mappings: pages whose content follows from process, steps and place, and what /proc says of a mapping.
#ifndef MEMORY_H
#define MEMORY_H
#include "object.h"

static inline char *map(size_t pages, int protection, int flags, int fd)
{
    char *at = mmap(NULL, pages * PAGE, protection, flags | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (at == MAP_FAILED) DIE("mmap");
    return at;
}

// All pages as of one generation; the key of a page is its number.
static inline void fill(char *area, size_t pages, unsigned generation)
{
    for (size_t i = 0; i < pages; i++) pattern_fill(area + i * PAGE, getpid(), generation, i);
}

static inline int filled(const char *area, size_t pages, unsigned generation)
{
    for (size_t i = 0; i < pages; i++)
        if (!pattern_matches(area + i * PAGE, getpid(), generation, i)) return 0;
    return 1;
}

// The protection of the mapping at an address ("rw-p"), "" if there is none; its name follows.
static inline const char *mapping_at(const void *address)
{
    static char found[300];
    char line[512], name[256];
    FILE *maps = fopen("/proc/self/maps", "re");
    found[0] = 0;
    while (!found[0] && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char protection[8];
        name[0] = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255[^\n]", &start, &end, protection, name) >= 3 && (unsigned long)address >= start && (unsigned long)address < end)
            snprintf(found, sizeof found, "%s%s%s", protection, name[0] ? " " : "", name);
    }
    fclose(maps);
    return found;
}

// Two letters of VmFlags (proc_pid_smaps(5)) of the mapping at an address.
static inline int has_flag(const void *address, const char *flag)
{
    char line[512];
    FILE *smaps = fopen("/proc/self/smaps", "re");
    int here = 0, found = 0;
    while (fgets(line, sizeof line, smaps)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            here = (unsigned long)address >= start && (unsigned long)address < end;
        else if (here && !strncmp(line, "VmFlags:", 8))
            for (char *word = strtok(line + 8, " \n"); word; word = strtok(NULL, " \n")) found |= !strcmp(word, flag);
    }
    fclose(smaps);
    return found;
}
#endif
