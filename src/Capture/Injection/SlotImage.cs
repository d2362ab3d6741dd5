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

    /// <summary>A new mapping of one page: unmap it.</summary>
    Page,
}

/// <summary>
/// The code and data of one slot. A thread whose rip is at its start makes one system call; if nobody stops it behind that
/// (crstore is dead), it goes on by itself: HEAL gives back what was acquired, RESTORE puts back signal mask, flags, stack pointer
/// and the registers that the calling convention lets calls clobber, and jumps to where the thread was. The other registers, segment
/// bases and floating point state were never changed.
/// <code>
/// 0     syscall
/// 2     HEAL     this call's fd or mapping if it succeeded, then all that earlier calls still hold
///       RESTORE  rt_sigprocmask(SIG_SETMASK, ALL)        no signal frame may be pushed while rsp is not the stack
///                lea rsp, FLAGS; popfq; mov rsp, RSP     from here on no instruction changes the flags (syscall keeps them)
///                rt_sigprocmask(SIG_SETMASK, MASK)
///                movabs rax, rcx, rdx, rsi, rdi, r8-r11
///                jmp [RIP]
/// -56   ALL, MASK, FLAGS, RSP, RIP (8 bytes each), MAGIC (8), owner pid (4), zero (4)
/// </code>
/// </summary>
internal static class SlotImage
{
    /// <summary>Bytes in a slot.</summary>
    public const int Size = 368;

    /// <summary>Offset of HEAL: a thread set there goes back to where it was, without a call.</summary>
    public const int Heal = 2;

    /// <summary>So many fds fit in the heal code.</summary>
    public const int MaxHeldFds = 8;

    private const int All = Size - 56, Mask = All + 8, Flags = All + 16, Rsp = All + 24, Rip = All + 32, MagicAt = All + 40, OwnerAt = All + 48;
    private const ulong Magic = 0x31746f6c53727243; // "CrrSlot1"

    // System call numbers, and SIG_SETMASK of sigprocmask(2).
    private const uint Close = 3, Munmap = 11, RtSigprocmask = 14, RestartSyscall = 219, SigSetmask = 2;

    /// <summary>Builds a slot.</summary>
    /// <param name="pid">The process, for whoever finds the slot left over.</param>
    /// <param name="saved">Registers of the thread in its stop.</param>
    /// <param name="mask">Its signal mask.</param>
    /// <param name="acquires">What the call at the start acquires.</param>
    /// <param name="heldFds">Fds to close.</param>
    /// <param name="heldPage">A page to unmap; 0 for none.</param>
    public static byte[] Build(int pid, in UserRegs saved, ulong mask, Acquires acquires, IReadOnlyList<int> heldFds, ulong heldPage)
    {
        var slot = new byte[Size];
        var code = new CodeWriter(slot.AsSpan(0, All));
        code.Syscall();
        WriteHeal(ref code, acquires, heldFds, heldPage);
        var resumed = Rewind(saved);
        WriteRestore(ref code, resumed);

        Put(All, Signals.AllBlocked);
        Put(Mask, mask);
        Put(Flags, resumed.Eflags);
        Put(Rsp, resumed.Rsp);
        Put(Rip, resumed.Rip);
        Put(MagicAt, Magic);
        Put(OwnerAt, (ulong)pid);
        return slot;

        void Put(int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(slot.AsSpan(at), value);
    }

    /// <summary>The process that a slot was written for; 0 for an empty one, null if it holds something else.</summary>
    public static int? Owner(ReadOnlySpan<byte> slot) =>
        BinaryPrimitives.ReadUInt64LittleEndian(slot[MagicAt..]) == Magic ? BinaryPrimitives.ReadInt32LittleEndian(slot[OwnerAt..])
        : slot.ContainsAnyExcept((byte)0) ? null : 0;

    private static void WriteHeal(ref CodeWriter code, Acquires acquires, IReadOnlyList<int> heldFds, ulong heldPage)
    {
        switch (acquires)
        {
            case Acquires.Fd:
                code.SkipIfNegative(3 + 5 + 2);
                code.MoveRaxToRdi();
                code.Move(Rax, Close);
                code.Syscall();
                break;
            case Acquires.Page:
                code.SkipIfErrno(3 + 5 + 5 + 2);
                code.MoveRaxToRdi();
                code.Move(Rsi, 4096);
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
        if (heldPage == 0) return;
        code.MoveLong(Rdi, heldPage);
        code.Move(Rsi, 4096);
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
