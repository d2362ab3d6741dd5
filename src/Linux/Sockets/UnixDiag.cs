using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Sockets;

/// <summary>State of a unix socket as the kernel tells it.</summary>
public enum UnixState
{
    /// <summary>TCP_ESTABLISHED: connected.</summary>
    Connected = 1,

    /// <summary>TCP_CLOSE: not connected.</summary>
    Unconnected = 7,

    /// <summary>TCP_LISTEN.</summary>
    Listening = 10,
}

/// <summary>What unix_diag says of a socket.</summary>
public sealed class UnixDiagEntry
{
    /// <summary>As in "socket:[N]".</summary>
    public uint Inode { get; internal set; }

    /// <summary>State.</summary>
    public UnixState State { get; internal set; }

    /// <summary>Inode of the file that it is bound to, its lower 32 bits; 0 if it isn't.</summary>
    public uint FileInode { get; internal set; }

    /// <summary>The socket that it is connected to; null if none, 0 if that is closed or was not accepted yet.</summary>
    public uint? Peer { get; internal set; }

    /// <summary>Of a listener: who waits to be accepted, in order.</summary>
    public IReadOnlyList<uint> Waiting { get; internal set; } = [];

    /// <summary>Of a listener: its backlog.</summary>
    public uint Backlog { get; internal set; }

    /// <summary>Bits of what was shut down: RCV_SHUTDOWN 1, SEND_SHUTDOWN 2.</summary>
    public byte Shutdown { get; internal set; }
}

/// <summary>NETLINK_SOCK_DIAG for unix sockets, sock_diag(7): what getsockopt doesn't tell. In crstore's own network namespace.</summary>
public static unsafe class UnixDiag
{
    // netlink(7), sock_diag(7), linux/unix_diag.h.
    private const int Netlink = 16, Raw = 3, SockDiag = 4, Unix = 1;
    private const ushort ByFamily = 20, Request = 1, Dump = 0x300, ErrorMessage = 2, DoneMessage = 3;
    private const uint ShowFile = 2, ShowPeer = 4, ShowWaiting = 8, ShowQueues = 0x10;
    private const ushort FileAttribute = 1, PeerAttribute = 2, WaitingAttribute = 3, QueuesAttribute = 4, ShutdownAttribute = 6;
    private const int HeaderSize = 16, RequestSize = HeaderSize + 24, MessageSize = 16;
    private const long ReadCall = 0, SendToCall = 44;

    [ThreadStatic]
    private static byte[]? Buffer;

    /// <summary>A socket; null if there is none of that inode here.</summary>
    /// <exception cref="LinuxException">The kernel has no unix_diag.</exception>
    public static UnixDiagEntry? Find(ulong inode)
    {
        using var netlink = Ask(Request, (uint)inode);
        var found = Read(netlink);
        return found.Count > 0 ? found[0] : null;
    }

    /// <summary>All sockets.</summary>
    public static List<UnixDiagEntry> All()
    {
        using var netlink = Ask(Request | Dump, 0);
        return Read(netlink);
    }

    private static SafeFileHandle Ask(int flags, uint inode)
    {
        var netlink = SocketCalls.Create(Netlink, Raw, SockDiag);
        Span<byte> request = stackalloc byte[RequestSize];
        request.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(request, RequestSize);
        BinaryPrimitives.WriteUInt16LittleEndian(request[4..], ByFamily);
        BinaryPrimitives.WriteUInt16LittleEndian(request[6..], (ushort)flags);
        request[16] = Unix;
        BinaryPrimitives.WriteUInt32LittleEndian(request[20..], uint.MaxValue); // all states
        BinaryPrimitives.WriteUInt32LittleEndian(request[24..], inode);
        BinaryPrimitives.WriteUInt32LittleEndian(request[28..], ShowFile | ShowPeer | ShowWaiting | ShowQueues);
        request[32..].Fill(0xff); // no cookie
        fixed (byte* at = request) RawSyscall.Checked("sendto", "sock_diag", SendToCall, netlink.DangerousGetHandle(), (long)at, request.Length);
        return netlink;
    }

    private static List<UnixDiagEntry> Read(SafeFileHandle netlink)
    {
        var found = new List<UnixDiagEntry>();
        var buffer = Buffer ??= new byte[32 * 1024]; // what the kernel puts into one piece of an answer
        while (true)
        {
            int length;
            fixed (byte* at = buffer) length = (int)RawSyscall.Checked("read", "sock_diag", ReadCall, netlink.DangerousGetHandle(), (long)at, buffer.Length);
            var rest = buffer.AsSpan(0, length);
            while (rest.Length >= HeaderSize)
            {
                var size = BinaryPrimitives.ReadInt32LittleEndian(rest);
                var type = BinaryPrimitives.ReadUInt16LittleEndian(rest[4..]);
                var several = (BinaryPrimitives.ReadUInt16LittleEndian(rest[6..]) & 2) != 0; // NLM_F_MULTI
                if (type == DoneMessage) return found;
                if (type == ErrorMessage)
                {
                    var errno = -BinaryPrimitives.ReadInt32LittleEndian(rest[HeaderSize..]);
                    return errno is 0 or Errno.ENOENT ? found : throw new LinuxException("unix_diag", errno);
                }

                found.Add(Parse(rest[HeaderSize..size]));
                if (!several) return found;
                rest = rest[Math.Min(rest.Length, (size + 3) & ~3)..];
            }
        }
    }

    private static UnixDiagEntry Parse(ReadOnlySpan<byte> message)
    {
        var entry = new UnixDiagEntry { Inode = MemoryMarshal.Read<uint>(message[4..]), State = (UnixState)message[2] };
        var rest = message[MessageSize..];
        while (rest.Length >= 4)
        {
            var length = BinaryPrimitives.ReadUInt16LittleEndian(rest);
            var type = BinaryPrimitives.ReadUInt16LittleEndian(rest[2..]);
            if (length < 4 || length > rest.Length) break;
            var value = rest[4..length];
            switch (type)
            {
                case FileAttribute:
                    entry.FileInode = MemoryMarshal.Read<uint>(value);
                    break;
                case PeerAttribute:
                    entry.Peer = MemoryMarshal.Read<uint>(value);
                    break;
                case WaitingAttribute:
                    entry.Waiting = MemoryMarshal.Cast<byte, uint>(value).ToArray();
                    break;
                case QueuesAttribute:
                    entry.Backlog = MemoryMarshal.Read<uint>(value[4..]);
                    break;
                case ShutdownAttribute:
                    entry.Shutdown = value[0];
                    break;
            }

            rest = rest[Math.Min(rest.Length, (length + 3) & ~3)..];
        }

        return entry;
    }
}
