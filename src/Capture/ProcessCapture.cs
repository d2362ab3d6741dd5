using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Memory;
using Crstore.Capture.State;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture;

/// <summary>One process of a capture: its memory and its state, through the same steps.</summary>
internal sealed class ProcessCapture : IDisposable
{
    private readonly SpaceId _space;
    private readonly ProcessStateReader _state;

    private ProcessCapture(SpaceId space, ProcessStateReader state, MemoryCapture memory)
    {
        _space = space;
        _state = state;
        Memory = memory;
    }

    public int Pid => _state.Pid;

    public MemoryCapture Memory { get; }

    /// <summary>True once it was found among the frozen ones; one that exited before the freeze never is.</summary>
    public bool Captured { get; private set; }

    public static ProcessCapture Prepare(SpaceId space, MemoryRequest request, FileRefs files)
    {
        var state = ProcessStateReader.Prepare(request.Pid, files);
        try
        {
            return new ProcessCapture(space, state, MemoryCapture.Prepare(request));
        }
        catch
        {
            state.Dispose();
            throw;
        }
    }

    /// <summary>In the freeze: everything that is not page content.</summary>
    public void ScanFrozen(FrozenProcess process, FreezeWatchdog watchdog)
    {
        watchdog.Enter("state");
        _state.ReadFrozen(process);
        watchdog.Enter("inject");
        using var remote = RemoteSyscalls.TryBegin(process, out var whyNot);
        watchdog.Enter("scan");
        Memory.ScanAndPlan(process, remote);
        watchdog.Enter("inject");
        _state.ReadInjected(remote, whyNot ?? "");
        Captured = true;
    }

    /// <summary>After the thaw: the finished message with its VMAs.</summary>
    public Process Build(CheckpointBody body)
    {
        var process = _state.Build();
        process.Space = _space.Value;
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
