using System.Runtime;

namespace Crstore.Capture;

/// <summary>
/// A time without garbage collections (<see cref="GC.TryStartNoGCRegion(long)"/>). The runtime has one for the whole process: of several captures at once one begins it, and whoever is
/// done first ends it for all. That costs the others at most a collection.
/// </summary>
internal static class NoCollections
{
    /// <summary>Begins it; false if another capture of this process has it, or there is no memory for it.</summary>
    /// <param name="bytes">As much may be allocated before a collection ends it after all.</param>
    public static bool TryBegin(long bytes)
    {
        try
        {
            return GC.TryStartNoGCRegion(bytes);
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }

    /// <summary>Ends it, if it has not ended yet.</summary>
    public static void End()
    {
        try
        {
            if (GCSettings.LatencyMode == GCLatencyMode.NoGCRegion) GC.EndNoGCRegion();
        }
        catch (InvalidOperationException)
        {
            // Another capture of this process has ended it since that look, or a collection has.
        }
    }
}
