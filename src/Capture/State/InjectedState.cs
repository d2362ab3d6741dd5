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
/// the tid address and the alternate signal stack; and settings that /proc has no line for. A thread makes all its calls in a row (<see cref="CallBatch"/>), as each stop
/// costs frozen time; while one makes them, the next are told to (<see cref="AskNextThread"/>). Every call that answers in memory has a place of its own in the scratch page, which is read
/// back once, or when it is full.
/// </summary>
internal sealed class InjectedState
{
    private readonly IRemoteSyscalls remote;
    private readonly Process process;
    private readonly ulong scratch;
    private readonly List<Row> started = [];       // oldest first
    private readonly Stack<Row> free = [];
    private readonly List<Question> answered = []; // with an answer in the page
    private readonly byte[] page = new byte[VirtualPage.Size];
    private Row row;     // being put together
    private int thread;  // the last one asked: an index
    private int used;

    private InjectedState(IRemoteSyscalls remote, Process process)
    {
        (this.remote, this.process, scratch) = (remote, process, remote.ScratchAddress);
        row = new Row { Tid = process.Threads[0].Tid };
        for (var i = 0; i < IRemoteSyscalls.MostStarted; i++) free.Push(new Row());
    }

    /// <summary>Asks the leader, and fills it in; the other threads are <see cref="AskNextThread"/>'s. On the ptrace thread, within the freeze, as everything here.</summary>
    /// <exception cref="LinuxException">The injected call failed, or its result can't be read.</exception>
    internal static InjectedState Begin(Process process, ulong signalsCaught, IRemoteSyscalls remote)
    {
        var first = process.Threads[0];
        var state = new InjectedState(remote, process);
        state.Ask(new Question { Take = result => process.Layout.Brk = (ulong)result, MayFail = true }, StateCalls.Brk);
        state.AskSignalActions(process, signalsCaught);
        state.AskSettings(process);
        state.AskTimers(process);
        state.AskPosixTimers(process);
        state.AskAttributes(process);
        state.AskProcessor(first);
        state.AskThread(first);
        state.Collect();
        return state;
    }

    /// <summary>
    /// Lets one more thread make its calls, or takes the answers of the one that has been at it the longest: between two calls of this there is time for other processes. False when
    /// all of them have answered.
    /// </summary>
    /// <exception cref="LinuxException">The injected call failed, or its result can't be read.</exception>
    internal bool AskNextThread()
    {
        if (thread < process.Threads.Count - 1 && started.Count < IRemoteSyscalls.MostStarted)
        {
            Start(process.Threads[++thread]);
            return true;
        }

        if (started.Count > 0)
        {
            TakeOldest();
            return true;
        }

        Collect();
        return false;
    }

    private void Start(Thread other)
    {
        row.Tid = other.Tid;
        AskOther(other, process.Threads[0], process.Securebits);
        AskThread(other);
        if (remote.TryStart(row.Tid, row.Batch))
        {
            started.Add(row);
            row = free.Pop();
        }
        else Run();
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

    private void AskSignalActions(Process process, ulong caught)
    {
        // SIGCHLD's flags (SA_NOCLDWAIT) matter even with the default handler.
        var wanted = caught | Bit(StateCalls.SigChld);
        for (var signal = 1; signal <= StateCalls.LastSignal; signal++)
        {
            if ((wanted & Bit(signal)) == 0)
                continue;
            var action = new SignalAction { Signal = (uint)signal };
            process.Actions.Add(action);
            var question = Placed("rt_sigaction", StateCalls.SigActionBytes, answer =>
            {
                action.Handler = U64(answer, 0);
                action.Flags = U64(answer, 8);
                action.Restorer = U64(answer, 16);
                action.Mask = U64(answer, 24);
            });
            Ask(question, StateCalls.RtSigAction, signal, 0, question.Address, StateCalls.SigSetBytes);
        }
    }

    private void AskTimers(Process process)
    {
        var timers = new byte[3 * StateCalls.ItimerBytes];
        for (var which = 0; which < 3; which++)
        {
            var at = which * StateCalls.ItimerBytes;
            var question = Placed("getitimer", StateCalls.ItimerBytes, answer =>
            {
                answer.Span.CopyTo(timers.AsSpan(at));
                process.Itimers = ByteString.CopyFrom(timers);
            });
            Ask(question, StateCalls.GetItimer, which, question.Address);
        }
    }

    private void AskPosixTimers(Process process)
    {
        foreach (var timer in PosixTimers.Parse(process.Timers.Span))
        {
            process.PosixTimers.Add(timer);
            var question = Placed("timer_gettime", StateCalls.ItimerBytes, answer => timer.Remaining = ByteString.CopyFrom(answer.Span));
            Ask(question, StateCalls.TimerGetTime, timer.Id, question.Address);
        }
    }

    private void AskAttributes(Process process)
    {
        Ask(new Question { Call = "PR_GET_DUMPABLE", Take = result => process.Dumpable = (uint)result }, StateCalls.Prctl, StateCalls.PrGetDumpable);
        Ask(new Question { Call = "PR_GET_SECUREBITS", Take = result => process.Securebits = (uint)result }, StateCalls.Prctl, StateCalls.PrGetSecurebits);
        AskPrctl("PR_GET_PDEATHSIG", StateCalls.PrGetPdeathsig, answer => process.ParentDeathSignal = BinaryPrimitives.ReadInt32LittleEndian(answer.Span));
        AskPrctl("PR_GET_CHILD_SUBREAPER", StateCalls.PrGetChildSubreaper, answer => process.ChildSubreaper = BinaryPrimitives.ReadInt32LittleEndian(answer.Span) != 0);
    }

    // Only those that this kernel and processor have.
    private void AskSettings(Process process)
    {
        if (OfferedSettings.DenyWriteExecute)
            Ask(new Question { Call = "PR_GET_MDWE", Take = result => process.DenyWriteExecute = (uint)result }, StateCalls.Prctl, StateCalls.PrGetMdwe);
        if (OfferedSettings.DescriptorTables)
        {
            var question = Placed("modify_ldt", sizeof(ulong), null);
            (question.Take, question.MayFail) = (result => process.DescriptorTable = result != 0, true);
            Ask(question, StateCalls.ModifyLdt, 0, question.Address, sizeof(ulong));
        }

        if (OfferedSettings.MemoryMerge && !KsmStat.IsTold)
            Ask(new Question { Call = "PR_GET_MEMORY_MERGE", Take = result => process.MergesMemory = result != 0 }, StateCalls.Prctl, StateCalls.PrGetMemoryMerge);
    }

    // Instructions that are faults.
    private void AskProcessor(Thread thread)
    {
        AskPrctl("PR_GET_TSC", StateCalls.PrGetTsc, answer => thread.TimeStampFaults = BinaryPrimitives.ReadInt32LittleEndian(answer.Span) == StateCalls.TscFaults);
        if (OfferedSettings.CpuidFaults) Ask(new Question { Take = result => thread.CpuidFaults = result == 0, MayFail = true }, StateCalls.ArchPrctl, StateCalls.ArchGetCpuid);
    }

    private void AskThread(Thread thread)
    {
        // Only the privileged are told it from outside.
        if (!thread.HasTimerSlackNs)
            Ask(new Question { Call = "PR_GET_TIMERSLACK", Take = result => thread.TimerSlackNs = (ulong)result }, StateCalls.Prctl, StateCalls.PrGetTimerSlack);
        AskPrctl("PR_GET_TID_ADDRESS", StateCalls.PrGetTidAddress, answer => thread.TidAddress = U64(answer, 0), sizeof(ulong));
        var question = Placed("sigaltstack", StateCalls.StackBytes, answer => thread.Altstack = new SignalStack
        {
            Sp = U64(answer, 0),
            Flags = (uint)U64(answer, 8),
            SizeBytes = U64(answer, 16),
        });
        Ask(question, StateCalls.SigAltStack, 0, question.Address);
    }

    // What hardly any program has, and else all of its threads, or those that came after it was set, is asked of them only if the first one has it.
    private void AskOther(Thread thread, Thread first, uint securebits)
    {
        AskPrctl("PR_GET_PDEATHSIG", StateCalls.PrGetPdeathsig, answer => thread.ParentDeathSignal = BinaryPrimitives.ReadInt32LittleEndian(answer.Span));
        if (first.TimeStampFaults || first.CpuidFaults) AskProcessor(thread);
        if (securebits != 0)
            Ask(new Question { Call = "PR_GET_SECUREBITS", Take = result => thread.Differs = result == securebits ? thread.Differs : "secure bits" }, StateCalls.Prctl, StateCalls.PrGetSecurebits);
    }

    private void AskPrctl(string call, long option, Action<ReadOnlyMemory<byte>> read, int bytes = sizeof(int))
    {
        var question = Placed(call, bytes, read);
        Ask(question, StateCalls.Prctl, option, question.Address);
    }

    // One whose answer comes in memory.
    private Question Placed(string call, int bytes, Action<ReadOnlyMemory<byte>>? read)
    {
        if (used + bytes > page.Length)
            Collect(); // what this thread was asked so far included
        var question = new Question { Call = call, Offset = used, Bytes = bytes, Address = (long)scratch + used, Read = read };
        used += (bytes + 7) & ~7;
        return question;
    }

    private void Ask(Question question, long number, long a0 = 0, long a1 = 0, long a2 = 0, long a3 = 0)
    {
        if (question.Take is not null && thread > 0)
        {
            Take(question, row.Tid, remote.Invoke(row.Tid, number, a0, a1, a2, a3)); // of calls in a row only the leader's results are known
            return;
        }

        row.Batch.Add(number, a0, a1, a2, a3);
        row.Asked.Add(question);
    }

    // The thread makes the calls now.
    private void Run()
    {
        remote.InvokeAll(row.Tid, row.Batch);
        Take(row);
    }

    private void TakeOldest()
    {
        var oldest = started[0];
        started.RemoveAt(0);
        remote.Finish(oldest.Batch);
        Take(oldest);
        free.Push(oldest);
    }

    private void Take(Row made)
    {
        for (var i = 0; i < made.Asked.Count; i++) Take(made.Asked[i], made.Tid, made.Batch.Result(i));
        made.Batch.Clear();
        made.Asked.Clear();
    }

    private void Take(Question question, int tid, long result)
    {
        if (result < 0 && !question.MayFail)
            throw new LinuxException($"{question.Call} (injected)", (int)-result, $"thread {tid}");
        question.Take?.Invoke(result);
        if (question.Read is not null) answered.Add(question);
    }

    // And what they answered in memory is read.
    private void Collect()
    {
        while (started.Count > 0) TakeOldest();
        Run();
        if (used == 0)
            return;
        remote.Read(scratch, page.AsSpan(0, used));
        foreach (var question in answered)
            question.Read?.Invoke(page.AsMemory(question.Offset, question.Bytes));
        answered.Clear();
        used = 0;
    }

    private static ulong Bit(int signal) => 1UL << (signal - 1);

    private static ulong U64(ReadOnlyMemory<byte> bytes, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(bytes.Span[offset..]);

    private sealed class Question
    {
        public string Call { get; init; } = "";
        public bool MayFail { get; set; }
        public Action<long>? Take { get; set; }                    // the result
        public Action<ReadOnlyMemory<byte>>? Read { get; init; }   // the answer in memory
        public long Address { get; init; }                         // of it in the target
        public int Offset { get; init; }
        public int Bytes { get; init; }
    }

    // What one thread makes in a row.
    private sealed class Row
    {
        public int Tid { get; set; }
        public CallBatch Batch { get; } = new();
        public List<Question> Asked { get; } = [];
    }
}
