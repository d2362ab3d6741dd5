using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Files of a tmpfs that are mapped shared: they hold again what they held.</summary>
public class SharedFileTests
{
    [Fact]
    public void What_was_a_hole_or_zero_is_so_again_whatever_was_written_there_meanwhile()
    {
        Requires.That(Directory.Exists("/dev/shm"), "/dev/shm");
        var path = $"/dev/shm/crstore-test-{Guid.NewGuid():N}";
        using var run = RestartRun.Python("""
            import mmap, os, sys
            f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
            os.ftruncate(f, 8 * 4096)
            m = mmap.mmap(f, 8 * 4096)
            m[0:4] = b"page"
            m[3 * 4096] = 0
            print("ready")
            for line in sys.stdin: print(m[0:4].decode(), m[4:].count(0) == len(m) - 4)
            """, path);
        run.Expect("ready");
        try
        {
            var crid = run.Capture();
            run.Kill();
            File.WriteAllBytes(path, [.. Enumerable.Repeat((byte)'x', 8 * 4096)]);
            run.Restart(crid);
            Assert.Equal("page True", run.Ask("?"));
        }
        finally
        {
            File.Delete(path);
        }
    }
}
