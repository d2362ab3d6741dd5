using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Model.Format;
using Crstore.Objects.Processes;

namespace Crstore.Restore.Restart;

/// <summary>Relative timeouts of system calls, less what had passed of them when they were captured.</summary>
internal static class Timeouts
{
    private const int TimespecSize = 16;
    private const long Second = 1_000_000_000;
    private const ulong RedZone = 128; // System V ABI for x86-64, 3.2.2
    private const uint Writable = 2; // PROT_WRITE
    private const ulong EpollPwait2 = 441, SigTimedWait = 128, SemTimedOp = 220;

    /// <summary>A struct timespec of the process; null if there is none.</summary>
    public static byte[]? Less(ulong address, ulong elapsedNs, Puppet puppet)
    {
        var time = new byte[TimespecSize];
        if (address == 0 || !puppet.TryRead(address, time)) return null;
        var (seconds, nanoseconds) = (BinaryPrimitives.ReadInt64LittleEndian(time), BinaryPrimitives.ReadInt64LittleEndian(time.AsSpan(8)));
        if (seconds < 0 || nanoseconds is < 0 or >= Second) return null;
        var left = Int128.Max((Int128)seconds * Second + nanoseconds - elapsedNs, 0);
        BinaryPrimitives.WriteInt64LittleEndian(time, (long)(left / Second));
        BinaryPrimitives.WriteInt64LittleEndian(time.AsSpan(8), (long)(left % Second));
        return time;
    }

    /// <summary>
    /// Calls that the thread makes again from the start, with its own registers: the timeout among them is changed, if the C library made the call
    /// (<see cref="RepeatedWait"/>); else it begins anew.
    /// </summary>
    public static void Shorten(ref UserRegs regs, ulong elapsedNs, Puppet puppet, IReadOnlyList<Vma> vmas)
    {
        if (elapsedNs == 0 || !IsInCLibrary(regs.Rip, vmas)) return;
        switch (regs.OrigRax)
        {
            case var call when RepeatedWait.IsOne(call):
                regs.R10 = (ulong)RepeatedWait.Less((int)regs.R10, elapsedNs);
                break;
            case EpollPwait2 or SemTimedOp:
                regs.R10 = Below(regs.Rsp, Less(regs.R10, elapsedNs, puppet), puppet, vmas) ?? regs.R10;
                break;
            case SigTimedWait:
                regs.Rdx = Below(regs.Rsp, Less(regs.Rdx, elapsedNs, puppet), puppet, vmas) ?? regs.Rdx;
                break;
        }
    }

    // Behind the red zone of the stack: any signal handler may write there, so nobody has anything there. The kernel reads it before any could run.
    private static ulong? Below(ulong stackPointer, byte[]? time, Puppet puppet, IReadOnlyList<Vma> vmas)
    {
        var at = (stackPointer - RedZone - TimespecSize) & ~15ul;
        if (time is null || !vmas.Any(v => v.Start <= at && at + TimespecSize <= v.End && !v.Shared && (v.Protection & Writable) != 0)) return null;
        puppet.Write(at, time);
        return at;
    }

    private static bool IsInCLibrary(ulong address, IReadOnlyList<Vma> vmas) =>
        vmas.FirstOrDefault(v => v.Start <= address && address < v.End) is { } vma
        && RepeatedWait.IsCLibrary(vma.Name);
}
