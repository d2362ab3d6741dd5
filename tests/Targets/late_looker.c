// Draws as many full-screen programs do: when a signal ends its read(2), and the window has another size than the one it drew for. It computes until it is
// restarted (its processor time begins anew) and a while longer, so that it sleeps only when whoever restarted it may think that it has looked.
#include <sys/ioctl.h>
#include <time.h>
#include "target.h"

static void on_resize(int signal) { (void)signal; }

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(void)
{
    struct sigaction action = { .sa_handler = on_resize };
    sigaction(SIGWINCH, &action, NULL);
    struct winsize drawn, now;
    char key;
    if (ioctl(0, TIOCGWINSZ, &drawn)) DIE("TIOCGWINSZ");
    if (write(1, "up\n", 3) != 3) DIE("write");
    for (double last = 0, t; (t = processor_seconds()) >= last; last = t) { }
    for (double from = processor_seconds(); processor_seconds() - from < 0.25;) { }
    for (;;)
    {
        ssize_t n = read(0, &key, 1);
        if (n == 1 || (n < 0 && errno == EINTR))
        {
            if (ioctl(0, TIOCGWINSZ, &now)) DIE("TIOCGWINSZ");
            if (n < 0 && now.ws_row == drawn.ws_row && now.ws_col == drawn.ws_col) continue;
            drawn = now;
            dprintf(1, "%s %d %d\n", n < 0 ? "drawn" : "asked", drawn.ws_row, drawn.ws_col);
        }
        else return 1;
    }
}
