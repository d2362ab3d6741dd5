using System.Buffers.Binary;
using Crstore.Linux.Files;
using Crstore.Model.Format;
using Crstore.Objects.Processes;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>Signals that open files of any kind send: O_ASYNC, and whom fcntl(2) F_SETOWN has named for that.</summary>
public static class FileSignals
{
    private const long Fcntl = 72;                     // syscall_64.tbl
    private const int SetFlags = 4, Async = 0x2000;    // F_SETFL, O_ASYNC, fcntl(2)
    private const int Thread = 0, Group = 2;           // F_OWNER_TID, F_OWNER_PGRP

    /// <summary>Saves what a file has of it.</summary>
    internal static void Dump(FileObject file, SafeFileHandle handle)
    {
        var owner = SignalOwner.Of(handle);
        if (owner != default || file.Info.IsAsync) file.Record.Signals = new FileSignalOwner { Type = owner.Type, Id = owner.Id, Signal = owner.Signal };
    }

    /// <summary>What can't be had again; null: nothing.</summary>
    internal static string? WhyNot(FileObject file, RestartScene scene)
    {
        if (file.Record.Signals is not { Id: not 0 } owner || IsOutside(file, scene)) return null;
        // The only thing that gives a directory an owner; what for, the kernel does not tell.
        if (file.IsDirectory) return "signals may be wanted for changes in that directory (dnotify: fcntl F_NOTIFY), and for which can't be read back";
        var id = scene.Ids.Of(owner.Id);
        var inside = id != 0 && owner.Type switch
        {
            Thread => scene.Body.Processes.Any(p => p.Threads.Any(t => t.Tid == id)),
            Group => scene.Derive(() => TreePlan.Of(scene.Body.Processes)).HasGroup(id),
            _ => scene.Body.Processes.Any(p => p.Pid == id),
        };
        return inside ? null : $"it sends signals (F_SETOWN) to {(owner.Type switch { Thread => "thread", Group => "group", _ => "process" })} {owner.Id}, which is not in the checkpoint";
    }

    /// <summary>
    /// The last thing that is done to a file: whoever is sent a signal must be there, with the handlers for it. One of the processes that have it does it,
    /// since it may send where that user may.
    /// </summary>
    public static void Restore(FileObject file, FdUse use, IProcessCalls process, RestartScene scene)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(process);
        if (file.Record.Signals is not { } owner || IsOutside(file, scene)) return;
        Span<byte> who = stackalloc byte[2 * sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(who, owner.Type);
        BinaryPrimitives.WriteInt32LittleEndian(who[sizeof(int)..], scene.Ids.Of(owner.Id));
        if (owner.Id != 0) process.Queue($"fcntl(F_SETOWN_EX) of {file}", Fcntl, use.Fd.Number, SignalOwner.SetOwner, (long)process.Place(who));
        if (owner.Signal != 0) process.Queue($"fcntl(F_SETSIG) of {file}", Fcntl, use.Fd.Number, SignalOwner.SetSignal, owner.Signal);
        if (file.Info.IsAsync) process.Queue($"fcntl(F_SETFL) of {file}", Fcntl, use.Fd.Number, SetFlags, (file.Info.Flags & Descriptors.SettableFlags) | Async);
        process.Flush();
    }

    // What takes the place of such a file is crstore's own, and sends nothing.
    private static bool IsOutside(FileObject file, RestartScene scene) => FileKinds.Of(file).Check(file, scene).Flag == OutsideStdio.Flag;
}
