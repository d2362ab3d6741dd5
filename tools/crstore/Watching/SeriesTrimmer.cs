using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Store;

namespace Crstore.Cli.Watching;

/// <summary>`watch --keep-last N`: forgets what is older than the last N of the series, whoever captured it. gc is left to gc.</summary>
internal sealed class SeriesTrimmer(CheckpointStore store, string series, int keep)
{
    private List<Crid> _known = [];

    /// <summary>After a capture: returns how many were forgotten.</summary>
    public int Trim(CheckpointHeader captured)
    {
        // All headers of a store are a lot to read ten times a second: only if another capture came in between.
        if (_known.Count > 0 && _known[^1].Value == captured.ParentCrid) _known.Add(new Crid(captured.Crid));
        else _known = ReadAll();
        // A gc that is under way comes first: afterwards all is forgotten that has become old meanwhile.
        if (_known.Count <= keep || store.IsCollecting) return 0;
        var gone = _known.GetRange(0, _known.Count - keep);
        try
        {
            store.Forget(gone, dryRun: false, damaged => CommandContext.Warn($"{damaged}; it stays as it is"));
        }
        catch (UsageException)
        {
            _known = []; // somebody else has forgotten some of them: seen anew after the next capture
            return 0;
        }
        catch (StoreBusyException busy)
        {
            CommandContext.Warn($"{busy.Message}; older checkpoints are forgotten after the next capture");
            return 0;
        }

        _known.RemoveRange(0, gone.Count);
        return gone.Count;
    }

    private List<Crid> ReadAll()
    {
        using var reader = store.OpenReader();
        return [.. reader.Headers(series).Select(header => new Crid(header.Crid))];
    }
}
