// inotify: watches with their numbers and masks.
#include "object.h"
#include <sys/inotify.h>

static int fd, dir, file;

static void set_up(void)
{
    MUST(mkdir(own_path("watched"), 0700));
    close(MUST(open(own_path("file"), O_CREAT | O_WRONLY, 0600)));
    fd = MUST(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    for (int i = 0; i < 5; i++) MUST(inotify_rm_watch(fd, MUST(inotify_add_watch(fd, own_path("file"), IN_OPEN))));
    char ends[1024];
    MUST(read(fd, ends, sizeof ends));              // IN_IGNORED of those
    dir = MUST(inotify_add_watch(fd, own_path("watched"), IN_CREATE | IN_DELETE));
    file = MUST(inotify_add_watch(fd, own_path("file"), IN_ATTRIB));
}

// What is asked of the file changes with the steps.
static void step(void)
{
    MUST(inotify_add_watch(fd, own_path("file"), steps % 2 ? IN_MODIFY : IN_ATTRIB));
}

static const char *next(int watch, uint32_t mask, const char *name)
{
    static char buffer[1024];
    static ssize_t length, at;
    if (at == length) at = 0, length = read(fd, buffer, sizeof buffer);
    if (!mask) {
        SAME(length, -1);
        length = at = 0;
        return NULL;
    }
    EXPECT(length > 0);
    struct inotify_event *event = (void *)(buffer + at);
    at += sizeof *event + event->len;
    SAME(event->wd, watch);
    SAME(event->mask, mask);
    SAME_TEXT(event->len ? event->name : "", name);
    return NULL;
}

static const char *check(void)
{
    SAME(dir, 6);
    SAME(file, 7);
    TRY(next(0, 0, ""));
    char path[300];
    snprintf(path, sizeof path, "%s/new", own_path("watched"));
    close(MUST(open(path, O_CREAT | O_WRONLY, 0600)));
    MUST(unlink(path));
    int content = MUST(open(own_path("file"), O_WRONLY | O_APPEND));
    MUST(write(content, "x", 1));
    MUST(fchmod(content, 0600));
    close(content);
    TRY(next(dir, IN_CREATE, "new"));
    TRY(next(dir, IN_DELETE, "new"));
    TRY(next(file, steps % 2 ? IN_MODIFY : IN_ATTRIB, ""));
    TRY(next(0, 0, ""));
    SAME(inotify_add_watch(fd, own_path("watched"), IN_CREATE | IN_DELETE), dir);
    return NULL;
}
