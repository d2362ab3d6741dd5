using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>What belongs to a process as a whole: credentials, limits, directory, masks, handlers, timers, pending signals.</summary>
public class ProcessAttributeTests
{
    [Fact]
    public void Limits_mask_directory_niceness_dumpable_subreaper_and_user_come_back()
    {
        using var run = RestartRun.Python("""
            import os, sys, resource, ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            def get(option):
                value = ctypes.c_int(-1)
                libc.prctl(option, ctypes.byref(value), 0, 0, 0)
                return value.value
            os.umask(0o137)
            os.chdir("/usr/share")
            resource.setrlimit(resource.RLIMIT_CORE, (1234, 5678))
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
            os.nice(3)
            libc.prctl(36, 1, 0, 0, 0)
            libc.prctl(15, b"a (name) \\ ", 0, 0, 0)
            os.sched_setaffinity(0, [1])
            libc.personality(0x0040000)
            open("/proc/self/oom_score_adj", "w").write("123")
            open("/proc/self/coredump_filter", "w").write("0x13")
            libc.prctl(28, 0x10, 0, 0, 0)
            os.setgroups([5, 7])
            os.setresgid(1000, 1001, 1002)
            os.setresuid(1003, 1003, 1005)
            libc.prctl(38, 1, 0, 0, 0)
            libc.prctl(4, 0, 0, 0, 0)
            def tell():
                status = [l for l in open("/proc/thread-self/status") if l.split(":")[0] in ("Name", "Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")]
                old = os.umask(0); os.umask(old)
                return [oct(old), os.getcwd(), resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE), os.nice(0), get(37), libc.prctl(3, 0, 0, 0, 0),
                    libc.prctl(27, 0, 0, 0, 0), os.sched_getaffinity(0), hex(libc.personality(0xffffffff)), libc.prctl(39, 0, 0, 0, 0), os.getresuid(), os.getresgid(), os.getgroups(), status]
            before = tell()
            print("ready", flush=True)
            for line in sys.stdin: print("same" if tell() == before else f"{before} {tell()}")
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("same", run.Ask("?"));
        Assert.Equal("123", File.ReadAllText($"/proc/{run.Pid}/oom_score_adj").Trim());
        Assert.Equal("00000013", File.ReadAllText($"/proc/{run.Pid}/coredump_filter").Trim());
    }

    [Fact]
    public void Handlers_masks_and_pending_signals_with_their_values_come_back()
    {
        using var run = RestartRun.Python("""
            import os, sys, signal, ctypes, threading
            libc = ctypes.CDLL(None, use_errno=True)
            got = []
            signal.signal(signal.SIGUSR1, lambda *_: got.append("usr1"))
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: got.append("term"))
            blocked = [signal.SIGUSR1, signal.SIGRTMIN, signal.SIGRTMIN + 1]
            signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
            os.kill(os.getpid(), signal.SIGUSR1)
            for value in (11, 22): libc.sigqueue(os.getpid(), signal.SIGRTMIN, ctypes.c_void_p(value))
            signal.pthread_kill(threading.get_ident(), signal.SIGRTMIN + 1)
            def value(info_signal):
                class siginfo(ctypes.Structure): _fields_ = [("signo", ctypes.c_int), ("errno", ctypes.c_int), ("code", ctypes.c_int), ("pad", ctypes.c_int), ("pid", ctypes.c_int), ("uid", ctypes.c_int), ("value", ctypes.c_void_p), ("rest", ctypes.c_char * 96)]
                info = siginfo()
                mask = (ctypes.c_ulong * 16)(1 << (info_signal - 1))
                libc.sigwaitinfo(ctypes.byref(mask), ctypes.byref(info))
                return info.code, info.pid == os.getpid(), info.value
            print("ready")
            for line in sys.stdin:
                print(value(signal.SIGRTMIN), value(signal.SIGRTMIN), value(signal.SIGRTMIN + 1)[:2], signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
                os.kill(os.getpid(), signal.SIGTERM)
                print(sorted(got))
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("(-1, True, 11) (-1, True, 22) (0, True) True", run.Ask("?"));
        Assert.Equal("['term', 'usr1']", run.ReadLine());
    }

    [Fact]
    public void Timers_go_off_when_what_was_left_of_them_is_over()
    {
        using var run = RestartRun.Python("""
            import os, sys, signal, ctypes, time
            libc = ctypes.CDLL(None, use_errno=True)
            ticks = {}
            def count(name): return lambda *_: ticks.__setitem__(name, ticks.get(name, 0) + 1)
            signal.signal(signal.SIGALRM, count("real"))
            signal.signal(signal.SIGUSR1, count("posix"))
            signal.signal(signal.SIGUSR2, count("far"))
            signal.setitimer(signal.ITIMER_REAL, 1.0, 0.2)
            class sigevent(ctypes.Structure): _fields_ = [("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("rest", ctypes.c_char * 48)]
            class itimerspec(ctypes.Structure): _fields_ = [("is_", ctypes.c_long), ("in_", ctypes.c_long), ("vs", ctypes.c_long), ("vn", ctypes.c_long)]
            def timer(signo, interval, first):
                t = ctypes.c_void_p()
                assert libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(sigevent(77, signo, 0)), ctypes.byref(t)) == 0
                spec = itimerspec(0, int(interval * 1e9), int(first), int(first % 1 * 1e9))
                assert libc.timer_settime(t, 0, ctypes.byref(spec), None) == 0
                return t
            gone = timer(signal.SIGUSR1, 0, 1000)
            far = timer(signal.SIGUSR2, 0, 1000.5)
            posix = timer(signal.SIGUSR1, 0.1, 0.8)
            libc.timer_delete(gone)
            print("ready")
            for line in sys.stdin:
                until = time.monotonic() + 20
                while (ticks.get("real", 0) < 3 or ticks.get("posix", 0) < 3) and time.monotonic() < until: time.sleep(0.05)
                left = itimerspec()
                libc.timer_gettime(far, ctypes.byref(left))
                print(ticks.get("real", 0) >= 3, ticks.get("posix", 0) >= 3, ticks.get("far", 0), 900 < left.vs <= 1000)
            """);
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("True True 0 True", run.Ask("?"));
    }
}
