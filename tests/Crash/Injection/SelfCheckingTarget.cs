using Crstore.Tests.Support;

namespace Crstore.Tests.Crash.Injection;

/// <summary>Targets that notice what is done to them. Each says "ready", answers "status" with "ok rounds N ...", and says "FAIL what" at the first discrepancy.</summary>
internal static class SelfCheckingTarget
{
    private const string Python = """
        import hashlib, os, select, sys, threading, time
        def chain(seed):
            d = seed
            for _ in range(300): d = hashlib.sha256(d).digest()
            return d
        rounds = [0] * 4
        def fail(what):
            print("FAIL", what, flush=True); os._exit(1)
        def compute(i):
            want = chain(b"%d" % i)
            while True:
                if chain(b"%d" % i) != want: fail("hash chain")
                rounds[i] += 1
                time.sleep(0.0005)
        def sleeper(i):
            while True:
                start = time.monotonic(); time.sleep(0.004)
                if time.monotonic() - start < 0.004: fail("sleep")
                rounds[i] += 1
        r, w = os.pipe()
        def waiter(i):
            n = 0
            while True:
                start = time.monotonic()
                if select.select([r], [], [], 0.003)[0]: fail("select")
                if time.monotonic() - start < 0.003: fail("select ended early")
                rounds[i] += 1
        for i, f in enumerate([compute, compute, sleeper, waiter]):
            threading.Thread(target=f, args=(i,), daemon=True).start()
        print("ready", flush=True)
        for line in sys.stdin:
            if line.strip() == "quit": os._exit(0)
            print("ok rounds", min(rounds), flush=True)
            rounds[:] = [0] * 4
        """;

    private const string Node = """
        const crypto = require("crypto"), { Worker, isMainThread, parentPort } = require("worker_threads");
        function fail(what) { process.stdout.write("FAIL " + what + "\n", () => process.exit(1)); }
        const chain = s => { for (let i = 0; i < 300; i++) s = crypto.createHash("sha256").update(s).digest("hex"); return s; };
        let rounds = 0, timers = 0, answers = 0;
        const want = chain("x");
        setInterval(() => { if (chain("x") !== want) fail("hash chain"); rounds++; }, 2);
        (function tick() { const start = process.hrtime.bigint(); setTimeout(() => {
            if (process.hrtime.bigint() - start < 2000000n) fail("timer"); timers++; tick(); }, 4); })();
        const worker = new Worker('const { parentPort: p } = require("worker_threads"); p.on("message", n => p.postMessage(n * 3 + 1));', { eval: true });
        let n = 1;
        worker.on("message", m => { if (m !== n * 3 + 1) fail("worker"); answers++; n = (n + 1) % 1000000; setTimeout(() => worker.postMessage(n), 1); });
        worker.postMessage(n);
        require("readline").createInterface({ input: process.stdin }).on("line", line => {
            if (line === "quit") process.exit(0);
            console.log("ok rounds " + Math.min(rounds, timers, answers)); rounds = timers = answers = 0; });
        console.log("ready");
        """;

    /// <summary>Starts one by name: selfcheck, python3, node or dotnet.</summary>
    public static TargetProcess Start(string name) => name switch
    {
        "selfcheck" => TargetProcess.Start("selfcheck"),
        "python3" => TargetProcess.Python(Python),
        "node" => TargetProcess.Start(new TargetStart(Requires.Program("node", "nodejs"), "-e", Node)),
        "dotnet" => TargetProcess.Start(new TargetStart(InjectDriver.Program(), "0", "target")),
        _ => throw new ArgumentException($"no such target: {name}", nameof(name)),
    };
}
