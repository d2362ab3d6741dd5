using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Crstore.Linux.Files;
using Crstore.Store.Codec;

namespace Crstore.Store.Native;

/// <summary>
/// The files of a database without content that has its column families already: a manifest, and CURRENT, which names it. RocksDB by itself makes the families one behind the other, and writes, syncs and
/// parses the options of all those that are there for each: 33 syncs and 40 ms of processor time for nine. What opens these files finds nothing missing.
/// Layout: RocksDB's log_format.h (<see cref="WalTails"/>), and the tags of db/version_edit.cc.
/// </summary>
internal static class EmptyDatabase
{
    private const string Manifest = "MANIFEST-000001", Current = "CURRENT", Temporary = "000001.dbtmp"; // RocksDB removes what is left of the latter
    private const int HeaderBytes = 7;
    private const byte FullRecord = 1;
    private const uint ChecksumMask = 0xa282ead8; // util/crc32c.h
    private const ulong Comparator = 1, LogNumber = 2, NextFileNumber = 3, LastSequence = 4, Family = 200, FamilyAdded = 201, HighestFamily = 203;

    /// <summary>
    /// Makes it, where there is no database. Killed at any moment it leaves none (there is no CURRENT) or the whole; whoever opens it then makes that durable, as any change of the manifest.
    /// </summary>
    /// <param name="directory">Of the database; is there.</param>
    /// <param name="families">Names, by their numbers; the first one is RocksDB's own.</param>
    public static void Write(string directory, IReadOnlyList<string> families)
    {
        WriteFile(Path.Combine(directory, Manifest), ManifestOf(families));
        var temporary = Path.Combine(directory, Temporary);
        WriteFile(temporary, Encoding.ASCII.GetBytes(Manifest + "\n"));
        FileCalls.SyncDirectory(directory); // CURRENT must not outlive a power cut that the manifest does not
        FileCalls.Rename(temporary, Path.Combine(directory, Current));
    }

    private static byte[] ManifestOf(IReadOnlyList<string> families)
    {
        var (manifest, edit) = (new ByteWriter(), new ByteWriter());
        foreach (var (tag, value) in new[] { (LogNumber, 0UL), (NextFileNumber, 2UL), (LastSequence, 0UL), (HighestFamily, (ulong)families.Count - 1) })
        {
            edit.Varint(tag);
            edit.Varint(value);
        }

        Append(manifest, edit);
        for (var number = 1; number < families.Count; number++)
        {
            edit.Varint(Comparator);
            Text(edit, "leveldb.BytewiseComparator");
            edit.Varint(Family);
            edit.Varint((ulong)number);
            edit.Varint(FamilyAdded);
            Text(edit, families[number]);
            Append(manifest, edit);
        }

        return manifest.Written.ToArray();
    }

    private static void Text(ByteWriter edit, string text)
    {
        edit.Varint((ulong)text.Length);
        edit.Bytes(Encoding.ASCII.GetBytes(text));
    }

    // All of it fits into the first block of 32 KiB, so each is one record.
    private static void Append(ByteWriter manifest, ByteWriter edit)
    {
        var state = BitOperations.Crc32C(uint.MaxValue, FullRecord);
        foreach (var b in edit.Written) state = BitOperations.Crc32C(state, b);
        Span<byte> header = stackalloc byte[HeaderBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(header, BitOperations.RotateRight(~state, 15) + ChecksumMask);
        BinaryPrimitives.WriteUInt16LittleEndian(header[4..], (ushort)edit.Written.Length);
        header[^1] = FullRecord;
        manifest.Bytes(header);
        manifest.Bytes(edit.Written);
        edit.Clear();
    }

    private static void WriteFile(string path, ReadOnlySpan<byte> content)
    {
        using var file = FileCalls.Open(path, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.Truncate | OpenFlags.NoFollow);
        FileCalls.WriteAt(file, content, 0, path);
        FileCalls.Sync(file, path);
    }
}
