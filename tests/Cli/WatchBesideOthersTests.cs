using Crstore.Model;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>`crstore watch` beside everything else, and killed.</summary>
public sealed class WatchBesideOthersTests
{
    [Fact]
    public void All_other_verbs_work_beside_watches_of_one_series_and_of_another_target()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        using var second = new DemoTarget();
        using var first = new WatchedTarget(store, $"{target.Pid}", "--series", "demo", "--every", "250ms", "--lock-timeout", "5m");
        using var same = new WatchedTarget(store, $"{target.Pid}", "--series", "demo", "--every", "300ms", "--lock-timeout", "5m");
        using var other = new WatchedTarget(store, $"{second.Pid}", "--series", "second", "--every", "150ms", "--keep-last", "4", "--lock-timeout", "5m");
        var by = new List<string>();
        var forgotten = new List<string>();
        for (var round = 0; round < 3; round++)
        {
            foreach (var watch in new[] { first, same, other }) watch.NextCapture();
            target.Next();
            var capture = store.Capture(target.Pid, "--series", round % 2 == 0 ? "demo" : "cron", "--lock-timeout", "5m");
            by.Add(capture);
            store.Do("restore", capture, "--to", store.File("core"), "--force");
            Assert.True(target.IsIn(store.File("core"), target.Generation), $"CRID {capture}");
            Assert.Contains(capture, store.Do("list", "--quiet").Split('\n'));
            store.Do("verify", capture);
            store.Do("forget", first.Crids[round], "--quiet", "--lock-timeout", "5m");
            forgotten.Add(first.Crids[round]);
            store.Do("gc", "--quiet", "--wait", "300", "--lock-timeout", "5m");
        }

        // However much the others have kept them waiting: not by chance alone are there many.
        foreach (var watch in new[] { first, same })
            while (watch.Crids.Count < 5) watch.NextCapture();

        second.Next();
        other.NextCaptureSince(DateTimeOffset.UtcNow);
        Assert.Equal(0, other.Stop().ExitCode);
        store.Do("restore", other.Crids[^1], "--to", store.File("core"), "--force");
        Assert.True(second.IsIn(store.File("core"), second.Generation));
        foreach (var watch in new[] { first, same }) Assert.Equal(0, watch.Stop().ExitCode);

        var all = store.Json("list").EnumerateArray().ToList();
        // One chain: each builds on the one before it that was not forgotten, whoever took it.
        var demo = all.Where(c => c.GetProperty("series").GetString() == "demo").Select(c => c.GetProperty("crid").GetRawText()).ToList();
        Assert.Equal(first.Crids.Concat(same.Crids).Concat(by.Where((_, i) => i % 2 == 0)).Except(forgotten).OrderBy(ulong.Parse), demo);
        Assert.Equal(other.Crids.TakeLast(4), all.Where(c => c.GetProperty("series").GetString() == "second").Select(c => c.GetProperty("crid").GetRawText()));
        store.Do("verify", "--all", "--read-data");
    }

    [Fact]
    public void Killed_at_any_moment_it_leaves_target_and_store_well()
    {
        using var store = new CliStore();
        using var target = new DemoTarget();
        var random = Seeds.Random();
        var committed = new HashSet<string>();
        var captures = 0;
        for (var round = 0; round < 6; round++)
        {
            using (var watch = new WatchedTarget(store, $"{target.Pid}", "--series", "demo", "--every", "15ms"))
            {
                for (var i = random.Next(2, 6); i > 0; i--) watch.NextCapture();
                Thread.Sleep(random.Next(40));
                watch.Kill();
                committed.UnionWith(watch.Crids);
                captures += watch.Crids.Count;
            }

            target.Next(); // it goes on
            Assert.Equal(0, Linux.TaskStatusFile.Read(target.Pid)!.TracerPid);
            var crid = store.Capture(target.Pid, "--series", "demo");
            committed.Add(crid);
            store.Do("restore", crid, "--to", store.File("core"), "--force");
            Assert.True(target.IsIn(store.File("core"), target.Generation), $"CRID {crid} of round {round}");
        }

        Assert.True(captures > 11, "hardly anything was captured");
        Assert.Superset(committed, store.Do("list", "--quiet").Split('\n').ToHashSet());
        store.Do("gc");
        store.Do("verify", "--all", "--read-data");
    }

    [Fact]
    public void A_store_that_is_busy_is_waited_for()
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        store.Capture(target.Pid, "--series", "s");
        string[] watch = ["watch", $"{target.Pid}", "--series", "s", "--every", "50ms", "--count", "2", "--quiet"];
        using (var holder = TargetProcess.Start(Requires.Program("flock", "util-linux"), "--no-fork", Path.Combine(store.Path, "lock"), "/bin/sh", "-c", "echo ready; exec sleep 1000"))
        {
            holder.Expect("ready");
            var given = store.Run([.. watch, "--lock-timeout", "50ms"]);
            Assert.Equal(((int)ExitCode.Busy, ""), (given.ExitCode, given.Output));
            using var waiting = store.Begin([.. watch, "--lock-timeout", "10m"]);
            Assert.StartsWith("crstore: waiting for ", waiting.StandardError.ReadLine());
            holder.Signal(9);
            Assert.Equal(2, waiting.StandardOutput.ReadToEnd().TrimEnd('\n').Split('\n').Length);
            waiting.WaitForExit();
            Assert.Equal(0, waiting.ExitCode);
        }
    }
}
