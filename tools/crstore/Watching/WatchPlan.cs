using Crstore.Model;

namespace Crstore.Cli.Watching;

/// <summary>When `watch` captures, and until when.</summary>
internal sealed record WatchPlan
{
    /// <summary>The smallest interval: below it a watch would do nothing but capture.</summary>
    private static readonly TimeSpan Shortest = TimeSpan.FromMilliseconds(10);

    /// <summary>At these intervals; null: only when something else asks for it.</summary>
    public TimeSpan? Every { get; init; }

    /// <summary>As soon as about so many bytes are dirty; null: nobody asks.</summary>
    public long? OnDirtyBytes { get; init; }

    /// <summary>Whenever a SIGUSR1 comes, and once at the beginning.</summary>
    public bool OnSignal { get; init; }

    /// <summary>Of the time, what captures may cost the target; null: no limit.</summary>
    public double? MaxShare { get; init; }

    /// <summary>So many captures; null: no limit.</summary>
    public int? Count { get; init; }

    /// <summary>So long; null: until somebody ends it.</summary>
    public TimeSpan? For { get; init; }

    /// <summary>Forget all of the series but the last so many; null: forget none.</summary>
    public int? KeepLast { get; init; }

    /// <summary>Checks it.</summary>
    /// <exception cref="UsageException">It makes no sense.</exception>
    public WatchPlan Checked()
    {
        if (Every is null && OnDirtyBytes is null && !OnSignal) throw new UsageException("nothing says when to capture", "give --every 10s, --on-dirty 64M or --on-signal");
        if (Every < Shortest) throw new UsageException($"--every {Every.Value.TotalMilliseconds:0.###}ms is too short", "10ms is the least");
        if (OnDirtyBytes < VirtualPage.Size) throw new UsageException("--on-dirty must be a page at least", "give for instance 64M");
        if (Count == 0) throw new UsageException("--count 0 captures nothing", "give 1 at least");
        if (KeepLast == 0) throw new UsageException("--keep-last 0 keeps nothing", "give 1 at least");
        return this;
    }
}
