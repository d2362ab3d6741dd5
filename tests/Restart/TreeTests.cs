using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Several processes: parents and children, sessions and groups, pipes between them.</summary>
public class TreeTests
{
    [Fact]
    public void Python_and_its_subprocess_go_on_talking_over_pipes()
    {
        using var run = RestartRun.Python("""
            import subprocess, sys, os
            worker = subprocess.Popen([sys.executable, "-u", "-c", '''
            import sys, os
            total = 0
            for line in sys.stdin:
                total += int(line)
                print(total, os.getpid(), os.getppid())
            '''.replace("\n            ", "\n")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            print("ready", flush=True)
            for line in sys.stdin:
                if line == "end\n":
                    worker.stdin.close()
                    print("exit", worker.wait())
                    continue
                worker.stdin.write(line)
                total, pid, ppid = worker.stdout.readline().split()
                print(total, int(pid) == worker.pid, int(ppid) == os.getpid())
            """);
        run.Expect("ready");
        Assert.Equal("5 True True", run.Ask("5"));
        run.Capture(tree: true);
        Assert.Equal("12 True True", run.Ask("7"));
        var second = run.Capture(tree: true);
        Assert.Equal("20 True True", run.Ask("8"));
        run.Capture(tree: true);
        run.Kill();
        Assert.Equal(2, run.Restart(second).Pids.Count);
        Assert.Equal("13 True True", run.Ask("1"));
        Assert.Equal("exit 0", run.Ask("end"));
    }

    [Fact]
    public void A_shell_pipeline_goes_on_and_ends_with_its_exit_code()
    {
        using var run = RestartRun.Start("/bin/bash", "-c", """
            echo ready
            { while read -r n; do echo $((n + 1)); done; exit 3; } | { while read -r n; do echo "got $n"; done; } | cat
            echo "status ${PIPESTATUS[0]}"
            exit 7
            """);
        run.Expect("ready");
        Assert.Equal("got 2", run.Ask("1"));
        run.Cycle(tree: true);
        Assert.Equal("got 42", run.Ask("41"));
        run.Cycle(tree: true);
        Assert.Equal("got 43", run.Ask("42"));
    }

    [Fact]
    public void Sessions_and_process_groups_are_what_they_were()
    {
        const string script = """
            import os, sys, time
            def child(*actions):
                r, w = os.pipe()
                pid = os.fork()
                if pid == 0:
                    for action in actions: action()
                    os.write(w, b".")
                    while True: time.sleep(1000)
                os.read(r, 1); os.close(r); os.close(w)
                return pid
            plain = child()
            group = child(lambda: os.setpgid(0, 0))
            joined = child(lambda: os.setpgid(0, group))
            session = child(os.setsid)
            def nested():
                if os.fork() == 0:
                    while True: time.sleep(1000)
                os.setsid()
                r, w = os.pipe()
                if os.fork() == 0:
                    os.setpgid(0, 0)
                    os.write(w, b".")
                    while True: time.sleep(1000)
                os.read(r, 1)
            older = child(nested)
            print("ready")
            for line in sys.stdin: print("alive")
            """;
        using var run = RestartRun.Python(script);
        run.Expect("ready");
        var before = Ids(run.Pid);
        Assert.Equal(8, before.Count);
        run.Cycle(tree: true);
        Assert.Equal("alive", run.Ask("?"));
        Assert.Equal(before, Ids(run.Pid));
    }

    [Fact]
    public void Thousands_of_files_in_several_processes_each_come_to_their_place()
    {
        using var run = RestartRun.Python("""
            import os, resource, select, sys
            resource.setrlimit(resource.RLIMIT_NOFILE, (4000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            r, w = os.pipe()
            mine = [os.eventfd(i) for i in range(1500)]
            if os.fork() == 0:
                mine = [os.eventfd(10000 + i) for i in range(1500)]
                while os.read(r, 1): print("child", all(os.eventfd_read(fd) == 10000 + i for i, fd in enumerate(mine)))
            print("ready")
            for line in sys.stdin:
                print("parent", all(os.eventfd_read(fd) == i for i, fd in list(enumerate(mine))[1:]))
                os.write(w, b"x")
            """);
        run.Expect("ready");
        run.Cycle(tree: true);
        Assert.Equal("parent True", run.Ask("?"));
        Assert.Equal("child True", run.ReadLine());
    }

    [Fact]
    public void A_zombie_that_had_dumped_core_does_not_do_it_again()
    {
        using var directory = new TempDir("crstore-core-");
        using var run = RestartRun.Python("""
            import os, resource, signal, sys
            a = os.fork()
            if a == 0:
                os.chdir(sys.argv[1])
                resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
                os.kill(os.getpid(), signal.SIGABRT)
            os.waitid(os.P_PID, a, os.WEXITED | os.WNOWAIT)
            print("ready")
            for line in sys.stdin: print(os.waitpid(a, 0)[1])
            """, directory.Path);
        run.Expect("ready");
        Run.Command("prlimit", ["--pid", $"{Environment.ProcessId}", "--core=unlimited:"]).MustSucceed();
        run.Cycle(tree: true);
        Assert.Equal("6", run.Ask("?")); // SIGABRT, and no core now: what WCOREDUMP says
    }

    [Fact]
    public void A_stopped_process_is_stopped_again_and_goes_on_with_SIGCONT()
    {
        using var run = RestartRun.Python("""
            import os, sys, signal
            print("ready")
            for line in sys.stdin: print("alive")
            """);
        run.Expect("ready");
        Linux.Signals.Kill(run.Pid, 19);
        run.AwaitState('T');
        run.Cycle();
        run.Send("?");
        Assert.Null(run.TryReadLine(TimeSpan.FromMilliseconds(300)));
        run.AwaitState('T');
        Linux.Signals.Kill(run.Pid, 18);
        Assert.Equal("alive", run.ReadLine());
    }

    // pid, parent, group, session of a process and its descendants, in the order of pids.
    private static List<string> Ids(int root)
    {
        var output = Run.Command("ps", ["-e", "-o", "pid=,ppid=,pgid=,sid="]).MustSucceed().Output;
        var rows = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries)).ToList();
        var tree = new HashSet<string> { $"{root}" };
        while (rows.Any(r => tree.Contains(r[1]) && tree.Add(r[0]))) { }
        return [.. rows.Where(r => tree.Contains(r[0])).Select(r => r[0] == $"{root}" ? $"{r[0]} {r[2]} {r[3]}" : string.Join(' ', r))];
    }
}
