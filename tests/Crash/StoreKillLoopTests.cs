using System.Globalization;
using Crstore.Store;
using Crstore.Store.Native;
using Crstore.Tests.Crash.Driver;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Crash;

public sealed class StoreKillLoopTests
{
    /// <summary>Kills per run; tools/crash-store.sh sets it.</summary>
    private static int Kills => int.TryParse(Environment.GetEnvironmentVariable("CRSTORE_KILLS"), CultureInfo.InvariantCulture, out var n) ? n : 300;

    [Fact]
    public void Whatever_instant_a_writer_is_killed_at_every_acknowledged_checkpoint_stays_whole()
    {
        var random = Seeds.Random();
        using var temp = new TempDir();
        var store = temp.File("store");
        int killed = 0, compared = 0, rounds = 0, patched = 0, packed = 0;
        while (killed < Kills)
        {
            // Four at once: they start up in parallel, and they are in each other's way.
            var drivers = Enumerable.Range(0, 4).Select(i =>
                new DriverProcess(store, temp.Path, $"{rounds}-{i}", random.Next(), operations: 1000)).ToList();
            try
            {
                foreach (var driver in drivers) driver.WaitFor(random.Next(5) == 0 ? "started" : "warm");
                foreach (var driver in drivers)
                {
                    Thread.Sleep(random.Next(random.Next(2) == 0 ? 40 : 250));
                    driver.Kill();
                }

                foreach (var driver in drivers)
                {
                    var code = driver.WaitForExit();
                    Assert.True(code is 137 or 0, $"driver of round {rounds}: exit code {code}\n{driver.Errors}");
                    if (code == 137) killed++;
                }
            }
            finally
            {
                foreach (var driver in drivers) driver.Dispose();
            }

            compared += StoreOracleCheck.Run(store, temp.Path, verify: rounds % 5 == 0);
            patched += Holds(store, ColumnFamily.Patches) ? 1 : 0;
            packed += Holds(store, ColumnFamily.Dictionaries) ? 1 : 0;
            rounds++;
        }

        // On a slow machine hardly any driver lives to see what is rare: one that nobody kills does, on what they left.
        using (var last = new DriverProcess(store, temp.Path, "last", random.Next(), 0, "dxdk"))
        {
            var code = last.WaitForExit();
            Assert.True(code == 0, $"exit code {code}\n{last.Errors}");
        }

        compared += StoreOracleCheck.Run(store, temp.Path, verify: true);
        var state = Oracle.ReadAll(temp.Path);
        Seeds.Print($"{killed} kills, {state.Meant.Count} attempts, {state.Committed.Count} commits, {state.Forgotten.Count} forgotten, " +
            $"{compared} comparisons, patches in {patched} and dictionaries in {packed} of {rounds} rounds, notes: {string.Join(", ", state.Notes.Select(n => $"{n.Key} {n.Value}"))}");
        Assert.True(state.Committed.Count > killed / 3, "hardly anything was committed: the loop proves nothing");
        Assert.True(state.Meant.Count > state.Committed.Count, "no attempt was cut short");
        Assert.True(state.Notes.GetValueOrDefault("gc-freed") > 0, "gc never freed anything");
        Assert.True(state.Forgotten.Count > 0, "nothing was forgotten");
        Assert.True(state.Notes.GetValueOrDefault("kept") > 0, "the store was never kept open");
        Assert.True(state.Notes.GetValueOrDefault("recompressed") > 0, "nothing was packed harder");
        Assert.True(Holds(store, ColumnFamily.Dictionaries), "nothing was packed with a dictionary");
        Assert.True(Holds(store, ColumnFamily.Patches), "nothing was stored as a patch");
    }

    private static bool Holds(string directory, ColumnFamily family)
    {
        if (!File.Exists(Path.Combine(directory, "format"))) return false;
        using var store = CheckpointStore.Open(new StoreOptions(directory));
        using var reader = store.OpenReader();
        using var records = reader.Database.Iterate(family);
        return records.SeekToFirst();
    }

    [Fact]
    public void Several_processes_capture_forget_collect_and_read_at_once()
    {
        var random = Seeds.Random();
        using var temp = new TempDir();
        Work("by chance", drivers: 4, script: null);
        if (!HaveReadAndFreed()) Work("on purpose", drivers: 1, script: "drxd");
        Assert.True(HaveReadAndFreed(), "reads or gcs did not happen");

        void Work(string how, int drivers, string? script)
        {
            var all = Enumerable.Range(0, drivers).Select(i => new DriverProcess(temp.File("store"), temp.Path, $"{how}-{i}", random.Next(), operations: 40, script)).ToList();
            try
            {
                foreach (var driver in all)
                {
                    var code = driver.WaitForExit();
                    Assert.True(code == 0, $"exit code {code}\n{driver.Errors}");
                }
            }
            finally
            {
                foreach (var driver in all) driver.Dispose();
            }

            Assert.True(StoreOracleCheck.Run(temp.File("store"), temp.Path, verify: true) > 0);
        }

        bool HaveReadAndFreed() => Oracle.ReadAll(temp.Path).Notes is var notes && notes.GetValueOrDefault("read") > 0 && notes.GetValueOrDefault("gc-freed") > 0;
    }
}
