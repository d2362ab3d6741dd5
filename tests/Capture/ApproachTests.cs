using Crstore.Capture;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Memory;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture;

/// <summary>From <see cref="ICheckpointWriter.Approach"/> on, others may have to wait for the store: what is looked at in a file system, which may be slow, comes before it.</summary>
public sealed class ApproachTests
{
    [Fact]
    public void No_mapped_file_is_looked_at_behind_it()
    {
        using var directory = new TempDir();
        var path = directory.File("data");
        File.WriteAllBytes(path, new byte[1 << 16]); // has no build id
        using var target = TrapTests.Started();
        target.Ask($"file f {path} 16");
        Requires.That(RawFile.FileSystemType(path) != RawFile.TmpfsMagic, "a temporary directory on a disk: a file of tmpfs is memory");
        // Whoever looks again finds one.
        using var writer = new WatchingWriter(() => File.WriteAllBytes(path, File.ReadAllBytes(Targets.Path("pattern_writer"))));
        Assert.Empty(BuildId(writer));
        Assert.True(writer.Approached);
        Assert.NotEmpty(BuildId(writer)); // it is looked at, before

        Google.Protobuf.ByteString BuildId(ICheckpointWriter into) => CaptureSession.Run(new CaptureOptions { Pid = target.Pid, Tracker = TrackerKind.Hash }, into, null, CancellationToken.None)
            .Body.Processes[0].Vmas.Select(v => v.Backing).First(b => b?.Path == path)!.BuildId;
    }

    [Fact]
    public void What_could_not_be_restarted_is_refused_before_it()
    {
        using var target = TargetProcess.Start(new TargetStart(Requires.Python(), "-u", "-c", "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); c = socket.create_connection(s.getsockname()); print('ready'); input()"));
        target.Expect("ready");
        using var writer = new WatchingWriter(() => { });
        Assert.Throws<TargetException>(() => CaptureSession.Run(new CaptureOptions { Pid = target.Pid, Tracker = TrackerKind.Hash, RequireRestartable = true }, writer, null, CancellationToken.None));
        Assert.False(writer.Approached);
    }

    private sealed class WatchingWriter(Action approached) : ICheckpointWriter
    {
        public bool Approached { get; private set; }

        public Crid Crid => new(2);

        public Guid StoreId { get; } = Guid.NewGuid();

        public PhaseClock Clock { get; } = new();

        public CheckpointManifest? Parent => null;

        public IReadOnlySet<TrackerKind> DistrustedTrackers { get; } = new HashSet<TrackerKind>();

        public PageCounters Counters { get; } = new();

        public ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace) => new MemorySpace(null);

        public void Approach()
        {
            Approached = true;
            approached();
        }

        public CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null) => manifest.Header;

        public void Dispose()
        {
        }
    }
}
