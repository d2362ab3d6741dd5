using Crstore.Model;
using Crstore.Objects;
using Crstore.Objects.Files;

namespace Crstore.Cli;

/// <summary>What stands in the way of a restart of what was just captured.</summary>
internal static class RestartObstacles
{
    /// <summary>A sentence with the first one; null if there is none.</summary>
    public static string? Of(CheckpointManifest manifest)
    {
        using var scene = new RestartScene(manifest.Body) { JustCaptured = true };
        if (Verdicts.Obstacles(scene) is not [var first, .. var rest]) return null;
        return $"CRID {manifest.Crid} can't be restarted: {first}{(rest.Count == 0 ? "" : $", and {rest.Count} more (`crstore check --crid {manifest.Crid}`)")}";
    }
}
