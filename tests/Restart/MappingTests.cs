using Crstore.Capture;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Programs and libraries that are mapped.</summary>
public class MappingTests
{
    [Fact]
    public void A_program_or_library_that_was_replaced_is_refused_unless_it_was_embedded()
    {
        using var files = new TempDir("crstore-library-");
        File.Copy("/lib/x86_64-linux-gnu/libm.so.6", files.File("library.so"));
        using var run = RestartRun.Python("""
            import ctypes, sys
            library = ctypes.CDLL(sys.argv[1]); library.cos.restype = ctypes.c_double; library.cos.argtypes = [ctypes.c_double]
            print("ready")
            for line in sys.stdin: print(library.cos(0.0))
            """, files.File("library.so"));
        run.Expect("ready");
        var plain = run.Capture();
        var embedded = run.Capture(with: o => o with { EmbedFiles = true });
        run.Kill();
        File.Delete(files.File("library.so"));
        File.WriteAllText(files.File("library.so"), "something else");
        var options = new RestartOptions { Detach = true, Stdio = StdioPolicy.Null };
        Assert.Contains("library.so", Assert.Throws<Model.TargetException>(() => run.Restart(plain, options)).Message);
        run.Restart(embedded, options);
        Assert.Equal("1.0", run.Ask("?"));
    }

    [Fact]
    public void Sealed_memory_is_sealed_again()
    {
        using var run = RestartRun.Python("""
            import ctypes, sys
            libc = ctypes.CDLL(None, use_errno=True)
            libc.mmap.restype = ctypes.c_void_p
            at = libc.mmap(None, 8192, 3, 0x22, -1, 0)
            ctypes.memmove(at, b"content", 7)
            libc.mprotect(ctypes.c_void_p(at), 8192, 1)
            if libc.syscall(462, ctypes.c_void_p(at), 8192, 0) != 0: raise OSError(ctypes.get_errno(), "mseal")
            print("ready")
            for line in sys.stdin: print(libc.mprotect(ctypes.c_void_p(at), 8192, 3), libc.munmap(ctypes.c_void_p(at), 8192), ctypes.string_at(at, 7).decode())
            """);
        run.Expect("ready");
        for (var round = 0; round < 2; round++) // a restarted process is captured like any other
        {
            run.Cycle();
            Assert.Equal("-1 -1 content", run.Ask("?"));
        }
    }

    [Fact]
    public void Rings_of_an_io_uring_whose_fd_was_closed_are_refused()
    {
        using var run = RestartRun.Python("""
            import ctypes, os, sys
            libc = ctypes.CDLL(None, use_errno=True)
            libc.mmap.restype = ctypes.c_void_p
            ring = libc.syscall(425, 4, ctypes.create_string_buffer(120))
            if ring < 0: raise OSError(ctypes.get_errno(), "io_uring_setup")
            if libc.mmap(None, 4096, 3, 0x8001, ring, 0) == 2**64 - 1: raise OSError(ctypes.get_errno(), "mmap")
            os.close(ring)
            print("ready")
            for line in sys.stdin: print("alive")
            """);
        run.Expect("ready");
        var crid = run.Capture();
        Assert.Equal("alive", run.Ask("?"));
        run.Kill();
        var error = Assert.Throws<Model.TargetException>(() => run.Restart(crid));
        Assert.Contains("anon_inode:[io_uring]", error.Message);
        Assert.Contains("shares with the kernel", error.Message);
    }

    [Fact]
    public void Locked_memory_that_nobody_may_touch_is_locked_again()
    {
        using var run = RestartRun.Python("""
            import ctypes, sys
            libc = ctypes.CDLL(None, use_errno=True)
            libc.mmap.restype = ctypes.c_void_p
            at = libc.mmap(None, 8192, 0, 0x22, -1, 0)
            libc.mlock(ctypes.c_void_p(at), 8192) # ENOMEM, for there is nothing to fault in; it is locked all the same
            def flags():
                found = False
                for line in open("/proc/self/smaps"):
                    if line.startswith(f"{at:08x}-"): found = True
                    if found and line.startswith("VmFlags"): return "lo" in line.split()
            print("ready")
            for line in sys.stdin: print(flags())
            """);
        run.Expect("ready");
        Assert.Equal("True", run.Ask("?"));
        run.Cycle();
        Assert.Equal("True", run.Ask("?"));
    }

    [Fact]
    public void Tables_of_the_name_service_cache_come_back_empty_so_that_libc_asks_anew()
    {
        using var directory = new TempDir("crstore-nscd-");
        Directory.CreateDirectory(directory.File("nscd"));
        File.WriteAllText(directory.File("nscd/passwd"), "root");
        using var run = RestartRun.Python("import mmap, sys\nf = open(sys.argv[1], 'rb')\nm = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\nprint('ready')\nfor line in sys.stdin: print(m[:4])", directory.File("nscd/passwd"));
        run.Expect("ready");
        Assert.Equal("b'root'", run.Ask("?"));
        var crid = run.Capture();
        run.Kill();
        run.Restart(crid);
        Assert.Equal(@"b'\x00\x00\x00\x00'", run.Ask("?"));
    }
}
