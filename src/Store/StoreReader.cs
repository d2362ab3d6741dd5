using System.Globalization;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store.Layout;
using Crstore.Store.Manifests;
using Crstore.Store.Native;
using Crstore.Store.Reading;

namespace Crstore.Store;

/// <summary>
/// A snapshot of a store: what was committed when it was opened, whatever writers and gc do meanwhile. Needs no write
/// access to the store. Thread safe but for Dispose.
/// </summary>
public sealed partial class StoreReader : IDisposable
{
    private int references = 1;
    private bool disposed;

    private StoreReader(StorePaths paths, RocksDb db)
    {
        Paths = paths;
        Database = db;
        Segments = new StoreSegments(db);
    }

    /// <summary>The directory.</summary>
    internal StorePaths Paths { get; }

    /// <summary>Open as long as this or one of its images is.</summary>
    internal RocksDb Database { get; }

    /// <summary>Page maps.</summary>
    internal StoreSegments Segments { get; }

    /// <summary>Opens a consistent snapshot.</summary>
    internal static StoreReader Open(StorePaths paths) => new(paths, Snapshot.Open(paths));

    /// <summary>A reader on a database that somebody else owns, for work under the write lock.</summary>
    internal static StoreReader Over(StorePaths paths, RocksDb db) => new(paths, db) { references = 2 };

    /// <summary>Headers in CRID order.</summary>
    /// <param name="series">Only this one's.</param>
    /// <param name="damaged">Told of each header that can't be read, which is then left out: whose it is, nobody knows. Null:
    /// it is an error, for it may be the very one that is asked for.</param>
    public IEnumerable<CheckpointHeader> Headers(string? series = null, Action<string>? damaged = null)
    {
        using var i = Database.Iterate(ColumnFamily.Manifests);
        for (var there = i.SeekToFirst(); there; there = i.Next())
        {
            CheckpointHeader header;
            try
            {
                header = ManifestCodec.DecodeHeader(Keys.CridOf(i.Key), i.Value);
            }
            catch (StoreDamagedException e) when (damaged is not null)
            {
                damaged(e.Message);
                continue;
            }

            if (series is null || header.Series == series) yield return header;
        }
    }

    /// <summary>The header of a CRID; null if there is no such checkpoint.</summary>
    public CheckpointHeader? Header(Crid crid)
    {
        using var value = Database.GetPinned(ColumnFamily.Manifests, Keys.Crid(crid));
        return value.Exists ? ManifestCodec.DecodeHeader(crid, value.Span) : null;
    }

    /// <summary>All series that have checkpoints, by name.</summary>
    /// <param name="damaged">Told of headers and records that can't be read, which are then left out; null: an error.</param>
    public IReadOnlyList<SeriesInfo> Series(Action<string>? damaged = null)
    {
        var records = SeriesRecords.ReadAll(Database, damaged).ToDictionary(r => r.Name);
        var all = new SortedDictionary<string, SeriesInfo>(StringComparer.Ordinal);
        foreach (var header in Headers(damaged: damaged))
        {
            var when = TimeOf(header);
            var logical = (header.Pages?.Logical ?? 0) * VirtualPage.Size;
            IReadOnlyList<TrackerKind> distrusted = records.TryGetValue(header.Series, out var record) ? [.. record.Distrusted] : [];
            all[header.Series] = all.TryGetValue(header.Series, out var known)
                ? known with { Latest = new Crid(header.Crid), Checkpoints = known.Checkpoints + 1, Last = when, LogicalBytes = known.LogicalBytes + logical, BytesStored = known.BytesStored + header.BytesStored }
                : new SeriesInfo(header.Series, new Crid(header.Crid), 1, when, when, logical, header.BytesStored, distrusted);
        }

        return [.. all.Values];
    }

    /// <summary>Names and last checkpoints of all series that have one, without a look at the checkpoints.</summary>
    /// <param name="prefix">What their names begin with.</param>
    /// <param name="damaged">Told of records that can't be read, which are then left out.</param>
    public IEnumerable<(string Name, Crid Latest)> SeriesHeads(string prefix, Action<string> damaged) =>
        SeriesRecords.ReadAll(Database, damaged, prefix).Where(r => r.LatestCrid != 0).Select(r => (r.Name, new Crid(r.LatestCrid)));

    /// <summary>Header and body. <see cref="UsageException"/> if there is no such CRID.</summary>
    public CheckpointManifest Manifest(Crid crid)
    {
        var header = Header(crid) ?? throw new UsageException($"there is no CRID {crid} in {Paths.Root}", "`crstore list` shows what there is");
        using var body = Database.GetPinned(ColumnFamily.Bodies, Keys.Crid(crid));
        return new CheckpointManifest(header, ManifestCodec.DecodeBody(crid, body.Span));
    }

    /// <summary>Resolves CRID | SERIES[@latest|@N|@TIME]: @N counts from 1 in the series, @TIME is the last one at or before it.</summary>
    public Crid Resolve(string spec)
    {
        if (Crid.TryParse(spec, out var crid))
        {
            if (Header(crid) is not null) return crid;
            if (!Headers(spec).Any()) throw new UsageException($"there is no CRID {crid} in {Paths.Root}", "`crstore list` shows what there is");
        }

        // A name may hold an @ itself: the whole text is tried first.
        var whole = Headers(spec).ToList();
        if (whole.Count > 0) return new Crid(whole[^1].Crid);
        var at = spec.LastIndexOf('@');
        var (name, which) = at > 0 ? (spec[..at], spec[(at + 1)..]) : (spec, "latest");
        var all = at > 0 ? Headers(name).ToList() : [];
        if (all.Count == 0) throw new UsageException($"there is no series \"{name}\" in {Paths.Root}", "`crstore series` shows what there is");
        return Pick(all, name, which);
    }

    /// <summary>The image source of a CRID. It keeps the reader alive.</summary>
    public ICheckpointImage OpenImage(Crid crid)
    {
        var manifest = Manifest(crid);
        Interlocked.Increment(ref references);
        return new CheckpointImage(this, manifest);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (disposed) return;
        disposed = true;
        Release();
    }

    /// <summary>Gives up one reference; the last one closes the database.</summary>
    internal void Release()
    {
        if (Interlocked.Decrement(ref references) == 0) Database.Dispose();
    }

    private static DateTimeOffset TimeOf(CheckpointHeader header) => DateTimeOffset.UnixEpoch.AddTicks(header.CapturedUnixNs / 100);

    /// <summary>As `list` shows it.</summary>
    private static string Local(DateTimeOffset time) => time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);

    private static Crid Pick(List<CheckpointHeader> all, string name, string which)
    {
        if (which == "latest") return new Crid(all[^1].Crid);
        if (int.TryParse(which, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            return number >= 1 && number <= all.Count ? new Crid(all[number - 1].Crid)
                : throw new UsageException($"series \"{name}\" has checkpoints @1 to @{all.Count}, no @{number}", $"`crstore list --series {name}` shows them; a CRID is given without the series");
        if (!DateTimeOffset.TryParse(which, CultureInfo.InvariantCulture, DateTimeStyles.AssumeLocal, out var time))
            throw new UsageException($"\"@{which}\" is neither @latest, a number nor a time", $"for instance {name}@latest, {name}@3, {name}@2026-01-31T12:00, '{name}@2026-01-31 12:00:05'");
        // A whole second means all of it: `list` shows no fractions, and what it shows must find what it shows.
        var end = time.Ticks % TimeSpan.TicksPerSecond == 0 ? time.AddTicks(TimeSpan.TicksPerSecond - 1) : time;
        var before = all.Where(h => TimeOf(h) <= end).ToList();
        return before.Count > 0 ? new Crid(before.MaxBy(h => (h.CapturedUnixNs, h.Crid))!.Crid)
            : throw new UsageException($"series \"{name}\" has no checkpoint at or before {Local(time)}; the first one is of {Local(TimeOf(all.MinBy(h => h.CapturedUnixNs)!))}",
                $"`crstore list --series {name}` shows all of them; {name}@1 is the first one");
    }
}
