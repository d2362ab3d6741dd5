using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>The main path: programs that go on from the instant of a capture.</summary>
public class FirstRestartTests
{
    private const string Counter = """
        import sys, os
        data = bytearray(8_000_000)
        n = 0
        print("ready")
        for line in sys.stdin:
            n += 1
            data[n * 4096 % len(data)] = n % 256
            print(line.strip(), n, sum(data), os.getpid(), os.getcwd())
        """;

    [Fact]
    public void A_python_program_goes_on_from_each_of_its_checkpoints_with_its_old_process_id()
    {
        using var run = RestartRun.Python(Counter);
        run.Expect("ready");
        var crids = new List<(Model.Crid Crid, int N)>();
        for (var n = 1; n <= 12; n++)
        {
            Assert.Equal($"x {n} {Sum(n)} {run.Pid} /", run.Ask("x"));
            if (n % 4 == 0) crids.Add((run.Capture(), n));
        }

        foreach (var (crid, n) in crids.Append(crids[1]))
        {
            run.Kill();
            var result = run.Restart(crid);
            Assert.Equal(run.Pid, result.RootPid);
            Assert.Equal($"y {n + 1} {Sum(n + 1)} {run.Pid} /", run.Ask("y"));
        }

        static int Sum(int n) => Enumerable.Range(1, n).Sum();
    }

    [Fact]
    public void A_restarted_program_is_captured_again_and_its_series_goes_on()
    {
        using var run = RestartRun.Python(Counter);
        run.Expect("ready");
        run.Ask("a");
        run.Capture();
        run.Ask("b");
        var second = run.Cycle();
        Assert.StartsWith("c 3 ", run.Ask("c"));
        var third = run.Cycle();
        Assert.StartsWith("d 4 ", run.Ask("d"));
        Assert.Equal(second.Value, run.Manifest(third).Header.ParentCrid);
        run.Capture();
        run.Ask("e");
        var last = run.Capture();
        Assert.True(run.Manifest(last).Body.Proofs[0].Continuous, "the tracker is armed again, and believed");
        Assert.True(run.Manifest(last).Header.Pages.Dirty < 1000);
    }
}
