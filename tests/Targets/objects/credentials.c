// User and group ids, groups, capabilities, securebits, no_new_privs, dumpable. Of a helper: what obeys stays root.
#include "helper.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>

static struct helper other;
enum {
    CAPS = 1 << CAP_NET_RAW | 1 << CAP_KILL | 1 << CAP_SETUID,
    BITS = SECBIT_KEEP_CAPS | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NOROOT | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED
};

static char same(int condition) { return condition ? 'y' : 'n'; }

static char act(char letter)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[2] = { { 0 } };
    uid_t r, e, s;
    gid_t groups[4];
    switch (letter) {
    case 's':
        MUST(setgroups(2, (gid_t[]) { 5, 7 }));
        MUST(setresgid(1000, 1001, 1002));
        MUST(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS));
        MUST(setresuid(1003, 1004, 1005));
        sets[0].permitted = CAPS | 1 << CAP_SETPCAP;
        sets[0].effective = 1 << CAP_SETPCAP;
        sets[0].inheritable = CAPS;
        MUST(syscall(SYS_capset, &header, sets));
        MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
        // Forbidden from now on: what has been raised, kept and inherited stays.
        MUST(prctl(PR_SET_SECUREBITS, BITS));
        MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT));
        MUST(prctl(PR_CAPBSET_DROP, CAP_KILL));
        sets[0].permitted = CAPS;
        sets[0].effective = 1 << CAP_KILL | 1 << CAP_SETUID;
        MUST(syscall(SYS_capset, &header, sets));
        MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        return 'y';
    case '+':
        steps++;
        MUST(setresuid(-1, steps % 2 ? 1003 : 1004, -1));
        return 'y';
    case 'u': return same(getresuid(&r, &e, &s) == 0 && r == 1003 && e == (steps % 2 ? 1003u : 1004u) && s == 1005);
    case 'g': return same(getresgid(&r, &e, &s) == 0 && r == 1000 && e == 1001 && s == 1002);
    case 'l': return same(getgroups(4, groups) == 2 && groups[0] == 5 && groups[1] == 7);
    case 'c':
        syscall(SYS_capget, &header, sets);
        return same(sets[0].permitted == CAPS && sets[0].inheritable == sets[0].permitted
            && sets[0].effective == (1 << CAP_KILL | 1 << CAP_SETUID));
    case 'a': return same(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_RAW, 0, 0) == 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0) == 0);
    case 'b': return same(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT) == 0 && prctl(PR_CAPBSET_READ, CAP_KILL) == 0 && prctl(PR_CAPBSET_READ, CAP_SETUID) == 1);
    case 'p': return same(prctl(PR_GET_SECUREBITS) == BITS);
    case 'n': return same(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    case 'd': return same(prctl(PR_GET_DUMPABLE) != 1);
    default: return '?';
    }
}

static void set_up(void)
{
    other = start_helper(act);
    ask(other, 's');
}

static void step(void)
{
    ask(other, '+');
}

static const char *check(void)
{
    for (const char *letter = "uglcabpnd"; *letter; letter++)
        if (ask(other, *letter) != 'y') return wrong("credentials: %c is wrong", *letter);
    return NULL;
}
