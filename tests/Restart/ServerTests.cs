using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Crstore.Capture;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Real servers: they serve new clients, and clients that were connected have been told.</summary>
public class ServerTests
{
    [Fact]
    public void Redis_with_both_listeners_and_idle_clients_has_its_data_and_serves_new_ones()
    {
        using var directory = new TempDir("crstore-redis-");
        var (port, path) = (FreePort.Next(), directory.File("redis.sock"));
        using var run = RestartRun.Start(Requires.Redis(), "--port", port.ToString(CultureInfo.InvariantCulture), "--bind", "127.0.0.1", "--unixsocket", path,
            "--enable-debug-command", "yes", "--save", "", "--appendonly", "no", "--dir", directory.Path);
        run.Expect("");
        Await(() => Redis(port, null, "PING") == "+PONG");
        for (var i = 0; i < 500; i++) Redis(port, null, $"SET key{i} value{i * 7}");
        using var idle = Connect(port, null);
        using var idle2 = Connect(port, path);
        var digest = Redis(port, path, "DEBUG DIGEST");
        Assert.Matches("^.[0-9a-f]{40}$", digest);
        var keys = 500;
        for (var round = 0; round < 3; round++)
        {
            run.Cycle(with: o => o with { Tcp = TcpPolicy.Close });
            Assert.Equal($":{keys}", Redis(port, null, "DBSIZE"));
            Assert.Equal(digest, Redis(port, path, "DEBUG DIGEST"));
            Assert.Equal("+OK", Redis(port, path, $"SET more{round} x"));
            digest = Redis(port, null, "DEBUG DIGEST");
            keys++;
        }
    }

    [Fact]
    public void Node_serves_http_on()
    {
        using var run = RestartRun.Start(Requires.Program("node"), "-e", """
            let n = 0;
            const s = require('http').createServer((q, r) => r.end(String(++n)));
            s.listen(0, '127.0.0.1', () => console.log(s.address().port));
            """);
        var port = int.Parse(run.ReadLine(), CultureInfo.InvariantCulture);
        Assert.Equal("1", Get(port));
        for (var round = 2; round < 5; round++)
        {
            run.Cycle(with: o => o with { Tcp = TcpPolicy.Close });
            Assert.Equal(round.ToString(CultureInfo.InvariantCulture), Get(port));
        }
    }

    private static string Get(int port)
    {
        using var http = new HttpClient();
        return http.GetStringAsync(new Uri($"http://127.0.0.1:{port}/")).GetAwaiter().GetResult();
    }

    private static Socket Connect(int port, string? path)
    {
        var socket = path is null ? new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) : new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.ReceiveTimeout = (int)Patience.Limit.TotalMilliseconds;
        socket.Connect(path is null ? new IPEndPoint(IPAddress.Loopback, port) : new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private static string Redis(int port, string? path, string command)
    {
        using var socket = Connect(port, path);
        socket.Send(Encoding.ASCII.GetBytes(command + "\r\n"));
        var buffer = new byte[4096];
        return Encoding.ASCII.GetString(buffer, 0, socket.Receive(buffer)).Split('\r')[0];
    }

    private static void Await(Func<bool> condition) => Patience.Until(() =>
    {
        try
        {
            return condition();
        }
        catch (SocketException)
        {
            return false; // not yet
        }
    }, "the server", pauseMs: 10);
}
