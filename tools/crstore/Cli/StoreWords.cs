using System.CommandLine;
using System.CommandLine.Completions;
using Crstore.Model;
using Crstore.Store;

namespace Crstore.Cli;

/// <summary>Words of the store for the shell's completion: CRIDs, and names of series.</summary>
internal static class StoreWords
{
    /// <summary>Completes an argument with CRIDs, and with names of series where they stand for a checkpoint.</summary>
    public static void Complete(Argument argument, bool series)
    {
        // Without a name of its own the help shows the words themselves, all of them.
        argument.HelpName ??= argument.Name;
        argument.CompletionSources.Add(context => Words(context, crids: true, series));
    }

    /// <summary>Completes an argument with CRIDs of checkpoints that are in memory only.</summary>
    public static void CompleteInMemory(Argument argument)
    {
        argument.HelpName ??= argument.Name;
        argument.CompletionSources.Add(context => Words(context, crids: true, series: false, inMemory: true));
    }

    /// <summary>Completes an option with names of series.</summary>
    public static void CompleteSeries(Option option) => option.CompletionSources.Add(context => Words(context, crids: false, series: true));

    private static List<CompletionItem> Words(CompletionContext context, bool crids, bool series, bool inMemory = false)
    {
        try
        {
            using var store = CheckpointStore.Open(StoreLocation.OptionsOf(context.ParseResult));
            using var reader = store.OpenView();
            var words = new List<string>();
            if (crids) words.AddRange(reader.Headers().Select(header => new Crid(header.Crid)).Where(crid => !inMemory || reader.IsInMemory(crid)).Select(crid => crid.ToString()));
            if (series) words.AddRange(reader.Series().Select(known => known.Name));
            return [.. words.Select(word => new CompletionItem(word))];
        }
        catch (CrstoreException)
        {
            // No store, or none that may be read: nothing to offer, and no place for a message.
            return [];
        }
    }
}
