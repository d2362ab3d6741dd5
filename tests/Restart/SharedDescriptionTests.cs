using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Which fds are one open file, among many that look alike from outside: by the kernel's order of files.</summary>
public class SharedDescriptionTests
{
    [Fact]
    public void Each_of_hundreds_of_eventfds_is_shared_by_those_fds_that_shared_it_and_by_no_other()
    {
        using var run = RestartRun.Python("""
            import ctypes, os, random, sys
            libc = ctypes.CDLL(None, use_errno=True)
            seed = random.randrange(1 << 30)
            choice = random.Random(seed)
            fds = [[libc.eventfd(n + 1, 0o4000)] for n in range(150)]
            for _ in range(300): (group := choice.choice(fds)).append(os.dup(choice.choice(group)))
            child = os.fork()
            if child == 0:
                import signal
                while True: signal.pause()
            def wrong():
                for n, group in enumerate(fds):
                    for fd in group:
                        if (got := int.from_bytes(os.read(fd, 8), "little")) != n + 1: return f"fd {fd} of group {n} has {got}, seed {seed}"
                        for other in group:
                            try: return f"fd {other} of group {n} has {os.read(other, 8)} besides, seed {seed}"
                            except BlockingIOError: pass
                        os.write(choice.choice(group), (n + 1).to_bytes(8, "little"))
                return "as it was"
            print(wrong(), flush=True)
            for line in sys.stdin: print(wrong(), len({fd for group in fds for fd in group}))
            """);
        Assert.Equal("as it was", run.ReadLine());
        var crid = run.Capture(tree: true);
        Assert.Equal(150, run.Manifest(crid).Body.OpenFiles.Count(f => f.Kind == "eventfd")); // those of the child are the same
        run.Kill();
        run.Restart(crid);
        Assert.Equal("as it was 450", run.Ask("?"));
    }
}
