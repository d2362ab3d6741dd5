// What the programs of this folder share. Each is one kind of object: set_up() makes it, step() changes it a little in a way that follows from `steps`,
// check() looks at all of it by the program's own means and returns NULL or what is wrong.
// Usage: PROGRAM DIRECTORY PROCESSES. Says "ready"; then obeys lines: "step", and "check N" with the number of steps that it should have made: "ok" or what
// is wrong. With several processes each is the child of the one before, has an object and files of its own, and passes the commands on.
#ifndef OBJECT_H
#define OBJECT_H
#include "../target.h"

static void set_up(void);
static void step(void);
static const char *check(void);

static const char *directory;
static int steps;

static inline __attribute__((format(printf, 1, 2))) const char *wrong(const char *format, ...)
{
    static char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

// For set_up and step: a call that must not return -1.
#define MUST(call) ({ typeof(call) result_ = (call); if ((long)result_ == -1) DIE("%s:%d: %s", __FILE__, __LINE__, #call); result_; })
// For check: conditions, numbers, texts, and checks of parts.
#define EXPECT(condition) do { if (!(condition)) return wrong("%s:%d: not %s (%s)", __FILE__, __LINE__, #condition, strerror(errno)); } while (0)
#define SAME(actual, wanted) do { long a_ = (long)(actual), w_ = (long)(wanted); \
    if (a_ != w_) return wrong("%s:%d: %s is %ld, not %ld (%s)", __FILE__, __LINE__, #actual, a_, w_, strerror(errno)); } while (0)
#define SAME_TEXT(actual, wanted) do { const char *a_ = (actual), *w_ = (wanted); \
    if (strcmp(a_, w_)) return wrong("%s:%d: %s is \"%s\", not \"%s\"", __FILE__, __LINE__, #actual, a_, w_); } while (0)
#define TRY(part) do { const char *wrong_ = (part); if (wrong_) return wrong_; } while (0)

// A path of this process's own in the directory; four at a time.
static inline const char *own_path(const char *name)
{
    static char paths[4][256];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s-%d", directory, name, getpid());
    return path;
}

// F_GETFL without O_LARGEFILE, which says nothing on x86-64.
static inline int flags_of(int fd)
{
    return fcntl(fd, F_GETFL) & ~0100000;
}

// The text of a file of /proc, without its last newline.
static inline const char *text_of(const char *path)
{
    static char text[65536];
    int fd = MUST(open(path, O_RDONLY | O_CLOEXEC));
    size_t length = 0;
    for (ssize_t got; (got = MUST(read(fd, text + length, sizeof text - 1 - length))) > 0;) length += got;
    close(fd);
    text[length > 0 && text[length - 1] == '\n' ? length - 1 : length] = 0;
    return text;
}

static inline const char *obey(const char *command)
{
    int wanted;
    if (!strcmp(command, "step")) {
        steps++;
        step();
    } else if (sscanf(command, "check %d", &wanted) == 1) {
        SAME(steps, wanted);
        errno = 0;
        return check();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    target_begin();
    directory = argv[1];
    int in = 0, out = 1, next_in = -1, next_out = -1;
    for (int more = atoi(argv[2]) - 1; more > 0; more--) {
        int commands[2], answers[2];
        MUST(pipe(commands));
        MUST(pipe(answers));
        if (MUST(fork()) != 0) {
            close(commands[0]);
            close(answers[1]);
            next_in = commands[1];
            next_out = answers[0];
            break;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(commands[1]);
        close(answers[0]);
        in = commands[0];
        out = answers[1];
    }
    set_up();
    for (char command[64] = "ready", answer[600];; next_command(in, command, sizeof command)) {
        const char *fine = strcmp(command, "ready") ? "ok" : "ready";
        const char *problem = obey(command);
        if (next_in >= 0) {
            if (fine[0] == 'o') dprintf(next_in, "%s\n", command);
            next_command(next_out, answer, sizeof answer);
            if (!problem && strcmp(answer, fine)) problem = answer;
        }
        dprintf(out, "%s\n", problem ? problem : fine);
    }
}
#endif
