using System.Buffers.Binary;

namespace Crstore.Model;

/// <summary>
/// The content address of a page: SHA-256 of its 4096 bytes. It must hold against someone who controls page
/// contents, since a hit in the index replaces storing the page (docs/FORMAT.md has the measured alternatives).
/// </summary>
public readonly record struct ContentHash(ulong A, ulong B, ulong C, ulong D)
{
    /// <summary>Length in bytes.</summary>
    public const int Size = 32;

    /// <summary>Reads 32 bytes as they are stored.</summary>
    public static ContentHash Read(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt64BigEndian(source),
        BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
        BinaryPrimitives.ReadUInt64BigEndian(source[16..]),
        BinaryPrimitives.ReadUInt64BigEndian(source[24..]));

    /// <summary>Writes the 32 bytes; their order equals the order of the stored keys.</summary>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64BigEndian(destination, A);
        BinaryPrimitives.WriteUInt64BigEndian(destination[8..], B);
        BinaryPrimitives.WriteUInt64BigEndian(destination[16..], C);
        BinaryPrimitives.WriteUInt64BigEndian(destination[24..], D);
    }

    /// <summary>64 lower-case hex digits.</summary>
    public override string ToString() => $"{A:x16}{B:x16}{C:x16}{D:x16}";
}
