using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Files and directories: deleted ones, offsets, locks, content saved with the checkpoint.</summary>
public class RegularFileTests
{
    private static readonly RestartOptions MustMatch = new() { Detach = true, Stdio = StdioPolicy.Null };

    [Fact]
    public void Deleted_files_come_back_with_content_offsets_flags_and_what_shares_them()
    {
        using var directory = new TempDir("crstore-deleted-");
        using var run = RestartRun.Python("""
            import mmap, os, sys
            os.chdir(sys.argv[1])
            log = os.open("log", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
            os.fchmod(log, 0o640); os.write(log, b"one\n")
            again = os.open("log", os.O_RDONLY)
            only = os.open("log", os.O_WRONLY)
            data = os.open("data", os.O_RDWR | os.O_CREAT)
            os.pwrite(data, b"x" * 5000, 3 << 20)
            m = mmap.mmap(data, 5000, mmap.MAP_SHARED, offset=3 << 20)
            os.pwrite(data, b"unmapped", 1 << 20)
            temporary = os.open(".", os.O_RDWR | os.O_TMPFILE)
            os.write(temporary, b"never had a name")
            for name in ("log", "data"): os.unlink(name)
            print("ready")
            n = 0
            for line in sys.stdin:
                n += 1
                os.write(log, b"%d\n" % n)
                m[n] = 65 + n
                print(os.pread(again, 100, 0), os.lseek(again, 2, 1), os.pread(data, 4, 3 << 20), os.pread(data, 9, 1 << 20), os.fstat(data).st_size - (3 << 20),
                    os.pread(temporary, 100, 0), os.lseek(temporary, 0, 1), oct(os.fstat(log).st_mode), os.lseek(only, 0, 1), os.listdir("."))
            """, directory.Path);
        run.Expect("ready");
        Assert.Equal(Wanted("one\\n1\\n", 2, "xBxx"), run.Ask("a"));
        run.Cycle();
        Assert.Equal(Wanted("one\\n1\\n2\\n", 4, "xBCx"), run.Ask("b"));
        run.Cycle();
        Assert.Equal(Wanted("one\\n1\\n2\\n3\\n", 6, "xBCD"), run.Ask("c"));

        static string Wanted(string log, int at, string data) => $"b'{log}' {at} b'{data}' b'unmapped\\x00' 5000 b'never had a name' 16 0o100640 0 []";
    }

    [Fact]
    public void Deleted_files_and_memfds_come_back_with_their_owner_and_mode_but_never_set_user_id()
    {
        Requires.Root();
        using var directory = new TempDir("crstore-deleted-");
        using var run = RestartRun.Python("""
            import os, sys
            f, m = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), os.memfd_create("m")
            for fd in (f, m): os.fchown(fd, 1234, 4321); os.fchmod(fd, 0o4751)
            os.unlink(sys.argv[1])
            print("ready")
            for line in sys.stdin: print(*[(s.st_uid, s.st_gid, oct(s.st_mode)) for s in map(os.fstat, (f, m))])
            """, directory.File("f"));
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("(1234, 4321, '0o100751') (1234, 4321, '0o100751')", run.Ask("?"));
    }

    [Fact]
    public void A_deleted_file_that_has_another_name_is_refused()
    {
        using var directory = new TempDir("crstore-linked-");
        using var run = RestartRun.Python("import os, sys\nos.chdir(sys.argv[1])\nf = open('a', 'w'); os.link('a', 'b'); os.unlink('a')\nprint('ready')\nsys.stdin.read()", directory.Path);
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Assert.Contains("another one", Assert.Throws<Model.TargetException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Offsets_are_shared_by_dup_and_by_fork_and_not_by_opening_again()
    {
        using var directory = new TempDir("crstore-offsets-");
        File.WriteAllText(directory.File("f"), string.Concat(Enumerable.Range(0, 100).Select(i => (char)('a' + i % 26))));
        using var run = RestartRun.Python("""
            import os, sys
            os.chdir(sys.argv[1])
            one = os.open("f", os.O_RDONLY); two = os.dup(one); other = os.open("f", os.O_RDONLY)
            path, here = os.open("f", os.O_PATH), os.open(".", os.O_RDONLY | os.O_DIRECTORY)
            link = None
            os.symlink("f", "l"); link = os.open("l", os.O_PATH | os.O_NOFOLLOW)
            go, say = os.pipe(), os.pipe()
            if os.fork() == 0:
                while os.read(go[0], 1): os.read(one, 3); os.write(say[1], b"x")
                os._exit(0)
            status = open("/proc/self/status", "rb", 0); status.read(10)
            print("ready")
            for line in sys.stdin:
                a = os.read(one, 2).decode(); b = os.read(two, 2).decode(); c = os.read(other, 2).decode()
                os.write(go[1], b"x"); os.read(say[0], 1)
                print(a, b, c, os.lseek(two, 0, 1), os.readlink("l", dir_fd=here), os.readlink("", dir_fd=link), os.stat(path).st_size, len(status.read(5)), status.tell())
            """, directory.Path);
        run.Expect("ready");
        Assert.Equal("ab cd ab 7 f f 100 5 15", run.Ask("a"));
        run.Cycle(tree: true);
        Assert.Equal("hi jk cd 14 f f 100 5 20", run.Ask("b"));
    }

    [Fact]
    public void Locks_of_all_three_kinds_are_held_again()
    {
        using var directory = new TempDir("crstore-locks-");
        using var run = RestartRun.Python("""
            import fcntl, os, struct, sys
            os.chdir(sys.argv[1])
            posix, whole, open_file = (open(n, "w+") for n in ("posix", "whole", "ofd"))
            posix.write("x" * 100); posix.flush()
            fcntl.lockf(posix, fcntl.LOCK_EX, 10, 5)
            fcntl.lockf(posix, fcntl.LOCK_SH, 0, 50)
            fcntl.flock(whole, fcntl.LOCK_EX)
            fcntl.fcntl(open_file, 37, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, 7, 3, 0))
            reader = os.open("posix", os.O_RDONLY)
            go, say = os.pipe(), os.pipe()
            if os.fork() == 0:
                mine = open("posix", "r+")
                fcntl.lockf(mine, fcntl.LOCK_EX, 1, 0)
                os.write(say[1], b"x")
                os.read(go[0], 1)
                os._exit(0)
            os.read(say[0], 1)
            print("ready")
            sys.stdin.read()
            """, directory.Path);
        run.Expect("ready");
        var before = Held(directory);
        Assert.Equal("W..WWWWW..RR taken ....WW......", before);
        run.Cycle(tree: true);
        Assert.Equal(before, Held(directory));
    }

    // By somebody else, who asks the kernel.
    private static string Held(TempDir directory) => Run.Command(Requires.Python(), ["-c", """
        import fcntl, os, struct, sys
        os.chdir(sys.argv[1])
        def held(name, command):
            with open(name, "r+") as f:
                for at in (0, 1, 4, 5, 7, 9, 10, 14, 15, 49, 50, 1 << 40):
                    type = struct.unpack("hhqqixxxx", fcntl.fcntl(f, command, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, at, 1, 0)))[0]
                    yield {fcntl.F_UNLCK: ".", fcntl.F_WRLCK: "W", fcntl.F_RDLCK: "R"}[type]
        try: fcntl.flock(open("whole"), fcntl.LOCK_SH | fcntl.LOCK_NB); flock = "free"
        except BlockingIOError: flock = "taken"
        print("".join(held("posix", fcntl.F_GETLK)), flock, "".join(held("ofd", 36)))
        """, directory.Path]).MustSucceed().Output.Trim();

    [Fact]
    public void A_sqlite_transaction_goes_on()
    {
        using var directory = new TempDir("crstore-sqlite-");
        using var run = RestartRun.Python("""
            import sqlite3, sys
            db = sqlite3.connect(sys.argv[1], isolation_level=None)
            db.execute("create table t(n integer primary key, s text)")
            db.execute("insert into t values(1, 'committed')")
            db.execute("begin immediate")
            db.execute("pragma cache_size=5")                 # so that it spills into the file
            db.executemany("insert into t values(?, ?)", [(i, "x" * 500) for i in range(2, 2000)])
            print("ready")
            for line in sys.stdin:
                try: print(db.execute("select count(*) from t").fetchone()[0], end=" "); db.execute("insert into t(s) values('late')"); db.execute(line.strip()); print(db.in_transaction)
                except Exception as e: print(e)
            """, directory.File("db"));
        run.Expect("ready");
        run.Cycle();
        Assert.Contains("locked", Other("begin immediate"), StringComparison.Ordinal);
        Assert.Equal("1999 False", run.Ask("commit"));
        Assert.Equal("2000 ok", Other("select 1"));

        string Other(string sql) => Run.Command(Requires.Python(), ["-c", """
            import sqlite3, sys
            db = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None)
            try: db.execute(sys.argv[2]); print(db.execute("select count(*) from t").fetchone()[0], db.execute("pragma integrity_check").fetchone()[0])
            except Exception as e: print(e)
            """, directory.File("db"), sql]).MustSucceed().Output.Trim();
    }

    [Fact]
    public void A_lock_that_somebody_else_holds_now_is_an_error_and_nothing_is_left_running()
    {
        using var directory = new TempDir("crstore-taken-");
        using var run = RestartRun.Python("import fcntl, sys\nf = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX)\nprint('ready')\nsys.stdin.read()", directory.File("f"));
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        using var other = RestartRun.Python("import fcntl, sys\nf = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX)\nprint('ready')\nsys.stdin.read()", directory.File("f"));
        other.Expect("ready");
        Assert.Contains("somebody else", Assert.Throws<Model.TargetException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists($"/proc/{run.Pid}"));
    }

    [Fact]
    public void A_lease_is_refused()
    {
        using var directory = new TempDir("crstore-lease-");
        using var run = RestartRun.Python("import fcntl, sys\nopen(sys.argv[1], 'w').close(); f = open(sys.argv[1]); fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_RDLCK)\nprint('ready')\nsys.stdin.read()", directory.File("f"));
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Assert.Contains("lease", Assert.Throws<Model.TargetException>(() => run.Restart(crid)).Message, StringComparison.Ordinal);
    }

    private const string Writer = """
        import os, sys
        os.chdir(sys.argv[1])
        f = open("data", "w+")
        extra = os.open("gone", os.O_RDWR | os.O_CREAT, 0o600)
        os.write(extra, b"abc")
        print("ready")
        n = 0
        for line in sys.stdin:
            n += 1
            f.write(f"{n}\n"); f.flush()
            print(open("data").read().split(), os.pread(extra, 10, 0))
        """;

    [Fact]
    public void Files_that_were_saved_with_the_checkpoint_are_put_back()
    {
        using var directory = new TempDir("crstore-with-files-");
        using var run = RestartRun.Python(Writer, directory.Path);
        run.Expect("ready");
        run.Ask("x");
        run.Ask("x");
        var crid = run.Capture(with: o => o with { WithFiles = true });
        run.Ask("x");
        run.Kill();
        File.Delete(directory.File("gone"));
        var result = run.Restart(crid, MustMatch);
        Assert.Contains(result.Warnings, w => w.Contains("data", StringComparison.Ordinal));
        Assert.Equal("['1', '2', '3'] b'abc'", run.Ask("x"));
        Assert.Equal("['1', '2', '3', '4'] b'abc'", run.Ask("x"));
    }

    [Fact]
    public void Files_that_have_changed_are_refused_without_that_or_taken_as_they_are()
    {
        using var directory = new TempDir("crstore-changed-");
        using var run = RestartRun.Python(Writer, directory.Path);
        run.Expect("ready");
        run.Ask("x");
        var crid = run.Capture();
        run.Ask("x");
        run.Kill();
        Assert.Contains("its size has changed", Assert.Throws<Model.TargetException>(() => run.Restart(crid, MustMatch)).Message, StringComparison.Ordinal);
        run.Restart(crid);
        Assert.Equal("['1', '2'] b'abc'", run.Ask("x"));
    }

    [Fact]
    public void A_shared_mapping_of_a_file_is_the_files_again()
    {
        using var directory = new TempDir("crstore-mapped-");
        File.WriteAllText(directory.File("f"), new string('a', 5000));
        using var run = RestartRun.Python("""
            import mmap, sys
            f = open(sys.argv[1], "r+b"); m = mmap.mmap(f.fileno(), 5000); f.close()
            print("ready")
            for line in sys.stdin: m[int(line)] = ord("b"); print(m[0:5].decode())
            """, directory.File("f"));
        run.Expect("ready");
        run.Ask("0");
        run.Cycle();
        Assert.Equal("bbaaa", run.Ask("1"));
        Assert.StartsWith("bbaaa", File.ReadAllText(directory.File("f")), StringComparison.Ordinal);
        Assert.Equal(5000, new FileInfo(directory.File("f")).Length);
    }

    [Fact]
    public void Shared_memory_with_a_name_holds_what_it_held_at_the_capture()
    {
        var name = $"/dev/shm/crstore-test-{Environment.ProcessId}";
        using var run = RestartRun.Python("""
            import mmap, os, sys
            f = open(sys.argv[1], "w+b"); os.ftruncate(f.fileno(), 5000); m = mmap.mmap(f.fileno(), 5000); f.close()
            n = 0
            print("ready")
            for line in sys.stdin: m[n] = ord(line[0]); n += 1; print(open(sys.argv[1]).read(4).replace("\0", "."), os.stat(sys.argv[1]).st_size)
            """, name);
        try
        {
            run.Expect("ready");
            run.Ask("a");
            var crid = run.Capture();
            run.Ask("b");
            run.Kill();
            run.Restart(crid);
            Assert.Equal("ac.. 5000", run.Ask("c"));
        }
        finally
        {
            File.Delete(name);
        }
    }

    [Fact]
    public void What_is_put_back_is_written_when_nothing_else_can_fail_and_never_for_a_copy()
    {
        using var directory = new TempDir("crstore-put-back-");
        using var run = RestartRun.Python(Writer, directory.Path);
        run.Expect("ready");
        run.Ask("x");
        var crid = run.Capture(with: o => o with { WithFiles = true });
        run.Ask("x");
        Assert.Contains("its size has changed", Assert.Throws<Model.TargetException>(() => run.Restart(crid, MustMatch with { NewPids = true })).Message, StringComparison.Ordinal);
        run.Kill();
        Assert.Throws<Model.EnvironmentException>(() => run.Restart(crid, MustMatch with { Directory = "/dev/null" }));
        Assert.Equal("1\n2\n", File.ReadAllText(directory.File("data")));
        run.Restart(crid, MustMatch);
        Assert.Equal("1\n", File.ReadAllText(directory.File("data")));
    }

    [Fact]
    public void A_file_that_has_changed_is_refused_where_it_is_mapped_shared()
    {
        using var directory = new TempDir("crstore-mapped-changed-");
        File.WriteAllText(directory.File("f"), new string('a', 5000));
        using var run = RestartRun.Python("""
            import mmap, sys
            f = open(sys.argv[1], "r+b"); m = mmap.mmap(f.fileno(), 5000); f.close()
            print("ready")
            for line in sys.stdin: print(m[0:5].decode())
            """, directory.File("f"));
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        File.WriteAllText(directory.File("f"), new string('b', 5000));
        File.SetLastWriteTimeUtc(directory.File("f"), DateTime.UtcNow.AddSeconds(10));
        Assert.Contains("which it shares, has changed", Assert.Throws<Model.TargetException>(() => run.Restart(crid, MustMatch)).Message, StringComparison.Ordinal);
        run.Restart(crid);
        Assert.Equal("bbbbb", run.Ask("?"));
    }

    [Fact]
    public void What_is_made_anew_never_runs_as_its_owner()
    {
        using var directory = new TempDir("crstore-set-user-id-");
        using var run = RestartRun.Python("""
            import os, sys
            f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
            os.write(f, b"content")
            os.fchmod(f, 0o6755)
            os.unlink(sys.argv[1])
            m = os.memfd_create("memory")
            os.fchmod(m, 0o6711)
            print("ready")
            for line in sys.stdin: print(os.pread(f, 10, 0), oct(os.fstat(f).st_mode & 0o7777), oct(os.fstat(m).st_mode & 0o7777))
            """, directory.File("f"));
        run.Expect("ready");
        run.Cycle();
        Assert.Equal("b'content' 0o755 0o711", run.Ask("?"));
    }

    [Fact]
    public void A_file_that_is_another_one_now_is_not_opened_with_the_rights_of_root_for_another_user()
    {
        Requires.Root();
        using var directory = new TempDir("crstore-other-file-").OpenToAll();
        File.WriteAllText(directory.File("mine"), "mine");
        using var run = RestartRun.Python("""
            import os, sys
            f = open(sys.argv[1])
            os.setresgid(1000, 1000, 1000)
            os.setresuid(1000, 1000, 1000)
            print("ready")
            for line in sys.stdin: print(f.read())
            """, directory.File("mine"));
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        File.Move(directory.File("mine"), directory.File("was mine"));
        File.WriteAllText(directory.File("secret"), "root's");
        File.CreateSymbolicLink(directory.File("mine"), directory.File("secret"));
        foreach (var policy in new[] { Objects.Files.FilesPolicy.MustMatch, Objects.Files.FilesPolicy.Warn, Objects.Files.FilesPolicy.Ignore })
            Assert.Contains("may not be the process's to open", Assert.Throws<Model.TargetException>(() => run.Restart(crid, MustMatch with { Files = policy })).Message, StringComparison.Ordinal);
        File.Delete(directory.File("mine"));
        File.Move(directory.File("was mine"), directory.File("mine"));
        run.Restart(crid);
        Assert.Equal("mine", run.Ask("?"));
    }

    [Fact]
    public void Files_come_to_their_numbers_however_many_crstore_has_open()
    {
        var mine = Enumerable.Range(0, 1500).Select(_ => File.OpenHandle("/dev/zero")).ToList();
        try
        {
            using var run = RestartRun.Python("""
                import os, resource, sys
                resource.setrlimit(resource.RLIMIT_NOFILE, (5000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
                numbers = [7, 700, 1500, 1600, 2524, 2600, 3000, 4999]
                for number in numbers: os.dup2(os.eventfd(number), number)
                print("ready")
                for line in sys.stdin: print(all(os.eventfd_read(n) == n for n in numbers), len(os.listdir("/proc/self/fd")))
                """);
            run.Expect("ready");
            var crid = run.Capture();
            run.Kill();
            run.Restart(crid);
            Assert.StartsWith("True ", run.Ask("?"), StringComparison.Ordinal);
        }
        finally
        {
            foreach (var handle in mine) handle.Dispose();
        }
    }
}
