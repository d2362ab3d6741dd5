using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>Locks that belong to an open file: flock(2), and fcntl(2) F_OFD_SETLK.</summary>
public static unsafe class LockCalls
{
    /// <summary>Of struct flock: type, whence, start, length, pid.</summary>
    public const int FlockSize = 32;

    // syscall_64.tbl; fcntl(2): F_OFD_SETLK; flock(2): LOCK_SH, LOCK_EX, LOCK_NB.
    private const long Fcntl = 72, Flock = 73, OpenFileSetLock = 37, Shared = 1, Exclusive = 2, NonBlocking = 4;

    /// <summary>struct flock, counted from the start of the file.</summary>
    /// <param name="write">F_WRLCK, else F_RDLCK.</param>
    /// <param name="start">First byte.</param>
    /// <param name="length">0: to the end, however far that moves.</param>
    public static byte[] Record(bool write, long start, long length)
    {
        var record = new byte[FlockSize];
        BinaryPrimitives.WriteInt16LittleEndian(record, (short)(write ? 1 : 0));
        BinaryPrimitives.WriteInt64LittleEndian(record.AsSpan(8), start);
        BinaryPrimitives.WriteInt64LittleEndian(record.AsSpan(16), length);
        return record;
    }

    /// <summary>flock(2), without waiting: 0 or the errno.</summary>
    public static int TryFlock(SafeFileHandle file, bool exclusive) =>
        RawSyscall.Errno(Flock, file.DangerousGetHandle(), (exclusive ? Exclusive : Shared) | NonBlocking);

    /// <summary>F_OFD_SETLK: 0 or the errno.</summary>
    public static int TryLock(SafeFileHandle file, ReadOnlySpan<byte> record)
    {
        fixed (byte* at = record) return RawSyscall.Errno(Fcntl, file.DangerousGetHandle(), OpenFileSetLock, (long)at);
    }
}
