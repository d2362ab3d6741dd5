using Crstore.Model;

namespace Crstore.Store;

public sealed partial class CheckpointStore
{
    /// <summary>Removes checkpoints from view; gc frees their space.</summary>
    public ForgetResult Forget(IReadOnlyList<Crid> crids, bool dryRun) => throw new NotSupportedException();

    /// <summary>Frees what no manifest and no live session can reach.</summary>
    public GcResult CollectGarbage(GcOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();
}
