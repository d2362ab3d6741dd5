using System.Globalization;
using System.Text;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Restore.Restart;

/// <summary>
/// Namespaces that restarted processes get if asked for: one of pids, namespaces(7), in which their old ids are free, with a first
/// process that waits for orphans; and one of time, in which the monotonic clock goes on where it was. The stub makes them for its children.
/// </summary>
internal static class NewNamespaces
{
    private const long Unshare = 272, NewPid = 0x20000000, NewTime = 0x80; // unshare(2)
    private const int Nanoseconds = 1_000_000_000;

    /// <summary>Makes those that the options ask for.</summary>
    public static void Make(Puppet stub, RestartOptions options, CheckpointBody captured)
    {
        // They would inherit crstore's.
        var own = ClockOffsets.OfSelf();
        var offsets = Offsets(options.Clock, captured.Host, captured.Processes[0], own);
        var shift = offsets != own;
        var flags = (options.NewPids ? NewPid : 0) | (shift ? NewTime : 0);
        if (flags == 0) return;
        var result = stub.Call("unshare", Unshare, flags);
        if (result < 0) throw new EnvironmentException($"no new namespaces: {Errno.Describe((int)-result)}", "they need CAP_SYS_ADMIN: run it as root");
        if (shift) SetClocks(stub.Tid, offsets);
    }

    /// <summary>The first process of a new pid namespace.</summary>
    public static Puppet MakeInit(Puppet stub)
    {
        var init = Puppets.Make(stub, 1, SystemCalls.CloneParent, 0);
        init.Queue("prctl(PR_SET_NAME)", SystemCalls.Prctl, SystemCalls.PrSetName, (long)init.Place([.. Encoding.ASCII.GetBytes("crstore-init"), 0]));
        return init;
    }

    /// <summary>Lets it wait for the others: it ends after the last of them, with the root's exit code.</summary>
    public static void LetInitWait(Puppet init, int root)
    {
        // What it has open would keep pipes from ending.
        init.Queue("close_range", SystemCalls.CloseRange, 0, uint.MaxValue, 0);
        init.Flush();
        var regs = Ptrace.GetRegs(init.Tid);
        regs.OrigRax = UserRegs.NoSyscall;
        regs.Rip = init.Workplace + StubProgram.InitOffset;
        regs.Rbx = (ulong)root;
        regs.Rbp = init.Workplace + StubProgram.DataOffset;
        regs.R12 = 0;
        Ptrace.SetRegs(init.Tid, regs);
        var errno = Ptrace.TryDetach(init.Tid);
        if (errno != 0) throw new EnvironmentException($"the first process of the pid namespace is gone: {Errno.Describe(errno)}");
    }

    // The clocks may have been shifted at the capture already; on the same boot time has passed for them as for the host's.
    private static (long MonotonicNs, long BoottimeNs) Offsets(ClockPolicy policy, Host host, Process root, (long, long) own)
    {
        if (policy == ClockPolicy.Host) return own;
        var (monotonicNs, boottimeNs) = (root.MonotonicOffsetNs, root.BoottimeOffsetNs);
        if (policy == ClockPolicy.Auto && host.BootId == SystemInfo.BootId()) return (monotonicNs, boottimeNs);
        var now = ClockOffsets.ToHost((SystemInfo.MonotonicNs(), SystemInfo.BoottimeNs()));
        return ((long)host.ClockMonotonicNs + monotonicNs - (long)now.MonotonicNs, (long)host.ClockBoottimeNs + boottimeNs - (long)now.BoottimeNs);
    }

    // /proc/PID/timens_offsets, time_namespaces(7): what is added to the host's clocks.
    private static void SetClocks(int pid, (long MonotonicNs, long BoottimeNs) offsets)
    {
        var text = Line("monotonic", offsets.MonotonicNs) + Line("boottime", offsets.BoottimeNs);
        try
        {
            File.WriteAllText($"/proc/{pid}/timens_offsets", text);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EnvironmentException($"the monotonic clock can't be shifted: {e.Message}", "--clock host leaves it as it is", e);
        }

        static string Line(string clock, long ns)
        {
            var seconds = Math.DivRem(ns, Nanoseconds, out var rest);
            if (rest < 0) (seconds, rest) = (seconds - 1, rest + Nanoseconds);
            return string.Create(CultureInfo.InvariantCulture, $"{clock} {seconds} {rest}\n");
        }
    }
}
