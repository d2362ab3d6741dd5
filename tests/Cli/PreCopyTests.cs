using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>Rounds from the running target before the freeze: with a target that never stops writing, a tree, and a crstore that is killed between them.</summary>
public sealed class PreCopyTests
{
    private const int WriterMib = 160;
    private const int SigKill = 9;

    [Fact]
    public void A_target_that_writes_as_fast_as_it_can_gets_few_rounds_and_its_pages_are_whole()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("pattern_writer", $"{WriterMib}", "5");
        var (address, pages) = target.Expect("ready ").Split(' ') switch { [var a, var p] => (Convert.ToUInt64(a, 16), int.Parse(p, CultureInfo.InvariantCulture)), _ => throw new FormatException() };
        Assert.Equal("started", target.Ask("start"));
        var first = store.Capture(target.Pid, "--series", "s");
        Requires.That(store.Json("show", first).GetProperty("tracker").GetString() == "uffd", "a kernel with userfaultfd write-protect in async mode");
        Patience.UntilItHasRunFor(target.Pid, TimeSpan.FromSeconds(0.5));
        var second = store.Capture(target.Pid, "--series", "s", "--max-rounds", "2");
        var third = store.Capture(target.Pid, "--series", "s", "--pre-copy", "always", "--max-rounds", "1");
        Assert.Equal("stopped", target.Ask("stop"));
        Assert.Equal("ok", target.Ask("verify"));

        var rounds = Rounds(store.Json("show", second));
        Assert.InRange(rounds, 0, 2); // none, where it writes all of it within the 25 ms that it is looked at
        Assert.Equal(1, Rounds(store.Json("show", third)));
        foreach (var crid in new[] { second, third })
        {
            var shown = store.Json("show", crid);
            Assert.True(shown.GetProperty("tracking")[0].GetProperty("continuous").GetBoolean(), shown.GetProperty("tracking").ToString());
            store.Do("restore", crid, "--to", store.File(crid));
            var content = CoreMemory.Read(store.File(crid), address, pages * 4096)!;
            var torn = Enumerable.Range(0, pages).Count(i => !IsWhole(content.AsSpan(i * 4096, 4096), i));
            Assert.True(torn <= 1, $"{torn} pages of CRID {crid} are torn"); // the one at which the writer was stopped
        }
    }

    [Fact]
    public void All_of_a_tree_with_shared_memory_is_of_one_moment()
    {
        // The parent counts in what they share, the child copies the count into memory of its own; so does the parent, before and after.
        const string script = """
            import ctypes, mmap, os, sys
            size = 3000 * 4096
            shared, own = mmap.mmap(-1, 4096 * 16), mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            at = lambda m: ctypes.addressof(ctypes.c_char.from_buffer(m))
            child = os.fork()
            n, told = 0, False
            while True:
                page = n % 3000 * 4096
                if child:
                    n += 1
                    own[page:page + 8] = n.to_bytes(8, "little")
                    shared[0:8] = n.to_bytes(8, "little")
                    if shared[8] and not told: told = not print("ready", child, "%x" % at(shared), "%x" % at(own), flush=True)
                else:
                    n = int.from_bytes(shared[0:8], "little")
                    page = n % 3000 * 4096
                    own[page:page + 8] = n.to_bytes(8, "little")
                    if n > 0: shared[8] = 1
            """;
        using var store = new CliStore();
        using var target = TargetProcess.Python(script);
        var told = target.Expect("ready ").Split(' ');
        var (child, shared, own) = (told[0], Convert.ToUInt64(told[1], 16), Convert.ToUInt64(told[2], 16));
        for (var i = 0; i < 3; i++)
        {
            Patience.UntilItHasRunFor(target.Pid, TimeSpan.FromSeconds(0.1));
            var crid = store.Capture(target.Pid, "--tree", "--series", "s", "--pre-copy", "always");
            var shown = store.Json("show", crid);
            Requires.That(shown.GetProperty("tracker").GetString() == "uffd", "a kernel with userfaultfd write-protect in async mode");
            Assert.True(Rounds(shown) >= 1);
            store.Do("restore", crid, "--to", store.File($"d{i}"), "--format", "core");
            var cores = Directory.Exists(store.File($"d{i}")) ? Directory.GetFiles(store.File($"d{i}"), "*", SearchOption.AllDirectories) : [store.File($"d{i}")];
            var parents = cores.Single(c => !c.EndsWith($".{child}", StringComparison.Ordinal) && Path.GetFileName(c).StartsWith("core", StringComparison.Ordinal));
            var children = cores.Single(c => c.EndsWith($".{child}", StringComparison.Ordinal));
            var count = Highest(parents, own);
            var inShared = Word(parents, shared);
            Assert.Equal(inShared, Word(children, shared));
            Assert.InRange(count, inShared, inShared + 1); // written in this order
            Assert.InRange(Highest(children, own), 1UL, inShared);
            // Every page of the parent is one round of 3000 old at most.
            var content = CoreMemory.Read(parents, own, 3000 * 4096)!;
            for (var page = 0; page < 3000 && count > 6000; page++) Assert.InRange(BinaryPrimitives.ReadUInt64LittleEndian(content.AsSpan(page * 4096)), count - 3000, count);
        }
    }

    [Fact]
    public void Killed_between_the_rounds_a_capture_costs_no_page()
    {
        var kills = int.Parse(Environment.GetEnvironmentVariable("CRSTORE_ROUND_KILLS") ?? "12", CultureInfo.InvariantCulture);
        var random = Seeds.Random();
        using var store = new CliStore();
        using var target = new DemoTarget(mib: 30);
        var crid = store.Capture(target.Pid, "--series", "s");
        Requires.That(store.Json("show", crid).GetProperty("tracker").GetString() == "uffd", "a kernel with userfaultfd write-protect in async mode");
        var clock = Stopwatch.StartNew();
        target.Next();
        clock.Restart();
        store.Capture(target.Pid, "--series", "s", "--pre-copy", "always");
        var limitMs = (int)clock.ElapsedMilliseconds;
        var broken = 0;
        for (var kill = 0; kill <= kills; kill++)
        {
            target.Next();
            if (kill == kills)
            {
                // Once for certain: behind the rounds, and before there is a commit.
                var died = store.RunWith(new Dictionary<string, string?> { ["CRSTORE_FAULT"] = "commit.locked" }, "capture", $"{target.Pid}", "--series", "s", "--pre-copy", "always");
                Assert.Equal(128 + SigKill, died.ExitCode);
            }
            else
            {
                using var crstore = store.Begin("capture", $"{target.Pid}", "--series", "s", "--pre-copy", "always");
                Thread.Sleep(limitMs / 4 + random.Next(limitMs * 3 / 4 + 1));
                // About as often in time as too late, also where it takes longer at times.
                limitMs = crstore.HasExited ? Math.Max(30, limitMs * 7 / 8) : limitMs * 8 / 7;
                crstore.Kill();
                crstore.WaitForExit();
            }

            if (random.Next(2) == 0) target.Next();
            crid = store.Capture(target.Pid, "--series", "s", "--pre-copy", random.Next(2) == 0 ? "always" : "never");
            if (!store.Json("show", crid).GetProperty("tracking")[0].GetProperty("continuous").GetBoolean()) broken++;
            var core = store.File($"core.{kill}");
            store.Do("restore", crid, "--to", core);
            Assert.True(target.IsIn(core, target.Generation), $"kill {kill}: CRID {crid} is not what the target was at generation {target.Generation}");
            File.Delete(core);
        }

        Seeds.Print($"{kills} kills: {broken} came behind the first reset");
        Assert.True(broken > 0, "no kill came behind the first reset");
    }

    private static int Rounds(JsonElement shown) => shown.GetProperty("phases").EnumerateArray().Count(p => p.GetProperty("name").GetString()!.EndsWith("pre-copy", StringComparison.Ordinal));

    private static bool IsWhole(ReadOnlySpan<byte> page, int index)
    {
        var generation = BinaryPrimitives.ReadUInt64LittleEndian(page[16..]);
        return generation > 0 && Pattern.Matches(page, 5, new ExpectedPage(0, generation, (ulong)index));
    }

    private static ulong Word(string core, ulong address) => BinaryPrimitives.ReadUInt64LittleEndian(CoreMemory.Read(core, address, 8));

    private static ulong Highest(string core, ulong address)
    {
        var content = CoreMemory.Read(core, address, 3000 * 4096)!;
        return Enumerable.Range(0, 3000).Max(i => BinaryPrimitives.ReadUInt64LittleEndian(content.AsSpan(i * 4096)));
    }
}
