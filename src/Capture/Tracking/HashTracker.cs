using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Linux.Memory;
using Crstore.Model.Format;

namespace Crstore.Capture.Tracking;

/// <summary>Every page counts as written; the store finds out by content which ones were. Always right, never resets anything.</summary>
public sealed class HashTracker : ITracker
{
    private readonly RunList<PageRun> _runs = new(4096);
    private IPageScanner? _scanner;

    /// <inheritdoc/>
    public TrackerKind Kind => TrackerKind.Hash;

    /// <inheritdoc/>
    public PageCategories Dirty => PageCategories.None;

    /// <inheritdoc/>
    public int ParkedFd => 0;

    /// <inheritdoc/>
    public void Begin(int pid, int tid, IRemoteSyscalls? remote) => _scanner = KernelProbes.Current.OpenScanner(pid, needSoftDirty: false);

    /// <inheritdoc/>
    public void Prepare(IReadOnlyList<PlannedVma> vmas)
    {
    }

    /// <inheritdoc/>
    public void Scan(PlannedVma vma, IScanSink sink)
    {
        _runs.Clear();
        _scanner!.Scan(vma.Range, vma.File is not null, _runs);
        sink.Take(_runs, covered: false);
    }

    /// <inheritdoc/>
    public void Finish()
    {
    }

    /// <inheritdoc/>
    public void End()
    {
        _scanner?.Dispose();
        _scanner = null;
    }

    /// <inheritdoc/>
    public void Dispose() => End();
}
