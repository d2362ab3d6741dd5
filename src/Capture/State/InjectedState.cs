using System.Buffers.Binary;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Capture.State;

/// <summary>
/// What only the process itself can ask the kernel for: the break, handlers of signals, interval timers, and per thread
/// the tid address and the alternate signal stack; and settings that /proc has no line for. Every call writes to a place of its own in the scratch page, which is
/// read back once when it is full: an injected call costs tens of microseconds of frozen time, so only those are made
/// whose answer isn't known from /proc/PID/status.
/// </summary>
internal sealed class InjectedState
{
    private readonly IRemoteSyscalls remote;
    private readonly int leader;
    private readonly byte[] page = new byte[VirtualPage.Size];
    private readonly List<(int Offset, int Bytes, Action<ReadOnlyMemory<byte>> Take)> expected = [];
    private int used;

    private InjectedState(IRemoteSyscalls remote, int leader) => (this.remote, this.leader) = (remote, leader);

    /// <summary>Asks, and fills it in. On the ptrace thread, within the freeze.</summary>
    /// <exception cref="LinuxException">The injected call failed, or its result can't be read.</exception>
    internal static void Read(Process process, StatusLines status, IRemoteSyscalls remote)
    {
        var state = new InjectedState(remote, process.Threads[0].Tid);
        process.Layout.Brk = (ulong)remote.Invoke(state.leader, StateCalls.Brk);
        state.AskSignalActions(process, status);
        state.AskSettings(process);
        state.AskTimers(process);
        state.AskPosixTimers(process);
        state.AskAttributes(process);
        foreach (var thread in process.Threads)
            state.AskThread(thread, process);
        state.Collect();
    }

    /// <summary>Signals that are ignored need no question: SIG_IGN has no other attributes that matter.</summary>
    internal static void AddIgnored(Process process, ulong ignored)
    {
        for (var signal = 1; signal <= StateCalls.LastSignal; signal++)
        {
            if ((ignored & Bit(signal)) != 0 && process.Actions.All(a => a.Signal != signal))
                process.Actions.Add(new SignalAction { Signal = (uint)signal, Handler = 1 });
        }
    }

    private void AskSignalActions(Process process, StatusLines status)
    {
        // SIGCHLD's flags (SA_NOCLDWAIT) matter even with the default handler.
        var wanted = status.SignalsCaught | Bit(StateCalls.SigChld);
        for (var signal = 1; signal <= StateCalls.LastSignal; signal++)
        {
            if ((wanted & Bit(signal)) == 0)
                continue;
            var action = new SignalAction { Signal = (uint)signal };
            process.Actions.Add(action);
            Ask("rt_sigaction", leader, StateCalls.SigActionBytes, answer =>
            {
                action.Handler = U64(answer, 0);
                action.Flags = U64(answer, 8);
                action.Restorer = U64(answer, 16);
                action.Mask = U64(answer, 24);
            }, (tid, at) => remote.Invoke(tid, StateCalls.RtSigAction, signal, 0, at, StateCalls.SigSetBytes));
        }
    }

    private void AskTimers(Process process)
    {
        var timers = new byte[3 * StateCalls.ItimerBytes];
        for (var which = 0; which < 3; which++)
        {
            var slot = timers.AsMemory(which * StateCalls.ItimerBytes, StateCalls.ItimerBytes);
            var number = which;
            Ask("getitimer", leader, StateCalls.ItimerBytes, answer => answer.CopyTo(slot),
                (tid, at) => remote.Invoke(tid, StateCalls.GetItimer, number, at));
        }
        Collect();
        process.Itimers = ByteString.CopyFrom(timers);
    }

    private void AskPosixTimers(Process process)
    {
        foreach (var timer in PosixTimers.Parse(process.Timers.Span))
        {
            process.PosixTimers.Add(timer);
            Ask("timer_gettime", leader, StateCalls.ItimerBytes, answer => timer.Remaining = ByteString.CopyFrom(answer.Span),
                (tid, at) => remote.Invoke(tid, StateCalls.TimerGetTime, timer.Id, at));
        }
    }

    private void AskAttributes(Process process)
    {
        process.Dumpable = (uint)Checked("PR_GET_DUMPABLE", remote.Invoke(leader, StateCalls.Prctl, StateCalls.PrGetDumpable));
        process.Securebits = (uint)Checked("PR_GET_SECUREBITS", remote.Invoke(leader, StateCalls.Prctl, StateCalls.PrGetSecurebits));
        Ask("PR_GET_PDEATHSIG", leader, sizeof(int), answer => process.ParentDeathSignal = BinaryPrimitives.ReadInt32LittleEndian(answer.Span),
            (tid, at) => remote.Invoke(tid, StateCalls.Prctl, StateCalls.PrGetPdeathsig, at));
        Ask("PR_GET_CHILD_SUBREAPER", leader, sizeof(int), answer => process.ChildSubreaper = BinaryPrimitives.ReadInt32LittleEndian(answer.Span) != 0,
            (tid, at) => remote.Invoke(tid, StateCalls.Prctl, StateCalls.PrGetChildSubreaper, at));
    }

    // Only those that this kernel and processor have: each costs the target a tenth of a millisecond.
    private void AskSettings(Process process)
    {
        if (OfferedSettings.DenyWriteExecute)
            process.DenyWriteExecute = (uint)Checked("PR_GET_MDWE", remote.Invoke(leader, StateCalls.Prctl, StateCalls.PrGetMdwe));
        if (OfferedSettings.DescriptorTables)
            process.DescriptorTable = remote.Invoke(leader, StateCalls.ModifyLdt, 0, (long)remote.ScratchAddress + used, sizeof(ulong)) != 0;
        if (OfferedSettings.MemoryMerge && !KsmStat.IsTold)
            process.MergesMemory = Checked("PR_GET_MEMORY_MERGE", remote.Invoke(leader, StateCalls.Prctl, StateCalls.PrGetMemoryMerge)) != 0;
        AskProcessor(process.Threads[0]);
    }

    // Instructions that are faults.
    private void AskProcessor(Thread thread)
    {
        Ask("PR_GET_TSC", thread.Tid, sizeof(int), answer => thread.TimeStampFaults = BinaryPrimitives.ReadInt32LittleEndian(answer.Span) == StateCalls.TscFaults,
            (tid, at) => remote.Invoke(tid, StateCalls.Prctl, StateCalls.PrGetTsc, at));
        if (OfferedSettings.CpuidFaults) thread.CpuidFaults = remote.Invoke(thread.Tid, StateCalls.ArchPrctl, StateCalls.ArchGetCpuid) == 0;
    }

    private void AskThread(Thread thread, Process process)
    {
        var first = process.Threads[0];
        if (thread != first) AskOther(thread, first, process.Securebits);
        // Only the privileged are told it from outside.
        if (!thread.HasTimerSlackNs) thread.TimerSlackNs = (ulong)Checked("PR_GET_TIMERSLACK", remote.Invoke(thread.Tid, StateCalls.Prctl, StateCalls.PrGetTimerSlack));
        Ask("PR_GET_TID_ADDRESS", thread.Tid, sizeof(ulong), answer => thread.TidAddress = U64(answer, 0),
            (tid, at) => remote.Invoke(tid, StateCalls.Prctl, StateCalls.PrGetTidAddress, at));
        Ask("sigaltstack", thread.Tid, StateCalls.StackBytes, answer => thread.Altstack = new SignalStack
        {
            Sp = U64(answer, 0),
            Flags = (uint)U64(answer, 8),
            SizeBytes = U64(answer, 16),
        }, (tid, at) => remote.Invoke(tid, StateCalls.SigAltStack, 0, at));
    }

    // What hardly any program has, and else all of its threads, or those that came after it was set, is asked of them only if the first one has it.
    private void AskOther(Thread thread, Thread first, uint securebits)
    {
        Ask("PR_GET_PDEATHSIG", thread.Tid, sizeof(int), answer => thread.ParentDeathSignal = BinaryPrimitives.ReadInt32LittleEndian(answer.Span),
            (tid, at) => remote.Invoke(tid, StateCalls.Prctl, StateCalls.PrGetPdeathsig, at));
        if (first.TimeStampFaults || first.CpuidFaults) AskProcessor(thread);
        if (securebits != 0 && Checked("PR_GET_SECUREBITS", remote.Invoke(thread.Tid, StateCalls.Prctl, StateCalls.PrGetSecurebits)) != securebits)
            thread.Differs = "secure bits";
    }

    private void Ask(string call, int tid, int bytes, Action<ReadOnlyMemory<byte>> take, Func<int, long, long> invoke)
    {
        if (used + bytes > page.Length)
            Collect();
        Checked(call, invoke(tid, (long)remote.ScratchAddress + used));
        expected.Add((used, bytes, take));
        used += (bytes + 7) & ~7;
    }

    private long Checked(string call, long result) => result >= 0 ? result : throw new LinuxException($"{call} (injected)", (int)-result, $"thread {leader}");

    private void Collect()
    {
        if (used == 0)
            return;
        using (var memory = ProcessMemory.Open(leader))
            memory.Read(remote.ScratchAddress, page.AsSpan(0, used));
        foreach (var (offset, bytes, take) in expected)
            take(page.AsMemory(offset, bytes));
        expected.Clear();
        used = 0;
    }

    private static ulong Bit(int signal) => 1UL << (signal - 1);

    private static ulong U64(ReadOnlyMemory<byte> bytes, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.Span[offset..]);
}
