using System.Globalization;
using Crstore.Linux;
using Crstore.Linux.Files;
using Crstore.Linux.Memory;
using Crstore.Model;
using Crstore.Model.Format;
using Microsoft.Win32.SafeHandles;

namespace Crstore.Objects.Files;

/// <summary>inotify(7): what it watched is found again by its file handle, whatever its name is now, and watched under the same descriptor.</summary>
public sealed class InotifyFile : IFileKind
{
    private const int HighestWatch = 1 << 20; // numbers are given in order: each one before costs two calls

    /// <inheritdoc/>
    public string Name => "inotify";

    /// <inheritdoc/>
    public Coverage Coverage => new(
        "watches with their numbers, on file systems with file handles; needs CAP_DAC_READ_SEARCH",
        "unread events are lost: --files",
        "what is gone since, or has no file handle");

    /// <inheritdoc/>
    public bool Is(Fd fd) => fd.Link == "anon_inode:inotify";

    /// <inheritdoc/>
    public void Dump(FileObject file, Func<SafeFileHandle> open)
    {
        using var inotify = open();
        file.Record.Inotify = new InotifyQueue { UnreadBytes = InotifyCalls.Readable(inotify) };
    }

    /// <inheritdoc/>
    public Verdict Check(FileObject file, RestartScene scene)
    {
        if (file.Record.Inotify is not { } queue) return Verdict.Refused("whether it has unread events is not known");
        var watches = Watches(file);
        if (watches is null) return Verdict.Refused("what it watches has no file handle, by which it could be found again");
        if (watches.Exists(w => w.Number > HighestWatch)) return Verdict.Refused($"it has had more than {HighestWatch} watches");
        foreach (var watch in watches)
        {
            var errno = Find(watch, out var found);
            found?.Dispose();
            if (errno != 0) return Verdict.Refused($"what it watches (inode {watch.Inode}) can't be found: {Errno.Describe(errno)}");
        }

        if (queue.UnreadBytes == 0) return Verdict.Restarts;
        const string why = "events that it had not read yet are lost";
        return scene.ChangedFiles == FilesPolicy.MustMatch && !scene.JustCaptured ? Verdict.Refused(why + "; --files warn takes that") : Verdict.Policy(RestartScene.FilesFlag, why);
    }

    /// <inheritdoc/>
    public SafeFileHandle? Open(FileObject file, RestartScene scene)
    {
        var inotify = InotifyCalls.Create();
        // Something to watch in between, which nobody else can have watched.
        using var nothing = Descriptors.CreateMemory("crstore-inotify");
        var next = 1;
        foreach (var watch in Watches(file)!.OrderBy(w => w.Number))
        {
            var errno = Find(watch, out var target);
            if (errno != 0) throw new EnvironmentException($"{file}: what it watches (inode {watch.Inode}) can't be found: {Errno.Describe(errno)}");
            using (target)
            {
                SkipTo(inotify, watch.Number, ref next, nothing);
                var number = InotifyCalls.AddWatch(inotify, target!, watch.Mask);
                if (number != watch.Number) throw new EnvironmentException($"{file}: watch {watch.Number} became {number}");
                next = number + 1;
            }
        }

        InotifyCalls.DropEvents(inotify);
        Descriptors.SetFlags(inotify, file.Info.Flags & Descriptors.SettableFlags);
        if (file.Record.Inotify.UnreadBytes > 0) scene.Warnings.Add($"{file}: events that it had not read yet are lost");
        return inotify;
    }

    // Numbers are given in order, and those of removed watches not again.
    private static void SkipTo(SafeFileHandle inotify, int number, ref int next, SafeFileHandle nothing)
    {
        const uint modify = 2; // IN_MODIFY
        while (next < number)
        {
            var given = InotifyCalls.AddWatch(inotify, nothing, modify);
            InotifyCalls.RemoveWatch(inotify, given);
            if (given % 64 == 0) InotifyCalls.DropEvents(inotify); // each removal is one
            next = given + 1;
        }
    }

    private static int Find(in Watch watch, out SafeFileHandle? found)
    {
        found = null;
        var result = Errno.ENOENT;
        foreach (var place in MountPlaces.Of(watch.Device))
        {
            // For reading: open_by_handle_at takes no O_PATH.
            if (RawFile.TryOpen(place, RawOpen.NonBlock, 0, out var mount) != 0) continue;
            using (mount)
                if (FileStatus.Of(mount!).Dev == watch.Device && (result = InotifyCalls.TryOpenByHandle(mount!, watch.HandleType, watch.Handle, out found)) == 0) return 0;
        }

        return result;
    }

    private static List<Watch>? Watches(FileObject file)
    {
        var found = new List<Watch>();
        foreach (var line in file.Info.Values("inotify wd"))
        {
            if (Watch.TryParse(line) is not { } watch) return null;
            found.Add(watch);
        }

        return found;
    }

    /// <summary>“1 ino:3c570 sdev:fe00000 mask:100 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:70c5…”, all hexadecimal.</summary>
    private readonly record struct Watch(int Number, ulong Inode, ulong Device, uint Mask, int HandleType, byte[] Handle)
    {
        public static Watch? TryParse(string line)
        {
            var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var values = words.Skip(1).Select(w => w.Split(':', 2)).Where(p => p.Length == 2).ToDictionary(p => p[0], p => p[1]);
            if (!values.TryGetValue("f_handle", out var handle) || !values.TryGetValue("fhandle-type", out var type)) return null;
            var device = DeviceNumber.OfKernel((uint)Hex(values["sdev"]));
            return new Watch((int)Hex(words[0]), Hex(values["ino"]), device.Encoded, (uint)Hex(values["mask"]), (int)Hex(type), Convert.FromHexString(handle));
        }

        private static ulong Hex(string text) => ulong.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
    }
}
