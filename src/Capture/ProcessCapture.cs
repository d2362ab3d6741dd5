using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Capture.State;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture;

/// <summary>One process of a capture: its memory and its state, through the same steps.</summary>
internal sealed class ProcessCapture : IDisposable
{
    private readonly ProcessStateReader _state;

    private readonly SleepWatch _sleeps;
    private readonly bool _rehearsal;
    private RemoteSyscalls? _remote;

    private ProcessCapture(SpaceId space, ProcessStateReader state, SleepWatch sleeps, MemoryCapture memory, bool rehearsal)
    {
        _rehearsal = rehearsal;
        Space = space;
        _state = state;
        _sleeps = sleeps;
        Memory = memory;
    }

    public int Pid => _state.Pid;

    /// <summary>Its address space in the checkpoint.</summary>
    public SpaceId Space { get; }

    public MemoryCapture Memory { get; }

    /// <summary>As far as it is read.</summary>
    public Process State => _state.Message;

    /// <summary>In group-stop when it was frozen.</summary>
    public bool WasStopped { get; private set; }

    public static ProcessCapture Prepare(SpaceId space, MemoryRequest request, FileRefs files, ProcessorClocks clocks)
    {
        var state = ProcessStateReader.Prepare(request.Pid, files);
        try
        {
            IReadOnlyList<Model.Format.Thread> earlier = request.Parent?.BootId == SystemInfo.BootId() ? request.Parent.Process.Threads : [];
            return new ProcessCapture(space, state, new SleepWatch(request.Pid, state.Directory, earlier, clocks, request.Rehearsal), MemoryCapture.Prepare(request), request.Rehearsal);
        }
        catch
        {
            state.Dispose();
            throw;
        }
    }

    /// <summary>Right before a freeze.</summary>
    public void BeforeFreeze() => _sleeps.Observe();

    /// <summary>In a freeze, as the first thing: how long its threads have slept. Their timeouts go on from there whatever becomes of the freeze.</summary>
    /// <param name="process">It.</param>
    /// <param name="armOnly"><see cref="BeginRound"/> follows.</param>
    public void ReadSleeps(FrozenProcess process, bool armOnly) => _sleeps.ReadFrozen(process, withStat: armOnly);

    /// <summary>In the freeze, before anything is injected into any process: its mappings, and what is read from outside.</summary>
    public void ReadFrozen(FrozenProcess process, FreezeWatchdog watchdog)
    {
        watchdog.Enter("state");
        Memory.BeginFrozen();
        _state.ReadFrozen(process);
        WasStopped = process.WasStopped;
    }

    /// <summary>
    /// In the freeze, after <see cref="ReadFrozen"/>: what has to run in it, but for what its threads are asked: <see cref="InjectNextThread"/>. In all processes that comes before the memory of
    /// any is looked at. <see cref="EndInjection"/> must follow, whatever happens.
    /// </summary>
    public void BeginInjection(FrozenProcess process, FreezeWatchdog watchdog)
    {
        watchdog.Enter("inject");
        _remote = RemoteSyscalls.TryBegin(process, out var whyNot);
        _state.ReadLocks(_remote);
        Memory.BeginTracking(process, _remote, MemoryPins.FindFd(State.Fds));
        _state.BeginInjected(_remote, whyNot ?? "");
    }

    /// <summary>After <see cref="BeginInjection"/>: a step, which waits for one thread at the most. False when there is nothing left to do.</summary>
    public bool InjectNextThread()
    {
        if (_state.ReadNextThread()) return true;
        if (_rehearsal) _remote?.Rehearse();
        return false;
    }

    /// <summary>Its threads are given back.</summary>
    public void EndInjection()
    {
        _remote?.Dispose();
        _remote = null;
    }

    /// <summary>In the freeze, after <see cref="EndInjection"/> of all processes: its memory.</summary>
    public void CopyFrozen(PageBuffer buffer, FreezeWatchdog watchdog)
    {
        watchdog.Enter("scan");
        Memory.ScanAndCopy(buffer);
    }

    /// <summary>In the freeze of a round: what has to run in it, and nothing else of its state.</summary>
    public void BeginRound(FrozenProcess process, FreezeWatchdog watchdog)
    {
        watchdog.Enter("inject");
        Memory.BeginFrozen();
        using var remote = Memory.NeedsRemote ? RemoteSyscalls.TryBegin(process, out _) : null;
        Memory.BeginTracking(process, remote, MemoryPins.FindFd(_state.Directory));
    }

    /// <summary>After <see cref="BeginRound"/> of all processes: its tracker is armed.</summary>
    public void ArmFrozen(FreezeWatchdog watchdog)
    {
        watchdog.Enter("arm");
        Memory.Arm();
    }

    /// <summary>After <see cref="ArmFrozen"/> and the thaw: what its tracker watches is saved while it runs, for the next round.</summary>
    public PreCopiedRound PreCopy(CopyWindows windows)
    {
        var round = Memory.PreCopy(windows);
        round.Link.Process.Threads.AddRange(_sleeps.Threads());
        return round;
    }

    /// <summary>After the thaw: the finished message with its VMAs.</summary>
    /// <param name="body">Takes proofs, exclusions and warnings.</param>
    /// <param name="stoppedByUs">The stop it was found in was an earlier attempt's.</param>
    public Process Build(CheckpointBody body, bool stoppedByUs)
    {
        var process = _state.Build();
        _sleeps.Fill(process);
        if (stoppedByUs)
        {
            process.WasStopped = false;
            foreach (var thread in process.Threads) thread.GroupStopped = false;
        }

        process.Space = Space.Value;
        body.Proofs.Add(Memory.Describe(process.Vmas, body.Exclusions));
        body.Warnings.AddRange(_state.Warnings);
        body.Warnings.AddRange(Memory.Warnings);
        return process;
    }

    public void Dispose()
    {
        Memory.Dispose();
        _state.Dispose();
    }
}
