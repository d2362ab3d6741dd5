using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Model.Format;

namespace Crstore.Capture.Memory;

/// <summary>A round over one process that went on running, for the next one or for the one that freezes it.</summary>
/// <param name="Pages">What is known of its pages.</param>
/// <param name="Link">The round, as the parent of the next one: its mappings, and the proof that nobody else reset the tracker since.</param>
/// <param name="First">The proof of the first round, or of a later one that could believe nothing: continuity with the parent checkpoint.</param>
/// <param name="Number">From 1 on.</param>
/// <param name="Vmas">Its mappings, which need not be looked at anew.</param>
/// <param name="Record">The target's continuity record, still locked: no other capture gets in between.</param>
public sealed record PreCopiedRound(PreCopiedPages Pages, ParentLink Link, TrackerProof First, int Number, VmaPlan Vmas, ContinuityRecord? Record)
{
    /// <summary>Behind a round's freeze: reads what was written and the tracker now watches, while the process runs.</summary>
    /// <param name="request">Of the round.</param>
    /// <param name="plan">What its freeze has found.</param>
    /// <param name="vmas">The mappings that it is for.</param>
    /// <param name="tracking">Armed. Gives its record away.</param>
    /// <param name="windows">Where pages are read to that go to the store at once.</param>
    /// <exception cref="LinuxException">The process is gone or refused.</exception>
    internal static PreCopiedRound Read(MemoryRequest request, PagePlan plan, VmaPlan vmas, TargetTracking tracking, CopyWindows windows)
    {
        var pages = new PreCopiedPages(request.Round?.Pages, plan.ToRead, request.Options.SampleShare);
        var proof = tracking.Proof();
        var holds = !proof.GenerationToken.IsEmpty && !proof.AtRandom.IsEmpty; // else the next round would believe nothing of it
        // What is read of a process that is new to the tracker takes seconds, and the store may begin with it; what is read again is little, and likely to be written again.
        using var copier = new PreCopier(request.Pid, request.Space, windows, tracking.IsContinuous ? request.Held : null, pages);
        foreach (var run in plan.Runs)
        {
            if (!holds || vmas.Vmas[run.Vma] is not { Tracked: true } vma) continue;
            if (run.Action == PageAction.Keep) pages.Keep(run.Range);
            else if (run.Action == PageAction.Zero) pages.AddZero(run.Range);
            else if (run.Action == PageAction.Read && vma.Readable) copier.Copy(run.Range);
        }

        copier.Flush();
        pages.Complete();
        var process = new Process { Pid = request.Pid, StartTimeTicks = tracking.StartTimeTicks };
        foreach (var vma in vmas.Vmas) process.Vmas.Add(vma.ToMessage());
        var link = new ParentLink(process, proof, tracking.BootId, request.Crid) { Name = "the last round of this capture" };
        var first = request.Round is { } before && proof.Continuous ? before.First : proof; // a round that reads everything begins anew
        return new PreCopiedRound(pages, link, first, (request.Round?.Number ?? 0) + 1, vmas, tracking.TakeRecord());
    }

    /// <summary>Makes the proof of the freeze that follows this round one of continuity with the parent checkpoint: the rounds of a capture are its own affair.</summary>
    internal void Tell(TrackerProof proof)
    {
        var rounds = Number == 1 ? "saved while it ran" : $"saved in {Number} rounds while it ran";
        proof.Reason = $"{First.Reason}; {rounds}, and then {(proof.Continuous ? "what it wrote meanwhile" : $"everything again: {proof.Reason}")}";
        proof.Continuous = First.Continuous && proof.Continuous;
    }
}
