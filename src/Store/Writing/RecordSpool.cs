using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Native;

namespace Crstore.Store.Writing;

/// <summary>
/// Where finished frames, or patch groups, wait for the commit: in memory while they are few (they will go into the commit's
/// WriteBatch), in SST files in incoming/ once they are many (they will be ingested). They come in order, from one thread.
/// </summary>
/// <param name="paths">The store.</param>
/// <param name="crid">Whose they are.</param>
/// <param name="family">What they are; the files are named after it.</param>
/// <param name="smallRecords">Records kept in memory at most.</param>
internal sealed class RecordSpool(StorePaths paths, Model.Crid crid, ColumnFamily family, int smallRecords) : IDisposable
{
    private const int SmallBytes = 8 << 20;
    private const ulong FileBytes = 64 << 20; // one table file is one unit of compaction and of gc
    private readonly List<(byte[] Key, byte[] Value)> small = [];
    private readonly List<string> files = [];
    private int smallBytes;
    private volatile bool many;
    private RocksSstWriter? writer;

    /// <summary>What they are.</summary>
    public ColumnFamily Family => family;

    /// <summary>Records kept in memory; empty if there are files.</summary>
    public IReadOnlyList<(byte[] Key, byte[] Value)> Small => small;

    /// <summary>Complete SST files.</summary>
    public IReadOnlyList<string> Files => files;

    /// <summary>Bytes of keys and values.</summary>
    public ulong BytesPut { get; private set; }

    /// <summary>There will be many: they need not be kept in memory first, which would be faulted in for no use. On any thread.</summary>
    public void ExpectMany() => many = true;

    /// <summary>Takes a record; copies it.</summary>
    public void Add(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        BytesPut += (ulong)(key.Length + value.Length);
        if (writer is null && files.Count == 0)
        {
            if (!many && smallBytes + value.Length <= SmallBytes && small.Count < smallRecords)
            {
                small.Add((key.ToArray(), value.ToArray()));
                smallBytes += value.Length;
                return;
            }

            foreach (var (smallKey, bytes) in small) Put(smallKey, bytes);
            small.Clear();
        }

        Put(key, value);
    }

    /// <summary>Completes the last file.</summary>
    public void Complete() => Roll();

    /// <summary>Removes what is left of the files (those that were ingested are gone).</summary>
    public void Dispose()
    {
        writer?.Dispose();
        foreach (var file in files) FileCalls.Unlink(file);
    }

    private void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        if (writer is null)
        {
            var path = paths.IncomingFile(crid, family.ToString().ToLowerInvariant(), files.Count);
            files.Add(path);
            writer = new RocksSstWriter(path, family);
        }

        writer.Put(key, value);
        if (writer.BytesPut >= FileBytes) Roll();
    }

    private void Roll()
    {
        if (writer is null) return;
        writer.Finish();
        writer.Dispose();
        writer = null;
        FaultPoint.Hit("capture.sst-written");
    }
}
