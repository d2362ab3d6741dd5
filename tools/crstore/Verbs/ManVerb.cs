using System.CommandLine;
using Crstore.Model;

namespace Crstore.Cli.Verbs;

/// <summary>`man`, hidden: the man page, generated from the same texts as `--help`.</summary>
internal sealed class ManVerb : Verb
{
    private readonly RootCommand _root;

    /// <summary>Creates the verb for a tree.</summary>
    public ManVerb(CommandContext context, RootCommand root) : base("man", "Print the man page as troff source.", context)
    {
        _root = root;
        Hidden = true;
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Example> Examples => [new("man | man -l -", "read it")];

    /// <inheritdoc/>
    protected override ExitCode Run(ParseResult parsed)
    {
        new ManPage(Context.Out).Write(_root);
        return ExitCode.Ok;
    }
}
