using Crstore.Linux;
using Crstore.Linux.Proc;

namespace Crstore.Capture.State;

/// <summary>
/// System calls whose timeout is relative, and that begin anew with all of it when they are made again; syscall_64.tbl. Others write what is left
/// to where their caller gave it (select, ppoll), or know the time at which they end (a sleep until a date, FUTEX_WAIT_BITSET).
/// </summary>
internal static class TimedCalls
{
    /// <summary>By which the kernel goes on with a call that was interrupted, restart_syscall(2).</summary>
    public const ulong Restart = 219;

    private const ulong Poll = 7, Nanosleep = 35, Futex = 202, ClockNanosleep = 230, EpollWait = 232, EpollPwait = 281;
    private const ulong AbsoluteTime = 1; // TIMER_ABSTIME
    private const ulong FutexCommand = 0x7f, FutexWait = 0, FutexWaitBitset = 9; // futex(2), without its flags
    private const ulong FirstAddress = 4096, LastAddress = 0x7fff_ffff_ffff, FirstNegative = 1ul << 31;
    private const uint AnyBit = 0xffffffff; // FUTEX_BITSET_MATCH_ANY

    /// <summary>It has a timeout that is not told by other means.</summary>
    public static bool IsOne(SyscallLine call) => call.Number switch
    {
        // Whatever call that was. Waits until a date look like this: not to be looked at in the freeze, as there may be many (pthread_cond_timedwait).
        Restart => (call.Arguments[1] & FutexCommand) != FutexWaitBitset || (uint)call.Arguments[5] != AnyBit,
        Poll => (int)call.Arguments[2] > 0,
        Nanosleep => call.Arguments[1] == 0,
        ClockNanosleep => SleepClocks.GoWithTime(call.Arguments[0]) && (call.Arguments[1] & AbsoluteTime) == 0 && call.Arguments[3] == 0,
        Futex => (call.Arguments[1] & FutexCommand) == FutexWait && call.Arguments[3] != 0,
        EpollWait or EpollPwait => (int)call.Arguments[3] > 0,
        _ => false,
    };

    /// <summary>
    /// The number of the call that the kernel goes on with, by where in the kernel the thread waits (/proc/PID/task/TID/wchan, proc_pid_wchan(5)): only poll,
    /// futex and the two sleeps are gone on with so (kernel/futex, fs/select.c, kernel/time). 0: that is not told.
    /// </summary>
    /// <param name="call">restart_syscall, with the arguments of the call that was interrupted.</param>
    /// <param name="place">The kernel's function: "0" if it runs or may not be looked at.</param>
    public static uint Restarted(SyscallLine call, ReadOnlySpan<byte> place)
    {
        if (place.Length == 0 || place[0] == '0') return 0;
        if (place.StartsWith("futex_"u8)) return (uint)Futex;
        if (place.StartsWith("poll_"u8)) return (uint)Poll;
        return call.Arguments[0] switch
        {
            < FirstAddress or > LastAddress => (uint)ClockNanosleep, // a clock: a small number, or a negative one for a process's own
            >= FirstNegative and <= uint.MaxValue => 0, // such a one of 32 bits, or nanosleep's address
            _ => (uint)Nanosleep,
        };
    }
}
