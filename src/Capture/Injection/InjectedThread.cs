using Crstore.Capture.Freezing;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Capture.Injection;

/// <summary>
/// One thread of the target on loan. From <see cref="Begin"/> to <see cref="End"/> its rip is in a slot whose code leads
/// back to where the thread was, at every instant: a slot is written in full before one PTRACE_SETREGSET moves the thread
/// there, so that the kernel switches from one way back to the next in a single step.
/// </summary>
internal sealed class InjectedThread
{
    private const ulong BenignCall = 3, BenignArgument = ulong.MaxValue; // close(-1): EBADF, and every seccomp filter lets it pass
    private const int MaxRestarts = 100;
    private static readonly TimeSpan CallTimeout = TimeSpan.FromSeconds(5);

    private readonly SlotStore _slots;
    private LentThread _lent;
    private readonly bool _seccomp;
    private int _slot;
    private bool _slotIsPlain; // its call acquires nothing, and nothing stops the thread behind it but crstore: it may be made again
    private bool _inSyscallStop;

    private InjectedThread(int pid, int tid, SlotStore slots, bool seccomp, ulong caught)
    {
        (Tid, _slots, _seccomp) = (tid, slots, seccomp);
        var mask = Ptrace.GetSigMask(tid);
        // Under a filter each call is rewritten at its entry: it has to be stopped there.
        _lent = new LentThread(pid, Ptrace.GetRegs(tid), mask, seccomp ? 0 : StopSignal.Choose(caught, mask));
    }

    /// <summary>The thread.</summary>
    public int Tid { get; }

    /// <summary>Its registers as they were, and will be again.</summary>
    public UserRegs Saved => _lent.Saved;

    /// <summary>Its signal mask as it was, and will be again.</summary>
    public ulong SavedMask => _lent.Mask;

    /// <summary>It can make calls in a row, with one stop behind them.</summary>
    public bool StopsBySignal => _lent.StopSignal != 0;

    /// <summary>
    /// Takes a thread in PTRACE_EVENT_STOP. First the way back, then the mask: a crash in between restores both. With all
    /// signals blocked no handler can run on top of the injected calls.
    /// </summary>
    /// <param name="pid">Process.</param>
    /// <param name="tid">Thread.</param>
    /// <param name="slots">Slots of the process.</param>
    /// <param name="seccomp">Its seccomp filter is suspended.</param>
    /// <param name="caught">Signals that the process has handlers for.</param>
    public static InjectedThread Begin(int pid, int tid, SlotStore slots, bool seccomp, ulong caught)
    {
        var thread = new InjectedThread(pid, tid, slots, seccomp, caught);
        thread.MoveToNewSlot(SlotImage.BuildCall(thread._lent, Acquires.Nothing, default), thread.Saved, SlotImage.Heal, first: true);
        thread._slotIsPlain = true;
        Ptrace.SetSigMask(tid, Signals.AllBlocked);
        return thread;
    }

    /// <summary>
    /// Takes a thread as <see cref="Begin"/> does and lets it make all calls of a batch in a row; <see cref="EndRow"/> waits for it. Needs one slot, which has both the calls and the way back.
    /// Null, with the thread as it was, if it can't make them so.
    /// </summary>
    /// <param name="pid">Process.</param>
    /// <param name="tid">Thread, without a seccomp filter.</param>
    /// <param name="slots">Slots of the process.</param>
    /// <param name="caught">Signals that the process has handlers for.</param>
    /// <param name="batch">The calls.</param>
    public static InjectedThread? TryBeginRow(int pid, int tid, SlotStore slots, ulong caught, CallBatch batch)
    {
        var thread = new InjectedThread(pid, tid, slots, seccomp: false, caught);
        if (!thread.StopsBySignal) return null;
        var image = SlotImage.BuildRow(thread._lent, batch, 0, out var to, out var heal);
        if (to < batch.Count) return null;
        thread.MoveToNewSlot(image, thread.Saved, heal, first: true);
        Ptrace.SetSigMask(tid, Signals.AllBlocked);
        if (!thread.TrySendStop())
        {
            thread.End();
            return null;
        }

        thread.MoveTo(thread.FirstOfRow(batch, 0), 0);
        Ptrace.Continue(tid);
        return thread;
    }

    /// <summary>Waits for the calls of <see cref="TryBeginRow"/>, and puts the thread back. False if one of them has failed: which one is not known.</summary>
    public bool EndRow()
    {
        var failed = RunToStopSignal() is var regs && ((long)regs.R9 < 0 || (long)regs.R8 < 0);
        End();
        return !failed;
    }

    /// <summary>One system call. The raw result.</summary>
    /// <param name="number">Its number.</param>
    /// <param name="arguments">Six arguments.</param>
    /// <param name="acquires">What it acquires.</param>
    /// <param name="held">What earlier ones have acquired, to be given back by the heal code.</param>
    /// <param name="heldChanged">That is another than at the last call.</param>
    public long Call(long number, ReadOnlySpan<long> arguments, Acquires acquires, in HeldThings held, bool heldChanged)
    {
        var call = Saved;
        Load(ref call, (ulong)number, arguments);
        if ((held.Fds?.Count ?? 0) <= SlotImage.MaxHeldFdsOfStopping && TrySendStop())
        {
            MoveToNewSlot(SlotImage.BuildStoppingCall(_lent, acquires, held), call, 0);
            Ptrace.Continue(Tid);
            return (long)RunToStopSignal().R8;
        }

        return CallBetweenStops(call, acquires, held, heldChanged);
    }

    private long CallBetweenStops(in UserRegs call, Acquires acquires, in HeldThings held, bool heldChanged)
    {
        var start = call;
        if (_seccomp) Load(ref start, BenignCall, [unchecked((long)BenignArgument), 0, 0, 0, 0, 0]);

        // Only a call without acquisition may run twice in the same slot: otherwise its code would have to know the first one's result.
        if (heldChanged || acquires != Acquires.Nothing || !_slotIsPlain)
        {
            MoveToNewSlot(SlotImage.BuildCall(_lent, acquires, held), start, 0);
            _slotIsPlain = acquires == Acquires.Nothing;
        }
        else MoveTo(start, 0);

        for (var tries = 0; ; tries++)
        {
            RunToSyscallStop();
            if (_seccomp) Rewrite(call);
            RunToSyscallStop();
            _inSyscallStop = true;
            var result = (long)Ptrace.GetRegs(Tid).Rax;
            // Cut short by something the kernel wanted of the thread (a SIGSTOP, say), before it did anything.
            if (result is not (-512 or -513 or -514) || tries >= MaxRestarts) return result;
            MoveTo(start, 0);
        }
    }

    /// <summary>Makes calls of a batch in a row, with one stop behind them: as many as there is room for. Holds nothing.</summary>
    /// <returns>The index behind the last one made.</returns>
    public int CallRow(CallBatch batch, int from)
    {
        if (!TrySendStop())
        {
            batch.SetResult(from, CallAlone(batch, from));
            return from + 1;
        }

        MoveToNewSlot(SlotImage.BuildRow(_lent, batch, from, out var to, out _), FirstOfRow(batch, from), 0);
        Ptrace.Continue(Tid);
        var regs = RunToStopSignal();
        var failed = (long)regs.R9 < 0;
        for (var call = from; call < to; call++)
        {
            if (failed) batch.SetResult(call, CallAlone(batch, call));
            else batch.SetResult(call, call == to - 1 ? Math.Min(0, (long)regs.R8) : 0);
        }

        return to;
    }

    /// <summary>Makes the calls of a table that is written, with one stop behind them; false if it can't.</summary>
    /// <param name="table">Its address.</param>
    /// <param name="held">What earlier calls have acquired, the table's pages among it.</param>
    public bool TryCallTable(ulong table, in HeldThings held)
    {
        if (!TrySendStop()) return false;
        var start = Saved;
        (start.Rsp, start.R8, start.R9) = (table, 0, 0);
        MoveToNewSlot(SlotImage.BuildTable(_lent, held), start, 0);
        Ptrace.Continue(Tid);
        RunToStopSignal();
        return true;
    }

    /// <summary>Makes a copy of the process: <see cref="SnapshotBirth"/>. Not under a seccomp filter, and with no fds held.</summary>
    /// <param name="held">What earlier calls have acquired.</param>
    /// <param name="errno">Why there is none.</param>
    /// <returns>The copy's process id; 0 if there is none.</returns>
    public int MakeSnapshot(in HeldThings held, out int errno)
    {
        if (_seccomp) throw new InvalidOperationException("no snapshot under a seccomp filter");
        var bySignal = TrySendStop();
        var call = Saved;
        Load(ref call, SnapshotBirth.Clone, [SnapshotBirth.HelperFlags, 0, 0, 0, 0, 0]);
        MoveToNewSlot(SlotImage.BuildSnapshot(_lent, held), call, 0);
        if (Ptrace.TrySetOptions(Tid, SnapshotBirth.Options) != 0) throw TargetErrors.Died(_lent.Pid);
        if (!bySignal) RunToSyscallStop(); // at the entry
        var copy = RunThroughBirth(bySignal, out errno);
        if (Ptrace.TrySetOptions(Tid, PtraceOptions.TraceSysGood) != 0) throw TargetErrors.Died(_lent.Pid);
        return copy;
    }

    private int RunThroughBirth(bool bySignal, out int errno)
    {
        bool IsEnd(WaitReport r) => bySignal ? r.IsSignalDelivery && r.Signal == _lent.StopSignal : r.IsSyscallStop;
        void GoOn(int signal)
        {
            if (bySignal) Ptrace.Continue(Tid, signal);
            else Ptrace.ContinueToSyscall(Tid, signal);
        }

        GoOn(0);
        var born = false;
        RunTo(r => (born = r.IsBirth) || IsEnd(r), GoOn);
        var copy = 0;
        errno = 0;
        if (born)
        {
            copy = SnapshotBirth.Attend(_lent.Pid, Tid, out errno);
            for (var stops = bySignal ? 1 : 3; stops > 0; stops--) // clone's exit, wait4's entry and exit
            {
                GoOn(0);
                RunTo(IsEnd, GoOn);
            }
        }

        _inSyscallStop = !bySignal;
        if (bySignal) Ptrace.SetSigMask(Tid, Signals.AllBlocked);
        if (!born) errno = -(int)(bySignal ? Ptrace.GetRegs(Tid).R8 : Ptrace.GetRegs(Tid).Rax);
        return copy;
    }

    /// <summary>
    /// In a rehearsal, by the leader: the ways that a thread goes which is not the leader, or has no signal to stop by. The first time takes longer.
    /// </summary>
    public void Rehearse(in HeldThings held)
    {
        const int getpid = 39;
        var batch = new CallBatch();
        for (var i = 0; i < 2; i++) batch.Add(getpid);
        CallRow(batch, 0);
        var call = Saved;
        Load(ref call, getpid, [0, 0, 0, 0, 0, 0]);
        CallBetweenStops(call, Acquires.Nothing, held, heldChanged: true);
    }

    /// <summary>Changes what the heal code gives back, without a call.</summary>
    public void Hold(in HeldThings held)
    {
        MoveToNewSlot(SlotImage.BuildCall(_lent, Acquires.Nothing, held), Saved, SlotImage.Heal);
        _slotIsPlain = true;
    }

    /// <summary>
    /// Puts the thread back where it was, in PTRACE_EVENT_STOP, or in the stop for a signal that nobody will see (it is dropped when the thread is let go): mask first, then the
    /// registers, whose orig_rax lets the kernel restart its call.
    /// </summary>
    public void End()
    {
        if (_inSyscallStop)
        {
            Ptrace.Interrupt(Tid);
            Ptrace.Continue(Tid);
            RunTo(r => r.IsEventStop, signal =>
            {
                Ptrace.Interrupt(Tid); // any other stop has taken it back
                Ptrace.Continue(Tid, signal);
            });
        }
        Ptrace.SetSigMask(Tid, SavedMask);
        Ptrace.SetRegs(Tid, Saved);
        if (_seccomp) _ = Ptrace.TrySetOptions(Tid, PtraceOptions.TraceSysGood); // fails only if the thread is dead
        _slots.Give(_slot);
    }

    private long CallAlone(CallBatch batch, int index) => Call((long)batch.Word(index, 0),
        [(long)batch.Word(index, 1), (long)batch.Word(index, 2), (long)batch.Word(index, 3), (long)batch.Word(index, 4), 0, 0], Acquires.Nothing, default, heldChanged: false);

    private void MoveToNewSlot(byte[] image, UserRegs regs, int offset, bool first = false)
    {
        var slot = _slots.Take();
        _slots.Write(slot, image);
        var before = _slot;
        _slot = slot;
        _slotIsPlain = false;
        MoveTo(regs, offset);
        if (!first) _slots.Give(before);
    }

    /// <summary>The switch: from here on the thread is at the slot's call or at its way back. orig_rax -1: no restart handling.</summary>
    private void MoveTo(UserRegs regs, int offset)
    {
        regs.Rip = _slots.Area[_slot] + (ulong)offset;
        regs.OrigRax = UserRegs.NoSyscall;
        Ptrace.SetRegs(Tid, regs);
    }

    /// <summary>
    /// At the entry of the benign call: makes it the wanted one. The kernel asks the seccomp filter only after this stop, and
    /// the filter is suspended while we trace; had crstore died before, the filter would only have seen close(-1).
    /// </summary>
    private void Rewrite(in UserRegs call)
    {
        var regs = Ptrace.GetRegs(Tid);
        (regs.OrigRax, regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8, regs.R9) = (call.Rax, call.Rdi, call.Rsi, call.Rdx, call.R10, call.R8, call.R9);
        Ptrace.SetRegs(Tid, regs);
    }

    /// <summary>
    /// The signal for the stop behind the calls. It is blocked still, and so pending until the code unblocks it. False if there is none, or a security module doesn't let us send it.
    /// </summary>
    private bool TrySendStop()
    {
        if (StopsBySignal && Signals.TryKillThread(_lent.Pid, Tid, _lent.StopSignal) != 0) _lent = _lent with { StopSignal = 0 };
        return StopsBySignal;
    }

    // The first call of a row is in the registers.
    private UserRegs FirstOfRow(CallBatch batch, int from)
    {
        var start = Saved;
        (start.Rax, start.Rdi, start.Rsi, start.Rdx, start.R10) = (batch.Word(from, 0), batch.Word(from, 1), batch.Word(from, 2), batch.Word(from, 3), batch.Word(from, 4));
        (start.R8, start.R9) = (0, 0);
        return start;
    }

    /// <summary>Waits for the stop behind the slot's calls, which it was let run. The signal stops a traced thread although it would be ignored; it is never passed on.</summary>
    private UserRegs RunToStopSignal()
    {
        RunTo(r => r.IsSignalDelivery && r.Signal == _lent.StopSignal, signal => Ptrace.Continue(Tid, signal));
        _inSyscallStop = false;
        Ptrace.SetSigMask(Tid, Signals.AllBlocked);
        return Ptrace.GetRegs(Tid);
    }

    private void RunToSyscallStop()
    {
        Ptrace.ContinueToSyscall(Tid);
        RunTo(r => r.IsSyscallStop, signal => Ptrace.ContinueToSyscall(Tid, signal));
    }

    /// <summary>
    /// Waits for a stop. SIGSTOP can't be blocked: it is passed on and leads to a group-stop, in which a traced thread may
    /// still be run; the others of the process go into it when they are let go.
    /// </summary>
    private void RunTo(Func<WaitReport, bool> wanted, Action<int> goOn)
    {
        var deadline = StopWait.DeadlineIn(CallTimeout);
        while (true)
        {
            var report = StopWait.Next(Tid, deadline);
            if (wanted(report)) return;
            switch (report.Kind)
            {
                case WaitKind.Nothing:
                    throw new TargetException($"{TargetErrors.Name(_lent.Pid)}: a system call injected into thread {Tid} did not come back in {CallTimeout.TotalSeconds} s");
                case WaitKind.Stopped:
                    goOn(report.IsSignalDelivery ? report.Signal : 0);
                    break;
                default:
                    throw TargetErrors.Died(_lent.Pid);
            }
        }
    }

    /// <summary>System call number and arguments, syscall(2): rdi, rsi, rdx, r10, r8, r9.</summary>
    private static void Load(ref UserRegs regs, ulong number, ReadOnlySpan<long> arguments)
    {
        regs.Rax = number;
        (regs.Rdi, regs.Rsi, regs.Rdx) = ((ulong)arguments[0], (ulong)arguments[1], (ulong)arguments[2]);
        (regs.R10, regs.R8, regs.R9) = ((ulong)arguments[3], (ulong)arguments[4], (ulong)arguments[5]);
    }
}
