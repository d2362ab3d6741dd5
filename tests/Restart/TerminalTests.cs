using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Terminals: pseudo-terminals of the checkpoint, and the caller's in the place of one outside.</summary>
public class TerminalTests
{
    [Fact]
    public void A_pseudo_terminal_comes_back_with_settings_size_session_and_foreground_group()
    {
        using var run = RestartRun.Python("""
            import fcntl, os, pty, select, signal, struct, sys, termios, tty
            pid, master = pty.fork()
            if pid == 0:                                  # a session of its own on the slave
                import time
                tty.setcbreak(0)
                job = os.fork()
                if job == 0:
                    os.setpgid(0, 0)
                    signal.signal(signal.SIGINT, lambda *a: os.write(1, b"interrupted\n"))
                    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
                    os.tcsetpgrp(0, os.getpid())
                    own = os.open("/dev/tty", os.O_RDWR)
                    os.write(1, b"up\n")
                    while True:
                        while not select.select([0], [], [], 0.02)[0]: pass   # a signal right before read(2) would be heard behind it
                        c = os.read(0, 1)
                        mode = termios.tcgetattr(own)
                        os.write(own, f"{c.decode()} {os.ttyname(0)} {os.ctermid()} {os.getsid(0) == os.getppid()} {os.tcgetpgrp(own) == os.getpid()} {bool(mode[3] & termios.ICANON)} {os.get_terminal_size(0).columns}\n".encode())
                os.waitpid(job, 0)
                os._exit(0)
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
            def ask(text):
                os.write(master, text)
                line = b""
                while not line.endswith(b"\n"): line += os.read(master, 1000)
                return line.decode().strip()
            ask(b"")
            print("ready", ask(b"r"))
            for line in sys.stdin:
                print(ask(line[:1].encode()), "|", ask(b"\x03"), "|", os.tcgetpgrp(master) != pid)
            """);
        var first = run.Expect("ready ");
        Assert.Matches("^r /dev/pts/[0-9]+ /dev/tty True True False 99$", first);
        run.Cycle(tree: true);
        Assert.Equal($"a{first[1..]} | interrupted | True", run.Ask("a"));
        run.Cycle(tree: true);
        Assert.Equal($"b{first[1..]} | interrupted | True", run.Ask("b"));
    }

    [Fact]
    public void Without_a_terminal_of_the_caller_the_outer_one_is_dev_null()
    {
        // The slave is inside, its master is with a process that is not.
        using var run = RestartRun.Python("""
            import os, pty, sys
            master, slave = pty.openpty()
            if os.fork():
                os.close(slave)
                os.read(master, 1)          # until the test is over
                os._exit(0)
            os.close(master); os.setsid()
            print("ready", os.getpid(), flush=True)
            for line in sys.stdin: print(os.isatty(slave), os.readlink(f"/proc/self/fd/{slave}").startswith("/dev/pts/"), flush=True)
            """);
        var child = int.Parse(run.Expect("ready "), System.Globalization.CultureInfo.InvariantCulture);
        Assert.Equal("True True", run.Ask("x"));
        var crid = run.Capture(with: o => o with { Pid = child });
        run.Kill();
        run.Restart(crid);
        try
        {
            Assert.Equal("False False", run.Ask("x"));
        }
        finally
        {
            Linux.Signals.TryKill(child, Linux.Signals.SIGKILL);
        }
    }
}
