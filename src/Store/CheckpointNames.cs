using System.Globalization;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Store;

/// <summary>How a user names a checkpoint: CRID, or SERIES[@latest|@N|@TIME].</summary>
internal static class CheckpointNames
{
    /// <summary>Finds it.</summary>
    /// <param name="spec">The name.</param>
    /// <param name="root">The store, for messages.</param>
    /// <param name="exists">There is a checkpoint of that CRID.</param>
    /// <param name="headers">Of a series, in CRID order.</param>
    /// <param name="unknown">What to say of a CRID that there is not.</param>
    /// <exception cref="UsageException">There is none.</exception>
    public static Crid Resolve(string spec, string root, Func<Crid, bool> exists, Func<string, IEnumerable<CheckpointHeader>> headers, Func<Crid, UsageException> unknown)
    {
        if (Crid.TryParse(spec, out var crid))
        {
            if (exists(crid)) return crid;
            if (!headers(spec).Any()) throw unknown(crid);
        }

        // A name may hold an @ itself: the whole text is tried first.
        var whole = headers(spec).ToList();
        if (whole.Count > 0) return new Crid(whole[^1].Crid);
        var at = spec.LastIndexOf('@');
        var (name, which) = at > 0 ? (spec[..at], spec[(at + 1)..]) : (spec, "latest");
        var all = at > 0 ? headers(name).ToList() : [];
        if (all.Count == 0) throw new UsageException($"there is no series \"{name}\" in {root}", "`crstore series` shows what there is");
        return Pick(all, name, which);
    }

    /// <summary>When it was captured.</summary>
    public static DateTimeOffset TimeOf(CheckpointHeader header) => DateTimeOffset.UnixEpoch.AddTicks(header.CapturedUnixNs / 100);

    /// <summary>As `list` shows it.</summary>
    private static string Local(DateTimeOffset time) => time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture);

    private static Crid Pick(List<CheckpointHeader> all, string name, string which)
    {
        if (which == "latest") return new Crid(all[^1].Crid);
        if (int.TryParse(which, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            return number >= 1 && number <= all.Count ? new Crid(all[number - 1].Crid)
                : throw new UsageException($"series \"{name}\" has checkpoints @1 to @{all.Count}, no @{number}", $"`crstore list --series {name}` shows them; a CRID is given without the series");
        if (!DateTimeOffset.TryParse(which, CultureInfo.InvariantCulture, DateTimeStyles.AssumeLocal, out var time))
            throw new UsageException($"\"@{which}\" is neither @latest, a number nor a time", $"for instance {name}@latest, {name}@3, {name}@2026-01-31T12:00, '{name}@2026-01-31 12:00:05'");
        // A whole second means all of it: `list` shows no fractions, and what it shows must find what it shows.
        var end = time.Ticks % TimeSpan.TicksPerSecond == 0 ? time.AddTicks(TimeSpan.TicksPerSecond - 1) : time;
        var before = all.Where(h => TimeOf(h) <= end).ToList();
        return before.Count > 0 ? new Crid(before.MaxBy(h => (h.CapturedUnixNs, h.Crid))!.Crid)
            : throw new UsageException($"series \"{name}\" has no checkpoint at or before {Local(time)}; the first one is of {Local(TimeOf(all.MinBy(h => h.CapturedUnixNs)!))}",
                $"`crstore list --series {name}` shows all of them; {name}@1 is the first one");
    }
}
