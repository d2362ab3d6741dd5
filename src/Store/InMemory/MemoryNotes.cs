using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Store.Layout;
using Crstore.Store.Pending;

namespace Crstore.Store.InMemory;

/// <summary>What the main store remembers of a checkpoint that is in memory: that there was one, when the memory is gone. The file `pending/CRID`, synced; its reason is the boot id.</summary>
internal static class MemoryNotes
{
    /// <summary>Before it is there.</summary>
    public static void Write(StorePaths main, Crid crid) => StoreErrors.Guard(() =>
    {
        new CapturedStatus(CapturedState.InMemory, Environment.ProcessId, Reason: SystemInfo.BootId()).Write(main, crid);
        var path = PendingFiles.StatusPath(main, crid);
        using (var file = FileCalls.Open(path, OpenFlags.ReadWrite | OpenFlags.NoFollow)) FileCalls.Sync(file, path);
        FileCalls.SyncDirectory(main.Pending);
        FileCalls.SyncDirectory(main.Root); // pending/ may be new
    });

    /// <summary>It is not there any more, or never was. Best effort: what is left becomes news at the next boot, which gc removes after a week.</summary>
    public static void Remove(StorePaths main, Crid crid)
    {
        try
        {
            FileCalls.Unlink(PendingFiles.StatusPath(main, crid));
        }
        catch (LinuxException e)
        {
            System.Diagnostics.Debug.WriteLine(e.Message);
        }
    }

    /// <summary>What a note means of a checkpoint that is in neither store.</summary>
    public static CapturedStatus Meaning(CapturedStatus note)
    {
        var reason = note.Reason == SystemInfo.BootId()
            ? "it was to be kept in memory only, and is not there: its capture was killed, another user has it, its memory was removed, or CRSTORE_MEMORY named another place then"
            : string.Create(CultureInfo.InvariantCulture, $"it was kept in memory only, and went with a reboot: this machine was started at {StartedAt():yyyy-MM-ddTHH:mm:ssZ}");
        return note with { State = CapturedState.Failed, ExitCode = ExitCode.Usage, Reason = reason, Hint = "`crstore commit` before a reboot makes such a checkpoint durable" };
    }

    /// <summary>Notes of earlier boots become news of what was lost, which is kept as long as other news.</summary>
    public static void Sweep(StorePaths main)
    {
        if (!Directory.Exists(main.Pending)) return;
        foreach (var path in Directory.GetFiles(main.Pending))
        {
            if (!Crid.TryParse(Path.GetFileName(path), out var crid)) continue;
            if (CapturedStatus.Read(main, crid) is { State: CapturedState.InMemory } note && note.Reason != SystemInfo.BootId()) Meaning(note).Write(main, crid);
        }
    }

    private static DateTime StartedAt() => DateTime.UtcNow - TimeSpan.FromTicks((long)(SystemInfo.BoottimeNs() / 100));
}
