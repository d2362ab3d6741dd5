using Crstore.Linux.Proc;
using Thread = Crstore.Model.Format.Thread;

namespace Crstore.Objects.Processes;

/// <summary>
/// PR_SET_SPECULATION_CTRL(2const), of which /proc/PID/status has a line for each of two kinds: "thread mitigated" and the like where a thread may
/// choose ("conditional …" for indirect branches), else what the machine does for all.
/// </summary>
public static class Speculation
{
    /// <summary>PR_SPEC_STORE_BYPASS, PR_SPEC_INDIRECT_BRANCH.</summary>
    public const int StoreBypass = 0, IndirectBranch = 1;

    private const int Enable = 2, Disable = 4, ForceDisable = 8, DisableNoExec = 16; // PR_SPEC_
    private static readonly Lazy<StatusLines> Own = new(() => StatusLines.Parse(File.ReadAllBytes("/proc/thread-self/status")));

    /// <summary>What this process's threads have of a kind, and those that are made by it.</summary>
    public static string Mine(int kind) => kind == StoreBypass ? Own.Value.StoreBypass : Own.Value.IndirectBranch;

    /// <summary>What a thread had.</summary>
    public static string Of(Thread thread, int kind)
    {
        ArgumentNullException.ThrowIfNull(thread);
        return kind == StoreBypass ? thread.StoreBypass : thread.IndirectBranch;
    }

    /// <summary>What a thread that has <paramref name="mine"/> is to set; null: nothing, it has that, or it can't be changed.</summary>
    public static int? Setting(string theirs, string mine)
    {
        // Nobody can undo "force".
        if (theirs == mine || !IsChoice(mine) || mine.Contains("force", StringComparison.Ordinal)) return null;
        return theirs switch
        {
            "thread vulnerable" or "conditional enabled" => Enable,
            "thread mitigated" or "conditional disabled" => Disable,
            "thread force mitigated" or "conditional force disabled" => ForceDisable,
            // The kernel's word for what ends with execve(2), where others have a choice.
            "vulnerable" => DisableNoExec,
            _ => null,
        };
    }

    /// <summary>What a thread loses on this machine; null: nothing.</summary>
    public static string? WhyNot(Thread thread) => WhyNot("speculative store bypass", Of(thread, StoreBypass), Mine(StoreBypass))
        ?? WhyNot("speculation of indirect branches", Of(thread, IndirectBranch), Mine(IndirectBranch));

    /// <summary>The same of one kind.</summary>
    public static string? WhyNot(string what, string theirs, string mine) =>
        IsChoice(theirs) && IsSafe(theirs) && mine is "vulnerable" or "always enabled" ? $"{what} was off ({theirs}), and this machine has it on for all ({mine})" : null;

    private static bool IsChoice(string state) => state.StartsWith("thread ", StringComparison.Ordinal) || state.StartsWith("conditional ", StringComparison.Ordinal);

    private static bool IsSafe(string state) => state.EndsWith("mitigated", StringComparison.Ordinal) || state.EndsWith("disabled", StringComparison.Ordinal);
}
