using Crstore.Linux;
using Crstore.Linux.Sockets;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Linux;

/// <summary>A thread that acts as another user for a moment.</summary>
public class ThreadIdentityTests
{
    private const int CapSetUid = 7; // linux/capability.h

    [Fact]
    public void One_that_cannot_become_that_user_is_what_it_was()
    {
        Requires.Root();
        Exception? failure = null;
        string before = "", after = "";
        var thread = new Thread(() => // capabilities are a thread's own
        {
            before = Identity();
            Forbid(CapSetUid);
            failure = Record.Exception(() => ThreadIdentity.As(12345, 12345).Dispose());
            after = Identity();
        });
        thread.Start();
        thread.Join();
        Assert.Contains("setresuid", Assert.IsType<LinuxException>(failure).Message);
        Assert.Equal(before, after);
    }

    [Fact]
    public void It_is_that_user_until_the_end()
    {
        Requires.Root();
        string before = "", meanwhile = "", after = "";
        var thread = new Thread(() =>
        {
            before = Identity();
            using (ThreadIdentity.As(12345, 12346)) meanwhile = Identity();
            after = Identity();
        });
        thread.Start();
        thread.Join();
        Assert.Contains("Uid:\t0\t12345\t0", meanwhile);
        Assert.Contains("Gid:\t0\t12346\t0", meanwhile);
        Assert.Equal(before, after);
    }

    private static string Identity() => string.Join('\n', File.ReadLines("/proc/thread-self/status").Where(l => l.StartsWith("Uid", StringComparison.Ordinal)
        || l.StartsWith("Gid", StringComparison.Ordinal) || l.StartsWith("Groups", StringComparison.Ordinal)));

    private static unsafe void Forbid(int capability)
    {
        const long capGet = 125, capSet = 126; // syscall_64.tbl
        uint[] header = [0x20080522, 0], data = new uint[6]; // version 3; effective, permitted, inheritable, twice
        fixed (uint* h = header, d = data)
        {
            Assert.Equal(0, RawSyscall.Errno(capGet, (long)h, (long)d));
            data[0] &= ~(1u << capability);
            Assert.Equal(0, RawSyscall.Errno(capSet, (long)h, (long)d));
        }
    }
}
