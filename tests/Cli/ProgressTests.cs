using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>The progress bar: on a terminal, while the work takes over a second, and nowhere else.</summary>
public class ProgressTests
{
    // Runs a command with its standard error, and nothing else, on a terminal; slowly: it stands still for most of the time.
    private const string Terminal = """
        import fcntl, os, pty, select, signal, struct, subprocess, sys, termios, threading, time
        where, command = sys.argv[1], sys.argv[2:]
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        other = os.pipe()
        error = slave if where == "terminal" else other[1]
        child = subprocess.Popen(command, stdin=slave if where == "terminal" else subprocess.DEVNULL, stdout=open("/dev/null", "wb"), stderr=error)
        os.close(slave); os.close(other[1])
        began, seen = time.monotonic(), b""
        def read():
            global seen
            while True:
                try: part = os.read(master if where == "terminal" else other[0], 65536)
                except OSError: return
                if not part: return
                seen += part
        reader = threading.Thread(target=read); reader.start()
        while child.poll() is None:
            # On a busy machine it runs for longer than that: then it stands still for longer too, within limits.
            runs = time.monotonic(); time.sleep(0.01); ran = time.monotonic() - runs
            child.send_signal(signal.SIGSTOP); time.sleep(min(9 * ran, 0.3)); child.send_signal(signal.SIGCONT)
        reader.join()
        print(f"{child.returncode} {time.monotonic() - began:.1f}")
        sys.stdout.flush()
        os.write(1, seen)
        """;

    [Theory]
    [InlineData("capture", "storing")]
    [InlineData("restore", "restoring CRID 1")]
    [InlineData("verify", "")]
    public void A_bar_on_a_terminal_and_nothing_of_it_elsewhere_or_where_it_is_not_wanted(string verb, string phase)
    {
        // On a busy machine it may run for longer at a time than it is to: then again with more to do.
        for (var mib = 64; !IsShown(verb, phase, mib); mib *= 2) Assert.True(mib < 1024, "it is too fast for a bar");
    }

    // False if it was too fast.
    private static bool IsShown(string verb, string phase, int mib)
    {
        using var target = TargetProcess.Start("pattern_writer", $"{mib}", $"{Seeds.Next()}");
        target.Expect("ready ");
        using var store = new CliStore();
        store.Capture(target.Pid);
        string[] command = verb switch
        {
            "capture" => ["capture", $"{target.Pid}", "--full"],
            "restore" => ["restore", "1", "--to", store.File("core"), "--force"],
            _ => ["verify", "--all", "--read-data"],
        };
        if (Slowly(store, "terminal", command) is not { } drawn) return false;
        Assert.Contains("\u001b[", drawn); // it is drawn again in its place…
        Assert.Contains("━", drawn);
        Assert.Contains(phase, drawn);
        Assert.Matches(@"\d+%", drawn);
        Assert.True(drawn.LastIndexOf("\u001b[?25h", StringComparison.Ordinal) > drawn.LastIndexOf('━'), drawn); // …and the cursor is there again when it is gone
        foreach (var (where, options) in new (string, string[])[] { ("pipe", []), ("terminal", ["--json"]), ("terminal", ["--quiet"]) })
        {
            if (Slowly(store, where, [.. command, .. options]) is not { } said) return false;
            Assert.DoesNotContain("\u001b", said);
            Assert.DoesNotContain("━", said);
            Assert.DoesNotContain("%", said);
        }

        return true;
    }

    // What it has said; null if it took hardly longer than what is too short for a bar.
    private static string? Slowly(CliStore store, string where, string[] command)
    {
        var environment = CrstoreProgram.Clean;
        (environment["CRSTORE_STORE"], environment["TERM"], environment["LANG"]) = (store.Path, "xterm-256color", "C.UTF-8");
        var result = Run.Command(Requires.Python(), ["-c", Terminal, where, CrstoreProgram.Path, .. command], environment: environment).MustSucceed();
        var (status, said) = (result.Output.Split('\n')[0].Split(' '), result.Output[(result.Output.IndexOf('\n') + 1)..]);
        Assert.True(status[0] == "0", result.ToString());
        Seeds.Print($"{where} {string.Join(' ', command)}: {status[1]} s");
        if (double.Parse(status[1], System.Globalization.CultureInfo.InvariantCulture) < 2) return null;
        return said.Replace("\u001b[?1h\u001b=", "", StringComparison.Ordinal); // .NET sets up the keypad after each SIGCONT
    }
}
