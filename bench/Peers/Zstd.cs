namespace Crstore.Bench.Peers;

/// <summary>
/// `zstd -1 --patch-from`: each generation as a patch to the one before, with both images in memory and nothing indexed. The smallest that is
/// to be had without looking for more; the n-th generation is n patches away.
/// </summary>
internal sealed class ZstdChain(string directory) : IPeer
{
    private string? _before;

    public string Name => "zstd -1 --patch-from chain";

    public bool Deduplicates => false;

    public void Store(Generation generation)
    {
        string[] from = _before is null ? [] : [$"--patch-from={_before}"];
        AllPeers.Run("zstd", ["-1", "-T2", "-q", "--long=31", .. from, generation.Image, "-o", Patch(generation.Number)]);
        _before = generation.Image;
    }

    public void Restore(int generation, string to)
    {
        string? before = null;
        for (var i = 0; i <= generation; i++)
        {
            var next = i == generation ? to : $"{to}.{i}";
            string[] from = before is null ? [] : [$"--patch-from={before}"];
            AllPeers.Run("zstd", ["-d", "-q", "--long=31", .. from, Patch(i), "-o", next]);
            if (before is not null) File.Delete(before);
            before = next;
        }
    }

    public long DiskBytes() => Directories.DiskBytes(directory);

    private string Patch(int generation) => Path.Combine(directory, $"{generation}.zst");
}

/// <summary>
/// The floor of the time: `zstd -1 -T2` over the pages that are not the same as before, and nothing else: who finds them, what they are, where
/// they go and that they are on the disk is left to others.
/// </summary>
internal sealed class ZstdDirty(string directory) : IPeer
{
    public string Name => "zstd -1 -T2 of the dirty pages";

    public bool Deduplicates => false;

    public void Store(Generation generation) => AllPeers.Run("zstd", ["-1", "-T2", "-q", generation.Dirty, "-o", Path.Combine(directory, $"{generation.Number}.zst")]);

    public void Restore(int generation, string to) => throw new NotSupportedException("pages without places");

    public long DiskBytes() => Directories.DiskBytes(directory);
}
