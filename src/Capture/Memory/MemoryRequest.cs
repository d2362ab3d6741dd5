using Crstore.Capture.Freezing;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture.Memory;

/// <summary>What <see cref="MemoryCapture.Prepare"/> needs to know.</summary>
public sealed record MemoryRequest
{
    /// <summary>Process to capture.</summary>
    public required int Pid { get; init; }

    /// <summary>How.</summary>
    public required CaptureOptions Options { get; init; }

    /// <summary>Where the pages go. Opened with the parent's space of the same process (<see cref="ParentLink.Find"/>), if there is one.</summary>
    public required ISpaceWriter Space { get; init; }

    /// <summary>The same process in the parent checkpoint; null for a base or a process that is new.</summary>
    public ParentLink? Parent { get; init; }

    /// <summary>The store, for the continuity record.</summary>
    public Guid StoreId { get; init; }

    /// <summary>The checkpoint in the making, for the continuity record.</summary>
    public Crid Crid { get; init; }

    /// <summary>Trackers that were caught lying in this series.</summary>
    public IReadOnlySet<TrackerKind> Distrusted { get; init; } = new HashSet<TrackerKind>();

    /// <summary>Keeps the limit on frozen time; null for none.</summary>
    public FreezeWatchdog? Watchdog { get; init; }

    /// <summary>Helps in the freeze, for one process at a time.</summary>
    public required FreezeCrew Crew { get; init; }

    /// <summary>How to wait for another capture of the process.</summary>
    public LockWait LockWait { get; init; } = LockWait.Default;

    /// <summary>Its mappings, if they are being read already; null as a result: that failed, and is to be tried again.</summary>
    public Task<VmaPlan?>? Vmas { get; init; }

    /// <summary>The last round that was made while the process ran: then <see cref="Parent"/> is that round.</summary>
    public PreCopiedRound? Round { get; init; }

    /// <summary>Where the pages wait that a round reads; null: they go to <see cref="Space"/> at once.</summary>
    public HeldMemory? Held { get; init; }

    /// <summary>Run-through on a throw-away process: no continuity record is written, nothing waits.</summary>
    public bool Rehearsal { get; init; }

    /// <summary>A tracker lied: read everything, believe nothing, and don't arm anything.</summary>
    public bool ReadEverything { get; init; }
}

/// <summary>A process in the parent checkpoint, with its proof.</summary>
/// <param name="Process">State.</param>
/// <param name="Proof">What its tracker left for us to compare.</param>
/// <param name="BootId">Boot it was captured in.</param>
/// <param name="Crid">The parent.</param>
public sealed record ParentLink(Process Process, TrackerProof? Proof, string BootId, Crid Crid)
{
    /// <summary>For messages.</summary>
    public string Name { get; init; } = $"CRID {Crid}";

    /// <summary>Its space in the parent.</summary>
    public SpaceId Space => new(Process.Space);

    /// <summary>
    /// Finds the process with this pid in the parent checkpoint, or null. Whether it still is the same one (start time, exec…)
    /// is for the continuity verdict: a different one only means that nothing is kept.
    /// </summary>
    public static ParentLink? Find(CheckpointManifest? parent, int pid)
    {
        if (parent is null) return null;
        for (var i = 0; i < parent.Body.Processes.Count; i++)
        {
            var process = parent.Body.Processes[i];
            if (process.Pid != pid || process.Zombie) continue;
            var proof = parent.Body.Proofs.FirstOrDefault(p => p.Pid == pid);
            return new ParentLink(process, proof, parent.Body.Host?.BootId ?? "", parent.Crid);
        }

        return null;
    }
}
