namespace Crstore.Bench.Scenarios;

/// <summary>
/// The loop of <see cref="Slowdown"/> in huge pages. The kernel splits one at the first write after it was protected, and lets the next ones fault page by page; it is
/// put together again in the background (khugepaged), once nothing in it is protected.
/// </summary>
internal sealed class SlowdownInHugePages : IScenario
{
    public string Name => "hugepages";

    public string Title => "Slowdown of a program in huge pages that is captured every ten seconds";

    public void Run(BenchContext context) => Slowdown.Loop(context, "loop in huge pages", "huge");
}
