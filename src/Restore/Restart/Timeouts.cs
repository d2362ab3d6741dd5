using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Model.Format;

namespace Crstore.Restore.Restart;

/// <summary>Relative timeouts of system calls, less what had passed of them when they were captured.</summary>
internal static class Timeouts
{
    private const int TimespecSize = 16;
    private const long Second = 1_000_000_000, Millisecond = 1_000_000;
    private const ulong RedZone = 128; // System V ABI for x86-64, 3.2.2
    private const uint Writable = 2; // PROT_WRITE
    private const ulong EpollWait = 232, EpollPwait = 281, EpollPwait2 = 441, SigTimedWait = 128, SemTimedOp = 220;
    private static readonly string[] CLibraries = ["libc.so.6", "libc-2.", "ld-musl-x86_64.so.1", "libc.musl-x86_64.so.1"];

    /// <summary>In whole milliseconds, rather one too many. Those without an end, or that don't wait, stay so.</summary>
    public static int Less(int milliseconds, ulong elapsedNs) =>
        milliseconds <= 0 ? milliseconds : (int)Math.Max(0, milliseconds - (long)Math.Min(elapsedNs / Millisecond, int.MaxValue));

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
    /// Calls that the thread makes again from the start, with its own registers: the timeout among them is changed. The C library's functions don't look at
    /// it again, and their callers can't expect these registers back; of code that makes its calls itself that is not known, and its timeout begins anew.
    /// </summary>
    public static void Shorten(ref UserRegs regs, ulong elapsedNs, Puppet puppet, IReadOnlyList<Vma> vmas)
    {
        if (elapsedNs == 0 || !IsInCLibrary(regs.Rip, vmas)) return;
        switch (regs.OrigRax)
        {
            case EpollWait or EpollPwait:
                regs.R10 = (ulong)Less((int)regs.R10, elapsedNs);
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
        && CLibraries.Any(name => Path.GetFileName(vma.Name).StartsWith(name, StringComparison.Ordinal));
}
