using System.Net.Sockets;
using Crstore.Model;
using Crstore.Objects;
using Crstore.Objects.Files;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Unix sockets: pairs, listeners, connections and datagrams.</summary>
public class UnixSocketTests
{
    [Theory]
    [InlineData("SOCK_STREAM")]
    [InlineData("SOCK_DGRAM")]
    [InlineData("SOCK_SEQPACKET")]
    public void A_pair_comes_back_with_what_is_in_its_queues_message_by_message_and_is_connected(string type)
    {
        using var run = SocketTalk.Start($"""
            a, b = socketpair(AF_UNIX, {type})
            for i in range(7): a.send(b"%d" % i * (i + 1))
            if {type} == SOCK_STREAM: a.send(b"x" * 150000)
            b.send(b"back")
            """);
        run.Cycle();
        Assert.Equal("b'back'", run.Ask("a.recv(100)"));
        if (type == "SOCK_STREAM")
        {
            Assert.Equal("b'0112223333444445555556666666'", run.Ask("b.recv(28)"));
            Assert.Equal("150000", run.Ask("b.recv(150000, MSG_WAITALL).count(b'x')"));
        }
        else
        {
            for (var i = 0; i < 7; i++) Assert.Equal($"b'{new string((char)('0' + i), i + 1)}'", run.Ask("b.recv(100)"));
        }

        Assert.Equal("EAGAIN", run.Ask("b.recv(100, MSG_DONTWAIT)"));
        Assert.Equal("5", run.Ask("b.send(b'again')"));
        Assert.Equal("b'again'", run.Ask("a.recv(100)"));
        Assert.Equal("", run.Ask("a.getsockname()"));
    }

    [Theory]
    [InlineData("SOCK_STREAM")]
    [InlineData("SOCK_DGRAM")]
    [InlineData("SOCK_SEQPACKET")]
    public void A_capture_leaves_the_queues_and_the_peek_offset_alone(string type)
    {
        using var run = SocketTalk.Start($"""
            a, b = socketpair(AF_UNIX, {type})
            for m in b"one", b"two", b"three": a.send(m)
            c, d = socketpair(AF_UNIX, {type})
            d.setsockopt(SOL_SOCKET, 42, 0)
            for m in b"one", b"two", b"three": c.send(m)
            first = d.recv(3, MSG_PEEK)
            """);
        run.Capture();
        run.Capture();
        Assert.Equal("-1", run.Ask("b.getsockopt(SOL_SOCKET, 42)"));
        Assert.Equal("3", run.Ask("d.getsockopt(SOL_SOCKET, 42)"));
        Assert.Equal("b'two'", run.Ask("d.recv(3, MSG_PEEK)"));
        Assert.Equal("b'one'", run.Ask("b.recv(3, MSG_PEEK)"));
        Assert.Equal("[b'one', b'two', b'three']", run.Ask("[b.recv(n) for n in (3, 3, 5)]"));
        Assert.Equal("[b'one', b'two', b'three']", run.Ask("[d.recv(n) for n in (3, 3, 5)]"));
    }

    [Fact]
    public void Options_and_flags_come_back()
    {
        const string options = "[a.getsockopt(SOL_SOCKET, n) for n in (SO_SNDBUF, SO_RCVBUF, SO_PASSCRED, SO_RCVLOWAT, SO_PRIORITY, 72)], " +
            "a.getsockopt(SOL_SOCKET, SO_LINGER, 8), a.getsockopt(SOL_SOCKET, SO_RCVTIMEO, 16), os.get_blocking(a.fileno()), os.get_blocking(b.fileno()), " +
            "os.fstat(a.fileno()).st_uid, [b.getsockopt(SOL_SOCKET, n) for n in (SO_SNDBUF, SO_RCVBUF, SO_PASSCRED, 72)]";
        using var run = SocketTalk.Start("""
            a, b = socketpair(AF_UNIX, SOCK_STREAM)
            a.setsockopt(SOL_SOCKET, SO_SNDBUF, 50000)
            a.setsockopt(SOL_SOCKET, SO_RCVBUF, 70000)
            a.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
            a.setsockopt(SOL_SOCKET, SO_PRIORITY, 3)
            a.setsockopt(SOL_SOCKET, SO_RCVLOWAT, 4)
            a.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 7))
            a.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack("qq", 3, 500000))
            b.setblocking(False)
            os.fchown(a.fileno(), 65534, 65534)
            """);
        var before = run.Ask(options);
        Assert.Contains("100000, 140000, 1, 4, 3, 3", before, StringComparison.Ordinal);
        Assert.Contains("True, False", before, StringComparison.Ordinal);
        run.Cycle();
        Assert.Equal(before, run.Ask(options));
    }

    [Fact]
    public void Ends_that_were_shut_down_and_ends_whose_peer_is_gone_stay_so()
    {
        using var run = SocketTalk.Start("""
            a, b = socketpair(AF_UNIX, SOCK_STREAM)
            a.send(b"last words")
            a.shutdown(SHUT_WR)
            c, d = socketpair(AF_UNIX, SOCK_SEQPACKET)
            c.send(b"one"); c.send(b"two"); c.close()
            e, f = socketpair(AF_UNIX, SOCK_STREAM)
            f.send(b"never read"); e.close()
            g, h = socketpair(AF_UNIX, SOCK_DGRAM)
            g.send(b"alone"); g.close()
            i, j = socketpair(AF_UNIX, SOCK_STREAM)
            i.close()
            signal = __import__("signal").signal(13, 1)
            """);
        run.Cycle();
        Assert.Equal("b'last words'", run.Ask("b.recv(100)"));
        Assert.Equal("b''", run.Ask("b.recv(100)"));
        Assert.Equal("EPIPE", run.Ask("a.send(b'x')"));
        Assert.Equal("4", run.Ask("b.send(b'back')"));
        Assert.Equal("b'back'", run.Ask("a.recv(100)"));
        Assert.Equal("[b'one', b'two', b'']", run.Ask("[d.recv(100) for i in range(3)]"));
        Assert.Equal("ECONNRESET", run.Ask("f.recv(100)"));
        Assert.Equal("b'alone'", run.Ask("h.recv(100)"));
        Assert.Equal("ECONNREFUSED", run.Ask("h.send(b'x')"));
        Assert.Equal("b''", run.Ask("j.recv(100)"));
    }

    [Fact]
    public void A_pair_between_a_parent_and_its_child_is_one_again()
    {
        using var run = RestartRun.Python("""
            import socket, os, sys
            a, b = socket.socketpair()
            c, d = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            if os.fork() == 0:
                a.close(); c.close()
                n = 0
                while True:
                    m = b.recv(100)
                    if not m: os._exit(0)
                    n += 1
                    d.send(b"%d %s" % (n, m))
            b.close(); d.close()
            print("ready")
            for line in sys.stdin:
                a.send(line.strip().encode())
                print(c.recv(100).decode())
            """);
        run.Expect("ready");
        Assert.Equal("1 x", run.Ask("x"));
        run.Cycle(tree: true);
        Assert.Equal("2 y", run.Ask("y"));
        run.Cycle(tree: true);
        Assert.Equal("3 z", run.Ask("z"));
    }

    [Fact]
    public void Empty_datagrams_come_back_but_cant_be_looked_at_twice()
    {
        using var run = SocketTalk.Start("""
            a, b = socketpair(AF_UNIX, SOCK_DGRAM)
            for m in b"", b"x", b"", b"y": a.send(m)
            c, d = socketpair(AF_UNIX, SOCK_DGRAM)
            c.send(b"")
            """);
        var crid = run.Capture();
        Assert.Contains(Check(run, run.Capture()), v => v.Verdict.Why.Contains("empty message", StringComparison.Ordinal));
        Assert.Equal("[b'', b'x', b'', b'y']", run.Ask("[b.recv(9) for i in range(4)]"));
        Assert.Equal("b''", run.Ask("d.recv(9, MSG_DONTWAIT)"));
        run.Kill();
        run.Restart(crid);
        Assert.Equal("[b'', b'x', b'', b'y']", run.Ask("[b.recv(9) for i in range(4)]"));
        Assert.Equal("b''", run.Ask("d.recv(9, MSG_DONTWAIT)"));
        Assert.Equal("EAGAIN", run.Ask("d.recv(9, MSG_DONTWAIT)"));
    }

    [Theory]
    [InlineData("/full", "SOCK_STREAM")]
    [InlineData("/full", "SOCK_SEQPACKET")]
    [InlineData("relative", "SOCK_STREAM")]
    [InlineData("\\0abstract", "SOCK_STREAM")]
    public void A_listener_with_a_connection_serves_its_old_and_its_new_clients(string name, string type)
    {
        using var directory = new Support.TempDir("crstore-unix-");
        var address = name.StartsWith("\\0", StringComparison.Ordinal) ? $"{name}{directory.Path}" : name == "/full" ? directory.File("s") : "s";
        using var run = SocketTalk.Start($"""
            os.chdir("{directory.Path}")
            name = "{address}"
            l = socket(AF_UNIX, {type})
            l.bind(name)
            l.listen(9)
            if name[0] != "\0": os.chmod(name, 0o751); os.chown(name, 1234, 4321)
            c = socket(AF_UNIX, {type})
            c.connect(name)
            s, who = l.accept()
            c.send(b"asked"); s.send(b"answered")
            gone = socket(AF_UNIX, {type})
            gone.connect(name)
            left, who = l.accept()
            gone.send(b"bye"); gone.close()
            def new():
                x = socket(AF_UNIX, {type}); x.connect(name); y = l.accept()[0]
                x.send(b"new"); return y.recv(9), x.getsockopt(SOL_SOCKET, 17, 12) == struct.pack("iii", os.getpid(), 0, 0), y.getsockname() == l.getsockname()
            """);
        const string file = "(lambda f: (oct(f.st_mode), f.st_uid, f.st_gid))(os.stat(name)) if name[0] != '\\0' else None";
        const string names = "l.getsockname(), c.getsockname(), c.getpeername(), s.getsockname(), s.getpeername(), left.getsockname()";
        var before = (run.Ask(file), run.Ask(names));
        run.Cycle();
        Assert.Equal(before, (run.Ask(file), run.Ask(names)));
        Assert.Equal("b'asked'", run.Ask("s.recv(99)"));
        Assert.Equal("b'answered'", run.Ask("c.recv(99)"));
        Assert.Equal("5", run.Ask("c.send(b'still')"));
        Assert.Equal("b'still'", run.Ask("s.recv(99)"));
        Assert.Equal("[b'bye', b'']", run.Ask("[left.recv(99) for i in range(2)]"));
        Assert.Equal("(b'new', True, True)", run.Ask("new()"));
        run.Cycle();
        Assert.Equal("(b'new', True, True)", run.Ask("new()"));
    }

    [Fact]
    public void A_listener_of_another_user_belongs_to_that_user_and_says_so_to_its_clients()
    {
        Support.Requires.Root();
        using var directory = new Support.TempDir("crstore-unix-");
        File.SetUnixFileMode(directory.Path, (UnixFileMode)0b001_111_111_111); // as /tmp
        using var run = SocketTalk.Start($"""
            os.setgroups([]); os.setgid(65533); os.setuid(65534)
            l = socket(AF_UNIX); l.bind("{directory.File("s")}"); l.listen(5)
            a, b = socketpair()
            t = socket(); t.bind(("127.0.0.1", 0)); t.listen()
            def told():
                x = socket(AF_UNIX); x.connect(l.getsockname())
                return struct.unpack("iII", x.getsockopt(SOL_SOCKET, 17, 12))[0] == os.getpid(), struct.unpack("iII", x.getsockopt(SOL_SOCKET, 17, 12))[1:]
            """);
        const string owners = "told(), [(os.fstat(s.fileno()).st_uid, os.fstat(s.fileno()).st_gid) for s in (l, a, b, t)], struct.unpack('iII', a.getsockopt(SOL_SOCKET, 17, 12))[1:], os.stat(l.getsockname()).st_uid";
        var before = run.Ask(owners);
        Assert.Equal("((True, (65534, 65533)), [(65534, 65533), (65534, 65533), (65534, 65533), (65534, 65533)], (65534, 65533), 65534)", before);
        run.Cycle();
        Assert.Equal(before, run.Ask(owners));
        Assert.Equal("(65534, 65534, 65534)", run.Ask("os.getresuid()"));
    }

    [Fact]
    public void Connections_that_wait_to_be_accepted_still_do_if_their_client_is_in_the_checkpoint()
    {
        using var directory = new Support.TempDir("crstore-unix-");
        using var run = SocketTalk.Start($"""
            l = socket(AF_UNIX); l.bind("{directory.File("s")}"); l.listen(5)
            x = socket(AF_UNIX); x.connect(l.getsockname())
            y = socket(AF_UNIX); y.connect(l.getsockname())
            """);
        using var outsider = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        outsider.Connect(new UnixDomainSocketEndPoint(directory.File("s")));
        var crid = run.Capture();
        Assert.Contains(Check(run, crid), v => v.Verdict.Why.StartsWith("1 connections", StringComparison.Ordinal));
        run.Kill();
        run.Restart(crid);
        Assert.Equal("[2, 2]", run.Ask("[x.send(b'x1'), y.send(b'y1')]"));
        Assert.Equal("[b'x1', b'y1']", run.Ask("[l.accept()[0].recv(9) for i in range(2)]"));
        Assert.Equal("EAGAIN", run.Ask("(l.setblocking(False), l.accept())"));
    }

    [Fact]
    public void Datagram_sockets_keep_names_queues_and_whom_they_send_to()
    {
        using var directory = new Support.TempDir("crstore-unix-");
        using var server = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        server.Bind(new UnixDomainSocketEndPoint(directory.File("log")));
        using var run = SocketTalk.Start($"""
            r = socket(AF_UNIX, SOCK_DGRAM); r.bind("{directory.File("r")}")
            s = socket(AF_UNIX, SOCK_DGRAM); s.bind("\0s{directory.Path}"); s.connect(r.getsockname())
            n = socket(AF_UNIX, SOCK_DGRAM)
            s.send(b"from s"); n.sendto(b"from n", r.getsockname()); s.send(b"and s")
            log = socket(AF_UNIX, SOCK_DGRAM); log.connect("{directory.File("log")}")
            """);
        run.Cycle();
        Assert.Equal($"(b'from s', b'\\x00s{directory.Path}')", run.Ask("r.recvfrom(99)"));
        Assert.Equal("(b'from n', None)", run.Ask("r.recvfrom(99)"));
        Assert.Equal($"(b'and s', b'\\x00s{directory.Path}')", run.Ask("r.recvfrom(99)"));
        Assert.Equal("4", run.Ask("s.send(b'more')"));
        Assert.Equal("b'more'", run.Ask("r.recv(99)"));
        Assert.Equal("5", run.Ask("log.send(b'entry')"));
        var buffer = new byte[99];
        Assert.Equal(5, server.Receive(buffer));
    }

    [Fact]
    public void A_name_that_somebody_else_listens_at_is_not_taken_away()
    {
        using var directory = new Support.TempDir("crstore-unix-");
        using var run = SocketTalk.Start($"""
            l = socket(AF_UNIX); l.bind("{directory.File("s")}"); l.listen(5)
            """);
        var crid = run.Capture();
        run.Kill();
        File.Delete(directory.File("s"));
        using (var other = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            other.Bind(new UnixDomainSocketEndPoint(directory.File("s")));
            other.Listen();
            var refusal = Assert.Throws<EnvironmentException>(() => run.Restart(crid));
            Assert.Contains($"{directory.File("s")} is in use by process {Environment.ProcessId}", refusal.Message, StringComparison.Ordinal);
            Assert.True(File.Exists(directory.File("s")));
        }

        File.WriteAllText(directory.File("s"), "");
        Assert.Contains("another kind of file", Assert.Throws<EnvironmentException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
        File.Delete(directory.File("s"));
        run.Restart(crid);
        Assert.Equal("True", run.Ask("os.path.exists(l.getsockname())"));
    }

    [Fact]
    public void With_the_close_policy_connections_to_the_outside_come_back_as_closed_by_the_peer()
    {
        using var directory = new Support.TempDir("crstore-unix-");
        using var run = SocketTalk.Start($"""
            l = socket(AF_UNIX); l.bind("{directory.File("s")}"); l.listen(5)
            def serve(): global s; s = l.accept()[0]
            """);
        using var outsider = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        outsider.Connect(new UnixDomainSocketEndPoint(directory.File("s")));
        run.Ask("serve()");
        outsider.Send("sent"u8);
        Assert.Equal("b's'", run.Ask("s.recv(1)"));
        var refused = run.Capture();
        Assert.Equal("b'en'", run.Ask("s.recv(2)"));
        var crid = run.Capture(with: o => o with { Tcp = Crstore.Capture.TcpPolicy.Close });
        Assert.Contains(Check(run, crid), v => v.Verdict is { Outcome: Restartability.WithPolicy, Flag: "--tcp" });
        run.Kill();
        Assert.Contains("not in the checkpoint", Assert.Throws<TargetException>(() => run.Restart(refused)).Message, StringComparison.Ordinal);
        run.Restart(crid);
        Assert.Equal("[b't', b'']", run.Ask("[s.recv(9) for i in range(2)]"));
        Assert.Equal("EPIPE", run.Ask("s.send(b'x')"));
        Assert.Equal($"{directory.File("s")}", run.Ask("s.getsockname()"));
    }

    [Theory]
    [InlineData("send_fds(a, [b'x'], [0])", "SCM_RIGHTS")]
    [InlineData("b.setsockopt(SOL_SOCKET, SO_PASSCRED, 1); a.send(b'x')", "SO_PASSCRED")]
    [InlineData("a.send(b'x', MSG_OOB)", "out-of-band")]
    [InlineData("p = os.fork(); p or (b.close(), time.sleep(9999)); a.close()", "its peer is not in the checkpoint")]
    [InlineData("l = socket(AF_UNIX); l.bind('\\0crstore-lost-%d' % os.getpid()); l.listen(); c = socket(AF_UNIX); c.connect(l.getsockname()); s = l.accept()[0]; l.close()", "listener")]
    [InlineData("l = socket(AF_UNIX); l.bind('\\0crstore-sent-%d' % os.getpid()); l.listen(); c = socket(AF_UNIX); c.connect(l.getsockname()); c.send(b'x')", "not accepted yet")]
    public void What_cant_come_back_is_refused(string setup, string why)
    {
        using var run = SocketTalk.Start($"""
            a, b = socketpair()
            {setup}
            """);
        var crid = run.Capture();
        Assert.Contains(Check(run, crid), v => v.Verdict.Outcome == Restartability.Refused && v.Verdict.Why.Contains(why, StringComparison.Ordinal));
        run.Kill();
        Assert.Contains(why, Assert.Throws<TargetException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
    }

    private static List<ObjectVerdict> Check(RestartRun run, Crid crid)
    {
        using var scene = new RestartScene(run.Manifest(crid).Body);
        return Verdicts.Of(scene);
    }
}
