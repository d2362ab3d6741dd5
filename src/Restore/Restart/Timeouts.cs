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
    /// (<see cref="RepeatedWait"/>); else it begins anew. A timespec is nowhere in the process's memory where no signal handler could overwrite it before the call is made.
    /// </summary>
    public static void Shorten(ref UserRegs regs, ulong elapsedNs, IReadOnlyList<Vma> vmas)
    {
        if (elapsedNs > 0 && RepeatedWait.IsOne(regs.OrigRax) && IsInCLibrary(regs.Rip, vmas)) regs.R10 = (ulong)RepeatedWait.Less((int)regs.R10, elapsedNs);
    }

    private static bool IsInCLibrary(ulong address, IReadOnlyList<Vma> vmas) =>
        vmas.FirstOrDefault(v => v.Start <= address && address < v.End) is { } vma
        && RepeatedWait.IsCLibrary(vma.Name);
}
