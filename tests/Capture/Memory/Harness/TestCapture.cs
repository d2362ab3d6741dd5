using Crstore.Capture;
using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Capture.Snapshots;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Memory;

/// <summary>
/// One capture of one process into a <see cref="MemorySpace"/>, with an independent witness: in the same freeze every page is
/// read through /proc/PID/mem and compared with what the page map says of it afterwards.
/// </summary>
internal sealed class TestCapture
{
    private static ulong nextCrid = 1;
    public static readonly Guid Store = Guid.NewGuid();

    public required MemorySpace Space { get; init; }
    public required Process Process { get; init; }
    public required TrackerProof Proof { get; init; }
    public required IReadOnlyList<VirtualPage> Lies { get; init; }
    public required IReadOnlyList<Exclusion> Exclusions { get; init; }
    public required ulong Kept { get; init; }
    public required ulong Dirty { get; init; }
    public required int Sampled { get; init; }
    public required Crid Crid { get; init; }
    public required IReadOnlyList<PlanRun> Plan { get; init; }
    public required IReadOnlyList<string> Warnings { get; init; }
    public required long EstimatedBytes { get; init; }

    /// <summary>What the capture did with a page.</summary>
    public PageAction? ActionAt(ulong address)
    {
        foreach (var run in Plan)
            if (run.Range.Contains(VirtualPage.Of(address)))
                return run.Action;
        return null;
    }

    /// <summary>Pages of a range that were not kept.</summary>
    public ulong ReadWithin(ulong address, ulong pages) => (ulong)Plan.Where(r => r.Action == PageAction.Read)
        .Sum(r => (long)r.Range.Intersect(new PageRange(VirtualPage.Of(address), pages)).Count);

    public ulong KeptWithin(ulong address, ulong pages) => (ulong)Plan.Where(r => r.Action == PageAction.Keep)
        .Sum(r => (long)r.Range.Intersect(new PageRange(VirtualPage.Of(address), pages)).Count);

    public Vma VmaAt(ulong address) => Process.Vmas.Single(v => v.Start <= address && address < v.End);

    /// <summary>Captures, checks the image against the witness, and returns it.</summary>
    public static TestCapture Take(TargetProcess target, TestCapture? parent = null, TrackerKind? tracker = TrackerKind.Uffd,
        Func<CaptureOptions, CaptureOptions>? options = null, Guid? store = null, bool readEverything = false, bool check = true, IReadOnlySet<TrackerKind>? distrusted = null, Action? meanwhile = null, int rounds = 1,
        bool snapshot = false, Action? beforeFreeze = null, Action<FrozenProcess>? afterSnapshot = null, Action<ProcessSnapshot>? afterThaw = null, Action<PageRange>? onContent = null) =>
        Take(target.Pid, parent, tracker, options, store, readEverything, check, distrusted, meanwhile, rounds, snapshot, beforeFreeze, afterSnapshot, afterThaw, onContent);

    public static TestCapture Take(int pid, TestCapture? parent, TrackerKind? tracker,
        Func<CaptureOptions, CaptureOptions>? options = null, Guid? store = null, bool readEverything = false,
        bool check = true, IReadOnlySet<TrackerKind>? distrusted = null, Action? meanwhile = null, int rounds = 1,
        bool snapshot = false, Action? beforeFreeze = null, Action<FrozenProcess>? afterSnapshot = null, Action<ProcessSnapshot>? afterThaw = null, Action<PageRange>? onContent = null)
    {
        var crid = new Crid(Interlocked.Increment(ref nextCrid));
        var space = new MemorySpace(parent?.Space) { OnContent = onContent };
        var captureOptions = new CaptureOptions { Pid = pid, Tracker = tracker, BufferBytes = 64 << 20, SampleShare = 0.01 };
        captureOptions = options?.Invoke(captureOptions) ?? captureOptions;
        using var crew = new FreezeCrew();
        using var buffer = new PageBuffer(captureOptions.BufferBytes);
        using var held = new HeldMemory(buffer);
        var request = Request(pid, crid, space, parent, captureOptions, crew) with
        {
            Held = held,
            StoreId = store ?? Store,
            ReadEverything = readEverything,
            Distrusted = distrusted ?? new HashSet<TrackerKind>(),
        };
        using var thread = new PtraceThread();
        for (var i = 0; meanwhile is not null && i < rounds; i++)
        {
            var round = Round(request, thread, meanwhile);
            request = request with { Round = round, Parent = round.Link };
        }

        using var capture = MemoryCapture.Prepare(request);
        var estimated = capture.EstimatedBytes;
        buffer.Prepare(estimated);
        Witness? witness = null;
        if (snapshot) Assert.Equal("", capture.WhyNoSnapshot([pid]));
        beforeFreeze?.Invoke();
        thread.Run(() => Freeze(pid, capture, () =>
        {
            capture.ScanAndCopy(buffer);
            witness = Witness.Read(pid, capture.Vmas);
        }, snapshot, afterSnapshot));
        if (capture.Snapshot is { } made) afterThaw?.Invoke(made);
        capture.ReadSnapshot();
        capture.Deliver();
        buffer.Drain();
        var lies = capture.CheckSamples();
        var process = new Process { Pid = pid, StartTimeTicks = StatLine.Parse(TaskFile.ReadBytes($"/proc/{pid}/stat")).StartTime };
        var exclusions = new List<Exclusion>();
        var proof = capture.Describe(process.Vmas, exclusions);
        if (check) witness!.Check(space, lies);
        return new TestCapture
        {
            Space = space,
            Process = process,
            Proof = proof,
            Lies = lies,
            Exclusions = exclusions,
            Kept = capture.PagesKept,
            Dirty = capture.PagesDirty,
            Sampled = capture.PagesSampled,
            Crid = crid,
            Plan = [.. capture.Plan.Runs],
            Warnings = [.. capture.Warnings],
            EstimatedBytes = estimated,
        };
    }

    /// <summary>A capture that makes so many rounds and comes to nothing, as one that is killed then.</summary>
    public static void Abandon(TargetProcess target, TestCapture? parent, int rounds, Action meanwhile)
    {
        using var crew = new FreezeCrew();
        using var buffer = new PageBuffer(64 << 20);
        using var held = new HeldMemory(buffer);
        var options = new CaptureOptions { Pid = target.Pid, Tracker = TrackerKind.Uffd };
        var request = Request(target.Pid, new Crid(Interlocked.Increment(ref nextCrid)), new MemorySpace(parent?.Space), parent, options, crew) with { Held = held };
        using var thread = new PtraceThread();
        for (var i = 0; i < rounds; i++)
        {
            var round = Round(request, thread, meanwhile);
            request = request with { Round = round, Parent = round.Link };
        }

        request.Round!.Record!.Release(); // the kernel does that for one that is killed
    }

    private static MemoryRequest Request(int pid, Crid crid, MemorySpace space, TestCapture? parent, CaptureOptions options, FreezeCrew crew) => new()
    {
        Pid = pid,
        Options = options,
        Space = space,
        Parent = parent is null ? null : new ParentLink(parent.Process, parent.Proof, SystemInfo.BootId(), parent.Crid),
        StoreId = Store,
        Crid = crid,
        Crew = crew,
    };

    // The process goes on with its work before, while and after its pages are saved.
    private static PreCopiedRound Round(MemoryRequest request, PtraceThread thread, Action meanwhile)
    {
        using var capture = MemoryCapture.Prepare(request);
        Assert.True(capture.CanPreCopy);
        thread.Run(() => Freeze(request.Pid, capture, capture.Arm));
        meanwhile();
        var work = Task.Run(meanwhile);
        using var windows = new CopyWindows();
        var round = capture.PreCopy(windows);
        work.GetAwaiter().GetResult();
        return round;
    }

    private static void Freeze(int pid, MemoryCapture capture, Action rest, bool snapshot = false, Action<FrozenProcess>? afterSnapshot = null)
    {
        using var frozen = FrozenTree.Freeze(pid, false, new FreezeOptions { MaxFrozen = 2 * Patience.Limit, StopTimeout = Patience.Limit });
        capture.BeginFrozen();
        if (snapshot) Assert.Equal("", capture.TryTakeSnapshot(frozen.Processes[0]));
        afterSnapshot?.Invoke(frozen.Processes[0]);
        using (var remote = capture.NeedsRemote ? RemoteSyscalls.TryBegin(frozen.Processes[0], out _) : null)
            capture.BeginTracking(frozen.Processes[0], remote, FindPin(pid));
        rest();
    }

    private static string FindPin(int pid)
    {
        using var proc = ProcDirectory.Open(pid);
        return MemoryPins.FindFd(proc);
    }
}
