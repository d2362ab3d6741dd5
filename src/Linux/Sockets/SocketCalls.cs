using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Sockets;

/// <summary>socket(7): the calls as they are, without what <see cref="System.Net.Sockets.Socket"/> sets and hides. All fds are close-on-exec.</summary>
public static unsafe partial class SocketCalls
{
    /// <summary>sizeof(struct sockaddr_storage).</summary>
    public const int MaxAddress = 128;

    // syscall_64.tbl.
    private const long PollCall = 7, SocketCall = 41, ConnectCall = 42, AcceptCall = 288, SendToCall = 44, RecvMsgCall = 47, ShutdownCall = 48,
        BindCall = 49, ListenCall = 50, GetSockNameCall = 51, GetPeerNameCall = 52, SocketPairCall = 53, SetSockOptCall = 54, GetSockOptCall = 55, IoctlCall = 16;

    // socket(2): SOCK_CLOEXEC; recv(2): MSG_PEEK, MSG_DONTWAIT, MSG_TRUNC, MSG_NOSIGNAL, MSG_OOB; sockios.h: SIOCINQ, SIOCOUTQ.
    private const int CloseOnExec = 0x80000, Peek = 2, DontWait = 0x40, Truncated = 0x20, NoSignal = 0x4000, OutOfBand = 1;
    private const int UnreadCommand = 0x541B, UnsentCommand = 0x5411;

    /// <summary>socket(2).</summary>
    public static SafeFileHandle Create(int domain, int type, int protocol) =>
        new((nint)RawSyscall.Checked("socket", null, SocketCall, domain, type | CloseOnExec, protocol), ownsHandle: true);

    /// <summary>socketpair(2).</summary>
    public static (SafeFileHandle First, SafeFileHandle Second) Pair(int domain, int type, int protocol)
    {
        var fds = stackalloc int[2];
        RawSyscall.Checked("socketpair", null, SocketPairCall, domain, type | CloseOnExec, protocol, (long)fds);
        return (new SafeFileHandle(fds[0], true), new SafeFileHandle(fds[1], true));
    }

    /// <summary>bind(2): 0 or the errno.</summary>
    public static int TryBind(SafeFileHandle socket, ReadOnlySpan<byte> address)
    {
        fixed (byte* at = address) return RawSyscall.Errno(BindCall, Fd(socket), (long)at, address.Length);
    }

    /// <summary>connect(2): 0 or the errno.</summary>
    public static int TryConnect(SafeFileHandle socket, ReadOnlySpan<byte> address)
    {
        fixed (byte* at = address) return RawSyscall.Errno(ConnectCall, Fd(socket), (long)at, address.Length);
    }

    /// <summary>listen(2): 0 or the errno.</summary>
    public static int TryListen(SafeFileHandle socket, int backlog) => RawSyscall.Errno(ListenCall, Fd(socket), backlog);

    /// <summary>accept4(2): the connection that has waited longest.</summary>
    public static SafeFileHandle Accept(SafeFileHandle listener) =>
        new((nint)RawSyscall.Checked("accept4", null, AcceptCall, Fd(listener), 0, 0, CloseOnExec), ownsHandle: true);

    /// <summary>SO_PEERCRED, unix(7): who has connected; 0 if it can't be told.</summary>
    public static int PeerPid(SafeFileHandle socket)
    {
        const int solSocket = 1, peerCredentials = 17;
        Span<byte> credentials = stackalloc byte[12]; // struct ucred: pid, uid, gid
        return TryGetOption(socket, solSocket, peerCredentials, credentials) > 0 ? BitConverter.ToInt32(credentials) : 0;
    }

    /// <summary>shutdown(2): 0 or the errno.</summary>
    /// <param name="socket">Of either kind of connection.</param>
    /// <param name="how">SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2.</param>
    public static int TryShutdown(SafeFileHandle socket, int how) => RawSyscall.Errno(ShutdownCall, Fd(socket), how);

    /// <summary>getsockname(2): struct sockaddr.</summary>
    public static byte[] Name(SafeFileHandle socket)
    {
        var address = stackalloc byte[MaxAddress];
        var length = MaxAddress;
        RawSyscall.Checked("getsockname", null, GetSockNameCall, Fd(socket), (long)address, (long)&length);
        return new ReadOnlySpan<byte>(address, Math.Min(length, MaxAddress)).ToArray();
    }

    /// <summary>getpeername(2): struct sockaddr; null if it isn't connected.</summary>
    public static byte[]? PeerName(SafeFileHandle socket)
    {
        var address = stackalloc byte[MaxAddress];
        var length = MaxAddress;
        return RawSyscall.Errno(GetPeerNameCall, Fd(socket), (long)address, (long)&length) == 0
            ? new ReadOnlySpan<byte>(address, Math.Min(length, MaxAddress)).ToArray() : null;
    }

    /// <summary>getsockopt(2): the length, or -errno.</summary>
    public static int TryGetOption(SafeFileHandle socket, int level, int name, Span<byte> value)
    {
        var length = value.Length;
        fixed (byte* at = value)
        {
            var errno = RawSyscall.Errno(GetSockOptCall, Fd(socket), level, name, (long)at, (long)&length);
            return errno == 0 ? length : -errno;
        }
    }

    /// <summary>An option that is an int.</summary>
    public static int GetOption(SafeFileHandle socket, int level, int name)
    {
        int value = 0, length = sizeof(int);
        RawSyscall.Checked("getsockopt", null, GetSockOptCall, Fd(socket), level, name, (long)&value, (long)&length);
        return value;
    }

    /// <summary>setsockopt(2): 0 or the errno.</summary>
    public static int TrySetOption(SafeFileHandle socket, int level, int name, ReadOnlySpan<byte> value)
    {
        fixed (byte* at = value) return RawSyscall.Errno(SetSockOptCall, Fd(socket), level, name, (long)at, value.Length);
    }

    /// <summary>An option that is an int: 0 or the errno.</summary>
    public static int TrySetOption(SafeFileHandle socket, int level, int name, int value) => TrySetOption(socket, level, name, BitConverter.GetBytes(value));

    /// <summary>A classic packet filter: SO_GET_FILTER, whose length counts instructions of 8 bytes.</summary>
    public static byte[] GetFilter(SafeFileHandle socket, int instructions)
    {
        const int level = 1, name = 26; // SOL_SOCKET, SO_GET_FILTER
        var filter = new byte[instructions * 8];
        fixed (byte* at = filter) RawSyscall.Checked("getsockopt(SO_GET_FILTER)", null, GetSockOptCall, Fd(socket), level, name, (long)at, (long)&instructions);
        return filter;
    }

    /// <summary>Attaches a classic packet filter: SO_ATTACH_FILTER. 0 or the errno.</summary>
    public static int TrySetFilter(SafeFileHandle socket, ReadOnlySpan<byte> filter)
    {
        const int level = 1, name = 26; // SOL_SOCKET, SO_ATTACH_FILTER
        fixed (byte* at = filter)
        {
            // struct sock_fprog: u16 len, struct sock_filter *filter.
            var program = stackalloc long[2] { filter.Length / 8, (long)at };
            return RawSyscall.Errno(SetSockOptCall, Fd(socket), level, name, (long)program, 2 * sizeof(long));
        }
    }

    /// <summary>The head of the receive queue, without taking it out or waiting: recvmsg(2), MSG_PEEK. Its length, or -errno.</summary>
    /// <param name="socket">One without a peek offset (SO_PEEK_OFF), which this would move.</param>
    /// <param name="content">What doesn't fit is left out.</param>
    /// <param name="urgent">Out-of-band data instead.</param>
    public static int TryPeek(SafeFileHandle socket, Span<byte> content, bool urgent = false)
    {
        fixed (byte* at = content)
        {
            var vector = new IoVector { Base = at, Length = (nuint)content.Length };
            var message = new MessageHeader { Vectors = &vector, VectorCount = 1 };
            var n = RawSyscall.Invoke(RecvMsgCall, Fd(socket), (long)&message, Peek | DontWait | (urgent ? OutOfBand : 0));
            return n >= 0 ? (int)n : -Marshal.GetLastPInvokeError();
        }
    }

    /// <summary>sendto(2) without waiting or SIGPIPE: bytes sent, or -errno.</summary>
    /// <param name="socket">It.</param>
    /// <param name="content">A message, or bytes of a stream.</param>
    /// <param name="to">Empty for the one that it is connected to.</param>
    public static int TrySend(SafeFileHandle socket, ReadOnlySpan<byte> content, ReadOnlySpan<byte> to = default)
    {
        fixed (byte* at = content, address = to)
        {
            var n = RawSyscall.Invoke(SendToCall, Fd(socket), (long)at, content.Length, DontWait | NoSignal, (long)address, to.Length);
            return n >= 0 ? (int)n : -Marshal.GetLastPInvokeError();
        }
    }

    /// <summary>What poll(2) says of it now.</summary>
    public static PollEvents Poll(SafeFileHandle socket)
    {
        var entry = new PollEntry { Fd = (int)Fd(socket), Events = PollEvents.Readable | PollEvents.PeerShutdown };
        RawSyscall.Checked("poll", null, PollCall, (long)&entry, 1, 0);
        return entry.Result;
    }

    /// <summary>Bytes to be read: SIOCINQ, tcp(7), udp(7), unix(7). For a datagram socket those of the first message.</summary>
    public static int Unread(SafeFileHandle socket) => Ask(socket, UnreadCommand, "ioctl(SIOCINQ)");

    /// <summary>What it has sent and the other side has not read, or not acknowledged: SIOCOUTQ.</summary>
    public static int Unsent(SafeFileHandle socket) => Ask(socket, UnsentCommand, "ioctl(SIOCOUTQ)");

    internal const int PeekWithoutWaiting = Peek | DontWait, MessageTruncated = Truncated;

    private static int Ask(SafeFileHandle socket, int command, string call)
    {
        var value = 0;
        RawSyscall.Checked(call, null, IoctlCall, Fd(socket), command, (long)&value);
        return value;
    }

    private static long Fd(SafeFileHandle socket) => socket.DangerousGetHandle();

    [StructLayout(LayoutKind.Sequential)]
    private struct PollEntry
    {
        public int Fd;
        public PollEvents Events;
        public PollEvents Result;
    }
}

/// <summary>Events of poll(2).</summary>
[Flags]
public enum PollEvents : short
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>POLLIN.</summary>
    Readable = 1,

    /// <summary>POLLERR: an error waits to be reported.</summary>
    Error = 8,

    /// <summary>POLLHUP.</summary>
    HungUp = 0x10,

    /// <summary>POLLRDHUP: the other side sends no more.</summary>
    PeerShutdown = 0x2000,
}

/// <summary>struct iovec, readv(2).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct IoVector
{
    public byte* Base;
    public nuint Length;
}

/// <summary>struct msghdr, recvmsg(2).</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct MessageHeader
{
    public byte* Name;
    public int NameLength;
    public IoVector* Vectors;
    public nuint VectorCount;
    public byte* Control;
    public nuint ControlLength;
    public int Flags;
}
