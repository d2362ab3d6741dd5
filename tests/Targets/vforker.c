// vforker: on "vfork MS" its main thread vforks a child that keeps it waiting for MS milliseconds, on "vfork" until another line
// comes: uninterruptible sleep, which no tracer can stop. Says "ready", answers "vforking" before and "done" afterwards.
#include "target.h"

int main(void)
{
    char line[64];
    unsigned ms;
    target_begin();
    printf("ready\n");
    for (;;) {
        ms = 0;
        next_command(0, line, sizeof line);
        if (strcmp(line, "vfork") && sscanf(line, "vfork %u", &ms) != 1)
            continue;
        printf("vforking\n");
        pid_t child = vfork();
        if (child == 0) {
            if (ms)
                usleep(ms * 1000);
            else
                next_command(0, line, sizeof line);
            _exit(0);
        }
        waitpid(child, NULL, 0);
        printf("done\n");
    }
}
