using System.Globalization;
using System.Text;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Store.Layout;

/// <summary>Names within a store directory (docs/FORMAT.md).</summary>
internal sealed class StorePaths(string root)
{
    /// <summary>Everything that a store directory holds; a directory with other things in it is no store of ours.</summary>
    public static readonly IReadOnlySet<string> KnownNames =
        new HashSet<string> { "db", "format", "format.new", "crid", "lock", "turn", "gc", "recompress", "sessions", "series", "incoming", "pending", "reserve", "room", "removals" };

    /// <summary>The directory, absolute.</summary>
    public string Root { get; } = Path.GetFullPath(root);

    /// <summary>RocksDB.</summary>
    public string Database => Path.Combine(Root, "db");

    /// <summary>Format version and store id; made last, so a directory without it is half-written.</summary>
    public string Format => Path.Combine(Root, "format");

    /// <summary>CRID counter.</summary>
    public string Counter => Path.Combine(Root, "crid");

    /// <summary>Write lock.</summary>
    public string WriteLock => Path.Combine(Root, "lock");

    /// <summary>Held by the one who is next at the write lock, until it has it.</summary>
    public string Turn => Path.Combine(Root, "turn");

    /// <summary>Held by a gc from its first look at the store to its end: there is one at a time.</summary>
    public string GcLock => Path.Combine(Root, "gc");

    /// <summary>Held by a `gc --recompress`: there is one at a time, also beside a gc.</summary>
    public string RecompressLock => Path.Combine(Root, "recompress");

    /// <summary>One file per running capture.</summary>
    public string Sessions => Path.Combine(Root, "sessions");

    /// <summary>One lock per series.</summary>
    public string SeriesLocks => Path.Combine(Root, "series");

    /// <summary>SST files being built.</summary>
    public string Incoming => Path.Combine(Root, "incoming");

    /// <summary>Space that forget and gc may use when the disk is full.</summary>
    public string Reserve => Path.Combine(Root, "reserve");

    /// <summary>Shows for a moment that there is room for a writer; a leftover of one that was killed is removed by the next.</summary>
    public string Room => Path.Combine(Root, "room");

    /// <summary>What is told of CRIDs that are given out and not committed: made with the first of them.</summary>
    public string Pending => Path.Combine(Root, "pending");

    /// <summary>In a memory store: held by whoever takes checkpoints out of it.</summary>
    public string Removals => Path.Combine(Root, "removals");

    /// <summary>Session file of a CRID.</summary>
    public string Session(Crid crid) => Path.Combine(Sessions, crid.ToString());

    /// <summary>An SST of a session; <paramref name="family"/> tells frames from index.</summary>
    public string IncomingFile(Crid crid, string family, int number) =>
        Path.Combine(Incoming, string.Create(CultureInfo.InvariantCulture, $"{crid}-{family}-{number}.sst"));

    /// <summary>Content addresses of a session that its memory should not hold: there for a moment, while the file is made.</summary>
    public string IncomingHashes(Crid crid) => Path.Combine(Incoming, $"{crid}-hashes");

    /// <summary>Lock of a series. Names are free text, so the file is named by their hash.</summary>
    public string SeriesLock(string series) =>
        Path.Combine(SeriesLocks, PageHash.Of(Encoding.UTF8.GetBytes(series)).ToString()[..32] + ".lock");

    /// <summary>The CRID that a file in incoming/ belongs to; none for foreign names.</summary>
    public static Crid OwnerOf(string incomingFile)
    {
        var name = Path.GetFileName(incomingFile);
        var dash = name.IndexOf('-', StringComparison.Ordinal);
        return dash > 0 && Crid.TryParse(name[..dash], out var crid) ? crid : Crid.None;
    }
}
