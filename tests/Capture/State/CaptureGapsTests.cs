using Crstore.Capture.Doctor;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.State;

/// <summary>What doctor says of a process that can't be captured in full.</summary>
public class CaptureGapsTests
{
    [Fact]
    public void A_plain_process_has_no_gap_and_goes_on()
    {
        using var target = TargetProcess.Start("threads_backtrace");
        target.Expect("ready");
        var gaps = CaptureGaps.Find(target.Pid);
        Assert.Empty(gaps);
        Assert.Equal("ok", target.Ask("check"));
    }

    [Fact]
    public void A_process_that_is_traced_by_another_can_not_be_captured_at_all()
    {
        using var target = TargetProcess.Start("threads_backtrace");
        target.Expect("ready");
        using var gdb = TargetProcess.Start(Requires.Gdb(), "-nx", "-q", "-p", $"{target.Pid}", "-ex", "echo attached\\n", "-iex", "set debuginfod enabled off");
        gdb.Expect("attached");
        var gap = Assert.Single(CaptureGaps.Find(target.Pid));
        Assert.True(gap.Fatal);
        Assert.Contains("traced by", gap.Why);
        gdb.Send("detach");
    }

    [Fact]
    public void A_kernel_thread_and_a_pid_that_is_not_there_are_told()
    {
        Requires.Root();
        Requires.That(TaskStat.Read(2) is { IsKernelThread: true }, "a kernel thread, kthreadd: they are not in a pid namespace of its own");
        Assert.True(Assert.Single(CaptureGaps.Find(2)).Fatal);
        Assert.Throws<TargetException>(() => CaptureGaps.Find(4194304));
    }

    [Fact]
    public void Under_strict_seccomp_only_the_injected_state_is_missing()
    {
        using var target = TargetProcess.Python("""
            import ctypes, sys
            print("ready", flush=True)
            sys.stdin.readline()
            libc = ctypes.CDLL(None)
            print("strict", flush=True)
            libc.prctl(22, 1, 0, 0, 0)
            while True: pass
            """);
        target.Expect("ready");
        target.Send("go");
        target.Expect("strict");
        while (!File.ReadAllText($"/proc/{target.Pid}/status").Contains("Seccomp:\t1"))
            Thread.Sleep(1);
        var gaps = CaptureGaps.Find(target.Pid);
        Assert.DoesNotContain(gaps, g => g.Fatal);
        Assert.Contains(gaps, g => g.What.StartsWith("signal handlers", StringComparison.Ordinal) && g.Why.Contains("seccomp"));
        Assert.True(Run.Alive(target.Pid));
    }
}
