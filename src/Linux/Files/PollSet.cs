using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>What is waited for, and what was found: POLL bits of poll(2).</summary>
[Flags]
public enum PollBits
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>POLLIN: there is something to read, or the end.</summary>
    In = 1,

    /// <summary>POLLOUT: some of a write would be taken.</summary>
    Out = 4,

    /// <summary>POLLERR, POLLHUP, POLLNVAL: it is gone, or its other end. Found unasked.</summary>
    Gone = 0x38,
}

/// <summary>Several files to wait for at once: poll(2).</summary>
/// <param name="files">They; the caller keeps them open.</param>
public sealed unsafe class PollSet(params SafeFileHandle[] files)
{
    private readonly Entry[] entries = new Entry[files.Length];

    /// <summary>Says what to wait for, by the file's number in the set; null: not even that it is gone.</summary>
    public void Watch(int file, PollBits? bits) =>
        entries[file] = new Entry { File = bits is null ? -1 : (int)files[file].DangerousGetHandle(), Events = (short)(bits ?? 0) };

    /// <summary>Waits; a signal ends it too.</summary>
    /// <param name="milliseconds">How long; -1: for ever.</param>
    public void Wait(int milliseconds)
    {
        fixed (Entry* at = entries)
        {
            var errno = RawSyscall.Errno(RawSyscall.Poll, (long)at, entries.Length, milliseconds);
            if (errno is not (0 or Errno.EINTR)) throw new LinuxException("poll", errno);
            if (errno != 0) foreach (ref var entry in entries.AsSpan()) entry.Found = 0;
        }
    }

    /// <summary>What was found of a file.</summary>
    public PollBits Found(int file) => (PollBits)entries[file].Found;

    // struct pollfd.
    private struct Entry
    {
        public int File;
        public short Events;
        public short Found;
    }
}
