using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>A process captured out of its session, as a shell's job is: with --detach it leads one of its own, and can join no group any more.</summary>
public class JobTests
{
    [Theory]
    [InlineData("os.setpgid(0, 0)", "pass")] // the leader of the job's group
    [InlineData("pass", "os.setpgid(child, child); os.setpgid(0, child)")] // in a group that is led by a process below it
    public void A_job_of_a_shell_is_restarted_in_a_session_of_its_own(string before, string after)
    {
        using var run = RestartRun.Python($"""
            import os, sys, signal
            if os.fork() != 0:
                os.wait()
                os._exit(0)
            {before}
            child = os.fork()
            if child == 0:
                while True: signal.pause()
            {after}
            print("job", os.getpid())
            for line in sys.stdin: print(os.getpid(), os.getpgid(0), os.getsid(0), os.getsid(child))
            """);
        var job = int.Parse(run.Expect("job "), System.Globalization.CultureInfo.InvariantCulture);
        var crid = run.Capture(tree: true, with: o => o with { Pid = job });
        Assert.NotEqual(job, run.Manifest(crid).Body.Processes[0].Sid);
        run.Kill();
        run.Restart(crid);
        Assert.Equal($"{job} {job} {job} {job}", run.Ask("?"));
    }
}
