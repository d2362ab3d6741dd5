using System.Diagnostics;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Native;

namespace Crstore.Store.Reading;

/// <summary>
/// Opens RocksDB read-only beside a writer, at one moment of its history. RocksDB itself reads the file list and then the
/// WAL: a writer in between could make it see an ingested file's reference without the file, or lose what was flushed
/// from a WAL that is gone. So the names that matter are looked at before and after, and the opening is repeated if they moved.
/// </summary>
internal static class Snapshot
{
    private static readonly TimeSpan Optimistic = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    /// <summary>Opens. Needs no write access.</summary>
    /// <param name="paths">Store.</param>
    /// <param name="looked">Called between each look and what proves it: tests move files then.</param>
    public static RocksDb Open(StorePaths paths, Action? looked = null)
    {
        var began = Stopwatch.GetTimestamp();
        for (var pause = 1; ; pause = Math.Min(pause * 2, 64))
        {
            // Whoever writes all the time is asked to wait a moment, if that is possible.
            using var quiet = Stopwatch.GetElapsedTime(began) > Optimistic ? TryQuiet(paths) : null;
            var last = Stopwatch.GetElapsedTime(began) > Patience;
            var before = Fingerprint(paths);
            RocksDb? db = null;
            try
            {
                db = RocksDb.Open(paths.Database, RocksMode.ReadOnly);
                looked?.Invoke();
                if (quiet is not null || before.SameFiles(Fingerprint(paths))) return db;
                db.Dispose();
            }
            catch (CrstoreException e) when (e is StoreDamagedException or EnvironmentException)
            {
                db?.Dispose();
                if (quiet is not null || before.Same(Fingerprint(paths))) throw; // nobody moved anything: it is as it says
            }

            if (last) throw new StoreBusyException($"the store {paths.Root} changes all the time: no consistent look at it within {Patience.TotalSeconds:0} s");
            Thread.Sleep(pause);
        }
    }

    private static HeldLock? TryQuiet(StorePaths paths)
    {
        try
        {
            if (HeldLock.TryShared(paths.WriteLock) is { } quiet) return quiet;
            TurnBell.Knock(paths); // who keeps the store open gives it away at the end of its capture
            return null;
        }
        catch (LinuxException e) when (e.ErrorNumber is Errno.EACCES or Errno.ENOENT)
        {
            return null;
        }
    }

    private static Marks Fingerprint(StorePaths paths) => StoreErrors.Guard(() =>
    {
        var files = new Dictionary<string, long>();
        foreach (var path in Directory.GetFiles(paths.Database))
        {
            var name = Path.GetFileName(path);
            if (name.StartsWith("MANIFEST-", StringComparison.Ordinal) || name.EndsWith(".log", StringComparison.Ordinal) || name == "CURRENT")
                files.Add(name, SizeOf(path));
        }

        return new Marks(files, FileCalls.ReadText(Path.Combine(paths.Database, "CURRENT")) ?? "");
    });

    private static long SizeOf(string path)
    {
        var info = new FileInfo(path);
        return info.Exists ? info.Length : -1;
    }

    private sealed record Marks(Dictionary<string, long> Files, string Current)
    {
        /// <summary>The same but for WALs that grew: what is in them is committed after everything that it refers to.</summary>
        public bool SameFiles(Marks other) => Same(other, mayGrow: ".log");

        /// <summary>Exactly the same.</summary>
        public bool Same(Marks other) => Same(other, mayGrow: null);

        private bool Same(Marks other, string? mayGrow)
        {
            if (Current != other.Current || Files.Count != other.Files.Count) return false;
            foreach (var (name, size) in Files)
            {
                if (!other.Files.TryGetValue(name, out var now)) return false;
                if (size != now && (mayGrow is null || !name.EndsWith(mayGrow, StringComparison.Ordinal))) return false;
            }

            return true;
        }
    }
}
