using System.Buffers.Binary;
using Crstore.Linux;
using Crstore.Linux.Memory;

namespace Crstore.Restore.Restart.Lazy;

/// <summary>What a system call could do to memory that is still to be filled.</summary>
internal enum Effect
{
    /// <summary>Nothing; it may read and write it, as the program does.</summary>
    None,

    /// <summary>It gives back, moves, locks or replaces memory of a range, or can't wait for a page of it.</summary>
    OfRange,

    /// <summary>It copies or replaces all memory, or gives others a way to change it unseen.</summary>
    OfAll,
}

/// <summary>System calls that change mappings, by number (syscall_64.tbl) and arguments: at their entry, from the registers, which nobody can change meanwhile.</summary>
internal static class ReleasingCalls
{
    private const ulong Mmap = 9, Munmap = 11, Brk = 12, Ioctl = 16, Mremap = 25, Madvise = 28, Shmat = 30, Clone = 56, Fork = 57, Vfork = 58, Execve = 59,
        Ptrace = 101, Mlock = 149, MlockAll = 151, Prctl = 157, Futex = 202, SetTidAddress = 218, SetRobustList = 273, RemapFilePages = 216, Execveat = 322, Userfaultfd = 323, Mlock2 = 325, IoUringSetup = 425,
        Clone3 = 435, ProcessMadvise = 440, ProcessMrelease = 448, Mseal = 462, FirstUnknown = 463;

    private const ulong MapFixed = 0x10, MapFixedNoReplace = 0x100000;  // mmap(2)
    private const ulong RemapFixed = 2;                                 // MREMAP_FIXED, mremap(2)
    private const ulong NewUserfaultfd = 0xAA00;                        // USERFAULTFD_IOC_NEW, ioctl_userfaultfd(2)
    private const ulong CloneUntraced = 0x00800000;                     // CLONE_UNTRACED, clone(2)
    private const ulong CloneThread = SystemCalls.CloneVm | SystemCalls.CloneThread;

    // FUTEX_WAKE_OP, _LOCK_PI, _TRYLOCK_PI, _CMP_REQUEUE_PI and _LOCK_PI2, futex(2), without their flags.
    private const ulong FutexCommand = 0x7f, FutexWakeOp = 5, FutexLockPi = 6, FutexTryLockPi = 8, FutexCompareRequeuePi = 12, FutexLockPi2 = 13;

    /// <summary>What a call does.</summary>
    /// <param name="call">At its entry.</param>
    /// <param name="tid">Who makes it.</param>
    /// <param name="space">Its memory.</param>
    /// <param name="ranges">Gets the ranges, by their first address and that behind the last.</param>
    public static Effect Of(in SyscallStop call, int tid, LazySpace space, List<(ulong Start, ulong End)> ranges)
    {
        ranges.Clear();
        if (!call.Is64) return Effect.OfAll;
        switch (call.Number)
        {
            case Munmap or Madvise or Mlock or Mlock2 or Mseal or RemapFilePages:
                Add(call[0], call[1]);
                break;
            case Mmap:
                if ((call[3] & (MapFixed | MapFixedNoReplace)) == MapFixed) Add(call[0], call[1]);
                break;
            case Mremap:
                Add(call[0], call[1]);
                if ((call[3] & RemapFixed) != 0) Add(call[4], call[2]);
                break;
            case Brk: // less than there is
                var layout = space.Message.Layout;
                if (call[0] >= layout.StartBrk && call[0] < layout.Brk) Add(call[0], layout.Brk - call[0]);
                break;
            case SetTidAddress: // here and below: what the kernel touches when a thread exits must be there
                Add(call[0], sizeof(int));
                break;
            case SetRobustList:
                Add(call[0], call[1]);
                break;
            case Clone:
                if (!IsTracedThread(call[0])) return Effect.OfAll;
                Add(call[3], sizeof(int));
                break;
            case Clone3:
                var (flags, tidAddress) = Arguments(tid, space, call[0]);
                if (!IsTracedThread(flags)) return Effect.OfAll;
                Add(tidAddress, sizeof(int));
                break;
            case Futex: // the kernel waits for no page to change it, but says EFAULT (fault_in_user_writeable, kernel/futex/core.c)
                switch (call[1] & FutexCommand)
                {
                    case FutexWakeOp or FutexCompareRequeuePi:
                        Add(call[0], sizeof(int));
                        Add(call[4], sizeof(int));
                        break;
                    case FutexLockPi or FutexTryLockPi or FutexLockPi2:
                        Add(call[0], sizeof(int));
                        break;
                }

                break;
            case Ioctl:
                return (uint)call[1] == NewUserfaultfd ? Effect.OfAll : Effect.None;
            case Prctl:
                return (int)call[0] == SystemCalls.PrSetMm ? Effect.OfAll : Effect.None;
            case Fork or Vfork or Execve or Execveat or Shmat or Ptrace or MlockAll or Userfaultfd or IoUringSetup or ProcessMadvise or ProcessMrelease or >= FirstUnknown:
                return Effect.OfAll;
        }

        return ranges.Count > 0 ? Effect.OfRange : Effect.None;

        void Add(ulong start, ulong length)
        {
            // The kernel refuses what overflows; nothing is then lost by doing too much.
            if (length > 0) ranges.Add((start, start + length < start ? ulong.MaxValue : start + length));
        }
    }

    private static bool IsTracedThread(ulong flags) => (flags & (CloneThread | CloneUntraced)) == CloneThread;

    // Of struct clone_args. Their page is made here: whoever reads it would wait for ever if it could not be made. Where another thread changes it meanwhile, a process is born that is seen at its birth.
    private static (ulong Flags, ulong TidAddress) Arguments(int tid, LazySpace space, ulong at)
    {
        var begin = new byte[24]; // flags, pidfd, child_tid
        space.Serve(at);
        space.Serve(at + (ulong)begin.Length - 1);
        return RemoteMemory.TryRead(tid, [new RemoteSpan(at, (ulong)begin.Length)], begin) == begin.Length
            ? (BinaryPrimitives.ReadUInt64LittleEndian(begin), BinaryPrimitives.ReadUInt64LittleEndian(begin.AsSpan(16)))
            : default;
    }
}
