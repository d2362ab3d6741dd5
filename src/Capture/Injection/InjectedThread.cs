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

    private readonly int _pid;
    private readonly SlotStore _slots;
    private readonly ulong _mask;
    private readonly bool _seccomp;
    private int _slot;
    private Acquires _slotAcquires;
    private bool _inSyscallStop;

    private InjectedThread(int pid, int tid, SlotStore slots, bool seccomp)
    {
        (_pid, Tid, _slots, _seccomp) = (pid, tid, slots, seccomp);
        Saved = Ptrace.GetRegs(tid);
        _mask = Ptrace.GetSigMask(tid);
    }

    /// <summary>The thread.</summary>
    public int Tid { get; }

    /// <summary>Its registers as they were, and will be again.</summary>
    public UserRegs Saved { get; }

    /// <summary>Its signal mask as it was, and will be again.</summary>
    public ulong SavedMask => _mask;

    /// <summary>
    /// Takes a thread in PTRACE_EVENT_STOP. First the way back, then the mask: a crash in between restores both. With all
    /// signals blocked no handler can run on top of the injected calls.
    /// </summary>
    /// <param name="pid">Process.</param>
    /// <param name="tid">Thread.</param>
    /// <param name="slots">Slots of the process.</param>
    /// <param name="seccomp">Its seccomp filter is suspended.</param>
    public static InjectedThread Begin(int pid, int tid, SlotStore slots, bool seccomp)
    {
        var thread = new InjectedThread(pid, tid, slots, seccomp);
        thread.MoveToNewSlot(Acquires.Nothing, [], 0, thread.Saved, SlotImage.Heal, first: true);
        Ptrace.SetSigMask(tid, Signals.AllBlocked);
        return thread;
    }

    /// <summary>One system call. The raw result.</summary>
    /// <param name="number">Its number.</param>
    /// <param name="arguments">Six arguments.</param>
    /// <param name="acquires">What it acquires.</param>
    /// <param name="heldFds">Fds acquired earlier, to be closed by the heal code.</param>
    /// <param name="heldPage">Page acquired earlier.</param>
    /// <param name="heldChanged">These differ from the last call's.</param>
    public long Call(long number, ReadOnlySpan<long> arguments, Acquires acquires, IReadOnlyList<int> heldFds, ulong heldPage, bool heldChanged)
    {
        var call = Saved;
        Load(ref call, (ulong)number, arguments);
        var start = call;
        if (_seccomp) Load(ref start, BenignCall, [unchecked((long)BenignArgument), 0, 0, 0, 0, 0]);

        // Only a call without acquisition may run twice in the same slot: otherwise its code would have to know the first one's result.
        if (heldChanged || acquires != Acquires.Nothing || _slotAcquires != Acquires.Nothing)
            MoveToNewSlot(acquires, heldFds, heldPage, start, 0);
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

    /// <summary>Changes what the heal code gives back, without a call.</summary>
    public void Hold(IReadOnlyList<int> heldFds, ulong heldPage) =>
        MoveToNewSlot(Acquires.Nothing, heldFds, heldPage, Saved, SlotImage.Heal);

    /// <summary>Puts the thread back into PTRACE_EVENT_STOP where it was: mask first, then the registers, whose orig_rax lets the kernel restart its call.</summary>
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
        Ptrace.SetSigMask(Tid, _mask);
        Ptrace.SetRegs(Tid, Saved);
        if (_seccomp) _ = Ptrace.TrySetOptions(Tid, PtraceOptions.TraceSysGood); // fails only if the thread is dead
        _slots.Give(_slot);
    }

    private void MoveToNewSlot(Acquires acquires, IReadOnlyList<int> heldFds, ulong heldPage, UserRegs regs, int offset, bool first = false)
    {
        var slot = _slots.Take();
        _slots.Write(slot, SlotImage.Build(_pid, Saved, _mask, acquires, heldFds, heldPage));
        var before = _slot;
        _slot = slot;
        _slotAcquires = acquires;
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
                    throw new TargetException($"{TargetErrors.Name(_pid)}: a system call injected into thread {Tid} did not come back in {CallTimeout.TotalSeconds} s");
                case WaitKind.Stopped:
                    goOn(report.IsSignalDelivery ? report.Signal : 0);
                    break;
                default:
                    throw TargetErrors.Died(_pid);
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
