using System.Text;
using Crstore.Linux.Files;
using Crstore.Store.Codec;

namespace Crstore.Store.Native;

/// <summary>
/// The files of a database without content that has its column families already: a manifest, and CURRENT, which names it. RocksDB by itself makes the families one behind the other, and writes, syncs and
/// parses the options of all those that are there for each: 33 syncs and 40 ms of processor time for nine. What opens these files finds nothing missing.
/// Layout: <see cref="LogRecord"/>, the tags of db/version_edit.cc, and db/write_batch.cc (sequence number u64, count u32, entries).
/// </summary>
internal static class EmptyDatabase
{
    private const string Manifest = "MANIFEST-000001", Current = "CURRENT", Identity = "IDENTITY", Temporary = "000001.dbtmp"; // RocksDB removes what is left of the latter
    private const string FirstLog = "000002.log";
    private const byte FamilyValue = 5; // kTypeColumnFamilyValue, db/dbformat.h
    private const ulong Comparator = 1, LogNumber = 2, NextFileNumber = 3, LastSequence = 4, Family = 200, FamilyAdded = 201, HighestFamily = 203;

    /// <summary>
    /// Makes it, where there is no database. Killed at any moment it leaves none (there is no CURRENT) or the whole, durable when this returns.
    /// </summary>
    /// <param name="directory">Of the database; is there.</param>
    /// <param name="families">Names, by their numbers; the first one is RocksDB's own.</param>
    public static void Write(string directory, IReadOnlyList<string> families)
    {
        WriteFile(Path.Combine(directory, Manifest), ManifestOf(families));
        WriteFile(Path.Combine(directory, Identity), Encoding.ASCII.GetBytes($"{Guid.NewGuid()}"));
        var temporary = Path.Combine(directory, Temporary);
        WriteFile(temporary, Encoding.ASCII.GetBytes(Manifest + "\n"));
        FileCalls.SyncDirectory(directory); // CURRENT must not outlive a power cut that the manifest does not
        FileCalls.Rename(temporary, Path.Combine(directory, Current));
        FileCalls.SyncDirectory(directory);
    }

    /// <summary>
    /// Puts the first entries into a database that was just made: as its log, which whoever opens it reads. Killed at any moment it leaves all of them or none, durable when this returns.
    /// </summary>
    /// <param name="directory">Of the database.</param>
    /// <param name="family">Number of the family that they go into.</param>
    /// <param name="entries">Keys and values.</param>
    public static void WriteFirst(string directory, int family, IReadOnlyList<(byte[] Key, byte[] Value)> entries)
    {
        var (log, batch) = (new ByteWriter(), new ByteWriter());
        batch.Bytes(BitConverter.GetBytes(1UL)); // of the first entry: the manifest says that there was none before
        batch.UInt32((uint)entries.Count);
        foreach (var (key, value) in entries)
        {
            batch.Byte(FamilyValue);
            batch.Varint((uint)family);
            Sized(batch, key);
            Sized(batch, value);
        }

        LogRecord.Append(log, batch);
        // Under its name it must not be without CURRENT: that would be a database which has lost it.
        var temporary = Path.Combine(directory, Temporary);
        WriteFile(temporary, log.Written);
        FileCalls.Rename(temporary, Path.Combine(directory, FirstLog));
        FileCalls.SyncDirectory(directory);
    }

    private static byte[] ManifestOf(IReadOnlyList<string> families)
    {
        var (manifest, edit) = (new ByteWriter(), new ByteWriter());
        foreach (var (tag, value) in new[] { (LogNumber, 0UL), (NextFileNumber, 3UL), (LastSequence, 0UL), (HighestFamily, (ulong)families.Count - 1) })
        {
            edit.Varint(tag);
            edit.Varint(value);
        }

        LogRecord.Append(manifest, edit);
        for (var number = 1; number < families.Count; number++)
        {
            edit.Varint(Comparator);
            Sized(edit, "leveldb.BytewiseComparator"u8);
            edit.Varint(Family);
            edit.Varint((ulong)number);
            edit.Varint(FamilyAdded);
            Sized(edit, Encoding.ASCII.GetBytes(families[number]));
            LogRecord.Append(manifest, edit);
        }

        return manifest.Written.ToArray();
    }

    private static void Sized(ByteWriter writer, ReadOnlySpan<byte> bytes)
    {
        writer.Varint((ulong)bytes.Length);
        writer.Bytes(bytes);
    }

    private static void WriteFile(string path, ReadOnlySpan<byte> content)
    {
        using var file = FileCalls.Open(path, OpenFlags.ReadWrite | OpenFlags.Create | OpenFlags.Truncate | OpenFlags.NoFollow);
        FileCalls.WriteAt(file, content, 0, path);
        FileCalls.Sync(file, path);
    }
}
