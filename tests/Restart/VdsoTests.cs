using Crstore.Model;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>Another kernel's vDSO: programs have addresses within it.</summary>
public class VdsoTests
{
    [Fact]
    public void A_vdso_of_another_size_is_refused_with_words()
    {
        using var run = RestartRun.Python("print('ready')\ninput()");
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Refused(run, () => run.Restart(crid, edit: m => m.Body.Processes[0].Vmas.Single(v => v.Name == "[vdso]").End -= 4096));
    }

    [Fact]
    public void One_of_the_same_size_with_other_code_is_refused_with_words()
    {
        // Its build id is changed, as every other build would have it.
        using var run = RestartRun.Python("""
            vdso = next(int(line.split("-")[0], 16) for line in open("/proc/self/maps") if "[vdso]" in line)
            memory = open("/proc/self/mem", "r+b", buffering=0)
            memory.seek(vdso)
            at = vdso + memory.read(4096).index(b"GNU\0") + 4
            memory.seek(at)
            byte = memory.read(1)[0]
            memory.seek(at)
            memory.write(bytes([byte ^ 1]))
            print("ready")
            input()
            """);
        run.Expect("ready");
        var crid = run.Capture();
        run.Kill();
        Refused(run, () => run.Restart(crid));
    }

    private static void Refused(RestartRun run, Action restart)
    {
        var error = Assert.Throws<EnvironmentException>(restart);
        Assert.Contains("this kernel's vDSO is another one", error.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists($"/proc/{run.Pid}"));
    }
}
