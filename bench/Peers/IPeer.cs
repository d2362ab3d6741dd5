namespace Crstore.Bench.Peers;

/// <summary>
/// A program that stores generations of one image, each a file that it is given, and gives them back. All are called as a user would, a
/// cold process each time; one repository each.
/// </summary>
internal interface IPeer
{
    /// <summary>Name and settings, for tables.</summary>
    string Name { get; }

    /// <summary>True if equal pages of any generation are stored once: only such a peer is compared by the time of a restore.</summary>
    bool Deduplicates { get; }

    /// <summary>Stores the next generation.</summary>
    void Store(Generation generation);

    /// <summary>Writes the image of a generation, 0 the first, to a path that is not there yet.</summary>
    void Restore(int generation, string to);

    /// <summary>What its repository takes on the disk.</summary>
    long DiskBytes();
}

/// <summary>A generation of an image, as the peers get it.</summary>
/// <param name="Number">0 is the first.</param>
/// <param name="Image">All pages with content.</param>
/// <param name="Dirty">Those that are not the same as in the generation before.</param>
internal sealed record Generation(int Number, string Image, string Dirty);

/// <summary>Those that are installed.</summary>
internal static class AllPeers
{
    /// <summary>Fresh repositories; the report names what is missing.</summary>
    public static List<IPeer> Open(BenchContext context)
    {
        var peers = new List<IPeer>();
        foreach (var (program, make) in new (string, Func<string, IPeer>)[]
        {
            ("borg", d => new Borg(d)), ("restic", d => new Restic(d)), ("casync", d => new Casync(d)), ("zstd", d => new ZstdChain(d)), ("zstd", d => new ZstdDirty(d)),
        })
            if (Tests.Support.Requires.Has(program)) peers.Add(make(Directory.CreateDirectory(context.FreshPath(program)).FullName));
            else context.Report.Line($"{program} is not installed: nothing to compare with.");
        return peers;
    }

    /// <summary>A command that must succeed.</summary>
    public static void Run(string program, IEnumerable<string> arguments, IReadOnlyDictionary<string, string?>? environment = null, string? directory = null) =>
        Tests.Support.Run.Command(program, arguments, timeout: TimeSpan.FromMinutes(20), environment: environment, directory: directory).MustSucceed();
}
