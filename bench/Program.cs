using Crstore.Bench;
using Crstore.Bench.Micro;
using Crstore.Bench.Scenarios;

if (args is ["managed", .. var rest]) return ManagedMemory.Serve(rest); // a target of ours, not a bench

// The figures to reach. tools/bench.sh builds what is needed and calls this: bench quick|full [SCENARIO…].
IScenario[] scenarios =
[
    new FrozenTime(), new FrozenByDirty(), new FrozenWhileWriting(), new FrozenTree(), new BaseFreeze(), new BaseThroughput(), new Generations(), new ChainRestore(), new RestoreTime(), new Slowdown(), new SlowdownInHugePages(), new PageContent(), new ListTime(), new PeakMemory(), new IndexGrowth(), new RestartTime(), new Watch(), new MicroBenchmarks(),
];
if (args is not ["quick" or "full", ..])
{
    Console.Error.WriteLine($"usage: bench quick|full [{string.Join('|', scenarios.Select(s => s.Name))}]…");
    return 2;
}
var wanted = args[1..];
if (wanted.FirstOrDefault(w => scenarios.All(s => s.Name != w)) is { } unknown)
{
    Console.Error.WriteLine($"no scenario {unknown}; there are {string.Join(", ", scenarios.Select(s => s.Name))}");
    return 2;
}
using var context = new BenchContext(full: args[0] == "full");
context.Report.Line($"# crstore bench, {args[0]}");
Machine.Describe(context);
foreach (var scenario in scenarios.Where(s => wanted.Length == 0 || wanted.Contains(s.Name)))
{
    context.Report.Begin(scenario);
    try
    {
        scenario.Run(context);
    }
    catch (Exception e) when (e is not OutOfMemoryException)
    {
        context.Report.Fail(e.Message.Trim());
        Console.Error.WriteLine(e);
    }
}
context.Report.Summary();
return context.Report.Failed ? 1 : 0;
