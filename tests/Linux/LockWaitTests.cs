using Crstore.Linux.Files;
using Crstore.Model;
using Xunit;

namespace Crstore.Tests.Linux;

/// <summary>What somebody is told who has waited in vain.</summary>
public class LockWaitTests
{
    [Theory]
    [InlineData(true, "try again later, or wait longer with --lock-timeout")]
    [InlineData(false, "try again later")]
    public void The_option_is_named_only_where_there_is_one(bool hasOption, string hint)
    {
        var wait = new LockWait(TimeSpan.Zero) { HasOption = hasOption };
        var busy = Assert.Throws<StoreBusyException>(() => wait.Until(() => false, () => "crstore gc", "it"));
        Assert.Equal(hint, busy.Hint);
    }
}
