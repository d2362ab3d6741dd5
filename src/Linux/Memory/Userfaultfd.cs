using System.Runtime.InteropServices;
using Crstore.Linux.Files;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Memory;

/// <summary>A userfaultfd of this or (taken by pidfd_getfd) of another process: ioctl_userfaultfd(2). Ioctls act on the address space that created it.</summary>
public sealed partial class Userfaultfd : IDisposable
{
    /// <summary>Syscall number, x86-64.</summary>
    public const long SyscallNumber = 323;

    /// <summary>O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY (1, kernel 5.11), userfaultfd(2): the flags that need no privilege.</summary>
    public const long CreateFlags = 0x80000 | 0x800 | 1;

    /// <summary>The same without UFFD_USER_MODE_ONLY: faults of the kernel, for a system call with a buffer there, wait too. Needs CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd.</summary>
    public const long CreateFlagsForKernelFaults = CreateFlags & ~1;

    private const ulong ApiVersion = 0xAA;                  // UFFD_API, linux/userfaultfd.h
    private const ulong FeaturePagefaultFlagWp = 1 << 0;    // UFFD_FEATURE_PAGEFAULT_FLAG_WP
    private const ulong FeatureWpHugetlbfsShmem = 1 << 12;  // UFFD_FEATURE_WP_HUGETLBFS_SHMEM
    private const ulong FeatureWpUnpopulated = 1 << 13;     // UFFD_FEATURE_WP_UNPOPULATED, kernel 6.4
    private const ulong FeatureWpAsync = 1 << 15;           // UFFD_FEATURE_WP_ASYNC, kernel 6.7
    private const ulong RequestApi = 0xC018AA3F;            // _IOWR(0xAA, 0x3F, struct uffdio_api)
    private const ulong RequestRegister = 0xC020AA00;       // _IOWR(0xAA, 0x00, struct uffdio_register)
    private const ulong RequestUnregister = 0x8010AA01;     // _IOR(0xAA, 0x01, struct uffdio_range)
    private const ulong RequestWriteProtect = 0xC018AA06;   // _IOWR(0xAA, 0x06, struct uffdio_writeprotect)
    private const ulong RequestWake = 0x8010AA02;           // _IOR(0xAA, 0x02, struct uffdio_range)
    private const ulong RequestCopy = 0xC028AA03;           // _IOWR(0xAA, 0x03, struct uffdio_copy)
    private const ulong RequestZeroPage = 0xC020AA04;       // _IOWR(0xAA, 0x04, struct uffdio_zeropage)
    private const ulong RegisterModeMissing = 1;            // UFFDIO_REGISTER_MODE_MISSING
    private const ulong RegisterModeWp = 2;                 // UFFDIO_REGISTER_MODE_WP
    private const ulong DontWake = 1;                       // UFFDIO_COPY_MODE_DONTWAKE

    private readonly SafeFileHandle _file;

    /// <summary>Takes ownership of the fd.</summary>
    public Userfaultfd(SafeFileHandle file) => _file = file;

    /// <summary>One for the calling process itself; -errno in <paramref name="error"/> if null.</summary>
    public static Userfaultfd? TryCreate(out int error) => TryCreate(CreateFlags, out error);

    /// <summary>The same with flags of the caller's choice.</summary>
    public static Userfaultfd? TryCreate(long flags, out int error)
    {
        var fd = Syscall(SyscallNumber, flags, 0, 0);
        error = fd < 0 ? Marshal.GetLastPInvokeError() : 0;
        return fd < 0 ? null : new Userfaultfd(new SafeFileHandle((nint)fd, true));
    }

    /// <summary>
    /// UFFDIO_API with asynchronous write protection. Returns 0 or the errno: EINVAL on a kernel before 6.7, and on an fd that
    /// has been through it already.
    /// </summary>
    public int EnableAsyncWriteProtect()
    {
        var api = new ApiArg { Api = ApiVersion, Features = FeaturePagefaultFlagWp | FeatureWpHugetlbfsShmem | FeatureWpUnpopulated | FeatureWpAsync };
        return IoctlApi(_file, RequestApi, ref api) < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>UFFDIO_API without any feature, for <see cref="RegisterMissing"/>. Returns 0 or the errno.</summary>
    public int Enable()
    {
        var api = new ApiArg { Api = ApiVersion };
        return IoctlApi(_file, RequestApi, ref api) < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>
    /// UFFDIO_REGISTER for missing pages, which <see cref="TryCopy"/> makes from then on: whoever touches one before waits for that,
    /// process_vm_writev included. Returns 0 or the errno.
    /// </summary>
    public int RegisterMissing(ulong start, ulong lengthBytes)
    {
        var arg = new RegisterArg { Start = start, Length = lengthBytes, Mode = RegisterModeMissing };
        return IoctlRegister(_file, RequestRegister, ref arg) < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>
    /// UFFDIO_COPY: makes missing pages with that content, without the fault, the clearing and the pinning of process_vm_writev. Thread
    /// safe. Returns the bytes copied, which is less than given where a page can't be made; -errno if that is the first (EEXIST: it is there).
    /// </summary>
    public unsafe long TryCopy(ulong at, ReadOnlySpan<byte> pages)
    {
        fixed (byte* source = pages)
        {
            var arg = new CopyArg { To = at, From = (ulong)source, Length = (ulong)pages.Length, Mode = DontWake };
            if (IoctlCopy(_file, RequestCopy, ref arg) >= 0) return pages.Length;
            return arg.Copied > 0 ? arg.Copied : -Marshal.GetLastPInvokeError();
        }
    }

    /// <summary>UFFDIO_ZEROPAGE: makes a missing page of zeros. Returns 0 or the errno (EEXIST: it is there).</summary>
    public int TryZero(ulong page)
    {
        var arg = new ZeroArg { Start = page, Length = VirtualPage.Size, Mode = DontWake };
        return IoctlZero(_file, RequestZeroPage, ref arg) < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>UFFDIO_WAKE: whoever waits for a page of the range looks again. Returns 0 or the errno.</summary>
    public int Wake(ulong start, ulong lengthBytes)
    {
        var arg = new RangeArg { Start = start, Length = lengthBytes };
        return IoctlRange(_file, RequestWake, ref arg) < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>Takes the message of a thread that waits for a missing page; false if there is none (the fd is non-blocking).</summary>
    /// <param name="address">What it has touched, to the page.</param>
    public unsafe bool TryReadFault(out ulong address)
    {
        const int size = 32;        // struct uffd_msg: event at 0, of a fault flags at 8, address at 16
        const byte pageFault = 0x12; // UFFD_EVENT_PAGEFAULT
        var message = stackalloc byte[size];
        address = 0;
        var n = RawSyscall.Invoke(RawSyscall.Read, _file.DangerousGetHandle(), (long)message, size);
        if (n < 0)
        {
            var errno = Marshal.GetLastPInvokeError();
            return errno is Errno.EAGAIN or Errno.EINTR ? false : throw new LinuxException("read", errno, "a userfaultfd");
        }

        if (n != size || message[0] != pageFault) throw new LinuxException("read", Errno.EIO, $"a userfaultfd: event {message[0]} of {n} bytes");
        address = *(ulong*)(message + 16) & ~(ulong)(VirtualPage.Size - 1);
        return true;
    }

    /// <summary>For poll(2), and to be inherited.</summary>
    public SafeFileHandle Handle => _file;

    /// <summary>
    /// UFFDIO_REGISTER for write protection: the VMA becomes trackable, nothing is protected yet. Idempotent for the same
    /// userfaultfd. Returns 0 or the errno: EBUSY if another userfaultfd has it, EINVAL or EPERM if it cannot have one.
    /// </summary>
    public int Register(ulong start, ulong lengthBytes)
    {
        var arg = new RegisterArg { Start = start, Length = lengthBytes, Mode = RegisterModeWp };
        return IoctlRegister(_file, RequestRegister, ref arg) < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>
    /// UFFDIO_WRITEPROTECT with mode 0: takes the protection and its mark off every page of a registered range, which all read as
    /// written from then on. Returns 0 or the errno.
    /// </summary>
    public int Unprotect(ulong start, ulong lengthBytes)
    {
        var arg = new WriteProtectArg { Start = start, Length = lengthBytes };
        return IoctlWriteProtect(_file, RequestWriteProtect, ref arg) < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>UFFDIO_UNREGISTER: protection in the range is gone. Returns 0 or the errno.</summary>
    public int Unregister(ulong start, ulong lengthBytes)
    {
        var arg = new RangeArg { Start = start, Length = lengthBytes };
        return IoctlRange(_file, RequestUnregister, ref arg) < 0 ? Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>What fstat says: the inode is unique to this userfaultfd (kernel 5.12, anon_inode_getfd_secure).</summary>
    public ulong Inode => FileStatus.Of(_file).Inode;

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    [StructLayout(LayoutKind.Sequential)]
    private struct ApiArg
    {
        public ulong Api, Features, Ioctls;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct RegisterArg
    {
        public ulong Start, Length, Mode, Ioctls;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct RangeArg
    {
        public ulong Start, Length;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct WriteProtectArg
    {
        public ulong Start, Length, Mode;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct CopyArg
    {
        public ulong To, From, Length, Mode;
        public long Copied;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ZeroArg
    {
        public ulong Start, Length, Mode;
        public long Zeroed;
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long Syscall(long number, long a0, long a1, long a2);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlApi(SafeFileHandle fd, ulong request, ref ApiArg arg);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlRegister(SafeFileHandle fd, ulong request, ref RegisterArg arg);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlRange(SafeFileHandle fd, ulong request, ref RangeArg arg);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlWriteProtect(SafeFileHandle fd, ulong request, ref WriteProtectArg arg);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlCopy(SafeFileHandle fd, ulong request, ref CopyArg arg);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int IoctlZero(SafeFileHandle fd, ulong request, ref ZeroArg arg);
}
