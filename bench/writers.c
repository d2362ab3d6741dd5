// writers PROCESSES THREADS MIB: a tree of so many processes with so many threads each, each process with memory of its own, all of it filled. Says
// "ready". "arm": each puts its memory under a userfaultfd of its own (asynchronous write protection); answers "armed", and of each "PID ADDRESS PAGES" ("armed -1"
// where the kernel can't). "write N": each changes so many pages at random. "start" and "stop": a thread of the first one writes pages at random, one word each, as fast as it can.
#include "../tests/Targets/target.h"
#include "../tests/Targets/uffd.h"

static char *memory;
static uint64_t pages, random_state;
static volatile int running;

static void *sleep_for_ever(void *none)
{
    for (;;)
        pause();
    return none;
}

static void *keep_writing(void *none)
{
    uint64_t random = 77;
    while (running)
        *(volatile uint64_t *)(memory + next_random(&random) % pages * PAGE) = random;
    return none;
}

static void create(uint64_t threads, uint64_t bytes, uint64_t seed)
{
    pthread_t thread;
    random_state = seed;
    pages = bytes / PAGE;
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        DIE("mmap");
    for (uint64_t p = 0; p < pages; p++)
        pattern_fill(memory + p * PAGE, seed, 1, p);
    for (uint64_t i = 1; i < threads; i++)
        if (pthread_create(&thread, NULL, sleep_for_ever, NULL))
            DIE("pthread_create");
}

// What a process does by itself for a command; its part of the answer.
static void answer(const char *line, char *text, size_t size)
{
    uint64_t n;
    text[0] = 0;
    if (!strcmp(line, "arm")) {
        int fd = uffd_open();
        if (fd >= 0)
            uffd_arm(fd, memory, pages * PAGE);
        snprintf(text, size, fd < 0 ? " -1" : " %d %lx %lu", getpid(), (uintptr_t)memory, pages);
    } else if (sscanf(line, "write %lu", &n) == 1)
        for (uint64_t i = 0; i < n; i++)
            pattern_fill(memory + next_random(&random_state) % pages * PAGE, random_state, 2, i);
}

int main(int argc, char **argv)
{
    uint64_t processes = argument(argc, argv, 1, 1), threads = argument(argc, argv, 2, 1), bytes = argument(argc, argv, 3, 16) << 20;
    int to[processes], from[processes];
    char line[256], text[256];
    pthread_t writer;
    target_begin();
    for (uint64_t i = 1; i < processes; i++) {
        int down[2], up[2];
        if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
            DIE("pipe");
        pid_t child = fork();
        if (child < 0)
            DIE("fork");
        if (child == 0) {
            target_begin();
            create(threads, bytes, i + 1);
            for (strcpy(text, "");; answer(next_command(down[0], line, sizeof line), text, sizeof text))
                if (write(up[1], text, sizeof text) != sizeof text)
                    exit(0);
        }
        to[i] = down[1];
        from[i] = up[0];
    }
    create(threads, bytes, 1);
    for (int first = 1;; first = 0) {
        if (first)
            printf("ready");
        else {
            next_command(0, line, sizeof line);
            if (!strcmp(line, "start")) {
                running = 1;
                if (pthread_create(&writer, NULL, keep_writing, NULL))
                    DIE("pthread_create");
            } else if (!strcmp(line, "stop")) {
                running = 0;
                pthread_join(writer, NULL);
            }
            for (uint64_t i = 1; i < processes; i++)
                dprintf(to[i], "%s\n", line);
            answer(line, text, sizeof text);
            printf("%s%s", !strcmp(line, "arm") ? "armed" : line, text);
        }
        for (uint64_t i = 1; i < processes; i++) {
            if (read(from[i], text, sizeof text) != sizeof text)
                DIE("read");
            printf("%s", text);
        }
        printf("\n");
    }
}
