using Crstore.Model;

namespace Crstore.Store.Writing;

/// <summary>A capture's largest buffers, 10 MiB in all. Who captures often keeps them: allocated anew each time, they would be faulted in and collected each time.</summary>
internal sealed class SinkBuffers
{
    private byte[]? gathered;
    private byte[]? patches;

    /// <summary>A batch of pages that came in short runs.</summary>
    public byte[] Gathered => gathered ??= GC.AllocateUninitializedArray<byte>(PageHasher.BatchPages * VirtualPage.Size);

    /// <summary>The patches of a batch.</summary>
    public byte[] Patches => patches ??= GC.AllocateUninitializedArray<byte>(PageHasher.BatchPages * FormatLimits.Default.MaxPatchBytes);
}
