using System.Diagnostics;
using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>
/// crstore is killed at random moments of a restart: either the whole tree runs, or nothing of it is left. CRSTORE_RESTART_KILLS says how often.
/// </summary>
public sealed class RestartKillTests
{
    // A parent, its child, and an orphan that it has adopted out of a session whose leader is gone, which helpers are needed for. All count, and the parent
    // tells the counts at SIGUSR1.
    private const string Family = """
        import ctypes, mmap, os, signal, struct, sys, time
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) # PR_SET_CHILD_SUBREAPER
        shared = mmap.mmap(-1, 4096)
        child = os.fork()
        slot = 8 if child == 0 else 0
        if child:
            leader = os.fork()
            if leader == 0:
                os.setsid()
                if os.fork(): os._exit(0)
                child, slot = 0, 16
            else: os.waitpid(leader, 0)
        n = 0
        def tell(*_):
            with open(sys.argv[1] + ".new", "w") as f: f.write(" ".join(map(str, struct.unpack("QQQ", shared[:24]))) + "\n")
            os.rename(sys.argv[1] + ".new", sys.argv[1])
        if child: signal.signal(signal.SIGUSR1, tell)
        data = [bytes([i % 256]) * 4096 for i in range(2000)]
        told = False
        while True:
            n += 1
            shared[slot:slot + 8] = struct.pack("Q", n)
            time.sleep(0.005)
            if child and not told and all(struct.unpack("QQQ", shared[:24])):
                tell() # all are there, and count
                told = True
        """;

    [Fact]
    public void Killed_while_it_restarts_crstore_leaves_all_of_it_or_nothing()
    {
        Requires.Root();
        var kills = int.Parse(Environment.GetEnvironmentVariable("CRSTORE_RESTART_KILLS") ?? "25", CultureInfo.InvariantCulture);
        var random = Seeds.Random();
        using var store = new CliStore();
        var pids = Capture(store, out var session);
        var (whole, nothing, limitMs) = (0, 0, Undisturbed(store, pids));
        for (var kill = 0; kill <= kills; kill++)
        {
            if (kill == kills) KillWhenAllIsThere(store, pids);
            else
            {
                using var crstore = Start(store);
                Thread.Sleep(random.Next(limitMs / 3, limitMs + 20));
                // About as often in time as too late, also where it takes longer at times.
                limitMs = crstore.HasExited ? Math.Max(30, limitMs * 7 / 8) : limitMs * 8 / 7;
                crstore.Kill();
                crstore.WaitForExit();
            }

            // Puppets die with their tracer; what is left of them goes when init has waited for them.
            var alive = Settled(pids);
            Assert.True(alive == 0 || alive == pids.Count, $"kill {kill}: {alive} of {pids.Count} processes are left");
            Assert.Equal(0, Settled([session]));
            if (alive == 0)
            {
                nothing++;
                continue;
            }

            whole++;
            AllCount(store, pids);
            End(pids);
        }

        Seeds.Print($"{kills} kills: {nothing} times nothing was left, {whole} times all of it ran");
        Assert.True(nothing > 0, "no kill came in time");
        Undisturbed(store, pids);
    }

    /// <summary>Whoever is let go first may take the processor from crstore, and crstore may be killed there: they are not tied to its life any more then.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Killed_when_it_has_let_go_of_some_crstore_leaves_all_of_it(int letGo)
    {
        Requires.Root();
        using var store = new CliStore();
        var pids = Capture(store, out var session);
        using (var crstore = Start(store, fault: $"restart.let-go:{letGo}"))
        {
            crstore.WaitForExit();
            Assert.Equal(128 + Signals.SIGKILL, crstore.ExitCode);
        }

        Assert.Equal(pids.Count, Settled(pids));
        Assert.Equal(0, Settled([session]));
        AllCount(store, pids);
        End(pids);
    }

    private static List<int> Capture(CliStore store, out int session)
    {
        using var target = TargetProcess.Start(new TargetStart(Requires.Python(), ["-c", Family, store.File("n")]).AsDaemon("/dev/null", "/dev/null", "/dev/null"));
        Patience.Until(() => File.Exists(store.File("n")), "all of the family");
        store.Capture(target.Pid, "--series", "s", "--tree");
        List<int> pids = [target.Pid, .. TaskList.Children(target.Pid)];
        session = pids.Select(p => StatLine.Parse(File.ReadAllBytes($"/proc/{p}/stat")).Session).First(s => s != target.Pid); // which a helper begins
        Assert.DoesNotContain(session, pids);
        return pids;
    }

    // Once for certain in time: before it lets them go it has warnings to tell (of the signal at their parent's death, which is dropped), and nobody listens.
    private static void KillWhenAllIsThere(CliStore store, List<int> pids)
    {
        var pipe = store.File("full");
        Run.Command("mkfifo", [pipe]).MustSucceed();
        using var full = new FileStream(pipe, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        full.Write(new byte[65_536]); // what a pipe holds, pipe(7)
        using var crstore = Start(store, pipe);
        Patience.Until(() => crstore.HasExited || pids.TrueForAll(p => TaskStatusFile.Read(p) is { TracerPid: > 0 }), "all of the family to be there");
        Assert.False(crstore.HasExited, "it has told no warning");
        crstore.Kill();
        crstore.WaitForExit();
    }

    // How long it takes in ms, the start of the program included.
    private static int Undisturbed(CliStore store, List<int> pids)
    {
        var clock = Stopwatch.StartNew();
        using (var crstore = Start(store))
        {
            crstore.WaitForExit();
            Assert.Equal(0, crstore.ExitCode);
        }

        var took = (int)clock.ElapsedMilliseconds;
        Counts(store, pids[0]);
        End(pids);
        return took;
    }

    private static Process Start(CliStore store, string error = "/dev/null", string? fault = null)
    {
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$0\" restart s --detach --quiet 2>\"$1\"", CrstoreProgram.Path, error]);
        start.Environment["CRSTORE_STORE"] = store.Path;
        if (fault is not null) start.Environment["CRSTORE_FAULT"] = fault;
        return Process.Start(start)!;
    }

    // They run on, and nobody traces them.
    private static void AllCount(CliStore store, List<int> pids)
    {
        Assert.All(pids, p => Assert.Equal(0, TaskStatusFile.Read(p)!.TracerPid));
        var before = Counts(store, pids[0]);
        ulong[] after = before;
        Patience.Until(() => (after = Counts(store, pids[0])).Zip(before).All(c => c.First > c.Second), () => $"all of them to count: from {string.Join(' ', before)} to {string.Join(' ', after)}");
    }

    private static ulong[] Counts(CliStore store, int pid)
    {
        File.Delete(store.File("n"));
        Signals.TryKill(pid, Signals.SIGUSR1);
        Patience.Until(() => File.Exists(store.File("n")), "it to tell its counts");
        return [.. File.ReadAllText(store.File("n")).Split(' ').Select(w => ulong.Parse(w, CultureInfo.InvariantCulture))];
    }

    private static void End(List<int> pids)
    {
        foreach (var pid in pids) Signals.TryKill(pid, Signals.SIGKILL);
        Assert.Equal(0, Settled(pids));
    }

    // How many live when nothing changes any more: no zombie is left but one whose parent lives, no process that is being traced, and none that has been killed and does not know it yet.
    private static int Settled(List<int> pids)
    {
        for (var clock = Stopwatch.StartNew(); ; Thread.Sleep(5))
        {
            var there = pids.FindAll(p => Directory.Exists($"/proc/{p}"));
            var alive = there.FindAll(p => TaskStatusFile.Read(p) is { TracerPid: 0 } status && !IsKilled(status) && TaskStat.Read(p) is { IsDead: false, IsExiting: false });
            if (there.TrueForAll(p => alive.Contains(p) || (TaskStat.Read(p) is { IsDead: true, ParentPid: var parent } && alive.Contains(parent))) && clock.ElapsedMilliseconds > 30) return alive.Count;
            if (clock.Elapsed > Patience.Limit) throw new TimeoutException($"{string.Join(", ", there)} neither go nor live");
        }

        // Bit 8 of its pending signals: SIGKILL.
        static bool IsKilled(TaskStatusFile status) => new[] { "SigPnd", "ShdPnd" }.Any(set => (ulong.Parse(status[set]!.Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture) & 0x100) != 0);
    }
}
