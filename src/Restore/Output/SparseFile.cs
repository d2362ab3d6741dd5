using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Restore;

/// <summary>Where pages are written to: a file by offset, a process by address.</summary>
internal interface IPageSink
{
    /// <summary>Writes all bytes; by many threads at once, never twice at one place.</summary>
    void Write(ReadOnlySpan<byte> bytes, ulong at);
}

/// <summary>A new file of mode 0600 that is written at offsets; what is never written stays a hole.</summary>
internal sealed class SparseFile : IPageSink, IDisposable
{
    private readonly SafeFileHandle handle;
    private readonly string path;

    private SparseFile(SafeFileHandle handle, string path)
    {
        this.handle = handle;
        this.path = path;
    }

    /// <summary>Creates it; it must not exist.</summary>
    internal static SparseFile Create(string path) => Refusals.Guard("create", path, () =>
    {
        // File.OpenHandle knows no creation mode; the umask can only take bits away from 0600.
        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            Share = FileShare.Read,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        using (var created = new FileStream(path, options))
        {
            // Only created here; opened again below as a bare handle for positioned writes.
        }
        return new SparseFile(File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.Read), path);
    });

    /// <summary>Writes all bytes at an offset.</summary>
    public void Write(ReadOnlySpan<byte> bytes, ulong at)
    {
        try
        {
            RandomAccess.Write(handle, bytes, (long)at);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Refusals.Of("write", path, e);
        }
    }

    /// <summary>Sets the size, so that a hole may stand at the end.</summary>
    internal void SetLength(ulong bytes) => Refusals.Guard("truncate", path, () =>
    {
        RandomAccess.SetLength(handle, (long)bytes);
        return true;
    });

    /// <inheritdoc/>
    public void Dispose() => handle.Dispose();
}

/// <summary>Turns a refused file operation on the output into an error that names the path.</summary>
internal static class Refusals
{
    internal static T Guard<T>(string what, string path, Func<T> operation)
    {
        try
        {
            return operation();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Of(what, path, e);
        }
    }

    internal static EnvironmentException Of(string what, string path, Exception e) =>
        new($"can't {what} {path}: {e.Message.Split($" : '{path}'")[0]}", "free some space, or give --to a path where there is room and you may write", e);
}
