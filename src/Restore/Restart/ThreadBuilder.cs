using System.Buffers.Binary;
using System.Text;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Objects.Processes;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Restore.Restart;

/// <summary>Makes a process's threads, gives each what only itself can ask the kernel for, and its registers. On the ptrace thread.</summary>
internal static class ThreadBuilder
{
    private const ulong ThreadFlags = SystemCalls.CloneVm | SystemCalls.CloneFs | SystemCalls.CloneFiles | SystemCalls.CloneSigHand
        | SystemCalls.CloneThread | SystemCalls.CloneSysVSem;

    /// <summary>Makes those behind the leader.</summary>
    /// <param name="process">Whose.</param>
    /// <param name="made">Told of each: a traced thread that dies has to be waited for.</param>
    public static void Make(Restarted process, Action<int> made)
    {
        foreach (var thread in process.Message.Threads.Skip(1))
        {
            var puppet = Puppets.Make(process.Leader, thread.Tid, ThreadFlags, 0);
            process.Threads.Add(puppet);
            made(puppet.Tid);
        }
    }

    /// <summary>What the kernel keeps of a thread, but for its registers and credentials.</summary>
    public static void Configure(Puppet puppet, Thread thread)
    {
        if (thread.TidAddress != 0) puppet.Queue("set_tid_address", SystemCalls.SetTidAddress, (long)thread.TidAddress);
        if (thread.RobustListHead != 0) puppet.Queue("set_robust_list", SystemCalls.SetRobustList, (long)thread.RobustListHead, (long)thread.RobustListLen);
        if (thread.Rseq is { } rseq)
            puppet.Queue("rseq", SystemCalls.Rseq, (long)rseq.Address, rseq.SizeBytes, rseq.Flags, rseq.Signature);
        if (thread.Altstack is { } stack)
        {
            const uint onStack = 1, disabled = 2; // SS_ONSTACK tells, SS_DISABLE says, sigaltstack(2)
            var record = new byte[24];
            BinaryPrimitives.WriteUInt64LittleEndian(record, stack.Sp);
            BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), stack.SizeBytes == 0 ? disabled : stack.Flags & ~(onStack | disabled));
            BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(16), stack.SizeBytes);
            puppet.Queue("sigaltstack", SystemCalls.SigAltStack, (long)puppet.Place(record), 0);
        }

        puppet.Queue("prctl(PR_SET_NAME)", SystemCalls.Prctl, SystemCalls.PrSetName, (long)puppet.Place([.. Encoding.UTF8.GetBytes(thread.Name), 0]));
        // Before a policy that knows no slack.
        ThreadSettings.Set(puppet, thread);
        Schedule(puppet, thread);
        puppet.Flush();
        if (UtilizationClamps.Setting(thread.SchedAttributes.Span, SchedulingAttributes.Get(puppet.Tid)) is { } clamps)
            puppet.Queue($"sched_setattr of thread {thread.Tid} (utilization clamps)", SystemCalls.SchedSetAttr, 0, (long)puppet.Place(clamps), 0);
        // Behind the niceness, from which it follows unless it was set.
        if (thread.IoPriority != 0 && thread.IoPriority != IoPriority.Get(puppet.Tid))
            puppet.Queue($"ioprio_set of thread {thread.Tid}", SystemCalls.IoprioSet, 1, 0, thread.IoPriority);
        puppet.Flush();
    }

    /// <summary>
    /// Registers and signal mask: what comes last. A system call that the capture cut short is made again by the kernel when the thread
    /// goes on, as it would have been after the capture.
    /// </summary>
    /// <param name="puppet">The thread.</param>
    /// <param name="thread">As it was captured.</param>
    /// <param name="regs">Its registers, as <see cref="Resumption"/> left them.</param>
    public static void SetRegisters(Puppet puppet, Thread thread, in UserRegs regs)
    {
        try
        {
            Ptrace.SetRegSet(puppet.Tid, RegisterSet.XState, thread.Xstate.Span);
        }
        catch (LinuxException e)
        {
            throw new EnvironmentException($"thread {thread.Tid}: this processor can't take its floating-point and vector state: {e.Message}",
                "restart it on the same kind of processor", e);
        }

        Ptrace.SetRegs(puppet.Tid, regs);
        Ptrace.SetSigMask(puppet.Tid, thread.Sigmask);
    }

    // Puppets begin with crstore's.
    private static int OwnNice() => StatLine.Parse(File.ReadAllBytes("/proc/self/stat")).Nice;

    private static void Schedule(Puppet puppet, Thread thread)
    {
        if (thread.Nice != OwnNice()) puppet.Queue($"setpriority of thread {thread.Tid}", SystemCalls.SetPriority, 0, 0, thread.Nice);
        if (!thread.CpuAffinity.IsEmpty && !thread.CpuAffinity.Span.SequenceEqual(CpuAffinity.Get(puppet.Tid)))
            puppet.Queue($"sched_setaffinity of thread {thread.Tid}", SystemCalls.SchedSetAffinity, 0, thread.CpuAffinity.Length, (long)puppet.Place(thread.CpuAffinity.Span));
        // Last: a thread with a deadline may not be kept from any processor, or told to be nice.
        // Their first 4 bytes say how many there are.
        var attributes = thread.SchedAttributes.Span[..SchedulingAttributes.Size].ToArray();
        BinaryPrimitives.WriteInt32LittleEndian(attributes, attributes.Length);
        if (!attributes.AsSpan(sizeof(int)).SequenceEqual(SchedulingAttributes.Get(puppet.Tid).AsSpan(sizeof(int)..SchedulingAttributes.Size)))
            puppet.Queue($"sched_setattr of thread {thread.Tid}", SystemCalls.SchedSetAttr, 0, (long)puppet.Place(attributes), 0);
    }
}
