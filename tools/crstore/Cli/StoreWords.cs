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
        argument.CompletionSources.Add(context => Words(context, crids: true, series));
        // Without a name of its own the help shows what completion offers: it would open the store and list all of it.
        argument.HelpName = argument.Name;
    }

    /// <summary>Completes an option with names of series.</summary>
    public static void CompleteSeries(Option option) => option.CompletionSources.Add(context => Words(context, crids: false, series: true));

    private static List<CompletionItem> Words(CompletionContext context, bool crids, bool series)
    {
        try
        {
            using var store = CheckpointStore.Open(new StoreOptions(StoreLocation.Of(context.ParseResult)));
            using var reader = store.OpenReader();
            var words = new List<string>();
            if (crids) words.AddRange(reader.Headers().Select(header => new Crid(header.Crid).ToString()));
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
