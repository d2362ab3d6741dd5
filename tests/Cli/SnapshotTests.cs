using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Crstore.Linux;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>Captures by copy-on-write snapshot: of a target that never stops writing, of a tree, of one whose snapshot is killed, and with a crstore that is.</summary>
public sealed class SnapshotTests
{
    private const int Mib = 48;

    [Fact]
    public void A_target_that_writes_as_fast_as_it_can_is_captured_as_it_was_in_one_freeze()
    {
        using var store = new CliStore();
        using var target = Writer.Start();
        Patience.UntilItHasRunFor(target.Pid, TimeSpan.FromSeconds(0.1));
        var crids = new List<string>
        {
            store.Capture(target.Pid, "--series", "s", "--snapshot", "always"),
            store.Capture(target.Pid, "--series", "s", "--snapshot", "always"),
            store.Capture(target.Pid, "--series", "s", "--snapshot", "always", "--pre-copy", "always", "--max-rounds", "1"),
        };
        target.StopAndVerify();
        foreach (var crid in crids)
        {
            var shown = store.Json("show", crid);
            Assert.Equal(crid == crids[^1] ? 1 : 0, Phases(shown, "pre-copy"));
            Assert.Equal(2, Phases(shown, "snapshot")); // making it, in the freeze, and reading it
            target.CheckImage(store, crid);
        }

        Assert.True(store.Json("show", crids[1]).GetProperty("tracking")[0].GetProperty("continuous").GetBoolean());
    }

    [Fact]
    public async Task A_snapshot_that_dies_while_it_is_read_is_given_up_and_all_is_captured_anew()
    {
        using var store = new CliStore();
        using var target = Writer.Start();
        var crids = new List<string>();
        for (var tries = 1; !await IsGivenUp(); tries++) Assert.True(tries < 50, "it is always read before anybody kills it");
        target.StopAndVerify();
        foreach (var crid in crids) target.CheckImage(store, crid);
        var next = store.Capture(target.Pid, "--series", "s");
        target.CheckImage(store, next);

        // False if it had been read by then.
        async Task<bool> IsGivenUp()
        {
            using var crstore = Slowly(store, target.Pid);
            if (CopyOf(crstore, target.Pid) is { } copy) Signals.TryKill(copy, Signals.SIGKILL);
            var reading = crstore.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            var output = await crstore.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
            var error = await reading;
            await crstore.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.True(crstore.ExitCode == 0, error);
            crids.Add(output.Split(' ')[0]);
            return error.Contains("the snapshot was given up, and all was captured anew", StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Killed_while_it_reads_one_it_leaves_nothing_of_it()
    {
        using var store = new CliStore();
        using var target = Writer.Start();
        for (int kills = 0, tries = 1; kills < 3; tries++)
        {
            Assert.True(tries < 50, "it is always done before anybody kills it");
            using var crstore = Slowly(store, target.Pid);
            if (CopyOf(crstore, target.Pid) is not { } copy) continue;
            crstore.Kill();
            crstore.WaitForExit();
            kills++;
            Patience.Until(() => TaskStat.Read(copy) is null or { IsDead: true }, "the copy's end");
            Assert.Empty(TaskList.Children(target.Pid));
        }

        var crid = store.Capture(target.Pid, "--series", "s");
        target.StopAndVerify();
        target.CheckImage(store, crid);
    }

    [Fact]
    public void All_processes_of_a_tree_have_one_of_the_same_moment()
    {
        // The parent counts in shared memory, before it does in its own; the child copies that count into its own.
        const string script = """
            import mmap, os, ctypes
            size = 3000 * 4096
            shared, own = mmap.mmap(-1, 4096), mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            at = lambda m: ctypes.addressof(ctypes.c_char.from_buffer(m))
            child = os.fork()
            n, told = 0, False
            while True:
                n = n + 1 if child else int.from_bytes(shared[0:8], "little")
                if child: shared[0:8] = n.to_bytes(8, "little")
                own[n % 3000 * 4096:n % 3000 * 4096 + 8] = n.to_bytes(8, "little")
                if not child and n > 0: shared[8] = 1
                if child and shared[8] and not told: told = not print("ready", child, "%x" % at(shared), "%x" % at(own), flush=True)
            """;
        using var store = new CliStore();
        using var target = TargetProcess.Python(script);
        var told = target.Expect("ready ").Split(' ');
        var (child, shared, own) = (told[0], Convert.ToUInt64(told[1], 16), Convert.ToUInt64(told[2], 16));
        var crid = store.Capture(target.Pid, "--tree", "--series", "s", "--snapshot", "always");
        Assert.Equal(2, Phases(store.Json("show", crid), "snapshot"));
        store.Do("restore", crid, "--to", store.File("d"), "--format", "core");
        var cores = Directory.GetFiles(store.File("d"), "*", SearchOption.AllDirectories);
        var (parents, children) = (cores.Single(c => !c.EndsWith($".{child}", StringComparison.Ordinal)), cores.Single(c => c.EndsWith($".{child}", StringComparison.Ordinal)));
        var inShared = Word(parents, shared);
        Assert.InRange(Highest(parents, own), inShared - 1, inShared); // written in this order
        Assert.InRange(Highest(children, own), 1UL, inShared);
    }

    [Fact]
    public void Where_there_can_be_none_it_says_so_and_captures_without()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("sandboxed", "kill");
        target.Expect("ready");
        Assert.Equal("alive", target.Ask("filtered?"));
        var result = store.Run("capture", $"{target.Pid}", "--series", "s", "--snapshot", "always").MustSucceed();
        Assert.Contains("no snapshot: process", result.Error);
        Assert.Contains("seccomp", result.Error);
    }

    [Fact]
    public void Where_there_can_be_none_one_that_writes_fast_gets_its_rounds()
    {
        // It writes half of its memory all the time, under a filter that allows everything: BPF_RET | BPF_K, SECCOMP_RET_ALLOW.
        const string script = """
            import ctypes, mmap, struct
            libc = ctypes.CDLL(None)
            own = mmap.mmap(-1, 96 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            at = ctypes.addressof(ctypes.c_char.from_buffer(own))
            ctypes.memset(at, 1, 96 << 20)
            allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000), 8)
            program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow))
            if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program): raise OSError("prctl")
            n = print("ready", flush=True) or 0
            while True:
                n += 1
                ctypes.memset(at, n & 255, 48 << 20)
            """;
        using var store = new CliStore();
        using var target = TargetProcess.Python(script);
        target.Expect("ready");
        var shown = store.Json("show", store.Capture(target.Pid, "--series", "s", "--snapshot", "auto"));
        Requires.That(shown.GetProperty("tracker").GetString() == "uffd", "a kernel with userfaultfd write-protect in async mode");
        Assert.Equal(0, Phases(shown, "snapshot"));
        Assert.True(Phases(shown, "pre-copy") > 0, "all of it was copied in the freeze");
    }

    [Fact]
    public void One_that_is_refused_in_the_freeze_costs_no_round()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("fork_watcher", "8");
        target.Expect("ready ");
        Assert.Equal("adopts 0", target.Ask("adopt"));
        var result = store.Run("capture", $"{target.Pid}", "--series", "s", "--snapshot", "always", "--pre-copy", "always", "--max-rounds", "1").MustSucceed();
        Assert.Contains("PR_SET_CHILD_SUBREAPER", result.Error);
        var shown = store.Json("show", result.Output.Split(' ')[0]);
        Assert.Equal(1, Phases(shown, "pre-copy"));
        Assert.Contains("and then what it wrote meanwhile", shown.GetProperty("tracking")[0].GetProperty("reason").GetString()); // the round held
        Assert.Equal("children 0 sigchld 0 waited 0", target.Ask("status"));
        var next = store.Capture(target.Pid, "--series", "s");
        Assert.True(store.Json("show", next).GetProperty("tracking")[0].GetProperty("continuous").GetBoolean());
    }

    private static int Phases(JsonElement shown, string name) => shown.GetProperty("phases").EnumerateArray().Count(p => p.GetProperty("name").GetString()!.EndsWith(name, StringComparison.Ordinal));

    private static ulong Word(string core, ulong address) => BinaryPrimitives.ReadUInt64LittleEndian(CoreMemory.Read(core, address, 8));

    private static ulong Highest(string core, ulong address)
    {
        var content = CoreMemory.Read(core, address, 3000 * 4096)!;
        return Enumerable.Range(0, 3000).Max(page => BinaryPrimitives.ReadUInt64LittleEndian(content.AsSpan(page * 4096)));
    }

    // It reads no more of the snapshot than it has compressed.
    private static Process Slowly(CliStore store, int pid) =>
        store.Begin("capture", $"{pid}", "--series", "s", "--snapshot", "always", "--compression", "zstd:9", "--buffer", "1M");

    // The tracee of crstore that is left when the target has been let go; null if it was done before that was seen.
    private static int? CopyOf(Process crstore, int target)
    {
        int? copy = null;
        Patience.Until(() => (copy = Look()) is not null || crstore.HasExited, "a copy of the target", pauseMs: 2);
        if (copy is null && crstore.ExitCode != 0) Assert.Fail(crstore.StandardError.ReadToEnd());
        return copy;

        int? Look()
        {
            if (TaskStatusFile.Read(target)?.TracerPid != 0) return null;
            foreach (var pid in TaskFile.ListNumbers("/proc"))
                if (pid != target && TaskStatusFile.Read(pid) is { Name: "pattern_writer", TracerPid: > 0 and var thread } && TaskStatusFile.Read(thread)?.ThreadGroup == crstore.Id) return pid;
            return null;
        }
    }

    /// <summary>pattern_writer, writing random pages.</summary>
    private sealed class Writer : IDisposable
    {
        private readonly TargetProcess _process = TargetProcess.Start("pattern_writer", $"{Mib}", "5");
        private readonly ulong _address;
        private readonly int _pages;

        private Writer()
        {
            (_address, _pages) = _process.Expect("ready ").Split(' ') switch { [var a, var p] => (Convert.ToUInt64(a, 16), int.Parse(p, CultureInfo.InvariantCulture)), _ => throw new FormatException() };
            Assert.Equal("started", _process.Ask("start"));
        }

        public int Pid => _process.Pid;

        public static Writer Start() => new();

        public void StopAndVerify()
        {
            Assert.Equal("stopped", _process.Ask("stop"));
            Assert.Equal("ok", _process.Ask("verify"));
        }

        public void CheckImage(CliStore store, string crid)
        {
            store.Do("restore", crid, "--to", store.File(crid));
            var content = CoreMemory.Read(store.File(crid), _address, _pages * 4096)!;
            var torn = Enumerable.Range(0, _pages).Count(i => !IsWhole(content.AsSpan(i * 4096, 4096), i));
            Assert.True(torn <= 1, $"{torn} pages of CRID {crid} are torn"); // the one at which the writer was stopped
        }

        public void Dispose() => _process.Dispose();

        private static bool IsWhole(ReadOnlySpan<byte> page, int index)
        {
            var generation = BinaryPrimitives.ReadUInt64LittleEndian(page[16..]);
            return generation > 0 && Pattern.Matches(page, 5, new ExpectedPage(0, generation, (ulong)index));
        }
    }
}
