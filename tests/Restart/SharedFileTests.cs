using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Files that are mapped shared and hold again what they held: those of a tmpfs, and the counters of Java virtual machines.</summary>
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

    [Theory]
    [InlineData("gone")]
    [InlineData("another")]
    [InlineData("changed")]
    public void The_counters_of_a_Java_virtual_machine_come_back_with_or_without_their_file(string file)
    {
        using var directory = new TempDir("crstore-java-");
        var path = directory.File("hsperfdata_root/1234");
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        using var run = RestartRun.Python("""
            import ctypes, os, sys
            libc = ctypes.CDLL(None, use_errno=True)
            libc.mmap.restype = ctypes.c_void_p
            f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
            os.ftruncate(f, 32768)
            m = (ctypes.c_char * 32768).from_address(libc.mmap(None, 32768, 3, 1, f, 0))
            os.close(f)
            n = 0
            print("ready")
            for line in sys.stdin:
                n += 1
                m[4096:4100] = b"%04d" % (int(m[4096:4100].strip(b"\0") or b"0") + 1)
                print(n, m[4096:4100].decode())
            """, path);
        run.Expect("ready");
        Assert.Equal("1 0001", run.Ask("?"));
        var crid = run.Capture();
        Assert.Equal("2 0002", run.Ask("?"));
        run.Kill();
        if (file != "changed") File.Delete(path);
        if (file != "gone") File.WriteAllText(path, "something else");
        run.Restart(crid, new RestartOptions { Detach = true, Stdio = StdioPolicy.Null });
        Assert.Equal("2 0002", run.Ask("?"));
        Assert.Equal("3 0003", run.Ask("?"));
        Assert.Equal(file != "gone", File.Exists(path));
        if (file != "gone") Assert.Equal("something else", File.ReadAllText(path)); // nobody else's file is written to
    }
}
