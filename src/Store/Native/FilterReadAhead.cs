using Crstore.Linux;
using Crstore.Linux.Files;

namespace Crstore.Store.Native;

/// <summary>
/// Reads the filters of a large index ahead of the probes. A probe reads its part of each filter from somewhere on the disk: of 100 million entries some 0.2 ms in all where nothing
/// is in the page cache, in which a disk reads 256 KiB in a row. So once the probes may have taken as long as reading all filters does, all are read. Only a hint to the kernel.
/// Thread safe.
/// </summary>
/// <param name="db">The database; its index is what is probed.</param>
internal sealed class FilterReadAhead(RocksDb db)
{
    private const int LookAfter = 512; // a capture that asks less often does not pay for a look at the files
    private const ulong BytesPerProbe = 256 << 10;

    // Filters and index blocks come last in a table file: ten bits a key and the blocks' separators, 3 % of it. RocksDB does not say where they begin.
    private const ulong TailShare = 24;
    private readonly Lock gate = new();
    private long probes;
    private long enough = LookAfter;
    private List<(string Path, long Size)>? files; // of the index

    /// <summary>Bytes that the kernel was asked to read.</summary>
    public ulong BytesAsked { get; private set; }

    /// <summary>So many probes will be made now.</summary>
    public void Count(int more)
    {
        var last = Interlocked.Add(ref probes, more);
        if (last < Volatile.Read(ref enough)) return;
        lock (gate)
        {
            if (last < enough) return;
            files ??= Find();
            enough = files.Sum(f => f.Size) / (long)(TailShare * BytesPerProbe);
            if (last < enough) return;
            enough = long.MaxValue;
            foreach (var (path, size) in files) Ask(path, size);
        }
    }

    private List<(string, long)> Find() =>
        [.. db.LiveFiles().Where(f => f.Family == ColumnFamily.Index).Select(f => (db.Path + f.Name, (long)f.SizeBytes))];

    private void Ask(string path, long size)
    {
        var tail = size / (long)TailShare;
        try
        {
            using var file = FileCalls.Open(path, OpenFlags.ReadOnly | OpenFlags.NoFollow);
            FileCalls.ReadAhead(file, size - tail, tail, path);
            BytesAsked += (ulong)tail;
        }
        catch (LinuxException e)
        {
            // Its owner has compacted it away, or nothing can be told to this file system: then each probe reads for itself.
            System.Diagnostics.Debug.WriteLine(e.Message);
        }
    }
}
