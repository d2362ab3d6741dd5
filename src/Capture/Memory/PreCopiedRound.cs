using Crstore.Capture.Tracking;
using Crstore.Model.Format;

namespace Crstore.Capture.Memory;

/// <summary>A round over one process that went on running, for the next one or for the one that freezes it.</summary>
/// <param name="Pages">What is known of its pages.</param>
/// <param name="Link">The round, as the parent of the next one: its mappings, and the proof that nobody else reset the tracker since.</param>
/// <param name="First">The proof of the first round, or of a later one that could believe nothing: continuity with the parent checkpoint.</param>
/// <param name="Number">From 1 on.</param>
/// <param name="Vmas">Its mappings, which need not be looked at anew.</param>
/// <param name="Record">The target's continuity record, still locked: no other capture gets in between.</param>
public sealed record PreCopiedRound(PreCopiedPages Pages, ParentLink Link, TrackerProof First, int Number, VmaPlan Vmas, ContinuityRecord? Record);
