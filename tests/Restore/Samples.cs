using System.Text;
using Crstore.Model;
using Crstore.Model.Format;
using Google.Protobuf;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Tests.Restore;

/// <summary>Processes and pages made up for tests.</summary>
internal static class Samples
{
    public const ulong PageSize = VirtualPage.Size;

    public static Process Process(int pid, params Vma[] vmas)
    {
        var process = new Process
        {
            Pid = pid,
            Ppid = 1,
            Pgid = pid,
            Sid = pid,
            Comm = "a) (b",
            Cmdline = ByteString.CopyFromUtf8("prog\0arg\0"),
            Auxv = ByteString.CopyFrom(new byte[16]),
            Stat = ByteString.CopyFromUtf8(StatLine(pid, "a) (b")),
            Credentials = new Credentials { Uid = { 1000, 1000, 1000, 1000 }, Gid = { 100, 100, 100, 100 } },
        };
        process.Vmas.AddRange(vmas);
        process.Threads.Add(Thread(pid, 1));
        return process;
    }

    public static Thread Thread(int tid, byte fill) => new()
    {
        Tid = tid,
        Name = "t",
        Sigmask = 0x123,
        Registers = ByteString.CopyFrom(Enumerable.Repeat(fill, 216).ToArray()),
        Xstate = ByteString.CopyFrom(Enumerable.Repeat((byte)(fill + 1), 832).ToArray()),
        Stat = ByteString.CopyFromUtf8(StatLine(tid, "t")),
    };

    public static string StatLine(int id, string comm) =>
        $"{id} ({comm}) S 1 2 3 0 -1 4194304 5 6 7 8 250 130 11 12 20 -5 1 0 4242 1000 10 18446744073709551615 "
        + "26 27 28 0 0 0 0 0 0 0 0 0 17 1 3 2 0 0 0 45 46 47 48 49 50 51 0\n";

    public static Vma Anonymous(ulong start, ulong pages, uint protection = 3) => new()
    {
        Start = start,
        End = start + (pages * PageSize),
        Protection = protection,
        Content = VmaContent.Saved,
        Name = "",
    };

    public static Vma Mapped(ulong start, ulong pages, FileRef file, ulong offset = 0, uint protection = 5) => new()
    {
        Start = start,
        End = start + (pages * PageSize),
        Protection = protection,
        Content = VmaContent.FileBacked,
        Name = file.Path,
        Inode = file.Inode,
        OffsetBytes = offset,
        Backing = file,
    };

    public static byte[] Page(string text)
    {
        var page = new byte[PageSize];
        Encoding.ASCII.GetBytes(text, page);
        page[^1] = 0xEE;
        return page;
    }
}
