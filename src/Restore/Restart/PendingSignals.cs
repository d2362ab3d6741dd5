using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Model.Format;

namespace Crstore.Restore.Restart;

/// <summary>
/// Signals that were sent and not taken yet, with what they carried. The kernel drops a pending SIGCONT when a stop signal is sent, as a
/// puppet's every table of calls ends with one: so it comes after all tables. On the ptrace thread.
/// </summary>
internal static class PendingSignals
{
    /// <summary>Queues all but SIGCONT.</summary>
    public static void Queue(Restarted process)
    {
        foreach (var (puppet, call) in Calls(process))
            if (call.Signal is not (Signals.SIGCONT or Signals.SIGSTOP)) puppet.Queue(call.Name, call.Number, call.Arguments(puppet));
        foreach (var puppet in process.Threads) puppet.Flush();
    }

    /// <summary>Queues SIGCONT, when no puppet of the process has anything to do any more.</summary>
    public static void QueueContinue(Restarted process)
    {
        foreach (var (puppet, call) in Calls(process))
            if (call.Signal == Signals.SIGCONT) puppet.CallWithoutStop(call.Name, call.Number, call.Arguments(puppet));
    }

    /// <summary>The process was about to stop: SIGSTOP was sent to it while it was frozen for the capture.</summary>
    public static bool AreToStop(Process message)
    {
        foreach (var thread in message.Threads)
            if (IsToStop(thread.Pending.Memory)) return true;
        return IsToStop(message.SharedPending.Memory);
    }

    private static bool IsToStop(ReadOnlyMemory<byte> records)
    {
        foreach (var record in Records(records))
            if (SignalOf(record) == Signals.SIGSTOP) return true;
        return false;
    }

    private static IEnumerable<(Puppet Puppet, SendingCall Call)> Calls(Restarted process)
    {
        foreach (var record in Records(process.Message.SharedPending.Memory)) yield return (process.Leader, new SendingCall(record, OfThread: false));
        for (var i = 0; i < process.Threads.Count; i++)
            foreach (var record in Records(process.Message.Threads[i].Pending.Memory)) yield return (process.Threads[i], new SendingCall(record, OfThread: true));
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Records(ReadOnlyMemory<byte> records)
    {
        for (var at = 0; at + Ptrace.SigInfoSize <= records.Length; at += Ptrace.SigInfoSize) yield return records.Slice(at, Ptrace.SigInfoSize);
    }

    private static int SignalOf(ReadOnlyMemory<byte> info) => BinaryPrimitives.ReadInt32LittleEndian(info.Span);

    // Who sends it must be who gets it: else the kernel takes no siginfo of its own kinds, rt_sigqueueinfo(2).
    private readonly record struct SendingCall(ReadOnlyMemory<byte> Info, bool OfThread)
    {
        public int Signal => SignalOf(Info);

        public string Name => $"{(OfThread ? "rt_tgsigqueueinfo" : "rt_sigqueueinfo")} of signal {Signal}";

        public long Number => OfThread ? SystemCalls.RtTgSigQueueInfo : SystemCalls.RtSigQueueInfo;

        public long[] Arguments(Puppet puppet)
        {
            var info = (long)puppet.Place(Info.Span);
            return OfThread ? [puppet.Pid, puppet.TidInside, Signal, info] : [puppet.Pid, Signal, info];
        }
    }
}
