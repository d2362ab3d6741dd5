using Crstore.Model;
using Crstore.Objects.Files;
using Crstore.Restore.Restart;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Tests.Restart;

/// <summary>
/// The programs of tests/Targets/objects, one for each kind of object that a restart brings back: each changes its object at "step", and says at "check N"
/// whether it is what it was after N steps (object.h).
/// </summary>
public class ObjectProgramTests
{
    /// <summary>All of them: a new file there is a new test.</summary>
    public static TheoryData<string> Programs =>
        [.. Directory.EnumerateFiles(Repository.Path("tests", "Targets", "objects"), "*.c").Select(p => Path.GetFileNameWithoutExtension(p)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Programs))]
    public void An_object_is_whole_after_a_restart(string program)
    {
        using var run = new ObjectRun(program);
        run.Step();
        var crid = run.Capture();
        run.Check(1);
        run.Restart(crid);
        run.Check(1);
    }

    [Theory]
    [MemberData(nameof(Programs))]
    public void From_the_middle_of_a_chain_it_is_what_it_was_then(string program)
    {
        using var run = new ObjectRun(program);
        var chain = new List<Crid>();
        for (var steps = 0; steps < 4; steps++, run.Step()) chain.Add(run.Capture());
        run.Check(4);
        run.Restart(chain[2]);
        run.Check(2);
        run.Step();
        run.Check(3);
        run.Restart(chain[1]);
        run.Check(1);
    }

    [Theory]
    [MemberData(nameof(Programs))]
    public void Three_processes_of_it_in_one_tree_each_have_their_own(string program)
    {
        using var run = new ObjectRun(program, processes: 3);
        run.Step();
        run.Restart(run.Capture());
        run.Check(1);
        run.Step();
        run.Check(2);
    }

    /// <summary>A program of that folder, with a directory for its files.</summary>
    private sealed class ObjectRun : IDisposable
    {
        private readonly TempDir _files = new("crstore-object-");
        private readonly RestartRun _run;

        public ObjectRun(string program, int processes = 1)
        {
            Requires.Root();
            _run = RestartRun.Start(Targets.Path($"objects/{program}"), _files.Path, $"{processes}");
            Expect("ready", _run.ReadLine());
        }

        public void Step() => Expect("ok", _run.Ask("step"));

        public void Check(int steps) => Expect("ok", _run.Ask($"check {steps}"));

        /// <summary>With the files that it has open, so that an earlier checkpoint finds them as they were.</summary>
        public Crid Capture() => _run.Capture(tree: true, with: o => o with { WithFiles = true });

        public void Restart(Crid crid)
        {
            _run.Kill();
            _run.Restart(crid, new RestartOptions { Detach = true, Stdio = StdioPolicy.Null });
        }

        public void Dispose()
        {
            _run.Dispose();
            _files.Dispose();
        }

        private void Expect(string wanted, string answer) => Assert.True(answer == wanted, $"{answer}\n{_run.Error}");
    }
}
