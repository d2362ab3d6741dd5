using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Sessions and groups that go on without their leader: daemons, pipelines, and what a subreaper has adopted.</summary>
public class SessionTests
{
    private static readonly RestartOptions Copy = new() { Detach = true, NewPids = true, Stdio = StdioPolicy.Null, Files = FilesPolicy.Warn };
    private static readonly RestartOptions Foreground = new() { Stdio = StdioPolicy.Null, Files = FilesPolicy.Warn };

    // Double-forked: its session is that of a process that is gone. It tells its ids, and whether that process is there.
    private const string Daemon = """
        import os, sys, time
        n = 0
        def gone(pid):
            try: os.kill(pid, 0)
            except ProcessLookupError: return True
            return False
        def begin():
            if os.fork(): os._exit(0)
            os.setsid()
            if os.fork(): os._exit(0)
            while not gone(os.getsid(0)): time.sleep(0.001)
        def tell():
            global n
            n += 1
            return f"{n}: {os.getpid()} {os.getpgid(0)} {os.getsid(0)} {gone(os.getsid(0))}"
        """;

    [Fact]
    public void A_daemon_that_double_forked_is_in_its_old_session_again()
    {
        using var run = RestartRun.Python(Daemon + """

            begin()
            print("ready", os.getpid())
            for line in sys.stdin: print(tell())
            """);
        var pid = Id(run.Expect("ready "));
        var ids = run.Ask("?")[2..];
        Assert.Matches($"^ {pid} ([0-9]+) \\1 True$", ids);
        Assert.NotEqual(pid, Id(ids.Split(' ')[2]));
        List<Crid> chain = [];
        for (var i = 0; i < 3; i++)
        {
            chain.Add(run.Capture(with: o => o with { Pid = pid }));
            run.Ask("?");
        }

        AssertRestartsAsItWas(run, chain[1]);
        foreach (var options in new[] { Foreground, Foreground with { Detach = true }, Copy })
        {
            End(run, pid);
            var result = run.Restart(chain[1], options);
            Assert.Equal($"3:{ids}", run.Ask("?"));
            Assert.Equal("4", run.Ask("?")[..1]);
            // Captured again, it is the same.
            var again = run.Capture(with: o => o with { Pid = result.RootPid });
            End(run, result.RootPid, result.WaitPid);
            result = run.Restart(again, options);
            Assert.Equal($"5:{ids}", run.Ask("?"));
            End(run, result.RootPid, result.WaitPid);
        }
    }

    [Fact]
    public void A_session_whose_id_somebody_else_has_is_crstores_own_or_a_new_one()
    {
        // Two daemons of the same session; only one is captured, and the other stays.
        using var run = RestartRun.Python(Daemon + """

            begin()
            if os.fork() == 0:
                os.setpgid(0, 0)
                os.write(1, f"other {os.getpid()}\n".encode()) # print would write word by word, and the two mix
                while True: time.sleep(1000)
            os.setpgid(0, 0)
            os.write(1, f"ready {os.getpid()} {os.getsid(0)}\n".encode())
            for line in sys.stdin: print(os.getsid(0), os.getpgid(0))
            """);
        string? other = null, ready = null;
        while (other is null || ready is null)
        {
            var line = run.ReadLine();
            if (line.StartsWith("other ", StringComparison.Ordinal)) other = line[6..];
            else ready = line[6..];
        }

        var (pid, session) = (Id(ready.Split(' ')[0]), Id(ready.Split(' ')[1]));
        var crid = run.Capture(with: o => o with { Pid = pid });
        try
        {
            End(run, pid);
            var result = run.Restart(crid, Foreground with { Detach = true });
            Assert.Equal($"{pid} {pid}", run.Ask("?"));
            Assert.Contains(result.Warnings, w => w.Contains($"session {session}", StringComparison.Ordinal));
            End(run, pid);
            run.Restart(crid, Copy);
            Assert.Equal($"{session} {pid}", run.Ask("?"));
        }
        finally
        {
            Signals.TryKill(Id(other), Signals.SIGKILL);
        }
    }

    [Theory, InlineData(false), InlineData(true)]
    public void A_pipeline_goes_on_in_its_group_when_its_first_command_has_ended(bool newPids)
    {
        using var run = RestartRun.Start("/bin/bash", "-c", """
            set -m
            first() { echo "leader $BASHPID" >&2; }
            first 2>&1 >/dev/null | { read -r _ leader; exec </dev/null; while kill -0 "$leader" 2>/dev/null; do sleep 0.01; done; sleep 1000; } | sleep 1000 &
            while [ -z "$(jobs -p)" ]; do :; done
            while kill -0 "$(jobs -p)" 2>/dev/null; do sleep 0.01; done
            echo ready $(jobs -p)
            while read -r line; do kill -0 -- -$(jobs -p) && echo "alive $line"; done
            """);
        var group = Id(run.Expect("ready "));
        Assert.False(Directory.Exists($"/proc/{group}"));
        Patience.Until(() => TaskList.Children(run.Pid).SelectMany(p => TaskList.Children(p).Append(p)).Count(IsLastOfIt) == 2, "the pipeline to settle");
        var before = Ids(run.Pid);
        Assert.Equal("alive 1", run.Ask("1"));
        run.Capture(tree: true);
        run.Ask("2");
        var crid = run.Capture(tree: true);
        run.Ask("3");
        run.Capture(tree: true);
        AssertRestartsAsItWas(run, crid);
        run.Kill();
        var result = run.Restart(crid, newPids ? Copy : Foreground with { Detach = true });
        Assert.Equal("alive 4", run.Ask("4"));
        Assert.Equal(before, Ids(result.RootPid));

        // Others come and go meanwhile.
        bool IsLastOfIt(int pid) => TaskFile.TryReadText($"/proc/{pid}/cmdline") == "sleep\0" + "1000\0" && TaskFile.TryReadText($"/proc/{pid}/stat") is { Length: > 0 } stat
            && StatLine.Parse(System.Text.Encoding.UTF8.GetBytes(stat)).Pgrp == group;
    }

    // Captured alone, in a session that is led from outside and a group whose leader has exited; or with one more in that group, which stays.
    [Theory, InlineData(false), InlineData(true)]
    public void A_group_without_its_leader_comes_back_in_crstores_session(bool more)
    {
        using var run = RestartRun.Python("""
            import os, sys, time
            r, w = os.pipe()
            leader = os.fork()
            if leader == 0:
                os.setpgid(0, 0)
                if sys.argv[1] == "True" and os.fork() == 0: time.sleep(1000)
                if os.fork() == 0:
                    os.close(r)
                    os.write(w, b".")
                    os.close(w)
                    while os.getppid() == os.getpgid(0): time.sleep(0.001)
                    print("ready", os.getpid(), os.getpgid(0))
                    for line in sys.stdin: print(os.getpgid(0), os.getsid(0))
                os._exit(0)
            os.waitpid(leader, 0)
            sys.stdin.close()
            time.sleep(1000)
            """, $"{more}");
        var ready = run.Expect("ready ").Split(' ');
        var (pid, group) = (Id(ready[0]), Id(ready[1]));
        var crid = run.Capture(with: o => o with { Pid = pid });
        End(run, pid);
        var mine = Stat(Environment.ProcessId);
        foreach (var (options, expected) in new[]
        {
            (Foreground, $"{(more ? mine.Pgrp : group)} {mine.Session}"),
            (Foreground with { Detach = true }, $"{pid} {pid}"),
            (Copy with { Detach = false }, $"{group} 0"),
        })
        {
            var result = run.Restart(crid, options);
            Assert.Equal(expected, run.Ask("?"));
            End(run, result.RootPid, result.WaitPid);
        }
    }

    [Fact]
    public void A_group_without_its_leader_is_in_the_foreground_and_gets_signals_again()
    {
        using var run = RestartRun.Python("""
            import ctypes, fcntl, os, pty, signal, struct, sys, time
            pid, master = pty.fork()
            if pid == 0:                                  # a session of its own on the slave
                signal.signal(signal.SIGTTOU, signal.SIG_IGN)
                ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)   # PR_SET_CHILD_SUBREAPER
                ready, there = os.pipe()
                leader = os.fork()
                if leader == 0:
                    os.setpgid(0, 0)
                    if os.fork() == 0:
                        for number in (signal.SIGINT, signal.SIGUSR1): signal.signal(number, lambda n, _: os.write(1, b"signal %d\n" % n))
                        os.tcsetpgrp(0, os.getpgid(0))
                        os.write(1, b"up\n")
                        os.write(there, b".")
                        while True: time.sleep(0.02)   # not pause(2): a signal right before it would be heard at the next one
                    time.sleep(1000)
                os.read(ready, 1)
                os.kill(leader, signal.SIGKILL)
                os.waitpid(leader, 0)
                os.write(1, b"gone\n")
                while True: time.sleep(1000)
            def hear():
                line = b""
                while not line.endswith(b"\n"): line += os.read(master, 1)
                return line.decode().strip()
            if (hear(), hear()) != ("up", "gone"): sys.exit("no job")
            group = os.tcgetpgrp(master)
            r, w = os.pipe()
            fcntl.fcntl(r, 15, struct.pack("ii", 2, group))        # F_SETOWN_EX, F_OWNER_PGRP
            fcntl.fcntl(r, 10, signal.SIGUSR1)                     # F_SETSIG
            fcntl.fcntl(r, 4, fcntl.fcntl(r, 3) | 0x2000)          # O_ASYNC
            print("ready", os.path.exists(f"/proc/{group}"))
            for line in sys.stdin:
                os.write(master, b"\x03")
                told = hear()
                os.write(w, b"x")
                print(os.tcgetpgrp(master) == group, told, hear())
            """);
        Assert.Equal("False", run.Expect("ready "));
        Assert.Equal("True ^Csignal 2 signal 10", run.Ask("?"));
        for (var round = 0; round < 2; round++)
        {
            run.Cycle(tree: true);
            Assert.Equal("True ^Csignal 2 signal 10", run.Ask("?"));
        }
    }

    // A tree that takes every kind of helper. A child rests when it has done what it shall; one that is between exits, and its children are adopted.
    private const string Family = """
        import ctypes, os, signal, sys, time
        pending, tell_r, tell_w = [], *os.pipe()
        def adopts(): ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) # PR_SET_CHILD_SUBREAPER
        def group(): os.setpgid(0, 0)
        def stops(): os.write(tell_w, b"%d" % os.getpid())
        def child(*acts):
            r, w = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(r)
                while pending: os.close(pending.pop())
                pending.append(w)
                for act in acts: act()
                pending.remove(w)
                os.write(w, b".")
                os.close(w)
                while True: time.sleep(1000)
            os.close(w)
            os.read(r, 1)
            os.close(r)
            return pid
        def between(*acts):
            pid = os.fork()
            if pid == 0:
                for act in acts: act()
                os._exit(0)
            os.waitpid(pid, 0)
        def moved(): # it led a group, and left it to another
            led, joined = child(), child()
            os.setpgid(led, led)
            os.setpgid(joined, led)
            os.setpgid(led, os.getpgid(0))
        adopts()
        # Out of a session that goes on: of a child of who adopts, of one further down, and with a group without a leader in it.
        child(os.setsid, lambda: between(lambda: child(group)))
        child(adopts, lambda: child(lambda: child(os.setsid, lambda: between(child, lambda: between(group, child, child)))))
        # Sessions without a leader: with several members, within a member of another, and with members at two places.
        between(os.setsid, child, lambda: child(group), lambda: child(stops), lambda: between(child), lambda: child(adopts))
        between(os.setsid, lambda: child(adopts, lambda: between(os.setsid, child)))
        child(adopts, lambda: between(os.setsid, child, lambda: child(child, os.setsid)))
        between(group, child, child)
        child(moved)
        os.kill(int(os.read(tell_r, 20)), signal.SIGSTOP)
        print("ready")
        for line in sys.stdin: print("alive", os.getpid(), os.getsid(0))
        """;

    [Fact]
    public void Every_process_has_its_parent_session_and_group_again()
    {
        using var run = RestartRun.Python(Family);
        run.Expect("ready");
        var before = IdsOnceStopped(run.Pid);
        Assert.Equal(25, before.Count);
        Assert.Equal(9, before.Count(line => !Directory.Exists($"/proc/{line.Split(' ')[3]}")));
        var alive = run.Ask("?");
        for (var round = 0; round < 2; round++)
        {
            var crid = run.Capture(tree: true);
            AssertRestartsAsItWas(run, crid);
            run.Kill();
            run.Restart(crid);
            Assert.Equal(before, Ids(run.Pid));
            Assert.Equal(alive, run.Ask("?"));
        }

        var last = run.Capture(tree: true);
        run.Kill();
        var copy = run.Restart(last, Copy);
        Assert.Equal(alive, run.Ask("?"));
        Assert.Equal(before, Ids(copy.RootPid));
        // And from its namespace into the host's.
        last = run.Capture(tree: true, with: o => o with { Pid = copy.RootPid });
        run.Kill();
        run.Restart(last);
        Assert.Equal(before, Ids(run.Pid));
        Assert.Equal(alive, run.Ask("?"));
    }

    // In a pid namespace the ids are those that the kernel gives helpers next.
    [Fact]
    public void Helpers_keep_clear_of_ids_that_are_still_to_come()
    {
        using var run = RestartRun.Start("/usr/bin/unshare", "--pid", "--fork", Requires.Python(), "-u", "-c", "import os\nos.setsid()\n" + Family);
        run.Expect("ready");
        var first = Assert.Single(TaskList.Children(run.Pid));
        var before = IdsOnceStopped(first);
        Assert.Equal(25, before.Count);
        Assert.Equal("alive 1 1", run.Ask("?"));
        var crid = run.Capture(tree: true, with: o => o with { Pid = first });
        run.Kill();
        var copy = run.Restart(crid, Copy);
        Assert.Equal(before, Ids(copy.RootPid));
        Assert.Equal("alive 1 1", run.Ask("?"));
    }

    [Fact]
    public void Helpers_end_with_a_restart_that_fails()
    {
        using var run = RestartRun.Python(Family);
        run.Expect("ready");
        var crid = run.Capture(tree: true);
        var processes = run.Manifest(crid).Body.Processes;
        var ids = processes.SelectMany(p => new[] { p.Pid, p.Pgid, p.Sid }).Distinct().ToList();
        var last = Objects.Processes.TreePlan.Of(processes).Steps.Last(s => s.Act == Objects.Processes.TreeAct.ForkForAncestor).Id;
        run.Kill();
        using (var other = TargetProcess.Python("""
            import ctypes, struct, sys, time
            id = ctypes.c_int(int(sys.argv[1]))
            args = ctypes.create_string_buffer(struct.pack("11Q", 0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(id), 1, 0), 88)
            if ctypes.CDLL(None).syscall(435, args, 88) == 0: # clone3
                ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
                time.sleep(1000)
            print("ready", flush=True)
            time.sleep(1000)
            """, $"{last}"))
        {
            other.Expect("ready");
            var error = Assert.Throws<TargetException>(() => run.Restart(crid));
            Assert.Contains($"the id {last} is in use", error.Message);
            foreach (var id in ids.Where(id => id != last)) Assert.True(Signals.TryKill(id, 0) == Errno.ESRCH && Signals.TryKill(-id, 0) == Errno.ESRCH, $"{id} is still there");
        }

        for (var clock = System.Diagnostics.Stopwatch.StartNew(); Directory.Exists($"/proc/{last}"); Thread.Sleep(2)) Assert.True(clock.Elapsed < Patience.Limit);
        run.Restart(crid);
        Assert.StartsWith("alive", run.Ask("?"));
    }

    // Two leaders of sessions, born in a third one whose leader is gone, as their elder children were.
    [Fact]
    public void A_session_with_members_at_places_that_no_one_leader_was_above_is_refused()
    {
        using var run = RestartRun.Python(Family[..Family.IndexOf("adopts()\n# Out", StringComparison.Ordinal)] + """
            adopts()
            between(os.setsid, lambda: child(child, os.setsid), lambda: child(child, os.setsid))
            print("ready")
            for line in sys.stdin: print("alive")
            """);
        run.Expect("ready");
        var crid = run.Capture(tree: true);
        Assert.Equal("alive", run.Ask("?"));
        run.Kill();
        Assert.Contains("nobody below its parent", Assert.Throws<TargetException>(() => run.Restart(crid)).Message);
    }

    private static int Id(string text) => int.Parse(text, System.Globalization.CultureInfo.InvariantCulture);

    // A daemon is nobody's child that the run knows of.
    private static void End(RestartRun run, params int[] pids)
    {
        foreach (var pid in pids) Signals.TryKill(pid, Signals.SIGKILL);
        foreach (var pid in pids) ChildWait.Poll(pid, reap: true);
        for (var clock = System.Diagnostics.Stopwatch.StartNew(); pids.Any(p => Directory.Exists($"/proc/{p}")); Thread.Sleep(2))
        {
            foreach (var pid in pids) ChildWait.Poll(pid, reap: true);
            Assert.True(clock.Elapsed < Patience.Limit, $"{run.Pid}: {string.Join(", ", pids)} do not go away");
        }
    }

    private static void AssertRestartsAsItWas(RestartRun run, Crid crid)
    {
        using var scene = new RestartScene(run.Manifest(crid).Body) { Stdio = StdioPolicy.Null };
        Assert.Empty(Objects.Verdicts.Of(scene).Where(v => v.Kind == "session" && v.Verdict.Outcome != Objects.Restartability.Restarts).Select(v => $"{v.Object}: {v.Verdict.Why}"));
    }

    // A signal to stop takes its time to arrive.
    private static List<string> IdsOnceStopped(int root)
    {
        for (var clock = System.Diagnostics.Stopwatch.StartNew(); ; Thread.Sleep(2))
        {
            if (Ids(root) is var ids && ids.Exists(line => line.Contains("stopped", StringComparison.Ordinal))) return ids;
            Assert.True(clock.Elapsed < Patience.Limit, "nobody is stopped");
        }
    }

    // Of a process and its descendants, as they see it themselves: id, parent, group, session, whether it is stopped, and what its parent gets when it ends.
    private static List<string> Ids(int root)
    {
        List<int> found = [root];
        for (var i = 0; i < found.Count; i++) found.AddRange(TaskList.Children(found[i]));
        return [.. found.OrderBy(p => Inside(p, "NSpid")).Select(p =>
        {
            var stat = Stat(p);
            var parent = p == root ? "-" : $"{Inside(stat.Ppid, "NSpid")}";
            return $"{Inside(p, "NSpid")} {parent} {Inside(p, "NSpgid")} {Inside(p, "NSsid")} {(stat.State == 'T' ? "stopped " : "")}{stat.ExitSignal}";
        })];
    }

    private static StatLine Stat(int pid) => StatLine.Parse(File.ReadAllBytes($"/proc/{pid}/stat"));

    private static int Inside(int pid, string field) =>
        Id(File.ReadLines($"/proc/{pid}/status").First(l => l.StartsWith(field + ":", StringComparison.Ordinal)).Split('\t')[^1]);
}
