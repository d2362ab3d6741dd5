using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Linux;

/// <summary>The test's own tool: a target that lies to the tests would make them lie.</summary>
public class TargetProcessTests
{
    [Fact]
    public void A_target_converses_by_lines_and_its_exit_code_is_seen()
    {
        using var target = TargetProcess.Start("/bin/sh", "-c", "read a; echo \"got $a\"; read b; exit 7");
        Assert.Equal("got x", target.Ask("x"));
        Assert.False(target.HasExited);
        target.Send("y");
        Assert.Equal(7, target.WaitForExit());
        Assert.False(Run.Alive(target.Pid));
    }

    [Fact]
    public void A_target_is_not_a_child_of_the_runtime_and_ends_with_all_it_started_at_dispose()
    {
        int pid, grandchild;
        using (var target = TargetProcess.Start("/bin/sh", "-c", "sleep 1000 & echo $!; wait"))
        {
            pid = target.Pid;
            grandchild = int.Parse(target.ReadLine());
            var parent = File.ReadAllText($"/proc/{pid}/stat").Split(' ')[3];
            Assert.NotEqual(Environment.ProcessId.ToString(), parent);
            Assert.True(Run.Alive(grandchild));
        }
        Assert.False(Run.Alive(pid));
        Assert.False(Run.Alive(grandchild));
    }

    [Fact]
    public void A_killed_target_reports_the_signal()
    {
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        Assert.Equal("sleep\n", File.ReadAllText($"/proc/{target.Pid}/comm"));
        target.Signal(15);
        Assert.Equal(128 + 15, target.WaitForExit());
    }

    [Fact]
    public void A_target_can_run_as_another_user()
    {
        Requires.Root();
        using var target = TargetProcess.Start(new TargetStart("/usr/bin/id", "-u") { Uid = 65534 });
        Assert.Equal("65534", target.ReadLine());
    }
}
