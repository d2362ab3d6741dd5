using System.Text.RegularExpressions;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>Tables in a terminal: drawn where they fit, plain lines where they don't.</summary>
public sealed partial class TableTests
{
    // Runs a command in a terminal of so many columns and passes on what it wrote.
    private const string InTerminal = """
        import fcntl, os, pty, struct, sys, termios
        width, command = int(sys.argv[1]), sys.argv[2:]
        pid, master = pty.fork()
        if pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            os.environ["TERM"] = "xterm"
            os.execv(command[0], command)
        try:
            while data := os.read(master, 65536): sys.stdout.buffer.write(data)
        except OSError: pass
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """;

    [Theory]
    [InlineData(80, false)]
    [InlineData(250, true)]
    public void A_table_is_drawn_where_it_fits_and_in_lines_that_can_be_read_where_not(int width, bool drawn)
    {
        using var store = new CliStore();
        using var target = TargetProcess.Start("/bin/sleep", "1000");
        var crid = store.Capture(target.Pid, "--series", "a-series");
        var environment = CrstoreProgram.Clean;
        environment["CRSTORE_STORE"] = store.Path;
        var shown = Run.Command(Requires.Python(), ["-c", InTerminal, $"{width}", CrstoreProgram.Path, "list"], environment: environment).MustSucceed().Output;
        var text = Escapes().Replace(shown, "");
        Assert.Equal(drawn, text.Contains('╭'));
        Assert.Matches($@"(?m)^\W*{crid}\W+a-series\W+base\b.*\bsleep\b", text);
    }

    [GeneratedRegex(@"\x1b\[[?0-9;]*[A-Za-z]")]
    private static partial Regex Escapes();
}
