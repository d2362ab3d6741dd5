using System.Diagnostics;
using System.Globalization;
using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>
/// crstore is killed at random moments of a restart: either the whole tree runs, or nothing of it is left. CRSTORE_RESTART_KILLS says how often.
/// </summary>
public sealed class RestartKillTests
{
    // A parent and its child, which count; the parent tells both counts at SIGUSR1.
    private const string Pair = """
        import mmap, os, signal, struct, sys, time
        shared = mmap.mmap(-1, 4096)
        child = os.fork()
        slot = 8 if child == 0 else 0
        n = 0
        def tell(*_):
            with open(sys.argv[1] + ".new", "w") as f: f.write(" ".join(map(str, struct.unpack("QQ", shared[:16]))) + "\n")
            os.rename(sys.argv[1] + ".new", sys.argv[1])
        if child: signal.signal(signal.SIGUSR1, tell)
        data = [bytes([i % 256]) * 4096 for i in range(2000)]
        while True:
            n += 1
            shared[slot:slot + 8] = struct.pack("Q", n)
            time.sleep(0.005)
        """;

    [Fact]
    public void Killed_while_it_restarts_crstore_leaves_all_of_it_or_nothing()
    {
        Requires.Root();
        var kills = int.Parse(Environment.GetEnvironmentVariable("CRSTORE_RESTART_KILLS") ?? "25", CultureInfo.InvariantCulture);
        var random = Seeds.Random();
        using var store = new CliStore();
        var pids = Capture(store);
        var (whole, nothing, limitMs) = (0, 0, Undisturbed(store, pids));
        for (var kill = 0; kill < kills; kill++)
        {
            using (var crstore = Start(store))
            {
                Thread.Sleep(random.Next(limitMs / 3, limitMs + 20));
                crstore.Kill();
                crstore.WaitForExit();
            }

            // Puppets die with their tracer; what is left of them goes when init has waited for them.
            var alive = Settled(pids);
            Assert.True(alive == 0 || alive == pids.Count, $"kill {kill}: {alive} of {pids.Count} processes are left");
            if (alive == 0)
            {
                nothing++;
                continue;
            }

            whole++;
            Assert.All(pids, p => Assert.Equal(0, TaskStatusFile.Read(p)!.TracerPid));
            var before = Counts(store, pids[0]);
            Thread.Sleep(50);
            var after = Counts(store, pids[0]);
            Assert.True(after[0] > before[0] && after[1] > before[1], $"kill {kill}: from {before[0]} {before[1]} to {after[0]} {after[1]}");
            End(pids);
        }

        Seeds.Print($"{kills} kills: {nothing} times nothing was left, {whole} times all of it ran");
        Assert.True(nothing > 0, "no kill came in time");
        Undisturbed(store, pids);
    }

    private static List<int> Capture(CliStore store)
    {
        using var target = TargetProcess.Start(new TargetStart(Requires.Python(), ["-c", Pair, store.File("n")]).AsDaemon("/dev/null", "/dev/null", "/dev/null"));
        for (var clock = Stopwatch.StartNew(); TaskList.Children(target.Pid).Count == 0; Thread.Sleep(10))
            if (clock.Elapsed > TimeSpan.FromSeconds(30)) throw new TimeoutException("no child");
        Thread.Sleep(500);
        store.Capture(target.Pid, "--series", "s", "--tree");
        return [target.Pid, .. TaskList.Children(target.Pid)];
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

    private static Process Start(CliStore store)
    {
        var start = new ProcessStartInfo(CrstoreProgram.Path, ["restart", "s", "--detach", "--quiet"]);
        start.Environment["CRSTORE_STORE"] = store.Path;
        return Process.Start(start)!;
    }

    private static ulong[] Counts(CliStore store, int pid)
    {
        File.Delete(store.File("n"));
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < TimeSpan.FromSeconds(30); Thread.Sleep(10))
        {
            Signals.TryKill(pid, Signals.SIGUSR1);
            if (File.Exists(store.File("n"))) return [.. File.ReadAllText(store.File("n")).Split(' ').Select(w => ulong.Parse(w, CultureInfo.InvariantCulture))];
        }

        throw new TimeoutException("it does not count");
    }

    private static void End(List<int> pids)
    {
        foreach (var pid in pids) Signals.TryKill(pid, Signals.SIGKILL);
        Assert.Equal(0, Settled(pids));
    }

    // How many live when nothing changes any more: no zombie is left, and no process that is being traced.
    private static int Settled(List<int> pids)
    {
        for (var clock = Stopwatch.StartNew(); ; Thread.Sleep(5))
        {
            var there = pids.FindAll(p => Directory.Exists($"/proc/{p}"));
            if (there.TrueForAll(p => TaskStatusFile.Read(p) is { TracerPid: 0 } && TaskStat.Read(p) is { IsDead: false, IsExiting: false }) && clock.ElapsedMilliseconds > 30) return there.Count;
            if (clock.Elapsed > TimeSpan.FromSeconds(30)) throw new TimeoutException($"{string.Join(", ", there)} neither go nor live");
        }
    }
}
