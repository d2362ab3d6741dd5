using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Capture.Snapshots;
using Crstore.Capture.State;
using Crstore.InjectDriver;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Objects.Files;

// inject-driver PID [ROUNDS]: freezes a process, injects what a capture injects and more, thaws, again and again until it is killed:
// the victim of tests/Crash. Says "ready" after the first complete round, "refused WHY" if it couldn't inject.
// inject-driver 0 target: is itself a .NET target that computes, allocates and collects garbage in several threads.
// inject-driver PID hang MS: never comes back from the middle of an injection, where it says "hanging": the watchdog must end it, MS after it has begun.
var pid = int.Parse(args[0], CultureInfo.InvariantCulture);
if (args.Length > 1 && args[1] == "target") return ManagedTarget.Run();
return Told(() => args is [_, "hang", var ms] ? Hang(pid, TimeSpan.FromMilliseconds(int.Parse(ms, CultureInfo.InvariantCulture)))
    : Inject(pid, args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : int.MaxValue));

static int Told(Func<int> work)
{
    try
    {
        return work();
    }
    catch (CrstoreException e)
    {
        Console.WriteLine("error " + e.Message);
        return (int)e.ExitCode;
    }
}

static int Inject(int pid, int rounds)
{
    var random = new Random();
    using var thread = new PtraceThread();
    // Patient: on a machine with much else to do a thread that computes may not run, and so not stop, for seconds.
    using var watchdog = new FreezeWatchdog(TimeSpan.FromSeconds(100));
    var options = new FreezeOptions { Watchdog = watchdog, StopTimeout = TimeSpan.FromSeconds(50) };
    ProcessSnapshot? last = null;
    for (var round = 0; round < rounds; round++)
    {
        ProcessSnapshot? snapshot = null;
        var whyNot = thread.Run(() => OneRound(pid, options, out snapshot));
        snapshot?.Kill(); // while the target runs
        last?.Dispose(); // without waiting for its death: most of the time is to be spent in injections
        last = snapshot;
        if (whyNot is not null) Console.WriteLine("refused " + whyNot);
        else if (round == 0) Console.WriteLine("ready");
        // The target must get somewhere in between, and not always equally far.
        Thread.SpinWait(random.Next(20_000));
    }
    last?.Dispose();
    return 0;
}

static string? OneRound(int pid, FreezeOptions options, out ProcessSnapshot? snapshot)
{
    snapshot = null;
    const long brk = 12, rtSigaction = 13, sigaltstack = 131, prctl = 157, gettid = 186, memfdCreate = 319, getTidAddress = 40;
    using var frozen = FrozenTree.Freeze(pid, tree: false, options);
    var process = frozen.Processes[0];
    using var state = ProcessStateReader.Prepare(pid, new FileRefs());
    state.ReadFrozen(process);
    FileDump.Run([state.Message], new ContentSaver(withFiles: false, []));
    snapshot = TakeSnapshot(process, out var whyNot);
    if (snapshot is null) return whyNot;
    using var remote = RemoteSyscalls.TryBegin(process, out whyNot);
    if (remote is null) return whyNot;
    state.ReadInjected(remote, "");
    if (state.Message.StateIncomplete.Length > 0) throw new TargetException(state.Message.StateIncomplete);
    var leader = process.Leader.Tid;
    var scratch = (long)remote.ScratchAddress;
    remote.Invoke(leader, brk);
    for (var signal = 10; signal < 18; signal++) remote.Invoke(leader, rtSigaction, signal, 0, scratch, 8);
    var first = remote.AcquireFd(leader, memfdCreate, scratch, 1);
    remote.AcquireFd(leader, memfdCreate, scratch, 1);
    remote.CloseFd(first);
    foreach (var thread in process.Threads)
    {
        if (remote.Invoke(thread.Tid, gettid) != thread.Tid) throw new TargetException($"gettid of thread {thread.Tid} gave something else");
        remote.Invoke(thread.Tid, prctl, getTidAddress, scratch);
        remote.Invoke(thread.Tid, sigaltstack, 0, scratch);
    }
    return null;
}

// As a capture does it, before all else that is injected.
static ProcessSnapshot? TakeSnapshot(FrozenProcess process, out string? whyNot)
{
    using var remote = RemoteSyscalls.TryBegin(process, out whyNot);
    if (remote is null) return null;
    var copy = remote.TrySnapshot(out var refused);
    return copy != 0 ? new ProcessSnapshot(copy) : throw new TargetException(refused);
}

static int Hang(int pid, TimeSpan limit)
{
    using var thread = new PtraceThread();
    using var watchdog = new FreezeWatchdog(limit, grace: TimeSpan.FromMilliseconds(100));
    return thread.Run(() =>
    {
        using var frozen = FrozenTree.Freeze(pid, tree: false, new FreezeOptions { Watchdog = watchdog, StopTimeout = 2 * limit });
        using var remote = RemoteSyscalls.TryBegin(frozen.Processes[0], out var whyNot);
        if (remote is null)
        {
            Console.WriteLine("refused " + whyNot);
            return 1;
        }

        remote.Invoke(frozen.Processes[0].Threads[^1].Tid, 39);
        watchdog.Enter("hang");
        Console.WriteLine("hanging");
        Thread.Sleep(Timeout.Infinite);
        return 0;
    });
}
