namespace Crstore.Bench.Peers;

/// <summary>casync: chunks of about 16 KiB by content, a file each, zstd at its default level (it writes nothing out to the disk).</summary>
internal sealed class Casync(string directory) : IPeer
{
    private readonly string _store = Path.Combine(directory, "default.castr");

    public string Name => "casync 16K zstd";

    public bool Deduplicates => true;

    public void Store(Generation generation) =>
        AllPeers.Run("casync", ["make", "--store", _store, "--compression=zstd", "--chunk-size=4096:16384:65536", Index(generation.Number), generation.Image]);

    public void Restore(int generation, string to) => AllPeers.Run("casync", ["extract", "--store", _store, Index(generation), to]);

    public long DiskBytes() => Directories.DiskBytes(directory);

    private string Index(int generation) => Path.Combine(directory, $"{generation}.caibx");
}
