namespace Crstore.Bench.Peers;

/// <summary>restic: chunks of 0.5 to 8 MiB by content, encrypted always, compressed at its default level.</summary>
internal sealed class Restic : IPeer
{
    private readonly string _repository;
    private readonly Dictionary<string, string?> _environment;

    public Restic(string directory)
    {
        _repository = Path.Combine(directory, "repository");
        _environment = new() { ["RESTIC_PASSWORD"] = "bench", ["RESTIC_CACHE_DIR"] = Path.Combine(directory, "cache") };
        AllPeers.Run("restic", ["-r", _repository, "init", "--repository-version", "2"], _environment);
    }

    public string Name => "restic";

    public bool Deduplicates => true;

    // --force: by content; an image that has the time and size of the one before is no news to it else.
    public void Store(Generation generation) =>
        AllPeers.Run("restic", ["-r", _repository, "backup", "--quiet", "--force", "--tag", $"g{generation.Number}", generation.Image], _environment);

    public void Restore(int generation, string to)
    {
        var directory = to + ".d";
        AllPeers.Run("restic", ["-r", _repository, "restore", "latest", "--quiet", "--tag", $"g{generation}", "--target", directory], _environment);
        File.Move(Directory.EnumerateFiles(directory, "*", SearchOption.AllDirectories).Single(), to);
        Directory.Delete(directory, recursive: true);
    }

    public long DiskBytes() => Directories.DiskBytes(_repository);
}
