using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Capture.Injection;

/// <summary>Language runtimes, with signal handlers, many threads and tight assumptions of their own.</summary>
public sealed class RuntimeTests
{
    private const string Python = """
        import hashlib, sys, threading, time
        failed = False
        def chain():
            d = b"x"
            for _ in range(200): d = hashlib.sha256(d).digest()
            return d
        want = chain()
        def work():
            global failed
            while True:
                if chain() != want: failed = True
                time.sleep(0.001)
        for _ in range(3): threading.Thread(target=work, daemon=True).start()
        print("ready")
        for line in sys.stdin: print("FAIL" if failed else "ok")
        """;

    private const string Node = """
        const crypto = require("crypto");
        const chain = () => { let s = "x"; for (let i = 0; i < 200; i++) s = crypto.createHash("sha256").update(s).digest("hex"); return s; };
        const want = chain(); let failed = false;
        setInterval(() => { if (chain() !== want) failed = true; }, 2);
        require("readline").createInterface({ input: process.stdin }).on("line", () => console.log(failed ? "FAIL" : "ok"));
        console.log("ready");
        """;

    [Fact]
    public void Python_runs_on() => Check(TargetProcess.Python(Python));

    [Fact]
    public void Node_runs_on() => Check(TargetProcess.Start(new TargetStart(Requires.Program("node", "nodejs"), "-e", Node)));

    [Fact]
    public void Dotnet_runs_on() => Check(TargetProcess.Start(new TargetStart(Repository.Path("tests", "Crash", "InjectDriver", "bin",
        AppContext.BaseDirectory.Contains("/Release/") ? "Release" : "Debug", "net10.0", "linux-x64", "Crstore.InjectDriver"), "0", "target")));

    private static void Check(TargetProcess started)
    {
        using var target = started;
        target.Expect("ready");
        for (var round = 0; round < 40; round++)
        {
            Remote.During(target.Pid, Remote.Everything);
            if (round % 10 == 0) Assert.StartsWith("ok", target.Ask("?"));
            Thread.Sleep(3);
        }
        Assert.StartsWith("ok", target.Ask("?"));
    }
}
