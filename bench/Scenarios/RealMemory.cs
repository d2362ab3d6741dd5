using Crstore.Model;
using Crstore.Store;
using Crstore.Tests.Support;

namespace Crstore.Bench.Scenarios;

/// <summary>The process tree of bench/real.py: python3 and what is asked for, with data.</summary>
internal sealed class RealMemory : IDisposable
{
    /// <summary>What `base` has always been measured with.</summary>
    public static readonly string[] Three = ["redis", "node", "python"];

    /// <summary>All there is.</summary>
    public static readonly string[] All = [.. Three, "sqlite", "managed"];

    private readonly TargetProcess _process;

    /// <param name="context">The run.</param>
    /// <param name="parts">What the tree has.</param>
    /// <param name="seed">Of the data.</param>
    /// <param name="mebibytes">Of all parts together; null: what most scenarios use.</param>
    public RealMemory(BenchContext context, string[] parts, int seed, int? mebibytes = null)
    {
        Requires.Redis();
        Requires.Program("node", "nodejs");
        RedisSocket = context.FreshPath("redis.sock");
        _process = TargetProcess.Start(new TargetStart(Requires.Python(), [Repository.Path("bench", "real.py"), $"{seed}", $"{mebibytes ?? context.Pick(1024, 192)}", RedisSocket, .. parts])
        {
            Environment = new Dictionary<string, string?> { ["DOTNET_PROGRAM"] = Environment.ProcessPath },
        });
        if (_process.ReadLine(TimeSpan.FromMinutes(5)) != "ready") throw new InvalidOperationException("real.py did not start");
    }

    /// <summary>Where its redis-server listens.</summary>
    public string RedisSocket { get; }

    public int Pid => _process.Pid;

    /// <summary>Changes about a tenth.</summary>
    public void Change()
    {
        if (_process.Ask("change", TimeSpan.FromMinutes(2)) != "changed") throw new InvalidOperationException("real.py did not change");
    }

    /// <summary>All pages with content of a checkpoint, one process behind the other, in address order.</summary>
    public static void ReadPages(string store, ulong crid, Action<ReadOnlyMemory<byte>> take) => ReadPages(store, crid, (_, _, content) => take(content));

    /// <summary>The same, with whose they are and where the first one is.</summary>
    public static void ReadPages(string store, ulong crid, Action<SpaceId, VirtualPage, ReadOnlyMemory<byte>> take)
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
                    take(space, range.Start, buffer.AsMemory(0, (int)range.SizeBytes));
                }
        }
    }

    public void Dispose() => _process.Dispose();
}
