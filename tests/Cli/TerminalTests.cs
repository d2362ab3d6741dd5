using System.Globalization;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>A full-screen program in a shell's terminal: `crstore restart` puts it back into the foreground, and gives the terminal back.</summary>
public class TerminalTests
{
    private const string FullScreen = """
        import curses, os
        def main(screen):
            n = 0
            while True:
                screen.clear()
                h, w = screen.getmaxyx()
                screen.addstr(1, 1, f"count <{n}> in {h} {w} foreground {os.tcgetpgrp(0) == os.getpgrp()}.")
                screen.refresh()
                c = screen.getch()
                if c == ord("q"): return
                if c == ord("+"): n += 1
                if c == curses.KEY_RESIZE: curses.update_lines_cols()
        curses.wrapper(main)
        print("bye", flush=True)
        """;

    // A user at a shell in a terminal of 80 columns, which has 100 when the program comes back.
    private const string User = """
        import fcntl, os, pty, select, signal, struct, subprocess, sys, termios, time
        crstore, command = sys.argv[1:]
        shell, master = pty.fork()
        if shell == 0:
            os.closerange(3, 1000)
            os.environ.update(PS1="$ ", TERM="xterm")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        def resize(h, w): fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", h, w, 0, 0))
        seen = b""
        def until(what):
            global seen
            end = time.monotonic() + 300
            while what.encode() not in seen:
                if time.monotonic() > end: sys.exit(f"no {what!r} in {seen[-2000:]}")
                if select.select([master], [], [], 0.1)[0]: seen += os.read(master, 65536)
            i = seen.index(what.encode()) + len(what)
            found, seen = seen[:i].decode(errors="replace"), seen[i:]
            return found
        def send(text): os.write(master, text.encode())
        def raw(): return not termios.tcgetattr(master)[3] & termios.ICANON
        resize(24, 80)
        until("$ ")
        send(f"echo $$; exec 2>&1; {command}\n")
        until("count <0> in 24 80"); send("+"); until("count <1>"); send("+"); until("count <2>")
        target = os.tcgetpgrp(master)
        process = ""
        while len(process.split()) != 1: process = subprocess.check_output(["pgrep", "-g", str(target)], text=True).strip() # one that has ended may not have been waited for yet
        def reads(): # it has drawn all, and waits for a key: read(2), poll(2)
            while open(f"/proc/{process}/syscall").read().split()[0] not in ("0", "7"): time.sleep(0.01)
        reads()
        print("leader", process == str(target))
        crid = subprocess.check_output([crstore, "capture", process, "--quiet"], text=True).strip()
        os.killpg(target, signal.SIGKILL)
        until("$ ")
        send("stty sane; echo at sh''ell\n"); until("at shell"); until("$ ")
        resize(30, 100)
        send(f"{crstore} restart {crid}; echo sta''tus $?\n")
        until("count <2> in 30 100 foreground True.")
        print("redrawn", raw(), os.tcgetpgrp(master) == target)
        # While curses draws it ignores a SIGTSTP, so it gets time to end that.
        send("+"); until("count <3>"); reads()
        send("\x1a"); until("Stopped"); until("$ ")
        print("stopped", os.tcgetpgrp(master) == shell)
        send("fg\n"); until("count <3> in 30 100 foreground True.")
        print("continued", raw(), os.tcgetpgrp(master) == target)
        send("q"); until("bye"); until("$ ")
        print("ended", os.tcgetpgrp(master) == shell)
        send(f"{crstore} restart {crid}; echo sta''tus $?\n")
        until("count <2>"); send("q"); print(until("status 0")[-8:]); until("$ ")
        send("stty -a; echo do''ne\n"); print("sane", " icanon" in until("done"))
        """;

    // The group of the second one goes on without its leader.
    [Theory, InlineData("python3 {0}", true), InlineData("true | python3 {0} </dev/tty", false)]
    public void A_full_screen_program_draws_itself_again_and_the_shell_gets_its_terminal_back(string command, bool leads)
    {
        Requires.Root();
        using var store = new CliStore();
        File.WriteAllText(store.File("program.py"), FullScreen);
        var environment = CrstoreProgram.Clean;
        environment["CRSTORE_STORE"] = store.Path;
        Directory.CreateDirectory(Path.GetDirectoryName(store.Path)!);
        var result = Run.Command(Requires.Python(), ["-c", User, CrstoreProgram.Path, string.Format(CultureInfo.InvariantCulture, command, store.File("program.py"))], environment: environment, timeout: TimeSpan.FromMinutes(10));
        Assert.True(result.ExitCode == 0, result.ToString());
        Assert.Equal($"leader {leads}\nredrawn True True\nstopped True\ncontinued True True\nended True\nstatus 0\nsane True", result.Output.Trim());
    }
}
