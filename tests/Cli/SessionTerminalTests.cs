using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Cli;

/// <summary>
/// Sessions whose terminal was outside the checkpoint: `crstore restart` in another terminal gives them a pseudo-terminal, and copies. Windows are
/// pseudo-terminals whose program leads its session, as that of an xterm or a tmux pane does.
/// </summary>
public sealed class SessionTerminalTests
{
    private const string Windows = """
        import contextlib, fcntl, os, pty, select, signal, struct, subprocess, sys, termios, time
        crstore, program = sys.argv[1:]
        class Window:
            def __init__(self, *words, size=(24, 80)):
                self.pid, self.master = pty.fork()
                if self.pid == 0:
                    os.closerange(3, 1000)
                    os.environ.update(PS1="$ ", TERM="xterm")
                    os.execvp(words[0], words)
                self.seen = b""
                self.resize(*size)
            def resize(self, h, w): fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", h, w, 0, 0))
            def until(self, what):
                end = time.monotonic() + 300
                while what.encode() not in self.seen:
                    if time.monotonic() > end: sys.exit(f"no {what!r} in {self.seen[-2000:]}")
                    if select.select([self.master], [], [], 0.1)[0]: self.seen += os.read(self.master, 65536)
                i = self.seen.index(what.encode()) + len(what)
                found, self.seen = self.seen[:i].decode(errors="replace"), self.seen[i:]
                return found
            def send(self, text): os.write(self.master, text.encode())
            def nudge(self, what): # at each line bash does what it has put off: a trap, for one
                while what.encode() not in self.seen:
                    self.send("\n")
                    if select.select([self.master], [], [], 0.5)[0]: self.seen += os.read(self.master, 65536)
                self.send("echo all sa''id\n"); self.until("all said"); self.until("$ ")
            def settings(self): return termios.tcgetattr(self.master)
            def raw(self): return not self.settings()[3] & (termios.ICANON | termios.ISIG)
            def foreground(self): return os.tcgetpgrp(self.master)
            def close(self):
                members = pids("-s", self.pid)
                for p in members:
                    with contextlib.suppress(ProcessLookupError): os.kill(p, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                os.close(self.master)
                when(lambda: not any(os.path.exists(f"/proc/{p}") for p in members))
        def pids(*words): return [int(p) for p in subprocess.run(["ps", "-o", "pid=", *map(str, words)], capture_output=True, text=True).stdout.split()]
        def when(true):
            end = time.monotonic() + 300
            while not true():
                if time.monotonic() > end: sys.exit("it does not come to that")
                time.sleep(0.02)
        def front(pid): # the program in the foreground of that session, proc_pid_stat(5), when it is one and runs
            group = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[5])
            with contextlib.suppress(OSError):
                if open(f"/proc/{group}/stat").read().rsplit(")", 1)[1].split()[0] != "T": return open(f"/proc/{group}/comm").read().strip()
        def waits(pid): # for a line: read(2), or pselect(2) of bash. python3 hears of a signal that comes right before read when something else comes
            return open(f"/proc/{pid}/syscall").read().split()[0] in ("0", "270")
        def capture(window):
            when(lambda: waits(window.pid))
            crid = subprocess.check_output([crstore, "capture", str(window.pid), "--tree", "--quiet"], text=True).strip()
            window.close()
            return crid
        BASH = "bash", "--norc", "--noprofile", "-i"
        def shell(size=(24, 80)):
            window = Window(*BASH, size=size)
            window.until("$ ")
            return window

        """;

    // Wants no echo. Tells when its window has changed, and at each line what terminal it has, and whether its fds are one description; a number is its
    // exit code.
    private const string Teller = """
        import os, signal, sys, termios
        settings = termios.tcgetattr(0); settings[3] &= ~termios.ECHO; termios.tcsetattr(0, termios.TCSANOW, settings)
        signal.signal(signal.SIGINT, signal.SIG_DFL)      # python3 looks for signals before it reads: one in between waits
        if "nobody" in sys.argv: os.setgroups([]); os.setgid(65534); os.setuid(65534)
        signal.signal(signal.SIGWINCH, lambda *_: os.write(1, b"size %d %d\n" % os.get_terminal_size(1)[::-1]))
        print("up", flush=True)
        for line in sys.stdin:
            if line.strip().isdigit(): sys.exit(int(line))
            if line.startswith("much"):
                for i in range(int(line.split()[1])): os.write(1, b"%053d\n" % i)
            try: own = os.ttyname(os.open("/dev/tty", os.O_RDWR)) == "/dev/tty" and os.isatty(0)
            except OSError: own = "no terminal"
            os.set_blocking(0, False); shared = not os.get_blocking(2); os.set_blocking(0, True)
            if line.strip() == "name": own = os.access(os.ttyname(0), os.R_OK | os.W_OK)
            print("told", line.strip(), own, shared, flush=True)
        """;

    [Fact]
    public void A_shell_with_its_jobs_goes_on_in_another_terminal_and_has_job_control() => Expect("""
        w = shell()
        w.send("x=kept; sleep 1000 & trap 'echo si''ze $(stty size)' WINCH; echo s''et\n"); w.until("set"); w.until("$ ")
        root, crid = w.pid, capture(w)
        u = shell(size=(30, 100))
        before = u.settings()
        u.send(f"{crstore} restart {crid}; echo sta''tus $?\n"); u.until("size")
        u.nudge(" 30 100")
        u.send("echo x=$x $$ $(stty size) $(jobs %1); ec''ho over > /dev/tty\n"); line = next(l for l in u.until("over\r\n").replace(str(root), "ROOT").split("\r\n") if "x=kept" in l); print(*line[line.index("x="):].split())
        print("raw", u.raw(), "same session", os.getsid(root) == root, "crstore in front", u.foreground() not in (u.pid, root))
        u.send("fg\n"); u.until("sleep 1000"); when(lambda: front(root) == "sleep"); u.send("\x03"); u.until("$ ")
        u.send("echo co''de $?\n"); print(u.until("code 130")[-8:])
        u.send("sleep 500\n"); u.until("sleep 500"); when(lambda: front(root) == "sleep"); u.send("\x1a"); u.until("Stopped"); u.until("$ ")
        u.send("jobs; echo list''ed\n"); print("Stopped" in u.until("listed"))
        u.send("fg\n"); u.until("sleep 500"); when(lambda: front(root) == "sleep"); u.send("\x1c"); u.until("Quit"); u.until("$ ")
        u.resize(33, 111); u.nudge("size 33 111"); print("resized")
        u.send("exit 7\n"); print(u.until("status 7")[-8:]); u.until("$ ")
        u.send("stty -a; echo do''ne\n"); print("sane", " icanon" in u.until("done"), u.foreground() == u.pid)
        """, """
        x=kept ROOT 30 100 [1]+ Running sleep 1000 &
        raw True same session True crstore in front True
        code 130
        True
        resized
        status 7
        sane True True
        """);

    [Fact]
    public void The_terminal_is_raw_meanwhile_and_as_it_was_afterwards_however_it_ends() => Expect("""
        w = Window("python3", program); w.until("up"); crid = capture(w)
        for how in "exit", "interrupt", "SIGTERM to crstore":
            u = Window("sh", "-c", "stty -echo erase X; trap : INT; echo ready; read x; $0 restart $1; echo status $?; read x", crstore, crid)
            u.until("ready"); before = u.settings()
            u.send("\n"); when(u.raw)
            u.send("a\n"); u.until("told a True True")
            if how == "exit": u.send("5\n")
            elif how == "interrupt": u.send("\x03")
            else: os.kill(pids("--ppid", u.pid)[0], signal.SIGTERM)
            u.until("status"); print(how, u.until("\n").strip(), u.settings() == before)
            u.close()
        """, """
        exit 5 True
        interrupt 130 True
        SIGTERM to crstore 143 True
        """);

    [Fact]
    public void Stopped_by_a_signal_crstore_leaves_the_terminal_to_the_shell() => Expect("""
        w = Window("python3", program); w.until("up"); crid = capture(w)
        u = shell()
        u.send(f"{crstore} restart {crid}; echo sta''tus $?\n"); when(u.raw)
        os.kill(u.foreground(), signal.SIGTSTP); u.until("Stopped"); u.until("$ ")
        print("stopped", u.raw(), u.foreground() == u.pid)
        u.send("stty -a; echo sa''ne\n"); print(" icanon" in u.until("sane"))
        u.send("fg\n"); when(u.raw)
        u.send("b\n"); u.until("told b True"); u.send("6\n"); u.until("$ ")
        print("ended", u.raw(), u.foreground() == u.pid)
        # That shell would have seen to it by itself.
        u = Window("sh", "-c", "stty erase X; echo ready; read x; $0 restart $1", crstore, crid); u.until("ready"); before = u.settings(); u.send("\n"); when(u.raw)
        job, = pids("--ppid", u.pid)
        os.kill(job, signal.SIGTSTP); when(lambda: open(f"/proc/{job}/stat").read().split()[2] == "T"); print(u.settings() == before)
        os.kill(job, signal.SIGCONT); when(u.raw); u.send("c\n"); u.until("told c True")
        """, """
        stopped False True
        True
        ended False True
        True
        """);

    [Fact]
    public void In_the_background_it_leaves_the_terminal_alone_until_it_is_in_front() => Expect("""
        w = Window("python3", program); w.until("up"); crid = capture(w)
        u = shell()
        u.send(f"{crstore} restart {crid} &\n"); u.until("size ")
        print("behind", u.raw()); u.send("echo at sh''ell\n"); u.until("at shell")
        u.send("fg\n"); when(u.raw); u.send("c\n"); u.until("told c True")
        u.send("\x03"); u.until("$ ")
        print("ended", u.raw())
        # In the background it hears of a terminal that hangs up by that alone.
        u.send(f"{crstore} restart {crid} &\n"); u.until("size ")
        os.kill(u.pid, signal.SIGKILL); os.waitpid(u.pid, 0); os.close(u.master)
        when(lambda: not os.path.exists(f"/proc/{w.pid}/exe")); print("hung up")
        """, """
        behind False
        ended False
        hung up
        """);

    [Fact]
    public void What_is_written_and_typed_in_large_pieces_all_comes_through() => Expect("""
        import threading
        w = Window("python3", program); w.until("up"); crid = capture(w)
        u = Window("sh", "-c", "stty -echo; $0 restart $1; echo status $?; read x", crstore, crid); when(u.raw)
        # More than the pseudo-terminals hold, while it writes and nobody reads either.
        threading.Thread(target=lambda: u.send("much 5000\n" + ("z" * 999 + "\n") * 200 + "end\n")).start()
        time.sleep(2)
        text = u.until("told end")
        print(text.count("0" * 45), text.count("told " + "z" * 999 + " True"))
        # The last words of a program that has ended before anybody reads them: more than the window holds.
        u.send("much 400\n9\n"); when(lambda: not os.path.exists(f"/proc/{w.pid}/exe")); time.sleep(0.5)
        text = u.until("status 9")
        print(text.count("0" * 45), "told much" in text)
        """, """
        5000 200
        400 True
        """);

    [Fact]
    public void In_a_pid_namespace_too_and_a_terminal_of_nobody_is_none() => Expect("""
        w = Window("python3", program); w.until("up"); crid = capture(w)
        u = Window("sh", "-c", "trap : INT; $0 restart $1 --new-pids; echo status $?; read x", crstore, crid)
        when(u.raw); u.send("n\n"); u.until("told n True"); u.send("\x03"); u.until("status 130"); print("ended")
        detached = subprocess.run([crstore, "restart", crid, "--detach"], capture_output=True, text=True)
        print(subprocess.run(["ps", "-o", "tty=", "-p", str(w.pid)], capture_output=True, text=True).stdout.strip(), repr(detached.stderr))
        os.kill(w.pid, signal.SIGKILL); when(lambda: not os.path.exists(f"/proc/{w.pid}"))
        print("no controlling terminal" in subprocess.run([crstore, "restart", crid], input="1\n", capture_output=True, text=True).stderr)
        """, """
        ended
        ? ''
        True
        """);

    [Fact]
    public void The_terminal_belongs_to_its_user_and_is_captured_again() => Expect("""
        w = Window("python3", program, "nobody"); w.until("up"); crid = capture(w)
        u = Window("sh", "-c", "$0 restart $1", crstore, crid)
        when(u.raw); u.send("name\n"); u.until("told name"); print(u.until("\n").strip())
        again = subprocess.check_output([crstore, "capture", str(w.pid), "--quiet"], text=True).strip()
        os.kill(w.pid, signal.SIGKILL); when(lambda: not os.path.exists(f"/proc/{w.pid}"))
        u = Window("sh", "-c", "$0 restart $1", crstore, again)
        when(u.raw); u.send("name\n"); u.until("told name"); print(u.until("\n").strip())
        """, """
        True True
        True True
        """);

    [Fact]
    public void A_standard_file_that_crstore_was_given_is_not_the_terminal() => Expect("""
        w = Window("sh", "-c", "exec python3 $0 < $(tty)", program); w.until("up"); crid = capture(w)
        with open(program + ".in", "w") as f: f.write("a\n8\n")
        u = Window("sh", "-c", "$1 restart $2 < $0.in; echo status $?; read x", program, crstore, crid)
        u.until("told a"); print(u.until("\n").strip()); u.until("status"); print(u.until("\n").strip())
        """, """
        False False
        8
        """);

    // Two changes of its window's size that it doesn't notice would leave it an empty one.
    [Fact]
    public void A_program_that_sleeps_only_later_is_drawn_again() => Expect($$"""
        w = Window("{{Targets.Path("late_looker")}}"); w.until("up")
        when(lambda: int(open(f"/proc/{w.pid}/schedstat").read().split()[0]) > 300e6)
        crid = subprocess.check_output([crstore, "capture", str(w.pid), "--quiet"], text=True).strip(); w.close()
        u = Window("sh", "-c", "$0 restart $1", crstore, crid)
        u.until("drawn 24 80"); print("drawn")
        """, """
        drawn
        """);

    private static void Expect(string script, string lines)
    {
        Requires.Root();
        using var store = new CliStore();
        File.WriteAllText(store.File("program.py"), Teller);
        var environment = CrstoreProgram.Clean;
        environment["CRSTORE_STORE"] = store.Path;
        var result = Run.Command(Requires.Python(), ["-c", Windows + script, CrstoreProgram.Path, store.File("program.py")], environment: environment, timeout: TimeSpan.FromMinutes(10));
        Assert.True(result.ExitCode == 0, result.ToString());
        Assert.Equal(lines.Trim(), result.Output.Trim());
    }
}
