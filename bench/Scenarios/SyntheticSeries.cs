using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;
using Google.Protobuf;

namespace Crstore.Bench.Scenarios;

/// <summary>Checkpoints of a process that never was, through the store's own interface: one VMA of anonymous memory.</summary>
internal sealed class SyntheticSeries(string name, ulong pages)
{
    private readonly VirtualPage _first = new(0x400);

    /// <summary>Commits the next one: everything as in the parent but the pages given, which must ascend.</summary>
    /// <param name="store">Where to.</param>
    /// <param name="changed">Page number within the VMA and its 4096 bytes; neighbours are joined.</param>
    public Crid Add(CheckpointStore store, IEnumerable<(ulong Page, ReadOnlyMemory<byte> Content)> changed)
    {
        using var writer = store.BeginCapture(name, full: false);
        var space = writer.OpenSpace(new SpaceId(0), writer.Parent is null ? null : new SpaceId(0));
        if (writer.Parent is not null) space.Keep(new PageRange(_first, pages));
        foreach (var (page, content) in changed) space.SetContent(_first + page, content);
        var vma = new Vma { Start = _first.Address, End = (_first + pages).Address, Protection = 3, Content = VmaContent.Saved };
        var thread = new Model.Format.Thread { Tid = 1000, Name = "bench", Registers = ByteString.CopyFrom(new byte[27 * 8]) }; // struct user_regs_struct
        var stat = ByteString.CopyFromUtf8("1000 (bench) S" + string.Concat(Enumerable.Repeat(" 0", 49)) + "\n");
        var process = new Process { Pid = 1000, Comm = "bench", Vmas = { vma }, Threads = { thread }, Stat = stat };
        var body = new CheckpointBody { Host = new Host(), Processes = { process }, Proofs = { new TrackerProof { Pid = 1000, Tracker = TrackerKind.Hash } } };
        var header = new CheckpointHeader
        {
            RootPid = 1000, Command = "bench", Processes = 1, Threads = 1, Tracker = TrackerKind.Hash, FrozenNs = 1_000_000,
            CapturedUnixNs = (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks * 100, Pages = new PageCounters { Logical = pages, Dirty = pages },
        };
        writer.Commit(new CheckpointManifest(header, body));
        return writer.Crid;
    }
}
