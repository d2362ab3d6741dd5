using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>`--nice`: who may not have his nice value back gives it away only when nothing comes behind that could want it.</summary>
public sealed class NiceTests
{
    // Runs a command with nice value 0, and tells that of its first thread as it was at its end.
    private const string ToTheEnd = """
        import os, subprocess, sys
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        nice = open(f"/proc/{child.pid}/stat").read().rsplit(")", 1)[1].split()[16]
        sys.exit(child.wait() or print("nice", nice))
        """;

    [Theory]
    [InlineData(true, 0, new string[0])]
    [InlineData(true, 0, new[] { "--nice", "19" })]
    [InlineData(false, 10, new string[0])]
    [InlineData(false, 3, new[] { "--nice", "3" })]
    [InlineData(false, 0, new[] { "--nice", "0" })]
    public void Only_who_may_not_take_it_back_ends_with_it(bool mayTakeBack, int expected, string[] options)
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        Assert.Equal($"nice {expected}", Capture(store, target.Pid, mayTakeBack, options));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Hooks_are_called_with_the_nice_value_that_crstore_was_started_with(bool mayTakeBack)
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var (hook, told) = (store.File("hook"), store.File("told"));
        File.WriteAllText(hook, $"#!/bin/sh\nnice >> {told}\n");
        File.SetUnixFileMode(hook, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        Capture(store, target.Pid, mayTakeBack, "--hook", hook);
        Assert.Equal(["0", "0"], File.ReadAllLines(told));
    }

    private static string Capture(CliStore store, int pid, bool mayTakeBack, params string[] options)
    {
        Requires.Root();
        var setpriv = Requires.Program("setpriv", "util-linux");
        string[] less = mayTakeBack ? [] : ["--bounding-set=-sys_nice", "--inh-caps=-sys_nice"];
        return Run.Command(Requires.Python(), ["-c", ToTheEnd, setpriv, .. less, "--", CrstoreProgram.Path, "capture", $"{pid}", "--store", store.Path, "--quiet", .. options],
            environment: CrstoreProgram.Clean).MustSucceed().Output.Trim();
    }
}
