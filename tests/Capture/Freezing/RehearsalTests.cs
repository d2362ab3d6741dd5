using Crstore.Capture;
using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Tests.Capture.Injection;
using Crstore.Tests.Support;
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
    public void The_throw_away_process_has_open_files_of_the_kinds_that_servers_have()
    {
        using var rehearsal = Rehearsal.TryStart();
        Assert.NotNull(rehearsal);
        // It is still loading its libraries: what it opens for that may be gone when its link is read.
        var files = Directory.GetFiles($"/proc/{rehearsal.Pid}/fd").ToDictionary(fd => Path.GetFileName(fd), fd => new FileInfo(fd).LinkTarget ?? "");
        foreach (var kind in new[] { "[eventfd]", "[timerfd]", "[signalfd]", "[eventpoll]" }) Assert.Contains("anon_inode:" + kind, files.Values);
        Assert.True(files.Values.Count(l => l.StartsWith("socket:", StringComparison.Ordinal)) >= 4, string.Join(' ', files)); // no IPv6, perhaps
        var number = files.First(f => f.Value == "anon_inode:[eventpoll]").Key;
        Assert.Contains("tfd:", File.ReadAllText($"/proc/{rehearsal.Pid}/fdinfo/{number}"));
    }

    [Fact]
    public void A_rehearsal_that_began_before_the_capture_is_the_captures_own_and_the_only_one()
    {
        using var target = TargetProcess.Start("pattern_writer", "1", "1");
        target.Expect("ready ");
        var options = new CaptureOptions { Pid = target.Pid };
        using var kit = CaptureKit.ForOne();
        kit.Rehearse(options);
        var rehearsal = kit.Rehearsal;
        using var writer = new RehearsalWriter(Guid.Empty);
        Assert.Equal(target.Pid, CaptureSession.Run(options, writer, kit, null, TestContext.Current.CancellationToken).Header.RootPid);
        Assert.True(rehearsal!.IsCompletedSuccessfully);
        Assert.Same(rehearsal, kit.Rehearsal);
    }

    /// <summary>The store may be busy, say.</summary>
    [Fact]
    public void A_rehearsal_without_a_capture_is_over_when_its_kit_is()
    {
        var kit = CaptureKit.ForOne();
        kit.Rehearse(new CaptureOptions { Pid = Environment.ProcessId });
        kit.Dispose();
        Assert.True(kit.Rehearsal!.IsCompletedSuccessfully);
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
