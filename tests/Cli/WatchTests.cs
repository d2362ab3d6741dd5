using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>`crstore watch`: when it captures, how it ends, and that what it commits is what was there.</summary>
public sealed class WatchTests
{
    [Fact]
    public void What_it_captures_at_an_interval_is_what_the_target_recorded_and_capture_goes_on_with_it()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var known = new List<(string Crid, int Generation)> { (store.Capture(target.Pid, "--series", "demo"), target.Generation) };
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--series", "demo", "--every", "60ms");
        for (var round = 0; round < 5; round++)
        {
            target.Next();
            var capture = watch.NextCaptureSince(DateTimeOffset.UtcNow);
            Assert.Equal("increment", capture.GetProperty("kind").GetString());
            known.Add((capture.GetProperty("crid").GetRawText(), target.Generation));
        }

        var (exitCode, end, _) = watch.Stop();
        Assert.Equal(0, exitCode);
        Assert.Equal("ended on request", end.GetProperty("reason").GetString());
        Assert.Equal(watch.Crids.Count, end.GetProperty("captures").GetInt32());
        Assert.True(end.GetProperty("frozen_p50_ns").GetInt64() is > 0 and var p50 && p50 <= end.GetProperty("frozen_max_ns").GetInt64());
        target.Next();
        var after = store.Json("capture", $"{target.Pid}", "--series", "demo");
        Assert.Equal(watch.Crids[^1], after.GetProperty("parent_crid").GetRawText());
        known.Add((after.GetProperty("crid").GetRawText(), target.Generation));

        Assert.Equal([known[0].Crid, .. watch.Crids, known[^1].Crid], store.Do("list", "--quiet").Split('\n'));
        foreach (var (crid, generation) in known)
        {
            store.Do("restore", crid, "--to", store.File("core"), "--force");
            Assert.True(target.IsIn(store.File("core"), generation), $"CRID {crid} is not generation {generation}");
        }

        store.Do("verify", "--all", "--read-data");
    }

    [Fact]
    public void The_store_stays_open_from_one_capture_to_the_next_until_somebody_waits_for_it()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--series", "s", "--every", "50ms");
        Assert.Contains(Captures(), capture => !Opens(capture));
        store.Do("forget", watch.Crids[0], "--lock-timeout", "5m");
        store.Do("gc", "--lock-timeout", "5m");
        store.Capture(target.Pid, "--series", "s", "--lock-timeout", "5m");
        Assert.Contains(Captures(), Opens);
        Assert.Contains(Captures(), capture => !Opens(capture));
        Assert.Equal(0, watch.Stop().ExitCode);
        store.Do("verify", "--all", "--read-data");

        IEnumerable<JsonElement> Captures() => Enumerable.Range(0, 200).Select(_ => watch.NextCapture());
        static bool Opens(JsonElement capture) => capture.GetProperty("phases").EnumerateArray().Any(p => p.GetProperty("name").GetString() == "open to write");
    }

    [Fact]
    public void The_end_of_the_target_ends_it_with_an_exit_code_of_its_own()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "50ms");
        for (var i = 0; i < 3; i++) watch.NextCapture();
        target.Signal(9);
        var (exitCode, end, _) = watch.Finish();
        Assert.Equal((int)ExitCode.TargetEnded, exitCode);
        Assert.Contains("has ended", end.GetProperty("reason").GetString());
        Assert.Equal(watch.Crids, store.Do("list", "--quiet").Split('\n'));
        store.Do("verify", "--all", "--read-data");
    }

    [Fact]
    public void It_ends_after_so_many_captures_or_so_long()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var three = store.Do("watch", $"{target.Pid}", "--every", "30ms", "--count", "3", "--quiet");
        Assert.Equal(3, three.Split('\n').Length);
        Assert.Equal(three, store.Do("list", "--quiet"));
        var clock = Stopwatch.StartNew();
        var some = store.Do("watch", $"{target.Pid}", "--every", "1h", "--for", "1s");
        Assert.True(clock.Elapsed >= TimeSpan.FromSeconds(1), "it ended too early");
        Assert.Contains("increment of", some);
        Assert.Matches(@"(?m)^the time is over: 1 capture in ", some);
        Assert.Matches(@"(?m)^frozen p50 [\d.]+ ms, p99 [\d.]+ ms, longest [\d.]+ ms; stored ", some);
    }

    [Fact]
    public void It_captures_when_so_much_has_changed_and_not_before()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("pattern_writer", "32", "1");
        target.Expect("ready ");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--on-dirty", "4M");
        var first = watch.NextCapture();
        Assert.SkipWhen(first.GetProperty("tracker").GetString() == "hash", "no tracker works here");
        target.Ask("write-permille 20"); // 640 KiB
        Assert.True(watch.SaysNothingFor(TimeSpan.FromSeconds(1)), "it captured for a sixth of what it was to wait for");
        target.Ask("write-permille 200"); // 6 MiB: what comes after a capture in its middle is too little for another
        Assert.InRange(watch.NextCapture().GetProperty("pages").GetProperty("dirty").GetInt32(), 1000, 8192);
        Assert.True(watch.SaysNothingFor(TimeSpan.FromSeconds(1)), "it captured though nothing had changed since");
        Assert.Equal(0, watch.Stop().ExitCode);
        Expect.Failure(store.Run("watch", $"{target.Pid}", "--on-dirty", "4M", "--tracker", "hash"), ExitCode.Usage, "--on-dirty");
    }

    [Fact]
    public void A_signal_asks_for_a_capture_and_for_another_if_one_is_under_way()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("pattern_writer", "2", "1");
        target.Expect("ready ");
        var (met, go) = (store.File("met"), store.File("go"));
        var hook = Hook(store, $"touch '{met}'\nwhile [ ! -e '{go}' ]; do sleep 0.02; done");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--on-signal", "--hook", hook);
        Patience.Until(() => File.Exists(met), () => "the first capture to begin, unasked");
        watch.Signal(10);
        File.Create(go).Dispose();
        watch.NextCapture();
        watch.NextCapture(); // the one that was asked for during the first
        Assert.True(watch.SaysNothingFor(TimeSpan.FromSeconds(1)), "it captured though nobody had asked");
        target.Ask("write-permille 200");
        watch.Signal(10);
        Assert.InRange(watch.NextCapture().GetProperty("pages").GetProperty("dirty").GetInt32(), 100, 512);
        Assert.Equal(0, watch.Stop().ExitCode);
    }

    [Fact]
    public void A_signal_whose_capture_fails_is_answered_by_the_next_attempt()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("pattern_writer", "2", "1");
        target.Expect("ready ");
        var fail = store.File("fail");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--on-signal", "--hook", Hook(store, $"rm '{fail}' 2>/dev/null || exit 0\nexit 1")); // fails once
        watch.NextCapture();
        target.Ask("write-permille 200");
        File.Create(fail).Dispose();
        watch.Signal(10);
        Assert.Equal("failure", watch.Next().GetProperty("event").GetString());
        Assert.False(File.Exists(fail));
        Assert.InRange(watch.NextCapture().GetProperty("pages").GetProperty("dirty").GetInt32(), 100, 512); // nobody has asked again
        Assert.True(watch.SaysNothingFor(TimeSpan.FromSeconds(1)), "it was answered twice");
        Assert.Equal(0, watch.Stop().ExitCode);
    }

    [Fact]
    public void Frozen_time_stays_below_the_share_that_is_allowed()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("pattern_writer", "2", "1"); // frozen for a moment: a pause is 500 times as long
        target.Expect("ready ");
        target.Ask("start");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "20ms", "--max-overhead", "0.2%", "--count", "3"); // so little that the slowest machine is ready before
        var captures = new List<JsonElement>();
        for (var i = 0; i < 3; i++) captures.Add(watch.NextCapture());
        var (exitCode, end, _) = watch.Finish();
        Assert.Equal(0, exitCode);
        // Nothing need be put off if the disk alone made the pauses long enough.
        var isSlow = captures.SkipLast(1).All(c => c.GetProperty("total_ns").GetInt64() >= 500 * c.GetProperty("frozen_ns").GetInt64());
        Assert.True(end.GetProperty("put_off").GetInt64() > 0 || isSlow, $"nothing was put off: {end}");
        // Each pause makes up for the freeze before it.
        var frozen = captures.SkipLast(1).Sum(c => c.GetProperty("frozen_ns").GetInt64());
        Assert.InRange(frozen / (double)end.GetProperty("duration_ns").GetInt64(), 0, 0.002);
    }

    [Fact]
    public void It_keeps_the_last_ones_of_the_series_and_no_others()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var other = store.Capture(target.Pid, "--series", "other");
        for (var i = 0; i < 4; i++) store.Capture(target.Pid, "--series", "demo");
        target.Next();
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--series", "demo", "--every", "40ms", "--keep-last", "3", "--count", "5");
        var (exitCode, end, _) = watch.Finish();
        Assert.Equal(0, exitCode);
        Assert.Equal(6, end.GetProperty("forgotten").GetInt32());
        Assert.Equal([other, .. watch.Crids.TakeLast(3)], store.Do("list", "--quiet").Split('\n'));
        store.Do("gc");
        store.Do("restore", watch.Crids[^1], "--to", store.File("core"));
        Assert.True(target.IsIn(store.File("core"), target.Generation));
        store.Do("verify", "--all", "--read-data");
    }

    [Fact]
    public void One_that_fails_is_told_and_the_next_is_tried_until_several_fail_in_a_row()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var hook = store.File("hook");
        var state = store.File("calls");
        File.WriteAllText(hook, $"#!/bin/sh\n[ \"$1\" = pre-capture ] || exit 0\necho >>{state}\n[ $(wc -l <{state}) -ne 2 ]\n"); // the second one fails
        File.SetUnixFileMode(hook, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using (var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "50ms", "--count", "3", "--hook", hook))
        {
            var (exitCode, end, error) = watch.Finish();
            Assert.Equal((0, 1, 3), (exitCode, end.GetProperty("failed").GetInt32(), end.GetProperty("captures").GetInt32()));
            Assert.Contains("hook", error);
        }

        using (var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "20ms", "--max-frozen", "0.001ms"))
        {
            var (exitCode, end, error) = watch.Finish();
            Assert.Equal((int)ExitCode.FrozenTooLong, exitCode);
            Assert.Equal(("failed", 0), (end.GetProperty("reason").GetString(), end.GetProperty("captures").GetInt32()));
            Assert.Equal(5, error.Split("was frozen for longer than").Length - 1);
        }

        Assert.Equal(3, store.Do("list", "--quiet").Split('\n').Length);
        Assert.Equal(0, TaskStatusFileTracer(target.Pid));
    }

    [Fact]
    public void A_first_capture_that_fails_is_made_up_for_without_ticks_too()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var state = store.File("calls");
        var hook = Hook(store, $"echo >>{state}\n[ $(wc -l <{state}) -ne 1 ]"); // the first one fails
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--on-dirty", "4M", "--count", "1", "--hook", hook);
        Assert.Equal("failure", watch.Next().GetProperty("event").GetString());
        watch.NextCapture();
        Assert.Equal(0, watch.Finish().ExitCode);
    }

    [Fact]
    public void Failures_in_a_row_are_further_and_further_apart()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var times = store.File("times");
        var hook = Hook(store, $"date +%s.%N >>{times}\nfalse");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "20ms", "--hook", hook);
        var (exitCode, end, _) = watch.Finish();
        Assert.Equal(((int)ExitCode.Environment, 0), (exitCode, end.GetProperty("captures").GetInt32()));
        var moments = File.ReadAllLines(times).Select(line => double.Parse(line, CultureInfo.InvariantCulture)).ToList();
        Assert.Equal(5, moments.Count);
        for (var i = 1; i < moments.Count; i++) Assert.True(moments[i] - moments[i - 1] > Math.Pow(2, i - 1), $"after {i}: {moments[i] - moments[i - 1]} s");
    }

    [Theory, InlineData("hash"), InlineData("auto")]
    public void While_it_waits_it_takes_no_processor(string tracker)
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "1h", "--on-dirty", "64M", "--tracker", tracker);
        watch.NextCapture();
        AssertIdle(watch, () => Thread.Sleep(3000));
        Assert.Equal(0, watch.Stop().ExitCode);
    }

    [Fact]
    public void While_the_share_allows_no_capture_it_takes_no_processor()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("pattern_writer", "32", "1");
        target.Expect("ready ");
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--on-dirty", "4M", "--max-overhead", "0.001%"); // 100 s for each millisecond
        Assert.SkipWhen(watch.NextCapture().GetProperty("tracker").GetString() == "hash", "no tracker works here");
        target.Ask("write-permille 500");
        AssertIdle(watch, () => Assert.True(watch.SaysNothingFor(TimeSpan.FromSeconds(3)), "it captured before the share allowed it"));
        Assert.Equal(0, watch.Stop().ExitCode);
    }

    [Fact]
    public void One_that_was_frozen_for_too_long_costs_the_limit()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        // The limit is a thousandth of a millisecond, and the share makes five seconds of it: longer than the pause after one failure.
        using var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "20ms", "--max-frozen", "0.001ms", "--max-overhead", "0.00002%", "--for", "4s");
        var (exitCode, end, _) = watch.Finish();
        Assert.Equal((0, 1), (exitCode, end.GetProperty("failed").GetInt32()));
    }

    [Fact]
    public void When_nothing_tells_what_changes_and_there_are_no_ticks_it_ends_with_what_it_has_committed()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Python("""
            import ctypes, sys
            context = ctypes.c_ulong(0)
            print("io_setup", ctypes.CDLL(None).syscall(206, 4, ctypes.byref(context)), flush=True)
            sys.stdin.read()
            """); // no tracker may be used for it
        target.Expect("io_setup 0");
        var result = store.Run("watch", $"{target.Pid}", "--on-dirty", "4M", "--quiet");
        Assert.Equal((int)ExitCode.Target, result.ExitCode);
        Assert.Contains("--on-dirty has nothing to go by", result.Error);
        Assert.Single(result.Error.Split("--on-dirty has nothing").Skip(1));
        Assert.Equal(store.Do("list", "--quiet"), result.Output.TrimEnd('\n'));
        Assert.NotEqual("", result.Output);
    }

    [Fact]
    public void A_target_that_ends_before_its_capture_begins_is_not_captured_and_other_errors_are_told_besides()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        using (var watch = new WatchedTarget(store, $"{target.Pid}", "--every", "1s", "--hook", Hook(store, $"{KillAndAwait(target)}\nfalse")))
        {
            var (exitCode, end, error) = watch.Finish();
            Assert.Equal(((int)ExitCode.TargetEnded, 1), (exitCode, end.GetProperty("failed").GetInt32()));
            Assert.Contains("hook", error);
        }

        using var second = TargetProcess.Start("/bin/sleep", "1000");
        using var ended = new WatchedTarget(store, $"{second.Pid}", "--every", "1s", "--hook", Hook(store, KillAndAwait(second)));
        var (code, last, _) = ended.Finish();
        Assert.Equal(((int)ExitCode.TargetEnded, 0), (code, last.GetProperty("failed").GetInt32()));
        Assert.Equal("", store.Do("list", "--quiet"));
    }

    [Fact]
    public void The_first_signal_lets_it_finish_and_the_second_abandons_what_is_under_way()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var (hook, begun, goOn) = (store.File("hook"), store.File("begun"), store.File("go-on"));
        File.WriteAllText(hook, $"#!/bin/sh\n[ \"$1\" = pre-capture ] || exit 0\necho >{begun}\nwhile [ ! -e {goOn} ]; do sleep 0.02; done\n");
        File.SetUnixFileMode(hook, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using (var abandoned = new WatchedTarget(store, $"{target.Pid}", "--every", "1s", "--hook", hook))
        {
            Await(begun);
            abandoned.Signal(2);
            Assert.True(abandoned.SaysNothingFor(TimeSpan.FromMilliseconds(500)), "it did not wait for the capture that had begun");
            var (exitCode, end, error) = abandoned.Stop();
            Assert.Equal((int)ExitCode.Interrupted, exitCode);
            Assert.Equal("interrupted", end.GetProperty("reason").GetString());
            Assert.EndsWith("crstore: interrupted\n", error);
        }

        File.Delete(begun);
        using var finished = new WatchedTarget(store, $"{target.Pid}", "--every", "1s", "--hook", hook);
        Await(begun);
        finished.Signal(15);
        Assert.True(finished.SaysNothingFor(TimeSpan.FromMilliseconds(300)), "it did not wait for the capture that had begun");
        File.WriteAllText(goOn, "");
        var (code, last, _) = finished.Finish();
        Assert.Equal((0, 1), (code, last.GetProperty("captures").GetInt32()));
        Assert.Equal(finished.Crids, store.Do("list", "--quiet").Split('\n'));
    }

    [Fact]
    public void Wrong_use_is_told_before_anything_is_done()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        Expect.Failure(store.Run("watch", $"{target.Pid}"), ExitCode.Usage, "nothing says when", "--on-signal");
        Expect.Failure(store.Run("watch", $"{target.Pid}", "--every", "1ms"), ExitCode.Usage, "too short");
        Expect.Failure(store.Run("watch", $"{target.Pid}", "--every", "1s", "--count", "0"), ExitCode.Usage, "--count");
        Expect.Failure(store.Run("watch", $"{target.Pid}", "--every", "1s", "--keep-last", "0"), ExitCode.Usage, "--keep-last");
        Expect.Failure(store.Run("watch", "4194304", "--every", "1s"), ExitCode.Target, "4194304");
        Assert.False(Directory.Exists(store.Path));
    }

    // What is done before each capture.
    private static string Hook(CliStore store, string script)
    {
        var hook = store.File("hook");
        File.WriteAllText(hook, $"#!/bin/sh\n[ \"$1\" = pre-capture ] || exit 0\n{script}\n");
        File.SetUnixFileMode(hook, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return hook;
    }

    // Until it has been reaped, and there is no such process any more.
    private static string KillAndAwait(TargetProcess target) => $"kill -9 {target.Pid}\nwhile kill -0 {target.Pid} 2>/dev/null; do sleep 0.02; done";

    // It takes next to nothing of three seconds; not of the first ones if it has a rest of the capture to do, which takes longer where there is much else to do.
    private static void AssertIdle(WatchedTarget watch, Action forThreeSeconds)
    {
        for (var tries = 1; ; tries++)
        {
            var before = ProcessorTime(watch.Pid);
            forThreeSeconds();
            var took = ProcessorTime(watch.Pid) - before;
            if (took <= TimeSpan.FromSeconds(0.5)) return;
            Assert.True(tries < 10, $"it has taken {took} of the processors in three seconds");
        }
    }

    // In user and kernel mode: proc_pid_stat(5).
    private static TimeSpan ProcessorTime(int pid)
    {
        using var process = Process.GetProcessById(pid);
        return process.TotalProcessorTime;
    }

    private static int TaskStatusFileTracer(int pid) => Linux.TaskStatusFile.Read(pid)!.TracerPid;

    private static void Await(string file) => Patience.Until(() => File.Exists(file), file);
}
