using System.Globalization;
using Crstore.Tests.Support;

namespace Crstore.Tests.Cli;

/// <summary>tools/demo_target.py: a python3 process that records what its own pages hold at each generation.</summary>
internal sealed class DemoTarget : IDisposable
{
    private readonly TempDir _records = new("crstore-records-");
    private readonly TargetProcess _process;

    /// <summary>Starts one; its first generation is there when this returns.</summary>
    public DemoTarget(int mib = 10, int uid = 0)
    {
        if (uid != 0) _records.OpenToAll();
        _process = TargetProcess.Start(new TargetStart(Requires.Python(),
            ["-u", uid == 0 ? Repository.Path("tools", "demo_target.py") : OtherUser.DemoTargetScript, _records.Path, "--mib", mib.ToString(CultureInfo.InvariantCulture)])
        { Uid = uid });
        AwaitGeneration();
    }

    /// <summary>Process id.</summary>
    public int Pid => _process.Pid;

    /// <summary>The last generation that was recorded.</summary>
    public int Generation { get; private set; }

    /// <summary>The process.</summary>
    public TargetProcess Process => _process;

    /// <summary>Changes state and records it: shows too that the target still works.</summary>
    public void Next()
    {
        _process.Send("go");
        AwaitGeneration();
    }

    /// <summary>True if a core holds exactly what the target recorded at a generation; by tools/demo_compare.py, which knows nothing of crstore.</summary>
    public bool IsIn(string core, int generation)
    {
        var result = Run.Command(Requires.Python(),
            [Repository.Path("tools", "demo_compare.py"), core, _records.File($"generation-{generation}.json")]);
        return result.ExitCode switch { 0 => true, 1 => false, _ => throw new InvalidDataException(result.ToString()) };
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _process.Dispose();
        _records.Dispose();
    }

    private void AwaitGeneration() =>
        Generation = int.Parse(_process.Expect("ready ").Split(' ')[0], CultureInfo.InvariantCulture);
}
