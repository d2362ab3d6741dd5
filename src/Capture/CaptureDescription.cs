using Crstore.Capture.Memory;
using Crstore.Capture.State;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects.Files;

namespace Crstore.Capture;

/// <summary>
/// Describes what was captured, for the manifest. What only the freeze tells of all processes together is noted there: <see cref="NoteTime"/>, <see cref="NoteZombies"/>,
/// <see cref="NoteFiles"/>. The rest is put together after the thaw: <see cref="Describe"/>.
/// </summary>
/// <param name="options">Of the capture.</param>
internal sealed class CaptureDescription(CaptureOptions options)
{
    private readonly List<Process> _zombies = [];
    private List<OpenFile> _openFiles = [];
    private (ulong MonotonicNs, ulong BoottimeNs) _clocks;
    private long _capturedUnixNs;
    private CheckpointBody? _body;

    /// <summary>In the freeze: what all clocks show.</summary>
    public void NoteTime()
    {
        _capturedUnixNs = (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * 100;
        _clocks = (SystemInfo.MonotonicNs(), SystemInfo.BoottimeNs());
    }

    /// <summary>In the freeze: the tree's processes that have exited and wait for their parents.</summary>
    public void NoteZombies(IReadOnlyList<int> pids)
    {
        foreach (var pid in pids) _zombies.Add(ProcessStateReader.ReadZombie(pid));
    }

    /// <summary>In the freeze, on any thread: the open files of all.</summary>
    /// <param name="captured">The processes.</param>
    /// <param name="ask">Throws when there is no more time.</param>
    public void NoteFiles(List<ProcessCapture> captured, Action ask) => _openFiles = FileDump.Run(captured.ConvertAll(c => c.State),
        new ContentSaver(options.WithFiles, captured.SelectMany(c => c.Memory.SavedFileRanges)), ask);

    /// <summary>The manifest but for what the store and the session fill in. A second time, after the pages were delivered, with what was found out there.</summary>
    /// <param name="captured">The processes, the target first.</param>
    /// <param name="rehearsal">Nobody is to be warned.</param>
    /// <param name="stoppedBefore">Processes whose stop is an earlier attempt's.</param>
    public CheckpointManifest Describe(List<ProcessCapture> captured, bool rehearsal, IReadOnlySet<int> stoppedBefore)
    {
        if (_body is null)
        {
            _body = DescribeBody(captured, rehearsal, stoppedBefore);
        }
        else
        {
            _body.Exclusions.Clear();
            foreach (var capture in captured) capture.Memory.AddExclusions(_body.Exclusions);
        }

        return new CheckpointManifest(DescribeHeader(captured, _body), _body);
    }

    private CheckpointBody DescribeBody(List<ProcessCapture> captured, bool rehearsal, IReadOnlySet<int> stoppedBefore)
    {
        var body = new CheckpointBody { Host = HostReader.Read() };
        (body.Host.ClockMonotonicNs, body.Host.ClockBoottimeNs) = ClockOffsets.ToHost(_clocks); // of the freeze, which may be seconds ago
        foreach (var capture in captured) body.Processes.Add(capture.Build(body, stoppedBefore.Contains(capture.Pid)));
        body.Processes.AddRange(_zombies);
        if (options.Tcp == TcpPolicy.Close)
            foreach (var file in _openFiles)
            {
                if (file.InetSocket is not null) file.InetSocket.Close = true;
                if (file.UnixSocket is not null) file.UnixSocket.Close = true;
            }

        body.OpenFiles.AddRange(_openFiles);
        if (!rehearsal)
            foreach (var process in body.Processes.Where(p => p.StateIncomplete.Length > 0))
                body.Warnings.Add($"process {process.Pid}: signal handlers, brk and thread details are missing: {process.StateIncomplete}");
        body.Warnings.AddRange(ExclusionRules.WithoutEffect(options.Exclude, body.Processes));
        return body;
    }

    private CheckpointHeader DescribeHeader(List<ProcessCapture> captured, CheckpointBody body)
    {
        var header = new CheckpointHeader
        {
            Tracker = captured[0].Memory.Tracker,
            CapturedUnixNs = _capturedUnixNs,
            RootPid = options.Pid,
            Command = body.Processes[0].Comm,
            Processes = (uint)body.Processes.Count,
            Threads = (uint)body.Processes.Sum(p => p.Threads.Count),
            Tree = options.Tree,
            Incomplete = body.Exclusions.Count > 0,
            Pages = new PageCounters(),
        };
        foreach (var memory in captured.Select(c => c.Memory))
        {
            header.Pages.Scanned += memory.PagesScanned;
            header.Pages.Dirty += memory.PagesDirty;
            header.Pages.Sampled += (ulong)memory.PagesSampled;
        }

        return header;
    }
}
