using System.Buffers.Binary;
using System.Numerics;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Store.Codec;
using Crstore.Store.Dictionaries;
using Crstore.Store.Native;

namespace Crstore.Store.Frames;

/// <summary>
/// A stored frame. Parsing checks structure and checksum; the payload is unpacked at the first read, and every page is
/// checked against its content address before it is handed out. Reading is thread safe.
/// </summary>
public sealed class FrameReader
{
    private readonly ReadOnlyMemory<byte> _frame;
    private readonly FrameCodec _codec;
    private readonly ReadOnlyMemory<byte> _payload;
    private readonly DictionaryCache? _dictionaries;
    private byte[]? _unpacked;
    private ContentHash[]? _hashes; // of the live pages, where the frame has only their starts
    private int _checked;

    private FrameReader(FrameId id, ReadOnlyMemory<byte> frame, DictionaryCache? dictionaries)
    {
        (Id, _frame, _dictionaries) = (id, frame, dictionaries);
        var bytes = frame.Span;
        _codec = (FrameCodec)bytes[1];
        Slots = bytes[2];
        Live = BinaryPrimitives.ReadUInt16LittleEndian(bytes[4..]);
        var hashes = LiveCount * FrameLayout.HashSize(_codec);
        _payload = frame[(FrameLayout.HeaderSize + hashes)..^Crc32C.Size];
        if (_codec != FrameCodec.ZstdWithDictionary) return;
        Dictionary = new DictionaryId(BinaryPrimitives.ReadUInt64LittleEndian(_payload.Span));
        _payload = _payload[FrameLayout.DictionaryIdSize..];
    }

    /// <summary>Its key.</summary>
    public FrameId Id { get; }

    /// <summary>Slots it was made with, 1 to 16; dead ones keep their number.</summary>
    public int Slots { get; }

    /// <summary>Bit N set: slot N has content.</summary>
    public ushort Live { get; }

    /// <summary>Slots with content.</summary>
    public int LiveCount => BitOperations.PopCount(Live);

    /// <summary>The dictionary without which its pages are lost; null if it needs none.</summary>
    internal DictionaryId? Dictionary { get; }

    /// <summary>Bytes of the payload as it is stored.</summary>
    public int StoredPayloadBytes => _payload.Length;

    /// <summary>True if the slot has content.</summary>
    public bool IsLive(int slot) => slot is >= 0 and < ChunkLocation.SlotsPerFrame && (Live >> slot & 1) != 0;

    /// <summary>Parses a stored frame.</summary>
    /// <param name="id">The key it was found under.</param>
    /// <param name="frame">Its bytes, kept until the reader is dropped.</param>
    /// <param name="limits">Null for the default ones.</param>
    /// <exception cref="StoreDamagedException">It is not a frame, or another one's bytes.</exception>
    public static FrameReader Parse(FrameId id, ReadOnlyMemory<byte> frame, FormatLimits? limits = null) => Parse(id, frame, dictionaries: null, limits);

    /// <summary>The same, of a frame that may need a dictionary.</summary>
    /// <param name="id">The key it was found under.</param>
    /// <param name="frame">Its bytes, kept until the reader is dropped.</param>
    /// <param name="dictionaries">The store's; asked when it is unpacked, so the database must be open then.</param>
    /// <param name="limits">Null for the default ones.</param>
    /// <exception cref="StoreDamagedException">It is not a frame, or another one's bytes.</exception>
    internal static FrameReader Parse(FrameId id, ReadOnlyMemory<byte> frame, DictionaryCache? dictionaries, FormatLimits? limits = null)
    {
        limits ??= FormatLimits.Default;
        var bytes = frame.Span;
        if (bytes.Length < FrameLayout.Overhead(1, FrameCodec.ZstdWithDictionary)) throw Damaged(id, bytes.IsEmpty ? "missing" : "too short");
        if (bytes[0] != FrameLayout.Version) throw Damaged(id, $"unknown version {bytes[0]}");
        var (codec, slots) = ((FrameCodec)bytes[1], (int)bytes[2]);
        var live = BinaryPrimitives.ReadUInt16LittleEndian(bytes[4..]);
        var payload = BinaryPrimitives.ReadUInt32LittleEndian(bytes[8..]);
        var count = BitOperations.PopCount(live);
        if (slots < 1 || slots > limits.MaxFrameSlots || count < 1 || live >> slots != 0) throw Damaged(id, "impossible slots");
        if (codec > FrameCodec.ZstdWithDictionary) throw Damaged(id, $"unknown codec {bytes[1]}");
        if (bytes[3] != 0 || bytes[6] != 0 || bytes[7] != 0) throw Damaged(id, "reserved bytes that are not 0");
        var fits = codec == FrameCodec.None ? payload == count * VirtualPage.Size : payload > (codec == FrameCodec.Zstd ? 0 : FrameLayout.DictionaryIdSize) && payload < count * VirtualPage.Size;
        if (payload > limits.MaxFramePayloadBytes || !fits) throw Damaged(id, $"a payload of {payload} bytes for {count} pages");
        if (bytes.Length != FrameLayout.Overhead(count, codec) + (int)payload) throw Damaged(id, $"{bytes.Length} bytes, not what its header says");
        if (FrameLayout.Checksum(id, bytes[..^Crc32C.Size]) != BinaryPrimitives.ReadUInt32LittleEndian(bytes[^Crc32C.Size..]))
            throw Damaged(id, "wrong checksum");
        return new FrameReader(id, frame, dictionaries);
    }

    /// <summary>Content address of a live slot, all of it. Of a frame that has only its start it is made from the page, which is unpacked for that and checked.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead: something refers to a page that is gone; or the page had to be read and isn't what the start says.</exception>
    public ContentHash Hash(int slot)
    {
        var stored = StoredHash(slot);
        if (stored.Length == ContentHash.Size) return ContentHash.Read(stored);
        var hash = (_hashes ??= HashesOfPages())[FrameLayout.Rank(Live, slot)];
        Check(slot, hash);
        return hash;
    }

    /// <summary>The first eight bytes of a live slot's content address, big endian: every frame has them. They tell two pages apart; that two are the same they don't.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead.</exception>
    internal ulong HashStart(int slot) => BinaryPrimitives.ReadUInt64BigEndian(StoredHash(slot));

    /// <summary>True if as much of a live slot's content address as the frame has is that of this one.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead.</exception>
    internal bool Fits(int slot, in ContentHash hash)
    {
        var stored = StoredHash(slot);
        Span<byte> all = stackalloc byte[ContentHash.Size];
        hash.Write(all);
        return stored.SequenceEqual(all[..stored.Length]);
    }

    /// <summary>Reads one page, checked against its content address.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead, or its bytes are not what its address says.</exception>
    public void Read(int slot, Span<byte> destination) => Page(slot).CopyTo(destination);

    /// <summary>Reads consecutive slots, all of which must be live.</summary>
    /// <exception cref="StoreDamagedException">The same.</exception>
    public void Read(int first, int count, Span<byte> destination)
    {
        for (var i = 0; i < count; i++) Page(first + i).CopyTo(destination[(i * VirtualPage.Size)..]);
    }

    /// <summary>Reads all slots to their places; dead ones give zeros.</summary>
    /// <param name="destination">At least <see cref="Slots"/> pages.</param>
    /// <exception cref="StoreDamagedException">A page is not what its address says.</exception>
    public void ReadAll(Span<byte> destination)
    {
        for (var slot = 0; slot < Slots; slot++)
        {
            var page = destination.Slice(slot * VirtualPage.Size, VirtualPage.Size);
            if (IsLive(slot)) Page(slot).CopyTo(page);
            else page.Clear();
        }
    }

    /// <summary>Unpacks all live pages, one behind the other, without checking them: <see cref="Check(int, ReadOnlySpan{byte})"/> is for the caller.</summary>
    /// <param name="destination"><see cref="LiveCount"/> pages.</param>
    /// <exception cref="StoreDamagedException">The payload is no such zstd frame.</exception>
    public void Unpack(Span<byte> destination)
    {
        if (destination.Length != LiveCount * VirtualPage.Size) throw new ArgumentException($"{destination.Length} bytes for {LiveCount} pages", nameof(destination));
        if (_codec == FrameCodec.None)
        {
            _payload.Span.CopyTo(destination);
            return;
        }

        string error;
        var length = Dictionary is null ? ZstdDecompressor.ThisThread.Unwrap(_payload.Span, destination, out error) : NeededDictionary().Unwrap(_payload.Span, destination, out error);
        if (length < 0) throw Damaged(Id, $"zstd: {error}");
        if (length != destination.Length) throw Damaged(Id, $"unpacks to {length} bytes instead of {destination.Length}");
    }

    /// <summary>Unpacks into memory that is used again for other frames: what this reader gives is valid until then.</summary>
    /// <param name="buffer">At least <see cref="LiveCount"/> pages.</param>
    /// <exception cref="StoreDamagedException">The payload is no such zstd frame.</exception>
    internal void UnpackInto(byte[] buffer)
    {
        if (_codec == FrameCodec.None) return;
        Unpack(buffer.AsSpan(0, LiveCount * VirtualPage.Size));
        Volatile.Write(ref _unpacked, buffer);
    }

    /// <summary>Compares what was unpacked of a live slot with its content address.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead, or its bytes are not what its address says.</exception>
    public void Check(int slot, ReadOnlySpan<byte> page) => Check(slot, PageHash.Of(page));

    /// <summary>Compares the address of what was unpacked of a live slot with what it should be.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead, or that is another one.</exception>
    internal void Check(int slot, in ContentHash unpacked)
    {
        if (!Fits(slot, unpacked))
            throw Damaged(Id, $"slot {slot} is not what its content address says{(Dictionary is { } id && _dictionaries?.Find(id)?.Damage is { } damage ? $"; {damage}" : "")}");
    }

    /// <summary>A live slot's page, checked; valid as long as the reader.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead, or its bytes are not what its address says.</exception>
    public ReadOnlySpan<byte> Page(int slot)
    {
        var page = Unchecked(slot);
        if ((Volatile.Read(ref _checked) >> slot & 1) != 0) return page;
        Check(slot, page);
        Interlocked.Or(ref _checked, 1 << slot);
        return page;
    }

    /// <summary>A live slot's page as it was unpacked: whoever uses it checks it, or what is made of it.</summary>
    /// <exception cref="StoreDamagedException">The slot is dead, or the payload is no such zstd frame.</exception>
    internal ReadOnlySpan<byte> Unchecked(int slot) => IsLive(slot)
        ? Pages().Slice(FrameLayout.Rank(Live, slot) * VirtualPage.Size, VirtualPage.Size)
        : throw Damaged(Id, $"slot {slot} has no content");

    private ReadOnlySpan<byte> StoredHash(int slot)
    {
        if (!IsLive(slot)) throw Damaged(Id, $"slot {slot} has no content");
        var size = FrameLayout.HashSize(_codec);
        return _frame.Span.Slice(FrameLayout.HeaderSize + FrameLayout.Rank(Live, slot) * size, size);
    }

    /// <summary>What is unpacked only for that isn't kept.</summary>
    private ContentHash[] HashesOfPages()
    {
        var hashes = new ContentHash[LiveCount];
        PageHash.Of((Volatile.Read(ref _unpacked) ?? Unpack()).AsSpan(0, LiveCount * VirtualPage.Size), hashes);
        return hashes;
    }

    private ReadOnlySpan<byte> Pages()
    {
        if (_codec == FrameCodec.None) return _payload.Span;

        // Two threads may both unpack the first time; either result is right.
        if (Volatile.Read(ref _unpacked) is not { } pages) Volatile.Write(ref _unpacked, pages = Unpack());
        return pages;
    }

    private StoredDictionary NeededDictionary() => _dictionaries?.Find(Dictionary!.Value) ?? throw Damaged(Id, $"it was packed with {Dictionary}, which is missing");

    private byte[] Unpack()
    {
        var pages = GC.AllocateUninitializedArray<byte>(LiveCount * VirtualPage.Size);
        Unpack(pages);
        return pages;
    }

    private static StoreDamagedException Damaged(FrameId id, string what) => new($"{id}: {what}");
}
