using Crstore.Capture.Freezing;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Capture.Memory;

/// <summary>
/// The VMAs of a process and what to do with each. <see cref="Prepare"/> reads smaps outside the freeze; <see cref="Refresh"/>
/// reads maps inside it and takes over what is known of the VMAs that are still the same.
/// </summary>
public sealed class VmaPlan
{
    private readonly int _pid;
    private readonly FileCatalog _files;
    private readonly VmaClassifier _classifier;
    private readonly MapsParser _parser = new();
    private readonly List<MapsEntry> _entries = new(512);
    private readonly List<string> _flags = new(512);
    private List<PlannedVma> _known = new(512);
    private List<PlannedVma> _vmas = new(512);

    /// <summary>A plan for a process; nothing is read yet.</summary>
    public VmaPlan(int pid, bool embedFiles, bool honourDontDump)
    {
        _pid = pid;
        _files = new FileCatalog(pid);
        _classifier = new VmaClassifier(_files, embedFiles, honourDontDump);
    }

    /// <summary>In address order, as of the last reading.</summary>
    public IReadOnlyList<PlannedVma> Vmas => _vmas;

    /// <summary>Parts of files and shared memory objects whose content the page map gets.</summary>
    public IEnumerable<FileRange> SavedFileRanges => _vmas
        .Where(v => v.Entry is { Shared: true, Inode: not 0 } && v is { Content: VmaContent.Saved, LeaveOut: false, Policy: ReadPolicy.SharedData or ReadPolicy.Everything })
        .Select(v => new FileRange(v.Entry.Device.Encoded, v.Entry.Inode, v.Entry.OffsetBytes, v.Entry.OffsetBytes + (v.Entry.End - v.Entry.Start)));

    /// <summary>Reads smaps, files and build ids. Milliseconds per GiB: before the freeze.</summary>
    /// <exception cref="Linux.LinuxException">The process is gone, or may not be looked at.</exception>
    /// <exception cref="TargetException">It shows no memory: its main thread has exited.</exception>
    public void Prepare()
    {
        _parser.ReadSmaps(_pid, _entries, _flags);
        // A zombie of a tree shows none either. It is no error here: the freeze sorts it out.
        if (_entries.Count == 0 && Linux.TaskFile.ListNumbers($"/proc/{_pid}/task").Count > 1) RequireMemory();
        _vmas.Clear();
        for (var i = 0; i < _entries.Count; i++) _vmas.Add(_classifier.Classify(_entries[i], _flags[i]));
        _files.ReadBuildIds();
    }

    /// <summary>Begins to read the mappings of a process on another thread.</summary>
    /// <returns>Null if it can't be done: who tries it again is told why.</returns>
    public static Task<VmaPlan?> PrepareAhead(int pid, bool embedFiles, bool honourDontDump) => Task.Run(() =>
    {
        try
        {
            var plan = new VmaPlan(pid, embedFiles, honourDontDump);
            plan.Prepare();
            return plan;
        }
        catch (Exception e) when (e is Linux.LinuxException or CrstoreException)
        {
            return null;
        }
    });

    /// <summary>Reads maps and classifies again: in the freeze.</summary>
    /// <exception cref="Linux.LinuxException">The process is gone.</exception>
    /// <exception cref="TargetException">It shows no memory: its main thread has exited.</exception>
    public void Refresh()
    {
        (_known, _vmas) = (_vmas, _known);
        _vmas.Clear();
        _parser.ReadMaps(_pid, _entries);
        RequireMemory();
        var known = 0;
        for (var i = 0; i < _entries.Count; i++)
        {
            var entry = _entries[i];
            while (known < _known.Count && _known[known].Entry.End <= entry.Start) known++;
            var match = known < _known.Count && IsSameMapping(_known[known].Entry, entry) ? _known[known] : null;
            if (match is not null && match.Entry == entry)
            {
                match.Tracked = false;
                _vmas.Add(match);
            }
            else if (match is null && _classifier.NeedsFlags(entry))
            {
                RefreshWithFlags();
                return;
            }
            else
            {
                _vmas.Add(_classifier.Classify(entry, match?.VmFlags ?? ""));
            }
        }
    }

    /// <summary>After the thaw: VmFlags of the VMAs that only appeared in the freeze, where they still exist, and build ids.</summary>
    public void CompleteAfterThaw()
    {
        _files.ReadBuildIds();
        if (!_vmas.Exists(v => v.VmFlags.Length == 0)) return;
        try
        {
            _parser.ReadSmaps(_pid, _entries, _flags);
        }
        catch (Linux.LinuxException)
        {
            return; // it ran on and exited: the flags stay unknown, which the format allows
        }

        for (int i = 0, j = 0; i < _vmas.Count && j < _entries.Count;)
        {
            var vma = _vmas[i];
            if (_entries[j].Start < vma.Entry.Start)
            {
                j++;
                continue;
            }

            if (vma.VmFlags.Length == 0 && _entries[j] == vma.Entry) vma.VmFlags = _flags[j];
            i++;
        }
    }

    private void RefreshWithFlags()
    {
        _vmas.Clear();
        _parser.ReadSmaps(_pid, _entries, _flags);
        RequireMemory();
        for (var i = 0; i < _entries.Count; i++) _vmas.Add(_classifier.Classify(_entries[i], _flags[i]));
    }

    // maps of a thread that has exited is empty, without an error: an image of nothing must not come of it.
    private void RequireMemory()
    {
        if (_entries.Count == 0) throw TargetErrors.WithoutMainThread(_pid);
    }

    /// <summary>True if the new mapping is what is left of, or has grown from, the old one: they overlap and have the same backing.</summary>
    public static bool IsSameMapping(in MapsEntry old, in MapsEntry now) =>
        old.Start < now.End && now.Start < old.End && old.Shared == now.Shared && old.Inode == now.Inode && old.Device == now.Device
        && old.Name == now.Name && (now.Inode == 0 || old.OffsetBytes - old.Start == now.OffsetBytes - now.Start);
}
