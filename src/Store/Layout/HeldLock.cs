using System.Diagnostics;
using System.Globalization;
using System.Text;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.Layout;

/// <summary>
/// An flock(2) on a file of the store that says who holds it. The kernel releases it when the holder dies, so there is
/// never a stale one; what it says of a dead holder is overwritten by the next.
/// </summary>
internal sealed class HeldLock : IDisposable
{
    private readonly SafeFileHandle file;

    private HeldLock(SafeFileHandle file) => this.file = file;

    /// <summary>Takes the lock, waiting for the present holder if need be.</summary>
    /// <param name="path">Lock file, made if missing.</param>
    /// <param name="verb">What the holder does, for those who wait.</param>
    /// <param name="what">What is locked, for the message of the one who gives up.</param>
    /// <param name="timeout">How long to wait.</param>
    /// <param name="waiting">Told once if it must wait.</param>
    /// <param name="cancel">Ends the waiting.</param>
    /// <exception cref="StoreBusyException">Not free in time; names the holder.</exception>
    public static HeldLock Take(string path, string verb, string what, TimeSpan timeout, Action<string>? waiting, CancellationToken cancel = default) => StoreErrors.Guard(() =>
    {
        var file = FileCalls.Open(path, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
        try
        {
            var began = Stopwatch.GetTimestamp();
            var told = false;
            for (var pause = 2; !FileCalls.TryLock(file, shared: false, path); pause = Math.Min(pause * 2, 50))
            {
                var waited = Stopwatch.GetElapsedTime(began);
                if (waited >= timeout)
                    throw new StoreBusyException($"{what} is busy: {Holder(file, path)} did not finish within {timeout.TotalSeconds:0.#} s",
                        "try again later, or wait longer with --lock-timeout");
                if (!told && waited > TimeSpan.FromMilliseconds(200))
                {
                    waiting?.Invoke($"waiting for {Holder(file, path)}");
                    told = true;
                }

                cancel.WaitHandle.WaitOne(pause + Random.Shared.Next(pause)); // two that wait must not march in step
                cancel.ThrowIfCancellationRequested();
            }

            WriteHolder(file, path, verb);
            return new HeldLock(file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    });

    /// <summary>Takes a shared lock on an existing file without waiting; null if somebody holds it exclusively. Needs no write access.</summary>
    public static HeldLock? TryShared(string path)
    {
        var file = FileCalls.Open(path, OpenFlags.ReadOnly | OpenFlags.NoFollow);
        if (FileCalls.TryLock(file, shared: true, path)) return new HeldLock(file);
        file.Dispose();
        return null;
    }

    /// <summary>Releases.</summary>
    public void Dispose() => file.Dispose();

    private static void WriteHolder(SafeFileHandle file, string path, string verb)
    {
        // Best effort: on a full disk the lock still is the lock.
        var text = string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId} {verb} {DateTimeOffset.UtcNow:yyyy-MM-ddTHH:mm:ssZ}\n");
        try
        {
            FileCalls.WriteAt(file, Encoding.UTF8.GetBytes(text.PadRight(63) + "\n"), 0, path);
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.ENOSPC or Errno.EDQUOT)
        {
            Debug.WriteLine(e.Message);
        }
    }

    private static string Holder(SafeFileHandle file, string path)
    {
        Span<byte> buffer = stackalloc byte[128];
        var text = Encoding.UTF8.GetString(buffer[..FileCalls.ReadAt(file, buffer, 0, path)]).Split('\n')[0];
        var parts = text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return parts.Length >= 3 ? $"crstore {string.Join(' ', parts[1..^1])} (pid {parts[0]}, since {parts[^1]})" : "another crstore";
    }
}
