using System.CommandLine;
using System.CommandLine.Help;
using Crstore.Cli.Verbs;

namespace Crstore.Cli;

/// <summary>The root command and the list of verbs: a new verb is one file and one line here.</summary>
internal static class CommandTree
{
    /// <summary>What the root says of itself.</summary>
    public const string Summary = "Incremental checkpoints of live processes, deduplicated and chained, any of them restored at constant cost.";

    /// <summary>Builds the tree.</summary>
    public static RootCommand Build(CommandContext context)
    {
        var root = new RootCommand(Summary) { HelpName = "crstore" };
        // The library's own also answers to /? and /h, which are paths here.
        root.Options.Remove(root.Options.OfType<HelpOption>().Single());
        var help = new HelpOption("--help", "-h");
        help.Action = new HelpWithExamples((HelpAction)help.Action!, context.Out);
        root.Options.Add(help);
        root.Options.Add(StoreLocation.Option);
        foreach (var verb in Verbs(context, root)) root.Subcommands.Add(verb);
        return root;
    }

    private static IEnumerable<Verb> Verbs(CommandContext context, RootCommand root) =>
    [
        new CaptureVerb(context),
        new WaitVerb(context),
        new CommitVerb(context),
        new DiscardVerb(context),
        new WatchVerb(context),
        new ListVerb(context),
        new SeriesVerb(context),
        new ShowVerb(context),
        new StatsVerb(context),
        new RestoreVerb(context),
        new RestartVerb(context),
        new CheckVerb(context),
        new DiffVerb(context),
        new VerifyVerb(context),
        new ForgetVerb(context),
        new GcVerb(context),
        new UntrackVerb(context),
        new DoctorVerb(context),
        new ManVerb(context, root),
    ];
}
