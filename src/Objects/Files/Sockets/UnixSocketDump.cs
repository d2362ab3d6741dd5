using System.Globalization;
using System.Runtime.CompilerServices;
using Crstore.Linux.Files;
using Crstore.Linux.Sockets;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files.Sockets;

/// <summary>Saves a unix socket, in the freeze.</summary>
internal static class UnixSocketDump
{
    private const int FewLookups = 8;

    // By process of a capture: such a message belongs to one freeze.
    private static readonly ConditionalWeakTable<Process, Lookup> Lookups = [];
    private const uint SocketType = 0xc000, TypeMask = 0xf000; // S_IFSOCK, S_IFMT, inode(7)

    /// <summary>Fills the record.</summary>
    internal static void Run(FileObject file, SafeFileHandle socket, SocketBase state)
    {
        var entry = Find(file) ?? throw new TargetException("it belongs to another network namespace");
        var record = new UnixSocket
        {
            Socket = SocketOptions.Read(socket, state),
            Name = Named(SocketCalls.Name(socket)),
            PeerName = Named(SocketCalls.PeerName(socket) ?? []),
            Listening = entry.State == UnixState.Listening,
            Backlog = entry.Backlog,
            // A datagram socket counts as connected only if its peer is: the state doesn't tell on older kernels.
            Connected = entry.State != UnixState.Listening && entry.Peer is not null,
            PeerInode = entry.Peer ?? 0,
            Shutdown = entry.Shutdown,
            Waiting = { entry.Waiting.Select(w => (ulong)w) },
        };
        file.Record.UnixSocket = record;
        if (entry.FileInode != 0) record.File = FindFile(file, record, entry.FileInode);
        if (file.Info.Value("scm_fds") is not (null or "0")) throw new TargetException("descriptors are in flight in its queue (SCM_RIGHTS)");
        if (record.Listening) return;
        var poll = SocketCalls.Poll(socket);
        record.Reset = poll.HasFlag(PollEvents.Error);
        if (record.Socket.Type == SocketNames.Stream) record.UnreadByPeer = (ulong)SocketCalls.Unsent(socket);
        if (record.Socket.Type == SocketNames.Stream || poll.HasFlag(PollEvents.Readable)) ReadQueue(record, socket);
        if (record.Queue.Count > 0 && record.Socket.Options.Any(IsCredentials))
            throw new TargetException("messages in its queue carry who sent them (SO_PASSCRED, SO_PASSPIDFD)");
    }

    // One at a time costs a look through all sockets of the machine each.
    private static UnixDiagEntry? Find(FileObject file)
    {
        var lookup = Lookups.GetOrCreateValue(file.Uses[0].Process);
        if (++lookup.Asked <= FewLookups) return UnixDiag.Find(file.Fd.Inode);
        lookup.All ??= UnixDiag.All().ToDictionary(e => (long)e.Inode);
        return lookup.All.GetValueOrDefault((long)file.Fd.Inode);
    }

    private static bool IsCredentials(SocketOption option) =>
        option is { Level: SocketOptions.SocketLevel, Name: SocketOptions.PassCredentials or SocketOptions.PassPidFd } && option.Value.Span.ContainsAnyExcept((byte)0);

    // struct sockaddr_un without a path is no name.
    private static ByteString Named(byte[] address) => address.Length <= SocketNames.FamilySize ? ByteString.Empty : UnsafeByteOperations.UnsafeWrap(address);

    // MSG_PEEK marks empty messages, so nothing is looked at twice.
    private static void ReadQueue(UnixSocket record, SafeFileHandle socket)
    {
        if (!record.Connected && record.Socket.Type != SocketNames.Datagram) return;
        var ended = (record.Shutdown & 1) != 0; // RCV_SHUTDOWN
        var offset = SocketCalls.GetOption(socket, SocketOptions.SocketLevel, SocketOptions.PeekOffset);
        if (record.Socket.Type == SocketNames.Stream)
        {
            if (SocketCalls.TryPeek(socket, new byte[1], urgent: true) >= 0) throw new TargetException("out-of-band data is in its queue");
            var unread = SocketCalls.Unread(socket);
            if (unread == 0) return;
            var content = new byte[unread];
            var length = offset < 0 ? SocketCalls.TryPeek(socket, content) : PeekAll(socket, offset, ended).Sum(m => Append(m.Content, content));
            if (length != unread) throw new TargetException($"{length} of {unread} bytes in its queue could be read");
            record.Queue.Add(new SocketMessage { Content = UnsafeByteOperations.UnsafeWrap(content) });
            return;
        }

        foreach (var message in PeekAll(socket, offset, ended))
            record.Queue.Add(new SocketMessage { Content = UnsafeByteOperations.UnsafeWrap(message.Content), Sender = Named(message.Sender) });
        // An empty message that an earlier capture has seen is passed by.
        if (record.Queue.Count == 0 && !ended) throw new TargetException("an empty message is in its queue, which can't be read twice");
        // SIOCINQ of datagrams counts the first one only.
        if (record.Socket.Type != SocketNames.Datagram && record.Queue.Sum(m => m.Content.Length) != SocketCalls.Unread(socket))
            throw new TargetException("its queue can't be read to the end");

        static int Append(byte[] part, byte[] content)
        {
            part.AsSpan(0, Math.Min(part.Length, content.Length)).CopyTo(content);
            return part.Length;
        }
    }

    private static List<QueuedMessage> PeekAll(SafeFileHandle socket, int offset, bool ended) => MessagePeeker.Peek(socket, offset, ended)
        ?? throw new TargetException("there are messages in its queue, and this kernel can't show them all (needs 6.7 and io_uring)");

    // Where the name leads to: a relative one to where the process was then, which is most likely where it is now.
    private static SocketFile? FindFile(FileObject file, UnixSocket record, uint inode)
    {
        if (SocketNames.Path(record.Name.Span) is not { } name) return null;
        var directory = name.StartsWith('/') ? "" : file.Uses[0].Process.Cwd;
        var path = directory.Length == 0 ? name : directory.TrimEnd('/') + "/" + name;
        var seen = string.Create(CultureInfo.InvariantCulture, $"/proc/{file.Uses[0].Process.Pid}/root{path}");
        if (FileStatus.TryOf(seen, out var status) != 0 || (status.Mode & TypeMask) != SocketType || (uint)status.Inode != inode) return null;
        return new SocketFile { Path = path, Directory = directory, Mode = status.Mode & ~TypeMask, Uid = status.Uid, Gid = status.Gid };
    }

    private sealed class Lookup
    {
        public int Asked { get; set; }
        public Dictionary<long, UnixDiagEntry>? All { get; set; }
    }
}
