using System.Text.Json;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>capture, list, series, show, diff, stats, verify, restore, forget, gc on a python3 process that knows what it holds.</summary>
public sealed class RoundTripTests
{
    [Fact]
    public void Every_checkpoint_of_a_chain_restores_to_what_the_target_had_recorded()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var crids = CaptureChain(store, target, 4);

        for (var generation = 1; generation <= crids.Count; generation++)
        {
            var core = store.File($"core.{generation}");
            store.Do("restore", crids[generation - 1], "--to", core);
            for (var other = 1; other <= crids.Count; other++)
                Assert.Equal(other == generation, target.IsIn(core, other));
        }
        target.Next();
    }

    [Fact]
    public void Any_checkpoint_can_be_forgotten_and_the_others_stay_whole_after_gc()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var crids = CaptureChain(store, target, 4);

        var dry = store.Json("forget", crids[1], crids[0], "--dry-run");
        Assert.True(dry.GetProperty("dry_run").GetBoolean());
        Assert.Equal(crids, store.Do("list", "--quiet").Split('\n'));

        var forgotten = store.Json("forget", crids[1], crids[0]);
        Assert.Equal([crids[0], crids[1]], forgotten.GetProperty("forgotten").EnumerateArray().Select(crid => $"{crid}").Order());
        Expect.Failure(store.Run("show", crids[1]), ExitCode.Usage, crids[1]);
        var gc = store.Json("gc");
        Assert.True(gc.GetProperty("chunks_freed").GetUInt64() > 0, gc.ToString());

        var verify = store.Json("verify", "--all", "--read-data");
        Assert.Equal([crids[2], crids[3]], verify.GetProperty("whole").EnumerateArray().Select(crid => $"{crid}"));
        foreach (var generation in new[] { 3, 4 })
        {
            var core = store.File($"core.{generation}");
            store.Do("restore", crids[generation - 1], "--to", core);
            Assert.True(target.IsIn(core, generation));
        }
    }

    [Fact]
    public void Keep_last_thins_a_series_and_leaves_others_alone()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var crids = CaptureChain(store, target, 3);
        var other = store.Capture(target.Pid, "--series", "other");

        store.Do("forget", "--series", "demo", "--keep-last", "1");
        Assert.Equal([crids[2], other], store.Do("list", "--quiet").Split('\n'));
        Expect.Failure(store.Run("forget", "--series", "demno", "--keep-last", "1"), ExitCode.Usage, "demno");
        Expect.Failure(store.Run("forget", "--series", "demo"), ExitCode.Usage, "--keep-last");
        Expect.Failure(store.Run("forget"), ExitCode.Usage, "nothing to forget is named");
    }

    [Fact]
    public void Crids_are_never_used_again()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var first = store.Capture(target.Pid);
        store.Do("forget", first);
        store.Do("gc");
        var second = store.Capture(target.Pid);
        Assert.True(ulong.Parse(second) > ulong.Parse(first));
        Assert.Equal(JsonValueKind.Null, store.Json("show", second).GetProperty("parent_crid").ValueKind);
    }

    [Fact]
    public void An_increment_is_smaller_than_its_base_and_names_its_parent()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var capture = store.Json("capture", $"{target.Pid}", "--series", "demo");
        target.Next();
        var increment = store.Json("capture", $"{target.Pid}", "--series", "demo");

        Assert.Equal("base", capture.GetProperty("kind").GetString());
        Assert.Equal("increment", increment.GetProperty("kind").GetString());
        Assert.Equal(capture.GetProperty("crid").GetUInt64(), increment.GetProperty("parent_crid").GetUInt64());
        var fresh = increment.GetProperty("pages").GetProperty("new").GetUInt64();
        Assert.InRange(fresh, 1ul, capture.GetProperty("pages").GetProperty("new").GetUInt64() / 2);

        target.Next();
        var full = store.Json("capture", $"{target.Pid}", "--series", "demo", "--full");
        Assert.Equal("base", full.GetProperty("kind").GetString());
        Assert.Equal(JsonValueKind.Null, full.GetProperty("parent_crid").ValueKind);
    }

    [Fact]
    public void Diff_names_what_changed_and_nothing_between_a_checkpoint_and_itself()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        CaptureChain(store, target, 2);
        var diff = store.Json("diff", "demo@1", "demo@latest");
        var process = Assert.Single(diff.GetProperty("processes").EnumerateArray());
        Assert.True(process.GetProperty("pages_changed").GetUInt64() > 0);
        var ranges = process.GetProperty("vmas").EnumerateArray().SelectMany(vma => vma.GetProperty("ranges").EnumerateArray());
        Assert.Equal(process.GetProperty("pages_changed").GetUInt64(), ranges.Aggregate(0ul, (sum, range) => sum + range.GetProperty("pages").GetUInt64()));
        Assert.Contains(" 0 pages differ", store.Do("diff", "demo@2", "demo@2"));
        Assert.Contains($"process {target.Pid} (", store.Do("diff", "demo@1", "demo@2"));
    }

    [Fact]
    public void Restore_refuses_to_overwrite_without_force()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var crid = store.Capture(target.Pid);
        var core = store.File("core");
        File.WriteAllText(core, "precious");
        Expect.Failure(store.Run("restore", crid, "--to", core), ExitCode.Usage, core, "--force");
        Assert.Equal("precious", File.ReadAllText(core));
        store.Do("restore", crid, "--to", core, "--force");
        Assert.True(target.IsIn(core, 1));
    }

    [Fact]
    public void Restore_to_raw_writes_a_map_and_core_and_raw_are_the_only_formats()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var crid = store.Capture(target.Pid);
        var result = store.Json("restore", crid, "--to", store.File("raw"), "--format", "raw");
        Assert.True(result.GetProperty("files").GetArrayLength() > 3);
        Assert.NotEmpty(Directory.EnumerateFiles(store.File("raw"), "*.json", SearchOption.AllDirectories));
        Expect.Failure(store.Run("restore", crid, "--to", store.File("x"), "--format", "zip"), ExitCode.Usage, "zip", "core, raw");
    }

    [Theory]
    [InlineData("show", "999")]
    [InlineData("show", "nosuchseries")]
    [InlineData("show", "demo@99")]
    [InlineData("show", "demo@1999-01-01")]
    [InlineData("show", "demo@rubbish")]
    [InlineData("diff", "1", "999")]
    [InlineData("verify", "999")]
    [InlineData("forget", "999")]
    [InlineData("list", "--series", "nosuchseries")]
    public void What_is_not_in_the_store_is_wrong_use(params string[] arguments)
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        store.Capture(target.Pid, "--series", "demo");
        Expect.Failure(store.Run(arguments), ExitCode.Usage, arguments[^1].Split('@')[^1]);
    }

    [Fact]
    public void A_series_is_addressed_by_number_time_and_latest()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var first = store.Capture(target.Pid, "--series", "demo");
        var between = DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'");
        target.Next();
        var second = store.Capture(target.Pid, "--series", "demo");
        foreach (var (spec, crid) in new[] { ("demo", second), ("demo@latest", second), ("demo@1", first), ("demo@2", second), ($"demo@{between}", first), (first, first) })
            Assert.Equal(crid, $"{store.Json("show", spec).GetProperty("crid")}");
    }

    [Fact]
    public void Excluded_memory_is_left_out_and_said_so()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var whole = store.Json("capture", $"{target.Pid}", "--series", "whole");
        var part = store.Json("capture", $"{target.Pid}", "--series", "part", "--exclude", "[heap]");
        Assert.False(whole.GetProperty("incomplete").GetBoolean());
        Assert.True(part.GetProperty("incomplete").GetBoolean());
        var shown = store.Json("show", "part");
        Assert.NotEmpty(shown.GetProperty("exclusions").EnumerateArray());
        Assert.Contains("Left out", store.Do("show", "part"));
    }

    /// <summary>One capture per generation into series "demo".</summary>
    internal static List<string> CaptureChain(CliStore store, DemoTarget target, int generations)
    {
        var crids = new List<string>();
        for (var generation = 1; generation <= generations; generation++)
        {
            if (generation > 1) target.Next();
            crids.Add(store.Capture(target.Pid, "--series", "demo"));
        }
        return crids;
    }

    [Fact]
    public void Damage_that_many_checkpoints_share_is_told_in_a_line_with_what_to_do_and_that_helps()
    {
        using var store = new CliStore();
        using var target = new DemoTarget(mib: 40);
        var crids = Enumerable.Range(0, 4).Select(i => store.Capture(target.Pid, "--series", $"s{i}")).ToArray();
        var table = new DirectoryInfo(Path.Combine(store.Path, "db")).GetFiles("*.sst").MaxBy(file => file.Length)!.FullName; // frames, ingested
        using (var file = new FileStream(table, FileMode.Open, FileAccess.ReadWrite))
        {
            file.Position = file.Length / 2;
            var there = file.ReadByte();
            file.Position = file.Length / 2;
            file.WriteByte((byte)(there ^ 1));
        }

        var verify = store.Run("verify", "--all", "--read-data");
        Assert.Equal((int)ExitCode.Damaged, verify.ExitCode);
        Assert.Matches($@"(?m)^CRID {string.Join(' ', crids)}, process {target.Pid}, \S.*, \d+ pages from 0x[0-9a-f]+: ", verify.Output);
        Assert.InRange(verify.Output.Split('\n').Length, 3, 12);
        Assert.Contains($"broken: {string.Join(' ', crids)}\nwhole: none\n", verify.Output);
        Assert.StartsWith($"hint: `crstore forget {string.Join(' ', crids)}` and then `crstore gc`", verify.Error);

        store.Do(["forget", .. crids]);
        store.Run("gc").MustSucceed();
        var next = store.Capture(target.Pid, "--series", "s0");
        store.Do("verify", next, "--read-data");
        store.Do("restore", next, "--to", store.File("core"));
        Assert.True(target.IsIn(store.File("core"), target.Generation));
    }

    [Fact]
    public void A_series_that_may_be_the_targets_and_cannot_be_read_is_told_when_another_one_begins()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var earlier = $"sleep.{target.Pid}.1"; // as of a process that was restarted: the same command and id, started at another time
        store.Capture(target.Pid, "--series", earlier);
        store.Do("forget", store.Capture(target.Pid, "--series", "other"));
        Assert.Equal(earlier, store.Json("show", store.Capture(target.Pid)).GetProperty("series").GetString());
        store.Do("gc"); // writes all into tables
        foreach (var table in Directory.GetFiles(Path.Combine(store.Path, "db"), "*.sst"))
        {
            var bytes = File.ReadAllBytes(table);
            if (bytes.AsSpan().IndexOf("bodies"u8) < 0) continue; // the column family's name is in its properties
            for (var i = 100; i < bytes.Length - 2500; i += 100) bytes[i] ^= 1;
            File.WriteAllBytes(table, bytes);
        }

        var capture = store.Run("capture", $"{target.Pid}", "--quiet").MustSucceed();
        Assert.StartsWith("crstore: warning: it can't be told whether this process has a series already, so series sleep.", capture.Error);
        Assert.Contains($"(series {earlier})", capture.Error);
        Assert.NotEqual(earlier, store.Json("show", capture.Output.Trim()).GetProperty("series").GetString());
        Assert.Empty(store.Run("capture", $"{target.Pid}", "--quiet").MustSucceed().Error); // now it has one by its name
    }
}
