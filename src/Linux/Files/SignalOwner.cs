using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>To whom a file that has something to say (O_ASYNC; urgent data of a socket) sends a signal, and which: fcntl(2), F_SETOWN_EX and F_SETSIG.</summary>
/// <param name="Type">What the id is of: a thread F_OWNER_TID 0, a process F_OWNER_PID 1, a group F_OWNER_PGRP 2.</param>
/// <param name="Id">As crstore sees it; 0: nobody, or one that has ended.</param>
/// <param name="Signal">0: SIGIO, without saying of which file.</param>
public readonly unsafe record struct SignalOwner(int Type, int Id, int Signal)
{
    /// <summary>F_SETSIG.</summary>
    public const int SetSignal = 10;

    /// <summary>F_SETOWN_EX: takes a struct f_owner_ex, type and id.</summary>
    public const int SetOwner = 15;

    private const long Fcntl = 72; // syscall_64.tbl
    private const int GetSignal = 11, GetOwner = 16;

    /// <summary>Of a file.</summary>
    public static SignalOwner Of(SafeFileHandle file)
    {
        var owner = stackalloc int[2];
        RawSyscall.Checked("fcntl(F_GETOWN_EX)", null, Fcntl, file.DangerousGetHandle(), GetOwner, (long)owner);
        return new SignalOwner(owner[0], owner[1], (int)RawSyscall.Checked("fcntl(F_GETSIG)", null, Fcntl, file.DangerousGetHandle(), GetSignal));
    }
}
