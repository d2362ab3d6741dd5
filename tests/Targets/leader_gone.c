// leader_gone N: the main thread ends by pthread_exit; N others go on. Prints "ready" from one of them.
#include "target.h"

static void *thread(void *argument)
{
    if (argument) {
        for (;;)
            pause();
    }
    char state = 0;
    while (state != 'Z') {              // until the leader is a zombie
        char path[64], text[512] = "";
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid());
        int fd = open(path, O_RDONLY);
        if (fd < 0 || read(fd, text, sizeof text - 1) < 0)
            DIE("stat");
        close(fd);
        state = strrchr(text, ')')[2];
    }
    puts("ready");
    char line[256];
    for (;;) {
        next_command(0, line, sizeof line);
        puts("ok");
    }
    return NULL;
}

int main(int argc, char **argv)
{
    target_begin();
    uint64_t threads = argument(argc, argv, 1, 2);
    for (uint64_t i = 0; i < threads; i++) {
        pthread_t id;
        if (pthread_create(&id, NULL, thread, (void *)i))
            DIE("pthread_create");
    }
    pthread_exit(NULL);
}
