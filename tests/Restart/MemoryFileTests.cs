using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>memfds: of several processes, too large ones, offsets.</summary>
public class MemoryFileTests
{
    [Fact]
    public void What_is_mapped_of_it_and_what_is_not_are_one_file_for_all_processes()
    {
        using var run = RestartRun.Python("""
            import mmap, os, sys
            fd = os.memfd_create("shared")
            os.ftruncate(fd, 10 * 4096 + 100)
            os.pwrite(fd, b"head", 0)
            os.pwrite(fd, b"unmapped", 9 * 4096)
            os.pwrite(fd, b"tail", 10 * 4096 + 96)
            m = mmap.mmap(fd, 2 * 4096, mmap.MAP_SHARED, offset=4096)
            m[0:6] = b"mapped"
            go, say = os.pipe(), os.pipe()
            if os.fork() == 0:
                while os.read(go[0], 1):
                    m[100:105] = b"child"
                    os.pwrite(fd, b"more", 5 * 4096)
                    os.write(say[1], b"x")
                os._exit(0)
            print("ready")
            for line in sys.stdin:
                first = m[0:6].decode(), os.pread(fd, 4, 0).decode(), os.pread(fd, 6, 4096).decode(), os.pread(fd, 8, 9 * 4096).decode(), os.pread(fd, 9, 10 * 4096 + 96).decode(), os.fstat(fd).st_size
                os.pwrite(fd, b"M", 4096)
                os.write(go[1], b"x"); os.read(say[0], 1)
                print(*first, m[0:6].decode(), m[100:105].decode(), os.pread(fd, 5, 4196).decode(), os.pread(fd, 4, 5 * 4096).decode())
                m[0:6] = b"mapped"
            """);
        run.Expect("ready");
        const string wanted = "mapped head mapped unmapped tail 41060 Mapped child child more";
        Assert.Equal(wanted, run.Ask("before"));
        run.Cycle(tree: true);
        Assert.Equal(wanted, run.Ask("after"));
        run.Cycle(tree: true);
        Assert.Equal(wanted, run.Ask("again"));
    }

    [Fact]
    public void More_than_a_checkpoint_takes_is_refused_and_the_capture_is_good_all_the_same()
    {
        using var run = RestartRun.Python("import os, sys\nfd = os.memfd_create('big')\nfor i in range(66): os.write(fd, os.urandom(1 << 20))\nprint('ready')\nfor line in sys.stdin: print(line)");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Assert.Contains("64 MiB", Assert.Throws<Model.TargetException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_capture_does_not_move_the_offset_of_what_it_saves()
    {
        using var run = RestartRun.Python("""
            import os, sys
            fd = os.memfd_create("m"); os.write(fd, b"x" * 100); os.lseek(fd, 42, 0)
            f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); os.unlink(sys.argv[1]); os.write(f, b"x" * 100); os.lseek(f, 43, 0)
            print("ready")
            for line in sys.stdin: print(os.lseek(fd, 0, 1), os.lseek(f, 0, 1))
            """, new TempDir("crstore-offset-").File("f"));
        run.Expect("ready");
        run.Capture();
        Assert.Equal("42 43", run.Ask("now"));
    }
}
