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
            all[header.Series] = SeriesInfo.With(all.GetValueOrDefault(header.Series), header, records.GetValueOrDefault(header.Series)?.Distrusted);
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
        var header = Header(crid) ?? throw Unknown(crid);
        using var body = Database.GetPinned(ColumnFamily.Bodies, Keys.Crid(crid));
        return new CheckpointManifest(header, ManifestCodec.DecodeBody(crid, body.Span));
    }

    /// <summary>Resolves CRID | SERIES[@latest|@N|@TIME]: @N counts from 1 in the series, @TIME is the last one at or before it.</summary>
    public Crid Resolve(string spec) => CheckpointNames.Resolve(spec, Paths.Root, crid => Header(crid) is not null, name => Headers(name), Unknown);

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

    private UsageException Unknown(Crid crid) => new($"there is no CRID {crid} in {Paths.Root}", "`crstore list` shows what there is");
}
