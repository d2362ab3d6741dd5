using System.Buffers.Binary;
using System.Numerics;
using Crstore.Model;

namespace Crstore.Store.Native;

/// <summary>
/// RocksDB forgives a record at a log's end that is cut short: its writer has died there. A record whose length was damaged looks the same to it, and a
/// commit would be gone without a word. But then its checksum fits what is there, if only one knew how much of that: so each length is tried.
/// Layout: RocksDB's log_format.h. Blocks of 32 KiB; records of a masked CRC-32C (over type and content), length u16, type u8, content.
/// </summary>
internal static class WalTails
{
    private const int BlockBytes = 32768, HeaderBytes = 7;

    /// <summary>Looks at the last block of each log of a database.</summary>
    /// <exception cref="StoreDamagedException">The length of a record is damaged; names the log.</exception>
    public static void Check(string database)
    {
        if (!Directory.Exists(database)) return;
        foreach (var log in Directory.EnumerateFiles(database, "*.log"))
        {
            if (LastBlock(log) is { } block && HasDamagedLength(block))
                throw new StoreDamagedException($"the log {log} is damaged: a record at its end has a length that is not its own");
        }
    }

    private static byte[]? LastBlock(string log)
    {
        try
        {
            using var file = File.OpenHandle(log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var size = RandomAccess.GetLength(file);
            if (size == 0) return null;
            var start = (size - 1) / BlockBytes * BlockBytes;
            var block = new byte[size - start];
            var done = 0;
            while (done < block.Length && RandomAccess.Read(file, block.AsSpan(done), start + done) is var n and > 0) done += n;
            return block[..done];
        }
        catch (FileNotFoundException)
        {
            return null; // its owner has no more use for it
        }
    }

    private static bool HasDamagedLength(ReadOnlySpan<byte> block)
    {
        while (block.Length >= HeaderBytes)
        {
            var length = BinaryPrimitives.ReadUInt16LittleEndian(block[4..]);
            if (HeaderBytes + length > block.Length) return SomeLengthFits(block);
            block = block[(HeaderBytes + length)..];
        }

        return false;
    }

    private static bool SomeLengthFits(ReadOnlySpan<byte> record)
    {
        var stored = Unmasked(BinaryPrimitives.ReadUInt32LittleEndian(record));
        var state = BitOperations.Crc32C(uint.MaxValue, record[HeaderBytes - 1]);
        foreach (var b in record[HeaderBytes..])
        {
            state = BitOperations.Crc32C(state, b);
            if (~state == stored) return true;
        }

        return false;
    }

    // util/crc32c.h: rotated right by 15 bits, plus a constant.
    private static uint Unmasked(uint masked) => BitOperations.RotateLeft(masked - 0xa282ead8, 15);
}
