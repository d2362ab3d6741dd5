// A pseudo-terminal pair: settings, size, and that it still speaks; a helper has it as its controlling terminal.
#include "helper.h"
#include <sys/ioctl.h>
#include <termios.h>

static int master, slave;
static struct helper leader;

// Leads a session on it: 's' starts that, 'f' tells whether it is still in the foreground there.
static char act(char letter)
{
    if (letter == 's') return setsid() > 0 && ioctl(slave, TIOCSCTTY, 0) == 0 ? 'y' : 'n';
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    int mine = terminal >= 0 && tcgetpgrp(terminal) == getpid() && tcgetsid(terminal) == getpid();
    close(terminal);
    return mine ? 'y' : 'n';
}

static void set_up(void)
{
    struct termios settings;
    master = MUST(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    MUST(grantpt(master));
    MUST(unlockpt(master));
    slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY));
    MUST(tcgetattr(slave, &settings));
    cfmakeraw(&settings);
    settings.c_cc[VMIN] = 3;
    settings.c_cc[VINTR] = 7;
    MUST(cfsetspeed(&settings, B19200));
    MUST(tcsetattr(slave, TCSANOW, &settings));
    leader = start_helper(act);
    if (ask(leader, 's') != 'y') DIE("TIOCSCTTY");
}

static void step(void)
{
    MUST(ioctl(master, TIOCSWINSZ, &(struct winsize) { .ws_row = 30 + steps, .ws_col = 90 + steps }));
}

static const char *check(void)
{
    struct termios settings;
    struct winsize size;
    char text[8];
    SAME(tcgetattr(slave, &settings), 0);
    SAME(settings.c_lflag & (ICANON | ECHO | ISIG), 0);
    SAME(settings.c_cc[VMIN], 3);
    SAME(settings.c_cc[VINTR], 7);
    SAME(cfgetospeed(&settings), B19200);
    SAME(ioctl(slave, TIOCGWINSZ, &size), 0);
    SAME(size.ws_row, steps ? 30 + steps : 0);
    SAME(size.ws_col, steps ? 90 + steps : 0);
    SAME(write(master, "in!", 3), 3);
    SAME(read(slave, text, 8), 3);
    SAME(write(slave, "out!", 4), 4);
    SAME(read(master, text, 8), 4);
    EXPECT(!memcmp(text, "out!", 4));
    EXPECT(ask(leader, 'f') == 'y');
    SAME(tcgetpgrp(master), leader.pid);
    SAME(fcntl(master, F_GETFD), FD_CLOEXEC);
    return NULL;
}
