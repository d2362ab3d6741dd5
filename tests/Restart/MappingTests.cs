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
}
