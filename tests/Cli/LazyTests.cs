using System.Diagnostics;
using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>`capture --lazy` and `wait`: the CRID at the thaw, the commit in the background, several in flight.</summary>
public sealed class LazyTests
{
    private const int SigInt = 2;
    private const int SigKill = 9;

    [Fact]
    public void Several_captures_of_a_target_are_frozen_before_the_first_is_committed_and_each_is_what_was_there()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var known = new List<(string Crid, int Generation)> { (store.Capture(target.Pid, "--series", "demo"), target.Generation) };
        Process waiting;
        using (HoldWriteLock(store))
        {
            for (var i = 0; i < 3; i++)
            {
                target.Next();
                // Its output is read to the end: what goes on behind its back must not keep the pipes open.
                known.Add((store.Capture(target.Pid, "--series", "demo", "--lazy", "--lock-timeout", "600"), target.Generation));
            }

            Expect.Failure(store.Run("capture", $"{target.Pid}", "--series", "demo", "--lock-timeout", "100ms"), ExitCode.Busy, $"capture --lazy of CRID {known[1].Crid}");

            // What might find no room in its buffer waits before its freeze, not in it. It has had the target's record by then.
            waiting = store.Begin("capture", $"{target.Pid}", "--series", "demo", "--lazy", "--buffer", "1M", "--quiet", "--lock-timeout", "600");
            Requires.That(store.Json("show", known[0].Crid).GetProperty("tracker").GetString() != "hash", "a tracker: without one no record is kept");
            Patience.Until(() => Directory.GetFiles(Path.Combine(store.Path, "sessions")).Any(session => known.TrueForAll(k => k.Crid != Path.GetFileName(session)) && FileCalls.ReadText(session) is { } text && HadRecordLast(text.Split(' ')[0], target.Pid)), "the fourth one to begin", pauseMs: 20);

            Assert.Equal(known[0].Crid, store.Do("list", "--quiet"));
            Expect.Failure(store.Run("wait", known[1].Crid, "--timeout", "0"), ExitCode.Busy, $"CRID {known[1].Crid} is not committed yet");
            Assert.Equal("writing", Status(store, known[3].Crid, "state"));
        }

        using (waiting)
        {
            Assert.True(waiting.WaitForExit(Patience.Limit), "it does not go on");
            known.Add((waiting.StandardOutput.ReadToEnd().Trim(), target.Generation));
            store.Do("wait", known[^1].Crid);
            var phases = store.Json("show", known[^1].Crid).GetProperty("phases").EnumerateArray().Select(p => p.GetProperty("name").GetString()).ToList();
            Assert.InRange(phases.IndexOf("parent"), 0, phases.IndexOf("freeze"));
        }

        Assert.Equal($"CRID {known[3].Crid} is committed", store.Do("wait", known[3].Crid));
        Assert.Equal(known.Select(k => k.Crid), store.Do("list", "--quiet").Split('\n'));
        for (var i = 1; i < known.Count; i++)
        {
            var shown = store.Json("show", known[i].Crid);
            Assert.Equal(known[i - 1].Crid, shown.GetProperty("parent_crid").GetRawText());
            // Nobody reset the dirty state in between, and the announced parent is believed as a committed one is.
            var tracking = shown.GetProperty("tracking")[0];
            if (tracking.GetProperty("tracker").GetString() != "hash") Assert.True(tracking.GetProperty("continuous").GetBoolean(), $"{tracking}");
        }

        foreach (var (crid, generation) in known)
        {
            store.Do("restore", crid, "--to", store.File("core"), "--force");
            Assert.True(target.IsIn(store.File("core"), generation), $"CRID {crid} is not generation {generation}");
        }

        var after = store.Json("capture", $"{target.Pid}", "--series", "demo");
        Assert.Equal(known[^1].Crid, after.GetProperty("parent_crid").GetRawText());
        store.Do("verify", "--all", "--read-data");
    }

    [Fact]
    public void One_that_is_killed_takes_those_with_it_that_are_built_on_it_and_nothing_else()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var first = store.Capture(target.Pid, "--series", "demo");
        string killed, onTop;
        using (HoldWriteLock(store))
        {
            killed = store.Capture(target.Pid, "--series", "demo", "--lazy", "--lock-timeout", "600");
            target.Next();
            onTop = store.Capture(target.Pid, "--series", "demo", "--lazy", "--lock-timeout", "600");
            Run.Signal(int.Parse(Status(store, killed, "pid"), CultureInfo.InvariantCulture), SigKill);
            Expect.Failure(store.Run("wait", killed), ExitCode.Environment, $"CRID {killed} was not committed", "was killed");
            Expect.Failure(store.Run("wait", onTop), ExitCode.Environment, $"CRID {onTop} is void: CRID {killed}");
        }

        Assert.Equal(first, store.Do("list", "--quiet"));
        target.Next();
        var next = store.Capture(target.Pid, "--series", "demo", "--lazy", "--lock-timeout", "600");
        store.Do("wait", next);
        Assert.Equal(first, store.Json("show", next).GetProperty("parent_crid").GetRawText());
        store.Do("restore", next, "--to", store.File("core"));
        Assert.True(target.IsIn(store.File("core"), target.Generation));
        store.Do("gc");
        store.Do("verify", "--all", "--read-data");
    }

    [Fact]
    public void What_it_prints_at_the_thaw_is_for_scripts_too()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var told = store.Json("capture", $"{target.Pid}", "--lazy", "--series", "s");
        var crid = told.GetProperty("crid").GetRawText();
        Assert.Equal("s", told.GetProperty("series").GetString());
        Assert.Equal("base", told.GetProperty("kind").GetString());
        Assert.False(told.GetProperty("committed").GetBoolean());
        Assert.True(told.GetProperty("frozen_ns").GetInt64() > 0);
        Assert.Equal("committed", store.Json("wait", crid).GetProperty("state").GetString());
        Assert.Equal(told.GetProperty("frozen_ns").GetRawText(), store.Json("show", crid).GetProperty("frozen_ns").GetRawText());
        Assert.True(store.Json("capture", $"{target.Pid}", "--series", "s").GetProperty("committed").GetBoolean());
        Expect.Failure(store.Run("wait", "12345"), ExitCode.Usage, "CRID 12345");
        Expect.Failure(store.Run("wait", "s"), ExitCode.Usage, "'s' is not a CRID");
    }

    [Theory]
    [InlineData("--lazy=true")]
    [InlineData("--lazy:true")]
    public void It_is_lazy_however_the_option_is_written(string option)
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        store.Capture(target.Pid, "--series", "s");
        string crid;
        using (HoldWriteLock(store)) crid = store.Capture(target.Pid, "--series", "s", option, "--lock-timeout", "600"); // it can't be committed before this is over
        store.Do("wait", crid);
        Assert.Equal(0, store.Run("capture", $"{target.Pid}", "--series", "s", "--lazy=false").ExitCode);
    }

    [Fact]
    public void What_fails_before_the_thaw_is_told_by_the_command_itself()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        Expect.Failure(store.Run("capture", $"{target.Pid}", "--lazy", "--max-rounds", "0"), ExitCode.Usage, "--max-rounds");
        store.Capture(target.Pid); // the store is there
        Assert.Equal(store.Run("capture", $"{target.Pid}", "--series", "").Error, store.Run("capture", $"{target.Pid}", "--lazy", "--series", "").Error);
        target.Signal(SigKill);
        target.WaitForExit();
        Expect.Failure(store.Run("capture", $"{target.Pid}", "--lazy"), ExitCode.Target, $"{target.Pid}");
    }

    [Fact]
    public void Interrupted_before_the_thaw_it_ends_and_nothing_goes_on()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var first = store.Capture(target.Pid, "--series", "s");
        using (Hold(Directory.GetFiles(Path.Combine(store.Path, "series")).Single()))
        {
            using var capture = store.Begin("capture", $"{target.Pid}", "--series", "s", "--lazy", "--lock-timeout", "600");
            Assert.StartsWith("crstore: waiting for ", capture.StandardError.ReadLine());
            Run.Signal(capture.Id, SigInt);
            Assert.True(capture.WaitForExit(Patience.Limit), "it does not end when it is asked to");
            Assert.Equal("crstore: interrupted\n", capture.StandardError.ReadToEnd());
            Assert.Equal((int)ExitCode.Interrupted, capture.ExitCode);
        }

        Assert.Equal(first, store.Do("list", "--quiet"));
        store.Do("wait", store.Capture(target.Pid, "--series", "s", "--lazy"));
    }

    [Fact]
    public void Interrupted_before_the_worker_listens_it_says_the_same()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var first = store.Capture(target.Pid, "--series", "s");
        using (Hold(Directory.GetFiles(Path.Combine(store.Path, "series")).Single())) // however late it is asked to end, it is not done
        {
            using var capture = store.Begin("capture", $"{target.Pid}", "--series", "s", "--lazy", "--lock-timeout", "600");
            while (TaskFile.TryReadText($"/proc/{capture.Id}/task/{capture.Id}/children") is null or "" && !capture.HasExited) { }
            Signals.TryKill(capture.Id, SigInt);
            Assert.True(capture.WaitForExit(Patience.Limit), "it does not end when it is asked to");
            Assert.EndsWith("crstore: interrupted\n", capture.StandardError.ReadToEnd());
            Assert.Equal((int)ExitCode.Interrupted, capture.ExitCode);
        }

        Assert.Equal(first, store.Do("list", "--quiet"));
    }

    [Fact]
    public void What_goes_on_behind_it_holds_nothing_of_the_callers()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        store.Capture(target.Pid, "--series", "s");
        using (HoldWriteLock(store))
        {
            // A script that lets only one of itself run, as cron jobs do.
            var script = $"exec 9> '{store.File("mine")}'; '{CrstoreProgram.Path}' capture {target.Pid} --series s --lazy --quiet --lock-timeout 600 --store '{store.Path}'; exec 9>&-; flock -n '{store.File("mine")}' echo free";
            var said = Run.Command("/bin/sh", ["-c", script], environment: CrstoreProgram.Clean).MustSucceed().Output.Split('\n');
            Assert.Equal("free", said[1]);
            var worker = Status(store, said[0], "pid");
            Assert.NotEqual(Session(worker), Session($"{Environment.ProcessId}"));
        }
    }

    // The record still says so when it is free again.
    private static bool HadRecordLast(string pid, int target) => new[] { "/run", "/run/user", "/tmp" }.Where(Directory.Exists).SelectMany(root => Directory.GetDirectories(root))
        .SelectMany(directory => new[] { directory + "/targets", directory + "/crstore/targets" }).Where(Directory.Exists).SelectMany(place => Directory.GetFiles(place, $"{target}-*"))
        .Any(record => FileCalls.ReadText(record)?.Contains($"\n{pid} capture of process {target} ", StringComparison.Ordinal) == true);

    private static string Session(string pid)
    {
        var stat = File.ReadAllText($"/proc/{pid}/stat");
        return stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[3];
    }

    private static string Status(CliStore store, string crid, string member)
    {
        // Its exit code says that it is not committed.
        using var json = System.Text.Json.JsonDocument.Parse(store.Run("wait", crid, "--timeout", "0", "--json").Output);
        return json.RootElement.GetProperty(member).ToString();
    }

    private static TargetProcess HoldWriteLock(CliStore store) => Hold(Path.Combine(store.Path, "lock"));

    private static TargetProcess Hold(string path)
    {
        var holder = TargetProcess.Start(Requires.Program("flock", "util-linux"), "--no-fork", path, "/bin/sh", "-c", "echo ready; exec sleep 1000");
        holder.Expect("ready");
        return holder;
    }
}
