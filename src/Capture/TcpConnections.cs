using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Proc;
using Crstore.Linux.Sockets;
using Crstore.Model;

namespace Crstore.Capture;

/// <summary>
/// Waits for a moment without TCP connections (`--tcp wait`): looks for one while the target runs, and again in the freeze. Connections that
/// nobody has accepted yet count too, as they are part of no process.
/// </summary>
internal sealed class TcpConnections(CaptureOptions options)
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);
    private readonly long _start = Stopwatch.GetTimestamp();
    private static readonly TimeSpan LongestBackOff = TimeSpan.FromSeconds(1);
    private TimeSpan _backOff = TimeSpan.FromMilliseconds(20);
    private string? _met; // in the last freeze

    /// <summary>Returns when there is none at the moment.</summary>
    /// <exception cref="TargetException">There always was one.</exception>
    public void AwaitNone(CancellationToken cancel)
    {
        ThrowIfTooLong(_met);
        if (_met is not null)
        {
            // A server under constant requests must not stand still again and again for nothing.
            cancel.WaitHandle.WaitOne(_backOff);
            if (_backOff < LongestBackOff) _backOff *= 2;
        }

        while (Find(Pids()) is { } found)
        {
            cancel.ThrowIfCancellationRequested();
            ThrowIfTooLong(found);
            Thread.Sleep(Pause);
        }
    }

    /// <summary>True if there is one in the freeze after all; the next <see cref="AwaitNone"/> knows of it.</summary>
    public bool AnyOf(IEnumerable<int> pids) => (_met = pids.Select(Ask).FirstOrDefault(found => found is not null)) is not null;

    private void ThrowIfTooLong(string? connection)
    {
        if (connection is null || Stopwatch.GetElapsedTime(_start) <= options.TcpPatience) return;
        throw new TargetException(string.Create(CultureInfo.InvariantCulture,
            $"there was no moment without TCP connections within {options.TcpPatience.TotalSeconds:0.#} s: {connection}"),
            "--tcp close captures it all the same; its connections come back as reset");
    }

    private string? Find(IEnumerable<int> pids)
    {
        var owners = new Dictionary<ulong, int>();
        foreach (var pid in pids)
            foreach (var inode in SocketOwners.Of(pid)) owners.TryAdd(inode, pid);
        if (owners.Count == 0) return null;
        foreach (var socket in SocketOwners.Inet(options.Pid, "tcp"))
        {
            if (!IsConnection(socket.State, socket.Waiting)) continue;
            if (owners.TryGetValue(socket.Inode, out var owner)) return Describe(socket.Port, owner);
        }

        return null;
    }

    // Of frozen processes: the sockets themselves, for the kernel's tables have those of the whole machine. While a process runs, a duplicate might
    // keep one open that it has just closed.
    private static string? Ask(int pid)
    {
        using var proc = ProcDirectory.Open(pid);
        using var process = PidFd.Open(pid);
        foreach (var number in proc.Numbers("fd"))
        {
            if (!proc.ReadLink(string.Create(CultureInfo.InvariantCulture, $"fd/{number}")).StartsWith("socket:[", StringComparison.Ordinal)) continue;
            using var socket = process.GetFd(number);
            if (TcpInfo.Of(socket) is { } info && IsConnection(info.State, (int)info.Waiting))
                return Describe(BinaryPrimitives.ReadUInt16BigEndian(SocketCalls.Name(socket).AsSpan(sizeof(ushort))), pid); // struct sockaddr_in, sockaddr_in6
        }

        return null;
    }

    private static bool IsConnection(int state, int waiting) => state != TcpInfo.Closed && (state != TcpInfo.Listening || waiting != 0);

    private static string Describe(int port, int pid) => $"a connection at port {port} of process {pid}";

    private List<int> Pids()
    {
        var pids = new List<int> { options.Pid };
        for (var i = 0; options.Tree && i < pids.Count; i++) pids.AddRange(TaskList.Children(pids[i]).Except(pids));
        return pids;
    }
}
