using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>`restart --lazy` as a user has it: what becomes of a program whose memory is still being filled when crstore is killed, can't report, or is waited for.</summary>
public sealed class LazyRestartTests
{
    // 256 MiB, page by page another content; looks at it all the time, and tells at once of what is not as it was. SIGUSR1: all of it once more, told; SIGTERM: exit code 5.
    private const string Looker = """
        import os, random, signal, sys
        P, N = 4096, 65536
        data = bytearray(P * N)
        for i in range(N): data[i * P:i * P + 8] = (i + 1).to_bytes(8, "little")
        def wrong(i): return data[i * P:i * P + 8] != (i + 1).to_bytes(8, "little")
        def tell(text):
            with open(sys.argv[1], "a") as f: f.write(text + "\n")
        signal.signal(signal.SIGUSR1, lambda *_: tell(f"{sum(map(wrong, range(N)))} wrong"))
        signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
        tell("ready")
        while True:
            i = random.randrange(N)
            if wrong(i): tell(f"bad {i}")
        """;

    [Fact]
    public void Killed_while_memory_is_being_filled_crstore_takes_the_program_with_it()
    {
        Requires.Root();
        using var store = new CliStore();
        var pid = CaptureAndKill(store);
        try
        {
            File.WriteAllText(store.File("kill"), "#!/bin/sh\n[ $CRSTORE_STAGE = pre-restart ] || kill -9 $PPID\n");
            File.SetUnixFileMode(store.File("kill"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            var killed = store.Run("restart", "s", "--detach", "--lazy", "--hook", store.File("kill"));
            Assert.Equal(128 + Signals.SIGKILL, killed.ExitCode);
            Until(() => TaskStat.Read(pid) is null or { IsDead: true });
            Assert.Equal(["ready"], File.ReadAllLines(store.File("told")));
        }
        finally
        {
            End(pid);
        }
    }

    [Fact]
    public void A_report_that_can_not_be_written_leaves_the_program_with_all_its_memory()
    {
        Requires.Root();
        using var store = new CliStore();
        var pid = CaptureAndKill(store);
        try
        {
            var result = Run.Command("/bin/sh", ["-c", "exec \"$0\" --store \"$1\" restart s --detach --lazy --json > /dev/full", CrstoreProgram.Path, store.Path], environment: CrstoreProgram.Clean);
            Assert.NotEqual(0, result.ExitCode);
            Assert.Equal(0, TaskStatusFile.Read(pid)!.TracerPid);
            Assert.Equal("0 wrong", Ask(store, pid));
        }
        finally
        {
            End(pid);
        }
    }

    [Fact]
    public void In_the_foreground_its_exit_code_is_that_of_the_program()
    {
        Requires.Root();
        using var store = new CliStore();
        var pid = CaptureAndKill(store);
        File.WriteAllText(store.File("runs"), $"#!/bin/sh\n[ $CRSTORE_STAGE = pre-restart ] || touch {store.File("it-runs")}\n");
        File.SetUnixFileMode(store.File("runs"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using var crstore = store.Begin("restart", "s", "--lazy", "--hook", store.File("runs"));
        Patience.Until(() => File.Exists(store.File("it-runs")), "the program to run");
        Assert.Equal("0 wrong", Ask(store, pid));
        crstore.StandardOutput.Close();
        Until(() => TaskStatusFile.Read(pid) is { TracerPid: 0 });
        Signals.Kill(crstore.Id, Signals.SIGTERM); // passed on
        crstore.WaitForExit();
        Assert.Equal(5, crstore.ExitCode);
    }

    private static int CaptureAndKill(CliStore store)
    {
        using var target = TargetProcess.Start(new TargetStart(Requires.Python(), ["-c", Looker, store.File("told")]).AsDaemon("/dev/null", "/dev/null", "/dev/null"));
        Patience.Until(() => File.Exists(store.File("told")) && File.ReadAllText(store.File("told")) == "ready\n", "the program to be ready");
        store.Capture(target.Pid, "--series", "s");
        Signals.Kill(target.Pid, Signals.SIGKILL);
        Until(() => !Directory.Exists($"/proc/{target.Pid}"));
        return target.Pid;
    }

    private static string Ask(CliStore store, int pid)
    {
        // One answer may take long: another question would only interrupt it.
        Signals.Kill(pid, Signals.SIGUSR1);
        Patience.Until(() => File.ReadAllText(store.File("told")) is ['r', 'e', 'a', 'd', 'y', '\n', .., '\n'], "an answer", pauseMs: 50);
        return File.ReadLines(store.File("told")).Last();
    }

    private static void End(int pid)
    {
        Signals.TryKill(pid, Signals.SIGKILL);
        Until(() => TaskStat.Read(pid) is null or { IsDead: true });
    }

    private static void Until(Func<bool> condition) => Patience.Until(condition, "a process to come or go");
}
