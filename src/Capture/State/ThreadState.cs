using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model.Format;
using Google.Protobuf;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Capture.State;

/// <summary>
/// One thread of a frozen process. Only what the kernel gives to a tracer; what the thread itself must be asked for
/// (tid address, alternate stack) is <see cref="InjectedState"/>'s. On the ptrace thread only.
/// </summary>
internal static class ThreadState
{
    private const int StatLimit = 16 * 1024;

    /// <param name="frozen">It.</param>
    /// <param name="proc">Its process's directory.</param>
    /// <param name="inNamespace">The process is in a pid namespace of its own: the thread has another id there.</param>
    internal static Thread Read(FrozenThread frozen, ProcDirectory proc, bool inNamespace)
    {
        var tid = frozen.Tid;
        var registers = Ptrace.GetRegs(tid);
        var thread = new Thread
        {
            Tid = tid,
            Registers = UnsafeByteOperations.UnsafeWrap(registers.ToBytes()),
            Xstate = UnsafeByteOperations.UnsafeWrap(Ptrace.GetRegSet(tid, RegisterSet.XState)),
            Sigmask = Ptrace.GetSigMask(tid),
            Pending = UnsafeByteOperations.UnsafeWrap(Ptrace.PeekSigInfo(tid, shared: false)),
            CpuAffinity = UnsafeByteOperations.UnsafeWrap(CpuAffinity.Get(tid)),
            SchedAttributes = UnsafeByteOperations.UnsafeWrap(SchedulingAttributes.Get(tid)),
            IoPriority = IoPriority.Get(tid),
            Stat = ByteString.CopyFrom(proc.Read(string.Create(CultureInfo.InvariantCulture, $"task/{tid}/stat"), StatLimit)),
            GroupStopped = frozen.WasStopped,
            Syscall = SyscallNames.Describe(registers.OrigRax),
        };
        if (TimerSlack.Get(proc, tid) is { } slack)
            thread.TimerSlackNs = slack;
        (thread.RobustListHead, thread.RobustListLen) = RobustList.Get(tid);
        if (Ptrace.GetRseq(tid) is { Address: not 0 } rseq)
            thread.Rseq = new RseqConfig { Address = rseq.Address, SizeBytes = rseq.SizeBytes, Signature = rseq.Signature, Flags = rseq.Flags };
        if (inNamespace)
            thread.TidInside = StatusLines.Parse(proc.Read(string.Create(CultureInfo.InvariantCulture, $"task/{tid}/status"), StatLimit)).NamespacePids[^1];
        if (Ptrace.GetSigInfo(tid) is { } info)
            thread.Siginfo = UnsafeByteOperations.UnsafeWrap(info);
        return thread;
    }

    /// <summary>What the stat line tells, taken apart after the thaw.</summary>
    internal static void FillFromStat(Thread thread)
    {
        var stat = StatLine.Parse(thread.Stat.Span);
        thread.Name = stat.Comm;
        thread.Nice = stat.Nice;
    }
}
