using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Bench;

/// <summary>What every scenario gets: size, seed, the published program, a directory on disk, the report.</summary>
internal sealed class BenchContext : IDisposable
{
    private readonly TempDir _work;
    private int _directories;

    public BenchContext(bool full)
    {
        Full = full;
        Seed = int.Parse(Environment.GetEnvironmentVariable("CRSTORE_SEED") ?? "1", CultureInfo.InvariantCulture);
        Program = Required("CRSTORE_BENCH_PROGRAM");
        Tools = Required("CRSTORE_BENCH_TOOLS");
        _work = new TempDir("crstore-bench-");
        Report = new Report(Required("CRSTORE_BENCH_REPORT"));
    }

    /// <summary>Full sizes; else a tenth to a quarter, for a look.</summary>
    public bool Full { get; }

    /// <summary>Of all randomness; CRSTORE_SEED.</summary>
    public int Seed { get; }

    /// <summary>The published crstore.</summary>
    public string Program { get; }

    /// <summary>Where the C programs of bench/ are, compiled.</summary>
    public string Tools { get; }

    /// <summary>bench/floor.c, compiled.</summary>
    public string FloorProgram => Tool("floor");

    /// <summary>Where the figures go.</summary>
    public Report Report { get; }

    /// <summary>One of two, by size.</summary>
    public T Pick<T>(T full, T quick) => Full ? full : quick;

    /// <summary>One of the C programs.</summary>
    public string Tool(string name) => Path.Combine(Tools, name);

    /// <summary>A fresh path in the bench's directory; not created.</summary>
    public string FreshPath(string name) => _work.File($"{name}-{++_directories}");

    /// <inheritdoc/>
    public void Dispose() => _work.Dispose();

    private static string Required(string variable) => Environment.GetEnvironmentVariable(variable)
        ?? throw new InvalidOperationException($"{variable} is not set: run tools/bench.sh");
}
