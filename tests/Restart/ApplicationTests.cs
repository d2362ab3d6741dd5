using System.Diagnostics;
using System.Globalization;
using Crstore.Capture;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>
/// Real applications, captured while busy, killed, restarted from the middle of a chain, and shown by their own means to have gone on:
/// redis-server, node, sqlite3 in a transaction, a full-screen program in tmux. (Python, pipelines and .NET have tests of their own.)
/// </summary>
public class ApplicationTests
{
    [Fact]
    public void Redis_serves_its_data_to_new_clients_over_tcp_and_unix_sockets()
    {
        Requires.Program("redis-server");
        using var files = new TempDir("crstore-redis-");
        var port = FreePort.Next();
        using var run = RestartRun.Start(new TargetStart("/bin/bash", "-c",
            $"exec redis-server --port {port} --unixsocket '{files.File("socket")}' --save '' --appendonly no --dir '{files}' --enable-debug-command yes --daemonize no"));
        while (!run.ReadLine().Contains("eady to accept", StringComparison.Ordinal)) { }
        Redis("debug", "populate", "20000", "key", "100");
        Redis("set", "generation", "1");
        Patience.Until(() => !HasClients(port), "redis to close the last client's connection");
        var first = run.Capture();
        Redis("set", "generation", "2");
        for (var i = 0; i < 50; i++) Redis("set", $"key:{i}", $"value {i} of generation 2");
        var digest = Redis("debug", "digest");
        using (var load = Load(port)) // new clients come and go while the capture is taken
        {
            var second = run.Capture(with: o => o with { Tcp = TcpPolicy.Close });
            load.Kill();
            load.WaitForExit();
            Redis("set", "generation", "3");
            run.Capture(with: o => o with { Tcp = TcpPolicy.Close });
            run.Kill();
            run.Restart(second);
        }

        Assert.Equal("2", Redis("get", "generation"));
        Assert.Equal("20001", Redis("dbsize"));
        Assert.Equal(digest, Redis("debug", "digest"));
        Assert.Equal("value 7 of generation 2", Unix("get", "key:7"));
        Assert.Equal("OK", Unix("set", "generation", "4"));
        Assert.Equal("4", Redis("get", "generation"));

        run.Kill();
        run.Restart(first);
        Assert.Equal("1", Redis("get", "generation"));
        Assert.Equal("20001", Unix("dbsize"));

        string Redis(params string[] words) => Support.Run.Command("redis-cli", ["-p", $"{port}", .. words]).MustSucceed().Output.Trim();
        string Unix(params string[] words) => Support.Run.Command("redis-cli", ["-s", files.File("socket"), .. words]).MustSucceed().Output.Trim();
    }

    [Fact]
    public void Node_goes_on_with_timers_workers_promises_and_its_http_server()
    {
        var node = Requires.Program("node", "nodejs");
        var port = FreePort.Next();
        using var run = RestartRun.Start(new TargetStart(node, "-e", $$"""
            const http = require("http"), { Worker } = require("worker_threads"), crypto = require("crypto");
            let ticks = 0, answers = 0, n = 1;
            const data = new Map(); for (let i = 0; i < 50000; i++) data.set("k" + i, { i, text: "value " + i });
            setInterval(() => { ticks++; data.set("k" + (ticks % 50000), { i: ticks, text: "tick" }); }, 5);
            const worker = new Worker('const { parentPort: p } = require("worker_threads"); p.on("message", n => p.postMessage(n * 3 + 1));', { eval: true });
            worker.on("message", m => { if (m !== n * 3 + 1) { console.log("FAIL"); process.exit(1); } answers++; n = (n + 1) % 100000; setTimeout(() => worker.postMessage(n), 1); });
            worker.postMessage(n);
            http.createServer((request, response) => crypto.pbkdf2("x", "y", 10, 8, "sha1", (e, key) => response.end(`${data.size} ${key.toString("hex")}`))).listen({{port}}, "127.0.0.1", () => console.log("ready"));
            require("readline").createInterface({ input: process.stdin }).on("line", () => {
                const before = [ticks, answers];
                const look = setInterval(() => { if (ticks > before[0] && answers > before[1]) { clearInterval(look); console.log("ok", data.size); } }, 50);
            });
            """));
        run.Expect("ready");
        Assert.Equal("ok 50000", run.Ask("?"));
        var page = Get();
        run.Capture();
        Assert.Equal("ok 50000", run.Ask("?"));
        var middle = run.Capture(with: o => o with { Tcp = TcpPolicy.Close });
        run.Capture();
        run.Kill();
        run.Restart(middle);
        Assert.Equal("ok 50000", run.Ask("?"));
        Assert.Equal(page, Get());

        string Get() => Support.Run.Command("curl", ["-sS", "--max-time", "300", $"http://127.0.0.1:{port}/"]).MustSucceed().Output;
    }

    [Fact]
    public void Sqlite_finishes_its_transaction()
    {
        using var files = new TempDir("crstore-sqlite-");
        using var run = RestartRun.Python("""
            import sqlite3, sys
            db = sqlite3.connect(sys.argv[1], isolation_level=None)
            db.execute("create table t (n integer primary key, x text)")
            db.execute("insert into t select value, 'old' from (with recursive c(value) as (select 1 union all select value + 1 from c where value < 1000) select value from c)")
            db.execute("begin immediate")
            db.execute("update t set x = 'new' where n % 2 = 0")
            print("ready")
            for line in sys.stdin:
                db.execute(line)
                print("ok", db.execute("select count(*) from t where x = 'new'").fetchone()[0])
            """, files.File("db"));
        run.Expect("ready");
        Assert.Equal("ok 500", run.Ask("select 1"));
        run.Capture(with: o => o with { WithFiles = true });
        Assert.Equal("ok 1000", run.Ask("update t set x = 'new'"));
        var middle = run.Capture(with: o => o with { WithFiles = true });
        Assert.Equal("ok 1000", run.Ask("commit"));
        run.Kill();
        run.Restart(middle, new RestartOptions { Detach = true, Stdio = StdioPolicy.Null });
        // Another connection must wait for the lock, which the transaction still has.
        Assert.Contains("locked", Support.Run.Command("sqlite3", [files.File("db"), "update t set x = 'other'"]).Error);
        Assert.Equal("ok 1000", run.Ask("select 1"));
        Assert.Equal("ok 0", run.Ask("rollback"));
        Assert.Equal("1000|old", Support.Run.Command("sqlite3", [files.File("db"), "select count(*), x from t group by x"]).MustSucceed().Output.Trim());
        Assert.Equal("ok", Support.Run.Command("sqlite3", [files.File("db"), "pragma integrity_check"]).MustSucceed().Output.Trim());
    }

    // Connections that a process at this port has: ESTABLISHED or CLOSE_WAIT in /proc/net/tcp, proc_pid_net(5).
    private static bool HasClients(int port) => File.ReadLines("/proc/net/tcp").Skip(1).Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        .Any(words => words[1].EndsWith(string.Create(CultureInfo.InvariantCulture, $":{port:X4}"), StringComparison.Ordinal) && words[3] is "01" or "08");

    private static Process Load(int port) => Process.Start(new ProcessStartInfo("/bin/bash",
        ["-c", string.Create(CultureInfo.InvariantCulture, $"while redis-cli -p {port} get key:1; do :; done >/dev/null 2>&1")]))!;
}
