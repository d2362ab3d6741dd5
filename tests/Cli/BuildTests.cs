using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>tools/build.sh, which demo, install, tests and bench all begin with.</summary>
public class BuildTests
{
    // A compiler server that it started inherited the lock, and kept it for ten minutes. Another build beside this test may have it for a while.
    [Fact]
    public void When_it_is_done_nobody_holds_its_lock()
    {
        Assert.True(File.Exists(CrstoreProgram.Path));
        Assert.Equal(0, Run.Command("flock", ["--wait", "300", Repository.Path("artifacts", ".build.lock"), "true"]).ExitCode);
    }
}
