using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Native;
using Crstore.Store.Patches;

namespace Crstore.Store.Writing;

/// <summary>Gives a capture's patches their ordinals and makes groups of them.</summary>
internal sealed class PatchSink(StorePaths paths, Crid crid, StoreOptions options) : IDisposable
{
    private readonly PatchGroupBuilder builder = new();
    private uint groups;
    private bool started;

    /// <summary>Where groups wait.</summary>
    public RecordSpool Spool { get; } = new(paths, crid, ColumnFamily.Patches, options.SmallCapturePages / PatchGroupId.Slots);

    /// <summary>Takes a patch; copies it.</summary>
    /// <returns>Its ordinal.</returns>
    public uint Add(in ContentHash hash, ChunkLocation anchor, ReadOnlySpan<byte> patch)
    {
        var id = new PatchGroupId(crid, groups);
        if (!started) builder.Start(id);
        started = true;
        var ordinal = id.Location(builder.Slots).Ordinal;
        builder.Add(hash, anchor, patch);
        if (builder.IsFull) Finish();
        return ordinal;
    }

    /// <summary>Finishes the last group; then the spool has everything.</summary>
    public void Complete()
    {
        if (started) Finish();
        Spool.Complete();
    }

    /// <inheritdoc/>
    public void Dispose() => Spool.Dispose();

    private void Finish()
    {
        Span<byte> key = stackalloc byte[Keys.FrameSize];
        Keys.PatchGroup(new PatchGroupId(crid, groups), key);
        Spool.Add(key, builder.Finish(options.Compression));
        groups++;
        started = false;
    }
}
