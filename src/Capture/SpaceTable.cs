using Crstore.Capture.Freezing;
using Crstore.Capture.Memory;
using Crstore.Model;

namespace Crstore.Capture;

/// <summary>The address spaces of a capture by process: opened once in the store, the same again in a second attempt.</summary>
internal sealed class SpaceTable(ICheckpointWriter writer, FreezeWatchdog watchdog, IProgress<CaptureProgress>? progress, CancellationToken cancel) : IDisposable
{
    private readonly Dictionary<int, (SpaceId Id, ISpaceWriter Writer)> _spaces = [];
    private ulong _done;

    /// <summary>Pages that will have to be stored; 0 if unknown.</summary>
    public ulong Total { get; set; }

    /// <summary>The space of a process, and the process in the parent it continues.</summary>
    public (SpaceId Id, ISpaceWriter Writer, ParentLink? Parent) Open(int pid)
    {
        var parent = ParentLink.Find(writer.Parent, pid);
        if (!_spaces.TryGetValue(pid, out var space))
        {
            var id = new SpaceId((uint)_spaces.Count);
            space = (id, new ReportingSpaceWriter(writer.OpenSpace(id, parent?.Space), MayStore, Report, cancel));
            _spaces.Add(pid, space);
        }

        return (space.Id, space.Writer, parent);
    }

    /// <summary>Forgets all that was said of all spaces.</summary>
    public void Clear()
    {
        foreach (var (_, space) in _spaces.Values) space.Clear();
        _done = 0;
    }

    /// <summary>Forgets all that was said of a process's space.</summary>
    public void Clear(int pid)
    {
        if (_spaces.TryGetValue(pid, out var space)) space.Writer.Clear();
    }

    public void Dispose() => _spaces.Clear();

    // Nobody knows how long a parent that is still written back takes: not while the target is frozen, or its record locked.
    private void MayStore()
    {
        if (writer.ParentIsPending) throw new ParentPendingException();
    }

    private void Report(ulong pages)
    {
        watchdog.ThrowIfExpired(); // a capture larger than its buffer is stored while the target is still frozen
        _done += pages;
        progress?.Report(new CaptureProgress("storing", _done, Math.Max(_done, Total)));
    }
}

/// <summary>There is no room for the pages, or will be none, and the parent is not committed yet, so that nothing can be stored.</summary>
internal sealed class ParentPendingException : Exception;
