using Crstore.Capture.Tracking;
using Crstore.Model.Format;
using Crstore.Tests.Support;

namespace Crstore.Tests.Memory;

/// <summary>The trackers to test with, each skipped, with the kernel's reason, where it does not work.</summary>
internal static class Trackers
{
    public static void Require(TrackerKind tracker)
    {
        if (TrackerSelection.KernelProblem(tracker) is { Length: > 0 } problem)
            Requires.Missing($"a working {ContinuityVerdict.Name(tracker)} tracker: {problem}");
    }
}
