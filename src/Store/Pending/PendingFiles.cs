using System.Buffers.Binary;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Codec;
using Crstore.Store.Layout;
using Google.Protobuf;

namespace Crstore.Store.Pending;

/// <summary>
/// The directory pending/: of each CRID that was announced before its commit, `CRID` says how it stands, and `CRID.frozen` is what the next capture
/// of the series builds on meanwhile. Nothing in it is synced: no session outlives a power cut, and without its session a frozen file is none.
/// </summary>
internal static class PendingFiles
{
    private const string FrozenSuffix = ".frozen";
    private const ulong FrozenMark = 0x66726f7a656e; // "frozen"
    private static readonly TimeSpan KeptFor = TimeSpan.FromDays(7);

    /// <summary>The file that says how a CRID stands.</summary>
    public static string StatusPath(StorePaths paths, Crid crid) => Path.Combine(paths.Pending, crid.ToString());

    /// <summary>The file that the next capture builds on.</summary>
    public static string FrozenPath(StorePaths paths, Crid crid) => StatusPath(paths, crid) + FrozenSuffix;

    /// <summary>Writes a file whole, or not at all.</summary>
    public static void Write(StorePaths paths, string path, ReadOnlySpan<byte> bytes)
    {
        FileCalls.MakeDirectory(paths.Pending);
        var temporary = path + ".new";
        using (var file = FileCalls.Open(temporary, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.Truncate | OpenFlags.NoFollow)) FileCalls.WriteAt(file, bytes, 0, temporary);
        FileCalls.Rename(temporary, path);
    }

    /// <summary>Announces what was frozen.</summary>
    public static void WriteFrozen(StorePaths paths, PendingCheckpoint frozen)
    {
        var crid = new Crid(frozen.Header.Crid);
        var size = frozen.CalculateSize();
        var bytes = new byte[size + Crc32C.Size];
        frozen.WriteTo(bytes.AsSpan(0, size));
        BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(size), Crc32C.Of(bytes.AsSpan(0, size), crid.Value, FrozenMark));
        Write(paths, FrozenPath(paths, crid), bytes);
    }

    /// <summary>CRIDs of a series that are frozen and being written back, in order: their sessions live.</summary>
    public static List<Crid> InFlight(StorePaths paths, string series) =>
        [.. Frozen(paths).Where(crid => SessionFile.IsLive(paths, crid) && ReadFrozen(paths, crid)?.Header.Series == series)];

    /// <summary>What was announced; null if it is over by now.</summary>
    public static PendingCheckpoint? ReadFrozen(StorePaths paths, Crid crid)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(FrozenPath(paths, crid));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }

        if (bytes.Length < Crc32C.Size || BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(bytes.Length - Crc32C.Size)) != Crc32C.Of(bytes.AsSpan(0, bytes.Length - Crc32C.Size), crid.Value, FrozenMark))
            return null; // not ours, or damaged: as if nothing were announced
        return PendingCheckpoint.Parser.ParseFrom(bytes, 0, bytes.Length - Crc32C.Size);
    }

    /// <summary>Waits until a session is over, however it ends.</summary>
    public static void AwaitSession(StorePaths paths, Crid crid, CancellationToken cancel)
    {
        for (var pause = 1; SessionFile.IsLive(paths, crid); pause = Math.Min(pause * 2, 20))
        {
            cancel.WaitHandle.WaitOne(pause);
            cancel.ThrowIfCancellationRequested();
        }
    }

    /// <summary>For a capture that doesn't build on them: waits until no more than so many of a series are still written back.</summary>
    /// <param name="paths">The store.</param>
    /// <param name="options">How long, and whom to tell.</param>
    /// <param name="series">The series.</param>
    /// <param name="most">How many may be under way.</param>
    /// <exception cref="StoreBusyException">Not in time.</exception>
    public static void AwaitSeries(StorePaths paths, StoreOptions options, string series, int most = 0)
    {
        if (!Directory.Exists(paths.Pending)) return;
        List<Crid> left = [];
        new LockWait(options.LockTimeout) { Waiting = options.Waiting, Cancel = options.Cancel }.Until(
            () => (left = InFlight(paths, series)).Count <= most,
            () => $"crstore capture --lazy of CRID {left[0]}, which is still written back",
            $"series \"{series}\"");
    }

    /// <summary>Removes what dead sessions announced, and news of long ago.</summary>
    public static void Sweep(StorePaths paths) => StoreErrors.Guard(() =>
    {
        if (!Directory.Exists(paths.Pending)) return;
        foreach (var crid in Frozen(paths))
            if (!SessionFile.IsLive(paths, crid)) FileCalls.Unlink(FrozenPath(paths, crid));
        foreach (var path in Directory.GetFiles(paths.Pending))
            if (!path.EndsWith(FrozenSuffix, StringComparison.Ordinal) && DateTime.UtcNow - File.GetLastWriteTimeUtc(path) > KeptFor && !IsOfMemory(path)) FileCalls.Unlink(path);

        // Not news: true for as long as the memory is there (MemoryNotes).
        bool IsOfMemory(string path) => Crid.TryParse(Path.GetFileName(path), out var crid) && CapturedStatus.Read(paths, crid) is { State: CapturedState.InMemory };
    });

    private static IEnumerable<Crid> Frozen(StorePaths paths) => !Directory.Exists(paths.Pending) ? [] : Directory.GetFiles(paths.Pending, "*" + FrozenSuffix)
        .Select(path => Crid.TryParse(Path.GetFileNameWithoutExtension(path), out var crid) ? crid : Crid.None).Where(crid => crid.IsSome).Order();
}
