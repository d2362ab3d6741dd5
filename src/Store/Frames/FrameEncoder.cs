using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using Crstore.Model;
using Crstore.Store.Codec;
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

    /// <summary>Encodes a full or last frame: all slots live.</summary>
    /// <param name="id">Its key, which the checksum covers.</param>
    /// <param name="hashes">Content addresses, 1 to 16. They are the caller's word: readers check them.</param>
    /// <param name="pages">The pages, one behind the other.</param>
    /// <param name="compression">How; what does not shrink is stored as it is.</param>
    public static byte[] Encode(FrameId id, ReadOnlySpan<ContentHash> hashes, ReadOnlySpan<byte> pages, Compression compression)
    {
        if (hashes.Length is < 1 or > ChunkLocation.SlotsPerFrame) throw new ArgumentException($"{hashes.Length} slots", nameof(hashes));
        return Encode(id, hashes.Length, (ushort)((1u << hashes.Length) - 1), hashes, pages, compression);
    }

    /// <summary>The frame without some of its slots, under the same key; null if none would be left.</summary>
    /// <param name="frame">The frame as it is. Its remaining pages are checked against their content addresses.</param>
    /// <param name="deadSlots">Bit N set: slot N goes. Slots that are dead already may be set.</param>
    /// <param name="compression">How to compress the rest.</param>
    /// <exception cref="StoreDamagedException">A remaining page is not what its address says: nothing is rewritten.</exception>
    public static byte[]? Without(FrameReader frame, ushort deadSlots, Compression compression)
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

        return Encode(frame.Id, frame.Slots, live, hashes, pages, compression);
    }

    private static byte[] Encode(FrameId id, int slots, ushort live, ReadOnlySpan<ContentHash> hashes, ReadOnlySpan<byte> pages, Compression compression)
    {
        if (pages.Length != hashes.Length * VirtualPage.Size) throw new ArgumentException($"{pages.Length} bytes for {hashes.Length} slots", nameof(pages));
        var packed = compression.ZstdLevel is null ? null : ArrayPool<byte>.Shared.Rent(ZstdCompressor.Bound(pages.Length));
        try
        {
            var codec = FrameCodec.None;
            var payload = pages;
            if (packed is not null)
            {
                var length = ZstdCompressor.ThisThread.Wrap(pages, packed, compression.ZstdLevel!.Value);
                if (length < pages.Length - (pages.Length >> WorthwhileShift))
                {
                    codec = FrameCodec.Zstd;
                    payload = packed.AsSpan(0, length);
                }
            }

            var frame = new byte[FrameLayout.Overhead(hashes.Length) + payload.Length];
            FrameLayout.WriteHeader(frame, codec, slots, live, payload.Length);
            var position = FrameLayout.HeaderSize;
            foreach (ref readonly var hash in hashes)
            {
                hash.Write(frame.AsSpan(position));
                position += ContentHash.Size;
            }

            payload.CopyTo(frame.AsSpan(position));
            var content = frame.AsSpan(0, frame.Length - Crc32C.Size);
            BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(content.Length), FrameLayout.Checksum(id, content));
            return frame;
        }
        finally
        {
            if (packed is not null) ArrayPool<byte>.Shared.Return(packed);
        }
    }
}
