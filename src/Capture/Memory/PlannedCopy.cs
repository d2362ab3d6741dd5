using Crstore.Capture.Snapshots;
using Crstore.Model;

namespace Crstore.Capture.Memory;

/// <summary>Copies in the freeze what the plan says is to be read, piece by piece while the plan still grows, but for what a snapshot has. Allocates nothing there.</summary>
/// <param name="plan">What is to be read.</param>
/// <param name="vmas">Its mappings.</param>
/// <param name="snapshot">What is read from it after the thaw need not be copied.</param>
/// <param name="space">The space that the pages belong to.</param>
internal sealed class PlannedCopy(PagePlan plan, VmaPlan vmas, MemorySnapshot snapshot, ISpaceWriter space)
{
    private PageReader? _reader;
    private PageBuffer? _buffer;
    private int _nextRun;        // of the plan
    private VirtualPage _copied; // pages in front of it are asked for
    private int _nextWritten;    // of what was written since the snapshot

    /// <summary>Of a new plan.</summary>
    /// <param name="reader">Copies; null: nothing is to be copied.</param>
    /// <param name="buffer">Where to.</param>
    public void Begin(PageReader? reader, PageBuffer? buffer)
    {
        (_reader, _buffer) = (reader, buffer);
        (_nextRun, _copied, _nextWritten) = (0, default, 0);
    }

    /// <summary>Asks for what has come to the plan since.</summary>
    public void Continue()
    {
        if (_reader is null) return;
        for (; _nextRun < plan.Runs.Count; _nextRun++)
        {
            var run = plan.Runs[_nextRun];
            if (run.Action == PageAction.Read)
            {
                var vma = vmas.Vmas[run.Vma];
                var rest = PageRange.Between(new VirtualPage(Math.Max(_copied.Number, run.Range.Start.Number)), run.Range.End);
                if (!snapshot.Has(vma)) Copy(rest, vma);
                else
                {
                    for (; snapshot.NextWritten(ref _nextWritten, rest) is { IsEmpty: false } written; rest = PageRange.Between(written.End, rest.End)) Copy(written, vma);
                }

                _copied = run.Range.End;
            }

            if (_nextRun == plan.Runs.Count - 1) return; // the next piece may make it longer
        }
    }

    private void Copy(PageRange range, PlannedVma vma)
    {
        if (!range.IsEmpty) _reader!.Copy(range, !vma.Readable, _buffer!, space);
    }
}
