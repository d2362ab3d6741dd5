using System.Diagnostics;
using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Tests.Capture.Freezing;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Injection;

/// <summary>Threads that a killed crstore has left in its slots.</summary>
public sealed class SlotLeftoversTests
{
    // mov ecx, 1 << 29; dec ecx; jnz to the dec; jmp to HEAL
    private static readonly byte[] Slow = [0xb9, 0, 0, 0, 0x20, 0xff, 0xc9, 0x75, 0xfc, 0xeb, 0];
    private static readonly byte[] Endless = [0xeb, 0xfe]; // jmp to itself

    [Fact]
    public void A_thread_that_takes_long_to_leave_is_stopped_outside()
    {
        const int notMet = 4; // stops and sleeps of one that has left before it is told to stop
        using var target = TargetProcess.Start("thread_storm", "1", "0");
        target.Expect("ready");
        SlotArea? area = null;
        long stops = 0;
        for (var tries = 0; stops <= notMet; tries++)
        {
            Assert.True(tries < 100, "it was never met in the slot");
            Frozen.During(target.Pid, frozen => area = PutIntoSlot(frozen.Processes[0], Slow));
            var before = Switches(target.Pid);
            Frozen.During(target.Pid, frozen => Assert.False(area!.Contains(Ptrace.GetRegs(target.Pid).Rip)));
            stops = Switches(target.Pid) - before;
        }

        Assert.Equal("ok", target.Ask("verify"));
    }

    [Theory]
    [InlineData("--uname-2.6")] // changes nothing here
    [InlineData("--addr-compat-layout")] // the vDSO lies low
    public void Each_time_it_is_given_longer_before_it_is_told_to_stop(string personality)
    {
        using var target = TargetProcess.Start(Requires.Program("setarch"), "x86_64", personality, Targets.Path("thread_storm"), "1", "0");
        target.Expect("ready");
        Frozen.During(target.Pid, frozen =>
        {
            var tracee = new Tracee(target.Pid, frozen.Processes[0].Leader.Tid);
            var saved = Ptrace.GetRegs(tracee.Tid);
            var area = PutIntoSlot(frozen.Processes[0], Endless);
            for (var time = TimeSpan.FromMicroseconds(50); time < TimeSpan.FromMilliseconds(30); time *= 2)
            {
                var since = Stopwatch.GetTimestamp();
                Assert.True(SlotLeftovers.RunOutIfInside(tracee, Ptrace.GetRegs(tracee.Tid).Rip, []));
                while (tracee.RunsUntil != 0) SlotLeftovers.StopAgain(tracee);
                Assert.True(Stopwatch.GetElapsedTime(since) >= time, $"not {time}");
                Assert.True(StopWait.Next(tracee.Tid, StopWait.DeadlineIn(TimeSpan.FromMinutes(1))).IsEventStop);
            }

            Assert.True(area.Contains(Ptrace.GetRegs(tracee.Tid).Rip));
            Ptrace.SetRegs(tracee.Tid, saved);
        });
        Assert.Equal("ok", target.Ask("verify"));
    }

    /// <summary>The leader runs some code there before it goes back.</summary>
    private static SlotArea PutIntoSlot(FrozenProcess process, byte[] code)
    {
        var tid = process.Leader.Tid;
        using var memory = ProcessMemory.Open(tid);
        var area = SlotArea.Find(memory, out _)!;
        var batch = new CallBatch();
        batch.Add(Remote.Getpid);
        var regs = Ptrace.GetRegs(tid);
        var slot = SlotImage.BuildRow(new LentThread(process.Pid, regs, Ptrace.GetSigMask(tid), Signals.SIGURG), batch, 0, out _, out var heal);
        code.CopyTo(slot, 0);
        if (code == Slow) slot[code.Length - 1] = (byte)(heal - code.Length);
        memory.Write(area[0], slot);
        (regs.Rip, regs.OrigRax) = (area[0], UserRegs.NoSyscall);
        Ptrace.SetRegs(tid, regs);
        return area;
    }

    private static long Switches(int pid) => long.Parse(TaskStatusFile.Read(pid)!["voluntary_ctxt_switches"]!, CultureInfo.InvariantCulture);
}
