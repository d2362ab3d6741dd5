using System.Globalization;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>PID, --pidfile and --name: the right process, or a clear error and no store.</summary>
public sealed class FindingTargetsTests : IDisposable
{
    private readonly CliStore _store = new();

    [Fact]
    public void A_dead_pid_is_told_with_exit_code_3()
    {
        int pid;
        using (var target = TargetProcess.Start("/bin/sleep", "0")) { pid = target.Pid; target.WaitForExit(); }
        Expect.Failure(_store.Run("capture", $"{pid}"), ExitCode.Target, $"there is no process {pid}");
        Assert.False(Directory.Exists(_store.Path));
    }

    [Fact]
    public void A_kernel_thread_and_a_zombie_are_told_for_what_they_are()
    {
        using var parent = TargetProcess.Python("import os,sys\npid=os.fork()\nif pid==0: os._exit(0)\nos.waitid(os.P_PID, pid, os.WEXITED|os.WNOWAIT)\nprint('ready', pid, flush=True)\nsys.stdin.readline()");
        var zombie = parent.Expect("ready ");
        foreach (var verb in new[] { "capture", "untrack" })
            Expect.Failure(_store.Run(verb, zombie), ExitCode.Target, $"process {zombie} (", "zombie");
        Assert.Contains("zombie", _store.Run("doctor", zombie).Output);
        // kthreadd, or in a container what has its number
        Assert.SkipUnless(File.Exists("/proc/2/comm") && File.ReadAllText("/proc/2/comm").Trim() == "kthreadd", "no kernel thread is visible here (a container)");
        foreach (string[] verb in new string[][] { ["capture", "2"], ["untrack", "2"], ["check", "--pid", "2"] })
            Expect.Failure(_store.Run(verb), ExitCode.Target, "process 2 (kthreadd) is a kernel thread", "hint: ");
        var doctor = _store.Run("doctor", "2");
        Assert.Equal((int)ExitCode.Target, doctor.ExitCode);
        Assert.Contains("\n    process 2 (kthreadd) is a kernel thread: it has no memory of its own\n", doctor.Output);
    }

    [Fact]
    public void A_number_that_is_neither_a_process_nor_a_checkpoint_is_told_as_both()
    {
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        _store.Capture(target.Pid);
        Expect.Failure(_store.Run("check", "4194304"), ExitCode.Usage, "there is no process 4194304, and there is no CRID 4194304"); // more than the kernel gives
    }

    [Fact]
    public void A_pid_file_that_is_not_there_is_told() =>
        Expect.Failure(CapturePidFile(null), ExitCode.Target, "there is no pid file", "hint: is the service running?");

    [Theory]
    [InlineData("")]
    [InlineData("\n")]
    [InlineData("  \n1234\n")]
    public void An_empty_pid_file_is_told(string content) => Expect.Failure(CapturePidFile(content), ExitCode.Target, "is empty");

    [Theory]
    [InlineData("redis\n")]
    [InlineData("12 34\n")]
    [InlineData("-1\n")]
    [InlineData("99999999999999999999\n")]
    [InlineData("\u001b[2Jx")]
    public void A_file_that_is_no_pid_file_is_told(string content)
    {
        var result = CapturePidFile(content);
        Expect.Failure(result, ExitCode.Usage, "is not a pid file");
        Assert.DoesNotContain('\u001b', result.Error);
    }

    [Fact]
    public void A_stale_pid_file_is_told()
    {
        int pid;
        using (var target = TargetProcess.Start("/bin/sleep", "0")) { pid = target.Pid; target.WaitForExit(); }
        Expect.Failure(CapturePidFile($"{pid}\n"), ExitCode.Target, "is stale", $"there is no process {pid}");
    }

    [Fact]
    public void A_pid_file_older_than_the_process_is_stale()
    {
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var file = _store.File("old.pid");
        File.WriteAllText(file, $"{target.Pid}\n");
        File.SetLastWriteTimeUtc(file, DateTime.UtcNow.AddHours(-1));
        Expect.Failure(_store.Run("capture", "--pidfile", file), ExitCode.Target, "is stale", "sleep");
        Assert.False(Directory.Exists(_store.Path));
    }

    [Fact]
    public void A_pid_file_that_may_not_be_read_is_the_environments_refusal()
    {
        Requires.Root();
        using var directory = new TempDir().OpenToAll();
        var file = directory.File("secret.pid");
        File.WriteAllText(file, "1\n");
        File.SetUnixFileMode(file, UnixFileMode.UserRead);
        var result = OtherUser.Run(OtherUser.Nobody, [], "capture", "--pidfile", file, "--store", directory.File("store"));
        Expect.Failure(result, ExitCode.Environment, file, "cannot be read");
    }

    [Fact]
    public void A_name_that_fits_several_lists_the_candidates()
    {
        var name = UniqueName();
        using var first = Named(name);
        using var second = Named(name);
        Expect.Failure(_store.Run("capture", "--name", name), ExitCode.Usage, $"2 processes are named {name}", $"{first.Pid} (", $"{second.Pid} (");
        Assert.False(Directory.Exists(_store.Path));
    }

    [Fact]
    public void A_name_that_fits_none_is_told() =>
        Expect.Failure(_store.Run("capture", "--name", "no-such-program"), ExitCode.Target, "no process is named no-such-program");

    [Fact]
    public void A_name_that_fits_one_is_captured()
    {
        var name = UniqueName();
        using var target = Named(name);
        Assert.Equal(target.Pid, _store.Json("capture", "--name", name).GetProperty("pid").GetInt32());
    }

    [Fact]
    public void A_pid_file_names_the_target_and_lines_behind_the_first_do_not_matter()
    {
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var file = _store.File("service.pid");
        File.WriteAllText(file, $"{target.Pid}\n/var/lib/service\n5432\n");
        var capture = _store.Json("capture", "--pidfile", file);
        Assert.Equal(target.Pid, capture.GetProperty("pid").GetInt32());
        var start = File.ReadAllText($"/proc/{target.Pid}/stat").Split(' ')[21];
        Assert.Equal($"sleep.{target.Pid}.{start}", capture.GetProperty("series").GetString());
    }

    public void Dispose() => _store.Dispose();

    private CommandResult CapturePidFile(string? content)
    {
        var file = _store.File("service.pid");
        if (content is not null) File.WriteAllText(file, content);
        return _store.Run("capture", "--pidfile", file);
    }

    private static string UniqueName() => string.Create(CultureInfo.InvariantCulture, $"t{Environment.ProcessId}n{Random.Shared.Next(100000)}");

    /// <summary>A sleeper whose argv[0] is the name.</summary>
    private static TargetProcess Named(string name) =>
        TargetProcess.Start("/bin/bash", "-c", $"exec -a {name} sleep 1000") is var target && WaitForName(target.Pid, name) ? target : throw new InvalidOperationException();

    private static bool WaitForName(int pid, string name)
    {
        while (!File.ReadAllText($"/proc/{pid}/cmdline").StartsWith(name, StringComparison.Ordinal)) System.Threading.Thread.Sleep(10);
        return true;
    }
}
