using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Linux.Sockets;

/// <summary>A message in a socket's receive queue.</summary>
/// <param name="Content">It.</param>
/// <param name="Sender">struct sockaddr of the one who sent it; empty if that has no name.</param>
public sealed record QueuedMessage(byte[] Content, byte[] Sender);

/// <summary>
/// Reads all messages of a socket's queue without taking them out. MSG_PEEK alone shows only the first; the next ones need a peek offset
/// (SO_PEEK_OFF, socket(7)), which is a setting of the socket itself: left behind, it would make the owner's own MSG_PEEK skip what we have
/// seen (reads without MSG_PEEK don't ask for it). So set, peeks and reset are given to the kernel in one io_uring_enter(2): it does all
/// of a submission before it looks at signals, and so nobody who is killed can leave an offset behind. Needs Linux 6.7.
/// </summary>
public static unsafe class MessagePeeker
{
    private const int FewMessages = 62, ManyMessages = 1022; // 64 and 1024 with the two settings around them
    private const int SlotBytes = 256 * 1024;                // more than the default buffer of a socket
    private const int SocketLevel = 1, PeekOffset = 42;      // SOL_SOCKET, SO_PEEK_OFF, socket(7)

    // linux/io_uring.h: opcodes, the command of a socket, setup flags, offsets for mmap.
    private const byte RecvMsgOperation = 10, CommandOperation = 46;
    private const int SetOptionCommand = 3;
    private const uint SubmitAll = 1 << 7;
    private const long RingOffset = 0, EntriesOffset = 0x10000000;
    private const int EntrySize = 64, CompletionSize = 16;

    // syscall_64.tbl.
    private const long SetupCall = 425, EnterCall = 426, MmapCall = 9, MunmapCall = 11;

    private static readonly Lazy<bool> Supported = new(Probe);

    /// <summary>True if this kernel can do it, found out by trying it on a socket of our own, once.</summary>
    public static bool IsSupported => Supported.Value;

    /// <summary>All messages in order; null if this kernel has no such way.</summary>
    /// <param name="socket">A unix socket of any type.</param>
    /// <param name="offset">Its peek offset, -1 if it has none: it is the same afterwards.</param>
    /// <param name="ended">Nothing more will come: a read from the empty queue gives nothing rather than EAGAIN.</param>
    /// <exception cref="LinuxException">EMSGSIZE: a message is too long, or there are too many.</exception>
    public static List<QueuedMessage>? Peek(SafeFileHandle socket, int offset, bool ended)
    {
        if (!IsSupported) return null;
        foreach (var count in (ReadOnlySpan<int>)[FewMessages, ManyMessages])
        {
            if (TryPeek(socket, offset, count, ended) is not { } messages) return null;
            if (messages.Count < count) return messages;
        }

        throw new LinuxException("recvmsg(MSG_PEEK)", Errno.EMSGSIZE, $"more than {ManyMessages} messages");
    }

    private static bool Probe()
    {
        const int unix = 1, datagrams = 2; // AF_UNIX, SOCK_DGRAM, socket(2)
        var (first, second) = SocketCalls.Pair(unix, datagrams, 0);
        using (first)
        using (second)
        {
            SocketCalls.TrySend(first, [1]);
            SocketCalls.TrySend(first, [2, 3]);
            return TryPeek(second, -1, FewMessages, false) is [{ Content: [1] }, { Content: [2, 3] }] && SocketCalls.GetOption(second, SocketLevel, PeekOffset) == -1;
        }
    }

    private static List<QueuedMessage>? TryPeek(SafeFileHandle socket, int offset, int count, bool ended)
    {
        var parameters = new Parameters { Flags = SubmitAll };
        var fd = RawSyscall.Invoke(SetupCall, count + 2, (long)&parameters);
        if (fd < 0) return null; // no such call, or forbidden by kernel.io_uring_disabled
        using var ring = new SafeFileHandle((nint)fd, ownsHandle: true);
        var ringBytes = Math.Max(parameters.SubmissionArray + parameters.SubmissionEntries * sizeof(uint), parameters.CompletionEntriesOffset + parameters.CompletionEntries * CompletionSize);
        var entryBytes = parameters.SubmissionEntries * EntrySize;
        // Only what messages fill is ever touched.
        var slots = (byte*)NativeMemory.Alloc((nuint)count * SlotBytes);
        var headers = (MessageHeader*)NativeMemory.AllocZeroed((nuint)count, (nuint)sizeof(MessageHeader));
        var vectors = (IoVector*)NativeMemory.AllocZeroed((nuint)count, (nuint)sizeof(IoVector));
        var names = (byte*)NativeMemory.AllocZeroed((nuint)count, SocketCalls.MaxAddress);
        byte* rings = null, entries = null;
        try
        {
            rings = Map(ring, ringBytes, RingOffset);
            entries = Map(ring, entryBytes, EntriesOffset);
            int zero = 0, before = offset;
            SetOffset(entries, socket, &zero);
            for (var i = 0; i < count; i++)
            {
                vectors[i] = new IoVector { Base = slots + (nint)i * SlotBytes, Length = SlotBytes };
                headers[i] = new MessageHeader { Name = names + i * SocketCalls.MaxAddress, NameLength = SocketCalls.MaxAddress, Vectors = vectors + i, VectorCount = 1 };
                var entry = entries + (i + 1) * EntrySize;
                entry[0] = RecvMsgOperation;
                *(int*)(entry + 4) = (int)socket.DangerousGetHandle();
                *(ulong*)(entry + 16) = (ulong)(headers + i);
                *(uint*)(entry + 24) = 1;
                *(int*)(entry + 28) = SocketCalls.PeekWithoutWaiting;
                *(ulong*)(entry + 32) = (ulong)i + 1;
            }

            SetOffset(entries + (count + 1) * EntrySize, socket, &before);
            *(ulong*)(entries + (count + 1) * EntrySize + 32) = (ulong)count + 1;
            var results = Submit(ring, rings, parameters, count + 2);
            if (results[0] < 0) return null;
            if (results[^1] < 0 && SocketCalls.TrySetOption(socket, SocketLevel, PeekOffset, offset) is var errno and not 0)
                throw new LinuxException("setsockopt(SO_PEEK_OFF)", errno);
            return Collect(results, headers, vectors, count, ended);
        }
        finally
        {
            if (rings is not null) RawSyscall.Invoke(MunmapCall, (long)rings, ringBytes);
            if (entries is not null) RawSyscall.Invoke(MunmapCall, (long)entries, entryBytes);
            NativeMemory.Free(slots);
            NativeMemory.Free(headers);
            NativeMemory.Free(vectors);
            NativeMemory.Free(names);
        }
    }

    private static void SetOffset(byte* entry, SafeFileHandle socket, int* value)
    {
        entry[0] = CommandOperation;
        *(int*)(entry + 4) = (int)socket.DangerousGetHandle();
        *(int*)(entry + 8) = SetOptionCommand;
        *(int*)(entry + 16) = SocketLevel;
        *(int*)(entry + 20) = PeekOffset;
        *(int*)(entry + 44) = sizeof(int);
        *(ulong*)(entry + 48) = (ulong)value;
    }

    // Everything completes at once, nothing waits: results by entry.
    private static int[] Submit(SafeFileHandle ring, byte* rings, in Parameters parameters, int count)
    {
        var array = (uint*)(rings + parameters.SubmissionArray);
        for (var i = 0; i < count; i++) array[i] = (uint)i;
        Volatile.Write(ref *(uint*)(rings + parameters.SubmissionTail), (uint)count);
        RawSyscall.Checked("io_uring_enter", null, EnterCall, ring.DangerousGetHandle(), count, 0, 0, 0, 0);
        var results = new int[count];
        Array.Fill(results, -Errno.EIO);
        var tail = Volatile.Read(ref *(uint*)(rings + parameters.CompletionTail));
        for (var i = 0u; i < tail; i++)
        {
            var completion = rings + parameters.CompletionEntriesOffset + i * CompletionSize;
            results[*(ulong*)completion] = *(int*)(completion + 8);
        }

        return results;
    }

    private static List<QueuedMessage> Collect(int[] results, MessageHeader* headers, IoVector* vectors, int count, bool ended)
    {
        var found = new List<QueuedMessage>();
        for (var i = 0; i < count; i++)
        {
            var length = results[i + 1];
            if (length == -Errno.EAGAIN || (length == 0 && ended)) break;
            if (length < 0) throw new LinuxException("recvmsg(MSG_PEEK)", -length);
            if ((headers[i].Flags & SocketCalls.MessageTruncated) != 0) throw new LinuxException("recvmsg(MSG_PEEK)", Errno.EMSGSIZE, "a long message");
            found.Add(new QueuedMessage(new ReadOnlySpan<byte>(vectors[i].Base, length).ToArray(), new ReadOnlySpan<byte>(headers[i].Name, headers[i].NameLength).ToArray()));
        }

        return found;
    }

    private static byte* Map(SafeFileHandle ring, uint bytes, long offset)
    {
        const long readWrite = 3, sharedPopulated = 0x8001; // PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, mmap(2)
        return (byte*)RawSyscall.Checked("mmap", "an io_uring", MmapCall, 0, bytes, readWrite, sharedPopulated, ring.DangerousGetHandle(), offset);
    }

    // struct io_uring_params, with struct io_sqring_offsets and struct io_cqring_offsets: 120 bytes.
    [StructLayout(LayoutKind.Explicit, Size = 120)]
    private struct Parameters
    {
        [FieldOffset(0)] public uint SubmissionEntries;
        [FieldOffset(4)] public uint CompletionEntries;
        [FieldOffset(8)] public uint Flags;
        [FieldOffset(44)] public uint SubmissionTail;
        [FieldOffset(64)] public uint SubmissionArray;
        [FieldOffset(84)] public uint CompletionTail;
        [FieldOffset(100)] public uint CompletionEntriesOffset;
    }
}
