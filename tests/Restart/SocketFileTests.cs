using Crstore.Linux.Files;
using Crstore.Model;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>The files of unix sockets, in directories where others may write: a restart as root removes and makes nothing for them.</summary>
public class SocketFileTests
{
    private const uint Nobody = 65534;
    private const UnixFileMode Sticky = (UnixFileMode)0b001_111_111_111; // 1777

    [Fact]
    public void A_users_directory_that_has_become_a_link_to_one_of_roots_leads_nowhere()
    {
        Requires.Root();
        using var directory = Shared();
        using var roots = new TempDir("crstore-roots-");
        var own = OwnDirectory(directory, "own", Nobody);
        using var run = Listener(Path.Combine(own, "s"));
        var crid = run.Capture();
        run.Kill();
        Directory.Move(own, directory.File("aside"));
        Run.Command("ln", ["-s", roots.Path, own]).MustSucceed();
        Run.Command("chown", ["-h", "65534", own]).MustSucceed();
        Assert.Contains($"bind to {own}/s", Assert.Throws<EnvironmentException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(roots.Path));
        File.Delete(own);
        Directory.Move(directory.File("aside"), own);
        run.Restart(crid);
        Assert.Equal("65534", run.Ask("os.stat(l.getsockname()).st_uid"));
    }

    [Fact]
    public void A_users_own_link_to_the_users_own_directory_is_followed()
    {
        Requires.Root();
        using var directory = Shared();
        var own = OwnDirectory(directory, "own", Nobody);
        Run.Command("ln", ["-s", "own", directory.File("link")]).MustSucceed();
        Run.Command("chown", ["-h", "65534", directory.File("link")]).MustSucceed();
        using var run = Listener(directory.File("link/s"));
        run.Cycle();
        Assert.Equal($"{directory.File("link/s")} {Path.Combine(own, "s")}", run.Ask("l.getsockname() + ' ' + os.path.realpath(l.getsockname())"));
    }

    [Theory]
    [InlineData("chmod", "777", "everybody may write to it")]
    [InlineData("chmod", "1777", null)]
    [InlineData("chown", "1234", "it belongs to user 1234")]
    [InlineData("chgrp", "1234", "group 1234 may write to it")]
    [InlineData("chgrp", "65533", null)]
    public void Directories_that_others_may_change_are_refused(string program, string argument, string? why)
    {
        Requires.Root();
        using var directory = Shared();
        var own = OwnDirectory(directory, "own", Nobody);
        using var run = Listener(Path.Combine(own, "s"));
        var crid = run.Capture();
        run.Kill();
        File.Delete(Path.Combine(own, "s"));
        if (program == "chgrp") File.SetUnixFileMode(own, (UnixFileMode)0b111_111_101);
        Run.Command(program, [argument, own]).MustSucceed();
        if (why is null)
        {
            run.Restart(crid);
            Assert.Equal("65534", run.Ask("os.stat(l.getsockname()).st_uid"));
            return;
        }

        var refusal = Assert.Throws<EnvironmentException>(() => run.Restart(crid));
        Assert.Contains($"{own}: {why}", refusal.Message, StringComparison.Ordinal);
        Assert.NotNull(refusal.Hint);
        Assert.Empty(Directory.GetFileSystemEntries(own));
    }

    [Theory]
    [InlineData("own/s", null)]
    [InlineData("own/sub/s", "group 4321 may write to it")]
    public void What_root_has_given_to_a_group_comes_back_in_the_groups_directory_but_not_by_way_of_it(string name, string? why)
    {
        Requires.Root();
        using var directory = new TempDir("crstore-unix-");
        var own = OwnDirectory(directory, "own", 0);
        Directory.CreateDirectory(Path.Combine(own, "sub"));
        Run.Command("chgrp", ["4321", own]).MustSucceed();
        File.SetUnixFileMode(own, (UnixFileMode)0b111_111_101);
        using var run = SocketTalk.Start($"""
            n = "{directory.File(name)}"
            l = socket(AF_UNIX); l.bind(n); l.listen(5)
            os.chown(n, 0, 4321); os.chmod(n, 0o660)
            """);
        var crid = run.Capture();
        run.Kill();
        if (why is not null)
        {
            Assert.Contains($"{own}: {why}", Assert.Throws<EnvironmentException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
            return;
        }

        run.Restart(crid);
        Assert.Equal("(0, 4321, '0o140660')", run.Ask("(lambda s: (s.st_uid, s.st_gid, oct(s.st_mode)))(os.stat(n))"));
    }

    [Fact]
    public void Another_users_socket_is_not_removed()
    {
        Requires.Root();
        using var directory = Shared();
        using var run = Listener(directory.File("s"));
        var crid = run.Capture();
        run.Kill();
        Run.Command("chown", ["1234", directory.File("s")]).MustSucceed();
        Assert.Contains("belonged to user 65534, and now to user 1234", Assert.Throws<EnvironmentException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
        Assert.Equal(1234u, FileStatus.Of(directory.File("s")).Uid);
    }

    [Fact]
    public void A_socket_that_somebody_listens_at_in_another_network_namespace_is_not_removed()
    {
        Requires.Root();
        using var directory = new TempDir("crstore-unix-");
        using var run = SocketTalk.Start($"""
            l = socket(AF_UNIX); l.bind("{directory.File("s")}"); l.listen(5)
            """);
        var crid = run.Capture();
        run.Kill();
        File.Delete(directory.File("s"));
        using (var other = RestartRun.Start("/usr/bin/unshare", "-n", Requires.Python(), "-u", "-c",
            $"import socket, sys; l = socket.socket(socket.AF_UNIX); l.bind('{directory.File("s")}'); l.listen(5); print('ready'); sys.stdin.read()"))
        {
            other.Expect("ready");
            Assert.Contains("another network namespace", Assert.Throws<EnvironmentException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
            Assert.True(File.Exists(directory.File("s")));
        }

        run.Restart(crid);
        Assert.Equal("True", run.Ask("os.path.exists(l.getsockname())"));
    }

    [Fact]
    public void A_restart_that_fails_removes_the_files_of_the_sockets_that_it_has_made()
    {
        using var directory = new TempDir("crstore-unix-");
        using var run = SocketTalk.Start($"""
            l = socket(AF_UNIX); l.bind("{directory.File("s")}"); l.listen(5)
            d = socket(AF_UNIX, SOCK_DGRAM); d.bind("{directory.File("d")}")
            t = socket(AF_UNIX, SOCK_DGRAM); t.bind("{directory.File("t")}")
            """);
        var crid = run.Capture();
        run.Kill();
        var options = new RestartOptions { Detach = true, Stdio = StdioPolicy.Null };
        Assert.Contains("chdir", Assert.Throws<EnvironmentException>(() => run.Restart(crid, options with { Directory = "/dev/null" })).Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(directory.Path));
        // Also if it fails as soon as files are opened; what isn't its own stays.
        File.WriteAllText(directory.File("t"), "");
        Assert.Contains("another kind of file", Assert.Throws<EnvironmentException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
        Assert.Equal([directory.File("t")], Directory.GetFiles(directory.Path));
        File.Delete(directory.File("t"));
        run.Restart(crid);
        Assert.Equal("[True, True, True]", run.Ask("[os.path.exists(s.getsockname()) for s in (l, d, t)]"));
    }

    private static RestartRun Listener(string path) => SocketTalk.Start($"""
        os.setgroups([]); os.setgid(65533); os.setuid(65534)
        l = socket(AF_UNIX); l.bind("{path}"); l.listen(5)
        """);

    private static TempDir Shared()
    {
        var directory = new TempDir("crstore-unix-");
        File.SetUnixFileMode(directory.Path, Sticky);
        return directory;
    }

    private static string OwnDirectory(TempDir parent, string name, uint uid)
    {
        var path = Directory.CreateDirectory(parent.File(name)).FullName;
        Run.Command("chown", [$"{uid}:{uid}", path]).MustSucceed();
        return path;
    }
}
