using System.Buffers.Binary;
using System.Numerics;
using Crstore.Model;
using Crstore.Store.Codec;
using Crstore.Store.Dictionaries;
using Crstore.Store.Native;

namespace Crstore.Store.Frames;

/// <summary>
/// Makes frames: up to 16 chunks compressed together. A slot keeps its number for ever, also when gc rewrites the frame
/// without its dead slots, so page maps and index entries never move. Thread safe.
/// </summary>
public static class FrameEncoder
{
    // Less than 1/32 saved isn't worth unpacking on every read.
    private const int WorthwhileShift = 5;

    /// <summary>Room that any frame fits into while it is being made.</summary>
    public static readonly int WorkBytes = FrameLayout.Overhead(ChunkLocation.SlotsPerFrame, FrameCodec.Zstd) + FrameLayout.DictionaryIdSize + ZstdCompressor.Bound(ChunkLocation.SlotsPerFrame * VirtualPage.Size);

    /// <summary>Encodes a full or last frame: all slots live.</summary>
    /// <param name="id">Its key, which the checksum covers.</param>
    /// <param name="hashes">Content addresses, 1 to 16. They are the caller's word: readers check them.</param>
    /// <param name="pages">The pages, one behind the other.</param>
    /// <param name="compression">How; what does not shrink is stored as it is.</param>
    public static byte[] Encode(FrameId id, ReadOnlySpan<ContentHash> hashes, ReadOnlySpan<byte> pages, Compression compression)
    {
        var work = new byte[WorkBytes];
        return work[..Encode(id, hashes, pages, compression, work)];
    }

    /// <summary>The same into memory of the caller's.</summary>
    /// <param name="id">Its key, which the checksum covers.</param>
    /// <param name="hashes">Content addresses, 1 to 16. They are the caller's word: readers check them.</param>
    /// <param name="pages">The pages, one behind the other.</param>
    /// <param name="compression">How; what does not shrink is stored as it is.</param>
    /// <param name="work">Where to, <see cref="WorkBytes"/> long.</param>
    /// <returns>Bytes of the frame, from the start of <paramref name="work"/> on.</returns>
    public static int Encode(FrameId id, ReadOnlySpan<ContentHash> hashes, ReadOnlySpan<byte> pages, Compression compression, Span<byte> work)
    {
        if (hashes.Length is < 1 or > ChunkLocation.SlotsPerFrame) throw new ArgumentException($"{hashes.Length} slots", nameof(hashes));
        return Encode(id, hashes.Length, (ushort)((1u << hashes.Length) - 1), hashes, pages, compression, dictionary: null, work);
    }

    /// <summary>The frame without some of its slots, under the same key; null if none would be left.</summary>
    /// <param name="frame">The frame as it is. Its remaining pages are checked against their content addresses.</param>
    /// <param name="deadSlots">Bit N set: slot N goes. Slots that are dead already may be set.</param>
    /// <param name="compression">How to compress the rest.</param>
    /// <exception cref="StoreDamagedException">A remaining page is not what its address says: nothing is rewritten.</exception>
    public static byte[]? Without(FrameReader frame, ushort deadSlots, Compression compression) => Without(frame, deadSlots, compression, dictionary: null);

    /// <summary>The same with a dictionary, instead of what the compression says.</summary>
    /// <exception cref="StoreDamagedException">A remaining page is not what its address says: nothing is rewritten.</exception>
    internal static byte[]? Without(FrameReader frame, ushort deadSlots, Compression compression, PackingDictionary? dictionary)
    {
        var live = (ushort)(frame.Live & ~deadSlots);
        var count = BitOperations.PopCount(live);
        if (count == 0) return null;
        var hashes = new ContentHash[count];
        var pages = new byte[count * VirtualPage.Size];
        for (int slot = 0, i = 0; slot < frame.Slots; slot++)
        {
            if ((live >> slot & 1) == 0) continue;
            hashes[i] = frame.Hash(slot);
            frame.Read(slot, pages.AsSpan(i * VirtualPage.Size, VirtualPage.Size));
            i++;
        }

        var work = new byte[WorkBytes];
        return work[..Encode(frame.Id, frame.Slots, live, hashes, pages, compression, dictionary, work)];
    }

    private static int Encode(FrameId id, int slots, ushort live, ReadOnlySpan<ContentHash> hashes, ReadOnlySpan<byte> pages, Compression compression, PackingDictionary? dictionary,
        Span<byte> work)
    {
        if (pages.Length != hashes.Length * VirtualPage.Size) throw new ArgumentException($"{pages.Length} bytes for {hashes.Length} slots", nameof(pages));
        if (work.Length < WorkBytes) throw new ArgumentException($"{work.Length} bytes are too few", nameof(work));
        var position = FrameLayout.HeaderSize + hashes.Length * FrameLayout.HashSize(dictionary is null ? FrameCodec.Zstd : FrameCodec.ZstdWithDictionary);
        var payload = Pack(pages, compression, dictionary, work[position..], out var codec);
        if (payload < 0) return Encode(id, slots, live, hashes, pages, new Compression(ZstdLevel: null), dictionary: null, work);
        WriteHashes(hashes, FrameLayout.HashSize(codec), work[FrameLayout.HeaderSize..]);
        FrameLayout.WriteHeader(work, codec, slots, live, payload);
        position += payload;
        BinaryPrimitives.WriteUInt32LittleEndian(work[position..], FrameLayout.Checksum(id, work[..position]));
        return position + Crc32C.Size;
    }

    private static void WriteHashes(ReadOnlySpan<ContentHash> hashes, int bytesOfEach, Span<byte> destination)
    {
        Span<byte> all = stackalloc byte[ContentHash.Size];
        foreach (ref readonly var hash in hashes)
        {
            hash.Write(all);
            all[..bytesOfEach].CopyTo(destination);
            destination = destination[bytesOfEach..];
        }
    }

    /// <returns>Bytes of the payload; -1 if the pages don't shrink with the dictionary.</returns>
    private static int Pack(ReadOnlySpan<byte> pages, Compression compression, PackingDictionary? dictionary, Span<byte> payload, out FrameCodec codec)
    {
        if (dictionary is not null)
        {
            codec = FrameCodec.ZstdWithDictionary;
            BinaryPrimitives.WriteUInt64LittleEndian(payload, dictionary.Content.Id.Value);
            var length = FrameLayout.DictionaryIdSize + dictionary.Wrap(pages, payload[FrameLayout.DictionaryIdSize..^Crc32C.Size]);
            return length < pages.Length - (pages.Length >> WorthwhileShift) ? length : -1;
        }

        if (compression.ZstdLevel is { } level)
        {
            codec = FrameCodec.Zstd;
            var zstd = ZstdCompressor.ThisThread;
            var room = payload[..^Crc32C.Size];
            var length = compression.Fast ? zstd.WrapFast(pages, room) : zstd.Wrap(pages, room, level);
            if (length < pages.Length - (pages.Length >> WorthwhileShift)) return length;
        }

        codec = FrameCodec.None;
        pages.CopyTo(payload);
        return pages.Length;
    }
}
