using System.Numerics;
using Crstore.Model;
using Crstore.Store.Dictionaries;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.PageMaps;
using Crstore.Store.Patches;

namespace Crstore.Store.Maintenance;

/// <summary>
/// Frees what two looks found unreached, in steps that may be cut short anywhere: what is freed was unreachable before,
/// so any prefix of the work leaves a sound store.
/// </summary>
internal sealed class Sweeper
{
    private const ulong BatchBytes = 8 << 20;
    private const int FramesPerStep = 512;
    private const int EntriesPerBatch = 10_000;

    // A frame is rewritten when at least half of what it holds is dead: at most as much is copied as is freed.
    private const int WorthRewriting = 2;

    private readonly Condemned _condemned;
    private readonly Reachability _now;
    private readonly Compression _compression;
    private readonly GcTally _tally;
    private readonly PatchSweeper _patches;
    private readonly IProgress<StoreProgress>? _progress;
    private readonly List<FrameId> _touched = [];
    private readonly HashSet<FrameId> _damaged = [];
    private ulong _segmentsDeleted;
    private int _dictionariesDeleted;

    private Sweeper(Condemned condemned, Reachability now, Compression compression, GcTally tally, IProgress<StoreProgress>? progress)
    {
        (_condemned, _now, _compression, _tally, _progress) = (condemned, now, compression, tally, progress);
        _patches = new PatchSweeper(condemned, now, compression, tally);
    }

    /// <summary>The second look. From here on no session that began under an older generation may commit.</summary>
    public static Sweeper Confirm(RocksDb db, Condemned condemned, Compression compression, GcTally tally, IProgress<StoreProgress>? progress, CancellationToken cancel)
    {
        var sweeper = new Sweeper(condemned, Reachability.Mark(db, progress, cancel), compression, tally, progress);
        AnchorMarks.AddOfNewcomers(db, condemned, sweeper._now, cancel);
        FaultPoint.Hit("gc.remarked");
        using var batch = db.NewBatch();
        StoreMeta.Put(batch, StoreMeta.GcFreed, condemned.Generation);
        db.Write(batch);
        FaultPoint.Hit("gc.before-delete");
        return sweeper;
    }

    /// <summary>The deletions. Before them, what came back to life gets its index entries back.</summary>
    public IEnumerable<Action<RocksDb>> Steps()
    {
        foreach (var frames in Revived().Chunk(FramesPerStep))
        {
            _progress?.Report(new StoreProgress("restoring the index", 0, 0));
            yield return db => RestoreIndex(db, frames);
        }

        foreach (var groups in _patches.Revived().Chunk(FramesPerStep)) yield return db => _patches.RestoreIndex(db, groups);

        var crids = _condemned.WithChunks;
        for (var i = 0; i < crids.Count; i++)
        {
            var crid = crids[i];
            _progress?.Report(new StoreProgress("freeing frames", (ulong)i, (ulong)crids.Count));
            if (!_condemned.Live.Chunks.Any(crid) && !_now.Chunks.Any(crid))
            {
                yield return db => DropCrid(db, crid);
                continue;
            }

            var suspects = _condemned.Chunks.Frames(crid).Select(f => f.Frame).ToList();
            if (_condemned.Thorough) yield return db => suspects = AllFrames(db, crid);
            foreach (var frames in suspects.Chunk(FramesPerStep)) yield return db => DropFrames(db, frames);
            List<PatchGroupId> groups = [];
            yield return db => groups = _patches.Suspects(db, crid);
            foreach (var some in groups.Chunk(FramesPerStep)) yield return db => _patches.Drop(db, some);
        }

        yield return DropDamagedEntries;
        foreach (var segments in _condemned.Segments.Chunk(EntriesPerBatch)) yield return db => DropSegments(db, segments);
        yield return DropDictionaries;
        yield return DropRoots;
    }

    /// <summary>Gives the space back, around what was touched.</summary>
    public IEnumerable<Action<RocksDb>> Compactions()
    {
        FaultPoint.Hit("gc.before-compact");
        var ranges = CompactionRanges.Around(_touched, _now.Chunks);
        for (var i = 0; i < ranges.Count; i++)
        {
            var (from, to) = ranges[i];
            _progress?.Report(new StoreProgress("compacting", (ulong)i, (ulong)ranges.Count));
            yield return db => Compact(db, from, to);
        }

        foreach (var compaction in _patches.Compactions()) yield return compaction;

        if (_condemned.Chunks.Count * 4 >= _condemned.IndexEntries && _condemned.Chunks.Count > 0)
            yield return db => db.Compact(ColumnFamily.Index, [], [], rewriteBottom: true);
        if (_segmentsDeleted * 4 >= (ulong)_now.Segments.Count && _segmentsDeleted > 0)
            yield return db => db.Compact(ColumnFamily.Maps, [], [], rewriteBottom: true);
        if (_dictionariesDeleted > 0) yield return db => db.Compact(ColumnFamily.Dictionaries, [], [], rewriteBottom: true);
        yield return db =>
        {
            Housekeeping.FlushAll(db);
            FaultPoint.Hit("gc.compacted");
        };
    }

    private static void Compact(RocksDb db, FrameId from, FrameId to)
    {
        Span<byte> first = stackalloc byte[Keys.FrameSize];
        Span<byte> last = stackalloc byte[Keys.FrameSize];
        Keys.Frame(from, first);
        Keys.Frame(to, last);
        db.Compact(ColumnFamily.Chunks, first, last, rewriteBottom: true);
    }

    /// <summary>Loads a frame; null if it is not there, or damaged: then it is noted as such.</summary>
    private FrameReader? TryLoad(RocksDb db, FrameId id)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.Frame(id, key);
        try
        {
            return db.Get(ColumnFamily.Chunks, key) is { } bytes ? FrameReader.Parse(id, bytes, db.Dictionaries) : null;
        }
        catch (StoreDamagedException)
        {
            _damaged.Add(id);
            return null;
        }
    }

    /// <summary>Both looks' live slots.</summary>
    private ushort Live(FrameId frame) => (ushort)(_condemned.Live.Chunks.Slots(frame) | _now.Chunks.Slots(frame));

    private List<FrameId> AllFrames(RocksDb db, Crid crid)
    {
        var frames = new List<FrameId>();
        if (CridScan.Records(db, ColumnFamily.Chunks, crid, i => frames.Add(Keys.FrameOf(i.Key))) is { } damage)
            _tally.LeftAlone[$"what follows the first {frames.Count} frames of CRID {crid}"] = damage.Message;
        return frames;
    }

    private void DropCrid(RocksDb db, Crid crid)
    {
        var (frames, chunks) = Count(db, crid);
        var (from, to) = (Keys.Crid(crid), Keys.Crid(new Crid(crid.Value + 1)));
        db.DeleteFilesInRange(ColumnFamily.Chunks, from, to);
        using var batch = db.NewBatch();
        batch.DeleteRange(ColumnFamily.Chunks, from, to);
        _patches.DropCrid(db, batch, crid);
        db.Write(batch);
        FaultPoint.Hit("gc.range-deleted");
        _tally.FramesDeleted += frames;
        _tally.Chunks += chunks;
        _touched.Add(new FrameId(crid, 0));
        _touched.Add(new FrameId(crid, uint.MaxValue));
    }

    private (ulong Frames, ulong Chunks) Count(RocksDb db, Crid crid)
    {
        ulong frames = 0, chunks = 0;
        foreach (var (_, slots) in _condemned.Chunks.Frames(crid))
        {
            frames++;
            chunks += (ulong)BitOperations.PopCount((uint)slots);
        }

        if (frames > 0 && !_condemned.Thorough) return (frames, chunks);

        // The index does not know them (any more): look at the frames themselves.
        (frames, chunks) = (0, 0);
        CridScan.Records(db, ColumnFamily.Chunks, crid, i =>
        {
            frames++;
            chunks += SlotsOf(i.Value);
        });
        return (frames, chunks);
    }

    /// <summary>Live slots as the frame's header says, for the tally.</summary>
    private static ulong SlotsOf(ReadOnlySpan<byte> frame) => frame.Length > 5 ? (ulong)BitOperations.PopCount((uint)(frame[4] | frame[5] << 8)) : 0;

    /// <summary>
    /// What is damaged stays for verify to tell, but no capture shall find it any more, nor what is a patch to it: the same content
    /// is stored again. Its own list of content addresses can't be trusted, so all entries are looked at.
    /// </summary>
    private void DropDamagedEntries(RocksDb db)
    {
        if (_damaged.Count + _patches.Damaged.Count == 0) return;
        _tally.DamagedFrames = (ulong)(_damaged.Count + _patches.Damaged.Count);
        var patches = _patches.To(db, _damaged, out var unreadable);
        using var batch = db.NewBatch();
        using var i = db.Iterate(ColumnFamily.Index);
        for (var there = i.SeekToFirst(); there; there = i.Next())
        {
            var chunk = Keys.LocationOf(i.Value);
            if (!(chunk.IsPatch ? patches.Contains(chunk) || unreadable.Contains(chunk.Crid) || _patches.Damaged.Contains(PatchGroupId.Of(chunk)) : _damaged.Contains(FrameId.Of(chunk)))) continue;
            batch.Delete(ColumnFamily.Index, i.Key);
            if (batch.Count < EntriesPerBatch) continue;
            db.Write(batch);
            batch.Clear();
        }

        db.Write(batch);
    }

    private void DropFrames(RocksDb db, FrameId[] frames)
    {
        var batch = db.NewBatch();
        try
        {
            Span<byte> key = stackalloc byte[Keys.FrameSize];
            foreach (var id in frames)
            {
                var live = Live(id);
                Keys.Frame(id, key);
                if (live == 0)
                {
                    DropWhole(db, batch, key, id);
                    continue;
                }

                if (BitOperations.PopCount((uint)live) * WorthRewriting > ChunkLocation.SlotsPerFrame || TryLoad(db, id) is not { } frame) continue;
                var dead = (ushort)(frame.Live & ~live);
                if (dead == 0 || (frame.Live & live) != 0 && BitOperations.PopCount((uint)(frame.Live & live)) * WorthRewriting > frame.LiveCount) continue;
                if (!Rewrite(batch, key, frame, dead)) continue;
                _tally.Chunks += (ulong)BitOperations.PopCount((uint)dead);
                _touched.Add(id);
                if (batch.BytesPut < BatchBytes) continue;
                db.Write(batch);
                batch.Dispose();
                batch = db.NewBatch();
            }

            db.Write(batch);
        }
        finally
        {
            batch.Dispose();
        }

        FaultPoint.Hit("gc.frames-rewritten");
    }

    /// <summary>Nobody refers to any of its pages: it need not be whole to go, as long as RocksDB can read it.</summary>
    private void DropWhole(RocksDb db, RocksWriteBatch batch, ReadOnlySpan<byte> key, FrameId id)
    {
        if (!_tally.TryGet(db, ColumnFamily.Chunks, key, $"{id}", out var bytes)) return;
        batch.Delete(ColumnFamily.Chunks, key);
        _tally.FramesDeleted++;
        _tally.Chunks += SlotsOf(bytes);
        _touched.Add(id);
    }

    private bool Rewrite(RocksWriteBatch batch, ReadOnlySpan<byte> key, FrameReader frame, ushort dead)
    {
        byte[]? rest;
        try
        {
            rest = FrameEncoder.Without(frame, dead, _compression);
        }
        catch (StoreDamagedException)
        {
            _damaged.Add(frame.Id); // a live page in it: leave it for verify, as it is
            return false;
        }

        if (rest is null)
        {
            batch.Delete(ColumnFamily.Chunks, key);
            _tally.FramesDeleted++;
        }
        else
        {
            batch.Put(ColumnFamily.Chunks, key, rest);
            _tally.FramesRewritten++;
        }

        return true;
    }

    private void DropSegments(RocksDb db, SegmentKey[] segments)
    {
        using var batch = db.NewBatch();
        Span<byte> key = stackalloc byte[Keys.SegmentSize];
        foreach (var segment in segments)
        {
            if (_now.Keeps(segment)) continue;
            Keys.Segment(segment.Writer, segment.Space, segment.Number, key);
            batch.Delete(ColumnFamily.Maps, key);
            _segmentsDeleted++;
        }

        db.Write(batch);
        _tally.Segments = _segmentsDeleted;
        FaultPoint.Hit("gc.segments-deleted");
    }

    private void DropDictionaries(RocksDb db)
    {
        try
        {
            _dictionariesDeleted = DictionaryUses.Sweep(db, (id, damage) => _tally.LeftAlone[$"{id}"] = damage.Message);
        }
        catch (StoreDamagedException damage)
        {
            _tally.LeftAlone["the dictionaries"] = damage.Message;
        }

        FaultPoint.Hit("gc.dictionaries-deleted");
    }

    /// <summary>The last deletion: everything that was condemned is gone.</summary>
    private void DropRoots(RocksDb db)
    {
        using var batch = db.NewBatch();
        foreach (var (crid, space) in _condemned.Roots)
            if (!_now.Committed.Contains(crid)) batch.Delete(ColumnFamily.Maps, Keys.Root(crid, space));
        StoreMeta.Put(batch, StoreMeta.GcDone, _condemned.Generation);
        if (_condemned.IndexOwed > 0) // not what commits have come to owe since
            StoreMeta.Put(batch, StoreMeta.IndexOwed, StoreMeta.Read(db, StoreMeta.IndexOwed) - _condemned.IndexOwed);
        db.Write(batch);
    }

    /// <summary>
    /// Live chunks whose entry was dropped, by this gc's first look (an older session took them over) or by one that did not
    /// finish; after such a one any entry may be missing.
    /// </summary>
    private IEnumerable<(FrameId Frame, ushort Slots)> Revived()
    {
        foreach (var (id, slots) in _now.Chunks.Frames())
        {
            var suspects = _condemned.Thorough ? slots : (ushort)(slots & _condemned.Chunks.Slots(id));
            if (suspects != 0) yield return (id, suspects);
        }
    }

    /// <summary>
    /// Makes them findable again; without it they would only be stored a second time. They were alive at the second look, so
    /// this gc frees none of them, and the next one looks at all entries.
    /// </summary>
    private void RestoreIndex(RocksDb db, (FrameId Frame, ushort Slots)[] frames) => IndexRepair.Add(db, Chunks(db, frames));

    private IEnumerable<(ContentHash, ChunkLocation)> Chunks(RocksDb db, (FrameId Frame, ushort Slots)[] frames)
    {
        foreach (var (id, suspects) in frames)
        {
            if (TryLoad(db, id) is not { } frame) continue;
            foreach (var chunk in Chunks(frame, suspects)) yield return chunk;
        }
    }

    /// <summary>Some slots' chunks; fewer if what tells a content address is damaged: the frame is noted as such.</summary>
    private List<(ContentHash, ChunkLocation)> Chunks(FrameReader frame, ushort slots)
    {
        var chunks = new List<(ContentHash, ChunkLocation)>();
        try
        {
            for (var slot = 0; slot < frame.Slots; slot++)
                if ((slots >> slot & 1) != 0 && frame.IsLive(slot)) chunks.Add((frame.Hash(slot), frame.Id.Location(slot)));
        }
        catch (StoreDamagedException)
        {
            _damaged.Add(frame.Id);
        }

        return chunks;
    }
}
