using Crstore.Capture;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>A restart that fails leaves nothing behind, and says what failed.</summary>
public class FailureTests
{
    private const string Reader = "import os, sys\nos.fork()\nos.write(1, b'ready\\n')\nfor line in sys.stdin: print('alive')";
    private static readonly RestartOptions Options = new() { Detach = true, Stdio = StdioPolicy.Null };

    [Fact]
    public void What_was_made_is_killed_when_a_call_in_it_fails()
    {
        using var run = RestartRun.Python(Reader);
        run.Expect("ready");
        run.Expect("ready");
        var crid = run.Capture(tree: true);
        run.Kill();
        var error = Assert.Throws<EnvironmentException>(() => run.Restart(crid, Options with { Directory = "/dev/null" }));
        Assert.Contains("chdir /dev/null", error.Message);
        foreach (var process in run.Manifest(crid).Body.Processes) Assert.False(Directory.Exists($"/proc/{process.Pid}"), $"{process.Pid} is still there");
        Assert.Equal(2, run.Restart(crid).Pids.Count);
    }

    // Warnings are told last, and whoever listens may take his time.
    [Fact]
    public void A_tree_of_which_somebody_died_before_it_is_let_go_does_not_run()
    {
        using var run = RestartRun.Python("import ctypes\nctypes.CDLL(None).prctl(1, 15, 0, 0, 0) # PR_SET_PDEATHSIG: dropped, with a warning\n" + Reader);
        run.Expect("ready");
        run.Expect("ready");
        var crid = run.Capture(tree: true);
        var pids = run.Manifest(crid).Body.Processes.Select(p => p.Pid).ToList();
        run.Kill();
        var warnings = 0;
        var error = Assert.Throws<EnvironmentException>(() => run.Restart(crid, Options with { Warn = _ => warnings += Signals.TryKill(pids[1], Signals.SIGKILL) == 0 ? 1 : 0 }));
        Assert.Contains($"thread {pids[1]} is gone", error.Message);
        Assert.NotEqual(0, warnings);
        Assert.All(pids, pid => Assert.False(Directory.Exists($"/proc/{pid}"), $"{pid} is still there"));
    }

    // As `capture --require-restartable --max-frozen` does it, before there is a CRID.
    [Fact]
    public void A_look_before_the_capture_keeps_to_the_limit_on_frozen_time()
    {
        using var run = RestartRun.Python(Reader);
        run.Expect("ready");
        run.Expect("ready");
        Assert.Throws<FrozenTooLongException>(() =>
            Admission.CheckState(new CaptureOptions { Pid = run.Pid, RequireRestartable = true, MaxFrozen = TimeSpan.FromTicks(1) }, CancellationToken.None));
        Assert.Equal("alive", run.Ask("?"));
    }

    [Fact]
    public void A_changed_file_is_refused_by_default_and_taken_by_policy()
    {
        using var file = new Support.TempDir();
        File.WriteAllText(file.File("data"), "abc");
        using var run = RestartRun.Python("import sys\nf = open(sys.argv[1])\nf.read(1)\nprint('ready')\nfor line in sys.stdin: print(f.read())", file.File("data"));
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        File.WriteAllText(file.File("data"), "abcdef");
        var error = Assert.Throws<TargetException>(() => run.Restart(crid, Options));
        Assert.Contains(file.File("data"), error.Message);
        Assert.Contains("from 3 to 6 bytes", error.Message);
        foreach (var (policy, told) in new[] { (FilesPolicy.Warn, true), (FilesPolicy.Ignore, false) })
        {
            var warnings = run.Restart(crid, Options with { Files = policy }).Warnings;
            Assert.Equal(told, warnings.Any(w => w.Contains("from 3 to 6 bytes", StringComparison.Ordinal)));
            Assert.Equal("bcdef", run.Ask("?"));
            run.Kill();
        }
    }

    [Fact]
    public void Another_file_for_an_fd_that_is_written_to_is_made()
    {
        using var run = RestartRun.Python("import sys\nprint('ready')\nfor line in sys.stdin: print('alive')");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        var path = run.Directory.File("new output");
        run.Restart(crid, Options with { MappedFds = new Dictionary<int, string> { [1] = path } });
        run.Send("?");
        Support.Patience.Until(() => File.ReadAllText(path) == "alive\n", () => File.ReadAllText(path));
    }

    [Fact]
    public void Processes_that_share_memory_by_clone_are_refused()
    {
        using var run = RestartRun.Python("""
            import ctypes, os, sys
            libc = ctypes.CDLL(None)
            stack = ctypes.create_string_buffer(1 << 20)
            work = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
            top = ctypes.c_void_p((ctypes.addressof(stack) + (1 << 20)) & ~15)
            child = libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), top, 0x100 | 17, None) # CLONE_VM | SIGCHLD
            print("ready")
            for line in sys.stdin: print("alive")
            """);
        run.Expect("ready");
        var crid = run.Capture(tree: true);
        // They share the place for injected code too, and are asked one behind the other.
        Assert.Equal(["", ""], run.Manifest(crid).Body.Processes.Select(p => p.StateIncomplete));
        run.Kill();
        Assert.Contains("shares its memory", Assert.Throws<TargetException>(() => run.Restart(crid, Options)).Message);
    }

    [Fact]
    public void A_damaged_page_is_never_put_into_a_process()
    {
        using var run = RestartRun.Python("import sys, os\ndata = [b'needle in memory' + os.urandom(4080) for _ in range(7000)]\nprint('ready')\nfor line in sys.stdin: print('alive')");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        run.DamageStore("needle in memory");
        Assert.Throws<StoreDamagedException>(() => run.Restart(crid, Options));
        Assert.False(Directory.Exists($"/proc/{run.Pid}"));
    }

    [Fact]
    public void Stopped_leaves_it_stopped_and_SIGCONT_lets_it_go_on()
    {
        using var run = RestartRun.Python("import sys\nprint('ready')\nfor line in sys.stdin: print('alive')");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        run.Restart(crid, Options with { Stopped = true });
        run.Send("?");
        Assert.Null(run.TryReadLine(TimeSpan.FromMilliseconds(300)));
        run.AwaitState('T');
        Signals.Kill(run.Pid, 18);
        Assert.Equal("alive", run.ReadLine());
    }

    [Theory, InlineData(0x400 | 17, "files"), InlineData(0x200 | 17, "directory")] // CLONE_FILES, CLONE_FS with SIGCHLD
    public void Processes_that_share_fds_or_directories_by_clone_are_refused(int flags, string what)
    {
        using var run = RestartRun.Python("""
            import ctypes, sys, time
            libc = ctypes.CDLL(None)
            if libc.syscall(56, int(sys.argv[1]), 0, 0, 0, 0) == 0: # clone
                while True: time.sleep(1000)
            print("ready")
            for line in sys.stdin: print("alive")
            """, $"{flags}");
        run.Expect("ready");
        var crid = run.Capture(tree: true);
        run.Kill();
        Assert.Contains($"shares its {what}", Assert.Throws<TargetException>(() => run.Restart(crid, Options)).Message);
    }

    // setresuid, PR_SET_NO_NEW_PRIVS; unshare of CLONE_FILES, CLONE_FS, CLONE_NEWNET, CLONE_NEWPID (of which there is no link before it has a process)
    [Theory, InlineData("libc.syscall(117, 1000, 1000, 1000)", "credentials"), InlineData("libc.prctl(38, 1, 0, 0, 0)", "seccomp"), InlineData("libc.unshare(0x400)", "files"),
        InlineData("libc.unshare(0x200)", "directories"), InlineData("libc.unshare(0x40000000)", "net namespace"), InlineData("libc.unshare(0x20000000)", "pid_for_children namespace")]
    public void A_thread_with_rights_files_or_namespaces_of_its_own_is_refused(string call, string what)
    {
        using var run = RestartRun.Python($"""
            import ctypes, sys, threading, time
            libc = ctypes.CDLL(None)
            done = threading.Event()
            def other():
                if {call} != 0: raise OSError("it failed")
                done.set()
                time.sleep(1000)
            threading.Thread(target=other, daemon=True).start()
            done.wait()
            print("ready")
            for line in sys.stdin: print("alive")
            """);
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Assert.Contains($"it has other {what} than the main thread", Assert.Throws<TargetException>(() => run.Restart(crid, Options)).Message);
    }

    [Fact]
    public void A_new_pid_namespace_for_children_is_refused()
    {
        using var run = RestartRun.Python("import ctypes, sys\nprint('ready' if ctypes.CDLL(None).unshare(0x20000000) == 0 else 'no')\nfor line in sys.stdin: print('alive')");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Assert.Contains("pid_for_children namespace", Assert.Throws<TargetException>(() => run.Restart(crid, Options)).Message);
    }

    [Fact]
    public void Another_file_for_an_fd_that_nobody_has_is_wrong_use()
    {
        using var run = RestartRun.Python("import sys\nprint('ready')\nfor line in sys.stdin: print('alive')");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Assert.Contains("--map-fd 77", Assert.Throws<UsageException>(() => run.Restart(crid, Options with { MappedFds = new Dictionary<int, string> { [77] = "/dev/null" } })).Message);
    }

    // A timer of CLOCK_THREAD_CPUTIME_ID (3), signal 0: by the main thread alone, or beside another one.
    [Theory, InlineData(1), InlineData(2)]
    public void A_timer_of_a_threads_processor_time_is_refused_if_there_are_several(int threads)
    {
        using var run = RestartRun.Python("""
            import ctypes, sys, threading, time
            if sys.argv[1] == "2": threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            libc, timer = ctypes.CDLL(None), ctypes.c_void_p()
            if libc.timer_create(3, (ctypes.c_char * 64)(*([0] * 12 + [1])), ctypes.byref(timer)): raise OSError("timer_create")
            libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, 1000, 0), None)
            now = (ctypes.c_long * 4)()
            print("ready")
            for line in sys.stdin: print(libc.timer_gettime(timer, now), 900 < now[2] < 1000)
            """, $"{threads}");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        if (threads > 1)
        {
            Assert.Contains("processor time", Assert.Throws<TargetException>(() => run.Restart(crid, Options)).Message);
            return;
        }

        run.Restart(crid, Options);
        Assert.Equal("0 True", run.Ask("?"));
    }

    [Fact]
    public void A_process_whose_system_calls_are_dispatched_to_itself_is_captured_unharmed_and_refused()
    {
        using var run = RestartRun.Start("self_dispatched");
        run.Expect("ready");
        var crid = Enumerable.Range(0, 3).Select(_ => run.Capture()).Last();
        for (var round = 0; round < 3; round++) Assert.Equal("quiet", run.ReadLine());
        run.Kill();
        Assert.Contains("dispatched to itself", Assert.Throws<TargetException>(() => run.Restart(crid, Options)).Message);
    }

    [Theory, InlineData(new uint[] { 2 }), InlineData(new uint[] { 4 }), InlineData(new uint[] { 1, 1 }), InlineData(new uint[0])]
    public void A_pipes_content_that_its_reads_do_not_add_up_to_is_damage(uint[] reads)
    {
        using var run = RestartRun.Python("import os, sys\nr, w = os.pipe()\nos.write(w, b'abc')\nprint('ready')\nfor line in sys.stdin: print(os.read(r, 9))");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        var error = Assert.Throws<StoreDamagedException>(() => run.Restart(crid, edit: manifest =>
        {
            var end = Assert.Single(manifest.Body.OpenFiles, f => f.Pipe is { Content.IsEmpty: false }).Pipe;
            Assert.Equal([3u], end.ReadBytes);
            end.ReadBytes.Clear();
            end.ReadBytes.AddRange(reads);
        }));
        Assert.Contains("pipe:[", error.Message);
        Assert.False(Directory.Exists($"/proc/{run.Pid}"));
        run.Restart(crid);
        Assert.Equal("b'abc'", run.Ask("?"));
    }
}
