using System.Diagnostics;
using System.Globalization;
using System.Text;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Files;

/// <summary>
/// Waiting for an flock(2) whose file says who holds it. The kernel releases the lock when its holder dies, so there is
/// never a stale one; what the file says of a dead holder is overwritten by the next.
/// </summary>
/// <param name="Timeout">How long to wait.</param>
public sealed record LockWait(TimeSpan Timeout)
{
    private const int HolderBytes = 128;
    private const int LongestPause = 5; // ms, and up to twice as long by chance: who captures all the time leaves it free for 15
    private static readonly TimeSpan Silence = TimeSpan.FromMilliseconds(200); // shorter waits are not worth a line

    /// <summary>As long as `--lock-timeout` says if it is not given.</summary>
    public static LockWait Default { get; } = new(TimeSpan.FromSeconds(60));

    /// <summary>Told, once, if it takes a while: a sentence that names for whom.</summary>
    public Action<string>? Waiting { get; init; }

    /// <summary>Ends the waiting, with <see cref="OperationCanceledException"/>.</summary>
    public CancellationToken Cancel { get; init; }

    /// <summary>Tries until it is taken.</summary>
    /// <param name="tryTake">Takes the lock if it is free.</param>
    /// <param name="holder">Who holds it now: <see cref="HolderOf"/>.</param>
    /// <param name="what">What is locked, for the message of the one who gives up.</param>
    /// <exception cref="StoreBusyException">Not free in time; names the holder.</exception>
    public void Until(Func<bool> tryTake, Func<string> holder, string what)
    {
        var began = Stopwatch.GetTimestamp();
        var told = false;
        for (var pause = 2; !tryTake(); pause = Math.Min(pause * 2, LongestPause))
        {
            var waited = Stopwatch.GetElapsedTime(began);
            if (waited >= Timeout)
                throw new StoreBusyException($"{what} is busy: {holder()} did not finish within {Timeout.TotalSeconds:0.#} s",
                    "try again later, or wait longer with --lock-timeout");
            if (!told && waited > Silence)
            {
                Waiting?.Invoke($"waiting for {holder()}");
                told = true;
            }

            Cancel.WaitHandle.WaitOne(pause + Random.Shared.Next(pause)); // two that wait must not march in step
            Cancel.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Says in a file that was just locked who holds it.</summary>
    /// <param name="file">The file.</param>
    /// <param name="path">Its path, for messages.</param>
    /// <param name="verb">What the holder does.</param>
    /// <param name="offset">Where in the file.</param>
    public static void WriteHolder(SafeFileHandle file, string path, string verb, long offset = 0)
    {
        // Best effort: on a full disk the lock still is the lock.
        var text = string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId} {verb} {DateTimeOffset.UtcNow:yyyy-MM-ddTHH:mm:ssZ}\n");
        try
        {
            FileCalls.WriteAt(file, Encoding.UTF8.GetBytes(text.PadRight(63) + "\n"), offset, path);
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.ENOSPC or Errno.EDQUOT)
        {
            Debug.WriteLine(e.Message);
        }
    }

    /// <summary>What <see cref="WriteHolder"/> wrote, as words.</summary>
    public static string HolderOf(SafeFileHandle file, string path, long offset = 0)
    {
        Span<byte> buffer = stackalloc byte[HolderBytes];
        var text = Encoding.UTF8.GetString(buffer[..FileCalls.ReadAt(file, buffer, offset, path)]).Split('\n')[0];
        var parts = text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return parts.Length >= 3 ? $"crstore {string.Join(' ', parts[1..^1])} (pid {parts[0]}, since {parts[^1]})" : "another crstore";
    }
}
