using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects;
using Crstore.Objects.Files;
using Crstore.Objects.Processes;
using Crstore.Restore.Restart.Lazy;

namespace Crstore.Restore.Restart;

/// <summary>
/// Makes the processes of a checkpoint run again: opens their files, makes them from a stub with the ids that they had, gives each
/// its memory, files, threads and attributes, and lets all go at once. If anything fails, what was made is killed.
/// </summary>
public sealed class Restarter
{
    private readonly ICheckpointImage image;
    private readonly RestartOptions options;
    private readonly List<int> made = [];
    private readonly List<(string Name, TimeSpan Duration)> phases = [];
    private long since = Stopwatch.GetTimestamp();
    private TerminalHandover? terminal;
    private TerminalRelay? relay;
    private LazyMemory? lazy;
    private bool isRunning; // somebody was let go

    private Restarter(ICheckpointImage image, RestartOptions options) => (this.image, this.options) = (image, options);

    /// <summary>Restarts.</summary>
    /// <param name="image">The checkpoint.</param>
    /// <param name="options">How.</param>
    /// <param name="progress">Told of bytes of memory.</param>
    /// <param name="cancel">What was made is killed then.</param>
    /// <exception cref="CrstoreException">It can't be restarted; names the object. Nothing is left behind.</exception>
    public static RestartResult Run(ICheckpointImage image, RestartOptions options, IProgress<ulong>? progress, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(options);
        var tracer = new PtraceThread();
        var isLazy = false;
        try
        {
            var result = tracer.Run(() => new Restarter(image, options).Run(progress, cancel));
            isLazy = result.Lazy is not null;
            result.Lazy?.Begin(tracer);
            return result;
        }
        finally
        {
            if (!isLazy) tracer.Dispose();
        }
    }

    private RestartResult Run(IProgress<ulong>? progress, CancellationToken cancel)
    {
        using var scene = new RestartScene(image.Manifest.Body) { Stdio = options.Stdio, ChangedFiles = options.Files, CloseConnections = options.CloseConnections, MappedFds = options.MappedFds, Directory = options.Directory, NewPids = options.NewPids, HasTerminal = TerminalRelay.IsPossible(options) };
        foreach (var (fd, _) in options.MappedFds)
            if (!scene.Body.Processes.Any(p => p.Fds.Any(f => f.Number == fd))) throw new UsageException($"--map-fd {fd}: no process of the checkpoint has that fd", "`crstore show CRID` lists them");
        var verdicts = Verdicts.Of(scene);
        Refuse(verdicts);
        scene.Warnings.AddRange(Verdicts.Differences(verdicts));
        if (options.Files == FilesPolicy.Warn) scene.Warnings.AddRange(Verdicts.Decided(verdicts, RestartScene.FilesFlag));
        DescriptorLimit.Raise();
        var inheritance = new Inheritance(Inheritance.FirstAbove(scene.Body));
        ThisProcess.AdoptOrphans(true);
        try
        {
            relay = TerminalRelay.Prepare(scene);
            using var mapped = new MappedFiles(scene, inheritance);
            using var files = new FileTable(scene, inheritance);
            Done("open");
            return Build(scene, inheritance, mapped, files, progress, cancel);
        }
        catch (Exception e)
        {
            Puppets.End(made);
            scene.TakeBack();
            terminal?.TakeBack();
            relay?.Dispose();
            lazy?.Dispose();
            // Why it was killed.
            if (lazy?.Failure is { } failure) ExceptionDispatchInfo.Throw(failure);
            if (e is LinuxException linux) throw new EnvironmentException($"the restart failed: {linux.Message}", null, linux);
            throw;
        }
        finally
        {
            ThisProcess.AdoptOrphans(false);
        }
    }

    private RestartResult Build(RestartScene scene, Inheritance inheritance, MappedFiles mapped, FileTable files, IProgress<ulong>? progress, CancellationToken cancel)
    {
        var body = scene.Body;
        if (options.Lazy) lazy = new LazyMemory(image, body, mapped, options.Stopped, scene.Warnings);
        if (lazy?.Spaces.Count == 0) lazy = null;
        using var filler = new PageFiller(image, body, mapped, lazy, progress, cancel);
        var places = MappedFiles.FreePlaces(body, StubProgram.Size, 2);
        inheritance.Check();
        var stub = Stub.Start(places[0], inheritance.Files);
        made.Add(stub.Tid);
        // Its program must not be mapped when the processes get theirs: the workplace is anonymous memory that all inherit.
        var at = stub.Call("mmap", SystemCalls.Mmap, (long)places[1], StubProgram.Size, 7,
            SystemCalls.MapPrivate | SystemCalls.MapAnonymous | SystemCalls.MapFixedNoReplace, -1, 0);
        if (at != (long)places[1]) throw new EnvironmentException($"no room for crstore's code at {places[1]:x}: {Errno.Describe((int)-at)}");
        stub.MoveTo(places[1]);

        NewNamespaces.Make(stub, options, body);
        Puppet? init = null;
        if (options.NewPids && body.Processes[0].Pid != 1)
        {
            init = NewNamespaces.MakeInit(stub);
            made.Add(init.Tid);
        }

        // To look at all processes of the host takes milliseconds.
        var mayBeTaken = !options.NewPids && body.Processes.Any(p => p.SessionLeaderGone || p.GroupLeaderGone);
        var plan = TreePlan.Of(body.Processes, options.Detach, mayBeTaken ? IdsInUse.All() : null);
        SayIfLedFromOutside(plan, scene);
        var tree = ProcessTree.Make(init ?? stub, init is null, body.Processes, plan, files.LeadSession, made);
        Puppets.End(stub.Tid);
        made.Remove(stub.Tid);

        Zombies.End(tree.Processes);
        Done("tree");
        var processes = tree.Processes.FindAll(p => !p.Message.Zombie);
        foreach (var process in processes)
        {
            cancel.ThrowIfCancellationRequested();
            var space = new AddressSpace(process, mapped);
            space.Clear();
            space.Map();
        }

        Done("map");
        lazy?.Register(processes);
        var bytes = filler.Complete(processes);
        mapped.Trim();
        Done("fill");
        foreach (var process in processes) files.Place(process, inheritance.First);
        var byId = processes.ToDictionary(p => p.Message.Pid);
        files.Complete(byId);
        var mine = Mine();
        foreach (var process in processes)
        {
            cancel.ThrowIfCancellationRequested();
            MemorySettings.Set(process);
            new AddressSpace(process, mapped).Finish();
            files.Finish(process, inheritance.First);
            ProcessAttributes.RegisterBarriers(process);
            ThreadBuilder.Make(process, made.Add);
            foreach (var (puppet, thread) in process.Threads.Zip(process.Message.Threads)) ThreadBuilder.Configure(puppet, thread);
            ProcessAttributes.Set(process, options.Directory);
            foreach (var puppet in process.Threads) CredentialSetter.Set(puppet, process.Message, mine);
            ProcessAttributes.SetPrivate(process);
            ProcessAttributes.SetSignals(process);
            TimerBuilder.Make(process);
            PendingSignals.Queue(process);
            ThreadSettings.SetLast(process);
            MemorySettings.SetLast(process);
        }

        files.Signal(byId);
        Done("state");
        foreach (var process in processes)
        {
            lazy?.Warm(process, cancel);
            Finish(process);
        }

        if (init is not null) NewNamespaces.LetInitWait(init, processes[0].Leader.Pid);
        foreach (var action in scene.AtLast) action();
        foreach (var warning in scene.Warnings) options.Warn?.Invoke(warning);
        terminal = TerminalHandover.Prepare(scene, options, processes);
        var root = processes[0].Leader.Tid;
        var fill = lazy is null ? null : Prepare(lazy, processes, places[0], init?.Tid ?? root, progress, cancel);
        SetLastOptions(processes, fill is null);
        foreach (var process in processes)
        {
            LetGo(process, fill);
            FaultPoint.Hit("restart.let-go"); // one more of them runs
        }

        terminal?.Redraw();
        relay?.Redraw(tree.Processes.Select(p => p.Leader.Tid));
        Done("go");
        return new RestartResult(root, init?.Tid ?? root, [.. tree.Processes.Select(p => p.Leader.Tid)], bytes, phases, scene.Warnings) { Lazy = fill, Terminal = terminal, Relay = relay };
    }

    // What the verdict had as coming back as it was.
    private static void SayIfLedFromOutside(TreePlan plan, RestartScene scene)
    {
        var root = scene.Body.Processes[0];
        if (!plan.OuterIsMade && TreePlan.Of(scene.Body.Processes).OuterIsMade)
            scene.Warnings.Add($"session {root.Sid} of process {root.Pid}: somebody else has that id; it is in another one");
    }

    private void Done(string phase)
    {
        phases.Add((phase, Stopwatch.GetElapsedTime(since)));
        since = Stopwatch.GetTimestamp();
    }

    /// <summary>The last calls: what interrupted system calls need, and crstore's own memory goes. Then the registers.</summary>
    private static void Finish(Restarted process)
    {
        var registers = new List<UserRegs>();
        for (var i = 0; i < process.Threads.Count; i++) registers.Add(Resumption.Prepare(process.Threads[i], process.Message.Threads[i], process.Message.Vmas));
        var vdso = process.Message.Vmas.FirstOrDefault(v => v.Name == "[vdso]")
            ?? throw new TargetException($"process {process.Message.Pid} has no vDSO");
        PendingSignals.QueueContinue(process);
        process.Leader.CallAt("munmap", SyscallInstruction.Find(process.Leader, vdso), SystemCalls.Munmap, (long)process.Leader.Workplace, StubProgram.Size);
        for (var i = 0; i < process.Threads.Count; i++) ThreadBuilder.SetRegisters(process.Threads[i], process.Message.Threads[i], registers[i]);
    }

    // All that memory which isn't there yet needs, before its program runs.
    private LazyFill Prepare(LazyMemory memory, List<Restarted> processes, ulong place, int waitPid, IProgress<ulong>? progress, CancellationToken cancel)
    {
        var fill = new LazyFill(memory, LazyGuard.Start(place, memory.Spaces, made), waitPid, progress, cancel);
        foreach (var process in processes.Where(p => memory.Of(p) is not null))
            foreach (var puppet in process.Threads) puppet.StopForResumption();
        return fill;
    }

    // Whoever is let go first may take the processor from crstore. Killed there, it is to leave all of them: what has no tracer any more goes on as if detached.
    // And the last look whether all are there: who is gone later is not missed.
    private static void SetLastOptions(List<Restarted> processes, bool mayOutlive)
    {
        var options = mayOutlive ? Puppet.Options & ~PtraceOptions.ExitKill : Puppet.Options;
        foreach (var process in processes)
        {
            foreach (var puppet in process.Threads)
            {
                var errno = Ptrace.TrySetOptions(puppet.Tid, options);
                if (errno != 0) throw Gone(puppet, errno);
            }
        }
    }

    private void LetGo(Restarted process, LazyFill? fill)
    {
        if (fill is not null && lazy!.Of(process) is { } space)
        {
            foreach (var puppet in process.Threads) Released(puppet, fill.LetGo(puppet, space));
            return;
        }

        var signal = options.Stopped || process.Message.WasStopped || PendingSignals.AreToStop(process.Message) ? Signals.SIGSTOP : 0;
        foreach (var puppet in process.Threads) Released(puppet, Ptrace.TryDetach(puppet.Tid, puppet == process.Leader ? signal : 0));
    }

    // Once the first one runs the restart is made: it may have ended the program, or other processes, before they were let go.
    private void Released(Puppet puppet, int errno)
    {
        if (errno != 0 && !(isRunning && errno == Errno.ESRCH)) throw Gone(puppet, errno);
        isRunning = true;
    }

    private static EnvironmentException Gone(Puppet puppet, int errno) => new($"thread {puppet.Tid} is gone: {Errno.Describe(errno)}");

    private static void Refuse(IReadOnlyList<ObjectVerdict> verdicts)
    {
        var refused = verdicts.Where(v => v.Verdict.Outcome == Restartability.Refused).ToList();
        if (refused.Count == 0) return;
        throw new TargetException(
            $"it can't be restarted: {string.Join("; ", refused.Take(5).Select(v => $"{v.Object}: {v.Verdict.Why}"))}{(refused.Count > 5 ? $"; and {refused.Count - 5} more" : "")}",
            "`crstore check CRID` lists everything");
    }

    private static Credentials Mine()
    {
        var status = StatusLines.Parse(File.ReadAllBytes("/proc/self/status"));
        return new Credentials
        {
            Uid = { status.Uids },
            Gid = { status.Gids },
            Groups = { status.Groups },
            CapInheritable = status.Capabilities.Inheritable,
            CapPermitted = status.Capabilities.Permitted,
            CapEffective = status.Capabilities.Effective,
            CapBounding = status.Capabilities.Bounding,
            CapAmbient = status.Capabilities.Ambient,
        };
    }
}
