using System.Globalization;
using System.Text;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Store.Layout;

/// <summary>A session that lives, or one whose end could not be told.</summary>
/// <param name="Crid">Its CRID.</param>
/// <param name="Generation">The gc generation of the snapshot it works from; null while it is still opening it.</param>
/// <param name="Pid">For messages.</param>
internal sealed record LiveSession(Crid Crid, ulong? Generation, int Pid);

/// <summary>
/// The registration of a running capture: a file held under flock(2) from before its first look at the store until it
/// is over. gc waits for the sessions that may count on what it wants to free.
/// </summary>
internal sealed class SessionFile : IDisposable
{
    private readonly SafeFileHandle file;
    private readonly string path;

    private SessionFile(SafeFileHandle file, string path)
    {
        this.file = file;
        this.path = path;
    }

    /// <summary>Registers. Not synced: no session outlives a power cut, so there is nothing to remember then.</summary>
    public static SessionFile Register(StorePaths paths, Crid crid) => StoreErrors.Guard(() =>
    {
        // Locked under another name first: under its own name nobody ever sees it unlocked and takes it for a dead one's.
        var temporary = Path.Combine(paths.Sessions, $"new-{crid}");
        while (true)
        {
            var file = FileCalls.Open(temporary, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.NoFollow);
            try
            {
                if (!FileCalls.TryLock(file, shared: false, temporary))
                {
                    file.Dispose();
                    Thread.Sleep(1); // a sweeper looks at it just now
                    continue;
                }

                var session = new SessionFile(file, paths.Session(crid));
                session.Write(null);
                FileCalls.Rename(temporary, session.path);
                return session;
            }
            catch (LinuxException e) when (e.ErrorNumber == Errno.ENOENT && e.Call == "rename")
            {
                file.Dispose(); // swept before it was locked
            }
            catch
            {
                file.Dispose();
                throw;
            }
        }
    });

    /// <summary>Notes the gc generation that the session's snapshot shows.</summary>
    public void Began(ulong generation) => StoreErrors.Guard(() => Write(generation));

    /// <summary>True as long as the session of a CRID is under way.</summary>
    public static bool IsLive(StorePaths paths, Crid crid) => StoreErrors.Guard(() =>
    {
        try
        {
            using var free = HeldLock.TryShared(paths.Session(crid));
            return free is null;
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ENOENT)
        {
            return false;
        }
    });

    /// <summary>The sessions that live. Removes what dead ones left in sessions/ and in incoming/.</summary>
    public static IReadOnlyList<LiveSession> Sweep(StorePaths paths, out int filesRemoved)
    {
        var removed = 0;
        var live = StoreErrors.Guard(() =>
        {
            // First the files, then the sessions: a session is registered before its first file is made, so a file whose
            // session isn't found afterwards has none.
            var files = Directory.GetFiles(paths.Incoming);
            var sessions = new List<LiveSession>();
            foreach (var path in Directory.GetFiles(paths.Sessions))
                if (Look(path) is { } session) sessions.Add(session);
            var owners = sessions.Select(s => s.Crid).ToHashSet();
            foreach (var path in files)
            {
                // Network file systems keep an unlinked file that is still open (HashLog) under such a name, and refuse to remove it.
                if (Path.GetFileName(path).StartsWith('.')) continue;
                if (!owners.Contains(StorePaths.OwnerOf(path)) && FileCalls.Unlink(path)) removed++;
            }

            return sessions;
        });
        filesRemoved = removed;
        return live;
    }

    /// <summary>The session if it lives; else its file is removed.</summary>
    private static LiveSession? Look(string path)
    {
        try
        {
            using var file = FileCalls.Open(path, OpenFlags.ReadOnly | OpenFlags.NoFollow);
            if (FileCalls.TryLock(file, shared: false, path))
            {
                FileCalls.Unlink(path);
                return null;
            }

            Span<byte> buffer = stackalloc byte[48];
            var words = Encoding.ASCII.GetString(buffer[..FileCalls.ReadAt(file, buffer, 0, path)]).Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            var name = Path.GetFileName(path);
            _ = Crid.TryParse(name.StartsWith("new-", StringComparison.Ordinal) ? name[4..] : name, out var crid);
            _ = int.TryParse(words.Length > 0 ? words[0] : "", NumberStyles.None, CultureInfo.InvariantCulture, out var pid);
            return new LiveSession(crid, words.Length > 1 && ulong.TryParse(words[1], NumberStyles.None, CultureInfo.InvariantCulture, out var g) ? g : null, pid);
        }
        catch (LinuxException e) when (e.ErrorNumber == Errno.ENOENT)
        {
            return null; // over in this moment
        }
    }

    /// <summary>Deregisters.</summary>
    public void Dispose()
    {
        try
        {
            FileCalls.Unlink(path);
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.EROFS or Errno.EIO or Errno.EACCES)
        {
            // Unlocked it is as good as gone; the next sweep removes it.
            System.Diagnostics.Debug.WriteLine(e.Message);
        }
        finally
        {
            file.Dispose();
        }
    }

    private void Write(ulong? generation)
    {
        var text = string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId} {generation?.ToString(CultureInfo.InvariantCulture) ?? "-"}");
        FileCalls.WriteAt(file, Encoding.ASCII.GetBytes(text.PadRight(47) + "\n"), 0, path);
    }
}
