using System.Buffers.Binary;
using System.Globalization;
using Crstore.Linux;
using Crstore.Model;

namespace Crstore.Restore.Restart;

/// <summary>Making puppets from puppets, with the ids that they had: clone3(2) with set_tid. On the ptrace thread.</summary>
internal static class Puppets
{
    private const int CloneArgsSize = 88; // struct clone_args with set_tid and cgroup, linux/sched.h

    /// <summary>Makes a process or thread.</summary>
    /// <param name="parent">Calls clone3.</param>
    /// <param name="id">Its id.</param>
    /// <param name="flags">CLONE_ flags; with CLONE_THREAD it is a thread of the parent.</param>
    /// <param name="exitSignal">What its parent gets when it ends.</param>
    public static Puppet Make(Puppet parent, int id, ulong flags, int exitSignal)
    {
        var what = (flags & SystemCalls.CloneThread) != 0 ? $"making thread {id}" : $"making process {id}";
        // A thread that has just ended, and is in /proc no more, may keep its id until it gets a processor (release_task, kernel/exit.c).
        var wait = new StopWait(StopWait.DeadlineIn(TimeSpan.FromSeconds(1)));
        (long Result, int Born) made;
        do made = Clone(parent, what, flags, exitSignal, id);
        while (made.Result == -Errno.EEXIST && !Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}")) && wait.Again());

        if (made.Result < 0) throw Refused(what, id, (int)-made.Result);
        return Started(parent, made.Born, (flags & SystemCalls.CloneThread) != 0 ? parent.Pid : id, id);
    }

    /// <summary>Makes a process with the id that the kernel gives it. Its end is told to nobody, and it must be waited for.</summary>
    /// <param name="parent">Calls clone3.</param>
    public static Puppet MakeAny(Puppet parent)
    {
        const string what = "making a helper";
        var (result, born) = Clone(parent, what, 0, 0, null);
        if (result < 0) throw Refused(what, 0, (int)-result);
        return Started(parent, born, (int)result, (int)result);
    }

    private static (long Result, int Born) Clone(Puppet parent, string what, ulong flags, int exitSignal, int? id)
    {
        var args = new byte[CloneArgsSize];
        U64(0, flags);
        U64(32, (ulong)exitSignal);
        if (id is { } wanted)
        {
            U64(64, parent.Place(BitConverter.GetBytes((long)wanted)));
            U64(72, 1);
        }

        var born = 0;
        parent.Born = tid => born = tid;
        var result = parent.Call(what, SystemCalls.Clone3, (long)parent.Place(args), CloneArgsSize);
        parent.Born = null;
        return (result, born);

        void U64(int at, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(args.AsSpan(at), value);
    }

    private static Puppet Started(Puppet parent, int born, int pid, int id)
    {
        var puppet = new Puppet(born, pid, id, parent.Workplace);
        puppet.AwaitStop();
        return puppet;
    }

    /// <summary>
    /// Kills processes and waits until their ids are free: a death is told to the tracer first, then to the parent, which is crstore itself once
    /// the real one is dead (<see cref="ThisProcess.AdoptOrphans"/>).
    /// </summary>
    public static void End(params IReadOnlyList<int> pids)
    {
        foreach (var pid in pids) Signals.TryKill(pid, Signals.SIGKILL);
        var wait = new StopWait(StopWait.DeadlineIn(TimeSpan.FromSeconds(5)));
        do
        {
            foreach (var pid in pids) ChildWait.Poll(pid, reap: true);
        }
        while (pids.Any(pid => Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}"))) && wait.Again());
    }

    private static CrstoreException Refused(string what, int id, int errno) => errno switch
    {
        Errno.EEXIST => new TargetException($"the id {id} is in use{NameOf(id)}: a process comes back with the ids that it had",
            "end that process, or restart with --new-pids"),
        Errno.EPERM => new EnvironmentException($"{what}: choosing process ids needs CAP_CHECKPOINT_RESTORE or root", "run it as root; --new-pids needs that too"),
        _ => new EnvironmentException($"{what}: {Errno.Describe(errno)}"),
    };

    private static string NameOf(int id)
    {
        try
        {
            return $" by “{File.ReadAllText($"/proc/{id}/comm").Trim()}”";
        }
        catch (IOException)
        {
            return " (by a thread, a process group or a session)";
        }
    }
}
