using Crstore.Linux.Files;
using Crstore.Store.Frames;
using Crstore.Store.Layout;
using Crstore.Store.Native;

namespace Crstore.Store.Writing;

/// <summary>
/// Where finished frames wait for the commit: in memory while they are few (they will go into the commit's WriteBatch),
/// in SST files in incoming/ once they are many (they will be ingested). Frames come in order, from one thread.
/// </summary>
internal sealed class FrameSpool(StorePaths paths, Model.Crid crid, int smallPages) : IDisposable
{
    private const int SmallBytes = 8 << 20;
    private const ulong FileBytes = 64 << 20; // one table file is one unit of compaction and of gc
    private readonly List<(FrameId Id, byte[] Bytes)> small = [];
    private readonly List<string> files = [];
    private int smallBytes;
    private RocksSstWriter? writer;

    /// <summary>Frames kept in memory; empty if there are files.</summary>
    public IReadOnlyList<(FrameId Id, byte[] Bytes)> Small => small;

    /// <summary>Complete SST files.</summary>
    public IReadOnlyList<string> Files => files;

    /// <summary>Bytes of keys and values.</summary>
    public ulong BytesPut { get; private set; }

    /// <summary>Takes a frame; copies it.</summary>
    public void Add(FrameId id, ReadOnlySpan<byte> frame)
    {
        BytesPut += (ulong)(Keys.FrameSize + frame.Length);
        if (writer is null && files.Count == 0)
        {
            small.Add((id, frame.ToArray()));
            smallBytes += frame.Length;
            if (smallBytes <= SmallBytes && small.Count * Model.ChunkLocation.SlotsPerFrame <= smallPages) return;
            foreach (var (smallId, bytes) in small) Put(smallId, bytes);
            small.Clear();
            return;
        }

        Put(id, frame);
    }

    /// <summary>Completes the last file.</summary>
    public void Complete() => Roll();

    /// <summary>Removes what is left of the files (those that were ingested are gone).</summary>
    public void Dispose()
    {
        writer?.Dispose();
        foreach (var file in files) FileCalls.Unlink(file);
    }

    private void Put(FrameId id, ReadOnlySpan<byte> frame)
    {
        if (writer is null)
        {
            var path = paths.IncomingFile(crid, "chunks", files.Count);
            files.Add(path);
            writer = new RocksSstWriter(path, ColumnFamily.Chunks);
        }

        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.Frame(id, key);
        writer.Put(key, frame);
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
