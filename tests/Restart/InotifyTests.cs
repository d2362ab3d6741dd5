using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>inotify: the same files under the same watch descriptors.</summary>
public class InotifyTests
{
    private const string Watcher = """
        import ctypes, os, struct, sys
        libc = ctypes.CDLL(None, use_errno=True)
        os.chdir(sys.argv[1])
        fd = libc.inotify_init1(os.O_NONBLOCK)
        def add(path, mask):
            wd = libc.inotify_add_watch(fd, path.encode(), mask)
            assert wd > 0, ctypes.get_errno()
            return wd
        def events():
            try: data = os.read(fd, 65536)
            except BlockingIOError: return []
            found = []
            while data:
                wd, mask, cookie, length = struct.unpack("iIII", data[:16])
                found.append(f"{wd}:{mask:x}:{data[16:16 + length].rstrip(chr(0).encode()).decode()}")
                data = data[16 + length:]
            return found
        """;

    [Fact]
    public void Watches_have_their_numbers_and_masks_again()
    {
        using var directory = new TempDir("crstore-inotify-");
        Directory.CreateDirectory(directory.File("d"));
        Directory.CreateDirectory(directory.File("e"));
        File.WriteAllText(directory.File("f"), "");
        using var run = RestartRun.Python(Watcher + """

            first = add("d", 0x100 | 0x200)          # IN_CREATE, IN_DELETE
            gone = [add("e", 0x100) for _ in range(1)]
            libc.inotify_rm_watch(fd, gone[0])
            for _ in range(200):
                libc.inotify_rm_watch(fd, add("e", 0x100))
            file = add("f", 0x2)                     # IN_MODIFY
            once = add("e", 0x100 | 0x80000000)      # IN_ONESHOT
            os.rename("f", "renamed")
            while events(): pass
            print("ready", first, file, once)
            for line in sys.stdin:
                before = events()
                open("d/x", "w").close(); os.unlink("d/x"); open("renamed", "a").write("x"); open("e/1", "w").close(); open("e/2", "w").close()
                print(before, " ".join(events()), add("d", 0x100 | 0x200))
                os.unlink("e/1"); os.unlink("e/2")
            """, directory.Path);
        Assert.Equal(" 1 203 204", run.Expect("ready"));
        run.Cycle();
        Assert.Equal("[] 1:100:x 1:200:x 203:2: 204:100:1 204:8000: 1", run.Ask("now"));
    }

    [Fact]
    public void Unread_events_are_refused_or_lost_as_the_policy_says()
    {
        using var directory = new TempDir("crstore-unread-");
        using var run = RestartRun.Python(Watcher + "\nadd('.', 0x100); open('x', 'w').close()\nprint('ready')\nfor line in sys.stdin: print(events()); open(line.strip(), 'w').close()", directory.Path);
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        var strict = new RestartOptions { Detach = true, Stdio = StdioPolicy.Null };
        Assert.Contains("not read yet", Assert.Throws<Model.TargetException>(() => run.Restart(crid, strict)).Message, StringComparison.Ordinal);
        Assert.Contains(run.Restart(crid).Warnings, w => w.Contains("not read yet", StringComparison.Ordinal));
        Assert.Equal("[]", run.Ask("y"));
        Assert.Equal("['1:100:y']", run.Ask("z"));
    }

    [Fact]
    public void What_is_gone_is_refused()
    {
        using var directory = new TempDir("crstore-unwatched-");
        Directory.CreateDirectory(directory.File("d"));
        using var run = RestartRun.Python(Watcher + "\nadd('d', 0x100)\nprint('ready')\nsys.stdin.read()", directory.Path);
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Directory.Delete(directory.File("d"));
        Assert.Contains("can't be found", Assert.Throws<Model.TargetException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
    }
}
