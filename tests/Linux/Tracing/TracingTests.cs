using System.Text;
using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Linux.Tracing;

public sealed class TracingTests
{
    [Fact]
    public void Registers_round_trip_as_the_216_bytes_of_user_regs_struct()
    {
        var bytes = Enumerable.Range(0, UserRegs.Size).Select(i => (byte)i).ToArray();
        var regs = UserRegs.FromBytes(bytes);
        Assert.Equal(0x0706050403020100UL, regs.R15);
        Assert.Equal(BitConverter.ToUInt64(bytes, 15 * 8), regs.OrigRax);
        Assert.Equal(BitConverter.ToUInt64(bytes, 26 * 8), regs.Gs);
        Assert.Equal(bytes, regs.ToBytes());
        Assert.Throws<ArgumentException>(() => UserRegs.FromBytes(bytes.AsSpan(1)));
    }

    [Fact]
    public void A_seized_child_gives_registers_xstate_mask_rseq_and_pending_signals()
    {
        var (read, write) = Spawn.Pipe();
        using (write)
        {
            var pid = Spawn.Start("/bin/cat", ["cat"], input: read);
            read.Dispose();
            try
            {
                Ptrace.Seize(pid, PtraceOptions.TraceSysGood);
                Ptrace.Interrupt(pid);
                WaitReport report;
                while (!(report = ChildWait.Poll(pid)).IsEventStop) Pause.Sleep(100);
                Assert.False(report.IsGroupStop);
                var regs = Ptrace.GetRegs(pid);
                Assert.Equal(UserRegs.Cs64, regs.Cs);
                Assert.Equal(512, Ptrace.GetRegSet(pid, RegisterSet.PrFpReg).Length);
                Assert.True(Ptrace.GetRegSet(pid, RegisterSet.XState).Length >= 576);
                Assert.Equal(0UL, Ptrace.GetSigMask(pid));
                Ptrace.SetSigMask(pid, 1UL << (Signals.SIGUSR1 - 1));
                Assert.Equal(1UL << (Signals.SIGUSR1 - 1), Ptrace.GetSigMask(pid));
                Assert.Empty(Ptrace.PeekSigInfo(pid, shared: true));
                for (var i = 0; i < 70; i++) Signals.Kill(pid, 40);
                var pending = Ptrace.PeekSigInfo(pid, shared: true);
                Assert.Equal(70 * Ptrace.SigInfoSize, pending.Length);
                Assert.Equal(40, BitConverter.ToInt32(pending, 69 * Ptrace.SigInfoSize));
                Assert.NotNull(Ptrace.GetRseq(pid));
                Assert.Null(Ptrace.Peek(pid, 8));
                using var memory = ProcessMemory.Open(pid);
                var word = new byte[8];
                memory.Read(regs.Rsp, word);
                Assert.Equal(BitConverter.ToUInt64(word), Ptrace.Peek(pid, regs.Rsp));
                Assert.Equal(Errno.EIO, Assert.Throws<LinuxException>(() => memory.Read(4096, word)).ErrorNumber);
                Assert.Equal(24UL, RobustList.Get(pid).Length is 0 ? 24 : RobustList.Get(pid).Length);
            }
            finally
            {
                Signals.Kill(pid, Signals.SIGKILL);
                while (ChildWait.Poll(pid, reap: true).Kind is WaitKind.Nothing or WaitKind.Stopped) Pause.Sleep(100);
            }
            Assert.Equal(WaitKind.Unknown, ChildWait.Poll(pid).Kind);
            Assert.Equal(Errno.ESRCH, Ptrace.TrySeize(pid, PtraceOptions.None));
        }
    }

    [Fact]
    public void A_pidfd_fetches_a_descriptor_of_the_process()
    {
        Requires.Root();
        var (read, write) = Spawn.Pipe();
        using (write)
        {
            var pid = Spawn.Start("/bin/cat", ["cat"], input: read);
            read.Dispose();
            using var pidFd = PidFd.Open(pid);
            using (var fd = pidFd.GetFd(0))
            using (var stream = new FileStream(fd, FileAccess.Read, 1))
            {
                Assert.Equal(0, pidFd.TrySendSignal(Signals.SIGSTOP));
                while (TaskStat.Read(pid)!.State != 'T') Pause.Sleep(100);
                using (var sink = new FileStream(write, FileAccess.Write, 1)) sink.WriteByte((byte)'x');
                Assert.Equal('x', stream.ReadByte());
            }
            Assert.Equal(0, pidFd.TrySendSignal(Signals.SIGKILL));
            while (ChildWait.Poll(pid, reap: true).Kind != WaitKind.Dead) Pause.Sleep(100);
        }
    }

    [Theory]
    [InlineData("12 (cat) S 7 12 12 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 3 0 55 0 0", "cat", 'S', 7, false, false, 3)]
    [InlineData("12 (cat) R 7 12 12 0 -1 4194308 0 0 0 0 0 0 0 0 20 0 3 0 55 0 0", "cat", 'R', 7, false, true, 3)]
    [InlineData("12 (a) b (c) Z 1 12 12 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 55 0 0", "a) b (c", 'Z', 1, true, false, 1)]
    public void A_stat_line_is_parsed_whatever_the_name_holds(string line, string name, char state, int parent, bool kernel, bool exiting, int threads) =>
        Assert.Equal(new TaskStat(name, state, parent, kernel, exiting, threads), TaskStat.Parse(line));

    [Fact]
    public void Own_tasks_and_status_are_found()
    {
        var pid = Environment.ProcessId;
        Assert.Contains(pid, TaskList.Threads(pid));
        Assert.Empty(TaskList.Threads(4_194_304));
        Assert.Null(TaskStatusFile.Read(4_194_304));
        var status = TaskStatusFile.Read(pid)!;
        Assert.Equal(pid, status.ThreadGroup);
        Assert.Equal(4, status.Uids.Count);
        Assert.Contains(pid, TaskList.Children(TaskStat.Read(pid)!.ParentPid));
        Assert.StartsWith("Name:", Encoding.UTF8.GetString(TaskFile.ReadBytes("/proc/self/status")));
    }
}
