namespace Crstore.Bench.Peers;

/// <summary>borg with chunks of one page, so that it finds every page that is there already, wherever; no encryption.</summary>
internal sealed class Borg : IPeer
{
    private readonly string _repository;
    private readonly Dictionary<string, string?> _environment;

    public Borg(string directory)
    {
        _repository = Path.Combine(directory, "repository");
        _environment = new() { ["BORG_BASE_DIR"] = Path.Combine(directory, "home"), ["BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"] = "yes" };
        AllPeers.Run("borg", ["init", "-e", "none", _repository], _environment);
    }

    public string Name => "borg fixed,4096 zstd,1";

    public bool Deduplicates => true;

    public void Store(Generation generation) => AllPeers.Run("borg",
        ["create", "--chunker-params", "fixed,4096", "--compression", "zstd,1", "--files-cache", "disabled", $"{_repository}::g{generation.Number}", generation.Image],
        _environment);

    public void Restore(int generation, string to)
    {
        var directory = Directory.CreateDirectory(to + ".d").FullName;
        AllPeers.Run("borg", ["extract", $"{_repository}::g{generation}"], _environment, directory);
        File.Move(Directory.EnumerateFiles(directory, "*", SearchOption.AllDirectories).Single(), to);
        Directory.Delete(directory, recursive: true);
    }

    public long DiskBytes() => Directories.DiskBytes(_repository);
}
