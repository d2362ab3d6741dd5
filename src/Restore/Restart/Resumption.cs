using System.Buffers.Binary;
using Crstore.Linux;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Restore.Restart;

/// <summary>
/// System calls that the capture cut short with ERESTART_RESTARTBLOCK: the kernel goes on with them by restart_syscall(2), from a record that
/// ended with the old thread. The new thread makes the call too and is interrupted at once, so that it has such a record. A relative
/// sleep is made for what was left of it, where the kernel has written that down; other timeouts begin anew.
/// </summary>
internal static class Resumption
{
    private const ulong RestartBlock = unchecked((ulong)-516); // -ERESTART_RESTARTBLOCK, linux/errno.h
    private const ulong Nanosleep = 35, ClockNanosleep = 230, Poll = 7, Futex = 202, RestartSyscall = 219;
    private const int CodeBytes = 64;
    private const int TimespecSize = 16;

    /// <summary>The registers that the thread is to go on with.</summary>
    public static UserRegs Prepare(Puppet puppet, Thread thread)
    {
        var regs = UserRegs.FromBytes(thread.Registers.Span);
        if (regs.OrigRax == UserRegs.NoSyscall || regs.Rax != RestartBlock) return regs;
        if (regs.OrigRax == RestartSyscall)
        {
            // Interrupted twice, by two captures: the thread was in restart_syscall(2) itself. Its code still says which call it was.
            if (Number(puppet, regs.Rip) is not { } number) return regs;
            regs.OrigRax = number;
        }

        puppet.Flush();
        Span<long> arguments = [(long)regs.Rdi, (long)regs.Rsi, (long)regs.Rdx, (long)regs.R10, (long)regs.R8, (long)regs.R9];
        if (regs.OrigRax == Nanosleep && Rest(regs.Rsi, puppet) is { } rest) arguments[0] = rest;
        if (regs.OrigRax == ClockNanosleep && Rest(regs.R10, puppet) is { } left) arguments[2] = left;
        var result = puppet.CallInterrupted($"system call {regs.OrigRax} of thread {thread.Tid}", (long)regs.OrigRax, arguments);
        regs.Rax = (ulong)result;
        if (regs.Rax != RestartBlock) regs.OrigRax = UserRegs.NoSyscall;
        return regs;
    }

    // The last `mov eax, NUMBER` in front of the syscall instruction, if it is of a call that the kernel restarts so.
    private static ulong? Number(Puppet puppet, ulong rip)
    {
        const byte moveToEax = 0xb8;
        var code = new byte[CodeBytes];
        puppet.Read(rip - CodeBytes, code);
        for (var at = CodeBytes - 2 - 5; at >= 0; at--)
        {
            if (code[at] == moveToEax && BinaryPrimitives.ReadUInt32LittleEndian(code.AsSpan(at + 1)) is var number && (ulong)number is Nanosleep or ClockNanosleep or Poll or Futex)
                return number;
        }

        return null;
    }

    // Interrupted, the kernel writes the time that was left to where the caller asked for it, nanosleep(2).
    private static long? Rest(ulong address, Puppet puppet)
    {
        if (address == 0) return null;
        Span<byte> time = stackalloc byte[TimespecSize];
        puppet.Read(address, time);
        var valid = BinaryPrimitives.ReadInt64LittleEndian(time) >= 0 && BinaryPrimitives.ReadInt64LittleEndian(time[8..]) is >= 0 and < 1_000_000_000;
        return valid ? (long)puppet.Place(time) : null;
    }
}
