using System.Net;
using System.Net.Sockets;

namespace Crstore.Tests.Support;

/// <summary>Ports for servers that have to be told one.</summary>
public static class FreePort
{
    /// <summary>
    /// A TCP port of the loopback interface that nobody has, and that nobody is given by the kernel: it is below those for connections that name none
    /// (ip(7), ip_local_port_range), where a client could meet itself while the server is away.
    /// </summary>
    public static int Next()
    {
        while (true)
        {
            var port = Random.Shared.Next(20_000, 30_000);
            try
            {
                using var listener = new TcpListener(IPAddress.Loopback, port);
                listener.Start();
                return port;
            }
            catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse)
            {
                // Another one, then.
            }
        }
    }
}
