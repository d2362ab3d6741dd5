using System.Buffers.Binary;
using Crstore.Linux;
using static Crstore.Capture.Injection.CodeWriter.Register;

namespace Crstore.Capture.Injection;

/// <summary>What a call acquires for the target, which the heal code must give back if crstore dies before it knows the result.</summary>
internal enum Acquires
{
    /// <summary>Nothing.</summary>
    Nothing,

    /// <summary>A new fd: close it.</summary>
    Fd,

    /// <summary>The scratch pages: unmap them.</summary>
    Pages,
}

/// <summary>
/// The code and data of one slot. A thread whose rip is at its start makes its system calls; if nobody stops it behind them
/// (crstore is dead), it goes on by itself: HEAL gives back what was acquired, RESTORE puts back signal mask, flags, stack pointer
/// and the registers that the calling convention lets calls clobber, and jumps to where the thread was. The other registers, segment
/// bases and floating point state were never changed.
/// <code>
/// 0     CALLS    one of
///                call:  syscall                          crstore stops it before and behind
///                row:   syscall; or r9, rax; mov ...; syscall; ...; mov r8, rax; STOP
///                snapshot: BuildSnapshot
///                table: pop rax, rdi, rsi, rdx, r10; syscall; mov [rsp - 40], rax; again, up to a negative number; mov rsp, RSP; STOP
///       STOP     rt_sigprocmask(SIG_SETMASK, UNBLOCKED)  the signal that crstore has sent becomes a stop, or nothing (StopSignal)
///       HEAL     this call's fd or mapping if it succeeded, then all that earlier calls still hold
///       RESTORE  rt_sigprocmask(SIG_SETMASK, ALL)        no signal frame may be pushed while rsp is not the stack
///                lea rsp, FLAGS; popfq; mov rsp, RSP     from here on no instruction changes the flags (syscall keeps them)
///                rt_sigprocmask(SIG_SETMASK, MASK)
///                movabs rax, rcx, rdx, rsi, rdi, r8-r11
///                jmp [RIP]
/// -64   ALL, MASK, FLAGS, RSP, RIP, UNBLOCKED (8 bytes each), MAGIC (8), owner pid (4), zero (4)
/// </code>
/// </summary>
internal static class SlotImage
{
    /// <summary>Bytes in a slot.</summary>
    public const int Size = 368;

    /// <summary>Offset of HEAL behind a single call: a thread set there goes back to where it was, without a call.</summary>
    public const int Heal = 2;

    /// <summary>So many fds fit in the heal code.</summary>
    public const int MaxHeldFds = 8;

    /// <summary>So many fit if it also stops by itself.</summary>
    public const int MaxHeldFdsOfStopping = 3;

    /// <summary>Bytes of the scratch pages: one for results, one for a table of calls.</summary>
    public const int ScratchBytes = 2 * 4096;

    private const int All = Size - 64, Mask = All + 8, Flags = All + 16, Rsp = All + 24, Rip = All + 32, Unblocked = All + 40, MagicAt = All + 48, OwnerAt = All + 56;
    private const int RestoreBytes = 171, StopBytes = 33, MaxCallBytes = 5 + 4 * 10 + 2 + 3; // of code
    private const ulong Magic = 0x31746f6c53727243; // "CrrSlot1"

    // System call numbers, and SIG_SETMASK of sigprocmask(2).
    private const uint Close = 3, Munmap = 11, RtSigprocmask = 14, RestartSyscall = 219, SigSetmask = 2;
    private const uint Wait4 = 61, WaitAll = 0x40000000, Exit = 60, CloseRange = 436, CloseRangeUnshare = 2; // __WALL of waitpid(2); close_range(2)

    /// <summary>One call, the registers' number and arguments; crstore stops the thread before and behind it.</summary>
    /// <param name="thread">Whose.</param>
    /// <param name="acquires">What the call acquires.</param>
    /// <param name="held">What earlier ones have.</param>
    public static byte[] BuildCall(in LentThread thread, Acquires acquires, in HeldThings held)
    {
        var slot = new byte[Size];
        var code = new CodeWriter(slot.AsSpan(0, All));
        code.Syscall();
        Finish(slot, ref code, thread, acquires, held);
        return slot;
    }

    /// <summary>One call, the registers' number and arguments, then a stop with its result in r8.</summary>
    /// <param name="thread">Whose, with a stop signal.</param>
    /// <param name="acquires">What the call acquires.</param>
    /// <param name="held">What earlier ones have: no more fds than <see cref="MaxHeldFdsOfStopping"/>.</param>
    public static byte[] BuildStoppingCall(in LentThread thread, Acquires acquires, in HeldThings held)
    {
        var slot = new byte[Size];
        var code = new CodeWriter(slot.AsSpan(0, All));
        code.Syscall();
        code.MoveRaxToR8();
        SetMask(ref code, Unblocked);
        if (acquires != Acquires.Nothing) code.MoveR8ToRax();
        Finish(slot, ref code, thread, acquires, held);
        return slot;
    }

    /// <summary>
    /// As many calls as there is room for, and a stop; r9 is negative then if one of them but the last has failed, r8 is the last one's result. The first has its number and arguments
    /// in the registers, with r8 and r9 zero.
    /// </summary>
    /// <param name="thread">Whose, with a stop signal.</param>
    /// <param name="batch">The calls.</param>
    /// <param name="from">The first.</param>
    /// <param name="to">Behind the last.</param>
    /// <param name="heal">Offset of HEAL: a thread set there goes back to where it was, without a call.</param>
    public static byte[] BuildRow(in LentThread thread, CallBatch batch, int from, out int to, out int heal)
    {
        var slot = new byte[Size];
        var code = new CodeWriter(slot.AsSpan(0, All));
        code.Syscall();
        for (to = from + 1; to < batch.Count && code.Offset + MaxCallBytes + StopBytes + RestoreBytes <= All; to++)
        {
            code.OrRaxToR9();
            code.Move(Rax, (uint)batch.Word(to, 0));
            // System calls leave the arguments' registers as they are.
            LoadIfOther(ref code, Rdi, batch, to, 1);
            LoadIfOther(ref code, Rsi, batch, to, 2);
            LoadIfOther(ref code, Rdx, batch, to, 3);
            LoadIfOther(ref code, R10, batch, to, 4);
            code.Syscall();
        }

        code.MoveRaxToR8();
        SetMask(ref code, Unblocked);
        heal = code.Offset;
        Finish(slot, ref code, thread, Acquires.Nothing, default);
        return slot;
    }

    /// <summary>All calls of a <see cref="CallTable"/>, at which rsp is set, with r8 zero (a fifth argument), and a stop.</summary>
    /// <param name="thread">Whose, with a stop signal. The table must be its own: no other thread's heal code may unmap it.</param>
    /// <param name="held">What earlier calls have: no more fds than <see cref="MaxHeldFdsOfStopping"/>.</param>
    public static byte[] BuildTable(in LentThread thread, in HeldThings held)
    {
        const int rest = 5 + 2 + 5 + 2; // the other pops, the call, the store and the jump
        var slot = new byte[Size];
        var code = new CodeWriter(slot.AsSpan(0, All));
        code.Pop(Rax);
        code.SkipIfNegative(rest);
        code.Pop(Rdi);
        code.Pop(Rsi);
        code.Pop(Rdx);
        code.Pop(R10);
        code.Syscall();
        code.StoreRax(-CallTable.EntryBytes);
        code.JumpBack(0);
        // The thread's own again before any signal can come: should it have got a handler since crstore died, its frame goes where it would go anyway.
        code.LoadRsp(Rsp);
        SetMask(ref code, Unblocked);
        Finish(slot, ref code, thread, Acquires.Nothing, held);
        return slot;
    }

    /// <summary>
    /// A copy of the process, made by a helper that is gone when the thread goes on (<see cref="SnapshotBirth"/>), and a stop if the thread has a signal for that, with the result in r8. The registers have
    /// the helper's clone(2), whose other arguments are zero. Whoever of the three is let run by a crstore that dies goes on by itself: the copy and the helper exit, the thread takes the helper's exit.
    /// <code>
    ///            syscall                                     clone: the helper
    ///            test rax, rax; js STOP; jnz PARENT
    ///            close_range(0, ~0, CLOSE_RANGE_UNSHARE)     the helper: no fds, so that the copy keeps none of the target's open
    ///            clone(CLONE_FILES), else on                 the copy has nobody to tell of its end
    ///            exit(result or 0)                           of both
    /// PARENT     wait4(helper, NULL, __WALL, NULL)
    /// </code>
    /// </summary>
    /// <param name="thread">Whose.</param>
    /// <param name="held">What earlier calls have: no fds, for there is no room for the code that would close them.</param>
    public static byte[] BuildSnapshot(in LentThread thread, in HeldThings held)
    {
        const int closing = 2 + 5 + 5 + 5 + 2, cloning = 5 + 2 + 2 + 5 + 2, leaving = 3 + 5 + 2, waiting = 3 + 5 + 5 + 2;
        var slot = new byte[Size];
        var code = new CodeWriter(slot.AsSpan(0, All));
        code.Syscall();
        code.SkipIfNegativeOrPositive(closing + 5 + cloning + leaving + waiting, closing + 5 + cloning + leaving);
        code.Clear(Rdi);
        code.Move(Rsi, uint.MaxValue);
        code.Move(Rdx, CloseRangeUnshare);
        code.Move(Rax, CloseRange);
        code.Syscall();
        code.SkipIfNegative(cloning);
        code.Move(Rdi, (uint)SnapshotBirth.CloneFiles);
        code.Clear(Rsi);
        code.Clear(Rdx);
        code.Move(Rax, (uint)SnapshotBirth.Clone);
        code.Syscall();
        code.MoveRaxToRdi();
        code.Move(Rax, Exit);
        code.Syscall();
        code.MoveRaxToRdi();
        code.Move(Rdx, WaitAll);
        code.Move(Rax, Wait4);
        code.Syscall();
        if (thread.StopSignal != 0)
        {
            code.MoveRaxToR8();
            SetMask(ref code, Unblocked);
        }

        Finish(slot, ref code, thread, Acquires.Nothing, held);
        return slot;
    }

    /// <summary>The process that a slot was written for; 0 for an empty one, null if it holds something else.</summary>
    public static int? Owner(ReadOnlySpan<byte> slot) =>
        BinaryPrimitives.ReadUInt64LittleEndian(slot[MagicAt..]) == Magic ? BinaryPrimitives.ReadInt32LittleEndian(slot[OwnerAt..])
        : slot.ContainsAnyExcept((byte)0) ? null : 0;

    /// <summary>True if a slot's mark stands in the memory of a stopped thread, for a slot at that address.</summary>
    public static bool IsInUse(int tid, ulong slot) => Ptrace.Peek(tid, slot + MagicAt) == Magic;

    private static void Finish(Span<byte> slot, ref CodeWriter code, in LentThread thread, Acquires acquires, in HeldThings held)
    {
        WriteHeal(ref code, acquires, held.Fds ?? [], held.Pages);
        var resumed = Rewind(thread.Saved);
        WriteRestore(ref code, resumed);

        Put(slot, All, Signals.AllBlocked);
        Put(slot, Mask, thread.Mask);
        Put(slot, Flags, resumed.Eflags);
        Put(slot, Rsp, resumed.Rsp);
        Put(slot, Rip, resumed.Rip);
        if (thread.StopSignal != 0) Put(slot, Unblocked, StopSignal.AllBut(thread.StopSignal));
        Put(slot, MagicAt, Magic);
        Put(slot, OwnerAt, (ulong)thread.Pid);
    }

    private static void Put(Span<byte> slot, int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(slot[at..], value);

    private static void LoadIfOther(ref CodeWriter code, CodeWriter.Register register, CallBatch batch, int call, int word)
    {
        var value = batch.Word(call, word);
        if (value == batch.Word(call - 1, word)) return;
        if (value <= uint.MaxValue) code.Move(register, (uint)value);
        else code.MoveLong(register, value);
    }

    private static void WriteHeal(ref CodeWriter code, Acquires acquires, IReadOnlyList<int> heldFds, ulong heldPages)
    {
        switch (acquires)
        {
            case Acquires.Fd:
                code.SkipIfNegative(3 + 5 + 2);
                code.MoveRaxToRdi();
                code.Move(Rax, Close);
                code.Syscall();
                break;
            case Acquires.Pages:
                code.SkipIfErrno(3 + 5 + 5 + 2);
                code.MoveRaxToRdi();
                code.Move(Rsi, ScratchBytes);
                code.Move(Rax, Munmap);
                code.Syscall();
                break;
        }
        foreach (var fd in heldFds)
        {
            code.Move(Rdi, (uint)fd);
            code.Move(Rax, Close);
            code.Syscall();
        }
        if (heldPages == 0) return;
        code.MoveLong(Rdi, heldPages);
        code.Move(Rsi, ScratchBytes);
        code.Move(Rax, Munmap);
        code.Syscall();
    }

    private static void WriteRestore(ref CodeWriter code, in UserRegs to)
    {
        SetMask(ref code, All);
        code.LoadAddressToRsp(Flags);
        code.PopFlags();
        code.LoadRsp(Rsp);
        SetMask(ref code, Mask);
        code.MoveLong(Rax, to.Rax);
        code.MoveLong(Rcx, to.Rcx);
        code.MoveLong(Rdx, to.Rdx);
        code.MoveLong(Rsi, to.Rsi);
        code.MoveLong(Rdi, to.Rdi);
        code.MoveLong(R8, to.R8);
        code.MoveLong(R9, to.R9);
        code.MoveLong(R10, to.R10);
        code.MoveLong(R11, to.R11);
        code.JumpThrough(Rip);
    }

    /// <summary>rt_sigprocmask(SIG_SETMASK, slot + mask, NULL, 8), without touching the flags.</summary>
    private static void SetMask(ref CodeWriter code, int mask)
    {
        code.Move(Rax, RtSigprocmask);
        code.Move(Rdi, SigSetmask);
        code.LoadAddressToRsi(mask);
        code.Move(Rdx, 0);
        code.Move(R10, 8);
        code.Syscall();
    }

    /// <summary>
    /// What the kernel does to a system call cut short by the stop when the thread goes on (arch_do_signal_or_restart), done in
    /// advance, as the kernel won't do it for a thread that comes back through the slot.
    /// </summary>
    private static UserRegs Rewind(UserRegs regs)
    {
        if (regs.OrigRax == UserRegs.NoSyscall) return regs;
        switch ((long)regs.Rax)
        {
            case -512 or -513 or -514: // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND: again from the start
                regs.Rax = regs.OrigRax;
                regs.Rip -= 2;
                break;
            case -516: // ERESTART_RESTARTBLOCK: the kernel still knows how to go on
                regs.Rax = RestartSyscall;
                regs.Rip -= 2;
                break;
        }
        return regs;
    }
}
