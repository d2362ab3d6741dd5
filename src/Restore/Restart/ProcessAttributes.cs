using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Crstore.Linux.Proc;
using Crstore.Model;

namespace Crstore.Restore.Restart;

/// <summary>What belongs to a process as a whole: directory, limits, handlers, timers. On the ptrace thread.</summary>
internal static class ProcessAttributes
{
    private const int SigChld = 17, LastSignal = 64;

    /// <summary>Directory, mask, limits, personality, and what /proc takes.</summary>
    /// <param name="process">It.</param>
    /// <param name="directory">Instead of the one that it was in; null: that one.</param>
    public static void Set(Restarted process, string? directory)
    {
        var (puppet, message) = (process.Leader, process.Message);
        if (message.Root != "/") throw new TargetException($"process {message.Pid}: its root directory is {message.Root}", "only processes with the host's root restart");
        var cwd = directory ?? message.Cwd;
        puppet.Queue($"chdir {cwd}", SystemCalls.Chdir, (long)puppet.Place([.. Encoding.UTF8.GetBytes(cwd), 0]));
        puppet.Queue("umask", SystemCalls.Umask, message.Umask);
        puppet.Queue("personality", SystemCalls.Personality, message.Personality);
        // Inherited, so it's said either way.
        if (!message.Status.IsEmpty && StatusLines.Parse(message.Status.Span).HugePages is { } hugePages)
            puppet.Queue("prctl(PR_SET_THP_DISABLE)", SystemCalls.Prctl, SystemCalls.PrSetThpDisable, hugePages ? 0 : 1, 0, 0, 0);
        foreach (var limit in message.Rlimits)
        {
            var record = new byte[16];
            BinaryPrimitives.WriteUInt64LittleEndian(record, limit.Soft);
            BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(8), limit.Hard);
            puppet.Queue($"prlimit of resource {limit.Resource}", SystemCalls.Prlimit64, 0, limit.Resource, (long)puppet.Place(record), 0);
        }

        puppet.Flush();
        Write(process, "oom_score_adj", message.OomScoreAdj.ToString(CultureInfo.InvariantCulture));
        Write(process, "coredump_filter", "0x" + message.CoredumpFilter.ToString("x", CultureInfo.InvariantCulture));
    }

    /// <summary>
    /// membarrier(2)'s registrations, which belong to the memory and which .NET and others rely on. What a process had can't be asked from outside;
    /// one too many costs next to nothing. Before there are threads: the kernel then has to wait for nobody.
    /// </summary>
    public static void RegisterBarriers(Restarted process)
    {
        const int query = 0, privateExpedited = 16, privateSyncCore = 64, privateRseq = 256; // MEMBARRIER_CMD_REGISTER_…
        var supported = process.Leader.Call("membarrier", SystemCalls.Membarrier, query, 0, 0);
        if (supported < 0) return; // then it had none
        foreach (var command in new[] { privateExpedited, privateSyncCore, privateRseq })
            if ((supported & command) != 0) process.Leader.Queue("membarrier", SystemCalls.Membarrier, command, 0, 0);
        process.Leader.Flush();
    }

    /// <summary>What a change of credentials resets: dumpable, the parent-death signal.</summary>
    public static void SetPrivate(Restarted process)
    {
        const int undumpable = 0, dumpable = 1; // 2 can't be set: it is what a set-user-id program has
        var (puppet, message) = (process.Leader, process.Message);
        if (message.ChildSubreaper) puppet.Queue("prctl(PR_SET_CHILD_SUBREAPER)", SystemCalls.Prctl, SystemCalls.PrSetChildSubreaper, 1, 0, 0, 0);
        if (!message.DumpableUnknown) puppet.Queue("prctl(PR_SET_DUMPABLE)", SystemCalls.Prctl, SystemCalls.PrSetDumpable, message.Dumpable == dumpable ? dumpable : undumpable, 0, 0, 0);
        // The root's parent is crstore, whose end must not be its own.
        if (message.ParentDeathSignal != 0 && !process.IsRoot)
            puppet.Queue("prctl(PR_SET_PDEATHSIG)", SystemCalls.Prctl, SystemCalls.PrSetPdeathsig, message.ParentDeathSignal, 0, 0, 0);
        puppet.Flush();
    }

    /// <summary>Signal handlers and interval timers; after everything that could send a signal.</summary>
    public static void SetSignals(Restarted process)
    {
        var puppet = process.Leader;
        // SIGCHLD of zombies, and of puppets that failed: ignoring takes it out of the queue.
        puppet.Queue("rt_sigaction", SystemCalls.RtSigAction, SigChld, (long)puppet.Place(Action(1, 0, 0, 0)), 0, 8);
        puppet.Queue("rt_sigaction", SystemCalls.RtSigAction, SigChld, (long)puppet.Place(Action(0, 0, 0, 0)), 0, 8);
        foreach (var action in process.Message.Actions.Where(a => a.Signal is >= 1 and <= LastSignal))
        {
            puppet.Queue($"rt_sigaction of signal {action.Signal}", SystemCalls.RtSigAction, action.Signal,
                (long)puppet.Place(Action(action.Handler, action.Flags, action.Restorer, action.Mask)), 0, 8);
        }

        const int timerSize = 32;
        for (var which = 0; which < process.Message.Itimers.Length / timerSize; which++)
        {
            var timer = process.Message.Itimers.Span.Slice(which * timerSize, timerSize);
            if (timer.ContainsAnyExcept((byte)0)) puppet.Queue("setitimer", SystemCalls.SetItimer, which, (long)puppet.Place(timer), 0);
        }

        puppet.Flush();
    }

    private static byte[] Action(ulong handler, ulong flags, ulong restorer, ulong mask)
    {
        var record = new byte[32];
        BinaryPrimitives.WriteUInt64LittleEndian(record, handler);
        BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(8), flags);
        BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(16), restorer);
        BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(24), mask);
        return record;
    }

    private static void Write(Restarted process, string name, string value)
    {
        var path = $"/proc/{process.Leader.Tid}/{name}";
        try
        {
            if (File.ReadAllText(path).Trim() != value) File.WriteAllText(path, value);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EnvironmentException($"process {process.Message.Pid}: {path} can't be set to {value}: {e.Message}", null, e);
        }
    }
}
