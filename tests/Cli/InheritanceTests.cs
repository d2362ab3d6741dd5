using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>What a restarted process could have from crstore, whose child it is at first.</summary>
public sealed class InheritanceTests
{
    [Fact]
    public void It_has_its_own_niceness_and_personality_and_not_those_of_crstore()
    {
        Requires.Root(); // to be less nice than the test may be
        Requires.Program("setarch");
        using var store = new CliStore();
        int pid;
        var script = "import ctypes, os, time\nctypes.CDLL(None).personality(0)\nos.setpriority(os.PRIO_PROCESS, 0, 0)\nopen('" + store.File("ready") + "', 'w').close()\ntime.sleep(1000)";
        using (var target = TargetProcess.Start(new TargetStart(Requires.Python(), ["-c", script]).AsDaemon("/dev/null", "/dev/null", "/dev/null")))
        {
            pid = target.Pid;
            Patience.Until(() => File.Exists(store.File("ready")), "it to be ready");
            store.Capture(pid, "--series", "s");
        }

        Run.Command("nice", ["-n", "5", "setarch", "--addr-no-randomize", CrstoreProgram.Path, "restart", "s", "--detach", "--store", store.Path]).MustSucceed();
        try
        {
            Assert.Equal((0, "00000000"), (StatLine.Parse(File.ReadAllBytes($"/proc/{pid}/stat")).Nice, File.ReadAllText($"/proc/{pid}/personality").Trim()));
        }
        finally
        {
            Signals.Kill(pid, Signals.SIGKILL);
        }
    }
}
