using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Crstore.Capture;
using Crstore.Model;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>TCP: listeners and unconnected sockets as they were, connections by policy.</summary>
public class TcpSocketTests
{
    private static readonly RestartOptions Detached = new() { Detach = true, Stdio = StdioPolicy.Null, Files = FilesPolicy.Warn };

    // Blocking accept in one thread, poll over a listener of another family in the main one.
    private const string Server = """
        import socket, select, sys, threading, os
        l4 = socket.socket(); l4.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); l4.bind(("127.0.0.1", 0)); l4.listen(7)
        l6 = socket.socket(socket.AF_INET6); l6.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); l6.bind(("::1", 0)); l6.listen(5); l6.setblocking(False)
        count = 0
        def serve(c):
            while True:
                try: m = c.recv(100)
                except OSError as e: m = b""
                if not m: break
                c.send(b"%d %s" % (count, m))
            c.close()
        def accept4():
            global count
            while True:
                c = l4.accept()[0]; count += 1
                threading.Thread(target=serve, args=(c,), daemon=True).start()
        threading.Thread(target=accept4, daemon=True).start()
        poll = select.poll(); poll.register(l6, select.POLLIN); poll.register(0, select.POLLIN)
        print(l4.getsockname()[1], l6.getsockname()[1])
        while True:
            for fd, event in poll.poll():
                if fd == 0: print(sys.stdin.readline().strip(), count, threading.active_count())
                else:
                    c = l6.accept()[0]; c.setblocking(True); count += 1
                    threading.Thread(target=serve, args=(c,), daemon=True).start()
        """;

    [Fact]
    public void A_server_on_two_listeners_is_back_and_serves_new_clients()
    {
        using var run = RestartRun.Python(Server);
        var ports = run.ReadLine().Split(' ').Select(p => int.Parse(p, CultureInfo.InvariantCulture)).ToArray();
        Assert.Equal("1 a", Talk(IPAddress.Loopback, ports[0], "a"));
        Assert.Equal("2 b", Talk(IPAddress.IPv6Loopback, ports[1], "b"));
        for (var round = 0; round < 2; round++)
        {
            WaitUntilIdle(run);
            run.Cycle();
            Assert.Equal($"{round * 2 + 3} c", Talk(IPAddress.Loopback, ports[0], "c"));
            Assert.Equal($"{round * 2 + 4} d", Talk(IPAddress.IPv6Loopback, ports[1], "d"));
        }
    }

    [Fact]
    public void With_tcp_close_connections_come_back_as_reset_and_the_server_goes_on()
    {
        using var run = RestartRun.Python(Server);
        var port = int.Parse(run.ReadLine().Split(' ')[0], CultureInfo.InvariantCulture);
        using var idle = new TcpClient("127.0.0.1", port);
        Assert.Equal("1 x", Say(idle, "x"));
        Assert.Equal("threads 1 3", run.Ask("threads"));
        run.Cycle(with: o => o with { Tcp = TcpPolicy.Close });
        Assert.Equal("2 y", Talk(IPAddress.Loopback, port, "y"));
        WaitUntilIdle(run); // the thread that was reading from the idle client has been told
    }

    [Fact]
    public void Without_a_policy_a_connection_is_refused_by_both_its_addresses()
    {
        using var run = RestartRun.Python(Server);
        var port = int.Parse(run.ReadLine().Split(' ')[0], CultureInfo.InvariantCulture);
        using var client = new TcpClient("127.0.0.1", port);
        Assert.Equal("1 x", Say(client, "x"));
        var crid = run.Capture();
        Assert.Equal("1 y", Say(client, "y"));
        run.Kill();
        var refusal = Assert.Throws<TargetException>(() => run.Restart(crid));
        Assert.Contains($"127.0.0.1:{port} to 127.0.0.1:{((IPEndPoint)client.Client.LocalEndPoint!).Port}", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("--tcp close", refusal.Message, StringComparison.Ordinal);
        run.Restart(crid, Detached with { CloseConnections = true });
        Assert.Equal("2 z", Talk(IPAddress.Loopback, port, "z"));
    }

    [Fact]
    public void A_closed_connection_gives_what_a_reset_gives()
    {
        using var run = SocketTalk.Start("""
            def pair(family, where):
                l = socket(family); l.bind((where, 0)); l.listen(); c = socket(family); c.connect(l.getsockname()); return c, l.accept()[0]
            a, b = pair(AF_INET, "127.0.0.1")
            c, d = pair(AF_INET6, "::1")
            e, f = pair(AF_INET, "127.0.0.1")
            f.close()
            b.send(b"unread"); d.setblocking(False)
            g, h = pair(AF_INET, "127.0.0.1")
            h.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0)); h.close()
            i, j = pair(AF_INET, "127.0.0.1")
            j.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0)); j.close()
            try: i.recv(9)
            except OSError: pass
            __import__("signal").signal(13, 1)
            """);
        run.Cycle(with: o => o with { Tcp = TcpPolicy.Close });
        Assert.Equal("ECONNRESET", run.Ask("a.recv(9)"));
        Assert.Equal("b''", run.Ask("a.recv(9)"));
        Assert.Equal("ECONNRESET", run.Ask("b.send(b'x')"));
        Assert.Equal("EPIPE", run.Ask("b.send(b'x')"));
        Assert.Equal("ENOTCONN", run.Ask("b.getpeername()"));
        Assert.Equal("ECONNRESET", run.Ask("c.recv(9)"));
        Assert.Equal("False", run.Ask("os.get_blocking(d.fileno())"));
        Assert.Equal("ECONNRESET", run.Ask("d.recv(9)"));
        Assert.Equal("ECONNRESET", run.Ask("e.recv(9)"));
        Assert.Equal("ECONNRESET", run.Ask("g.recv(9)"));
        Assert.Equal("b''", run.Ask("i.recv(9)"));
        Assert.Equal("EPIPE", run.Ask("i.send(b'x')"));
    }

    [Fact]
    public void With_tcp_wait_the_capture_waits_for_a_moment_without_connections()
    {
        using var run = RestartRun.Python(Server);
        var port = int.Parse(run.ReadLine().Split(' ')[0], CultureInfo.InvariantCulture);
        var client = new TcpClient("127.0.0.1", port);
        Assert.Equal("1 x", Say(client, "x"));
        var late = Assert.Throws<TargetException>(() => run.Capture(with: o => o with { Tcp = TcpPolicy.Wait, TcpPatience = TimeSpan.FromSeconds(0.3) }));
        Assert.Contains($"port {port} of process {run.Pid}", late.Message, StringComparison.Ordinal);
        Assert.Equal("1 y", Say(client, "y"));

        var closing = new Thread(() =>
        {
            Thread.Sleep(700);
            client.Dispose();
        });
        closing.Start();
        var crid = run.Capture(with: o => o with { Tcp = TcpPolicy.Wait, TcpPatience = Patience.Limit });
        closing.Join();
        run.Kill();
        run.Restart(crid);
        Assert.Equal("2 z", Talk(IPAddress.Loopback, port, "z"));
    }

    [Fact]
    public void With_tcp_wait_a_busy_server_is_captured_between_two_requests()
    {
        using var run = RestartRun.Python(Server);
        var port = int.Parse(run.ReadLine().Split(' ')[0], CultureInfo.InvariantCulture);
        var (requests, stop) = (0, false);
        Exception? failure = null;
        var load = new Thread(() =>
        {
            try
            {
                while (!Volatile.Read(ref stop))
                {
                    Talk(IPAddress.Loopback, port, "r");
                    Thread.Sleep(Interlocked.Increment(ref requests) % 3);
                }
            }
            catch (Exception e) when (e is IOException or SocketException)
            {
                failure = e;
            }
        });
        load.Start();
        var crids = Enumerable.Range(0, 4).Select(_ => run.Capture(with: o => o with { Tcp = TcpPolicy.Wait, TcpPatience = Patience.Limit })).ToList();
        Patience.Until(() => Volatile.Read(ref requests) > 10 || !load.IsAlive, "requests");
        Volatile.Write(ref stop, true);
        load.Join();
        Assert.Null(failure);
        foreach (var crid in crids)
        {
            run.Kill();
            run.Restart(crid);
            Assert.EndsWith(" z", Talk(IPAddress.Loopback, port, "z"), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Options_of_listeners_and_unconnected_sockets_come_back()
    {
        const string options = """
            [[s.getsockopt(SOL_SOCKET, n) for n in (SO_REUSEADDR, SO_REUSEPORT, SO_KEEPALIVE, SO_SNDBUF, SO_RCVBUF, 72, SO_PRIORITY, SO_OOBINLINE)] + [s.getsockopt(IPPROTO_TCP, n) for n in (1, 2, 4, 5, 6, 7, 8, 9, 18, 23)] + [s.getsockopt(IPPROTO_TCP, 13, 16), s.getsockopt(0, 1), s.getsockopt(0, 2), s.getsockopt(0, 24), s.getsockname()] for s in (l, m, v, u, w)], v.getsockopt(41, 26), w.getsockopt(41, 26), struct.unpack("IIII", l.getsockopt(IPPROTO_TCP, 11, 32)[16:])[3]
            """;
        using var run = SocketTalk.Start("""
            l = socket(); l.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); l.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1); l.bind(("127.0.0.1", 0))
            m = socket(); m.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1); m.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); m.bind(l.getsockname())
            for n, x in ((1, 1), (4, 111), (5, 22), (6, 3), (7, 2), (8, 17), (9, 7), (18, 5000), (23, 16)): l.setsockopt(IPPROTO_TCP, n, x)
            l.setsockopt(IPPROTO_TCP, 13, b"reno"); l.setsockopt(0, 1, 16); l.setsockopt(0, 2, 9)
            l.setsockopt(SOL_SOCKET, SO_RCVBUF, 40000)
            l.listen(37); m.listen(3)
            v = socket(AF_INET6); v.setsockopt(41, 26, 1); v.bind(("::", 0)); v.listen(4)
            u = socket(); u.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1); u.setsockopt(SOL_SOCKET, SO_SNDBUF, 30000); u.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1); u.setsockopt(0, 24, 1)
            w = socket(AF_INET6); w.setsockopt(41, 26, 0); w.bind(("::1", 0))
            """);
        var before = run.Ask(options.Trim());
        Assert.EndsWith(", 1, 1, 37)", before, StringComparison.Ordinal);
        Assert.Contains("111, 22, 3, 2, 17, 7, 5000, 16, b'reno", before, StringComparison.Ordinal);
        run.Cycle();
        Assert.Equal(before, run.Ask(options.Trim()));
    }

    [Fact]
    public void A_port_that_is_taken_is_named_with_the_process_that_has_it()
    {
        using var run = SocketTalk.Start("""
            l = socket(); l.bind(("127.0.0.1", 0)); l.listen()
            """);
        var port = int.Parse(run.Ask("l.getsockname()[1]"), CultureInfo.InvariantCulture);
        var crid = run.Capture();
        run.Kill();
        using (var other = new TcpListener(IPAddress.Loopback, port))
        {
            other.Start();
            var refusal = Assert.Throws<EnvironmentException>(() => run.Restart(crid));
            Assert.Contains($"tcp 127.0.0.1:{port} is in use by process {Environment.ProcessId}", refusal.Message, StringComparison.Ordinal);
        }

        run.Restart(crid);
        Assert.Equal("1", run.Ask("l.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)"));
    }

    [Fact]
    public void The_http_server_of_python_serves_on()
    {
        using var directory = new Support.TempDir("crstore-http-");
        File.WriteAllText(directory.File("page"), "hello");
        using var run = RestartRun.Python($"""
            import http.server, functools
            h = functools.partial(http.server.SimpleHTTPRequestHandler, directory="{directory.Path}")
            s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), h)
            print(s.server_port)
            s.serve_forever()
            """);
        var port = int.Parse(run.ReadLine(), CultureInfo.InvariantCulture);
        Assert.Equal("hello", Get(port));
        for (var round = 0; round < 2; round++)
        {
            run.Cycle(with: o => o with { Tcp = TcpPolicy.Close });
            Assert.Equal("hello", Get(port));
        }

        static string Get(int port)
        {
            using var http = new HttpClient();
            return http.GetStringAsync(new Uri($"http://127.0.0.1:{port}/page")).GetAwaiter().GetResult();
        }
    }

    private static string Talk(IPAddress address, int port, string message)
    {
        using var client = new TcpClient(address.AddressFamily);
        client.Connect(address, port);
        return Say(client, message);
    }

    private static string Say(TcpClient client, string message)
    {
        client.ReceiveTimeout = (int)Patience.Limit.TotalMilliseconds;
        client.GetStream().Write(Encoding.ASCII.GetBytes(message));
        var buffer = new byte[100];
        return Encoding.ASCII.GetString(buffer, 0, client.GetStream().Read(buffer));
    }

    // The threads of clients that have gone.
    private static void WaitUntilIdle(RestartRun run)
    {
        var threads = "";
        Patience.Until(() => (threads = run.Ask("threads")).EndsWith(" 2", StringComparison.Ordinal), () => threads, pauseMs: 10);
    }
}
