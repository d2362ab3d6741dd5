using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Capture.Freezing;

/// <summary>
/// Open files of the kinds that servers have, for the throw-away process: the first one of a kind costs milliseconds, for its code and
/// for what a new socket has (<c>SocketOptions</c>). Nothing here has an address: nobody can connect to it.
/// </summary>
internal sealed class RehearsalFiles : IDisposable
{
    private const int Unix = 1, Internet = 2, Internet6 = 10, Stream = 1, Datagram = 2; // AF_, SOCK_, socket(2)
    private const int Monotonic = 1;                                                    // CLOCK_MONOTONIC
    private const uint Readable = 1;                                                    // EPOLLIN
    private readonly List<SafeFileHandle> _files = [];

    /// <summary>Opens them; those that this machine has not (IPv6, say) are left out.</summary>
    public RehearsalFiles()
    {
        TryOpen(() => EventFiles.CreateEvent(1, semaphore: false));
        TryOpen(() => EventFiles.CreateTimer(Monotonic));
        TryOpen(() => EventFiles.CreateSignals(1));
        TryOpen(() => File.OpenHandle("/proc/self/exe", FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
        TryOpen(() => SocketCalls.Create(Internet, Stream, 0));
        TryOpen(() => SocketCalls.Create(Internet6, Stream, 0));
        TryOpen(() => SocketCalls.Create(Internet, Datagram, 0));
        TryOpen(UnixPair);
        TryOpen(Epoll);
    }

    /// <summary>Each with the number that it is to have in the process: none that another one has here, for they are given one after the other.</summary>
    public IEnumerable<(SafeFileHandle Handle, int Number)> Numbered => _files.Select((file, i) => (file, _files.Max(f => (int)f.DangerousGetHandle()) + 1 + i));

    /// <inheritdoc/>
    public void Dispose() => _files.ForEach(f => f.Dispose());

    private SafeFileHandle UnixPair()
    {
        var (first, second) = SocketCalls.Pair(Unix, Stream, 0);
        _files.Add(first);
        return second;
    }

    // Of all others, as far as they can be waited for.
    private SafeFileHandle Epoll()
    {
        var epoll = EventFiles.CreateEpoll();
        foreach (var file in _files)
        {
            try
            {
                EventFiles.Watch(epoll, file, Readable);
            }
            catch (LinuxException)
            {
                // A regular file.
            }
        }

        return epoll;
    }

    private void TryOpen(Func<SafeFileHandle> open)
    {
        try
        {
            _files.Add(open());
        }
        catch (Exception e) when (e is LinuxException or IOException or UnauthorizedAccessException)
        {
            // It's a rehearsal.
        }
    }
}
