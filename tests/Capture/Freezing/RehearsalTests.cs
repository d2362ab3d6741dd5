using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Tests.Capture.Injection;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

public sealed class RehearsalTests
{
    [Fact]
    public void A_throw_away_process_takes_the_whole_path_and_is_gone_afterwards()
    {
        int pid;
        using (var rehearsal = Rehearsal.TryStart())
        {
            Assert.NotNull(rehearsal);
            pid = rehearsal.Pid;
            Assert.Equal(Environment.ProcessId, TaskStat.Read(pid)!.ParentPid);
            Remote.During(pid, Remote.Everything);
        }
        Assert.False(Directory.Exists($"/proc/{pid}"));
    }

    [Fact]
    public void An_exception_on_the_ptrace_thread_comes_back_to_the_caller_and_the_thread_lives_on()
    {
        using var thread = new PtraceThread();
        Assert.Contains("mine", Assert.Throws<InvalidOperationException>(() => thread.Run(() => throw new InvalidOperationException("mine"))).Message);
        var first = thread.Run(() => Environment.CurrentManagedThreadId);
        Assert.Equal(first, thread.Run(() => thread.Run(() => Environment.CurrentManagedThreadId)));
        Assert.NotEqual(Environment.CurrentManagedThreadId, first);
    }
}
