using Crstore.Model;

namespace Crstore.Cli;

/// <summary>Damage that a verb works around: each a warning on standard error, and at the end the exit code for damage.</summary>
internal sealed class DamageWarnings
{
    /// <summary>True if there was any.</summary>
    public bool Any { get; private set; }

    /// <summary>What the verb exits with.</summary>
    public ExitCode ExitCode => Any ? ExitCode.Damaged : ExitCode.Ok;

    /// <summary>Warns.</summary>
    public void Tell(string line)
    {
        CommandContext.Warn($"{line}; left out here, `crstore verify --all` says what is whole");
        Any = true;
    }
}
