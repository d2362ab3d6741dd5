using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;

namespace Crstore.Tests.Store.Stores;

/// <summary>A store in a temporary directory.</summary>
internal sealed class TempStore : IDisposable
{
    private readonly string top = System.IO.Directory.CreateTempSubdirectory("crstore-test-").FullName;

    public TempStore(Compression? compression = null) => Options = new StoreOptions(Path.Combine(top, "store"))
    {
        Compression = compression ?? Compression.Default,
        LockTimeout = TimeSpan.FromMinutes(10),
    };

    public StoreOptions Options { get; set; }

    public string Directory => Options.Directory;

    public CheckpointStore Open() => CheckpointStore.OpenOrCreate(Options, out _);

    /// <summary>Captures the given content, one space; returns what was committed.</summary>
    public CheckpointHeader Capture(Memory memory, string series = "s", bool full = false)
    {
        using var store = Open();
        using var writer = store.BeginCapture(series, full);
        memory.WriteTo(writer.OpenSpace(new SpaceId(0), writer.Parent is null ? null : new SpaceId(0)));
        return writer.Commit(Memory.Manifest());
    }

    public void Dispose() => System.IO.Directory.Delete(top, recursive: true);
}
