using System.Globalization;
using Crstore.Capture.Freezing;
using Crstore.Capture.Injection;
using Crstore.Linux;
using Crstore.Linux.Memory;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Capture.State;

/// <summary>
/// Reads everything about one process that is not memory, in the steps of a capture:
/// <see cref="Prepare"/> before the freeze (again in the freeze for a process that was born in between), then in the
/// freeze, on the ptrace thread, <see cref="ReadFrozen"/> and <see cref="ReadInjected"/>, and after the thaw
/// <see cref="Build"/>. Fills <see cref="Process"/> but for `space` and `vmas`.
/// </summary>
public sealed class ProcessStateReader : IDisposable
{
    private const int SmallFile = 64 * 1024;
    private const int TimersLimit = 16 * 1024 * 1024;

    private readonly ProcDirectory proc;
    private readonly FileRefs files;
    private readonly List<string> warnings = [];
    private PreparedState prepared;
    private StatusLines? status;
    private InjectedState? injected; // being read
    private List<(string Kind, string Link)>? namespaces;

    private ProcessStateReader(int pid, ProcDirectory proc, FileRefs files)
    {
        Pid = pid;
        this.proc = proc;
        this.files = files;
        var living = LivingThread(pid, proc);
        using var other = living == pid ? null : ProcDirectory.Open(living);
        prepared = PreparedState.Read(living, other ?? proc, files);
    }

    /// <summary>The process.</summary>
    public int Pid { get; }

    /// <summary>Its directory, for one reader at a time.</summary>
    internal ProcDirectory Directory => proc;

    /// <summary>What could not be read, and why; complete after <see cref="Build"/>.</summary>
    public IReadOnlyList<string> Warnings => warnings;

    /// <summary>The message being filled; complete after <see cref="Build"/>.</summary>
    public Process Message { get; } = new() { Layout = new MemoryLayout() };

    /// <summary>Reads what may be read while the process runs: exe, arguments, environment, limits, namespaces.</summary>
    /// <exception cref="TargetException">No such process, or no access to it.</exception>
    public static ProcessStateReader Prepare(int pid, FileRefs files)
    {
        ArgumentNullException.ThrowIfNull(files);
        ProcDirectory? proc = null;
        try
        {
            proc = ProcDirectory.Open(pid);
            var reader = new ProcessStateReader(pid, proc, files);
            proc = null;
            return reader;
        }
        catch (LinuxException e)
        {
            throw TargetErrors.BeforeAll(e, pid);
        }
        finally
        {
            proc?.Dispose();
        }
    }

    /// <summary>A process that has exited and was not reaped: it has no memory and no threads.</summary>
    /// <exception cref="TargetException">It is gone altogether.</exception>
    public static Process ReadZombie(int pid)
    {
        try
        {
            using var proc = ProcDirectory.Open(pid);
            var message = new Process
            {
                Pid = pid,
                Zombie = true,
                Stat = ByteString.CopyFrom(proc.Read("stat", SmallFile)),
                Status = ByteString.CopyFrom(proc.Read("status", SmallFile)),
            };
            FillFromStat(message);
            FillFromStatus(message, StatusLines.Parse(message.Status.Span));
            return message;
        }
        catch (LinuxException e)
        {
            throw TargetErrors.BeforeAll(e, pid);
        }
    }

    /// <summary>
    /// Reads what must belong to one instant: registers, signals, fds, stat, status, cwd, root, timers. Before injection
    /// begins: it changes the registers of the thread it uses.
    /// </summary>
    /// <exception cref="TargetException">The process died, or the kernel refused something.</exception>
    public void ReadFrozen(FrozenProcess frozen)
    {
        ArgumentNullException.ThrowIfNull(frozen);
        try
        {
            var leader = frozen.Leader.Tid;
            // A leader that called pthread_exit has given up its files and memory: /proc/TID of a living thread shows them.
            using var other = leader == Pid ? null : ProcDirectory.Open(leader);
            var living = other ?? proc;
            if (!prepared.IsStillThisProgram(living))
                prepared = PreparedState.Read(leader, living, files);
            Message.Pid = Pid;
            Message.Stat = ByteString.CopyFrom(proc.Read("stat", SmallFile));
            Message.Status = ByteString.CopyFrom(proc.Read("status", SmallFile));
            var inNamespace = StatusNumber.Count(Message.Status.Span, "\nNSpid:"u8) > 1;
            foreach (var thread in frozen.Threads)
                Message.Threads.Add(ThreadState.Read(thread, proc, inNamespace));
            Message.WasStopped = frozen.WasStopped;
            Message.SharedPending = UnsafeByteOperations.UnsafeWrap(Ptrace.PeekSigInfo(leader, shared: true));
            Message.Cwd = living.ReadLink("cwd");
            Message.Root = living.ReadLink("root");
            Message.Fds.AddRange(FdTable.Read(living));
            SettingsState.ReadFrozen(Message, living);
            if (living.TryRead("timers", TimersLimit, out var timers) == 0)
                Message.Timers = ByteString.CopyFrom(timers);
        }
        catch (LinuxException e)
        {
            throw TargetErrors.From(e, Pid);
        }
    }

    /// <summary>Finds out what only shows when something is mapped in the process. After <see cref="ReadFrozen"/>, before all else that is injected.</summary>
    /// <param name="remote">Null if nothing can be injected.</param>
    public void ReadLocks(IRemoteSyscalls? remote)
    {
        try
        {
            if (remote is not null) FutureLocks.Find(Message, proc, remote);
        }
        catch (LinuxException)
        {
            // No scratch page: ReadInjected meets the same, and says so.
        }
    }

    /// <summary>
    /// Reads what the process itself must be asked for. After <see cref="ReadFrozen"/>.
    /// </summary>
    /// <param name="remote">Null if nothing can be injected.</param>
    /// <param name="whyNot">Then: why, for `state_incomplete`.</param>
    public void ReadInjected(IRemoteSyscalls? remote, string whyNot)
    {
        BeginInjected(remote, whyNot);
        while (ReadNextThread()) { }
    }

    /// <summary>The same in steps, for several processes by turns: of its leader. <see cref="ReadNextThread"/> follows, until there is no more.</summary>
    /// <param name="remote">Null if nothing can be injected.</param>
    /// <param name="whyNot">Then: why, for `state_incomplete`.</param>
    public void BeginInjected(IRemoteSyscalls? remote, string whyNot)
    {
        injected = null;
        if (remote is null)
        {
            MarkIncomplete(whyNot);
            return;
        }
        try
        {
            injected = InjectedState.Begin(Message, StatusNumber.Hex(Message.Status.Span, "\nSigCgt:"u8), remote);
        }
        catch (LinuxException e)
        {
            // The memory and all else are still good: the checkpoint says what it lacks.
            MarkIncomplete(e.Message);
        }
    }

    /// <summary>Of its other threads: a step that waits for one of them at the most. False when there is nothing left to do.</summary>
    public bool ReadNextThread()
    {
        try
        {
            if (injected?.AskNextThread() == true) return true;
        }
        catch (LinuxException e)
        {
            MarkIncomplete(e.Message);
        }

        injected = null;
        return false;
    }

    /// <summary>Takes the raw lines apart. After the thaw; on any thread.</summary>
    public Process Build()
    {
        if (Message.Status.IsEmpty)
            throw new InvalidOperationException("ReadFrozen comes first");
        status = StatusLines.Parse(Message.Status.Span); // costs too much for the freeze
        Message.MergeFrom(prepared.Message);
        FillFromStat(Message);
        FillFromStatus(Message, status);
        foreach (var thread in Message.Threads)
        {
            ThreadState.FillFromStat(thread);
            CompareWithLeader(thread);
        }

        SettingsState.Complete(Message, proc, status);
        InjectedState.AddIgnored(Message, status.SignalsIgnored);
        Message.DumpableUnknown = Message.StateIncomplete.Length > 0;
        warnings.AddRange(prepared.Warnings.Select(w => $"process {Pid}: {w}"));
        return Message;
    }

    /// <inheritdoc/>
    public void Dispose() => proc.Dispose();

    // After the thaw: it hardly ever changes, and costs too much for the freeze where there are hundreds of threads.
    private void CompareWithLeader(Thread thread)
    {
        (thread.StoreBypass, thread.IndirectBranch) = (status!.StoreBypass, status.IndirectBranch);
        if (Message.Threads.Count == 1 || proc.TryRead(string.Create(CultureInfo.InvariantCulture, $"task/{thread.Tid}/status"), SmallFile, out var text) != 0) return;
        var (mine, theirs) = (status, StatusLines.Parse(text));
        (thread.StoreBypass, thread.IndirectBranch) = (theirs.StoreBypass, theirs.IndirectBranch);
        if (thread.Differs.Length > 0) return;
        if (theirs.Seccomp != mine.Seccomp || theirs.NoNewPrivileges != mine.NoNewPrivileges) thread.Differs = "seccomp";
        else if (!theirs.Uids.SequenceEqual(mine.Uids) || !theirs.Gids.SequenceEqual(mine.Gids) || !theirs.Groups.SequenceEqual(mine.Groups) || theirs.Capabilities != mine.Capabilities)
            thread.Differs = "credentials";
        else thread.Differs = Apart(thread.Tid, Message.Threads[0].Tid);
    }

    // What a thread that is ending has given up already tells nothing.
    private string Apart(int tid, int leader)
    {
        var what = ProcessComparison.Apart(tid, leader);
        if (what.Length == 0 && NamespacesOf(tid).Except(namespaces ??= NamespacesOf(leader)).FirstOrDefault() is { Kind: { } kind }) what = $"{kind} namespace";
        return what.Length > 0 && ProcessComparison.IsEnding(tid, leader) ? "" : what;
    }

    // A thread may have called setns(2) or unshare(2) for itself.
    private List<(string Kind, string Link)> NamespacesOf(int tid) =>
        [.. NamespaceLink.Names.Select(kind => (kind, proc.TryReadLink(string.Create(CultureInfo.InvariantCulture, $"task/{tid}/ns/{kind}"), out var link) == 0 ? link : ""))];

    private void MarkIncomplete(string why)
    {
        Message.StateIncomplete = why;
        Message.Actions.Clear();
        foreach (var thread in Message.Threads.Where(t => t.Altstack is null || t.TidAddress == 0))
            thread.StateIncomplete = true;
    }

    // A leader that has exited while other threads go on shows neither memory nor files; /proc/TID of any other thread does.
    private static int LivingThread(int pid, ProcDirectory proc)
    {
        if (!StatLine.Parse(proc.Read("stat", SmallFile)).IsZombie)
            return pid;
        foreach (var tid in proc.Numbers("task"))
        {
            if (proc.TryRead(string.Create(CultureInfo.InvariantCulture, $"task/{tid}/stat"), SmallFile, out var stat) == 0 && !StatLine.Parse(stat).IsZombie)
                return tid;
        }
        return pid;
    }

    private static void FillFromStat(Process message)
    {
        var stat = StatLine.Parse(message.Stat.Span);
        message.Comm = stat.Comm;
        message.Ppid = stat.Ppid;
        message.Pgid = stat.Pgrp;
        message.Sid = stat.Session;
        (message.SessionLeaderGone, message.GroupLeaderGone) = (IsGone(stat.Session), IsGone(stat.Pgrp));
        message.StartTimeTicks = stat.StartTime;
        message.ExitSignal = stat.ExitSignal;
        message.Layout ??= new MemoryLayout();
        (message.Layout.StartCode, message.Layout.EndCode, message.Layout.StartStack) = stat.Code;
        (message.Layout.StartData, message.Layout.EndData, message.Layout.StartBrk) = stat.Data;
        (message.Layout.ArgStart, message.Layout.ArgEnd, message.Layout.EnvStart, message.Layout.EnvEnd) = stat.Arguments;
    }

    // While a session or group exists its id is given to nobody else. Asked of the kernel, since /proc may hide processes. 0 is one outside of the pid namespace.
    private static bool IsGone(int leader) => leader != 0 && Signals.TryKill(leader, 0) == Errno.ESRCH;

    private static void FillFromStatus(Process message, StatusLines status)
    {
        message.Umask = status.Umask ?? 0;
        message.Credentials = new Credentials
        {
            Uid = { status.Uids },
            Gid = { status.Gids },
            Groups = { status.Groups },
            CapInheritable = status.Capabilities.Inheritable,
            CapPermitted = status.Capabilities.Permitted,
            CapEffective = status.Capabilities.Effective,
            CapBounding = status.Capabilities.Bounding,
            CapAmbient = status.Capabilities.Ambient,
            NoNewPrivs = status.NoNewPrivileges,
            Seccomp = status.Seccomp,
        };
    }
}
