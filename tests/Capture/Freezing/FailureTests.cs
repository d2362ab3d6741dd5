using Crstore.Capture;
using Crstore.Linux;
using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Freezing;

public sealed class FailureTests
{
    private const int Pairs = 100;

    [Fact]
    public void A_capture_that_fails_while_it_copies_is_done_with_the_files_before_the_target_runs_again()
    {
        using var target = TargetProcess.Python($"""
            import socket, sys
            pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range({Pairs})]
            for one, other in pairs: one.send(b'waiting')
            ballast = bytearray(b'x' * (8 << 20))
            print('ready', flush=True)
            sys.stdin.readline()
            """);
        target.Expect("ready");
        var sockets = FdLinks.Of(target.Pid).Where(l => l.StartsWith("socket:", StringComparison.Ordinal)).ToHashSet();
        Assert.True(sockets.Count >= 2 * Pairs);
        var wasFrozen = false;
        for (var attempt = 0; attempt < 1000 && !wasFrozen; attempt++)
        {
            var over = false;
            List<string> held = [];
            var watcher = new System.Threading.Thread(() =>
            {
                while (!Volatile.Read(ref over))
                {
                    if (TaskStatusFile.Read(target.Pid)!.TracerPid != 0) wasFrozen = true;
                    else if (wasFrozen) held.AddRange(FdLinks.Of(Environment.ProcessId).Where(sockets.Contains));
                }
            });
            watcher.Start();
            var options = new CaptureOptions { Pid = target.Pid, Tracker = TrackerKind.Hash, BufferBytes = 1 << 20, MaxFrozen = 2 * Patience.Limit };
            var error = Record.Exception(() => CaptureSession.Run(options, new FullWriter(AwaitWatcher), null, TestContext.Current.CancellationToken));
            Volatile.Write(ref over, true);
            watcher.Join();
            Assert.Equal("full", Assert.IsType<IOException>(error).Message);
            Assert.Empty(held);
        }

        Assert.True(wasFrozen);
        Assert.False(target.HasExited);

        // The freeze lasts until it was seen, however busy the machine is.
        void AwaitWatcher() => Patience.Until(() => Volatile.Read(ref wasFrozen) || TaskStatusFile.Read(target.Pid)!.TracerPid == 0, "the watcher to see the freeze", pauseMs: 1);
    }

    // Its first page is one too many.
    private sealed class FullWriter(Action first) : ICheckpointWriter
    {
        public Crid Crid => new(1);

        public Guid StoreId { get; } = Guid.NewGuid();

        public PhaseClock Clock { get; } = new();

        public CheckpointManifest? Parent => null;

        public IReadOnlySet<TrackerKind> DistrustedTrackers { get; } = new HashSet<TrackerKind>();

        public PageCounters Counters { get; } = new();

        public ISpaceWriter OpenSpace(SpaceId id, SpaceId? parentSpace) => new Space(first);

        public CheckpointHeader Commit(CheckpointManifest manifest, TrackerKind? distrust = null, Action<CheckpointHeader>? finalize = null) =>
            throw new InvalidOperationException("it has failed before");

        public void Dispose()
        {
        }

        private sealed class Space(Action first) : ISpaceWriter
        {
            public IReadOnlyList<PageSpan> ParentSpans => [];

            public void Keep(PageRange range)
            {
            }

            public void SetZero(PageRange range)
            {
            }

            public void SetExcluded(PageRange range)
            {
            }

            public void SetAbsent(PageRange range)
            {
            }

            public void SetContent(VirtualPage page, ReadOnlyMemory<byte> pages)
            {
                first();
                throw new IOException("full");
            }

            public bool MatchesParent(VirtualPage page, ReadOnlySpan<byte> content) => true;

            public void Clear()
            {
            }
        }
    }
}
