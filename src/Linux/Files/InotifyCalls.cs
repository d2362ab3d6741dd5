using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using Crstore.Linux.Memory;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>inotify(7), and finding a file again by its handle: open_by_handle_at(2).</summary>
public static unsafe class InotifyCalls
{
    // syscall_64.tbl; open(2): O_CLOEXEC, O_NONBLOCK, O_PATH; ioctl_list(2): FIONREAD.
    private const long Ioctl = 16, AddWatchCall = 254, RemoveWatchCall = 255, Init1 = 294, OpenByHandleAt = 304, ReadableBytes = 0x541b;
    private const int CloseOnExec = 0x80000, NonBlock = 0x800, PathOnly = 0x200000;

    /// <summary>inotify_init1(2): an instance that doesn't block.</summary>
    public static SafeFileHandle Create() => new((nint)RawSyscall.Checked("inotify_init1", null, Init1, CloseOnExec | NonBlock), ownsHandle: true);

    /// <summary>inotify_add_watch(2) on an open file.</summary>
    /// <returns>The watch descriptor.</returns>
    public static int AddWatch(SafeFileHandle inotify, SafeFileHandle file, uint mask)
    {
        var path = Marshal.StringToCoTaskMemUTF8(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{(int)file.DangerousGetHandle()}"));
        try
        {
            return (int)RawSyscall.Checked("inotify_add_watch", null, AddWatchCall, inotify.DangerousGetHandle(), path, mask);
        }
        finally
        {
            Marshal.FreeCoTaskMem(path);
        }
    }

    /// <summary>inotify_rm_watch(2).</summary>
    public static void RemoveWatch(SafeFileHandle inotify, int watch) =>
        RawSyscall.Checked("inotify_rm_watch", null, RemoveWatchCall, inotify.DangerousGetHandle(), watch);

    /// <summary>Reads and forgets all events of an instance that doesn't block.</summary>
    public static void DropEvents(SafeFileHandle inotify)
    {
        Span<byte> events = stackalloc byte[4096];
        try
        {
            while (RawFile.Read(inotify, events) > 0) { }
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.EAGAIN)
        {
            // Nothing left.
        }
    }

    /// <summary>Bytes that can be read from a file right now: FIONREAD.</summary>
    public static uint Readable(SafeFileHandle file)
    {
        int bytes;
        RawSyscall.Checked("ioctl(FIONREAD)", null, Ioctl, file.DangerousGetHandle(), ReadableBytes, (long)&bytes);
        return (uint)bytes;
    }

    /// <summary>open_by_handle_at(2) with O_PATH: 0 or the errno. Needs CAP_DAC_READ_SEARCH.</summary>
    /// <param name="mount">Any file of the file system.</param>
    /// <param name="type">Of the handle.</param>
    /// <param name="bytes">The handle.</param>
    /// <param name="file">The file, open.</param>
    public static int TryOpenByHandle(SafeFileHandle mount, int type, ReadOnlySpan<byte> bytes, out SafeFileHandle? file)
    {
        // struct file_handle: length, type, bytes.
        var handle = stackalloc byte[8 + bytes.Length];
        BinaryPrimitives.WriteInt32LittleEndian(new Span<byte>(handle, 4), bytes.Length);
        BinaryPrimitives.WriteInt32LittleEndian(new Span<byte>(handle + 4, 4), type);
        bytes.CopyTo(new Span<byte>(handle + 8, bytes.Length));
        var fd = RawSyscall.Invoke(OpenByHandleAt, mount.DangerousGetHandle(), (long)handle, PathOnly | CloseOnExec);
        file = fd < 0 ? null : new SafeFileHandle((nint)fd, ownsHandle: true);
        return fd < 0 ? Marshal.GetLastPInvokeError() : 0;
    }
}
