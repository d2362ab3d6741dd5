using System.Buffers.Binary;
using Crstore.Linux.Memory;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>Files that the kernel makes without a name: eventfd(2), timerfd_create(2), signalfd(2), epoll(7). All fds are close-on-exec.</summary>
public static unsafe class EventFiles
{
    // syscall_64.tbl; kcmp(2): KCMP_EPOLL_TFD.
    private const long Signalfd4 = 289, Eventfd2 = 290, EpollCreate1 = 291, EpollCtl = 233, EpollAdd = 1, TimerfdCreate = 283, KcmpCall = 312, KcmpEpollTarget = 7;
    private const int CloseOnExec = 0x80000, EventSemaphore = 1; // O_CLOEXEC; EFD_SEMAPHORE, eventfd(2)

    /// <summary>eventfd(2).</summary>
    public static SafeFileHandle CreateEvent(ulong count, bool semaphore)
    {
        var handle = Own(RawSyscall.Checked("eventfd", null, Eventfd2, 0, CloseOnExec | (semaphore ? EventSemaphore : 0)));
        if (count == 0) return handle;
        Span<byte> value = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(value, count);
        RawFile.Write(handle, value, "an eventfd");
        return handle;
    }

    /// <summary>timerfd_create(2), not set.</summary>
    public static SafeFileHandle CreateTimer(int clock) => Own(RawSyscall.Checked("timerfd_create", $"clock {clock}", TimerfdCreate, clock, CloseOnExec));

    /// <summary>signalfd(2).</summary>
    /// <param name="mask">Bit N - 1 for signal N.</param>
    public static SafeFileHandle CreateSignals(ulong mask) => Own(RawSyscall.Checked("signalfd", null, Signalfd4, -1, (long)&mask, sizeof(ulong), CloseOnExec));

    /// <summary>epoll_create1(2).</summary>
    public static SafeFileHandle CreateEpoll() => Own(RawSyscall.Checked("epoll_create1", null, EpollCreate1, CloseOnExec));

    /// <summary>epoll_ctl(2), EPOLL_CTL_ADD; EPERM for a file that can't be waited for.</summary>
    /// <param name="epoll">Watches.</param>
    /// <param name="target">Is watched.</param>
    /// <param name="events">EPOLLIN and others.</param>
    public static void Watch(SafeFileHandle epoll, SafeFileHandle target, uint events)
    {
        Span<byte> what = stackalloc byte[12]; // struct epoll_event, packed
        BinaryPrimitives.WriteUInt32LittleEndian(what, events);
        fixed (byte* pointer = what)
            RawSyscall.Checked("epoll_ctl", null, EpollCtl, epoll.DangerousGetHandle(), EpollAdd, target.DangerousGetHandle(), (long)pointer);
    }

    /// <summary>
    /// True if an epoll's entry for a number is what another fd refers to now: kcmp(2). False as well where the kernel won't tell, or has
    /// no such entry.
    /// </summary>
    /// <param name="pid">Has both.</param>
    /// <param name="epoll">fd of the epoll.</param>
    /// <param name="target">The number under which it was added.</param>
    /// <param name="nth">From 0, of several entries with that number.</param>
    /// <param name="fd">The other fd.</param>
    public static bool IsTarget(int pid, int epoll, int target, int nth, int fd)
    {
        var slot = stackalloc uint[] { (uint)epoll, (uint)target, (uint)nth }; // struct kcmp_epoll_slot
        return RawSyscall.Invoke(KcmpCall, pid, pid, KcmpEpollTarget, fd, (long)slot) == 0;
    }

    private static SafeFileHandle Own(long fd) => new((nint)fd, ownsHandle: true);
}
