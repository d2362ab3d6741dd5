using Crstore.Capture.Freezing;
using Crstore.Capture.Tracking;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Model.Format;

namespace Crstore.Capture;

/// <summary>How a process would be captured.</summary>
/// <param name="Tracker">The tracker that `auto` takes.</param>
/// <param name="Reason">Why not a better one; empty if it is the best there is.</param>
/// <param name="Parked">crstore's userfaultfd is in the target already.</param>
public sealed record CapturePreview(TrackerKind Tracker, string Reason, bool Parked)
{
    /// <summary>Looks at a process from outside, without stopping it. Trackers that a series distrusts are not known here.</summary>
    /// <param name="pid">Which.</param>
    /// <param name="wait">How to wait for a capture of it.</param>
    /// <exception cref="TargetException">Gone, or it may not be looked at.</exception>
    public static CapturePreview Of(int pid, LockWait wait)
    {
        try
        {
            var target = TargetIdentity.Read(pid);
            using var record = TryOpen(target, wait, out var whyNot);
            if (record is null) return new CapturePreview(TrackerKind.Hash, $"no continuity record can be kept: {whyNot}", Parked: false); // as a capture does
            var parking = new UffdParking(record, Guid.Empty, Crid.None);
            parking.Prepare(pid);
            var circumstances = new TrackerCircumstances(pid, parking.Foreign, parking.PinsMemory, new HashSet<TrackerKind>());
            var kind = TrackerSelection.Choose(null, circumstances, out var passedOver);
            return new CapturePreview(kind, passedOver, parking.IsParked);
        }
        catch (LinuxException error)
        {
            throw TargetErrors.BeforeAll(error, pid);
        }
        catch (UnauthorizedAccessException error)
        {
            throw new TargetException($"{TargetErrors.Name(pid)}: {error.Message}", "run crstore as root, or as the process's user", error);
        }
    }

    // What it fails at is crstore's own directory, and not the process.
    private static ContinuityRecord? TryOpen(TargetIdentity target, LockWait wait, out string whyNot)
    {
        whyNot = "";
        try
        {
            return ContinuityRecord.Open(target, SystemInfo.BootId(), "look", wait);
        }
        catch (LinuxException error)
        {
            whyNot = error.Message;
            return null;
        }
    }
}
