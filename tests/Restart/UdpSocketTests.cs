using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Crstore.Model;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>UDP and netlink sockets.</summary>
public class UdpSocketTests
{
    [Fact]
    public void Bound_connected_and_new_sockets_go_on_with_their_options()
    {
        using var peer = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        peer.Client.ReceiveTimeout = (int)Support.Patience.Limit.TotalMilliseconds;
        var port = ((IPEndPoint)peer.Client.LocalEndPoint!).Port;
        const string state = "[(s.getsockname(), s.getsockopt(SOL_SOCKET, SO_BROADCAST), s.getsockopt(SOL_SOCKET, SO_RCVBUF), s.getsockopt(SOL_SOCKET, SO_REUSEADDR), " +
            "s.getsockopt(0, 1), s.getsockopt(0, 8), s.getsockopt(0, 10), s.getsockopt(0, 33), s.getsockopt(17, 104)) for s in (b, c, u, v)], c.getpeername(), v.getsockopt(41, 26), v.getsockopt(41, 49)";
        using var run = SocketTalk.Start($"""
            b = socket(AF_INET, SOCK_DGRAM); b.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); b.bind(("127.0.0.1", 0)); b.setsockopt(0, 8, 1); b.setsockopt(0, 33, 4)
            c = socket(AF_INET, SOCK_DGRAM); c.connect(("127.0.0.1", {port})); c.setsockopt(0, 10, 2); c.setsockopt(17, 104, 1)
            u = socket(AF_INET, SOCK_DGRAM); u.setsockopt(SOL_SOCKET, SO_BROADCAST, 1); u.setsockopt(SOL_SOCKET, SO_RCVBUF, 100000); u.setsockopt(0, 1, 32)
            v = socket(AF_INET6, SOCK_DGRAM); v.setsockopt(41, 26, 1); v.setsockopt(41, 49, 1); v.bind(("::1", 0))
            """);
        var before = run.Ask(state);
        run.Cycle();
        Assert.Equal(before, run.Ask(state));
        Assert.Equal("5", run.Ask("c.send(b'hello')"));
        IPEndPoint? from = null;
        peer.Receive(ref from);
        Assert.Equal(run.Ask("c.getsockname()[1]"), from!.Port.ToString(CultureInfo.InvariantCulture));
        peer.Send([1], 1, from);
        Assert.Equal("b'\\x01'", run.Ask("c.recv(9)"));
        Assert.Equal("2", run.Ask("u.sendto(b'to', b.getsockname())"));
        Assert.Equal("b'to'", run.Ask("b.recv(9)"));
        run.Ask("v.sendto(b'six', v.getsockname())");
        Assert.Equal("b'six'", run.Ask("v.recv(9)"));
    }

    [Fact]
    public void A_port_that_is_taken_is_named()
    {
        using var run = SocketTalk.Start("b = socket(AF_INET, SOCK_DGRAM); b.bind(('127.0.0.1', 0))");
        var port = int.Parse(run.Ask("b.getsockname()[1]"), CultureInfo.InvariantCulture);
        var crid = run.Capture();
        run.Kill();
        using var other = new UdpClient(new IPEndPoint(IPAddress.Loopback, port));
        Assert.Contains($"udp 127.0.0.1:{port} is in use by process {Environment.ProcessId}", Assert.Throws<EnvironmentException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Multicast_groups_are_joined_again()
    {
        using var run = SocketTalk.Start("""
            m = socket(AF_INET, SOCK_DGRAM); m.bind(("", 0))
            m.setsockopt(IPPROTO_IP, IP_MULTICAST_IF, inet_aton("127.0.0.1"))
            m.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, inet_aton("239.7.8.9") + inet_aton("127.0.0.1"))
            s = socket(AF_INET6, SOCK_DGRAM); s.bind(("", 0)); s.setsockopt(41, 20, inet_pton(AF_INET6, "ff15::77") + struct.pack("i", 1))
            def heard(x, group):
                x.settimeout(300); x.sendto(b"all", (group, x.getsockname()[1])); return x.recv(9)
            """);
        Assert.Equal("b'all'", run.Ask("heard(m, '239.7.8.9')"));
        Assert.True(HasJoined6());
        var crid = run.Capture();
        run.Kill();
        Assert.False(HasJoined6());
        run.Restart(crid);
        Assert.Equal("b'all'", run.Ask("heard(m, '239.7.8.9')"));
        Assert.True(HasJoined6()); // loopback has no route for them

        static bool HasJoined6() => File.ReadAllText("/proc/net/igmp6").Contains("ff150000000000000000000000000077", StringComparison.Ordinal);
    }

    [Fact]
    public void Netlink_sockets_ask_and_hear_of_changes_again()
    {
        using var run = SocketTalk.Start("""
            n = socket(16, SOCK_RAW, 0); n.bind((0, 0x11)) # links and IPv4 addresses
            q = socket(16, SOCK_RAW, 0)
            def links(s):
                s.send(struct.pack("IHHIIBxxxi12x", 32, 18, 0x301, 1, 0, 0, 0)); return len(s.recv(99999)) > 100
            """);
        var before = run.Ask("n.getsockname()");
        Assert.Contains("17", before, StringComparison.Ordinal);
        run.Cycle();
        Assert.Equal(before, run.Ask("n.getsockname()"));
        Assert.Equal("True", run.Ask("links(q)"));
        Assert.Equal("True", run.Ask("links(n)"));
    }

    [Theory]
    [InlineData("s = socket(AF_INET, SOCK_RAW, 1)", "raw")]
    [InlineData("s = socket(17, SOCK_RAW, 0)", "packet")]
    [InlineData("s = socket(16, SOCK_RAW, 12)", "netlink")]
    [InlineData("s = socket(16, SOCK_RAW, 0); s.send(struct.pack('IHHIIBxxxi12x', 32, 18, 0x301, 1, 0, 0, 0))", "wait to be read")]
    public void What_cant_come_back_is_refused(string setup, string why)
    {
        using var run = SocketTalk.Start(setup);
        var crid = run.Capture();
        run.Kill();
        Assert.Contains(why, Assert.Throws<TargetException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
    }
}
