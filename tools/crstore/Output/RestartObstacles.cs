using Crstore.Model;
using Crstore.Model.Format;
using Crstore.Objects;
using Crstore.Objects.Files;
using Crstore.Objects.Processes;

namespace Crstore.Cli;

/// <summary>What stands in the way of a restart of what was just captured.</summary>
internal sealed class RestartObstacles
{
    private readonly Task<List<string>> found;

    private RestartObstacles(Task<List<string>> found) => this.found = found;

    /// <summary>Begins to look on a thread of its own, beside the commit: most of which is waiting for syncs.</summary>
    public static RestartObstacles Find(CheckpointBody body)
    {
        var translated = IdsInside.Translate(body); // which may copy it: not while the commit adds to it
        return new(Task.Factory.StartNew(() => In(translated), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default));
    }

    /// <summary>A sentence with the first one; null if there is none.</summary>
    public static string? Of(CheckpointManifest manifest) => Sentence(manifest.Crid, In(IdsInside.Translate(manifest.Body)));

    /// <summary>The same of what was looked for, once it has a CRID.</summary>
    public string? Of(Crid crid) => Sentence(crid, found.GetAwaiter().GetResult());

    private static List<string> In((CheckpointBody Body, IdsInside Ids) translated)
    {
        using var scene = new RestartScene(translated) { JustCaptured = true };
        return Verdicts.Obstacles(scene);
    }

    private static string? Sentence(Crid crid, List<string> obstacles) => obstacles is [var first, .. var rest]
        ? $"CRID {crid} can't be restarted: {first}{(rest.Count == 0 ? "" : $", and {rest.Count} more (`crstore check --crid {crid}`)")}"
        : null;
}
