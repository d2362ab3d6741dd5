using System.Buffers.Binary;
using Crstore.Model;
using Crstore.Store.Dictionaries;
using Crstore.Store.Frames;
using Crstore.Store.Native;
using Crstore.Store.Reading;

namespace Crstore.Store.Maintenance;

/// <summary>Makes a dictionary of what comes again and again in frames that are to be packed, from a snapshot; nothing is written.</summary>
internal static class DictionaryMaker
{
    /// <summary>A dictionary is at most that part of the pages that it is for, packed some percent of their packed size.</summary>
    public const int Share = 21;

    /// <summary>Bytes of the largest one. A third more would save half a percent, and cost each process that reads any of them as much more memory (docs/PERFORMANCE.md).</summary>
    public const int MostBytes = 24 << 20;

    private const uint TrainedMagic = 0xEC30A437; // ZSTD_MAGIC_DICTIONARY, zstd.h: content must not look like it

    /// <summary>Counts what comes in frames.</summary>
    /// <param name="db">The snapshot.</param>
    /// <param name="found">Some frames, in stored order. Damaged ones, and those that are packed with a dictionary already, count for nothing.</param>
    /// <param name="seen">Counts.</param>
    /// <param name="cancel">Asked.</param>
    /// <returns>Bytes of their pages.</returns>
    public static long Count(RocksDb db, List<(byte[] Key, byte[] Value)> found, Repetitions seen, CancellationToken cancel)
    {
        var features = new ulong[][]?[found.Count];
        var weights = new byte[found.Count];
        AllCores.For(0, found.Count, i =>
        {
            cancel.ThrowIfCancellationRequested();
            try
            {
                var frame = FrameReader.Parse(Keys.FrameOf(found[i].Key), found[i].Value, db.Dictionaries);
                if (frame.Dictionary is not null) return;
                var scratch = FrameScratch.OfThisThread;
                var pages = scratch.Unpacked.AsSpan(0, frame.LiveCount * VirtualPage.Size);
                frame.Unpack(pages);
                features[i] = Repetitions.Of(pages);
                weights[i] = (byte)Math.Clamp((long)frame.StoredPayloadBytes * byte.MaxValue / pages.Length, 1, byte.MaxValue);
            }
            catch (StoreDamagedException)
            {
                features[i] = null; // whoever packs it says so
            }
        });
        long bytes = 0;
        for (var i = 0; i < features.Length; i++)
        {
            if (features[i] is not { } parts) continue;
            seen.Add(Keys.FrameOf(found[i].Key), parts, weights[i]);
            bytes += (long)parts.Length * Repetitions.PartBytes;
        }

        return bytes;
    }

    /// <summary>Makes it; null if too little comes twice.</summary>
    /// <param name="db">The snapshot.</param>
    /// <param name="id">Its number.</param>
    /// <param name="seen">What was counted.</param>
    /// <param name="bytes">Of the pages that it is for.</param>
    /// <param name="least">A smaller one isn't worth it.</param>
    public static StoredDictionary? Make(RocksDb db, DictionaryId id, Repetitions seen, long bytes, int least)
    {
        var best = seen.Best((int)(Math.Min(bytes / Share, MostBytes) / Repetitions.PartBytes));
        if (best.Count == 0 || best.Count * Repetitions.PartBytes < least) return null;
        var content = new byte[best.Count * Repetitions.PartBytes];
        var pages = new byte[ChunkLocation.SlotsPerFrame * VirtualPage.Size];
        FrameId? unpacked = null;
        for (var i = 0; i < best.Count; i++)
        {
            var (from, part) = best[i];
            if (unpacked != from)
            {
                var frame = ChunkLookup.LoadFrame(db, from);
                frame.Unpack(pages.AsSpan(0, frame.LiveCount * VirtualPage.Size));
                unpacked = from;
            }

            pages.AsSpan(part * Repetitions.PartBytes, Repetitions.PartBytes).CopyTo(content.AsSpan(i * Repetitions.PartBytes));
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(content) == TrainedMagic) content[0] = 0;
        return StoredDictionary.Of(id, content);
    }
}
