using Crstore.Model;

namespace Crstore.Store;

public sealed partial class StoreReader
{
    /// <summary>What differs, at a cost that grows with what differs.</summary>
    public DiffResult Diff(Crid a, Crid b, IProgress<StoreProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();

    /// <summary>Checks structure and, as asked, content.</summary>
    public VerifyResult Verify(IReadOnlyList<Crid> crids, VerifyOptions options, IProgress<StoreProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();

    /// <summary>Sizes and ratios.</summary>
    public StoreStats Stats(IProgress<StoreProgress>? progress, CancellationToken cancel) => throw new NotSupportedException();
}
