using Crstore.Objects;
using Crstore.Objects.Files;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Signals that open files send: O_ASYNC, F_SETOWN, F_SETSIG; and packets in pipes.</summary>
public class FileSignalTests
{
    // fcntl(2): F_GETOWN 9, F_SETSIG 10, F_GETSIG 11, F_SETOWN_EX 15, F_GETOWN_EX 16; O_ASYNC 0x2000.
    private const string Calls = """
        import fcntl, threading
        def own(fd, type, pid, signal, async_=True):
            fcntl.fcntl(fd, 15, struct.pack("ii", type, pid))
            if signal: fcntl.fcntl(fd, 10, signal)
            if async_: fcntl.fcntl(fd, 4, fcntl.fcntl(fd, 3) | 0x2000)
        def tell(fd): return struct.unpack("ii", fcntl.fcntl(fd, 16, bytes(8))), fcntl.fcntl(fd, 11), bool(fcntl.fcntl(fd, 3) & 0x2000)
        """;

    [Fact]
    public void Whom_files_send_signals_to_and_which_comes_back()
    {
        using var run = SocketTalk.Start($"""
            {Calls}
            import signal
            got = []
            for number in (signal.SIGIO, signal.SIGUSR1, signal.SIGUSR2): signal.signal(number, lambda n, frame: got.append(n))
            def take():
                try: return sorted(got)
                finally: got.clear()
            def soon(): # it may go to the other thread
                while not got: time.sleep(0.01)
                return take()
            stop = threading.Event()
            thread = threading.Thread(target=stop.wait, daemon=True); thread.start()
            r, w = os.pipe()
            own(r, 1, os.getpid(), signal.SIGUSR1)
            a, b = socketpair()
            own(b.fileno(), 2, os.getpgid(0), 0)
            c, d = socketpair()
            own(d.fileno(), 0, thread.native_id, signal.SIGUSR2)
            x, y = socketpair()
            own(y.fileno(), 1, os.getpid(), signal.SIGUSR2, False)
            """);
        const string all = "[tell(f) for f in (r, b.fileno(), d.fileno(), y.fileno())]";
        var before = run.Ask(all);
        for (var round = 0; round < 2; round++)
        {
            Assert.Equal("[10]", run.Ask("os.write(w, b'x') and soon()"));
            Assert.Equal("[29]", run.Ask("a.send(b'x') and soon()"));
            Assert.Equal("[12]", run.Ask("c.send(b'x') and soon()"));
            Assert.Equal("[]", run.Ask("x.send(b'x') and take()"));
            run.Cycle();
            Assert.Equal("[]", run.Ask("take()"));
            Assert.Equal(before, run.Ask(all));
        }
    }

    [Fact]
    public void A_process_outside_gets_no_signals_from_what_comes_back()
    {
        using var run = SocketTalk.Start($"""
            {Calls}
            a, b = socketpair()
            own(b.fileno(), 1, {Environment.ProcessId}, 0, False)
            """);
        var crid = run.Capture();
        using var scene = new RestartScene(run.Manifest(crid).Body);
        Assert.Contains(Verdicts.Of(scene), v => v.Verdict.Outcome == Restartability.Refused
            && v.Verdict.Why.Contains($"to process {Environment.ProcessId}, which is not in the checkpoint", StringComparison.Ordinal));
    }

    [Fact]
    public void Packets_in_pipes_and_FIFOs_come_back_as_packets()
    {
        using var directory = new Support.TempDir("crstore-packets-");
        using var run = SocketTalk.Start($"""
            r, w = os.pipe2(os.O_DIRECT)
            for n in (3, 4096, 1): os.write(w, b"x" * n)
            one, alone = os.pipe2(os.O_DIRECT)
            os.write(alone, b"single")
            os.mkfifo("{directory.File("f")}")
            f = os.open("{directory.File("f")}", os.O_RDWR)
            import fcntl
            fcntl.fcntl(f, 4, os.O_DIRECT)
            for n in (5, 6): os.write(f, b"y" * n)
            mode = lambda: [fcntl.fcntl(fd, 3) & os.O_DIRECT != 0 for fd in (r, w, one, alone, f)]
            """);
        var before = run.Ask("mode()");
        run.Cycle();
        Assert.Equal(before, run.Ask("mode()"));
        Assert.Equal("[3, 4096, 1]", run.Ask("[len(os.read(r, 9999)) for i in range(3)]"));
        Assert.Equal("[b'sin', b'new']", run.Ask("os.write(alone, b'new') and [os.read(one, 3) for i in range(2)]"));
        Assert.Equal("[b'yyyyy', b'yyyyyy']", run.Ask("[os.read(f, 99) for i in range(2)]"));
    }
}
