using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Store.Native;

namespace Crstore.Store.Dictionaries;

/// <summary>
/// A dictionary in memory, in huge pages if there are any: what is copied from it lies anywhere in it. Where a piece of it is damaged there are zeros: pages that
/// are made from that piece don't come out as their content address says, the others do. Thread safe; freed when nobody refers to it any more.
/// </summary>
internal sealed class StoredDictionary
{
    private readonly MappedMemory? memory; // null only if there was none to be had
    private byte[][]? records; // of its pieces, once they are packed

    private StoredDictionary(DictionaryId id, int size)
    {
        const int page = VirtualPage.Size;
        (Id, Size) = (id, size);
        memory = new MappedMemory((size + page - 1) / page * page, huge: true);
        GC.AddMemoryPressure(memory.SizeBytes);
    }

    /// <summary>Frees what the garbage collector doesn't see.</summary>
    ~StoredDictionary()
    {
        if (memory is null) return;
        GC.RemoveMemoryPressure(memory.SizeBytes);
        ((IDisposable)memory).Dispose();
    }

    /// <summary>Its number.</summary>
    public DictionaryId Id { get; }

    /// <summary>Bytes.</summary>
    public int Size { get; }

    /// <summary>What is wrong with it; null if nothing is.</summary>
    public string? Damage { get; private set; }

    /// <summary>Its content; whoever uses it keeps the dictionary alive (<see cref="GC.KeepAlive"/>).</summary>
    public Span<byte> Content => memory!.GetSpan()[..Size];

    /// <summary>One that is new.</summary>
    public static StoredDictionary Of(DictionaryId id, ReadOnlySpan<byte> content)
    {
        var made = new StoredDictionary(id, content.Length);
        content.CopyTo(made.Content);
        GC.KeepAlive(made);
        return made;
    }

    /// <summary>Reads one; null if nothing is there that tells how large it is.</summary>
    public static StoredDictionary? Load(RocksDb db, DictionaryId id)
    {
        var records = new List<byte[]?>();
        var size = 0;
        for (uint number = 0; number < DictionaryPiece.CountOf(size == 0 ? FormatLimits.Default.MaxDictionaryBytes : size); number++)
        {
            records.Add(TryGet(db, id, number));
            if (size != 0 || records[^1] is not { } record) continue;
            try
            {
                size = DictionaryPiece.DictionaryBytes(id, number, record);
            }
            catch (StoreDamagedException)
            {
                continue; // another piece may tell
            }
        }

        if (size == 0) return null;
        var loaded = new StoredDictionary(id, size);
        AllCores.For(0, DictionaryPiece.CountOf(size), i => loaded.Unpack((uint)i, records[i]));
        return loaded;
    }

    /// <summary>True if it is whole and its content is another one's.</summary>
    public bool IsSame(StoredDictionary other)
    {
        var same = Damage is null && Content.SequenceEqual(other.Content);
        GC.KeepAlive(this);
        GC.KeepAlive(other);
        return same;
    }

    /// <summary>Packs its pieces, which takes seconds: not for under a lock.</summary>
    /// <param name="cancel">Asked between two.</param>
    /// <param name="beside">One core does this first, while others pack.</param>
    public void Pack(CancellationToken cancel = default, Action? beside = null)
    {
        var packed = new byte[DictionaryPiece.CountOf(Size)][];
        AllCores.For(beside is null ? 0 : -1, packed.Length, i =>
        {
            cancel.ThrowIfCancellationRequested();
            if (i < 0) beside!();
            else packed[i] = DictionaryPiece.Encode(Id, (uint)i, Content);
        });
        GC.KeepAlive(this);
        records = packed;
    }

    /// <summary>Puts all its pieces.</summary>
    /// <returns>Bytes of their records.</returns>
    public long Put(RocksWriteBatch batch)
    {
        if (records is null) Pack();
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        for (uint i = 0; i < records!.Length; i++)
        {
            Keys.DictionaryPiece(Id, i, key);
            batch.Put(ColumnFamily.Dictionaries, key, records[i]);
        }

        return records.Sum(r => (long)r.Length);
    }

    /// <summary>Unpacks a frame's payload that was packed with it.</summary>
    /// <returns>Bytes written, or -1 with an error.</returns>
    public int Unwrap(ReadOnlySpan<byte> source, Span<byte> destination, out string error)
    {
        var length = ZstdDecompressor.ThisThread.Unwrap(source, destination, Content, out error);
        GC.KeepAlive(this);
        return length;
    }

    private void Unpack(uint number, byte[]? record)
    {
        try
        {
            DictionaryPiece.Decode(Id, number, record, Content);
        }
        catch (StoreDamagedException e)
        {
            Content.Slice((int)number * DictionaryPiece.Size, Math.Min(DictionaryPiece.Size, Size - (int)number * DictionaryPiece.Size)).Clear();
            Damage = e.Message;
        }
    }

    private static byte[]? TryGet(RocksDb db, DictionaryId id, uint number)
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.DictionaryPiece(id, number, key);
        try
        {
            return db.Get(ColumnFamily.Dictionaries, key);
        }
        catch (StoreDamagedException)
        {
            return null; // RocksDB's own checksum: as good as missing
        }
    }
}
