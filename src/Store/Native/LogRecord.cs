using System.Buffers.Binary;
using System.Numerics;
using Crstore.Store.Codec;

namespace Crstore.Store.Native;

/// <summary>
/// A record of RocksDB's logs, of which its manifest is one too. Layout: RocksDB's log_format.h. A masked CRC-32C (over type and content), length u16, type u8, content.
/// </summary>
internal static class LogRecord
{
    private const int HeaderBytes = 7;
    private const int BlockBytes = 32768;
    private const byte Full = 1;
    private const uint ChecksumMask = 0xa282ead8; // util/crc32c.h

    /// <summary>Appends a record with the content that was written, which is cleared. All records of a file must fit into its first block of 32 KiB, so that each is a whole one.</summary>
    /// <param name="log">The file.</param>
    /// <param name="content">Of the record.</param>
    public static void Append(ByteWriter log, ByteWriter content)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(log.Written.Length + HeaderBytes + content.Written.Length, BlockBytes, nameof(content));
        var state = BitOperations.Crc32C(uint.MaxValue, Full);
        foreach (var b in content.Written) state = BitOperations.Crc32C(state, b);
        Span<byte> header = stackalloc byte[HeaderBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(header, BitOperations.RotateRight(~state, 15) + ChecksumMask);
        BinaryPrimitives.WriteUInt16LittleEndian(header[4..], (ushort)content.Written.Length);
        header[^1] = Full;
        log.Bytes(header);
        log.Bytes(content.Written);
        content.Clear();
    }
}
