namespace Crstore.Bench;

/// <summary>One figure to reach: one file, one registration in Program.cs.</summary>
internal interface IScenario
{
    /// <summary>Name on the command line.</summary>
    string Name { get; }

    /// <summary>Heading in the report.</summary>
    string Title { get; }

    /// <summary>Measures and reports.</summary>
    void Run(BenchContext context);
}
