using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Crstore.Bench;

/// <summary>
/// A client that sets keys of a redis-server on a unix socket without end, a batch at a time, and counts what was acknowledged. A rate can
/// be kept to, so that the load is there without taking a processor.
/// </summary>
internal sealed class RedisLoad : IDisposable
{
    private const int Batch = 16;
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly Random _random;
    private readonly int _keys;
    private readonly double? _perSecond;
    private readonly System.Threading.Thread _thread;
    private long _count;
    private volatile bool _stop;
    private Exception? _failure;

    /// <param name="path">The server's socket.</param>
    /// <param name="keys">How many different keys are written.</param>
    /// <param name="seed">Of keys and values.</param>
    /// <param name="perSecond">The rate; without one as fast as the server answers.</param>
    public RedisLoad(string path, int keys, int seed, double? perSecond = null)
    {
        _socket.Connect(new UnixDomainSocketEndPoint(path));
        (_keys, _random, _perSecond) = (keys, new Random(seed), perSecond);
        _thread = new System.Threading.Thread(Work) { IsBackground = true, Name = "redis load" };
        _thread.Start();
    }

    /// <summary>Commands answered so far.</summary>
    public long Count => _failure is null ? Volatile.Read(ref _count) : throw new InvalidOperationException("redis does not answer", _failure);

    public void Dispose()
    {
        _stop = true;
        _thread.Join();
        _socket.Dispose();
    }

    private void Work()
    {
        var reply = new byte[Batch * 5]; // "+OK\r\n" each
        var value = new byte[150];
        try
        {
            for (var clock = Stopwatch.StartNew(); !_stop;)
            {
                if (_perSecond is { } rate && clock.Elapsed.TotalSeconds * rate < _count)
                {
                    System.Threading.Thread.Sleep(1);
                    continue;
                }

                var text = new StringBuilder();
                for (var i = 0; i < Batch; i++)
                {
                    var key = string.Create(CultureInfo.InvariantCulture, $"load:{_random.Next(_keys):00000000}");
                    _random.NextBytes(value);
                    text.Append(CultureInfo.InvariantCulture, $"*3\r\n$3\r\nSET\r\n${key.Length}\r\n{key}\r\n${value.Length * 2}\r\n{Convert.ToHexString(value)}\r\n");
                }

                _socket.Send(Encoding.ASCII.GetBytes(text.ToString()));
                for (var left = reply.Length; left > 0;)
                {
                    var got = _socket.Receive(reply.AsSpan(0, left));
                    left -= got > 0 ? got : throw new EndOfStreamException("redis has closed the connection");
                }

                Volatile.Write(ref _count, _count + Batch);
            }
        }
        catch (Exception e) when (e is SocketException or EndOfStreamException)
        {
            _failure = e;
        }
    }
}
