namespace Crstore.Objects.Processes;

/// <summary>All parts of processes that have a verdict: a new one is one file and one line here.</summary>
public static class ProcessParts
{
    /// <summary>In the order of docs/LIMITS.md.</summary>
    public static IReadOnlyList<IProcessPart> All { get; } =
    [
        new CapturedState(),
        new Settings(),
        new Mappings(),
        new Program(),
        new WorkingDirectory(),
        new SessionsAndGroups(),
        new Namespaces(),
        new SeccompFilters(),
        new SecurityLabels(),
        new ControlGroups(),
    ];
}
