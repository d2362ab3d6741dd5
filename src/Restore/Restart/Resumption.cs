using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Model.Format;
using Crstore.Objects.Processes;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Restore.Restart;

/// <summary>
/// System calls that the capture cut short with ERESTART_RESTARTBLOCK: the kernel goes on with them by restart_syscall(2), from a record that
/// ended with the old thread. The new thread makes the call too and is interrupted at once, so that it has such a record. A relative
/// timeout is made to be what was left of it: as the kernel has written that down for those who asked for it, else as the capture has proved it. Where
/// it could not, the timeout begins anew. So with calls that the thread makes again itself (<see cref="Timeouts"/>).
/// </summary>
internal static class Resumption
{
    private const ulong RestartBlock = unchecked((ulong)-516), RestartNoHandler = unchecked((ulong)-514); // -ERESTART_RESTARTBLOCK, -ERESTARTNOHAND, linux/errno.h
    private const ulong Nanosleep = 35, ClockNanosleep = 230, Poll = 7, Futex = 202, RestartSyscall = 219;
    private const ulong FutexWait = 0, FutexCommand = 0x7f; // futex(2), without its flags
    private const int CodeBytes = 64;

    /// <summary>The registers that the thread is to go on with.</summary>
    public static UserRegs Prepare(Puppet puppet, Thread thread, IReadOnlyList<Vma> vmas)
    {
        var regs = UserRegs.FromBytes(thread.Registers.Span);
        var elapsed = thread.Sleep?.ElapsedNs ?? 0;
        if (regs.Rax == RestartNoHandler) Timeouts.Shorten(ref regs, elapsed, vmas);
        if (regs.OrigRax == UserRegs.NoSyscall || regs.Rax != RestartBlock) return regs;
        if (regs.OrigRax == RestartSyscall)
        {
            // Interrupted twice, by two captures: the thread was in restart_syscall(2) itself. The first one knew which call it was, or its code still says so.
            regs.OrigRax = thread.Sleep?.Call is > 0 and var known ? known : Number(puppet, regs.Rip) ?? RestartSyscall;
            if (regs.OrigRax == RestartSyscall) return regs;
        }

        puppet.Flush();
        Span<long> arguments = [(long)regs.Rdi, (long)regs.Rsi, (long)regs.Rdx, (long)regs.R10, (long)regs.R8, (long)regs.R9];
        switch (regs.OrigRax)
        {
            case Nanosleep:
                arguments[0] = Rest(regs.Rsi, puppet) ?? Less(regs.Rdi, elapsed, puppet) ?? arguments[0];
                break;
            case ClockNanosleep:
                arguments[2] = Rest(regs.R10, puppet) ?? Less(regs.Rdx, SleepClocks.GoWithTime(regs.Rdi) ? elapsed : 0, puppet) ?? arguments[2];
                break;
            case Futex when (regs.Rsi & FutexCommand) == FutexWait: // the others have a date
                arguments[3] = Less(regs.R10, elapsed, puppet) ?? arguments[3];
                break;
            case Poll:
                arguments[2] = RepeatedWait.Less((int)regs.Rdx, elapsed);
                break;
        }

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
    private static long? Rest(ulong address, Puppet puppet) => Less(address, 0, puppet);

    // In a place of its own: the caller's stays as it was.
    private static long? Less(ulong address, ulong elapsedNs, Puppet puppet) =>
        Timeouts.Less(address, elapsedNs, puppet) is { } time ? (long)puppet.Place(time) : null;
}
