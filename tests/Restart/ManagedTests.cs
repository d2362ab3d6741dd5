using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>A .NET program: threads, a garbage collector, and code that it compiles into memory which it maps twice (a memfd).</summary>
public class ManagedTests
{
    private static string Program
    {
        get
        {
            var configuration = AppContext.BaseDirectory.Contains("/Release/", StringComparison.Ordinal) ? "Release" : "Debug";
            return Repository.Path("tests", "Restart", "ManagedTarget", "bin", configuration, "net10.0", "Crstore.ManagedTarget");
        }
    }

    [Fact]
    public void A_dotnet_program_with_many_threads_goes_on()
    {
        using var run = RestartRun.Start(Program);
        run.Expect("ready");
        Assert.Equal("ok 1 1 0 a", run.Ask("a"));
        run.Cycle();
        Assert.Equal("ok 2 2 1 ab", run.Ask("b"));
        var second = run.Cycle();
        Assert.Contains(run.Manifest(second).Body.Processes[0].Fds, f => f.Link.StartsWith("/memfd:doublemapper", StringComparison.Ordinal));
        Assert.Equal("ok 3 3 3 abc", run.Ask("c"));
        run.Kill();
        run.Restart(second);
        Assert.Equal("ok 3 3 3 abd", run.Ask("d"));
    }
}
