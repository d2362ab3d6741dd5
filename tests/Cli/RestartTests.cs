using System.Diagnostics;
using System.Globalization;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>restart and check as a user has them, and the hooks around capture and restart.</summary>
public sealed class RestartTests
{
    // Counts; tells how far at SIGUSR1; SIGTERM ends it with exit code 5.
    private const string Counter = """
        import os, sys, time, signal
        def tell(*_):
            with open(sys.argv[1] + ".new", "w") as f: f.write(f"{n} {os.getpid()}\n")
            os.rename(sys.argv[1] + ".new", sys.argv[1])
        n = 0
        signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
        signal.signal(signal.SIGUSR1, tell)
        tell()
        while True:
            n += 1
            time.sleep(0.02)
        """;

    // What it counts in some minutes: that long a busy machine may take from the question how far it is to the capture, and from the restart to the next.
    private const int Soon = 20_000;

    private const double Exactly = 0.1; // seconds

    // Runs a program with one system call forbidden (EPERM), seccomp(2): load its number, compare, refuse or allow.
    private const string Sandbox = """
        import ctypes, os, struct, sys
        steps = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1])), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
        if ctypes.CDLL(None).prctl(22, 2, program, 0, 0) != 0: sys.exit("PR_SET_SECCOMP")
        os.execv(sys.argv[2], sys.argv[2:])
        """;

    [Fact]
    public void Detached_it_prints_the_process_id_and_goes_on_counting_from_any_checkpoint()
    {
        using var store = new CliStore();
        var (pid, crids) = CaptureAndKill(store, 3);
        foreach (var (crid, n) in new[] { crids[1], crids[0], crids[2] })
        {
            File.Delete(store.File("n"));
            Assert.Equal($"{pid}", store.Do("restart", crid, "--detach"));
            try
            {
                var (count, said) = Await(store, pid);
                Assert.Equal(pid, said);
                Assert.InRange(count, n, n + Soon);
                var error = store.Run("restart", crid, "--detach");
                Expect.Failure(error, ExitCode.Target, $"{pid}", "in use");
                Assert.Contains("--new-pids", error.Error);
            }
            finally
            {
                End(pid);
            }
        }
    }

    [Theory]
    [InlineData(323)] // userfaultfd
    [InlineData(438)] // pidfd_getfd
    public void Where_a_sandbox_forbids_the_fast_way_to_fill_memory_there_is_a_slower_one(int forbidden)
    {
        using var store = new CliStore();
        var (pid, crids) = CaptureAndKill(store, 1);
        File.Delete(store.File("n"));
        var environment = CrstoreProgram.Clean;
        environment["CRSTORE_STORE"] = store.Path;
        Assert.Equal($"{pid}\n", Run.Command("python3", ["-c", Sandbox, $"{forbidden}", CrstoreProgram.Path, "restart", crids[0].Crid, "--detach"], environment: environment).MustSucceed().Output);
        try
        {
            Assert.InRange(Await(store, pid).N, crids[0].N, crids[0].N + Soon);
        }
        finally
        {
            End(pid);
        }
    }

    [Fact]
    public void In_the_foreground_signals_are_passed_on_and_its_exit_code_is_crstores()
    {
        using var store = new CliStore();
        var (pid, crids) = CaptureAndKill(store, 1);
        File.Delete(store.File("n"));
        using var crstore = Background(store, "restart", crids[0].Crid);
        AwaitForeground(crstore.Id);
        Await(store, pid);
        Linux.Signals.Kill(crstore.Id, 15);
        Assert.True(crstore.WaitForExit(Patience.Limit));
        Assert.Equal(5, crstore.ExitCode);
        Assert.False(Directory.Exists($"/proc/{pid}"));

        using var again = Background(store, "restart", crids[0].Crid, "--new-pids");
        AwaitForeground(again.Id);
        Linux.Signals.Kill(again.Id, 15);
        Assert.True(again.WaitForExit(Patience.Limit));
        Assert.Equal(5, again.ExitCode);
    }

    [Fact]
    public void Json_names_the_processes()
    {
        using var store = new CliStore();
        var (pid, crids) = CaptureAndKill(store, 1);
        var result = store.Json("restart", crids[0].Crid, "--detach", "--stopped");
        Assert.Equal(pid, result.GetProperty("pid").GetInt32());
        Assert.Equal([pid], result.GetProperty("pids").EnumerateArray().Select(p => p.GetInt32()));
        Patience.Until(() => Linux.TaskStat.Read(pid)?.State == 'T', "it to be stopped");
        End(pid);
    }

    [Fact]
    public void Check_tells_of_a_process_and_of_a_checkpoint_what_would_not_restart()
    {
        using var store = new CliStore();
        using var target = Start(store, """
            import ctypes, os, sys, time
            libc = ctypes.CDLL(None)
            ring = libc.syscall(425, 4, ctypes.create_string_buffer(120)) if len(sys.argv) > 2 else 0
            with open(sys.argv[1] + ".new", "w") as f: f.write(f"1 {ring}\n")
            os.rename(sys.argv[1] + ".new", sys.argv[1])
            time.sleep(1000)
            """, out _, "ring");
        if (Await(store).Pid < 0) Assert.Skip("this machine has no io_uring");
        var check = store.Run("check", "--pid", $"{target.Pid}", "--json");
        Assert.Equal((int)ExitCode.Target, check.ExitCode);
        Assert.Contains("io_uring", check.Output);
        var capture = store.Run("capture", $"{target.Pid}", "--series", "s").MustSucceed();
        Assert.Contains("can't be restarted", capture.Error);
        Assert.Contains("io_uring", capture.Error);
        Assert.Contains("can't be restarted", store.Run("check", "s").Output);
        Expect.Failure(store.Run("restart", "s", "--detach"), ExitCode.Target, "io_uring");
        Expect.Failure(store.Run("capture", $"{target.Pid}", "--series", "s", "--require-restartable"), ExitCode.Target, "io_uring", "nothing was saved");
        Assert.Equal("1", store.Do("list", "--quiet"));
        Expect.Failure(store.Run("check"), ExitCode.Usage, "say what to check");
        Expect.Failure(store.Run("check", "nosuch"), ExitCode.Usage, "nosuch");
    }

    [Fact]
    public void Captured_again_without_a_name_its_series_goes_on_and_that_of_another_process_does_not()
    {
        using var store = new CliStore();
        int pid;
        using (var target = Start(store, Counter, out pid))
        {
            Await(store);
            store.Capture(pid);
        }

        store.Do("restart", "1", "--detach");
        store.Capture(pid);
        store.Capture(pid);
        Assert.Equal(3, Assert.Single(store.Json("series").EnumerateArray()).GetProperty("checkpoints").GetInt32());
        Assert.Equal(2u, store.Json("show", "3").GetProperty("parent_crid").GetUInt64());
        End(pid);
        // A copy has another process id: a series of its own.
        var copy = int.Parse(store.Do("restart", "2", "--detach", "--new-pids"), CultureInfo.InvariantCulture);
        store.Capture(copy);
        Assert.Equal(2, store.Json("series").GetArrayLength());
        End(copy);
    }

    [Theory, InlineData("host", 0), InlineData("capture", 0), InlineData("restart", 0), InlineData("restart", 100_000, "host"), InlineData("capture", 0, "continue"), InlineData("restart", 0, "continue")]
    public void Clocks_go_on_right_when_crstore_is_in_a_time_namespace_itself(string where, int ahead, string? clock = null)
    {
        Requires.Program("unshare");
        using var store = new CliStore();
        int pid;
        double began, captured; // seconds of the host's clock
        using (Start(store, Counter.Replace("{n}", "{int(time.monotonic())}", StringComparison.Ordinal), out pid))
        {
            Await(store);
            began = Now();
            InNamespace(where == "capture", "capture", $"{pid}", "--series", "s");
            captured = Now();
        }

        Thread.Sleep(clock == "continue" ? 3000 : 1000);
        File.Delete(store.File("n"));
        var begins = Now();
        InNamespace(where == "restart", ["restart", "s", "--detach", .. clock is null ? Array.Empty<string>() : ["--clock", clock]]);
        var runs = Now();
        var seen = Await(store, pid).N;
        var told = Now();
        End(pid);
        // In whole seconds, and between two looks at the host's clock. What goes on as if no time had passed is behind by what passed from the capture to the restart.
        var (least, most) = clock == "continue" ? (begins - captured, runs - began) : (0, 0);
        Assert.InRange(seen, begins + ahead - most - 1 - Exactly, told + ahead - least + Exactly);

        static double Now() => Linux.SystemInfo.MonotonicNs() / 1e9;

        void InNamespace(bool inOne, params string[] words)
        {
            if (!inOne) store.Do(words);
            else Support.Run.Command("unshare", ["--time", "--monotonic", "100000", "--boottime", "100000", "--fork", CrstoreProgram.Path, .. words, "--store", store.Path]).MustSucceed();
        }
    }

    [Fact]
    public void Check_all_has_a_verdict_on_every_mapping_thread_timer_namespace_and_file()
    {
        using var store = new CliStore();
        using var target = Start(store, Counter, out var pid);
        Await(store);
        store.Capture(pid, "--series", "s");
        foreach (var which in new[] { new[] { "--pid", $"{pid}" }, ["s"] })
        {
            var objects = store.Json(["check", .. which, "--all"]).GetProperty("objects").EnumerateArray().ToList();
            foreach (var name in new[] { $"[stack] of process {pid}", $"thread {pid} of process {pid}", $"net namespace of process {pid}", $"program of process {pid}",
                $"working directory of process {pid}", $"session {pid} of process {pid}", $"fd 0 of process {pid}" })
                Assert.Equal("restarts", Assert.Single(objects, o => o.GetProperty("object").GetString()!.Contains(name, StringComparison.Ordinal)).GetProperty("verdict").GetString());
            Assert.Equal(objects.Count, objects.DistinctBy(o => o.GetProperty("object").GetString()).Count());
        }
    }

    [Fact]
    public void Hooks_are_told_of_crid_and_processes_and_one_that_fails_before_stops_the_work()
    {
        using var store = new CliStore();
        var target = Start(store, Counter, out _);
        Await(store);
        var hooks = Directory.CreateDirectory(store.File("hooks")).FullName;
        Script(Path.Combine(hooks, "10-log"), $"echo \"$1 $CRSTORE_STAGE $CRSTORE_SERIES $CRSTORE_CRID $CRSTORE_PIDS $CRSTORE_RESULT\" >> '{store.File("log")}'");
        var with = new Dictionary<string, string?> { ["CRSTORE_HOOKS_DIR"] = hooks };
        var pid = target.Pid;
        var capture = store.RunWith(with, "capture", $"{pid}", "--series", "s", "--quiet", "--hook", Script(store.File("says"), "echo said by $1")).MustSucceed();
        // What hooks print is no output of crstore's: scripts read that.
        Assert.Equal("1", capture.Output.Trim());
        Assert.Contains("said by pre-capture", capture.Error);
        Assert.Equal([$"pre-capture pre-capture s 1 {pid} ", $"post-capture post-capture s 1 {pid} ok"], Log());

        var no = Script(store.File("no"), "[ $1 != pre-capture ] || exit 3");
        Expect.Failure(store.RunWith(with, "capture", $"{pid}", "--series", "s", "--hook", no), ExitCode.Environment, no, "exit code 3");
        Assert.Equal([$"pre-capture pre-capture s 2 {pid} ", $"post-capture post-capture s 2 {pid} failed"], Log()[2..]);
        Assert.Equal("1", store.Do("list", "--quiet"));

        File.SetUnixFileMode(no, (UnixFileMode)0b111_111_111);
        Expect.Failure(store.RunWith(with, "capture", $"{pid}", "--series", "s", "--hook", no), ExitCode.Environment, no, "can be changed by others");
        Expect.Failure(store.Run("capture", $"{pid}", "--hook", store.File("nosuch")), ExitCode.Usage, "nosuch");

        target.Dispose();
        store.RunWith(with, "restart", "1", "--detach").MustSucceed();
        Assert.Equal([$"pre-restart pre-restart s 1 {pid} ", $"post-restart post-restart s 1 {pid} ok"], Log()[^2..]);
        End(pid);

        string[] Log() => File.ReadAllLines(store.File("log"));
    }

    [Fact]
    public void A_full_screen_program_in_tmux_is_drawn_again_in_another_pane_and_goes_on()
    {
        Requires.Program("tmux");
        using var store = new CliStore();
        File.WriteAllText(store.File("screen.py"), """
            import curses, os, sys
            def main(screen):
                text = ""
                while True:
                    screen.erase()
                    screen.addstr(2, 3, "size %d %d text <%s> front %s" % (*screen.getmaxyx(), text, os.tcgetpgrp(0) == os.getpgrp()))
                    screen.refresh()
                    key = screen.getch()
                    if key == ord("q"): break
                    if key > 0 and key != curses.KEY_RESIZE: text += chr(key)
                with open(sys.argv[1], "w") as f: f.write(text)
            curses.wrapper(main)
            """);
        Tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-s", "s",
            $"for f in /proc/self/fd/*; do n=${{f##*/}}; [ $n -gt 2 ] && eval \"exec $n>&-\"; done 2>/dev/null; exec {Requires.Python()} {store.File("screen.py")} {store.File("text")}");
        try
        {
            Await("text <>");
            Tmux("send-keys", "-t", "s", "ab");
            Await("text <ab>");
            var pid = int.Parse(Tmux("list-panes", "-t", "s", "-F", "#{pane_pid}"), CultureInfo.InvariantCulture);
            store.Capture(pid, "--series", "s");
            Tmux("send-keys", "-t", "s", "lost");
            Await("text <ablost>");
            Tmux("set-option", "-g", "remain-on-exit", "on");
            // tmux waits for its dead at the next child's end only, now and then (also without crstore): so it gets one.
            End(pid, () => Tmux("run-shell", "true"));
            Tmux("respawn-pane", "-k", "-t", "s", $"env CRSTORE_STORE={store.Path} {CrstoreProgram.Path} restart s@1");
            Await("text <ab> front True");
            Tmux("send-keys", "-t", "s", "cd");
            Await("text <abcd>");
            // Nothing is said of its terminal: it leads its session, and has one again.
            Assert.DoesNotContain("warning", Tmux("capture-pane", "-p", "-t", "s"), StringComparison.Ordinal);
            Tmux("resize-window", "-t", "s", "-x", "90", "-y", "30");
            Await("size 30 90 text <abcd>");
            Tmux("send-keys", "-t", "s", "q");
            Patience.Until(() => File.Exists(store.File("text")) && File.ReadAllText(store.File("text")).Length == 4, "its last words");
            Assert.Equal("abcd", File.ReadAllText(store.File("text")));
        }
        finally
        {
            Tmux("kill-server");
        }

        string Tmux(params string[] words) => Support.Run.Command("tmux", ["-S", store.File("tmux"), .. words]).MustSucceed().Output.Trim();

        void Await(string text)
        {
            var screen = "";
            Patience.Until(() => (screen = Tmux("capture-pane", "-p", "-t", "s")).Contains(text, StringComparison.Ordinal), () => $"“{text}” to appear:\n{screen}", pauseMs: 30);
        }
    }

    [Fact]
    public void Wrong_use_is_told()
    {
        using var store = new CliStore();
        var (_, crids) = CaptureAndKill(store, 1);
        Expect.Failure(store.Run("restart", "4711"), ExitCode.Usage, "4711");
        Expect.Failure(store.Run("restart", crids[0].Crid, "--stdio", "what"), ExitCode.Usage, "what");
        Expect.Failure(store.Run("restart", crids[0].Crid, "--files", "what"), ExitCode.Usage, "what");
        Expect.Failure(store.Run("restart", crids[0].Crid, "--clock", "what"), ExitCode.Usage, "what");
        Expect.Failure(store.Run("restart", crids[0].Crid, "--map-fd", "what"), ExitCode.Usage, "what");
        Expect.Failure(store.Run("restart", crids[0].Crid, "--map-fd", "1=/nosuch/file", "--detach"), ExitCode.Environment, "/nosuch/file");
        Expect.Failure(store.Run("restart", crids[0].Crid, "--map-fd", "1=/dev/null", "--map-fd", "1=/dev/zero", "--detach"), ExitCode.Usage, "--map-fd 1", "twice");
        Expect.Failure(store.Run("restart", crids[0].Crid, "--map-fd", "77=/dev/null", "--detach"), ExitCode.Usage, "--map-fd 77");
    }

    private static (int Pid, List<(string Crid, int N)> Crids) CaptureAndKill(CliStore store, int captures)
    {
        _ = CrstoreProgram.Path; // built first, if it has to be: the program counts meanwhile
        using var target = Start(store, Counter, out var pid);
        var crids = new List<(string, int)>();
        for (var i = 0; i < captures; i++)
        {
            Await(store);
            File.Delete(store.File("n"));
            var n = Await(store, pid).N;
            // Not in the middle of another answer, with a file open that has another name by then.
            Patience.Until(() => Sleeps(pid), "it to count on");
            crids.Add((store.Capture(pid, "--series", "s"), n));
        }

        return (pid, crids);
    }

    private static TargetProcess Start(CliStore store, string script, out int pid, params string[] more)
    {
        var start = new TargetStart(Requires.Python(), ["-c", script, store.File("n"), .. more]);
        var target = TargetProcess.Start(start.AsDaemon("/dev/null", "/dev/null", "/dev/null"));
        pid = target.Pid;
        return target;
    }

    // What the target has written; asked for by SIGUSR1, if it is a process that is asked.
    private static (int N, int Pid) Await(CliStore store, int ask = 0)
    {
        if (ask > 0) Linux.Signals.Kill(ask, 10);
        Patience.Until(() => File.Exists(store.File("n")), "the counter to tell how far it is");
        var words = File.ReadAllText(store.File("n")).Split(' '); // moved there when it is whole
        return (int.Parse(words[0], CultureInfo.InvariantCulture), int.Parse(words[1], CultureInfo.InvariantCulture));
    }

    // It is in clock_nanosleep(2), number 230, and no signal waits for it: proc_pid_syscall(5).
    private static bool Sleeps(int pid) => Linux.TaskStatusFile.Read(pid) is { } status && status["SigPnd"]!.Trim().All(c => c == '0') && status["ShdPnd"]!.Trim().All(c => c == '0')
        && Linux.TaskFile.TryReadText($"/proc/{pid}/syscall")?.StartsWith("230 ", StringComparison.Ordinal) == true;

    // A restarted process below it goes on by itself: it has lived already, and crstore does not trace it any more, but waits for its end by waitid(2), number 247.
    private static void AwaitForeground(int crstore)
    {
        Patience.Until(() => Below(crstore).Any(IsFree), "something to be restarted");
        Patience.Until(() => Linux.TaskList.Threads(crstore).Exists(t => Linux.TaskFile.TryReadText($"/proc/{crstore}/task/{t}/syscall")?.StartsWith("247 ", StringComparison.Ordinal) == true), "crstore to wait for it");

        static IEnumerable<int> Below(int pid) => Linux.TaskList.Children(pid).SelectMany(c => Below(c).Append(c));

        static bool IsFree(int pid) => Linux.TaskStatusFile.Read(pid) is { TracerPid: 0 }
            && Linux.TaskFile.TryReadText($"/proc/{pid}/cmdline")?.Contains("python", StringComparison.Ordinal) == true;
    }

    private static void End(int pid, Action? meanwhile = null)
    {
        Linux.Signals.Kill(pid, 9);
        for (var clock = Stopwatch.StartNew(); Directory.Exists($"/proc/{pid}"); Thread.Sleep(5), meanwhile?.Invoke())
            if (clock.Elapsed > Patience.Limit) throw new TimeoutException($"{pid} does not go away\n{Linux.TaskFile.TryReadText($"/proc/{pid}/status")}");
    }

    private static Process Background(CliStore store, params string[] arguments)
    {
        var start = new ProcessStartInfo(CrstoreProgram.Path, arguments);
        start.Environment["CRSTORE_STORE"] = store.Path;
        return Process.Start(start)!;
    }

    private static string Script(string path, string text)
    {
        File.WriteAllText(path, $"#!/bin/bash\n{text}\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return path;
    }
}
