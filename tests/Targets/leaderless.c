// leaderless: its main thread exits (pthread_exit) and another one goes on: answers every line with "alive". Says "ready".
#include "target.h"

static void *answer(void *unused)
{
    char line[64];
    for (;;) {
        next_command(0, line, sizeof line);
        printf("alive\n");
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    target_begin();
    if (pthread_create(&thread, NULL, answer, NULL))
        DIE("pthread_create");
    printf("ready\n");
    pthread_exit(NULL);
}
