using Crstore.Model;
using Crstore.Store;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>The process tree of bench/real.py: python3, redis-server and node with data.</summary>
internal sealed class RealMemory : IDisposable
{
    private readonly TargetProcess _process;

    public RealMemory(BenchContext context)
    {
        Requires.Redis();
        Requires.Program("node", "nodejs");
        _process = TargetProcess.Start(Requires.Python(), Repository.Path("bench", "real.py"), $"{context.Seed}",
            $"{context.Pick(1024, 192)}", context.FreshPath("redis.sock"));
        if (_process.ReadLine(TimeSpan.FromMinutes(3)) != "ready") throw new InvalidOperationException("real.py did not start");
    }

    public int Pid => _process.Pid;

    /// <summary>Changes about a tenth.</summary>
    public void Change()
    {
        if (_process.Ask("change", TimeSpan.FromMinutes(2)) != "changed") throw new InvalidOperationException("real.py did not change");
    }

    /// <summary>All pages with content of a checkpoint, one process behind the other, in address order.</summary>
    public static void ReadPages(string store, ulong crid, Action<ReadOnlyMemory<byte>> take)
    {
        using var opened = CheckpointStore.Open(new StoreOptions(store));
        using var reader = opened.OpenReader();
        using var image = reader.OpenImage(new Crid(crid));
        var everything = new PageRange(new VirtualPage(0), 1UL << 35);   // 47 address bits
        var buffer = new byte[1024 * VirtualPage.Size];
        foreach (var process in image.Manifest.Body.Processes.Where(p => !p.Zombie))
        {
            var space = new SpaceId(process.Space);
            foreach (var span in image.Spans(space, everything).Where(s => s.Kind == PageKind.Chunk))
                for (ulong done = 0; done < span.Range.Count; done += 1024)
                {
                    var range = new PageRange(span.Range.Start + done, Math.Min(1024, span.Range.Count - done));
                    image.Read(space, range, buffer.AsMemory(0, (int)range.SizeBytes));
                    take(buffer.AsMemory(0, (int)range.SizeBytes));
                }
        }
    }

    public void Dispose() => _process.Dispose();
}
